package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/options"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The client library's own: it may miss that its connection was closed.
		goleak.IgnoreTopFunction("github.com/nats-io/nats%2ego.(*js).resetPendingAcksOnReconnect"))
}

// testLog collects the log lines of a test's server.
type testLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *testLog) add(level, format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, level+fmt.Sprintf(format, v...))
}

func (l *testLog) Noticef(f string, v ...any) { l.add("INF ", f, v...) }
func (l *testLog) Warnf(f string, v ...any)   { l.add("WRN ", f, v...) }
func (l *testLog) Errorf(f string, v ...any)  { l.add("ERR ", f, v...) }
func (l *testLog) Debugf(f string, v ...any)  {}
func (l *testLog) Tracef(f string, v ...any)  {}

func (l *testLog) contains(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.lines {
		if strings.Contains(s, text) {
			return true
		}
	}
	return false
}

// start runs a server on a free port until the test ends; change edits its
// options.
func start(t testing.TB, change func(*options.Options)) *Server {
	t.Helper()
	return startLogged(t, &testLog{}, change)
}

// startLogged is start with a log that the test looks at.
func startLogged(t testing.TB, log Logger, change func(*options.Options)) *Server {
	t.Helper()
	o := options.Default()
	o.Host, o.Port = "127.0.0.1", -1
	if change != nil {
		change(o)
	}
	s, err := New(o, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// patience is how long something may take that needs no time: long enough for a
// machine with much else to do.
const patience = time.Minute

func connect(t testing.TB, s *Server, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://"+s.Addr().String(), append([]nats.Option{nats.Timeout(patience)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// raw is a client that speaks for itself.
type raw struct {
	t testing.TB
	net.Conn
	r    *bufio.Reader
	info natsproto.Info // the first
}

func dial(t testing.TB, s *Server, connect string) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := &raw{t: t, Conn: nc, r: bufio.NewReaderSize(nc, 64<<10)}
	c.SetDeadline(time.Now().Add(time.Minute))
	first := c.line()
	info, ok := strings.CutPrefix(first, "INFO ")
	if !ok || c.info.Decode([]byte(info)) != nil {
		t.Fatalf("first line %q", first)
	}
	if connect != "" {
		c.send("CONNECT %s\r\nPING\r\n", connect)
		c.expect("PONG")
	}
	return c
}

func (c *raw) send(format string, v ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, format, v...); err != nil {
		c.t.Fatal(err)
	}
}

// line is the next one. The server may send PING at any time: two seconds after
// CONNECT.
func (c *raw) line() string {
	c.t.Helper()
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%q, %v", l, err)
		}
		if l != ping {
			return strings.TrimSuffix(l, "\r\n")
		}
	}
}

const ping = "PING\r\n"

func (c *raw) expect(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		if got := c.line(); got != want {
			c.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

const plain = `{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":0}`

// TestConcurrentTraffic: many clients of all shapes at a time, each message
// arrives where it should, once, in order.
func TestConcurrentTraffic(t *testing.T) {
	s := start(t, nil)
	const publishers, subscribers, queues, messages = 6, 5, 4, 2000
	var plainGot [subscribers]atomic.Int64
	var queueGot atomic.Int64
	for i := range subscribers {
		nc := connect(t, s)
		var last [publishers]int
		nc.Subscribe("t.*", func(m *nats.Msg) {
			var p, n int
			fmt.Sscanf(string(m.Data), "%d %d ", &p, &n)
			if n != last[p]+1 {
				t.Errorf("subscriber %d: message %d of publisher %d after %d", i, n, p, last[p])
			}
			last[p] = n
			plainGot[i].Add(1)
		})
		nc.Flush()
	}
	for range queues {
		nc := connect(t, s)
		nc.QueueSubscribe("t.>", "q", func(*nats.Msg) { queueGot.Add(1) })
		nc.Flush()
	}
	var wg sync.WaitGroup
	for p := range publishers {
		nc := connect(t, s)
		wg.Go(func() {
			for n := range messages {
				size := 10
				if n%50 == 0 {
					size = 20000
				}
				if err := nc.Publish(fmt.Sprintf("t.%d", n%700), fmt.Appendf(nil, "%d %d %s", p, n+1, strings.Repeat("x", size))); err != nil {
					t.Error(err)
				}
			}
			if err := nc.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
	// Subscriptions that come and go change the generation all the time.
	churn := connect(t, s)
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			sub, err := churn.SubscribeSync(fmt.Sprintf("churn.%d", i%10))
			if err != nil {
				t.Error(err)
				return
			}
			sub.Unsubscribe()
			churn.Flush()
		}
	})
	deadline := time.Now().Add(2 * patience)
	done := func() bool {
		if queueGot.Load() < publishers*messages {
			return false
		}
		for i := range plainGot {
			if plainGot[i].Load() < publishers*messages {
				return false
			}
		}
		return true
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() && time.Now().Before(deadline) {
		<-tick.C
	}
	close(stop)
	wg.Wait()
	if n := queueGot.Load(); n != publishers*messages {
		t.Errorf("queue group got %d", n)
	}
	for i := range plainGot {
		if n := plainGot[i].Load(); n != publishers*messages {
			t.Errorf("subscriber %d got %d", i, n)
		}
	}
	if msgs := s.accounts.Total.OutMsgs.Load(); msgs != publishers*messages*(subscribers+1) {
		t.Errorf("out_msgs %d", msgs)
	}
}

// TestSlowConsumer: a client that does not read is closed, with its reason, and
// the others get everything.
func TestSlowConsumer(t *testing.T) {
	s := start(t, func(o *options.Options) { o.MaxPending, o.MaxPayload = 1<<20, 64<<10 })
	slow := dial(t, s, plain)
	slow.send("SUB x 1\r\nPING\r\n")
	slow.expect("PONG")
	good := connect(t, s)
	var got atomic.Int64
	good.Subscribe("x", func(*nats.Msg) { got.Add(1) })
	good.Flush()
	pub := connect(t, s)
	data := make([]byte, 32<<10)
	sent := 0
	for s.slow.Load() == 0 {
		if err := pub.Publish("x", data); err != nil {
			t.Fatal(err)
		}
		sent++
		// At the pace of the good one.
		pub.Flush()
		good.Flush()
	}
	closed, _ := s.ClosedClients()
	for len(closed) == 0 {
		good.Flush()
		closed, _ = s.ClosedClients()
	}
	wantSlowConsumer(t, s)
	pub.Flush()
	good.Flush()
	waitFor(t, func() bool { return got.Load() == int64(sent) })
}

// TestUnreadNoResponders: who asks where nobody answers, and does not read that, is a slow consumer like all others.
func TestUnreadNoResponders(t *testing.T) {
	s := start(t, func(o *options.Options) { o.MaxPending, o.MaxPayload = 1<<20, 64<<10 })
	c := dial(t, s, plain)
	c.send("SUB inbox 1\r\n")
	requests := strings.Repeat("PUB nobody inbox 0\r\n\r\n", 1000)
	for s.slow.Load() == 0 {
		if _, err := io.WriteString(c, requests); err != nil {
			break
		}
	}
	wantSlowConsumer(t, s)
}

// wantSlowConsumer waits for the first connection that is closed: it did not read what was sent to it.
func wantSlowConsumer(t *testing.T, s *Server) {
	t.Helper()
	waitFor(t, func() bool {
		_, n := s.ClosedClients()
		return n > 0
	})
	closed, _ := s.ClosedClients()
	if r := closed[0].Reason.String(); r != "Slow Consumer (Pending Bytes)" {
		t.Errorf("closed for %q", r)
	}
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("waited in vain")
		case <-tick.C:
		}
	}
}

// TestSplitAnywhere: the same bytes in pieces of every size give the same.
func TestSplitAnywhere(t *testing.T) {
	s := start(t, func(o *options.Options) { o.MaxPayload = 256 << 10 })
	big := bytes.Repeat([]byte("0123456789"), 7000)
	script := fmt.Sprintf("SUB a.* 1\r\nPUB a.b r 5\r\nhello\r\nHPUB a.c 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPUB a.big %d\r\n%s\r\nPUB a.d 0\r\n\r\nUNSUB 1\r\nPUB a.e 1\r\nx\r\nPING\r\n", len(big), big)
	want := fmt.Sprintf("MSG a.b 1 r 5\r\nhello\r\nHMSG a.c 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\nMSG a.big 1 %d\r\n%s\r\nMSG a.d 1 0\r\n\r\nPONG\r\n", len(big), big)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, most := range []int{1, 3, 17, 100, 5000, 100000} {
		c := dial(t, s, plain)
		go func() {
			for rest := script; len(rest) > 0; {
				n := min(len(rest), 1+rng.IntN(most))
				if most == 1 && len(rest) > 20000 {
					n = 9000 // single bytes of the payload would take long
				}
				io.WriteString(c.Conn, rest[:n])
				rest = rest[n:]
			}
		}()
		got := ""
		for !strings.HasSuffix(got, "PONG\r\n") {
			got += c.line() + "\r\n"
		}
		if got != want {
			t.Fatalf("pieces of %d: got %d bytes %.200q", most, len(got), got)
		}
	}
}

// TestInternalHandler: a receiver inside the server gets batches, and answers
// with the producer that brought them.
func TestInternalHandler(t *testing.T) {
	s := start(t, nil)
	type request struct{ subject, reply, data string }
	var calls atomic.Int64
	h := account.NewHandler(account.System, func(_ *account.Producer, _ *account.Sub, m *account.Msg) (request, bool) {
		return request{string(m.Subject), string(m.Reply), string(m.Payload)}, true
	}, func(p *account.Producer, reqs []request) {
		calls.Add(1)
		for _, r := range reqs {
			p.Route(s.GlobalAccount(), &account.Msg{Subject: []byte(r.reply), Payload: []byte("re " + r.data)})
		}
	})
	if err := s.GlobalAccount().Subscribe(&account.Sub{Subject: "svc.*", To: h}); err != nil {
		t.Fatal(err)
	}
	c := dial(t, s, plain)
	c.send("SUB in 1\r\nPUB svc.a in 1\r\n1\r\nPUB svc.b in 1\r\n2\r\nPUB svc.none 0\r\n\r\nPING\r\n")
	// Answers come at the flush, behind what the buffer itself caused.
	c.expect("PONG", "MSG in 1 4", "re 1", "MSG in 1 4", "re 2")
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls for one buffer", n)
	}
	pub := account.NewPublisher(s.GlobalAccount(), account.System)
	if !pub.Publish([]byte("in"), []byte("r"), []byte("NATS/1.0\r\nA: b\r\n\r\n"), []byte("x")) {
		t.Error("nobody took it")
	}
	if pub.Publish([]byte("nobody"), nil, nil, nil) {
		t.Error("somebody took it")
	}
	pub.Flush()
	c.expect("HMSG in 1 r 18 19", "NATS/1.0", "A: b", "", "x")
}

// TestInProcess: a client without a port.
func TestInProcess(t *testing.T) {
	s := start(t, nil)
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, _ := nc.SubscribeSync("x")
	nc.Publish("x", []byte("hi"))
	if m, err := sub.NextMsg(patience); err != nil || string(m.Data) != "hi" {
		t.Fatal(m, err)
	}
}
