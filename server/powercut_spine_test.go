package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsd/natsd/server/options"
)

// spine is the thinnest run through all floors: three publishers, a pull consumer
// and a reader on one stream.
type spine struct {
	mu        sync.Mutex
	stream    bool              // its creation was acknowledged
	consumer  bool              // so was the consumer's
	acked     map[uint64]string // messages with a PubAck
	delivered map[uint64]string // messages that a consumer or a get has shown
	done      map[uint64]bool   // messages whose double ack was answered
	last      uint64            // last sequence that a stream info has shown
}

func newSpine(uint64) scenario {
	return &spine{acked: map[uint64]string{}, delivered: map[uint64]string{}, done: map[uint64]bool{}}
}

// redeliverAfter is the ack wait of consumers: short, since what was delivered and
// not acknowledged before a cut must come again after it.
const redeliverAfter = 200 * time.Millisecond

func (w *spine) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *spine) options(*options.JetStream) {}

func (w *spine) forgetAcks() {
	clear(w.acked)
	clear(w.done)
	w.stream, w.consumer = false, false
}

func (w *spine) verify(p *powered) error {
	info, err := p.js.StreamInfo("S")
	if errors.Is(err, nats.ErrStreamNotFound) && !w.stream {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream info: %w", err)
	}
	if info.State.LastSeq < w.last {
		return fmt.Errorf("last sequence %d, a stream info said %d", info.State.LastSeq, w.last)
	}
	found, err := p.readStream("S")
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		what string
		m    map[uint64]string
	}{{"acknowledged", w.acked}, {"delivered", w.delivered}} {
		for _, seq := range slices.Sorted(maps.Keys(kind.m)) {
			m, ok := found[seq]
			if !ok {
				return fmt.Errorf("%s message %d is not there", kind.what, seq)
			}
			if m.data != kind.m[seq] {
				return fmt.Errorf("%s message %d is %q, not %q", kind.what, seq, m.data, kind.m[seq])
			}
		}
	}
	ci, err := p.js.ConsumerInfo("S", "C")
	if errors.Is(err, nats.ErrConsumerNotFound) && !w.consumer {
		return nil
	}
	if err != nil {
		return fmt.Errorf("consumer info: %w", err)
	}
	if ci.Delivered.Stream > info.State.LastSeq {
		return fmt.Errorf("consumer was given up to %d, the stream ends at %d", ci.Delivered.Stream, info.State.LastSeq)
	}
	seen, err := p.drain("S", "C", "")
	for seq := range seen {
		if w.done[seq] {
			return fmt.Errorf("message %d came again after its ack was confirmed", seq)
		}
	}
	return err
}

func (w *spine) work(ctx context.Context, p *powered, rng *rand.Rand, life int) error {
	_, err := p.js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s.*"}, AllowDirect: true})
	if err != nil {
		return err
	}
	w.note(func() { w.stream = true })
	_, err = p.js.AddConsumer("S", &nats.ConsumerConfig{Durable: "C", AckPolicy: nats.AckExplicitPolicy, AckWait: redeliverAfter, MaxAckPending: 100_000})
	if err != nil {
		return err
	}
	w.note(func() { w.consumer = true })
	var wg sync.WaitGroup
	for g := range 3 {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 1))
		wg.Go(func() { w.publish(ctx, p, rng, life, g) })
	}
	wg.Go(func() { w.consume(ctx, p) })
	wg.Go(func() {
		for ctx.Err() == nil {
			if m, err := p.js.GetLastMsg("S", "s.1", nats.Context(ctx)); err == nil {
				w.note(func() { w.delivered[m.Sequence] = string(m.Data) })
			}
			if info, err := p.js.StreamInfo("S", nats.Context(ctx)); err == nil {
				w.note(func() { w.last = max(w.last, info.State.LastSeq) })
			}
		}
	})
	wg.Wait()
	return nil
}

func (w *spine) publish(ctx context.Context, p *powered, rng *rand.Rand, life, g int) {
	for n := 0; ctx.Err() == nil; n++ {
		data := fmt.Sprintf("%d.%d.%d %s", life, g, n, strings.Repeat("x", rng.IntN(300)))
		if g == 0 {
			ack, err := p.js.Publish("s."+strconv.Itoa(n%5), []byte(data), nats.Context(ctx))
			if err == nil {
				w.note(func() { w.acked[ack.Sequence] = data })
			}
			continue
		}
		// Bursts of messages, and then the wait for their acks.
		var futures []nats.PubAckFuture
		var sent []string
		for i := range 1 + rng.IntN(30) {
			d := data + strconv.Itoa(i)
			f, err := p.js.PublishAsync("s."+strconv.Itoa(g), []byte(d))
			if err != nil {
				break
			}
			futures, sent = append(futures, f), append(sent, d)
		}
		for i, f := range futures {
			select {
			case a := <-f.Ok():
				w.note(func() { w.acked[a.Sequence] = sent[i] })
			case <-f.Err():
			case <-ctx.Done():
				return
			}
		}
	}
}

func (w *spine) consume(ctx context.Context, p *powered) {
	sub, err := p.js.PullSubscribe("s.*", "C", nats.Bind("S", "C"))
	for err == nil && ctx.Err() == nil {
		var msgs []*nats.Msg
		if msgs, err = sub.Fetch(10, nats.Context(ctx)); err != nil {
			return
		}
		for i, m := range msgs {
			meta, err := m.Metadata()
			if err != nil {
				return
			}
			seq := meta.Sequence.Stream
			w.note(func() { w.delivered[seq] = string(m.Data) })
			if i%2 == 0 {
				if m.AckSync(nats.Context(ctx)) == nil {
					w.note(func() { w.done[seq] = true })
				}
			} else if i%3 == 0 {
				m.Ack()
			}
		}
	}
}

func TestPowerCutSpine(t *testing.T) { runSeeds(t, 20, newSpine) }

func TestPowerCutSpineCatchesFaults(t *testing.T) {
	catches(t, newSpine, map[string]fault{"ack before sync": ackBeforeSync, "visible before durable": visibleBeforeDurable})
}
