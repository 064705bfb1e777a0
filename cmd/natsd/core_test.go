package main_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"
)

// wait is how long something may take that needs no time: long enough for a machine
// with much else to do.
const wait = time.Minute

func TestCorePublishSubscribe(t *testing.T) {
	s := startServer(t, "")
	nc := s.connect()
	sub := must(nc.SubscribeSync("a.*.c"))(t)
	wide := must(nc.SubscribeSync("a.>"))(t)
	if err := nc.Publish("a.b.c", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*nats.Subscription{sub, wide} {
		m := must(s.NextMsg(wait))(t)
		if m.Subject != "a.b.c" || string(m.Data) != "hello" {
			t.Errorf("got %q on %q", m.Data, m.Subject)
		}
	}
	if v := nc.ConnectedServerVersion(); v != "2.15.0" && os.Getenv("NATSD_BINARY") == "" {
		t.Errorf("version %q", v)
	}
}

func TestCoreHeaders(t *testing.T) {
	s := startServer(t, "")
	nc := s.connect()
	sub := must(nc.SubscribeSync("h"))(t)
	m := nats.NewMsg("h")
	m.Header.Add("Key", "one")
	m.Header.Add("Key", "two")
	m.Data = []byte("body")
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	got := must(sub.NextMsg(wait))(t)
	if v := got.Header.Values("Key"); len(v) != 2 || v[0] != "one" || v[1] != "two" || string(got.Data) != "body" {
		t.Errorf("%v %q", got.Header, got.Data)
	}
}

func TestCoreNoResponders(t *testing.T) {
	s := startServer(t, "")
	if _, err := s.connect().Request("nobody", nil, wait); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("error %v", err)
	}
}

func TestCoreQueueGroups(t *testing.T) {
	s := startServer(t, "")
	const members, n = 5, 2000
	var total atomic.Int64
	counts := make([]atomic.Int64, members)
	for i := range members {
		nc := s.connect()
		must(nc.QueueSubscribe("work", "q", func(*nats.Msg) { counts[i].Add(1); total.Add(1) }))(t)
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	pub := s.connect()
	for range n {
		if err := pub.Publish("work", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := pub.Flush(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "all deliveries", func() bool { return total.Load() >= n })
	for i := range counts {
		// The chance of a fair member to get under half of its share is nil.
		if c := counts[i].Load(); c < n/members/2 {
			t.Errorf("member %d got %d of %d", i, c, n)
		}
	}
	if total.Load() != n {
		t.Errorf("%d deliveries of %d messages", total.Load(), n)
	}
}

func TestCoreThousandSubjects(t *testing.T) {
	s := startServer(t, "")
	nc := s.connect()
	subs := make([]*nats.Subscription, 1000)
	for i := range subs {
		subs[i] = must(nc.SubscribeSync(fmt.Sprintf("s.%d", i)))(t)
	}
	for i := range subs {
		if err := nc.Publish(fmt.Sprintf("s.%d", i), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	for i, sub := range subs {
		if m := must(sub.NextMsg(wait))(t); string(m.Data) != fmt.Sprint(i) {
			t.Fatalf("s.%d got %q", i, m.Data)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCoreLargePayloads(t *testing.T) {
	s := startServer(t, "max_payload: 8MB")
	nc, rc := s.connect(), s.connect()
	sub := must(rc.SubscribeSync("big"))(t)
	if err := rc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{4095, 4096, 65536, 1 << 20, 8 << 20} {
		data := make([]byte, n)
		rand.Read(data)
		if err := nc.Publish("big", data); err != nil {
			t.Fatal(err)
		}
		if m := must(sub.NextMsg(wait))(t); !bytes.Equal(m.Data, data) {
			t.Fatalf("%d bytes came as %d, or differ", n, len(m.Data))
		}
	}
	if err := nc.Publish("big", make([]byte, 8<<20+1)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("error %v", err)
	}
}

// A client that ignores the limit in INFO is told and closed.
func TestCoreMaxPayloadViolation(t *testing.T) {
	s := startServer(t, "max_payload: 1024")
	c := must(net.Dial("tcp", s.addr))(t)
	defer c.Close()
	c.SetDeadline(time.Now().Add(wait))
	fmt.Fprintf(c, "CONNECT {\"verbose\":false}\r\nPUB foo 1025\r\n")
	var all bytes.Buffer
	all.ReadFrom(c)
	if !bytes.HasSuffix(all.Bytes(), []byte("-ERR 'Maximum Payload Violation'\r\n")) {
		t.Errorf("got %q", all.Bytes())
	}
}

func TestCoreReconnect(t *testing.T) {
	s := startServer(t, "")
	reconnected := make(chan struct{}, 1)
	nc := s.connect(nats.ReconnectWait(10*time.Millisecond), nats.MaxReconnects(-1), nats.ErrorHandler(nil),
		nats.ReconnectHandler(func(*nats.Conn) { reconnected <- struct{}{} }))
	sub := must(nc.SubscribeSync("again"))(t)
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	s.kill()
	s.configureAt(s.addr, "")
	s.start()
	select {
	case <-reconnected:
	case <-time.After(wait):
		t.Fatal("client did not come back")
	}
	if err := nc.Flush(); err != nil { // the server has its subscription again
		t.Fatal(err)
	}
	if err := s.connect().Publish("again", []byte("x")); err != nil {
		t.Fatal(err)
	}
	must(sub.NextMsg(wait))(t)
}

func TestCoreDrain(t *testing.T) {
	s := startServer(t, "")
	closed := make(chan struct{})
	nc := s.connect(nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	var got atomic.Int64
	must(nc.Subscribe("d", func(*nats.Msg) { got.Add(1) }))(t)
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	pub := s.connect()
	const n = 1000
	for range n {
		if err := pub.Publish("d", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := pub.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := nc.Drain(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(wait):
		t.Fatal("drain does not end")
	}
	if got.Load() != n {
		t.Errorf("%d of %d", got.Load(), n)
	}
}

func TestCoreMicro(t *testing.T) {
	s := startServer(t, "")
	nc := s.connect()
	svc := must(micro.AddService(nc, micro.Config{
		Name: "echo", Version: "1.0.0",
		Endpoint: &micro.EndpointConfig{Subject: "svc.echo", Handler: micro.HandlerFunc(func(r micro.Request) { r.Respond(r.Data()) })},
	}))(t)
	defer svc.Stop()
	if err := nc.Flush(); err != nil { // the client is another connection
		t.Fatal(err)
	}
	client := s.connect()
	for range 10 {
		if m := must(client.Request("svc.echo", []byte("hi"), wait))(t); string(m.Data) != "hi" {
			t.Fatalf("%q", m.Data)
		}
	}
	for _, subject := range []string{"$SRV.PING", "$SRV.INFO.echo", "$SRV.STATS.echo"} {
		m := must(client.Request(subject, nil, wait))(t)
		var v struct{ Name string }
		if err := json.Unmarshal(m.Data, &v); err != nil || v.Name != "echo" {
			t.Errorf("%s: %s", subject, m.Data)
		}
	}
}

func TestCoreAuthMethods(t *testing.T) {
	hash := string(must(bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost))(t))
	user := must(nkeys.CreateUser())(t)
	pub := must(user.PublicKey())(t)
	for _, tt := range []struct {
		name, conf string
		good, bad  []nats.Option
	}{
		{"user and password", `authorization { user: a, password: s3 }`,
			[]nats.Option{nats.UserInfo("a", "s3")}, []nats.Option{nats.UserInfo("a", "wrong")}},
		{"bcrypt", fmt.Sprintf("authorization { users: [{user: a, password: %q}] }", hash),
			[]nats.Option{nats.UserInfo("a", "secret")}, []nats.Option{nats.UserInfo("a", hash)}},
		{"token", `authorization { token: t0ken }`,
			[]nats.Option{nats.Token("t0ken")}, []nats.Option{nats.Token("other")}},
		{"bcrypt token", fmt.Sprintf("authorization { token: %q }", hash),
			[]nats.Option{nats.Token("secret")}, []nats.Option{nats.Token(hash)}},
		{"nkey", fmt.Sprintf("authorization { users: [{nkey: %s}] }", pub),
			[]nats.Option{nats.Nkey(pub, user.Sign)}, []nats.Option{nats.Nkey(pub, func(b []byte) ([]byte, error) { return user.Sign(append(b, 'x')) })}},
		{"accounts", `accounts { A { users: [{user: a, password: a}] }, B { users: [{user: b, password: b}] } }`,
			[]nats.Option{nats.UserInfo("b", "b")}, []nats.Option{nats.UserInfo("b", "a")}},
		{"no_auth_user", `authorization { users: [{user: a, password: a}] }
			no_auth_user: a`,
			nil, []nats.Option{nats.UserInfo("a", "b")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t, tt.conf)
			nc := s.connect(tt.good...)
			sub := must(nc.SubscribeSync("x"))(t)
			if err := nc.Publish("x", nil); err != nil {
				t.Fatal(err)
			}
			must(sub.NextMsg(wait))(t)
			if nc, err := nats.Connect(s.url(), append([]nats.Option{nats.Timeout(wait)}, tt.bad...)...); !errors.Is(err, nats.ErrAuthorization) {
				if err == nil {
					nc.Close()
				}
				t.Errorf("bad credentials: %v", err)
			}
		})
	}
}

func TestCorePermissions(t *testing.T) {
	s := startServer(t, `authorization { users: [
		{user: a, password: a, permissions: {publish: "ok.>", subscribe: {allow: ["ok.>", "_INBOX.>"], deny: "ok.no"}}}
		{user: svc, password: s, permissions: {subscribe: "ok.svc", allow_responses: true}}
		{user: root, password: r} ] }`)
	failed := make(chan error, 10)
	nc := s.connect(nats.UserInfo("a", "a"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { failed <- err }))
	wantError := func(what string) {
		t.Helper()
		select {
		case err := <-failed:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(wait):
			t.Errorf("%s: no error", what)
		}
	}
	nc.Publish("no", nil)
	wantError("publish")
	nc.SubscribeSync("other")
	wantError("subscribe")
	nc.SubscribeSync(">")
	wantError("wide subscribe")
	all := must(nc.SubscribeSync("ok.*"))(t)
	nc.Flush()
	root := s.connect(nats.UserInfo("root", "r"))
	root.Publish("ok.no", nil)
	root.Publish("ok.yes", nil)
	if m := must(all.NextMsg(wait))(t); m.Subject != "ok.yes" {
		t.Errorf("denied message delivered: %s", m.Subject)
	}
	svc := s.connect(nats.UserInfo("svc", "s"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { failed <- err }))
	must(svc.Subscribe("ok.svc", func(m *nats.Msg) { m.Respond([]byte("1")); m.Respond([]byte("2")) }))(t)
	svc.Flush()
	if m := must(nc.Request("ok.svc", nil, wait))(t); string(m.Data) != "1" {
		t.Errorf("%q", m.Data)
	}
	wantError("second response")
}

func TestCoreTLS(t *testing.T) {
	pki := newPKI(t)
	base := fmt.Sprintf("cert_file: %q, key_file: %q, ca_file: %q", pki.cert, pki.key, pki.ca)
	roundTrip := func(t *testing.T, nc *nats.Conn) {
		t.Helper()
		sub := must(nc.SubscribeSync("x"))(t)
		if err := nc.Publish("x", nil); err != nil {
			t.Fatal(err)
		}
		must(sub.NextMsg(wait))(t)
		if _, err := nc.TLSConnectionState(); err != nil {
			t.Error(err)
		}
	}
	t.Run("server certificate", func(t *testing.T) {
		s := startServer(t, "tls { "+base+" }")
		roundTrip(t, s.connect(nats.RootCAs(pki.ca)))
		if nc, err := nats.Connect(s.url(), nats.Timeout(wait), nats.Secure(&tls.Config{RootCAs: x509.NewCertPool()})); err == nil {
			nc.Close()
			t.Error("unknown authority accepted by the client")
		}
	})
	t.Run("verify", func(t *testing.T) {
		s := startServer(t, "tls { "+base+", verify: true }")
		roundTrip(t, s.connect(nats.RootCAs(pki.ca), nats.ClientCert(pki.clientCert, pki.clientKey)))
		if nc, err := nats.Connect(s.url(), nats.Timeout(wait), nats.RootCAs(pki.ca)); err == nil {
			nc.Close()
			t.Error("client without a certificate accepted")
		}
	})
	t.Run("verify and map", func(t *testing.T) {
		s := startServer(t, "tls { "+base+", verify_and_map: true }\nauthorization { users: [{user: \"client@example.com\", permissions: {publish: x, subscribe: x}}] }")
		roundTrip(t, s.connect(nats.RootCAs(pki.ca), nats.ClientCert(pki.clientCert, pki.clientKey)))
	})
	t.Run("tls first", func(t *testing.T) {
		s := startServer(t, "tls { "+base+", handshake_first: true }")
		roundTrip(t, s.connect(nats.RootCAs(pki.ca), nats.TLSHandshakeFirst()))
	})
	t.Run("tls first with fallback", func(t *testing.T) {
		s := startServer(t, "tls { "+base+", handshake_first: auto }")
		roundTrip(t, s.connect(nats.RootCAs(pki.ca), nats.TLSHandshakeFirst()))
		roundTrip(t, s.connect(nats.RootCAs(pki.ca)))
	})
}

// pki is a fresh authority with a server and a client certificate, as files.
type pki struct{ ca, cert, key, clientCert, clientKey string }

func newPKI(t testing.TB) pki {
	dir := t.TempDir()
	caKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	issue := func(name string, c *x509.Certificate, usage x509.ExtKeyUsage) (cert, key string) {
		k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
		c.NotBefore, c.NotAfter = ca.NotBefore, ca.NotAfter
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
		cert = write(name+".pem", "CERTIFICATE", must(x509.CreateCertificate(rand.Reader, c, ca, &k.PublicKey, caKey))(t))
		key = write(name+"-key.pem", "EC PRIVATE KEY", must(x509.MarshalECPrivateKey(k))(t))
		return cert, key
	}
	var p pki
	p.ca = write("ca.pem", "CERTIFICATE", must(x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey))(t))
	p.cert, p.key = issue("server", &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, x509.ExtKeyUsageServerAuth)
	p.clientCert, p.clientKey = issue("client", &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "client"},
		EmailAddresses: []string{"client@example.com"}}, x509.ExtKeyUsageClientAuth)
	return p
}
