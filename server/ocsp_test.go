package server

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/crypto/ocsp"

	"github.com/natsd/natsd/server/options"
)

// testResponder answers for a testCA.
type testResponder struct {
	*httptest.Server
	ca *testCA

	mu      sync.Mutex
	revoked map[string]bool // by serial number
}

func newTestResponder(t testing.TB) *testResponder {
	r := &testResponder{ca: newTestCA(t), revoked: map[string]bool{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Server.Close)
	r.ca.responder = r.URL
	return r
}

func (r *testResponder) revoke(c tls.Certificate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revoked[c.Leaf.SerialNumber.String()] = true
}

// ServeHTTP serves POST, and GET with the request in the path.
func (r *testResponder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	if req.Method == http.MethodGet {
		body, _ = base64.StdEncoding.DecodeString(strings.TrimPrefix(req.URL.Path, "/"))
	}
	q, err := ocsp.ParseRequest(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := ocsp.Response{SerialNumber: q.SerialNumber, ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour), RevokedAt: time.Now()}
	r.mu.Lock()
	if r.revoked[q.SerialNumber.String()] {
		answer.Status = ocsp.Revoked
	}
	r.mu.Unlock()
	raw, err := ocsp.CreateResponse(r.ca.cert, r.ca.cert, answer, r.ca.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Write(raw)
}

func TestOCSPPeers(t *testing.T) {
	r := newTestResponder(t)
	r.ca.pair("server")
	good, bad := r.ca.pair("good"), r.ca.pair("bad")
	r.revoke(bad)
	store := filepath.Join(t.TempDir(), "rc")
	conf := func(cache string) string {
		return r.ca.block("verify: true, timeout: 5, ocsp_peer: true") + cache +
			"accounts { $SYS { users: [ {user: sys, password: p} ] } }\n"
	}
	s := startFile(t, conf(fmt.Sprintf("ocsp_cache { local_store: %q }\n", store)))
	with := func(c tls.Certificate) nats.Option {
		return nats.Secure(&tls.Config{RootCAs: r.ca.pool, Certificates: []tls.Certificate{c}})
	}
	sys := connect(t, s.Server, with(good), nats.UserInfo("sys", "p"))
	events, err := sys.SubscribeSync("$SYS.SERVER." + s.ID() + ".OCSP.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := sys.Flush(); err != nil {
		t.Fatal(err)
	}
	if nc, err := nats.Connect("nats://"+s.Addr().String(), nats.Timeout(patience), with(bad), nats.UserInfo("sys", "p")); err == nil {
		nc.Close()
		t.Fatal("a client with a revoked certificate is in")
	}
	waitFor(t, func() bool {
		return s.log.(*testLog).contains("TLS handshake error: client not OCSP valid")
	})
	for _, want := range []struct{ subject, kind, reason string }{
		{"LINK.INVALID", "io.nats.server.advisory.v1.ocsp_peer_link_invalid", "Invalid OCSP response status: revoked"},
		{"CONN.REJECT", "io.nats.server.advisory.v1.ocsp_peer_reject", "client not OCSP valid"},
	} {
		m, err := events.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			Type, Kind, Reason, ID string
			Peer                   struct{ Subject, Issuer, Fingerprint, Raw string }
			Server                 struct{ ID string }
		}
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(m.Subject, ".OCSP.PEER."+want.subject) || e.Type != want.kind || e.Reason != want.reason || e.ID == "" ||
			e.Peer.Subject != "CN=bad" || e.Peer.Issuer != "CN=ca" || e.Server.ID != s.ID() {
			t.Errorf("%s: %s", m.Subject, m.Data)
		}
	}
	cacheOf := func() map[string]any {
		var v map[string]any
		if err := json.Unmarshal(get(s.Server, "/varz").Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if v["tls_ocsp_peer_verify"] != true {
			t.Error("no tls_ocsp_peer_verify")
		}
		c, _ := v["ocsp_peer_cache"].(map[string]any)
		return c
	}
	c := cacheOf()
	for name, want := range map[string]any{
		"cache_type": "local", "cache_misses": 2.0, "cached_responses": 2.0, "cached_good_responses": 1.0, "cached_revoked_responses": 1.0,
	} {
		if c[name] != want {
			t.Errorf("%s: %v, want %v", name, c[name], want)
		}
	}
	s.mustReload(conf("ocsp_cache: false\n"))
	if !s.log.(*testLog).contains("INF Reloaded OCSP peer cache") {
		t.Error("no line about the cache")
	}
	if c := cacheOf(); c["cache_type"] != "none" || c["cached_responses"] != nil {
		t.Errorf("got %v", c)
	}
	if _, err := os.Stat(filepath.Join(store, "cache.json")); err != nil {
		t.Error(err)
	}
	connect(t, s.Server, with(good), nats.UserInfo("sys", "p"))
}

func TestOCSPPeersNeedVerification(t *testing.T) {
	ca := newTestCA(t)
	ca.pair("server")
	cert, err := tls.LoadX509KeyPair(ca.path("server.pem"), ca.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	o := options.Default()
	o.Host, o.Port = "127.0.0.1", -1
	o.TLS = &options.TLS{Config: &tls.Config{Certificates: []tls.Certificate{cert}}, CertFile: ca.path("server.pem"), OCSPPeer: &options.OCSPPeer{Verify: true}}
	s, err := New(o, &testLog{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	if err := s.Start(); err == nil || err.Error() != "OCSP peer verification for client connections requires TLS verify (mTLS) to be enabled" {
		t.Errorf("got %v", err)
	}
}

func TestOCSPStaples(t *testing.T) {
	r := newTestResponder(t)
	first := r.ca.pair("server")
	s := startFile(t, r.ca.block("")+"ocsp: { mode: always }\n")
	stapled := func() (status int, ok bool) {
		t.Helper()
		conn := dialTLS(t, s.Server, &tls.Config{RootCAs: r.ca.pool})
		defer conn.Close()
		raw := conn.ConnectionState().OCSPResponse
		if raw == nil {
			return 0, false
		}
		a, err := ocsp.ParseResponseForCert(raw, conn.ConnectionState().PeerCertificates[0], r.ca.cert)
		if err != nil {
			t.Fatal(err)
		}
		return a.Status, true
	}
	if status, ok := stapled(); !ok || status != ocsp.Good {
		t.Errorf("status %d, %v", status, ok)
	}
	s.mustReload(r.ca.block("") + "ocsp: false\n")
	if !s.log.(*testLog).contains("INF Reloaded: OCSP") {
		t.Error("no line about OCSP")
	}
	if _, ok := stapled(); ok {
		t.Error("something is stapled")
	}
	// Another certificate, which is revoked: the reload goes on, and says so.
	second := r.ca.pair("server")
	r.revoke(second)
	s.mustReload(r.ca.block("") + "ocsp: { mode: always }\n")
	if want := "WRN Can't restart OCSP features: bad OCSP status update for certificate at '" + r.ca.path("server.pem") + "': it is revoked"; !s.log.(*testLog).contains(want) {
		t.Errorf("no line %q", want)
	}
	r.revoke(first)
	third := r.ca.pair("server")
	s.mustReload(r.ca.block("") + "ocsp: { mode: always }\n")
	if status, ok := stapled(); !ok || status != ocsp.Good {
		t.Errorf("status %d, %v of %s", status, ok, third.Leaf.SerialNumber)
	}
}
