package events

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
)

// Types of events about peers' certificates.
const (
	ocspRejectType = "io.nats.server.advisory.v1.ocsp_peer_reject"
	ocspLinkType   = "io.nats.server.advisory.v1.ocsp_peer_link_invalid"
)

// Certificate describes one.
type Certificate struct {
	Subject     string `json:"subject,omitempty"` // RFC 2253
	Issuer      string `json:"issuer,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"` // base64 of the SHA-256 of raw
	Raw         string `json:"raw,omitempty"`         // base64 of the DER form
}

func certificate(c *x509.Certificate) Certificate {
	sum := sha256.Sum256(c.Raw)
	return Certificate{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(),
		Fingerprint: base64.StdEncoding.EncodeToString(sum[:]), Raw: base64.StdEncoding.EncodeToString(c.Raw),
	}
}

// OCSPReject is the event of a peer that was refused because its certificate, or one above it, has no good OCSP answer.
type OCSPReject struct {
	Typed
	Kind   string      `json:"kind"`
	Peer   Certificate `json:"peer"`
	Server ServerInfo  `json:"server"`
	Reason string      `json:"reason"`
}

// OCSPLink is the event of the certificate that has none.
type OCSPLink struct {
	Typed
	Link   Certificate `json:"link"`
	Peer   Certificate `json:"peer"`
	Server ServerInfo  `json:"server"`
	Reason string      `json:"reason"`
}

// OCSPRejected tells that a peer was refused.
func (s *Service) OCSPRejected(kind string, peer *x509.Certificate, reason string) {
	s.event(func() {
		s.send("$SYS.SERVER."+s.id+".OCSP.PEER.CONN.REJECT", func(i ServerInfo) any {
			return OCSPReject{typed(ocspRejectType), kind, certificate(peer), i, reason}
		})
	})
}

// OCSPLinkInvalid tells which certificate of a peer's chain has no good answer.
func (s *Service) OCSPLinkInvalid(link, peer *x509.Certificate, reason string) {
	s.event(func() {
		s.send("$SYS.SERVER."+s.id+".OCSP.PEER.LINK.INVALID", func(i ServerInfo) any {
			return OCSPLink{typed(ocspLinkType), certificate(link), certificate(peer), i, reason}
		})
	})
}
