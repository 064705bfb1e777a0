package ocsp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/s2"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ocsp"

	"github.com/natsd/natsd/server/options"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// authority is a certificate that signs others, and answers for them.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer

	mu       sync.Mutex
	down     bool
	status   map[string]int // by serial number; missing: good
	this     time.Duration  // of answers, from now
	next     time.Duration  // 0: not said
	signer   *x509.Certificate
	signKey  crypto.Signer
	raw      []byte // answer of these bytes
	requests []string
}

var serial int64

func issue(t *x509.Certificate, by *authority) (*x509.Certificate, crypto.Signer) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	serial++
	t.SerialNumber = big.NewInt(serial)
	t.NotBefore, t.NotAfter = time.Now().Add(-24*time.Hour), time.Now().Add(1000*time.Hour)
	parent, signer := t, crypto.Signer(key)
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der := must(x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer))
	return must(x509.ParseCertificate(der)), key
}

func newAuthority(name string, by *authority, responder string) *authority {
	a := &authority{status: map[string]int{}, next: time.Hour}
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if responder != "" {
		t.OCSPServer = []string{responder}
	}
	a.cert, a.key = issue(t, by)
	return a
}

func (a *authority) set(f func(*authority)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a)
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r.Method)
	body, _ := io.ReadAll(r.Body)
	if r.Method == http.MethodGet {
		at := strings.LastIndexByte(r.URL.EscapedPath(), '/')
		text, err := url.QueryUnescape(r.URL.EscapedPath()[at+1:])
		if err == nil {
			body, err = base64.StdEncoding.DecodeString(text)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	req, err := ocsp.ParseRequest(body)
	if err != nil || a.down {
		http.Error(w, "no", http.StatusInternalServerError)
		return
	}
	if a.raw != nil {
		w.Write(a.raw)
		return
	}
	now := time.Now()
	answer := ocsp.Response{Status: a.status[req.SerialNumber.String()], SerialNumber: req.SerialNumber, ThisUpdate: now.Add(a.this), RevokedAt: now}
	if a.next != 0 {
		answer.NextUpdate = now.Add(a.next)
	}
	signer, key := a.cert, a.key
	if a.signer != nil {
		signer, key, answer.Certificate = a.signer, a.signKey, a.signer
	}
	w.Write(must(ocsp.CreateResponse(a.cert, signer, answer, key)))
}

// web leads requests for a host to a handler without a network.
type web map[string]http.Handler

func (w web) RoundTrip(r *http.Request) (*http.Response, error) {
	h := w[r.URL.Host]
	if h == nil {
		return nil, errors.New("no such host")
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	res := rec.Result()
	res.Request = r
	return res, nil
}

// host notes what it is told.
type host struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	events []string
}

func (h *host) note(format string, v ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, fmt.Sprintf(format, v...))
}

func (h *host) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.events
	h.events = nil
	return e
}

func (h *host) Noticef(format string, v ...any) {}
func (h *host) Debugf(format string, v ...any)  {}
func (h *host) Warnf(format string, v ...any)   { h.note("WRN "+format, v...) }
func (h *host) Errorf(format string, v ...any)  { h.note("ERR "+format, v...) }
func (h *host) Go(f func())                     { h.wg.Go(f) }
func (h *host) Revoked(file string)             { h.note("revoked %s", filepath.Base(file)) }
func (h *host) LinkInvalid(link, peer *x509.Certificate, reason string) {
	h.note("link %s of %s: %s", link.Subject, peer.Subject, reason)
}
func (h *host) Rejected(kind string, peer *x509.Certificate, reason string) {
	h.note("rejected %s %s: %s", kind, peer.Subject, reason)
}

// peerSetup is a root, an authority below it and a client of that, with responders for both.
type peerSetup struct {
	host         host
	root, middle *authority
	client       *x509.Certificate
	v            *Verifier
	config       options.OCSPPeer
}

func newPeerSetup(cache *options.OCSPCache) *peerSetup {
	s := &peerSetup{config: options.OCSPPeer{
		Verify: true, CATimeout: time.Second, AllowedClockSkew: 30 * time.Second, CacheTTLWhenNextUpdateUnset: time.Hour,
	}}
	s.root = newAuthority("root", nil, "")
	s.middle = newAuthority("middle", s.root, "http://root.test/ocsp")
	s.client, _ = issue(&x509.Certificate{Subject: pkix.Name{CommonName: "client"}, OCSPServer: []string{"ldap://x", "http://middle.test"}}, s.middle)
	s.v = &Verifier{
		Cache: OpenCache(cache, &s.host), Host: &s.host,
		HTTP: &http.Client{Transport: web{"root.test": s.root, "middle.test": s.middle}},
	}
	return s
}

func (s *peerSetup) check() error {
	return s.v.Check(context.Background(), &s.config, &Peer{
		Chains: [][]*x509.Certificate{{s.client, s.middle.cert, s.root.cert}}, Kind: "Client", Refusal: ErrClient,
	})
}

func (s *peerSetup) close() {
	s.v.Cache.Stop()
	s.host.wg.Wait()
}

func noCache() *options.OCSPCache { return &options.OCSPCache{Type: "none"} }

func TestPeers(t *testing.T) {
	const rejected = "rejected Client CN=client: client not OCSP valid"
	revoke := func(s *peerSetup) { s.middle.status[s.client.SerialNumber.String()] = ocsp.Revoked }
	unknown := func(s *peerSetup) { s.middle.status[s.client.SerialNumber.String()] = ocsp.Unknown }
	for _, c := range []struct {
		name   string
		edit   func(*peerSetup)
		events []string // none: accepted
	}{
		{"good", func(*peerSetup) {}, nil},
		{"revoked", revoke, []string{"link CN=client of CN=client: Invalid OCSP response status: revoked", rejected}},
		{"revoked, warning", func(s *peerSetup) { revoke(s); s.config.WarnOnly = true },
			[]string{"link CN=client of CN=client: Invalid OCSP response status: revoked", "WRN client not OCSP valid, but accepted (warn_only): CN=client"}},
		{"authority revoked", func(s *peerSetup) { s.root.status[s.middle.cert.SerialNumber.String()] = ocsp.Revoked },
			[]string{"link CN=middle of CN=client: Invalid OCSP response status: revoked", rejected}},
		{"unknown", unknown, []string{"link CN=client of CN=client: Invalid OCSP response status: unknown", rejected}},
		{"unknown is good", func(s *peerSetup) { unknown(s); s.config.UnknownIsGood = true }, nil},
		{"no answer", func(s *peerSetup) { s.middle.down = true }, []string{"link CN=client of CN=client: Failed OCSP response fetch", rejected}},
		{"no answer, allowed", func(s *peerSetup) { s.middle.down, s.config.AllowWhenCAUnreachable = true, true },
			[]string{`WRN OCSP: no answer about "CN=client", which is accepted (allow_when_ca_unreachable)`}},
		{"garbage", func(s *peerSetup) { s.middle.raw = []byte("garbage") }, []string{"link CN=client of CN=client: Failed OCSP response parse", rejected}},
		{"too long", func(s *peerSetup) { s.middle.raw = make([]byte, maxResponse+1) }, []string{"link CN=client of CN=client: Failed OCSP response fetch", rejected}},
		{"over", func(s *peerSetup) { s.middle.this, s.middle.next = -2*time.Hour, -time.Minute },
			[]string{"link CN=client of CN=client: OCSP response not in effectivity window", rejected}},
		{"over within the skew", func(s *peerSetup) { s.middle.this, s.middle.next = -2*time.Hour, -20*time.Second }, nil},
		{"not yet", func(s *peerSetup) { s.middle.this, s.middle.next = time.Minute, time.Hour },
			[]string{"link CN=client of CN=client: OCSP response not in effectivity window", rejected}},
		{"without end", func(s *peerSetup) { s.middle.this, s.middle.next = -59*time.Minute, 0 }, nil},
		{"without end, too old", func(s *peerSetup) { s.middle.this, s.middle.next = -62*time.Minute, 0 },
			[]string{"link CN=client of CN=client: OCSP response not in effectivity window", rejected}},
		{"delegated", func(s *peerSetup) {
			s.middle.signer, s.middle.signKey = issue(&x509.Certificate{Subject: pkix.Name{CommonName: "signer"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}}, s.middle)
		}, nil},
		{"not delegated", func(s *peerSetup) {
			s.middle.signer, s.middle.signKey = issue(&x509.Certificate{Subject: pkix.Name{CommonName: "signer"}}, s.middle)
		}, []string{"link CN=client of CN=client: Invalid OCSP response delegation: CN=signer", rejected}},
		{"signed by a stranger", func(s *peerSetup) {
			stranger := newAuthority("stranger", nil, "")
			s.middle.signer, s.middle.signKey = stranger.cert, stranger.key
		}, []string{"link CN=client of CN=client: Failed OCSP response parse", rejected}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newPeerSetup(noCache())
			defer s.close()
			c.edit(s)
			err := s.check()
			if refused := slices.Contains(c.events, rejected); refused != errors.Is(err, ErrClient) || !refused && err != nil {
				t.Errorf("got %v", err)
			}
			if got := s.host.take(); !slices.Equal(got, c.events) {
				t.Errorf("told\n%q, want\n%q", got, c.events)
			}
		})
	}
}

func TestPeerChains(t *testing.T) {
	s := newPeerSetup(noCache())
	defer s.close()
	s.middle.status[s.client.SerialNumber.String()] = ocsp.Revoked
	bad := []*x509.Certificate{s.client, s.middle.cert, s.root.cert}
	silent, _ := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "silent"}}, s.root)
	for _, c := range []struct {
		name   string
		chains [][]*x509.Certificate
		ok     bool
	}{
		{"none", nil, false},
		{"only itself", [][]*x509.Certificate{{s.client}}, true},
		{"nobody to ask", [][]*x509.Certificate{{silent, s.root.cert}}, true},
		{"revoked", [][]*x509.Certificate{bad}, false},
		{"the second is valid", [][]*x509.Certificate{bad, {silent, s.root.cert}}, true},
	} {
		err := s.v.Check(context.Background(), &s.config, &Peer{Chains: c.chains, Kind: "Client", Refusal: ErrServer})
		if (err == nil) != c.ok || err != nil && err != ErrServer {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		config := &options.OCSPCache{Type: "local", LocalStore: filepath.Join(dir, "rc"), SaveInterval: time.Minute}
		s := newPeerSetup(config)
		file := filepath.Join(dir, "rc", "cache.json")
		asked := func(want int) {
			t.Helper()
			if n := len(s.middle.requests); n != want {
				t.Errorf("%d requests, want %d", n, want)
			}
		}
		for range 3 {
			if err := s.check(); err != nil {
				t.Fatal(err)
			}
		}
		asked(1)
		if got, want := s.v.Cache.Stats(), (CacheStats{Type: "local", Hits: 4, Misses: 2, Good: 2}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		time.Sleep(time.Minute) // virtual
		synctest.Wait()
		var written map[string]cached
		if err := json.Unmarshal(must(os.ReadFile(file)), &written); err != nil {
			t.Fatal(err)
		}
		entry := written[FingerprintOf(s.client).String()]
		if entry.Subject != "CN=client" || entry.Status != "good" || len(written) != 2 {
			t.Errorf("got %+v of %d", entry, len(written))
		}
		// It holds for an hour, and then half a minute.
		time.Sleep(time.Hour - time.Minute)
		s.check()
		asked(1)
		time.Sleep(31 * time.Second)
		s.middle.set(func(a *authority) { a.status[s.client.SerialNumber.String()] = ocsp.Revoked })
		if err := s.check(); err != ErrClient {
			t.Errorf("got %v", err)
		}
		asked(2)
		s.close()

		// Another server finds what this one knew, unless it is over.
		s.host.take()
		s.v.Cache = OpenCache(config, &s.host)
		if got, want := s.v.Cache.Stats(), (CacheStats{Type: "local", Good: 1, Revoked: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		s.middle.set(func(a *authority) { a.down = true })
		s.config.AllowWhenCAUnreachable = true
		if err := s.check(); err != ErrClient {
			t.Errorf("revoked as it is known to be: %v", err)
		}
		time.Sleep(2 * time.Hour)
		s.root.set(func(a *authority) { a.down = true })
		if err := s.check(); err != ErrClient {
			t.Errorf("revoked as it was known to be: %v", err)
		}
		if err := s.check(); err != nil {
			t.Errorf("what is over is forgotten: %v", err)
		}
		s.close()

		if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.host.take()
		s.v.Cache = OpenCache(config, &s.host)
		if got := s.host.take(); len(got) != 1 || !strings.HasPrefix(got[0], "WRN OCSP peer cache: ") {
			t.Errorf("told %q", got)
		}
		s.close()
	})
}

func TestRevokedIsPreserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPeerSetup(&options.OCSPCache{Type: "local", LocalStore: t.TempDir(), SaveInterval: time.Minute, PreserveRevoked: true})
		defer s.close()
		s.middle.status[s.client.SerialNumber.String()] = ocsp.Revoked
		s.check()
		s.middle.set(func(a *authority) { a.down = true })
		s.config.AllowWhenCAUnreachable = true
		time.Sleep(48 * time.Hour) // virtual
		for range 2 {
			if err := s.check(); err != ErrClient {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestFullCache(t *testing.T) {
	c := OpenCache(noCache(), &host{})
	c.config.Type = "local"
	for i := range maxCached + 1 {
		c.put(Fingerprint{byte(i), byte(i >> 8)}, &cached{At: time.Unix(int64(i), 0), Status: "good"})
	}
	if n := c.Stats().Good; n != maxCached || c.answers[Fingerprint{}] != nil {
		t.Errorf("%d answers, the first one: %v", n, c.answers[Fingerprint{}])
	}
}

func TestPacked(t *testing.T) {
	long := make([]byte, maxResponse+1)
	for name, c := range map[string]struct {
		packed []byte
		ok     bool
	}{
		"stream": {pack([]byte("answer")), true}, "block": {s2.Encode(nil, []byte("answer")), true},
		"long stream": {pack(long), false}, "long block": {s2.Encode(nil, long), false},
		"nothing": {nil, false}, "half a stream": {pack([]byte("answer"))[:12], false},
	} {
		raw, err := unpack(c.packed)
		if (err == nil) != c.ok || c.ok && string(raw) != "answer" {
			t.Errorf("%s: %q, %v", name, raw, err)
		}
	}
}

func FuzzCacheFile(f *testing.F) {
	good, _ := json.Marshal(map[string]cached{FingerprintOf(&x509.Certificate{}).String(): {Status: "good", Answer: pack([]byte("x"))}})
	f.Add(good)
	f.Add([]byte(`{"": null}`))
	f.Add([]byte(fmt.Sprintf(`{%q:{"resp_status":"good","resp":%q}}`, Fingerprint{}, base64.StdEncoding.EncodeToString(s2.Encode(nil, []byte("x"))))))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, cacheFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		c := &Cache{config: options.OCSPCache{Type: "local", LocalStore: dir}, answers: map[Fingerprint]*cached{}}
		if c.load() != nil {
			return
		}
		for _, a := range c.answers {
			if raw, err := unpack(a.Answer); err == nil {
				ocsp.ParseResponse(raw, nil)
			}
		}
	})
}

// stapleSetup is a certificate in files, whose authority answers.
type stapleSetup struct {
	t     *testing.T
	host  host
	ca    *authority
	tls   *options.TLS
	dir   string
	store string // of the answer
	web   web
}

func newStapleSetup(t *testing.T, must1 bool) *stapleSetup {
	s := &stapleSetup{t: t, ca: newAuthority("root", nil, ""), dir: t.TempDir()}
	s.web = web{"root.test": s.ca}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "server"}, OCSPServer: []string{"http://root.test"}}
	if must1 {
		template.ExtraExtensions = []pkix.Extension{{Id: tlsFeature, Value: []byte{0x30, 3, 2, 1, 5}}}
	}
	cert, key := issue(template, s.ca)
	file, keyFile, caFile := filepath.Join(s.dir, "server.pem"), filepath.Join(s.dir, "key.pem"), filepath.Join(s.dir, "ca.pem")
	write := func(path, kind string, der []byte) {
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "CERTIFICATE", cert.Raw)
	write(keyFile, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	write(caFile, "CERTIFICATE", s.ca.cert.Raw)
	pair := must(tls.LoadX509KeyPair(file, keyFile))
	s.tls = &options.TLS{Config: &tls.Config{Certificates: []tls.Certificate{pair}}, CertFile: file, KeyFile: keyFile, CAFile: caFile}
	fp := FingerprintOf(cert)
	s.store = filepath.Join(s.dir, "ocsp", hex.EncodeToString(fp[:]))
	return s
}

func (s *stapleSetup) staples(o *options.OCSP, earlier *Staples) (*Staples, error) {
	return NewStaples(context.Background(), o, []*options.TLS{s.tls}, s.dir, &http.Client{Transport: s.web}, &s.host, earlier)
}

func (s *stapleSetup) stapled(st *Staples) string {
	raw := st.Certificates(s.tls.Config.Certificates)[0].OCSPStaple
	if raw == nil {
		return "nothing"
	}
	r, err := ocsp.ParseResponse(raw, s.ca.cert)
	if err != nil {
		s.t.Fatal(err)
	}
	return statusText(r.Status)
}

func TestStapleModes(t *testing.T) {
	for _, c := range []struct {
		name    string
		o       *options.OCSP
		asks    bool
		revoked bool
		want    string
	}{
		{"not configured", nil, false, false, "nothing"},
		{"not configured, asks", nil, true, false, "good"},
		{"auto", &options.OCSP{Mode: options.OCSPAuto}, false, false, "nothing"},
		{"auto, asks", &options.OCSP{Mode: options.OCSPAuto}, true, false, "good"},
		{"auto, revoked", &options.OCSP{Mode: options.OCSPAuto}, true, true, "revoked"},
		{"must", &options.OCSP{Mode: options.OCSPMust}, false, true, "nothing"},
		{"must, asks", &options.OCSP{Mode: options.OCSPMust}, true, false, "good"},
		{"must, revoked", &options.OCSP{Mode: options.OCSPMust}, true, true, "it is revoked"},
		{"always", &options.OCSP{Mode: options.OCSPAlways}, false, false, "good"},
		{"always, revoked", &options.OCSP{Mode: options.OCSPAlways}, false, true, "it is revoked"},
		{"never", &options.OCSP{Mode: options.OCSPNever}, true, true, "nothing"},
		{"other responder", &options.OCSP{Mode: options.OCSPAlways, URLs: []string{"http://nobody.test"}}, false, false, "no such host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStapleSetup(t, c.asks)
			if c.revoked {
				s.ca.status[s.tls.Config.Certificates[0].Leaf.SerialNumber.String()] = ocsp.Revoked
			}
			st, err := s.staples(c.o, nil)
			if err != nil {
				if want := "bad OCSP status update for certificate at '" + s.tls.CertFile + "': "; !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), c.want) {
					t.Errorf("got %v", err)
				}
				return
			}
			if got := s.stapled(st); got != c.want {
				t.Errorf("%s is stapled, want %s", got, c.want)
			}
			st.Stop()
		})
	}
}

// An answer is asked for with POST, then GET; it is kept in memory and in a file while it holds, and renewed when half of
// its time is over.
func TestStapleRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStapleSetup(t, false)
		o := &options.OCSP{Mode: options.OCSPAlways}
		posts := true
		s.web["root.test"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && !posts {
				http.Error(w, "no", http.StatusMethodNotAllowed)
				return
			}
			s.ca.ServeHTTP(w, r)
		})
		st := must(s.staples(o, nil))
		asked := func(want ...string) {
			t.Helper()
			if got := s.ca.requests; !slices.Equal(got, want) {
				t.Errorf("asked with %q, want %q", got, want)
			}
			s.ca.requests = nil
		}
		asked("POST")
		if kept := must(os.ReadFile(s.store)); !bytes.Equal(kept, st.Certificates(s.tls.Config.Certificates)[0].OCSPStaple) {
			t.Error("the file has another answer")
		}
		next := must(s.staples(o, st)) // a reload
		st.Stop()
		st = must(s.staples(o, nil)) // a new start
		next.Stop()
		asked()
		posts = false
		st.Run()
		time.Sleep(30*time.Minute + time.Second) // virtual
		synctest.Wait()
		asked("GET")
		// Without an end: the next day. That fails, and is tried again.
		s.ca.set(func(a *authority) { a.next = 0 })
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		asked("GET")
		s.ca.set(func(a *authority) { a.down = true })
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		asked("GET")
		s.ca.set(func(a *authority) { a.down = false })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		asked("GET")
		if got := s.host.take(); len(got) != 1 || !strings.HasSuffix(got[0], "trying again in 2m0s") {
			t.Errorf("told %q", got)
		}
		s.ca.set(func(a *authority) { a.status[s.tls.Config.Certificates[0].Leaf.SerialNumber.String()] = ocsp.Revoked })
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := s.host.take(); len(got) != 2 || got[1] != "revoked server.pem" {
			t.Errorf("told %q", got)
		}
		st.Stop()
		s.host.wg.Wait()
	})
}
