package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type owner struct {
	mu       sync.Mutex
	failed   []error
	timeouts []Timeout
	retry    bool
}

func (o *owner) WriteFailed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = append(o.failed, err)
}

func (o *owner) WriteTimeout(t Timeout) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timeouts = append(o.timeouts, t)
	return o.retry
}

func (o *owner) WriteRecovered(Timeout) {}

// pair is a connection and the socket at its other end.
func pair(t testing.TB, tcp bool, cfg Config) (*Conn, net.Conn, func()) {
	var near, far net.Conn
	if tcp {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		far, err = net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		near, err = l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	} else {
		near, far = net.Pipe()
	}
	var wg sync.WaitGroup
	cfg.Go = func(f func()) { wg.Go(f) }
	if cfg.Owner == nil {
		cfg.Owner = &owner{}
	}
	c := New(near, cfg)
	return c, far, func() { c.Abort(); far.Close(); wg.Wait() }
}

// slowEnd is a socket whose end waits for the peer, as that of TLS may.
type slowEnd struct {
	net.Conn
	wait chan struct{}
}

func (s slowEnd) Close() error {
	<-s.wait
	return s.Conn.Close()
}

// TestSlowEnd: producers do not wait for the end of a connection that takes its time.
func TestSlowEnd(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	wait := make(chan struct{})
	var wg sync.WaitGroup
	c := New(slowEnd{near, wait}, Config{Owner: &owner{}, Go: func(f func()) { wg.Go(f) }})
	var o Outbox
	c.Reserve(1)
	o.Stage(c).Append([]byte("x"))
	ended := make(chan struct{})
	go func() {
		c.Close()
		o.Flush()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("a producer waits for the end of a connection")
	}
	close(wait)
	<-ended
	wg.Wait()
	if c.Pending() != 0 {
		t.Errorf("%d bytes pending", c.Pending())
	}
}

// TestOrderAndAccounting: several producers with lines of many sizes; each
// producer's bytes arrive in its order, and what was reserved is given back.
func TestOrderAndAccounting(t *testing.T) {
	for _, tcp := range []bool{true, false} {
		c, far, done := pair(t, tcp, Config{GateAbove: 1 << 20})
		const producers, batches = 4, 200
		var wg sync.WaitGroup
		for p := range producers {
			wg.Go(func() {
				var o Outbox
				for b := range batches {
					s := o.Stage(c)
					for m := range 5 {
						n := (b*37 + m*911 + p) % 9000
						line := append(bytes.Repeat([]byte{byte(b + m)}, n), '\n')
						head := []byte{byte('A' + p), byte(b), byte(m), byte(n), byte(n >> 8)}
						c.Reserve(len(head) + len(line))
						s.Append(head)
						if n >= ShareFrom {
							s.AppendShared(o.NewShared(line))
						} else {
							s.Append(line)
						}
						s.Message(n)
					}
					o.Flush()
				}
			})
		}
		next := [producers]int{}
		head := make([]byte, 5)
		for range producers * batches * 5 {
			if _, err := io.ReadFull(far, head); err != nil {
				t.Fatal(err)
			}
			p := int(head[0] - 'A')
			b, m := next[p]/5, next[p]%5
			next[p]++
			if head[1] != byte(b) || head[2] != byte(m) {
				t.Fatalf("producer %d: got batch %d message %d, want %d %d", p, head[1], head[2], byte(b), m)
			}
			n := int(head[3]) | int(head[4])<<8
			line := make([]byte, n+1)
			if _, err := io.ReadFull(far, line); err != nil {
				t.Fatal(err)
			}
			if line[n] != '\n' || (n > 0 && (line[0] != byte(b+m) || line[n-1] != byte(b+m))) {
				t.Fatalf("producer %d: damaged bytes", p)
			}
		}
		wg.Wait()
		c.Close()
		if _, err := far.Read(head); err != io.EOF {
			t.Fatalf("after Close: %v", err)
		}
		msgs, _ := c.Sent()
		if msgs != producers*batches*5 {
			t.Errorf("sent %d messages", msgs)
		}
		done()
		if p := c.Pending(); p != 0 {
			t.Errorf("tcp %v: %d bytes stay pending", tcp, p)
		}
	}
}

// TestSharedFanOut: one large payload for connections of which some are written
// to at once and some queue.
func TestSharedFanOut(t *testing.T) {
	const conns, messages, size = 6, 300, 16 << 10
	var cs [conns]*Conn
	var got [conns]chan []byte
	for i := range cs {
		c, far, done := pair(t, true, Config{})
		cs[i], got[i] = c, make(chan []byte, 1)
		defer done()
		start := make(chan struct{})
		if i%2 == 0 {
			close(start)
		} else {
			time.AfterFunc(100*time.Millisecond, func() { close(start) })
		}
		go func() {
			<-start
			b := make([]byte, messages*size)
			io.ReadFull(far, b)
			got[i] <- b
		}()
	}
	var want []byte
	var o Outbox
	scratch := make([]byte, size)
	for m := range messages {
		for i := range scratch {
			scratch[i] = byte(m + i)
		}
		want = append(want, scratch...)
		sh := o.NewShared(scratch)
		for _, c := range cs {
			c.Reserve(size)
			o.Stage(c).AppendShared(sh)
		}
		o.Flush()
	}
	for i := range got {
		if b := <-got[i]; !bytes.Equal(b, want) {
			t.Errorf("connection %d got other bytes", i)
		}
	}
}

// TestGate: the gate closes above the mark, and lifts when the peer reads.
func TestGate(t *testing.T) {
	c, far, done := pair(t, true, Config{GateAbove: 1 << 20})
	defer done()
	var o Outbox
	block := make([]byte, 64<<10)
	total := 0
	for !c.Gated() {
		c.Reserve(len(block))
		o.Stage(c).Append(block)
		total += len(block)
		o.Flush()
	}
	if c.Wait(time.Millisecond) {
		t.Fatal("the gate lifted although nobody reads")
	}
	go io.CopyN(io.Discard, far, int64(total))
	if !c.Wait(10 * time.Second) {
		t.Fatal("the gate did not lift")
	}
}

// TestWriteTimeout: a peer that does not read, with either answer of the owner.
func TestWriteTimeout(t *testing.T) {
	own := &owner{}
	c, _, done := pair(t, true, Config{Owner: own, WriteDeadline: 50 * time.Millisecond})
	defer done()
	var o Outbox
	block := make([]byte, 64<<10)
	for !c.Closed() {
		if c.Pending() < 32<<20 {
			c.Reserve(len(block))
			o.Stage(c).Append(block)
			o.Flush()
		}
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	if len(own.timeouts) != 1 || own.timeouts[0].Bytes == 0 {
		t.Fatalf("timeouts: %+v", own.timeouts)
	}
}

// TestWriteFailed: the peer is gone.
func TestWriteFailed(t *testing.T) {
	own := &owner{}
	c, far, done := pair(t, true, Config{Owner: own})
	defer done()
	far.(*net.TCPConn).SetLinger(0)
	far.Close()
	if err := c.Read(func([]byte) error { return nil }); err == nil {
		t.Fatal("no error")
	}
	for !c.Closed() {
		c.Send([]byte("x"))
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	if len(own.failed) != 1 {
		t.Fatalf("failures: %v", own.failed)
	}
}

// TestReadSizes: the buffered reader grows and shrinks; all bytes arrive.
func TestRead(t *testing.T) {
	for _, tcp := range []bool{true, false} {
		c, far, done := pair(t, tcp, Config{})
		want := bytes.Repeat([]byte("0123456789abcdef"), 50000)
		go func() {
			for i := 0; i < len(want); {
				n := min(len(want)-i, 1+i%70000)
				far.Write(want[i : i+n])
				i += n
			}
			far.Close()
		}()
		var got []byte
		err := c.Read(func(b []byte) error { got = append(got, b...); return nil })
		if !errors.Is(err, io.EOF) || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		done()
	}
}

func BenchmarkStage(b *testing.B) {
	c, far, done := pair(b, true, Config{})
	defer done()
	go io.Copy(io.Discard, far)
	var o Outbox
	o.Expect(64 << 10)
	msg := make([]byte, 150)
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for i := range b.N {
		c.Reserve(len(msg))
		s := o.Stage(c)
		s.Append(msg)
		s.Message(len(msg))
		if i%400 == 399 {
			o.Flush()
		}
	}
	o.Flush()
}
