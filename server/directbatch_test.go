package server

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// batchServer starts a server whose stream S in account A has n messages of size
// bytes, on subjects of their own. Account B may get them, too.
func batchServer(t *testing.T, maxPending, n, size int) *Server {
	t.Helper()
	s := startConf(t, fmt.Sprintf(`
		max_pending: %d
		write_deadline: "5m" # for a machine that is too busy to read
		max_payload: %d
		jetstream { store_dir: %q }
		accounts {
			A { jetstream: enabled, users: [{user: a, password: a}], exports: [{service: "$JS.API.DIRECT.GET.S", response: stream}] }
			B { users: [{user: b, password: b}], imports: [{service: {account: A, subject: "$JS.API.DIRECT.GET.S"}}] }
		}`, maxPending, 2*size, t.TempDir()))
	js, err := connect(t, s, nats.UserInfo("a", "a")).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s.*"}, AllowDirect: true, Storage: nats.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 1998) + "\r\n"
	payload := bytes.Repeat([]byte(line), size/len(line)+1)[:size]
	for i := range n {
		if _, err := js.Publish(fmt.Sprintf("s.%d", i), payload); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// stuck tells whether a client has 1 MiB waiting for it, or was cut off.
func stuck(s *Server) bool {
	for _, c := range s.Clients() {
		if c.Snapshot(false).Pending > 1<<20 {
			return true
		}
	}
	return s.slow.Load() > 0
}

// TestBatchWaitsForSlowReceiver: batches of direct gets that are larger than a client's
// max_pending wait for a client that does not read for a while.
func TestBatchWaitsForSlowReceiver(t *testing.T) {
	const large = 1 << 30
	for _, c := range []struct {
		name             string
		user             string
		maxPending       int
		n, size          int
		requests         int
		request          string
		answersOfRequest int
	}{
		{"one", "a", 4 << 20, 60, 300_000, 1, `{"batch":100,"seq":1,"max_bytes":%d}`, 60},
		{"large messages", "a", 4 << 20, 15, 1_300_000, 1, `{"batch":100,"seq":1,"max_bytes":%d}`, 15},
		{"small messages", "a", 4 << 20, 3000, 6000, 1, `{"batch":3000,"seq":1,"max_bytes":%d}`, 3000},
		{"many at a time", "a", 4 << 20, 5, 300_000, 20, `{"batch":30,"seq":1,"max_bytes":%d}`, 5},
		{"multi_last", "a", 4 << 20, 60, 300_000, 1, `{"multi_last":[">"],"max_bytes":%d}`, 60},
		{"many multi_last", "a", 4 << 20, 10, 300_000, 8, `{"multi_last":[">"],"max_bytes":%d}`, 10},
		{"import", "b", 4 << 20, 15, 300_000, 5, `{"batch":30,"seq":1,"max_bytes":%d}`, 15},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := batchServer(t, c.maxPending, c.n, c.size)
			conn := dial(t, s, fmt.Sprintf(`{"verbose":false,"headers":true,"user":%q,"pass":%[1]q}`, c.user))
			conn.SetDeadline(time.Now().Add(5 * time.Minute))
			body := fmt.Sprintf(c.request, large)
			conn.send("SUB in 1\r\n")
			for range c.requests {
				conn.send("PUB $JS.API.DIRECT.GET.S in %d\r\n%s\r\n", len(body), body)
			}
			waitFor(t, func() bool { return stuck(s) })
			got := 0
			for ends := 0; ends < c.requests; {
				line := conn.line()
				switch {
				case strings.HasPrefix(line, "NATS/1.0 204 EOB"):
					ends++
				case strings.HasPrefix(line, "HMSG in 1 "):
					got++
				}
			}
			if want := c.requests * (c.answersOfRequest + 1); got != want || s.slow.Load() > 0 {
				t.Errorf("%d messages and marks, want %d; %d slow consumers", got, want, s.slow.Load())
			}
		})
	}
}

// TestBatchEnds: a batch that waits for its receiver ends when there is nothing to go on
// with.
func TestBatchEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(t *testing.T, s *Server, receiver *raw)
	}{
		{"the stream is deleted", func(t *testing.T, s *Server, receiver *raw) {
			js, err := connect(t, s, nats.UserInfo("a", "a")).JetStream()
			if err == nil {
				err = js.DeleteStream("S")
			}
			if err != nil {
				t.Error(err)
			}
			for !strings.HasPrefix(receiver.line(), "NATS/1.0 204 EOB") {
			}
		}},
		{"the receiver leaves", func(_ *testing.T, _ *Server, receiver *raw) { receiver.Close() }},
		{"nobody subscribes any more", func(_ *testing.T, _ *Server, receiver *raw) {
			receiver.send("UNSUB 1\r\n")
			go io.Copy(io.Discard, receiver)
		}},
		{"the server stops", func(_ *testing.T, s *Server, _ *raw) { s.Shutdown() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := batchServer(t, 4<<20, 60, 300_000)
			conn := dial(t, s, `{"verbose":false,"headers":true,"user":"a","pass":"a"}`)
			conn.SetDeadline(time.Now().Add(5 * time.Minute))
			body := `{"batch":100000000,"seq":1,"max_bytes":100000000000}`
			conn.send("SUB in 1\r\nPUB $JS.API.DIRECT.GET.S in %d\r\n%s\r\n", len(body), body)
			waitFor(t, func() bool { return stuck(s) })
			c.end(t, s, conn)
			waitFor(t, func() bool {
				stacks := make([]byte, 8<<20)
				return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte(".directBatch("))
			})
		})
	}
}
