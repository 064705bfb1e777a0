package transport

import (
	"runtime"
	"time"
)

// What waits in the queue of a connection is memory, and what its writer writes next
// was queued last and leaves the processor's cache. A producer that is faster than a
// connection therefore waits, behind its batch and for a moment, until the queue is
// short again. Only while the peer takes what it is sent: somebody who does not read
// is not waited for, and somebody who is slow gets a long queue in the end, as the
// limits say. The waits are bounded, so that a connection that sends to itself, or two
// that send to each other, go on.
const (
	// ebbAlone is the length of a queue in bytes from which its producers wait, and
	// ebbTogether that of all queues that a batch adds to: many that are long at the
	// same time share it, down to ebbLeast for each. The socket itself holds some
	// megabytes more, so that its peer has something to read meanwhile.
	ebbAlone    = 2 << 20
	ebbTogether = 4 << 20
	ebbLeast    = 256 << 10
	// ebbMost is the length from which a connection cannot keep up: others who are
	// sent the same do not wait for it.
	ebbMost = 16 << 20
	// ebbSome bounds the wait of a batch for one of its connections, and ebbAll the
	// wait when all of them have long queues, since that holds up none of them; in
	// between it is as long as their share.
	ebbSome = 2 * time.Millisecond
	ebbAll  = 20 * time.Millisecond
	// ebbMoving is how lately the peer must have taken something. A socket says that
	// it takes more when a third of its buffer is free, a megabyte or so, and a client
	// whose threads are all busy may come to read only every hundred milliseconds.
	ebbMoving = 200 * time.Millisecond
)

// epoch is where the clock of moves begins.
var epoch = time.Now()

// move notes that the peer took something, or that it is waited for from here on.
func (c *Conn) move() { c.moved.Store(int64(time.Since(epoch))) }

// Still is how long the peer has taken nothing of what waits for it. It means
// nothing while nothing waits.
func (c *Conn) Still() time.Duration {
	return time.Since(epoch) - time.Duration(c.moved.Load())
}

// ebbWait is what a producer does behind its batch for those who do not keep up.
type ebbWait struct {
	yield bool
	conn  *Conn // nil: nobody is waited for
	to    int64 // the length at which it goes on
	most  time.Duration
}

// lag tells what to do about the connections of the batch.
func (o *Outbox) lag() ebbWait {
	w := ebbWait{yield: true}
	if !o.Yielding {
		return w
	}
	long := 0
	for _, s := range o.stages[:o.n] {
		if s.conn.pending.Load() > ebbLeast {
			long++
		}
	}
	if long == 0 {
		return w
	}
	from := max(ebbLeast, min(ebbAlone, ebbTogether/int64(long)))
	var some, all *Conn // the longest of those waited for, and the shortest of all
	for _, s := range o.stages[:o.n] {
		p := s.conn.pending.Load()
		if all == nil || p < all.pending.Load() {
			all = s.conn
		}
		if p > from && p < ebbMost && (some == nil || p > some.pending.Load()) && s.conn.Still() < ebbMoving {
			some = s.conn
		}
	}
	w.to = from / 2 // what a socket takes while the producer wakes up
	switch {
	case all.pending.Load() > from && all.Still() < ebbMoving:
		w.conn, w.most = all, ebbAll
	case some != nil:
		w.conn, w.most = some, max(ebbSome, ebbAll*time.Duration(long)/time.Duration(o.n))
	}
	return w
}

func (w ebbWait) wait() {
	if w.conn != nil {
		w.conn.AwaitPending(w.to, w.most)
	} else if w.yield {
		runtime.Gosched()
	}
}

// AwaitPending waits until no more than n bytes are pending, n > 0, or nothing is taken
// any more, at most d.
func (c *Conn) AwaitPending(n int64, d time.Duration) {
	c.mu.Lock()
	if c.ebb == nil {
		c.ebb = make(chan struct{})
	}
	ebb := c.ebb
	// Who else waits for less is woken too early, and looks again behind its next batch.
	c.ebbTo.Store(max(n, c.ebbTo.Load()))
	if c.pending.Load() <= n || c.closed.Load() {
		c.endEbb()
	}
	c.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ebb:
	case <-t.C:
	}
}

// endEbb lets those go on who wait; mu is held.
func (c *Conn) endEbb() {
	if c.ebb != nil {
		close(c.ebb)
		c.ebb = nil
		c.ebbTo.Store(0)
	}
}
