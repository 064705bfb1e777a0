package transport

import (
	"io"
	"runtime"
	"slices"
	"testing"
	"time"
)

// send puts n bytes into the queues, in batches of 64 KiB.
func send(o *Outbox, n int, conns ...*Conn) {
	block := make([]byte, 64<<10)
	for ; n > 0; n -= len(block) {
		for _, c := range conns {
			c.Reserve(len(block))
			o.Stage(c).Append(block)
		}
		o.Flush()
	}
}

// TestLag: whom a producer waits for, and how long.
func TestLag(t *testing.T) {
	const lively, still = 0, time.Hour
	type peer struct {
		pending int64
		still   time.Duration
	}
	many := func(n int, p peer) (ps []peer) {
		for range n {
			ps = append(ps, p)
		}
		return ps
	}
	for _, tt := range []struct {
		name  string
		peers []peer
		conn  int // -1: nobody
		to    int64
		most  time.Duration
	}{
		{"short", []peer{{2 << 20, lively}}, -1, 0, 0},
		{"the only one", []peer{{2<<20 + 1, lively}}, 0, 1 << 20, ebbAll},
		{"the only one, however long", []peer{{3 * ebbMost, lively}}, 0, 1 << 20, ebbAll},
		{"the only one does not read", []peer{{2<<20 + 1, still}}, -1, 0, 0},
		{"all: the shortest", []peer{{9 << 20, lively}, {5 << 20, lively}, {7 << 20, lively}}, 1, (4 << 20) / 3 / 2, ebbAll},
		{"some: the longest", []peer{{9 << 20, lively}, {5 << 20, lively}, {0, lively}}, 0, 1 << 20, 2 * ebbAll / 3},
		{"one of very many", append(many(99, peer{0, lively}), peer{9 << 20, lively}), 99, 1 << 20, ebbSome},
		{"one that cannot keep up", []peer{{ebbMost, lively}, {0, lively}}, -1, 0, 0},
		{"one that cannot keep up, one that might", []peer{{ebbMost, lively}, {2<<20 + 1, lively}, {0, lively}}, 1, 1 << 20, 2 * ebbAll / 3},
		{"all, the shortest does not read", []peer{{5 << 20, still}, {6 << 20, lively}}, 1, 1 << 20, ebbAll},
		{"a share of eight each", many(8, peer{512 << 10, lively}), -1, 0, 0},
		{"more than a share of eight", many(8, peer{512<<10 + 1, lively}), 0, 256 << 10, ebbAll},
		{"more than a share of eight, and one short", append(many(8, peer{512<<10 + 1, lively}), peer{ebbLeast, lively}), 0, 256 << 10, 8 * ebbAll / 9},
		{"hundreds with little", many(400, peer{ebbLeast, lively}), -1, 0, 0},
	} {
		var o Outbox
		o.Yielding = true
		conns := make([]*Conn, len(tt.peers))
		for i, p := range tt.peers {
			conns[i] = new(Conn)
			conns[i].pending.Store(p.pending)
			conns[i].moved.Store(int64(time.Since(epoch) - p.still))
			o.Stage(conns[i])
		}
		var want *Conn
		if tt.conn >= 0 {
			want = conns[tt.conn]
		}
		if w := o.lag(); w.conn != want || want != nil && (w.to != tt.to || w.most != tt.most) {
			t.Errorf("%s: waits %v for %d until %d are pending", tt.name, w.most, slices.Index(conns, w.conn), w.to)
		}
		o.Yielding = false
		if w := o.lag(); w.conn != nil {
			t.Errorf("%s: waits although it should not", tt.name)
		}
	}
}

// TestNoEbb: whoever takes nothing is waited for only shortly after it stopped, and
// another one who is sent the same gets all of it meanwhile.
func TestNoEbb(t *testing.T) {
	stuck, _, done := pair(t, true, Config{})
	defer done()
	healthy, far, done2 := pair(t, true, Config{})
	defer done2()
	const total = 32 << 20
	read := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, far, total)
		read <- err
	}()
	o := &Outbox{Yielding: true}
	send(o, total, stuck, healthy)
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if p := stuck.Pending(); p < ebbMost {
		t.Errorf("the queue of the one that does not read holds %d bytes", p)
	}
	for stuck.Still() < ebbMoving {
		send(o, 64<<10, stuck)
	}
	stuck.mu.Lock()
	ebb := stuck.ebb
	stuck.mu.Unlock()
	send(o, 4<<20, stuck)
	stuck.mu.Lock()
	defer stuck.mu.Unlock()
	if stuck.ebb != ebb {
		t.Error("somebody waited for a connection that takes nothing")
	}
}

// TestEbbEnds: those who wait go on when the connection dies.
func TestEbbEnds(t *testing.T) {
	c, _, done := pair(t, true, Config{})
	defer done()
	send(new(Outbox), 16<<20, c)
	waits := make(chan struct{})
	go func() {
		c.AwaitPending(1<<20, time.Hour)
		close(waits)
	}()
	for c.ebbTo.Load() == 0 {
		runtime.Gosched()
	}
	c.Abort()
	<-waits
}

// TestProgress: what the peer took is not pending, although the batch that it
// belongs to is not written yet.
func TestProgress(t *testing.T) {
	for _, tcp := range []bool{true, false} {
		c, far, done := pair(t, tcp, Config{})
		defer done()
		send(new(Outbox), 32<<20, c)
		before := c.Pending()
		if _, err := io.CopyN(io.Discard, far, 16<<20); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(20 * time.Second)
		for c.Pending() > before-(8<<20) {
			if time.Now().After(deadline) {
				t.Fatalf("tcp %v: %d of %d bytes are pending after half was read", tcp, c.Pending(), before)
			}
			runtime.Gosched()
		}
	}
}
