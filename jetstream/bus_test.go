package jetstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/subjecttree"
)

// testBus is a Bus in memory: one list of subscriptions under a lock.
type testBus struct {
	mu      sync.Mutex
	subs    []*testSub
	watches []*testWatch
	nextID  int
	inbox   int

	maxPayload int          // of the account
	refuse     atomic.Value // string: beginning of subjects that cannot be subscribed, if not ""
}

type testSub struct {
	bus            *testBus
	id             int
	subject, queue string
	handle         Handler
}

type testWatch struct {
	subject, queue string
	changed        func(bool)
	last           bool
}

func (b *testBus) Subscribe(subject, queue string, h Handler) (Subscription, error) {
	if p, _ := b.refuse.Load().(string); p != "" && strings.HasPrefix(subject, p) {
		return nil, errors.New("refused")
	}
	b.mu.Lock()
	b.nextID++
	s := &testSub{b, b.nextID, subject, queue, h}
	b.subs = append(b.subs, s)
	b.mu.Unlock()
	b.tellWatches()
	return s, nil
}

func (s *testSub) Unsubscribe() {
	s.bus.mu.Lock()
	s.bus.subs = slices.DeleteFunc(s.bus.subs, func(o *testSub) bool { return o == s })
	s.bus.mu.Unlock()
	s.bus.tellWatches()
}

func (b *testBus) Interest(subject, queue string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subs {
		if subjecttree.Matches(subject, s.subject) && (queue == "" || s.queue == queue) {
			return true
		}
	}
	return false
}

func (b *testBus) Others(subject string) bool { return len(b.match(subject)) > 1 }

func (b *testBus) WatchInterest(subject, queue string, changed func(bool)) func() {
	w := &testWatch{subject, queue, changed, b.Interest(subject, queue)}
	b.mu.Lock()
	b.watches = append(b.watches, w)
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		b.watches = slices.DeleteFunc(b.watches, func(o *testWatch) bool { return o == w })
		b.mu.Unlock()
	}
}

func (b *testBus) tellWatches() {
	b.mu.Lock()
	list := slices.Clone(b.watches)
	b.mu.Unlock()
	for _, w := range list {
		now := b.Interest(w.subject, w.queue)
		b.mu.Lock()
		changed := now != w.last
		w.last = now
		b.mu.Unlock()
		if changed {
			w.changed(now)
		}
	}
}

// match returns one receiver for each subscription or queue group.
func (b *testBus) match(subject string) []*testSub {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*testSub
	groups := make(map[string]bool)
	for _, s := range b.subs {
		if !subjecttree.Matches(subject, s.subject) {
			continue
		}
		if s.queue != "" {
			if groups[s.queue+" "+s.subject] {
				continue
			}
			groups[s.queue+" "+s.subject] = true
		}
		out = append(out, s)
	}
	return out
}

// testRoute is a route that remembers nothing but its subject.
type testRoute []byte

func (b *testBus) Route(subject string) Route { return testRoute(subject) }

func (r testRoute) Deliver(p Publisher, subject, reply, header, data []byte) bool {
	return p.Deliver(r, subject, reply, header, data)
}

func (b *testBus) MaxPayload() int { return b.maxPayload }

func (r testRoute) Prefetch(int) {}

func (b *testBus) Publisher() Publisher { return &testPublisher{bus: b} }

type staged struct {
	to  *testSub
	msg Msg
}

type testPublisher struct {
	bus    *testBus
	staged []staged
	from   Requester
}

func (p *testPublisher) Publish(subject, reply, header, data []byte) bool {
	return p.Deliver(subject, subject, reply, header, data)
}

func (p *testPublisher) Deliver(route, subject, reply, header, data []byte) bool {
	to := p.bus.match(string(route))
	m := Msg{bytes.Clone(route), bytes.Clone(subject), bytes.Clone(reply), nil, bytes.Clone(header), bytes.Clone(data), p.from, nil}
	for _, s := range to {
		p.staged = append(p.staged, staged{s, m})
	}
	return len(to) > 0
}

func (p *testPublisher) Flush() <-chan struct{} {
	list := p.staged
	p.staged = nil
	for len(list) > 0 {
		var msgs []Msg
		to := list[0].to
		rest := list[:0]
		for _, s := range list {
			if s.to == to {
				msgs = append(msgs, s.msg)
			} else {
				rest = append(rest, s)
			}
		}
		list = rest
		to.handle(msgs)
	}
	return nil
}

// testClient is the JSON that advisories show of every test's client.
type testClient struct{}

func (testClient) ClientInfo() json.RawMessage { return json.RawMessage(`{"acc":"A"}`) }

// client publishes and requests as a connection would.
type client struct {
	t   testing.TB
	bus *testBus
	p   *testPublisher
}

func newClient(t testing.TB, bus *testBus) *client {
	return &client{t, bus, &testPublisher{bus: bus, from: testClient{}}}
}

// received is a message as a test sees it.
type received struct {
	subject, header, data string
	reply                 string
}

// subscribe collects what comes on a subject.
func (c *client) subscribe(subject string) <-chan received {
	ch := make(chan received, 1<<16)
	_, err := c.bus.Subscribe(subject, "", func(msgs []Msg) {
		for i := range msgs {
			m := &msgs[i]
			ch <- received{string(m.Shown), string(m.Header), string(m.Data), string(m.Reply)}
		}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return ch
}

func next(t testing.TB, ch <-chan received) received {
	t.Helper()
	select {
	case m := <-ch:
		return m
	case <-time.After(time.Minute):
		t.Fatal("no message came")
		return received{}
	}
}

// publish sends a message; headers are "Key: value" lines.
func (c *client) publish(subject, reply, data string, headers ...string) {
	c.p.Publish([]byte(subject), []byte(reply), headerBlock(headers), []byte(data))
	c.p.Flush()
}

func headerBlock(lines []string) []byte {
	if len(lines) == 0 {
		return nil
	}
	return []byte(natsproto.HeaderLine + strings.Join(lines, "\r\n") + "\r\n\r\n")
}

// request publishes and returns the one reply.
func (c *client) request(subject, data string, headers ...string) received {
	c.t.Helper()
	c.bus.mu.Lock()
	c.bus.inbox++
	inbox := fmt.Sprintf("_INBOX.%d", c.bus.inbox)
	c.bus.mu.Unlock()
	ch := c.subscribe(inbox)
	c.publish(subject, inbox, data, headers...)
	return next(c.t, ch)
}

// wantReply checks the payload of a request's reply.
func (c *client) wantReply(want, subject, data string, headers ...string) {
	c.t.Helper()
	if got := c.request(subject, data, headers...); got.data != want {
		c.t.Errorf("%s %s %q:\n got %s\nwant %s", subject, data, headers, got.data, want)
	}
}

// newTestEngine is an engine with one account "A" on a memory bus.
func newTestEngine(t testing.TB, o Options) (*Engine, *Account, *client) {
	t.Helper()
	o.ServerName, o.Version = "S1", "test"
	o.MaxMemory, o.MaxStore = -1, -1
	if o.Events == nil {
		o.Events = func(e Event) { t.Logf("event: %T %+v", e, e) }
	}
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	bus := &testBus{}
	a, err := e.AddAccount("A", bus, &AccountConfig{Limits: unlimited})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e, a, newClient(t, bus)
}
