package ocsp

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/natsd/natsd/server/options"
)

// Refusals of peers, as the handshake fails with them.
var (
	ErrClient = errors.New("client not OCSP valid")
	ErrServer = errors.New("server not OCSP valid")
)

// Verifier judges the certificates of the other sides of connections. Its methods are safe for concurrent use; they wait
// for responders.
type Verifier struct {
	Cache *Cache
	HTTP  *http.Client
	Host  Host
}

// Peer is a connection under judgement.
type Peer struct {
	// Chains are those that were verified, the peer's own certificate first and the root last.
	Chains [][]*x509.Certificate
	Kind   string // of the connection, in events
	// Refusal is ErrClient or ErrServer.
	Refusal error
}

// Check returns the peer's refusal if no chain is valid: in one that is, each certificate below the root that names
// responders has a good answer.
func (v *Verifier) Check(ctx context.Context, c *options.OCSPPeer, p *Peer) error {
	for _, chain := range p.Chains {
		if v.valid(ctx, c, chain) {
			return nil
		}
	}
	var leaf *x509.Certificate
	if len(p.Chains) > 0 && len(p.Chains[0]) > 0 {
		leaf = p.Chains[0][0]
	}
	if c.WarnOnly {
		v.Host.Warnf("%v, but accepted (warn_only): %s", p.Refusal, subjectOf(leaf))
		return nil
	}
	if leaf != nil {
		v.Host.Rejected(p.Kind, leaf, p.Refusal.Error())
	}
	return p.Refusal
}

func subjectOf(c *x509.Certificate) string {
	if c == nil {
		return "no verified certificate"
	}
	return c.Subject.String()
}

func (v *Verifier) valid(ctx context.Context, c *options.OCSPPeer, chain []*x509.Certificate) bool {
	for i := range max(len(chain)-1, 0) {
		link, issuer := chain[i], chain[i+1]
		responders := webResponders(link.OCSPServer)
		if responders == nil {
			continue
		}
		if why := v.judge(ctx, c, link, issuer, responders); why != "" {
			v.Host.Debugf("OCSP: %s: %s", subjectOf(link), why)
			v.Host.LinkInvalid(link, chain[0], why)
			return false
		}
	}
	return true
}

// Reasons why a link is not valid.
const (
	reasonFetch  = "Failed OCSP response fetch"
	reasonWindow = "OCSP response not in effectivity window"
	reasonParse  = "Failed OCSP response parse"
)

// judge says why a link is not valid; empty if it is.
func (v *Verifier) judge(ctx context.Context, c *options.OCSPPeer, link, issuer *x509.Certificate, responders []string) string {
	w := window{skew: c.AllowedClockSkew, ttl: c.CacheTTLWhenNextUpdateUnset}
	now := time.Now()
	fp := FingerprintOf(link)
	var known *ocsp.Response
	a, hit := v.Cache.find(fp, func(a *cached) bool {
		raw, err := unpack(a.Answer)
		if err != nil {
			return false
		}
		known, err = parse(raw, link, issuer)
		return err == nil && w.holds(known, now)
	})
	if hit {
		return accepts(c, known)
	}
	raw, err := v.fetch(ctx, c, link, issuer, responders)
	if err != nil {
		v.Host.Debugf("OCSP: %s: %v", subjectOf(link), err)
		if c.AllowWhenCAUnreachable && (a == nil || a.Status != statusText(ocsp.Revoked)) {
			v.Host.Warnf("OCSP: no answer about %q, which is accepted (allow_when_ca_unreachable)", subjectOf(link))
			return ""
		}
		return reasonFetch
	}
	r, err := parse(raw, link, issuer)
	var delegation *delegationError
	switch {
	case errors.As(err, &delegation):
		return "Invalid OCSP response delegation: " + delegation.subject
	case err != nil:
		v.Host.Debugf("OCSP: %s: %v", subjectOf(link), err)
		return reasonParse
	case !w.holds(r, now):
		return reasonWindow
	}
	v.Cache.put(fp, &cached{
		Subject: subjectOf(link), At: now.UTC(), Status: statusText(r.Status), Expires: w.expires(r).UTC(), Answer: pack(raw),
	})
	return accepts(c, r)
}

// accepts says why the status of an answer is not good enough; empty if it is.
func accepts(c *options.OCSPPeer, r *ocsp.Response) string {
	if r.Status == ocsp.Good || r.Status == ocsp.Unknown && c.UnknownIsGood {
		return ""
	}
	return "Invalid OCSP response status: " + statusText(r.Status)
}

// fetch returns the answer of the first responder that gives one.
func (v *Verifier) fetch(ctx context.Context, c *options.OCSPPeer, link, issuer *x509.Certificate, responders []string) ([]byte, error) {
	request, err := ocsp.CreateRequest(link, issuer, nil)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, responder := range responders {
		asking, cancel := context.WithTimeout(ctx, c.CATimeout)
		raw, err := get(asking, v.HTTP, responder, request)
		cancel()
		if err == nil {
			return raw, nil
		}
		failed = err
	}
	return nil, failed
}
