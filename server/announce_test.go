package server

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// The lines of a start come in their order.
func TestStartupLines(t *testing.T) {
	dir := t.TempDir()
	s := startFile(t, fmt.Sprintf(`
		server_name: N1, host: 0.0.0.0
		http: "127.0.0.1:-1", prof_port: -1, prof_block_rate: 1
		feature_flags { js_ack_fc_v2: true, zz: true }
		max_payload: 9000000, pid_file: %q
		jetstream { store_dir: %q, domain: D, key: secret }
		accounts { A { users: [{user: a, password: p}, {user: b, permissions: {publish: {allow: []}, subscribe: {allow: []}}},
			{user: c, permissions: {publish: [], allow_responses: true}}] } }`, filepath.Join(dir, "pid"), dir))
	want := []string{
		`Starting natsd`, `  Version:  .+`, `  Natsd:    .+`, `  Git:      \[.+\]`, `  Name:     N1`, `  Node:     ` + nameHash("N1"), `  ID:       ` + s.ID(),
		`  Feature flags:`, `    Configured:    js_ack_fc_v2 \(opt-in\)`, `    Unsupported:   zz`,
		`Plaintext passwords detected, use nkeys or bcrypt`,
		`User "b" may publish to all subjects: an empty allow list is no restriction`,
		`User "b" may subscribe to all subjects: an empty allow list is no restriction`,
		`Block profiling is enabled \(rate 1\), this may have a performance impact`, `profiling port: [0-9]+`,
		`Using configuration file: .+ \(sha256:[0-9a-f]{64}\)`,
		`Maximum payloads over 8.00 MB are generally discouraged and could lead to poor performance`,
		`Starting http monitor on 127.0.0.1:[0-9]+`, `Starting JetStream`, `  Domain:          D`, `  Encryption:      ChaCha20-Poly1305`, `Listening for client connections on 0\.0\.0\.0:[0-9]+`, `Server is ready`,
	}
	l := s.log.(*testLog)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if len(want) > 0 && regexp.MustCompile("^(INF|WRN) "+want[0]+"$").MatchString(line) {
			want = want[1:]
		}
	}
	if len(want) > 0 {
		t.Errorf("no line %q at its place in\n%q", want[0], l.lines)
	}
}

// In lame duck mode JetStream is stopped at once, and clients are told.
func TestLameDuckStopsJetStream(t *testing.T) {
	s := startFile(t, fmt.Sprintf("lame_duck_duration: '30s', lame_duck_grace_period: '20s', jetstream { store_dir: %q }", t.TempDir()))
	nc := connect(t, s.Server)
	js, err := nc.JetStream(nats.MaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AccountInfo(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.LameDuck()
	}()
	waitFor(t, func() bool { return s.JetStream() == nil })
	s.Shutdown()
	<-done
}

// A server that stops tells those who wait for messages.
func TestShutdownEndsPullRequests(t *testing.T) {
	s := startFile(t, fmt.Sprintf("jetstream { store_dir: %q }", t.TempDir()))
	js, err := connect(t, s.Server).JetStream(nats.MaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddConsumer("S", &nats.ConsumerConfig{Durable: "c", AckPolicy: nats.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	c := dial(t, s.Server, plain)
	c.send("SUB in 1\r\nPUB $JS.API.CONSUMER.MSG.NEXT.S.c in 27\r\n{\"batch\":2,\"max_bytes\":70 }\r\n")
	waitFor(t, func() bool {
		i, err := js.ConsumerInfo("S", "c")
		return err == nil && i.NumWaiting == 1
	})
	s.Shutdown()
	c.expect("HMSG in 1 82 82", "NATS/1.0 409 Server Shutdown", "Nats-Pending-Messages: 2", "Nats-Pending-Bytes: 70", "", "")
}

// Subscriptions of clients are counted, for a client and for another server.
func TestCountSubscribers(t *testing.T) {
	s := startConf(t, `accounts {
		$SYS { users: [{user: sys, password: p}], exports: [{service: "$SYS.DEBUG.SUBSCRIBERS"}] }
		A { users: [{user: a, password: p}], imports: [{service: {account: "$SYS", subject: "$SYS.DEBUG.SUBSCRIBERS"}}] }
		B { users: [{user: b, password: p}] }
	}`)
	a, sys := connect(t, s, nats.UserInfo("a", "p")), connect(t, s, nats.UserInfo("sys", "p"))
	for _, subject := range []string{"x.1", "x.1", "x.*", "y"} {
		if _, err := a.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.QueueSubscribeSync("x.1", "q"); err != nil {
		t.Fatal(err)
	}
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	ask := func(nc *nats.Conn, subject, body string) string {
		m, err := nc.Request(subject, []byte(body), patience)
		if err != nil {
			return err.Error()
		}
		return string(m.Data)
	}
	for _, c := range []struct{ body, request, want string }{
		{"x.1", `{"acc":"A","subject":"x.1"}`, "4"},
		{"x.*", `{"acc":"A","subject":"x.*"}`, "4"},
		{"x.1 q", `{"acc":"A","subject":"x.1","queue":"cQ=="}`, "1"},
		{"z", `{"acc":"A","subject":"z"}`, "0"},
	} {
		if got := ask(a, "$SYS.DEBUG.SUBSCRIBERS", c.body); got != c.want {
			t.Errorf("%s: %s, want %s", c.body, got, c.want)
		}
		if got := ask(sys, "$SYS.REQ.ACCOUNT.NSUBS", c.request); got != c.want {
			t.Errorf("%s: %s, want %s", c.request, got, c.want)
		}
	}
	// These get no answer: the first is that to the request behind them.
	answers, err := sys.SubscribeSync("answers")
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`{"acc":"B","subject":"x"}`, `{"acc":"NOPE","subject":"x"}`, `{"acc":"A","subject":""}`, `{`, `{"acc":"A","subject":"x.*"}`} {
		if err := sys.PublishRequest("$SYS.REQ.ACCOUNT.NSUBS", "answers", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := answers.NextMsg(patience); err != nil || string(m.Data) != "4" {
		t.Errorf("got %v, %v", m, err)
	}
}

// What keeps JetStream from starting keeps the server from starting.
func TestJetStreamCannotStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ conf, want string }{
		{"jetstream { store_dir: %q, max_mem: 1G, max_file: 1G }, accounts { A { jetstream { max_mem: 2G } } }",
			"Error enabling jetstream on configured accounts: insufficient memory resources available (10028)"},
		{"jetstream { store_dir: %q, max_mem: 1G, max_file: 1G }, accounts { A { jetstream { max_file: 600M } }, B { jetstream { max_file: 600M } } }",
			"Error enabling jetstream on configured accounts: insufficient storage resources available (10047)"},
		{"jetstream { max_mem: 1G, store_dir: " + file + " }", "storage directory is not a directory"},
	} {
		text := c.conf
		if strings.Contains(text, "%q") {
			text = fmt.Sprintf(text, t.TempDir())
		}
		s := newConf(t, text)
		if err := s.Start(); err == nil || err.Error() != "Can't start JetStream: "+c.want {
			t.Errorf("%s: %v, want %s", text, err, c.want)
		}
		s.Shutdown()
	}
}
