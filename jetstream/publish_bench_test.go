package jetstream

import (
	"fmt"
	"testing"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
)

// countBus counts acks and delivers nothing.
type countBus struct {
	testBus
	acks chan int
}

type countPublisher struct {
	bus *countBus
	n   int
}

func (b *countBus) Publisher() Publisher { return &countPublisher{bus: b} }

func (p *countPublisher) Publish(subject, reply, header, data []byte) bool {
	p.n++
	return true
}

func (p *countPublisher) Deliver(route, subject, reply, header, data []byte) bool { return true }

func (p *countPublisher) Flush() <-chan struct{} {
	if p.n > 0 {
		p.bus.acks <- p.n
		p.n = 0
	}
	return nil
}

// nullProposer takes everything at once and keeps nothing: what is left is the
// cost of admission, apply and acks.
type nullProposer struct{}

func (nullProposer) InFlight(func(*msgstore.RawMsg)) {}

func (nullProposer) Propose(batch []msgstore.RawMsg, done func(error)) { done(nil) }
func (nullProposer) Remove(seqs []uint64, done func(uint64, error))    { done(0, nil) }

// publishing is a stream and the messages of one read buffer for it.
func publishing(b testing.TB, null bool, header string) (*Stream, *countBus, []Msg) {
	b.Helper()
	e, err := Open(Options{StoreDir: b.TempDir(), MaxMemory: -1, MaxStore: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close() })
	bus := &countBus{acks: make(chan int, 1<<16)}
	a, err := e.AddAccount("A", bus, &AccountConfig{Limits: unlimited})
	if err != nil {
		b.Fatal(err)
	}
	cfg := &jsapi.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Storage: jsapi.MemoryStorage, MaxMsgs: 100_000, AllowAtomic: true}
	if err := jsapi.CheckStream(cfg, a.environment(false, 1)); err != nil {
		b.Fatal(err)
	}
	st, _, jerr := a.createStream(cfg)
	if jerr != nil {
		b.Fatal(jerr)
	}
	if null {
		st.proposer = nullProposer{}
	}
	msgs := make([]Msg, readBuffer)
	for i := range msgs {
		msgs[i] = Msg{Subject: []byte("s.a"), Reply: []byte(fmt.Sprintf("_INBOX.abcdefghijklmnop.%d", i)), Data: make([]byte, 128)}
		if header != "" {
			msgs[i].Header = []byte(header)
		}
	}
	return st, bus, msgs
}

const readBuffer = 400 // messages in 64 KiB

func benchmarkPublish(b *testing.B, null bool, header string) {
	st, bus, msgs := publishing(b, null, header)
	b.ReportAllocs()
	b.SetBytes(128)
	sent, acked := 0, 0
	b.ResetTimer()
	for acked < b.N {
		for sent < b.N && sent-acked < 20*readBuffer {
			st.receive(msgs)
			sent += readBuffer
		}
		acked += <-bus.acks
	}
}

// atomicBatches makes batches of 100 of the messages of a read buffer: four
// acknowledgements.
func atomicBatches(msgs []Msg) {
	for i := range msgs {
		k := i%100 + 1
		head := fmt.Sprintf("NATS/1.0\r\nNats-Batch-Id: %d\r\nNats-Batch-Sequence: %d\r\n", i/100, k)
		if msgs[i].Reply = nil; k == 100 {
			head += "Nats-Batch-Commit: 1\r\n"
			msgs[i].Reply = []byte("_INBOX.abcdefghijklmnop")
		}
		msgs[i].Header = []byte(head + "\r\n")
	}
}

func BenchmarkAtomicBatches(b *testing.B) {
	st, bus, msgs := publishing(b, true, "")
	atomicBatches(msgs)
	b.ReportAllocs()
	b.SetBytes(128)
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += readBuffer {
		st.receive(msgs)
		for acked := 0; acked < readBuffer/100; acked += <-bus.acks {
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	b.Run("admission", func(b *testing.B) { benchmarkPublish(b, true, "") })
	b.Run("admission-headers", func(b *testing.B) {
		benchmarkPublish(b, true, "NATS/1.0\r\nNats-Expected-Stream: S\r\nX-Trace: 0123456789\r\n\r\n")
	})
	b.Run("memory", func(b *testing.B) { benchmarkPublish(b, false, "") })
}

// Admission, apply and ack allocate per batch, not per message.
func TestPublishAllocations(t *testing.T) {
	for _, header := range []string{"", "NATS/1.0\r\nNats-Expected-Stream: S\r\nX-Trace: 0123456789\r\n\r\n"} {
		st, bus, msgs := publishing(t, true, header)
		allocs := testing.AllocsPerRun(200, func() {
			st.receive(msgs)
			for acked := 0; acked < readBuffer; acked += <-bus.acks {
			}
		})
		if allocs > readBuffer/20 {
			t.Errorf("header %q: %v allocations for %d messages", header, allocs, readBuffer)
		}
	}
	st, bus, msgs := publishing(t, true, "")
	atomicBatches(msgs)
	allocs := testing.AllocsPerRun(200, func() {
		st.receive(msgs)
		for acked := 0; acked < readBuffer/100; acked += <-bus.acks {
		}
	})
	if allocs > readBuffer/4 { // the race detector lets pools forget some of what they are given
		t.Errorf("atomic batches: %v allocations for %d messages", allocs, readBuffer)
	}
}
