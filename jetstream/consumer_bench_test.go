package jetstream

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// A Consumer begins with a cache line, since the allocator aligns what is a multiple
// of one.
func TestConsumerBeginsWithALine(t *testing.T) {
	if size := unsafe.Sizeof(Consumer{}); size%64 != 0 {
		t.Errorf("a consumer has %d bytes", size)
	}
}

// countingBus counts deliveries instead of making them, so that a benchmark
// measures the engine alone.
type countingBus struct {
	testBus
	acks  chan []byte // reply subjects of what was delivered, if wanted
	count chan int
}

func (b *countingBus) Interest(string, string) bool { return true }

func (b *countingBus) Publisher() Publisher { return &countingPublisher{bus: b} }

type countingPublisher struct {
	bus  *countingBus
	n    int
	acks []byte
}

func (p *countingPublisher) Publish(subject, reply, header, data []byte) bool { return true }

func (p *countingPublisher) Deliver(route, subject, reply, header, data []byte) bool {
	p.n++
	if p.bus.acks != nil {
		p.acks = append(append(p.acks, reply...), ' ')
	}
	return true
}

func (p *countingPublisher) Flush() <-chan struct{} {
	if n := p.n; n > 0 {
		p.n = 0
		if p.bus.acks != nil {
			acks := append([]byte(nil), p.acks...)
			p.acks = p.acks[:0]
			p.bus.acks <- acks
		}
		p.bus.count <- n
	}
	return nil
}

// BenchmarkConsume delivers stored messages to pull requests of 500, with and
// without acknowledgements.
func BenchmarkConsume(b *testing.B) {
	for _, policy := range []string{"none", "explicit"} {
		b.Run(policy, func(b *testing.B) { benchmarkConsume(b, policy) })
	}
}

func benchmarkConsume(b *testing.B, policy string) {
	bus := &countingBus{count: make(chan int, 1<<16)}
	if policy == "explicit" {
		bus.acks = make(chan []byte, 1<<16)
	}
	a, c := benchmarkStream(b, bus)
	const stored = 100_000
	benchmarkStore(a, c, stored, 1000)
	b.ReportAllocs()
	b.ResetTimer()
	var pulled []Msg
	for n, round := 0, 0; n < b.N; round++ {
		b.StopTimer()
		name := fmt.Sprint("C", round)
		c.publish("$JS.API.CONSUMER.CREATE.S."+name, "", fmt.Sprintf(`{"stream_name":"S","config":{"name":%q,"ack_policy":%q,"max_ack_pending":2000}}`, name, policy))
		for a.consumer([]byte("S"), []byte(name)) == nil {
		}
		next := Msg{Subject: []byte("$JS.API.CONSUMER.MSG.NEXT.S." + name), Reply: []byte("inbox"), Data: []byte(`{"batch":500}`)}
		pulled = append(pulled[:0], next)
		b.StartTimer()
		a.serveAPI(append(pulled, next))
		outstanding := 1000
		for got := 0; got < stored && n < b.N; {
			k := <-bus.count
			got, n, outstanding = got+k, n+k, outstanding-k
			if bus.acks != nil {
				acks := <-bus.acks
				msgs := make([]Msg, 0, k)
				for line := range strings.SplitSeq(strings.TrimSpace(string(acks)), " ") {
					msgs = append(msgs, Msg{Subject: asBytes(line)})
				}
				a.serveAcks(msgs)
			}
			for outstanding <= 500 {
				a.serveAPI(pulled)
				outstanding += 500
			}
		}
		b.StopTimer()
		a.Stream("S").consumers.remove(a.consumer([]byte("S"), []byte(name)))
	drain:
		for {
			select {
			case <-bus.count:
			case <-bus.acks:
			default:
				break drain
			}
		}
		b.StartTimer()
	}
}

// BenchmarkLive delivers messages as they are stored: to one consumer without
// filter, and to 10,000 consumers of one subject each.
func BenchmarkLive(b *testing.B) {
	for _, consumers := range []int{1, 10_000} {
		b.Run(fmt.Sprint(consumers, " consumers"), func(b *testing.B) { benchmarkLive(b, consumers) })
	}
}

func benchmarkLive(b *testing.B, consumers int) {
	bus := &countingBus{count: make(chan int, 1<<20)}
	a, c := benchmarkStream(b, bus)
	for i := range consumers {
		filter := ""
		if consumers > 1 {
			filter = fmt.Sprintf(`,"filter_subject":"s.%d"`, i)
		}
		c.publish("$JS.API.CONSUMER.CREATE.S.C"+strconv.Itoa(i), "", fmt.Sprintf(`{"stream_name":"S","config":{"durable_name":"C%d","ack_policy":"none"%s}}`, i, filter))
	}
	for a.Stream("S").consumers.count(true) < consumers {
		runtime.Gosched()
	}
	for i := range consumers {
		a.serveAPI([]Msg{{Subject: []byte("$JS.API.CONSUMER.MSG.NEXT.S.C" + strconv.Itoa(i)), Reply: []byte("inbox"), Data: []byte("100000000")}})
	}
	b.ReportAllocs()
	b.ResetTimer()
	got := make(chan bool)
	go func() {
		for n := 0; n < b.N; {
			n += <-bus.count
		}
		close(got)
	}()
	benchmarkStore(a, c, b.N, 10_000)
	<-got
}

// BenchmarkBacklog delivers what was stored before: to one consumer without
// filter, and to 10,000 consumers of one subject each.
func BenchmarkBacklog(b *testing.B) {
	for _, consumers := range []int{1, 10_000} {
		b.Run(fmt.Sprint(consumers, " consumers"), func(b *testing.B) { benchmarkBacklog(b, consumers) })
	}
}

func benchmarkBacklog(b *testing.B, consumers int) {
	bus := &countingBus{count: make(chan int, 1<<20)}
	a, c := benchmarkStream(b, bus)
	benchmarkStore(a, c, b.N, 10_000)
	for i := range consumers {
		filter := ""
		if consumers > 1 {
			filter = fmt.Sprintf(`,"filter_subject":"s.%d"`, i)
		}
		c.publish("$JS.API.CONSUMER.CREATE.S.C"+strconv.Itoa(i), "", fmt.Sprintf(`{"stream_name":"S","config":{"durable_name":"C%d","ack_policy":"none"%s}}`, i, filter))
	}
	for a.Stream("S").consumers.count(true) < consumers {
		runtime.Gosched()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range consumers {
		a.serveAPI([]Msg{{Subject: []byte("$JS.API.CONSUMER.MSG.NEXT.S.C" + strconv.Itoa(i)), Reply: []byte("inbox"), Data: []byte("100000000")}})
	}
	for n := 0; n < b.N; {
		n += <-bus.count
	}
}

// countingEngine is an engine with one account "A" on a bus that counts.
func countingEngine(t testing.TB, o Options, bus *countingBus) (*Account, *client) {
	t.Helper()
	o.ServerName = "S1"
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	a, err := e.AddAccount("A", bus, &AccountConfig{Limits: unlimited})
	if err != nil {
		t.Fatal(err)
	}
	return a, newClient(t, &bus.testBus)
}

func benchmarkStream(b *testing.B, bus *countingBus) (*Account, *client) {
	a, c := countingEngine(b, Options{MaxMemory: -1}, bus)
	c.publish("$JS.API.STREAM.CREATE.S", "", `{"name":"S","subjects":["s.>"],"storage":"memory"}`)
	for !bus.testBus.Interest("s.0", "") { // it is there, and hears of messages
		runtime.Gosched()
	}
	return a, c
}

// benchmarkStore publishes n messages of 128 bytes on so many subjects in turn,
// and waits until they are stored.
func benchmarkStore(a *Account, c *client, n, subjects int) {
	store := a.Stream("S").Store()
	first := store.Positions().Visible
	payload := []byte(strings.Repeat("x", 128))
	for i := range n {
		c.p.Publish([]byte("s."+strconv.Itoa(i%subjects)), nil, nil, payload)
		if i%1000 == 999 || i == n-1 {
			c.p.Flush()
			for store.Positions().Visible < first+uint64(i)+1 {
				runtime.Gosched()
			}
		}
	}
}
