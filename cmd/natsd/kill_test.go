package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	storecheck "github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/check/checktest"
	"github.com/natsd/natsd/msgstore/seedtest"
)

// The server is killed under load, again and again. Each round is a store directory
// of its own, with or without encryption and compression.

// killed is a server that will be killed, and its store.
type killed struct {
	*process
	dir  string
	keys storecheck.Keys
}

func newKilled(t *testing.T, rng *rand.Rand) *killed {
	k := &killed{dir: t.TempDir()}
	conf := fmt.Sprintf("jetstream { store_dir: %q }\n", k.dir)
	if cipher := []string{"", "chacha", "aes"}[rng.IntN(3)]; cipher != "" {
		conf = fmt.Sprintf("jetstream { store_dir: %q, cipher: %s, key: secret }\n", k.dir, cipher)
		k.keys = storecheck.Keys{Key: []byte("secret"), Cipher: must(storecheck.ParseCipher(cipher))(t)}
	}
	k.process = startServer(t, conf)
	return k
}

// client connects; the connection may break.
func (k *killed) client() (*nats.Conn, jetstream.JetStream) {
	k.t.Helper()
	nc := must(nats.Connect(k.url(), nats.Timeout(wait), nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})))(k.t)
	k.t.Cleanup(nc.Close)
	return nc, must(jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(512)))(k.t)
}

// killAfter kills the server when n events were counted.
func (k *killed) killAfter(n int, count *atomic.Int64) {
	waitFor(k.t, fmt.Sprintf("%d acks", n), func() bool { return count.Load() >= int64(n) })
	k.kill()
}

// finish starts and stops the server once more and looks at its directory.
func (k *killed) finish() {
	k.stop()
	if err := checktest.Clean(k.dir, k.keys); err != nil {
		k.t.Errorf("after an orderly stop: %v\n%s", err, k.log)
	}
}

// contents reads the messages of a stream, by sequence.
func contents(t *testing.T, ctx context.Context, s jetstream.Stream) map[uint64]jetstream.Msg {
	t.Helper()
	left := int(must(s.Info(ctx))(t).State.Msgs)
	all := make(map[uint64]jetstream.Msg, left)
	c := must(s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{}))(t)
	for left > 0 {
		b := must(c.Fetch(min(left, 500)))(t)
		for m := range b.Messages() {
			all[must(m.Metadata())(t).Sequence.Stream] = m
			left--
		}
		check(t, b.Error())
	}
	return all
}

func TestKillStreams(t *testing.T) {
	for seed := range seedtest.Seeds(t, 10) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { killStreams(t, seed) })
	}
}

func killStreams(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 21))
	ctx, cancel := context.WithTimeout(t.Context(), 5*wait)
	defer cancel()
	k := newKilled(t, rng)
	config := jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Compression: jetstream.StoreCompression(rng.IntN(2))}
	_, js := k.client()
	must(js.CreateStream(ctx, config))(t)

	var mu sync.Mutex
	acked := map[string]uint64{} // sequence by id
	payload := func(id string) []byte { return []byte(id + strings.Repeat("x", len(id)*7)) }
	var again []string // ids without an ack, which are sent again
	for life := range 1 + rng.IntN(3) {
		_, js := k.client()
		var wg sync.WaitGroup
		var count atomic.Int64
		var sent [4][]string
		for g := range sent {
			wg.Go(func() {
				for n := 0; ; n++ {
					id := fmt.Sprintf("%d.%d.%d", life, g, n)
					if g == 0 && n < len(again) {
						id = again[n]
					}
					sent[g] = append(sent[g], id)
					note := func(seq uint64) {
						mu.Lock()
						defer mu.Unlock()
						acked[id] = seq
						count.Add(1)
					}
					subject := fmt.Sprintf("s.%d", g)
					if g < 2 {
						ack, err := js.Publish(ctx, subject, payload(id), jetstream.WithMsgID(id))
						if err != nil {
							return
						}
						note(ack.Sequence)
						continue
					}
					f, err := js.PublishAsync(subject, payload(id), jetstream.WithMsgID(id))
					if err != nil {
						return
					}
					wg.Go(func() {
						select {
						case ack := <-f.Ok():
							note(ack.Sequence)
						case <-f.Err():
						case <-ctx.Done():
						}
					})
				}
			})
		}
		k.killAfter(1+rng.IntN(3000), &count)
		js.Conn().Close()
		js.CleanupPublisher()
		wg.Wait()
		if err := checktest.Undamaged(k.dir, k.keys); err != nil {
			t.Errorf("behind the kill: %v", err)
		}
		var open []string
		for _, ids := range append(sent[:], again) {
			for _, id := range ids {
				if _, ok := acked[id]; !ok && !slices.Contains(open, id) {
					open = append(open, id)
				}
			}
		}
		again = open
		k.start()
	}
	// What was not acknowledged is sent again within the window, and is there once.
	_, js = k.client()
	for _, id := range again {
		acked[id] = must(js.Publish(ctx, "s.again", payload(id), jetstream.WithMsgID(id)))(t).Sequence
	}
	found := contents(t, ctx, must(js.Stream(ctx, "S"))(t))
	times := map[string]int{}
	for _, m := range found {
		times[m.Headers().Get(nats.MsgIdHdr)]++
	}
	for id, seq := range acked {
		switch m := found[seq]; {
		case m == nil:
			t.Errorf("message %s was acknowledged as %d and is not there", id, seq)
		case string(m.Data()) != string(payload(id)):
			t.Errorf("message %d is %.30q, not %.30q", seq, m.Data(), payload(id))
		case times[id] != 1:
			t.Errorf("message %s is there %d times", id, times[id])
		}
	}
	if len(found) != len(acked) {
		t.Errorf("%d messages, %d were acknowledged", len(found), len(acked))
	}
	k.finish()
}

func TestKillConsumers(t *testing.T) {
	for seed := range seedtest.Seeds(t, 5) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { killConsumers(t, seed) })
	}
}

func killConsumers(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 22))
	ctx, cancel := context.WithTimeout(t.Context(), 5*wait)
	defer cancel()
	k := newKilled(t, rng)
	_, js := k.client()
	retention := []jetstream.RetentionPolicy{jetstream.LimitsPolicy, jetstream.WorkQueuePolicy, jetstream.InterestPolicy}[rng.IntN(3)]
	s := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Retention: retention}))(t)
	must(s.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "C", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 300 * time.Millisecond, MaxAckPending: -1}))(t)

	var mu sync.Mutex
	stored, tried, sure := map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}
	set := func(m map[uint64]bool, seq uint64) {
		mu.Lock()
		defer mu.Unlock()
		m[seq] = true
	}
	for range 1 + rng.IntN(3) {
		nc, js := k.client()
		var wg sync.WaitGroup
		var count atomic.Int64
		wg.Go(func() {
			for n := 0; ; n++ {
				ack, err := js.Publish(ctx, "s", fmt.Append(nil, n))
				if err != nil {
					return
				}
				set(stored, ack.Sequence)
			}
		})
		for range 3 {
			rng := rand.New(rand.NewPCG(rng.Uint64(), 0))
			wg.Go(func() {
				c, err := js.Consumer(ctx, "S", "C")
				for err == nil {
					var b jetstream.MessageBatch
					if b, err = c.Fetch(10, jetstream.FetchMaxWait(100*time.Millisecond)); err != nil {
						return
					}
					for m := range b.Messages() {
						seq := must(m.Metadata())(t).Sequence.Stream
						switch rng.IntN(4) {
						case 0: // not acknowledged
						case 1:
							set(tried, seq)
							m.Ack()
						default:
							set(tried, seq)
							if m.DoubleAck(ctx) == nil {
								set(sure, seq)
								count.Add(1)
							}
						}
					}
					if nc.IsClosed() {
						return
					}
				}
			})
		}
		k.killAfter(1+rng.IntN(500), &count)
		nc.Close()
		wg.Wait()
		if err := checktest.Undamaged(k.dir, k.keys); err != nil {
			t.Errorf("behind the kill: %v", err)
		}
		k.start()
		// All that is left comes, and nothing else.
		_, js = k.client()
		c := must(js.Consumer(ctx, "S", "C"))(t)
		came := map[uint64]bool{}
		for {
			info := must(c.Info(ctx))(t)
			if len(came) >= int(info.NumPending)+info.NumAckPending {
				break
			}
			b := must(c.Fetch(500, jetstream.FetchMaxWait(400*time.Millisecond)))(t)
			for m := range b.Messages() {
				came[must(m.Metadata())(t).Sequence.Stream] = true
			}
			if err := b.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) {
				t.Fatal(err)
			}
		}
		for seq := range stored {
			switch {
			case came[seq] && sure[seq]:
				t.Errorf("message %d came again after its ack was confirmed", seq)
			case !came[seq] && !tried[seq]:
				t.Errorf("message %d was never acknowledged and does not come", seq)
			}
		}
	}
	k.finish()
}
