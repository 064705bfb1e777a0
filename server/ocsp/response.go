package ocsp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

const (
	// maxResponse bounds an answer: those with the signer's chain have a few kilobytes.
	maxResponse = 64 << 10

	// maxResponders bounds the responders that are asked about one certificate: a handshake waits for them.
	maxResponders = 4
)

// Host is the server as this package sees it. Its methods are safe for concurrent use.
type Host interface {
	Noticef(format string, v ...any)
	Warnf(format string, v ...any)
	Errorf(format string, v ...any)
	Debugf(format string, v ...any)
	// Go starts a goroutine that the end of the server waits for.
	Go(f func())
	// LinkInvalid tells that a certificate of a peer's chain (which may be the peer's own) has no good answer; Rejected
	// that the peer was refused for it. Kind is that of the connection.
	LinkInvalid(link, peer *x509.Certificate, reason string)
	Rejected(kind string, peer *x509.Certificate, reason string)
	// Revoked tells that one of the server's own certificates was revoked and that it is not to be used any longer.
	Revoked(file string)
}

// Fingerprint identifies a certificate: the SHA-256 of its DER form.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns that of a certificate.
func FingerprintOf(c *x509.Certificate) Fingerprint { return sha256.Sum256(c.Raw) }

// String is standard base64.
func (f Fingerprint) String() string { return base64.StdEncoding.EncodeToString(f[:]) }

func parseFingerprint(s string) (f Fingerprint, err error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err == nil && len(b) != len(f) {
		err = errors.New("not a SHA-256")
	}
	copy(f[:], b)
	return f, err
}

// statusText is how a status is written in files, events and errors.
func statusText(status int) string {
	switch status {
	case ocsp.Good:
		return "good"
	case ocsp.Revoked:
		return "revoked"
	}
	return "unknown"
}

// webResponders are the responders of a certificate that can be asked.
func webResponders(urls []string) []string {
	var out []string
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || !(strings.EqualFold(u.Scheme, "http") || strings.EqualFold(u.Scheme, "https")) {
			continue
		}
		if out = append(out, strings.TrimSuffix(s, "/")); len(out) == maxResponders {
			break
		}
	}
	return out
}

// get asks a responder with a GET: <url>/<base64 of the request>.
func get(ctx context.Context, c *http.Client, responder string, request []byte) ([]byte, error) {
	return exchange(ctx, c, http.MethodGet, responder+"/"+url.QueryEscape(base64.StdEncoding.EncodeToString(request)), nil)
}

// post asks a responder with a POST.
func post(ctx context.Context, c *http.Client, responder string, request []byte) ([]byte, error) {
	return exchange(ctx, c, http.MethodPost, responder, request)
}

func exchange(ctx context.Context, c *http.Client, method, to string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/ocsp-request")
	}
	req.Header.Set("Accept", "application/ocsp-response")
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", req.URL.Host, res.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxResponse+1))
	if err == nil && len(raw) > maxResponse {
		err = fmt.Errorf("%s answers more than %d bytes", req.URL.Host, maxResponse)
	}
	return raw, err
}

// delegationError tells that an answer was signed by somebody who may not.
type delegationError struct{ subject string }

func (e *delegationError) Error() string { return "no delegation of OCSP signing to " + e.subject }

// parse checks that raw is an answer about cert, signed by its issuer or by a certificate that the issuer gave the key
// usage OCSP signing.
func parse(raw []byte, cert, issuer *x509.Certificate) (*ocsp.Response, error) {
	r, err := ocsp.ParseResponseForCert(raw, cert, issuer)
	if err != nil {
		return nil, err
	}
	if signer := r.Certificate; signer != nil && !signer.Equal(issuer) && !slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return nil, &delegationError{signer.Subject.String()}
	}
	return r, nil
}

// window is when an answer counts.
type window struct {
	skew time.Duration
	ttl  time.Duration // of answers that do not say how long they are good
}

// expires is when the answer ends.
func (w window) expires(r *ocsp.Response) time.Time {
	if r.NextUpdate.IsZero() {
		return r.ThisUpdate.Add(w.ttl)
	}
	return r.NextUpdate
}

func (w window) holds(r *ocsp.Response, now time.Time) bool {
	return !w.expires(r).Before(now.Add(-w.skew)) && !r.ThisUpdate.After(now.Add(w.skew))
}

var errNoResponder = errors.New("no OCSP responder is known")
