package main_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

// TestConsumingOverAKill: clients that are consuming in every way when the server is
// killed go on, by themselves, when it is back. What is delivered in order comes once.
func TestConsumingOverAKill(t *testing.T) {
	conf := fmt.Sprintf("jetstream { store_dir: %q }\n", t.TempDir())
	s := startServer(t, conf)
	ctx, cancel := context.WithTimeout(t.Context(), 5*wait)
	defer cancel()
	nc := s.connect(nats.ReconnectWait(20*time.Millisecond), nats.MaxReconnects(-1), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	js := must(jetstream.New(nc))(t)
	st := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))(t)
	const n = 500
	publish := func() {
		for i := range n {
			must(js.Publish(ctx, "s", fmt.Append(nil, i)))(t)
		}
	}
	publish()

	all := map[string]*gathered{}
	gather := func(name string) *gathered {
		all[name] = &gathered{}
		return all[name]
	}
	handler := func(name string) jetstream.MessageHandler {
		g := gather(name)
		return func(m jetstream.Msg) {
			if meta, err := m.Metadata(); err == nil {
				g.add(meta.Sequence.Stream)
			}
			m.Ack()
		}
	}
	old := func(name string) nats.MsgHandler {
		g := gather(name)
		return func(m *nats.Msg) {
			if meta, err := m.Metadata(); err == nil {
				g.add(meta.Sequence.Stream)
			}
			m.Ack()
		}
	}
	durable := func(c jetstream.ConsumerConfig) jetstream.Consumer {
		c.AckPolicy, c.AckWait = jetstream.AckExplicitPolicy, time.Second
		return must(st.CreateConsumer(ctx, c))(t)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ended := make(chan struct{})
	defer close(ended)
	// loop calls next until the test is over; errors while the server is away are none.
	loop := func(next func() error) {
		wg.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				if err := next(); err != nil {
					select {
					case <-ended:
					case <-time.After(20 * time.Millisecond):
					}
				}
			}
		})
	}

	cc := must(durable(jetstream.ConsumerConfig{Durable: "consume"}).Consume(handler("consume"),
		jetstream.PullMaxMessages(50), jetstream.PullThresholdMessages(20), jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond)))(t)
	defer cc.Stop()
	cc = must(durable(jetstream.ConsumerConfig{Durable: "bytes"}).Consume(handler("consume by bytes"),
		jetstream.PullMaxBytes(2000), jetstream.PullThresholdBytes(1000), jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond)))(t)
	defer cc.Stop()
	cc = must(durable(jetstream.ConsumerConfig{Durable: "pinned", PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{"g"}, PinnedTTL: 2 * time.Second}).
		Consume(handler("pinned"), jetstream.PullPriorityGroup("g"), jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond)))(t)
	defer cc.Stop()
	it := must(durable(jetstream.ConsumerConfig{Durable: "messages"}).Messages(jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond),
		jetstream.WithMessagesErrOnMissingHeartbeat(false)))(t)
	defer it.Stop()
	handle := handler("messages")
	loop(func() error {
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
		c, handle := durable(jetstream.ConsumerConfig{Durable: name}), handler(name)
		loop(func() error {
			b, err := fetch(c)
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
	cc = must(must(st.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{}))(t).Consume(handler("ordered consume"),
		jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond)))(t)
	defer cc.Stop()
	push := must(st.CreatePushConsumer(ctx, jetstream.ConsumerConfig{Durable: "push", DeliverSubject: "deliver.push", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: time.Second, FlowControl: true, IdleHeartbeat: 500 * time.Millisecond}))(t)
	cc = must(push.Consume(handler("push")))(t)
	defer cc.Stop()

	legacy := must(nc.JetStream())(t)
	must(legacy.Subscribe("s", old("legacy push"), nats.Durable("legacy-push"), nats.ManualAck(), nats.AckWait(time.Second)))(t)
	must(legacy.QueueSubscribe("s", "q", old("legacy queue"), nats.Durable("legacy-queue"), nats.ManualAck(), nats.AckWait(time.Second)))(t)
	must(legacy.Subscribe("s", old("legacy ordered"), nats.OrderedConsumer(), nats.IdleHeartbeat(500*time.Millisecond)))(t)
	pull := must(legacy.PullSubscribe("s", "legacy-pull", nats.AckWait(time.Second)))(t)
	oldHandle := old("legacy pull")
	loop(func() error {
		list, err := pull.Fetch(30, nats.MaxWait(time.Second))
		for _, m := range list {
			oldHandle(m)
		}
		return err
	})

	for name, g := range all {
		waitFor(t, name+" to begin", func() bool { return g.count() > n/2 })
	}
	s.kill()
	s.configureAt(s.addr, conf)
	s.start()
	waitFor(t, "the client to come back", nc.IsConnected)
	publish()
	for name, g := range all {
		waitFor(t, name+" to go on", func() bool { return g.count() == 2*n })
	}
	for _, name := range []string{"ordered consume", "legacy ordered"} {
		if g := all[name]; g.mess != "" {
			t.Errorf("%s: %s", name, g.mess)
		}
	}
	for _, d := range []string{"consume", "bytes", "pinned", "messages", "fetch", "fetch-bytes", "fetch-nowait", "push", "legacy-push", "legacy-queue", "legacy-pull"} {
		waitFor(t, d+" to be through", func() bool {
			i, err := legacy.ConsumerInfo("S", d)
			return err == nil && i.NumAckPending == 0 && i.NumPending == 0 && i.AckFloor.Stream == 2*n
		})
	}
}
