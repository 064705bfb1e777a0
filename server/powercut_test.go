package server

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
	"github.com/natsd/natsd/server/options"
)

var (
	cutRuns = flag.Int("powercuts", 20, "number of random power cuts of the whole server")
	cutSeed = flag.Uint64("powercut", 0, "run this seed alone")
)

// redeliverAfter is the ack wait of the consumer: short, since what was delivered and
// not acknowledged before a cut must come again after it.
const redeliverAfter = 300 * time.Millisecond

// witness notes what clients were told before the power went off, all of which must
// hold afterwards.
type witness struct {
	stuck     bool // a life did not reach its cut
	mu        sync.Mutex
	stream    bool              // its creation was acknowledged
	consumer  bool              // so was the consumer's
	acked     map[uint64]string // messages with a PubAck
	delivered map[uint64]string // messages that a consumer or a get has shown
	done      map[uint64]bool   // messages whose double ack was answered
	last      uint64            // last sequence that a stream info has shown
}

func newWitness() *witness {
	return &witness{acked: map[uint64]string{}, delivered: map[uint64]string{}, done: map[uint64]bool{}}
}

func (w *witness) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// forged is a disk that lies about its syncs.
type forged struct{ vfs.FS }

func (f forged) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return forgedFile{file}, nil
}

type forgedFile struct{ vfs.File }

func (forgedFile) SyncData() error { return nil }

// fault is a deliberate fault of the server, which the test must notice.
type fault int

const (
	noFault fault = iota
	ackBeforeSync
	visibleBeforeDurable
)

// powered is a server on a simulated disk, and a client.
type powered struct {
	s  *Server
	nc *nats.Conn
	js nats.JetStreamContext
}

// powerOn starts a server on the disk. An error that comes from a power cut is no
// failure.
func powerOn(disk *crashfs.FS, f fault, log *testLog) (*powered, error) {
	o := options.Default()
	o.Host, o.Port = "127.0.0.1", -1
	o.JetStream.Enabled, o.JetStream.StoreDir = true, "/store"
	o.JetStream.SyncAlways = true
	o.JetStream.MaxMemory, o.JetStream.MaxStore = 1<<30, 1<<30
	if f == visibleBeforeDurable {
		// The relaxed mode shows what is not durable; its acks are not looked at.
		o.JetStream.SyncAlways, o.JetStream.SyncInterval = false, time.Hour
	}
	s, err := New(o, log)
	if err != nil {
		return nil, err
	}
	s.disk = disk
	if f == ackBeforeSync {
		s.disk = forged{disk}
	}
	if err := s.Start(); err != nil {
		s.Shutdown()
		return nil, err
	}
	p := &powered{s: s}
	p.nc, err = nats.Connect("nats://"+s.Addr().String(), nats.NoReconnect())
	if err == nil {
		p.js, err = p.nc.JetStream(nats.MaxWait(20*time.Second), nats.PublishAsyncMaxPending(256))
	}
	if err != nil {
		p.off()
		return nil, err
	}
	return p, nil
}

func (p *powered) off() {
	if p.nc != nil {
		p.nc.Close()
	}
	p.s.Shutdown()
}

// verify asks the server whether everything that the witness saw is true.
func (p *powered) verify(w *witness) error {
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
	for _, kind := range []struct {
		what string
		m    map[uint64]string
	}{{"acknowledged", w.acked}, {"delivered", w.delivered}} {
		for _, seq := range slices.Sorted(maps.Keys(kind.m)) {
			m, err := p.js.GetMsg("S", seq)
			if err != nil {
				return fmt.Errorf("%s message %d: %w", kind.what, seq, err)
			}
			if string(m.Data) != kind.m[seq] {
				return fmt.Errorf("%s message %d is %q, not %q", kind.what, seq, m.Data, kind.m[seq])
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
	sub, err := p.js.PullSubscribe("s.*", "C", nats.Bind("S", "C"))
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	// All that is left comes, the unacknowledged again after the ack wait.
	seen := map[uint64]bool{}
	for left := int(ci.NumPending) + ci.NumAckPending; len(seen) < left; {
		msgs, err := sub.Fetch(min(left-len(seen), 200), nats.MaxWait(10*time.Second))
		if err != nil {
			return fmt.Errorf("fetch of %d messages, after %d: %w", left, len(seen), err)
		}
		for _, m := range msgs {
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			if w.done[meta.Sequence.Stream] {
				return fmt.Errorf("message %d came again after its ack was confirmed", meta.Sequence.Stream)
			}
			if err := m.Ack(); err != nil {
				return err
			}
			seen[meta.Sequence.Stream] = true
		}
	}
	return nil
}

// work makes the server work until the power goes off.
func (p *powered) work(disk *crashfs.FS, w *witness, rng *rand.Rand, life int) {
	var wg sync.WaitGroup
	// A server that refuses all work never reaches the cut.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	wg.Go(func() {
		select {
		case <-disk.Done():
		case <-ctx.Done():
			w.note(func() { w.stuck = true })
		}
		cancel()
		p.nc.Close()
	})
	_, err := p.js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s.*"}})
	if err == nil {
		w.note(func() { w.stream = true })
		_, err = p.js.AddConsumer("S", &nats.ConsumerConfig{Durable: "C", AckPolicy: nats.AckExplicitPolicy, AckWait: redeliverAfter, MaxAckPending: 100_000})
	}
	if err == nil {
		w.note(func() { w.consumer = true })
	}
	for g := range 3 {
		seed := rng.Uint64()
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			for n := 0; ctx.Err() == nil; n++ {
				data := fmt.Sprintf("%d.%d.%d %s", life, g, n, strings.Repeat("x", rng.IntN(300)))
				var ack *nats.PubAck
				var err error
				if g == 0 {
					ack, err = p.js.Publish("s."+strconv.Itoa(n%5), []byte(data), nats.Context(ctx))
				} else {
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
					continue
				}
				if err == nil {
					w.note(func() { w.acked[ack.Sequence] = data })
				}
			}
		})
	}
	wg.Go(func() {
		sub, err := p.js.PullSubscribe("s.*", "C", nats.Bind("S", "C"))
		for n := 0; err == nil && ctx.Err() == nil; n++ {
			msgs, err := sub.Fetch(10, nats.Context(ctx))
			if err != nil {
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
	})
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
}

// wholeServerCut lets a server work in a few lives, each ended by a cut of the power
// at a random I/O call, and returns what clients were told and is not so.
func wholeServerCut(seed uint64, f fault, log *testLog) error {
	rng := rand.New(rand.NewPCG(seed, 4))
	disk := crashfs.New(seed)
	w := newWitness()
	for life := range 4 {
		if life > 0 && rng.IntN(4) == 0 {
			disk.CutAt(1 + rng.Int64N(100)) // during the start
		}
		p, err := powerOn(disk, f, log)
		switch {
		case err != nil && !disk.IsCut():
			return fmt.Errorf("life %d: start: %w", life, err)
		case err == nil:
			log.add("--- ", "life %d", life)
			if err := p.verify(w); err != nil && !disk.IsCut() {
				p.off()
				return fmt.Errorf("life %d: %w", life, err)
			}
			disk.CutAt(1 + rng.Int64N(1+rng.Int64N(600)))
			p.work(disk, w, rng, life)
			p.off()
			if w.stuck {
				return fmt.Errorf("life %d: no progress", life)
			}
		}
		if f == visibleBeforeDurable {
			clear(w.acked)
			clear(w.done)
			w.stream, w.consumer = false, false
		}
		disk = disk.Crash()
	}
	p, err := powerOn(disk, noFault, log)
	if err != nil {
		return fmt.Errorf("last start: %w", err)
	}
	defer p.off()
	return p.verify(w)
}

// TestPowerCut: what any client was told before the power went off is true after it
// came back.
func TestPowerCut(t *testing.T) {
	run := func(seed uint64) {
		t.Helper()
		log := &testLog{}
		if err := wholeServerCut(seed, noFault, log); err != nil {
			t.Fatalf("-powercut=%d: %v\n%s", seed, err, strings.Join(log.lines, "\n"))
		}
	}
	if *cutSeed != 0 {
		run(*cutSeed)
		return
	}
	const base = 1
	t.Logf("seeds %d to %d", base, base+uint64(*cutRuns)-1)
	for i := range *cutRuns {
		run(base + uint64(i))
	}
}

// TestPowerCutCatchesFaults: a server that acknowledges before the sync, or shows
// what is not durable, does not pass.
func TestPowerCutCatchesFaults(t *testing.T) {
	for name, f := range map[string]fault{"ack before sync": ackBeforeSync, "visible before durable": visibleBeforeDurable} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				if err := wholeServerCut(seed+1, f, &testLog{}); err != nil {
					t.Logf("caught at seed %d: %v", seed+1, err)
					return
				}
			}
			t.Error("not caught within 20 seeds")
		})
	}
}
