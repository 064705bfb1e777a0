package options

import (
	"crypto/tls"
	"slices"
	"time"
)

// TLS is a tls block. Config is what was made of it, with certificates loaded: for the accepting side, or, in blocks that
// describe a remote, for the connecting side. It must be cloned before use.
type TLS struct {
	Config *tls.Config

	CertFile     string
	KeyFile      string
	CAFile       string
	Certificates []CertificateFiles

	Verify          bool // client certificates are required
	VerifyAndMap    bool // and name the user
	VerifyKnownURLs bool // and must stand for a configured route or gateway
	Insecure        bool

	// Timeout of a handshake, by default 2 s.
	Timeout                time.Duration
	RateLimit              int64               // handshakes in a second; 0: unlimited
	PinnedCerts            map[string]struct{} // SHA-256 of SubjectPublicKeyInfo, lower-case hex; nil: off
	HandshakeFirst         bool                // before INFO
	HandshakeFirstFallback time.Duration       // INFO after this time without a ClientHello; 0: no fallback

	OCSPPeer *OCSPPeer // nil: not configured
}

// CertificateFiles is a pair of files.
type CertificateFiles struct {
	CertFile string
	KeyFile  string
}

// AsksOCSP tells whether OCSP answers about the other side are wanted; t may be nil.
func (t *TLS) AsksOCSP() bool { return t != nil && t.OCSPPeer != nil && t.OCSPPeer.Verify }

// ListenerTLS are the tls blocks of the listeners that are open.
func (o *Options) ListenerTLS() []*TLS {
	var blocks []*TLS
	for _, l := range []struct {
		open bool
		tls  *TLS
	}{
		{!o.InProcessOnly, o.TLS}, {o.Cluster.Port != 0, o.Cluster.TLS}, {o.Gateway.Port != 0, o.Gateway.TLS},
		{o.LeafNodes.Port != 0, o.LeafNodes.TLS}, {o.WebSocket.Port != 0, o.WebSocket.TLS}, {o.MQTT.Port != 0, o.MQTT.TLS},
	} {
		if l.open && l.tls != nil {
			blocks = append(blocks, l.tls)
		}
	}
	return blocks
}

// AsksOCSP tells whether a connection of any kind is to be judged by OCSP answers.
func (o *Options) AsksOCSP() bool {
	return slices.ContainsFunc(o.ListenerTLS(), (*TLS).AsksOCSP) ||
		slices.ContainsFunc(o.LeafNodes.Remotes, func(r *LeafRemote) bool { return r.TLS.AsksOCSP() })
}

// OCSPMode says when the server staples OCSP answers.
type OCSPMode uint8

const (
	OCSPAuto OCSPMode = iota
	OCSPAlways
	OCSPNever
	OCSPMust
)

// OCSP is the block of that name.
type OCSP struct {
	Mode OCSPMode
	URLs []string
}

// OCSPCache is the block ocsp_cache.
type OCSPCache struct {
	Type            string // "local" or "none"
	LocalStore      string
	PreserveRevoked bool
	SaveInterval    time.Duration
}

// OCSPPeer is the block ocsp_peer of a tls block.
type OCSPPeer struct {
	Verify                      bool
	CATimeout                   time.Duration
	AllowedClockSkew            time.Duration
	WarnOnly                    bool
	UnknownIsGood               bool
	AllowWhenCAUnreachable      bool
	CacheTTLWhenNextUpdateUnset time.Duration
}
