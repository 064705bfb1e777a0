package server

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsd/natsd/server/logging"
	"github.com/natsd/natsd/server/options"
)

// fileServer is a server with a configuration file.
type fileServer struct {
	*Server
	t    testing.TB
	path string
}

// reloadCount overrides the number of reloads under traffic.
var reloadCount = flag.Int("reloads", 0, "how many reloads TestReloadUnderTraffic makes; 0: 200, or 40 with -short")

// startFile runs a server with a configuration file; the listener is added.
func startFile(t testing.TB, text string) *fileServer {
	t.Helper()
	return startFileWith(t, text, func(*options.Options) (Logger, error) { return &testLog{}, nil })
}

// fileLog is the log that the options ask for.
func fileLog(o *options.Options) (Logger, error) {
	sink, err := logging.Open(LogConfig(o))
	if err != nil {
		return nil, err
	}
	return logging.New(sink), nil
}

func startFileWith(t testing.TB, text string, log func(*options.Options) (Logger, error)) *fileServer {
	t.Helper()
	f := &fileServer{t: t, path: filepath.Join(t.TempDir(), "natsd.conf")}
	f.write(text)
	cmd, err := options.ParseArgs([]string{"-c", f.path})
	if err != nil {
		t.Fatal(err)
	}
	o, err := cmd.Options()
	if err != nil {
		t.Fatal(err)
	}
	l, err := log(o)
	if err != nil {
		t.Fatal(err)
	}
	if f.Server, err = New(o, l); err != nil {
		t.Fatal(err)
	}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Shutdown)
	return f
}

func (f *fileServer) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte("listen: '127.0.0.1:-1'\n"+text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// reload writes another file and takes it over.
func (f *fileServer) reload(text string) error {
	f.t.Helper()
	f.write(text)
	return f.ReloadFile()
}

func (f *fileServer) mustReload(text string) {
	f.t.Helper()
	if err := f.reload(text); err != nil {
		f.t.Fatal(err)
	}
}

// randomConfig is a file in which the account STAY never changes, and much else does. The server's certificate is ca's, and
// often a new one; the log is in one of two files.
func randomConfig(r *rand.Rand, ca *testCA) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	if r.IntN(2) == 0 || ca.next.Load() == 1 {
		ca.pair("server")
	}
	b.WriteString(ca.block(fmt.Sprintf("timeout: %d, min_version: %q, verify: %v", 5+r.IntN(5), one("1.2", "1.3"), r.IntN(2) == 0)))
	line("log_file: %q", ca.path(one("a.log", "b.log")))
	line("logtime: %v", r.IntN(2) == 0)
	line("trace: %v", r.IntN(10) == 0)
	line("max_payload: %d", 2000+r.IntN(4000))
	line("max_control_line: %d", 1000+r.IntN(4000))
	line("ping_interval: '%ds'", 20+r.IntN(100))
	line("write_deadline: '%ds'", 5+r.IntN(10))
	line("max_connections: %d", 100+r.IntN(100))
	line("no_fast_producer_stall: %v", r.IntN(2) == 0)
	line("server_tags: [ t%d ]", r.IntN(3))
	line("debug: %v", r.IntN(2) == 0)
	line("mappings { 'm.%d': 'n.%d' }", r.IntN(3), r.IntN(3))
	line("authorization { timeout: %d, users: [", 3+r.IntN(3))
	for u := range r.IntN(5) {
		line("  { user: g%d, password: p%d }", u, r.IntN(2))
	}
	line("] }\naccounts {")
	line("  STAY { users: [ {user: stay, password: p} ], exports: [ {service: 'svc'}, {stream: 'ticks.>'} ] }")
	line("  PEER { users: [ {user: peer, password: p} ], imports: [ {service: {account: STAY, subject: svc}} ] }")
	for a := range r.IntN(4) {
		line("  A%d {", a)
		line("    users: [ { user: a%d, password: p%d, permissions: { publish: 'x.%d.>', subscribe: { allow: 'x.>', deny: 'x.%d' } } } ]", a, r.IntN(2), r.IntN(3), r.IntN(3))
		line("    limits { max_payload: %d, max_subscriptions: %d, max_connections: %d }", 500+r.IntN(500), 1+r.IntN(5), 1+r.IntN(5))
		if r.IntN(2) == 0 {
			line("    imports: [ { %s } ]", one("stream: {account: STAY, subject: 'ticks.>'}", "service: {account: STAY, subject: svc}, to: 'local.svc'"))
		}
		line("    mappings { 'x.m': 'x.%d' }", r.IntN(3))
		line("  }")
	}
	line("}")
	return b.String()
}

// Reloads that change users, accounts, permissions, mappings, limits, certificates and the log must not be noticed by those
// whom they do not concern: every message arrives once and in order.
func TestReloadUnderTraffic(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	reloads := 200
	if testing.Short() {
		reloads = 40
	}
	if *reloadCount > 0 {
		reloads = *reloadCount
	}
	ca := newTestCA(t)
	s := startFileWith(t, randomConfig(r, ca), fileLog)
	secure := nats.Secure(&tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{ca.pair("client")}})
	noticed := make(chan error, 100)
	opts := []nats.Option{
		secure, nats.UserInfo("stay", "p"), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { noticed <- err }),
	}
	sub, pub := connect(t, s.Server, opts...), connect(t, s.Server, opts...)
	var received, wrong atomic.Int64
	if _, err := sub.Subscribe("ticks.*", func(m *nats.Msg) {
		if want := fmt.Sprint(received.Add(1)); string(m.Data) != want {
			wrong.Add(1)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.Subscribe("svc", func(m *nats.Msg) { m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := sub.Flush(); err != nil {
		t.Fatal(err)
	}
	peer := connect(t, s.Server, secure, nats.UserInfo("peer", "p"), nats.NoReconnect())

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var published int64
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for range 20 {
				published++
				if err := pub.Publish("ticks.a", fmt.Append(nil, published)); err != nil {
					t.Errorf("publish: %v", err)
					return
				}
			}
			if err := pub.Flush(); err != nil {
				t.Errorf("flush: %v", err)
				return
			}
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if m, err := peer.Request("svc", []byte("x"), patience); err != nil || string(m.Data) != "x" {
				t.Errorf("request through the import: %v", err)
				return
			}
		}
	})
	// Clients that the reloads do concern: they come, and may be refused or closed at any time.
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			nc, err := nats.Connect("nats://"+s.Addr().String(), nats.Timeout(patience), secure, nats.UserInfo(fmt.Sprintf("a%d", i%4), "p0"), nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
			if err != nil {
				continue
			}
			nc.Subscribe("x.1", func(*nats.Msg) {})
			nc.Subscribe("ticks.>", func(*nats.Msg) {})
			nc.Publish("x.1.y", []byte("z"))
			nc.FlushTimeout(time.Second)
			nc.Close()
		}
	})
	var worst time.Duration
	for range reloads {
		begin := time.Now()
		s.mustReload(randomConfig(r, ca))
		worst = max(worst, time.Since(begin))
		served := dialTLS(t, s.Server, &tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{ca.pair("other")}})
		cert, err := tls.LoadX509KeyPair(ca.path("server.pem"), ca.path("server.key"))
		if err != nil {
			t.Fatal(err)
		}
		if !served.ConnectionState().PeerCertificates[0].Equal(cert.Leaf) {
			t.Error("a new connection gets the old certificate")
		}
		served.Close()
	}
	close(stop)
	wg.Wait()
	waitFor(t, func() bool { return received.Load() >= published })
	if n := received.Load(); n != published || wrong.Load() > 0 {
		t.Errorf("%d messages published, %d received, %d in the wrong place", published, n, wrong.Load())
	}
	select {
	case err := <-noticed:
		t.Errorf("a client that nothing changed for was told %v", err)
	default:
	}
	logged := 0
	for _, name := range []string{"a.log", "b.log"} {
		text, err := os.ReadFile(ca.path(name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		logged += strings.Count(string(text), "[INF] Reloaded server configuration (sha256:")
	}
	if logged != reloads {
		t.Errorf("%d reloads are in the log, want %d", logged, reloads)
	}
	t.Logf("%d reloads, %d messages, the longest reload took %v", reloads, published, worst)
}

// A refused reload leaves everything as it was, accounts included.
func TestRefusedReload(t *testing.T) {
	s := startFile(t, "accounts { A { users: [ {user: a, password: p} ] } }\nserver_tags: [x]")
	before := s.Options()
	err := s.reload("accounts { B { users: [ {user: b, password: p} ] } }\nserver_tags: [y], max_pending: 5M")
	if err == nil || err.Error() != "config reload not supported for MaxPending: old=67108864, new=5000000" {
		t.Fatalf("got %v", err)
	}
	if s.Options() != before {
		t.Error("the options were replaced")
	}
	if s.Accounts().Get("B") != nil {
		t.Error("an account was added")
	}
	connect(t, s.Server, nats.UserInfo("a", "p"))
	s.mustReload("accounts { B { users: [ {user: b, password: p} ] } }\nserver_tags: [y]")
	if s.Accounts().Get("A") != nil || s.Accounts().Get("B") == nil {
		t.Error("the accounts were not replaced")
	}
}

// What a reload means for connections that it does concern.
func TestReloadClients(t *testing.T) {
	users := func(list string) string { return "authorization { users: [ " + list + " ] }" }
	const a, b = "{user: a, password: p}", "{user: b, password: p}"
	for _, c := range []struct {
		name, before, after string
		login               string   // of the connection
		lines               []string // that it gets; then it is closed if closed is set
		closed              bool
	}{
		{"nothing changed", users(a), users(a), `{"user":"a","pass":"p"}`, nil, false},
		{"another user added", users(a), users(a + b), `{"user":"a","pass":"p"}`, nil, false},
		{"user removed", users(a + "," + b), users(b), `{"user":"a","pass":"p"}`, nil, true},
		{"password changed", users(a), users("{user: a, password: q}"), `{"user":"a","pass":"p"}`, []string{"-ERR 'Authorization Violation'"}, true},
		{"user moved", users(a), "accounts { A { " + strings.TrimPrefix(strings.TrimSuffix(users(a), "}"), "authorization {") + " } }", `{"user":"a","pass":"p"}`, nil, true},
		{"single user kept", "authorization { user: a, password: p }", "authorization { user: a, password: p, timeout: 5 }", `{"user":"a","pass":"p"}`, nil, false},
		{"single user changed", "authorization { user: a, password: p }", "authorization { user: a, password: q }", `{"user":"a","pass":"p"}`, []string{"-ERR 'Authorization Violation'"}, true},
		{"block removed", "authorization { user: a, password: p }", "", `{"user":"a","pass":"p"}`, nil, false},
		{"block added", "", "authorization { token: t }", `{"pedantic":false}`, []string{"-ERR 'Authorization Violation'"}, true},
		{"token changed", "authorization { token: t }", "authorization { token: u }", `{"auth_token":"t"}`, []string{"-ERR 'Authorization Violation'"}, true},
		{"credentials sent to an open server", "", "ping_max: 5", `{"user":"x","pass":"y"}`, nil, false},
		{"subscription forbidden", users("{user: a, password: p}"), users("{user: a, password: p, permissions: { subscribe: { deny: 'foo' } }}"),
			`{"user":"a","pass":"p"}`, []string{`-ERR 'Permissions Violation for Subscription to "foo" (sid "1")'`}, false},
		{"too many subscriptions", "accounts { A { users: [ " + a + " ] } }", "accounts { A { limits { max_subs: 0 }, users: [ " + a + " ] } }",
			`{"user":"a","pass":"p"}`, []string{"-ERR 'maximum subscriptions exceeded'"}, true},
		{"too many connections of the account", "accounts { A { users: [ " + a + " ] } }", "accounts { A { limits { max_conn: 0 }, users: [ " + a + " ] } }",
			`{"user":"a","pass":"p"}`, []string{"-ERR 'maximum account active connections exceeded'"}, true},
		{"too many connections", "", "max_connections: 0", `{"pedantic":false}`, []string{"-ERR 'maximum connections exceeded'"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startFile(t, strings.ReplaceAll(c.before, "}{", "},{"))
			conn := dial(t, s.Server, `{"verbose":false,`+strings.TrimPrefix(c.login, "{"))
			conn.send("SUB foo 1\r\nPING\r\n")
			conn.until("PONG")
			s.mustReload(strings.ReplaceAll(c.after, "}{", "},{"))
			for _, want := range c.lines {
				conn.until(want)
			}
			if c.closed {
				for {
					line, err := conn.r.ReadString('\n')
					if err != nil {
						return
					}
					if strings.HasPrefix(line, "-ERR") {
						t.Fatalf("got %q", line)
					}
				}
			}
			conn.send("PING\r\n")
			conn.until("PONG")
		})
	}
}

// TestReloadTellsASlowClient: a client that does not read is not told of more lost subscriptions than its queue may hold.
func TestReloadTellsASlowClient(t *testing.T) {
	conf := func(deny string) string {
		return fmt.Sprintf("max_pending: 1MB\nauthorization { users: [ {user: u, password: p, permissions: { subscribe: {deny: %s} }} ] }", deny)
	}
	s := startFile(t, conf("none"))
	c := dial(t, s.Server, `{"user":"u","pass":"p","verbose":false}`)
	long := strings.Repeat("x", 2000)
	const subs = 10_000 // 20 MB: more than the sockets take
	for i := range subs {
		c.send("SUB a.%s%d %d\r\n", long, i, i)
	}
	c.send("PING\r\n")
	c.expect("PONG")
	s.write(conf("a.>"))
	if err := s.ReloadFile(); err != nil {
		t.Fatal(err)
	}
	wantSlowConsumer(t, s.Server)
}

func TestReloadIsRefusedInLameDuckMode(t *testing.T) {
	s := startFile(t, "lame_duck_duration: '30s', lame_duck_grace_period: '20s'")
	dial(t, s.Server, `{"verbose":false}`)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.LameDuck()
	}()
	waitFor(t, s.LameDucking)
	if err := s.ReloadFile(); !errors.Is(err, errLameDuck) {
		t.Errorf("got %v", err)
	}
	s.Shutdown()
	<-done
}

func TestReloadWithoutFile(t *testing.T) {
	s := start(t, nil)
	if err := s.ReloadFile(); !errors.Is(err, errNoConfigFile) {
		t.Errorf("got %v", err)
	}
}

// JetStream goes and comes with the configuration, of the server and of an account; what was stored is there again.
func TestReloadJetStream(t *testing.T) {
	dir := t.TempDir()
	const account = "accounts { A { users: [ {user: a, password: p} ]%s } }\n"
	on := fmt.Sprintf("jetstream { store_dir: %q, max_mem: 1M, max_file: 10M }\n", dir)
	enabled := fmt.Sprintf(account, ", jetstream: enabled")
	s := startFile(t, on+enabled)
	login := nats.UserInfo("a", "p")
	js, err := connect(t, s.Server, login).JetStream(nats.MaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish("s", []byte("x")); err != nil {
		t.Fatal(err)
	}
	stored := func() uint64 {
		t.Helper()
		info, err := js.StreamInfo("S")
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Msgs
	}
	for _, off := range []string{on + fmt.Sprintf(account, ""), enabled} {
		s.mustReload(off)
		if _, err := js.StreamInfo("S"); err == nil {
			t.Errorf("a stream without JetStream: %s", off)
		}
		s.mustReload(on + enabled)
		if n := stored(); n != 1 {
			t.Errorf("%d messages, want 1", n)
		}
	}
	s.mustReload(on + fmt.Sprintf(account, ", jetstream { max_mem: 10G, max_file: 1M }"))
	if !s.log.(*testLog).contains("Error enabling jetstream on configured accounts: insufficient memory resources available (10028)") {
		t.Error("no error about limits that the server does not have")
	}
	if n := stored(); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}
