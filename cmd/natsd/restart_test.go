package main_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// gathered is the messages that one consumer has brought, each at least once.
type gathered struct {
	mu   sync.Mutex
	seqs map[uint64]bool
	last uint64
	mess string // what came out of order
}

func (g *gathered) add(seq uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seqs == nil {
		g.seqs = make(map[uint64]bool)
	}
	if seq != g.last+1 && g.mess == "" {
		g.mess = fmt.Sprintf("%d behind %d", seq, g.last)
	}
	g.seqs[seq], g.last = true, seq
}

func (g *gathered) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.seqs)
}

// TestConsumingOverTrouble: clients that are consuming in every way when the server is
// killed, or hangs, go on, by themselves, when it is back. What is delivered in order
// comes once.
func TestConsumingOverTrouble(t *testing.T) {
	for _, trouble := range []struct {
		name    string
		options []nats.Option
		strike  func(s *process, conf string, c *everyWay)
	}{
		{"kill", nil, func(s *process, conf string, _ *everyWay) {
			s.kill()
			s.configureAt(s.addr, conf)
			s.start()
		}},
		{"hang, until heartbeats are missed", nil, func(s *process, _ string, c *everyWay) {
			s.hang(func() { waitFor(t, "clients to miss heartbeats", func() bool { return c.missed.Load() > 10 }) })
		}},
		{"hang, until the connection is given up", []nats.Option{nats.PingInterval(300 * time.Millisecond)},
			func(s *process, _ string, c *everyWay) {
				s.hang(func() { waitFor(t, "the client to give up", func() bool { return !c.nc.IsConnected() }) })
			}},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			conf := fmt.Sprintf("jetstream { store_dir: %q }\n", t.TempDir())
			s := startServer(t, conf)
			c := consumeEveryWay(t, s, trouble.options)
			c.publish("before")
			for name, g := range c.all {
				waitFor(t, name+" to begin", func() bool { return g.count() > messagesEach/2 })
			}
			trouble.strike(s, conf, c)
			waitFor(t, "the client to be there", c.nc.IsConnected)
			c.publish("behind")
			for name, g := range c.all {
				waitFor(t, name+" to go on", func() bool { return g.count() == 2*messagesEach })
			}
			for _, name := range []string{"ordered consume", "legacy ordered"} {
				if g := c.all[name]; g.mess != "" {
					t.Errorf("%s: %s", name, g.mess)
				}
			}
			for _, d := range []string{"consume", "bytes", "pinned", "overflow", "prioritized", "messages", "fetch", "fetch-bytes", "fetch-nowait", "push",
				"legacy-push", "legacy-queue", "legacy-pull"} {
				waitFor(t, d+" to be through", func() bool {
					i, err := c.legacy.ConsumerInfo("S", d)
					return err == nil && i.NumAckPending == 0 && i.NumPending == 0 && i.AckFloor.Stream == 2*messagesEach
				})
			}
		})
	}
}

// everyWay is clients that consume one stream in every way that there is.
type everyWay struct {
	t      *testing.T
	ctx    context.Context
	nc     *nats.Conn
	js     jetstream.JetStream
	legacy nats.JetStreamContext
	stream jetstream.Stream
	all    map[string]*gathered
	missed atomic.Int64 // heartbeats
	ended  chan struct{}
	loops  sync.WaitGroup
}

// messagesEach is how many messages are published before, and after, the trouble.
const messagesEach = 500

// publish sends each message until it has an ack: the connection may break.
func (c *everyWay) publish(what string) {
	c.t.Helper()
	for i := range messagesEach {
		id := fmt.Sprint(what, " ", i)
		waitFor(c.t, "the ack of "+id, func() bool {
			ctx, cancel := context.WithTimeout(c.ctx, wait/4)
			defer cancel()
			_, err := c.js.Publish(ctx, "s", []byte(id), jetstream.WithMsgID(id))
			return err == nil
		})
	}
}

func (c *everyWay) gather(name string) *gathered {
	g := c.all[name]
	if g == nil {
		g = &gathered{}
		c.all[name] = g
	}
	return g
}

// handler counts for a name; several consumers may count for the same.
func (c *everyWay) handler(name string) jetstream.MessageHandler {
	g := c.gather(name)
	return func(m jetstream.Msg) {
		if meta, err := m.Metadata(); err == nil {
			g.add(meta.Sequence.Stream)
		}
		m.Ack()
	}
}

func (c *everyWay) legacyHandler(name string) nats.MsgHandler {
	g := c.gather(name)
	return func(m *nats.Msg) {
		if meta, err := m.Metadata(); err == nil {
			g.add(meta.Sequence.Stream)
		}
		m.Ack()
	}
}

func (c *everyWay) durable(cfg jetstream.ConsumerConfig) jetstream.Consumer {
	c.t.Helper()
	cfg.AckPolicy, cfg.AckWait = jetstream.AckExplicitPolicy, time.Second
	return must(c.stream.CreateConsumer(c.ctx, cfg))(c.t)
}

// consume has a handler called until the test is over.
func (c *everyWay) consume(from interface {
	Consume(jetstream.MessageHandler, ...jetstream.PullConsumeOpt) (jetstream.ConsumeContext, error)
}, name string, opts ...jetstream.PullConsumeOpt) {
	c.t.Helper()
	opts = append(opts, jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrNoHeartbeat) {
				c.missed.Add(1)
			}
		}))
	cc := must(from.Consume(c.handler(name), opts...))(c.t)
	c.t.Cleanup(cc.Stop)
}

// loop calls next until the test is over; errors while the server is away are none.
func (c *everyWay) loop(next func() error) {
	c.loops.Go(func() {
		for {
			select {
			case <-c.ended:
				return
			default:
			}
			if err := next(); err != nil {
				select {
				case <-c.ended:
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
	})
}

func consumeEveryWay(t *testing.T, s *process, options []nats.Option) *everyWay {
	ctx, cancel := context.WithTimeout(t.Context(), 5*wait)
	t.Cleanup(cancel)
	c := &everyWay{t: t, ctx: ctx, all: map[string]*gathered{}, ended: make(chan struct{})}
	c.nc = s.connect(append(options, nats.ReconnectWait(20*time.Millisecond), nats.MaxReconnects(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	c.js = must(jetstream.New(c.nc))(t)
	c.legacy = must(c.nc.JetStream())(t)
	c.stream = must(c.js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))(t)
	t.Cleanup(func() {
		close(c.ended)
		c.loops.Wait()
	})

	c.consume(c.durable(jetstream.ConsumerConfig{Durable: "consume"}), "consume", jetstream.PullMaxMessages(50), jetstream.PullThresholdMessages(20))
	c.consume(c.durable(jetstream.ConsumerConfig{Durable: "bytes"}), "consume by bytes", jetstream.PullMaxBytes(2000), jetstream.PullThresholdBytes(1000))
	group := []string{"g"}
	pinned := c.durable(jetstream.ConsumerConfig{Durable: "pinned", PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: group, PinnedTTL: 2 * time.Second})
	c.consume(pinned, "pinned", jetstream.PullPriorityGroup("g"))
	// The second client of each group takes only what is left for it.
	overflow := c.durable(jetstream.ConsumerConfig{Durable: "overflow", PriorityPolicy: jetstream.PriorityPolicyOverflow, PriorityGroups: group})
	c.consume(overflow, "overflow", jetstream.PullPriorityGroup("g"), jetstream.PullMaxMessages(10))
	c.consume(overflow, "overflow", jetstream.PullPriorityGroup("g"), jetstream.PullMaxMessages(10), jetstream.PullMinPending(50))
	prioritized := c.durable(jetstream.ConsumerConfig{Durable: "prioritized", PriorityPolicy: jetstream.PriorityPolicyPrioritized, PriorityGroups: group})
	c.consume(prioritized, "prioritized", jetstream.PullPriorityGroup("g"), jetstream.PullMaxMessages(10))
	c.consume(prioritized, "prioritized", jetstream.PullPriorityGroup("g"), jetstream.PullMaxMessages(10), jetstream.PullPrioritized(1))
	it := must(c.durable(jetstream.ConsumerConfig{Durable: "messages"}).Messages(jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond),
		jetstream.WithMessagesErrOnMissingHeartbeat(false)))(t)
	t.Cleanup(it.Stop)
	handle := c.handler("messages")
	c.loop(func() error {
		m, err := it.Next(jetstream.NextMaxWait(time.Second))
		if err == nil {
			handle(m)
		}
		return err
	})
	fetches := map[string]func(jetstream.Consumer) (jetstream.MessageBatch, error){
		"fetch": func(c jetstream.Consumer) (jetstream.MessageBatch, error) {
			return c.Fetch(30, jetstream.FetchMaxWait(time.Second), jetstream.FetchHeartbeat(200*time.Millisecond))
		},
		"fetch-bytes": func(c jetstream.Consumer) (jetstream.MessageBatch, error) {
			return c.FetchBytes(1000, jetstream.FetchMaxWait(time.Second))
		},
		"fetch-nowait": func(c jetstream.Consumer) (jetstream.MessageBatch, error) { return c.FetchNoWait(30) },
	}
	for name, fetch := range fetches {
		from, handle := c.durable(jetstream.ConsumerConfig{Durable: name}), c.handler(name)
		c.loop(func() error {
			b, err := fetch(from)
			if err != nil {
				return err
			}
			got := 0
			for m := range b.Messages() {
				handle(m)
				got++
			}
			if err = b.Error(); err == nil && got == 0 {
				err = errors.New("nothing")
			}
			return err
		})
	}
	c.consume(must(c.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{}))(t), "ordered consume")
	push := must(c.stream.CreatePushConsumer(ctx, jetstream.ConsumerConfig{Durable: "push", DeliverSubject: "deliver.push", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: time.Second, FlowControl: true, IdleHeartbeat: 500 * time.Millisecond}))(t)
	cc := must(push.Consume(c.handler("push")))(t)
	t.Cleanup(cc.Stop)

	must(c.legacy.Subscribe("s", c.legacyHandler("legacy push"), nats.Durable("legacy-push"), nats.ManualAck(), nats.AckWait(time.Second)))(t)
	must(c.legacy.QueueSubscribe("s", "q", c.legacyHandler("legacy queue"), nats.Durable("legacy-queue"), nats.ManualAck(), nats.AckWait(time.Second)))(t)
	must(c.legacy.Subscribe("s", c.legacyHandler("legacy ordered"), nats.OrderedConsumer(), nats.IdleHeartbeat(500*time.Millisecond)))(t)
	pull := must(c.legacy.PullSubscribe("s", "legacy-pull", nats.AckWait(time.Second)))(t)
	legacyHandle := c.legacyHandler("legacy pull")
	c.loop(func() error {
		list, err := pull.Fetch(30, nats.MaxWait(time.Second))
		for _, m := range list {
			legacyHandle(m)
		}
		return err
	})
	return c
}
