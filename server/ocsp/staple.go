package ocsp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/natsd/natsd/server/options"
)

const (
	// A responder has this long for an answer about one of the server's own certificates.
	stapleTimeout = 5 * time.Second

	// Times until an answer is asked for again: of answers that do not say how long they are good, and of those that are
	// over or could not be had.
	renewUnlimited = 24 * time.Hour
	renewOverdue   = 2 * time.Minute

	stapleDir     = "ocsp"
	stapleTemp    = "staple-*"
	stapleDirMode = 0o755
	maxStapleFile = maxResponse
)

// Staples are the answers about the certificates of a server's listeners. Its methods are safe for concurrent use.
type Staples struct {
	host Host
	http *http.Client
	by   map[Fingerprint]*staple // of the certificates to which answers are stapled; not changed once it is made
	ctx  context.Context         // ends with Stop
	stop context.CancelFunc
}

// staple is the answer about one certificate.
type staple struct {
	file         string // of the certificate, for messages
	cert, issuer *x509.Certificate
	responders   []string
	store        string // file of the answer; empty: none
	endWhenBad   bool   // the server is not to go on with a revoked certificate

	raw atomic.Pointer[[]byte] // the answer
}

// NewStaples fetches the answers about the certificates of listeners. storeDir keeps them over restarts; empty: nothing
// does. Answers of earlier, which may be nil, are used again. An error means that a certificate that needs an answer has
// none, or was revoked. The end of ctx ends everything, as Stop does.
func NewStaples(ctx context.Context, o *options.OCSP, blocks []*options.TLS, storeDir string, c *http.Client, host Host, earlier *Staples) (*Staples, error) {
	s := &Staples{host: host, http: c, by: map[Fingerprint]*staple{}}
	s.ctx, s.stop = context.WithCancel(ctx)
	for _, t := range blocks {
		files := t.Certificates
		if t.CertFile != "" {
			files = []options.CertificateFiles{{CertFile: t.CertFile, KeyFile: t.KeyFile}}
		}
		for i := range t.Config.Certificates {
			p, err := newStaple(o, t, &t.Config.Certificates[i], files[i].CertFile, storeDir)
			if p != nil && err == nil && s.by[FingerprintOf(p.cert)] == nil {
				fp := FingerprintOf(p.cert)
				s.by[fp] = p
				if earlier != nil && earlier.by[fp] != nil {
					p.raw.Store(earlier.by[fp].raw.Load())
				}
				err = s.begin(p)
			}
			if err != nil {
				s.stop()
				return nil, fmt.Errorf("bad OCSP status update for certificate at '%s': %w", files[i].CertFile, err)
			}
		}
	}
	return s, nil
}

// Run renews the answers until Stop.
func (s *Staples) Run() {
	for _, p := range s.by {
		s.host.Go(func() { s.renew(p) })
	}
}

// Stop ends the renewal.
func (s *Staples) Stop() { s.stop() }

// Certificates are certs with what is stapled to them; s may be nil.
func (s *Staples) Certificates(certs []tls.Certificate) []tls.Certificate {
	if s == nil || len(s.by) == 0 {
		return certs
	}
	certs = slices.Clone(certs)
	for i := range certs {
		if p := s.by[sha256.Sum256(certs[i].Certificate[0])]; p != nil {
			if raw := p.raw.Load(); raw != nil {
				certs[i].OCSPStaple = *raw
			}
		}
	}
	return certs
}

// newStaple decides whether answers are stapled to a certificate; nil: they are not.
func newStaple(o *options.OCSP, t *options.TLS, cert *tls.Certificate, file, storeDir string) (*staple, error) {
	mode := options.OCSPAuto
	var urls []string
	if o != nil {
		mode, urls = o.Mode, o.URLs
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, err
	}
	asks := mustStaple(leaf)
	if mode == options.OCSPNever || mode != options.OCSPAlways && !asks {
		return nil, nil
	}
	p := &staple{file: file, cert: leaf, endWhenBad: mode == options.OCSPAlways || mode == options.OCSPMust}
	if p.responders = webResponders(urls); p.responders == nil {
		p.responders = webResponders(leaf.OCSPServer)
	}
	if p.responders == nil {
		return nil, errNoResponder
	}
	if p.issuer, err = issuerOf(leaf, cert.Certificate[1:], t.CAFile); err != nil {
		return nil, err
	}
	if storeDir != "" {
		fp := FingerprintOf(leaf)
		p.store = filepath.Join(storeDir, stapleDir, hex.EncodeToString(fp[:]))
	}
	return p, nil
}

// tlsFeature is the extension by which a certificate says that it must not be used without an answer (RFC 7633), and
// statusRequest the feature that it then names.
var tlsFeature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}

const statusRequest = 5

func mustStaple(c *x509.Certificate) bool {
	for _, x := range c.Extensions {
		if !x.Id.Equal(tlsFeature) {
			continue
		}
		var features []int
		if _, err := asn1.Unmarshal(x.Value, &features); err == nil && slices.Contains(features, statusRequest) {
			return true
		}
	}
	return false
}

// issuerOf finds the issuer behind the certificate in its file, or among the authorities.
func issuerOf(cert *x509.Certificate, chain [][]byte, caFile string) (*x509.Certificate, error) {
	if len(chain) > 0 {
		issuer, err := x509.ParseCertificate(chain[0])
		if err == nil {
			err = cert.CheckSignatureFrom(issuer)
		}
		return issuer, err
	}
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		for {
			var b *pem.Block
			if b, text = pem.Decode(text); b == nil {
				break
			}
			if ca, err := x509.ParseCertificate(b.Bytes); err == nil && cert.CheckSignatureFrom(ca) == nil {
				return ca, nil
			}
		}
	}
	return nil, errors.New("no issuer in its file or in ca_file")
}

// errRevoked: the server's certificate was revoked.
var errRevoked = errors.New("it is revoked")

// begin gets the first answer: one that holds from memory or from the file, else a new one.
func (s *Staples) begin(p *staple) error {
	raw := p.raw.Load()
	if raw == nil && p.store != "" {
		if b, err := os.ReadFile(p.store); err == nil && len(b) <= maxStapleFile {
			raw = &b
		}
	}
	if raw != nil {
		if r, err := parse(*raw, p.cert, p.issuer); err == nil && r.Status == ocsp.Good && (window{ttl: renewUnlimited}).holds(r, time.Now()) {
			p.raw.Store(raw)
			return nil
		}
	}
	r, err := s.fetch(p)
	switch {
	case err != nil:
		return err
	case r.Status == ocsp.Revoked && p.endWhenBad:
		return errRevoked
	}
	s.host.Noticef("OCSP status of the certificate at '%s' is %s", p.file, statusText(r.Status))
	return nil
}

// fetch asks the responders, with POST first, and takes over the answer.
func (s *Staples) fetch(p *staple) (*ocsp.Response, error) {
	request, err := ocsp.CreateRequest(p.cert, p.issuer, nil)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, responder := range p.responders {
		for _, ask := range []func(context.Context, *http.Client, string, []byte) ([]byte, error){post, get} {
			ctx, cancel := context.WithTimeout(s.ctx, stapleTimeout)
			raw, err := ask(ctx, s.http, responder, request)
			cancel()
			var r *ocsp.Response
			if err == nil {
				r, err = parse(raw, p.cert, p.issuer)
			}
			if err == nil && !(window{ttl: renewUnlimited}).holds(r, time.Now()) {
				err = errors.New("the answer is out of date")
			}
			if err != nil {
				failed = err
				continue
			}
			s.take(p, raw)
			return r, nil
		}
	}
	return nil, failed
}

func (s *Staples) take(p *staple, raw []byte) {
	if old := p.raw.Swap(&raw); old != nil && bytes.Equal(*old, raw) || p.store == "" {
		return
	}
	err := os.MkdirAll(filepath.Dir(p.store), stapleDirMode)
	if err == nil {
		err = replaceFile(p.store, stapleTemp, raw)
	}
	if err != nil {
		s.host.Warnf("Keeping the OCSP status of the certificate at '%s': %v", p.file, err)
	}
}

// due is how long an answer is kept: half of what is left of it.
func (p *staple) due(now time.Time) time.Duration {
	raw := p.raw.Load()
	if raw == nil {
		return renewOverdue
	}
	r, err := parse(*raw, p.cert, p.issuer)
	switch {
	case err != nil:
		return renewOverdue
	case r.NextUpdate.IsZero():
		return renewUnlimited
	case !r.NextUpdate.After(now):
		return renewOverdue
	}
	return max(r.NextUpdate.Sub(now)/2, time.Second)
}

func (s *Staples) renew(p *staple) {
	timer := time.NewTimer(p.due(time.Now()))
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		}
		r, err := s.fetch(p)
		if s.ctx.Err() != nil {
			return
		}
		next := p.due(time.Now())
		switch {
		case err != nil:
			next = min(next, renewOverdue)
			s.host.Errorf("Bad OCSP status update for certificate at '%s': %v, trying again in %v", p.file, err, next)
		case r.Status == ocsp.Good:
			s.host.Debugf("OCSP status of the certificate at '%s' is renewed, again in %v", p.file, next)
		case r.Status == ocsp.Revoked && p.endWhenBad:
			s.host.Errorf("The certificate at '%s' is revoked, shutting down", p.file)
			s.host.Revoked(p.file)
			return
		default:
			s.host.Errorf("OCSP status of the certificate at '%s' is %s", p.file, statusText(r.Status))
		}
		timer.Reset(next)
	}
}
