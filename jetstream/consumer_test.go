package jetstream

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wantNext checks the next message: subject, reply, payload or status line.
func wantNext(t *testing.T, ch <-chan received, subject, reply, text string) received {
	t.Helper()
	m := next(t, ch)
	got := m.data
	if m.data == "" && m.header != "" {
		got, _, _ = strings.Cut(strings.TrimPrefix(m.header, "NATS/1.0 "), "\r\n")
	}
	if m.subject != subject || !strings.HasPrefix(m.reply, reply) || got != text {
		t.Fatalf("got %q %q %q, want %q %q %q", m.subject, m.reply, got, subject, reply, text)
	}
	return m
}

func TestPullConsumerInMemory(t *testing.T) {
	_, _, c := newTestEngine(t, Options{})
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory"}`)
	for _, m := range []string{"one", "two", "three"} {
		c.request("s.a", m)
	}
	r := c.request("$JS.API.CONSUMER.CREATE.S.C", `{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}`)
	if !strings.Contains(r.data, `"num_pending":3`) {
		t.Fatal(r.data)
	}
	in := c.subscribe("inbox")
	c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "inbox", `{"batch":2}`)
	one := wantNext(t, in, "s.a", "$JS.ACK.S.C.1.1.1.", "one")
	two := wantNext(t, in, "s.a", "$JS.ACK.S.C.1.2.2.", "two")
	if r := c.request(one.reply, "+ACK"); r.data != "" {
		t.Fatal(r)
	}
	c.publish(two.reply, "", "-NAK")
	c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "inbox", `{"batch":9,"no_wait":true}`)
	wantNext(t, in, "s.a", "$JS.ACK.S.C.2.2.3.", "two")
	wantNext(t, in, "s.a", "$JS.ACK.S.C.1.3.4.", "three")
	wantNext(t, in, "inbox", "", "404 No Messages")
	r = c.request("$JS.API.CONSUMER.INFO.S.C", "")
	if !strings.Contains(r.data, `"ack_floor":{"consumer_seq":1,"stream_seq":1,`) || !strings.Contains(r.data, `"num_ack_pending":2,"num_redelivered":1`) {
		t.Fatal(r.data)
	}
}

// TestIdleConsumersAreSmall: what 2,000 consumers cost that have worked and are
// quiet again.
func TestIdleConsumersAreSmall(t *testing.T) {
	_, a, c := newTestEngine(t, Options{})
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory"}`)
	const n = 2000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	in := c.subscribe("inbox")
	before, goroutines := heap(), runtime.NumGoroutine()
	for i := range n {
		c.publish(fmt.Sprintf("$JS.API.CONSUMER.CREATE.S.C%d", i), "", fmt.Sprintf(`{"stream_name":"S","config":{"durable_name":"C%d","ack_policy":"explicit","filter_subject":"s.%d"}}`, i, i))
	}
	waitFor(t, func() bool { return a.Stream("S").consumers.count(true) == n })
	for i := range n {
		c.publish(fmt.Sprintf("$JS.API.CONSUMER.MSG.NEXT.S.C%d", i), "inbox", "1")
	}
	for i := range n {
		c.publish(fmt.Sprintf("s.%d", i), "", "m")
	}
	for range n {
		c.publish(next(t, in).reply, "", "")
	}
	st := a.Stream("S")
	for _, x := range st.consumers.list() {
		x.state.Lock()
		x.trim = 1 // as if the time had come
		x.state.Unlock()
		x.wake()
	}
	waitFor(t, func() bool { return timersArmed(&st.engine.timers) == 0 })
	waitFor(t, func() bool { return runtime.NumGoroutine() <= goroutines+5 })
	if each := (int64(heap()) - int64(before)) / n; each > 8<<10 {
		t.Errorf("%d bytes each", each)
	} else {
		t.Logf("%d bytes each", each)
	}
}

func timersArmed(q *timers) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.heap)
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("the condition does not come true")
		}
		runtime.Gosched()
	}
}

// TestResetBelowTheStream: a consumer that starts over far below the beginning of
// its stream is there after a restart, whatever the repair of its floor did.
func TestResetBelowTheStream(t *testing.T) {
	o := Options{StoreDir: t.TempDir()}
	e, a, c := newTestEngine(t, o)
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
	for range 100 {
		c.request("s", "m")
	}
	c.request("$JS.API.CONSUMER.CREATE.S.C", `{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}`)
	c.request("$JS.API.STREAM.PURGE.S", `{"seq":90}`)
	c.request("$JS.API.CONSUMER.RESET.S.C", `{"seq":5}`)
	const want = `"delivered":{"consumer_seq":0,"stream_seq":89},"ack_floor":{"consumer_seq":0,"stream_seq":89},"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":11`
	if r := c.request("$JS.API.CONSUMER.INFO.S.C", ""); !strings.Contains(r.data, want) {
		t.Errorf("%s, want %s", r.data, want)
	}
	for a.consumer([]byte("S"), []byte("C")).busy() {
		runtime.Gosched()
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, c = newTestEngine(t, o)
	if r := c.request("$JS.API.CONSUMER.INFO.S.C", ""); !strings.Contains(r.data, want) {
		t.Errorf("after a restart: %s, want %s", r.data, want)
	}
	in := c.subscribe("in")
	c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in", "1")
	wantNext(t, in, "s", "$JS.ACK.S.C.1.90.1.", "m")
}

// busy reports whether a turn runs, or is about to.
func (c *Consumer) busy() bool {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.running
}

// TestCreatePausedAgain: a consumer that is created again as it is, its lists empty
// instead of absent, is the same one; its pause is told of again.
func TestCreatePausedAgain(t *testing.T) {
	_, _, c := newTestEngine(t, Options{})
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory"}`)
	paused := c.subscribe("$JS.EVENT.ADVISORY.CONSUMER.PAUSE.S.c")
	for _, request := range []string{
		`{"stream_name":"S","config":{"durable_name":"c","pause_until":"2200-01-01T00:00:00Z"},"action":"create"}`,
		`{"stream_name":"S","config":{"durable_name":"c","pause_until":"2200-01-01T00:00:00Z"},"action":"create"}`,
		`{"stream_name":"S","config":{"durable_name":"c","backoff":[],"filter_subjects":[],"priority_groups":[]},"action":"create"}`,
		`{"stream_name":"S","config":{"durable_name":"c"}}`,
	} {
		c.want(`"paused":true`, "$JS.API.CONSUMER.CREATE.S.c", request)
		if m := next(t, paused); !strings.Contains(m.data, `"paused":true,"pause_until":"2200-01-01T00:00:00Z"`) {
			t.Fatal(m.data)
		}
	}
}

// TestRateLimitBurst: what a consumer with a rate limit may send at once is a message of
// the largest size that there can be: the stream's, else the account's, else the server's.
func TestRateLimitBurst(t *testing.T) {
	const size = 400 // of a message, with its subjects
	for _, c := range []struct {
		stream, account, server int
		want                    int // messages at once
	}{
		{server: 10 * size, want: 10},
		{account: 5 * size, server: 10 * size, want: 5},
		{account: -1, server: 10 * size, want: 10},
		{stream: 2 * size, account: 5 * size, server: 10 * size, want: 2},
		{stream: 8 * size, account: 5 * size, server: 10 * size, want: 8},
	} {
		inMemory(t, Options{MaxPayload: c.server}, func(t *testing.T, a *Account, cl *client) {
			a.bus.(*testBus).maxPayload = c.account
			cl.create("S", fmt.Sprintf(`"subjects":["s"],"max_msg_size":%d`, c.stream))
			ack := len("$JS.ACK.S.c.1.1.1.") + 19 + len(".0") // with one digit for what is pending
			for range 12 {
				cl.request("s", strings.Repeat("x", size-len("s")-ack))
			}
			cl.want(`"num_pending":12`, "$JS.API.CONSUMER.CREATE.S.c", `{"stream_name":"S","config":{"durable_name":"c","deliver_subject":"d","rate_limit_bps":800}}`)
			ch := cl.subscribe("d")
			time.Sleep(time.Second) // a quarter of a message's time
			synctest.Wait()
			if n := len(ch); n != c.want && n != c.want-1 { // some sequences have two digits
				t.Errorf("%+v: %d messages at once", c, n)
			}
		})
	}
}
