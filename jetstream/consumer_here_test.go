package jetstream

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// TestOneByOne: a client that asks for one message at a time, and acknowledges
// each before the next, gets all of them, whichever goroutine serves it.
func TestOneByOne(t *testing.T) {
	bus := &countingBus{count: make(chan int, 1<<16), acks: make(chan []byte, 1<<16)}
	a, c := countingEngine(t, Options{StoreDir: t.TempDir(), MaxMemory: -1, MaxStore: -1}, bus)
	c.publish("$JS.API.STREAM.CREATE.S", "", `{"name":"S","subjects":["s.>"]}`)
	waitFor(t, func() bool { return bus.testBus.Interest("s.0", "") })
	const n = 5000
	benchmarkStore(a, c, n, 10)
	c.publish("$JS.API.CONSUMER.CREATE.S.C", "", `{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit","max_ack_pending":10}}`)
	waitFor(t, func() bool { return a.consumer([]byte("S"), []byte("C")) != nil })
	for seq := 1; seq <= n; seq++ {
		a.serveAPI([]Msg{{Subject: []byte("$JS.API.CONSUMER.MSG.NEXT.S.C"), Reply: []byte("inbox"), Data: []byte("1")}})
		select {
		case ack := <-bus.acks:
			if want := fmt.Appendf(nil, "$JS.ACK.S.C.1.%d.%d.", seq, seq); !bytes.HasPrefix(ack, want) {
				t.Fatalf("got %s, want %s", ack, want)
			}
			<-bus.count
			a.serveAcks([]Msg{{Subject: bytes.TrimSpace(ack)}})
		case <-time.After(time.Minute):
			x := a.consumer([]byte("S"), []byte("C"))
			x.in.mu.Lock()
			defer x.in.mu.Unlock()
			t.Fatalf("message %d does not come; running %v, ring %v, %d items; %+v", seq, x.in.running, x.in.ring, len(x.in.items), x.m.Info(0))
		}
	}
}
