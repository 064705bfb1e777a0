package server

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/server/client"
)

// lastWord is the server's end of a connection. It notes when it is closed what was
// known of the connection then.
type lastWord struct {
	net.Conn
	s      *Server
	id     uint64
	closed chan string // the reason that was listed, "" for none
	deaf   bool        // its read loop does not notice that it shall end
}

func (w *lastWord) SetReadDeadline(t time.Time) error {
	if w.deaf {
		return nil
	}
	return w.Conn.SetReadDeadline(t)
}

func (w *lastWord) Close() error {
	reason := ""
	all, _ := w.s.ClosedClients()
	for _, c := range all {
		if c.Info.ID == w.id {
			reason = c.Reason.String()
		}
	}
	select {
	case w.closed <- reason:
	default: // the first one counts
	}
	return w.Conn.Close()
}

// TestListedBeforeTheEnd: whatever ends a connection, it is listed as closed before
// its socket is closed, so that who sees the end may ask at once why.
func TestListedBeforeTheEnd(t *testing.T) {
	ca := newTestCA(t)
	ca.pair("server")
	secure := ca.block("timeout: 0.05")
	for _, tt := range []struct {
		name, conf, send string
		last             string // the client reads up to this line, and then no more
		act              func(t *testing.T, s *Server, c *client.Client)
		reason           string
		deaf             bool
	}{
		{name: "unknown verb", send: "FOO\r\n", reason: "Protocol Violation"},
		{name: "payload", conf: "max_payload: 10", send: "PUB foo 11\r\n", reason: "Maximum Message Payload Exceeded"},
		{name: "authentication timeout", conf: "authorization { token: t, timeout: 0.05 }", reason: "Authentication Timeout"},
		{name: "stale", conf: `ping_interval: "60ms", ping_max: 1`, send: "SUB x 1\r\n", reason: "Stale Connection"},
		{name: "PROXY header", conf: "proxy_protocol: true", send: "PROXY TCP4 a b c d\r\n", reason: "Protocol Violation"},
		{name: "too many", conf: "max_connections: 0", reason: "Maximum Connections Exceeded"},
		{name: "TLS handshake", conf: secure, send: "\x16\x03\x01\x00\x02hi", reason: "TLS Handshake Failure"},
		{name: "TLS timeout", conf: secure, reason: "TLS Handshake Failure"},
		{name: "pending bytes", conf: "max_pending: 1000, max_payload: 500", send: "SUB foo 1\r\nPING\r\n", last: "PONG",
			act: publishALot, reason: "Slow Consumer (Pending Bytes)"},
		{name: "write deadline", conf: `write_deadline: "50ms"`, send: "SUB foo 1\r\nPING\r\n", last: "PONG",
			act: publishALot, reason: "Slow Consumer (Write Deadline)"},
		{name: "disconnected", send: "PING\r\n", last: "PONG",
			act: func(_ *testing.T, _ *Server, c *client.Client) { c.Close(client.Kicked) }, reason: "Kicked"},
		{name: "write error", send: "PING\r\n", last: "PONG",
			act: func(_ *testing.T, _ *Server, c *client.Client) { c.Close(client.WriteError) }, reason: "Write Error"},
		{name: "at work elsewhere", send: "PING\r\n", last: "PONG", deaf: true,
			act: func(_ *testing.T, _ *Server, c *client.Client) { c.Close(client.Kicked) }, reason: "Kicked"},
		{name: "shutdown", send: "PING\r\n", last: "PONG",
			act: func(_ *testing.T, s *Server, _ *client.Client) { s.Shutdown() }, reason: "Server Shutdown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startConf(t, tt.conf)
			near, far := net.Pipe()
			defer far.Close()
			w := &lastWord{near, s, s.nextID.Load() + 1, make(chan string, 1), tt.deaf}
			s.serve(w, client.NATS)
			go io.WriteString(far, tt.send)
			if r := bufio.NewReader(far); tt.last == "" {
				go io.Copy(io.Discard, r)
			} else {
				for line := ""; !strings.HasPrefix(line, tt.last); {
					var err error
					if line, err = r.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
			}
			if tt.act != nil {
				tt.act(t, s, s.Client(w.id))
			}
			select {
			case reason := <-w.closed:
				if reason != tt.reason {
					t.Errorf("listed as closed for %q, want %q", reason, tt.reason)
				}
			case <-time.After(patience):
				t.Error("still open")
			}
		})
	}
}

// publishALot publishes more than fits into the limits of the test.
func publishALot(t *testing.T, s *Server, _ *client.Client) {
	nc := connect(t, s)
	for range 20 {
		if err := nc.Publish("foo", make([]byte, 400)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
}
