package server

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/options"
)

// newConf makes a server with a configuration.
func newConf(t testing.TB, conf string) *Server {
	t.Helper()
	s, err := tryConf(t, conf)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryConf(t testing.TB, conf string) (*Server, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "natsd.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := options.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o.Host, o.Port = "127.0.0.1", -1
	return New(o, &testLog{})
}

// startConf runs a server with a configuration.
func startConf(t testing.TB, conf string) *Server {
	t.Helper()
	s := newConf(t, conf)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// lastClosed waits for the connection with a number to be closed.
func lastClosed(t testing.TB, s *Server, id uint64) client.Snapshot {
	t.Helper()
	var found client.Snapshot
	waitFor(t, func() bool {
		all, _ := s.ClosedClients()
		for _, c := range all {
			if c.Info.ID == id {
				found = c
				return true
			}
		}
		return false
	})
	return found
}

// TestClosedReasons: what ends a connection, what it is told, and what is
// recorded.
func TestClosedReasons(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, tt := range []struct {
		name, conf, send, last, reason string
	}{
		{"end of input", "", "PING\r\n<close>", "PONG", "Client Closed"},
		{"unknown verb", "", "FOO\r\n", "-ERR 'Unknown Protocol Operation'", "Protocol Violation"},
		{"arguments", "", "PUB foo a b 2\r\n", "", "Protocol Violation"},
		{"malformed CONNECT", "", "CONNECT {\r\n", "", "Protocol Violation"},
		{"payload length", "", "PUB foo 2\r\nhello\r\n", "-ERR 'Unknown Protocol Operation'", "Protocol Violation"},
		{"control line", "", "PUB " + long + " 1\r\n", "-ERR 'maximum control line exceeded'", "Maximum Control Line Exceeded"},
		{"unfinished control line", "", "SUB " + long, "-ERR 'maximum control line exceeded'", "Maximum Control Line Exceeded"},
		{"payload", "max_payload: 10", "PUB foo 11\r\n", "-ERR 'Maximum Payload Violation'", "Maximum Message Payload Exceeded"},
		{"account payload", "accounts { A { users: [{user: u, password: p}], limits { max_payload: 5 } } }",
			`CONNECT {"verbose":false,"user":"u","pass":"p"}` + "\r\nPUB foo 6\r\n", "-ERR 'Maximum Payload Violation'", "Maximum Message Payload Exceeded"},
		{"protocol number", "", `CONNECT {"protocol":2}` + "\r\n", "-ERR 'invalid client protocol'", "Bad Client Protocol Version"},
		{"no responders", "", `CONNECT {"no_responders":true}` + "\r\n", "-ERR 'no responders requires headers support'", "No Responders Requires Headers"},
		{"error line", "", "-ERR 'x'\r\n", "", "Parse Error"},
		{"first verb", "authorization { token: t }", "PING\r\n", "-ERR 'Authorization Violation'", "Authentication Failure"},
		{"wrong token", "authorization { token: t }", `CONNECT {"auth_token":"u"}` + "\r\n", "-ERR 'Authorization Violation'", "Authentication Failure"},
		{"account field", "", `CONNECT {"account":"x"}` + "\r\n", "-ERR 'Authorization Violation'", "Authentication Failure"},
		{"authentication timeout", "authorization { token: t, timeout: 0.05 }", "C", "-ERR 'Authentication Timeout'", "Authentication Timeout"},
		{"stale", "ping_interval: \"60ms\", ping_max: 1", "SUB x 1\r\n", "-ERR 'Stale Connection'", "Stale Connection"},
		{"account connections", "accounts { A { users: [{user: u, password: p}], limits { max_connections: 0 } } }",
			`CONNECT {"user":"u","pass":"p"}` + "\r\n", "-ERR 'maximum account active connections exceeded'", "Maximum Account Connections Exceeded"},
		{"PROXY header", "proxy_protocol: true", "PROXY TCP4 a b c d\r\n", "", "Protocol Violation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startConf(t, tt.conf)
			c := dial(t, s, "") // may be closed any time from here
			send, closing := strings.CutSuffix(tt.send, "<close>")
			io.WriteString(c.Conn, send)
			if closing {
				c.expect(strings.Split(tt.last, "\n")...)
				c.Close()
			} else {
				rest, _ := io.ReadAll(c.r)
				lines := strings.Split(strings.TrimSuffix(string(rest), "\r\n"), "\r\n")
				if got := lines[len(lines)-1]; got != tt.last {
					t.Errorf("last line %q, want %q", got, tt.last)
				}
			}
			snap := lastClosed(t, s, c.info.ClientID)
			if snap.Reason.String() != tt.reason {
				t.Errorf("reason %q, want %q", snap.Reason, tt.reason)
			}
			account := options.GlobalAccount
			if strings.HasPrefix(tt.conf, "accounts { A") {
				account = "A" // also of one that found no place there
			}
			if snap.Info.Account != account {
				t.Errorf("in account %q, want %q", snap.Info.Account, account)
			}
			waitFor(t, func() bool { return len(s.Clients()) == 0 })
			for _, a := range s.accounts.All() {
				if n := a.Clients(); n != 0 {
					t.Errorf("account %s still counts %d clients", a.Name(), n)
				}
			}
		})
	}
}

// TestMaxConnections: one too many is told so, and room is found again.
func TestMaxConnections(t *testing.T) {
	s := startConf(t, "max_connections: 2")
	a, _ := dial(t, s, plain), dial(t, s, plain)
	c := dial(t, s, "")
	c.expect("-ERR 'maximum connections exceeded'")
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("then %v", err)
	}
	a.Close()
	waitFor(t, func() bool { return len(s.Clients()) == 1 })
	dial(t, s, plain)
}

// TestNothingIsLeft: connections that come and go in every way leave no
// subscription and no account count behind.
func TestNothingIsLeft(t *testing.T) {
	s := startConf(t, `accounts {
		A { users: [{user: a, password: p}], exports: [{stream: "ev.>"}, {service: "svc.*"}] }
		B { users: [{user: b, password: p}], imports: [{stream: {account: A, subject: "ev.>"}, prefix: "from"}, {service: {account: A, subject: "svc.*"}}] }
	}`)
	before := map[string]int{}
	for _, a := range s.accounts.All() {
		before[a.Name()] = a.List().Len()
	}
	for i := range 20 {
		c := dial(t, s, fmt.Sprintf(`{"verbose":false,"user":"%s","pass":"p"}`, []string{"a", "b"}[i%2]))
		c.send("SUB > 1\r\nSUB from.ev.x 2\r\nSUB from.> q 3\r\nSUB in 4\r\nUNSUB 2 5\r\nPUB svc.x in 0\r\n\r\nPING\r\n")
		c.until("PONG")
		switch i % 4 {
		case 0, 1:
			c.Close()
		case 2:
			c.send("FOO\r\n")
		default:
			c.send(`CONNECT {"verbose":false}` + "\r\nPING\r\n")
			c.until("PONG")
			c.Close()
		}
	}
	waitFor(t, func() bool { return len(s.Clients()) == 0 })
	for _, a := range s.accounts.All() {
		if n := a.List().Len(); n != before[a.Name()] {
			t.Errorf("account %s: %d subscriptions, %d before", a.Name(), n, before[a.Name()])
		}
		if n := a.Clients(); n != 0 {
			t.Errorf("account %s: %d clients", a.Name(), n)
		}
	}
}

// until reads on until a line.
func (c *raw) until(want string) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if c.line() == want {
			return
		}
	}
	c.t.Fatalf("no %q", want)
}
