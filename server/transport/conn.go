package transport

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxWriteChunks is how many buffers one write call takes (IOV_MAX on Linux).
const maxWriteChunks = 1024

// directRounds is how many more writes a producer makes for what others queued
// during its own, before a writer goroutine takes over.
const directRounds = 4

// finalFlush is how long the rest of the queue of a connection that is being
// closed may take to be written.
const finalFlush = time.Second

// Owner is told what happens to the outgoing side of a [Conn]. Its methods are
// called without locks held, by the goroutine that was writing: the
// connection's writer, or (WriteFailed only) a producer.
type Owner interface {
	// WriteFailed reports an error of the socket. The connection is cut; the
	// owner closes it.
	WriteFailed(err error)
	// WriteTimeout reports that a write missed its deadline. written tells
	// whether anything was written in this attempt. The owner decides whether to
	// go on; if not, the connection is cut, and the owner closes it.
	WriteTimeout(t Timeout) (retry bool)
	// WriteRecovered reports the first write that finished after a WriteTimeout
	// that was retried.
	WriteRecovered(t Timeout)
}

// Timeout describes a write that was late: what was attempted, and for how long.
type Timeout struct {
	After   time.Duration
	Chunks  int
	Bytes   int64
	Written bool
}

type state uint8

const (
	open     state = iota
	draining       // nothing is taken any more; the socket is closed when the queue is empty
	cut            // nothing is taken or written any more; the socket is still open
	dead           // the socket is closed, the queue is dropped
)

// Config is what a [Conn] needs to know.
type Config struct {
	// Owner is told about failures. Not nil.
	Owner Owner
	// WriteDeadline bounds one write call; 0 means no bound.
	WriteDeadline time.Duration
	// GateAbove is the number of pending bytes above which producers should
	// wait; 0 means never.
	GateAbove int64
	// Go starts a goroutine that the server waits for when it stops.
	Go func(func())
}

// Conn is one connection. Its methods are safe for concurrent use, except Read,
// which has one caller.
type Conn struct {
	nc  net.Conn
	raw *rawConn // nil: only the writer goroutine writes
	cfg Config

	// Pending counts the bytes reserved and not yet written.
	pending atomic.Int64
	gated   atomic.Bool
	ebbTo   atomic.Int64 // somebody waits until no more than this is pending; 0: nobody does
	closed  atomic.Bool  // not open

	// moved is when the peer last took something of what had to wait for it, or
	// when the waiting began, since epoch.
	moved atomic.Int64

	outMsgs, outBytes atomic.Int64

	writeDeadline atomic.Int64 // nanoseconds, as Config.WriteDeadline

	mu      sync.Mutex
	state   state
	writing bool          // the writer token is taken; if not, queue is empty
	gate    chan struct{} // closed when the gate lifts
	ebb     chan struct{} // closed when the queue has become short
	queue   []chunk
	sharers sharers

	// Owned by the holder of the writer token.
	taken []chunk // from the queue, to be written directly

	rest rest // owned by the goroutine that reads
}

// New makes a connection of an open socket. Plain TCP sockets are written to by
// producers directly.
func New(nc net.Conn, cfg Config) *Conn {
	c := &Conn{nc: nc, cfg: cfg}
	c.SetWriteDeadline(cfg.WriteDeadline)
	c.raw = newRawConn(nc)
	return c
}

// SetWriteDeadline bounds the writes from here on.
func (c *Conn) SetWriteDeadline(d time.Duration) { c.writeDeadline.Store(int64(d)) }

// NetConn is the socket.
func (c *Conn) NetConn() net.Conn { return c.nc }

// Pending is the number of bytes that were reserved and not yet written.
func (c *Conn) Pending() int64 { return c.pending.Load() }

// Sent counts the messages and their bytes that were handed to the queue, as
// statistics count them.
func (c *Conn) Sent() (msgs, bytes int64) { return c.outMsgs.Load(), c.outBytes.Load() }

// Closed tells that nothing is queued any more.
func (c *Conn) Closed() bool { return c.closed.Load() }

// Reserve counts n bytes that the caller is about to stage, and returns the
// pending bytes with them. Unreserve takes it back if they are not staged.
func (c *Conn) Reserve(n int) int64 {
	p := c.pending.Add(int64(n))
	if c.cfg.GateAbove > 0 && p > c.cfg.GateAbove && !c.gated.Load() {
		c.closeGate()
	}
	return p
}

// Unreserve takes back a reservation.
func (c *Conn) Unreserve(n int) { c.giveBack(int64(n), false) }

func (c *Conn) closeGate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Checked again under the lock: whoever writes lifts the gate under it.
	if c.gate == nil && !c.closed.Load() && c.pending.Load() > c.cfg.GateAbove {
		c.gate = make(chan struct{})
		c.gated.Store(true)
	}
}

// Gated tells that a producer should wait before it stages more.
func (c *Conn) Gated() bool { return c.gated.Load() }

// Gate is closed when the gate lifts; nil while it is not closed.
func (c *Conn) Gate() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate
}

// Wait waits until the gate lifts, at most d. It returns whether it lifted.
func (c *Conn) Wait(d time.Duration) bool {
	gate := c.Gate()
	if gate == nil {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-gate:
		return true
	case <-t.C:
		return false
	}
}

// giveBack returns n written or dropped bytes; all tells that a write wrote
// everything it attempted.
func (c *Conn) giveBack(n int64, all bool) {
	p := c.pending.Add(-n)
	if c.gated.Load() && (all || p <= c.cfg.GateAbove) {
		c.mu.Lock()
		c.liftGate()
		c.mu.Unlock()
	}
	if to := c.ebbTo.Load(); to != 0 && p <= to {
		c.mu.Lock()
		c.endEbb()
		c.mu.Unlock()
	}
}

func (c *Conn) liftGate() {
	if c.gate != nil {
		close(c.gate)
		c.gate = nil
		c.gated.Store(false)
	}
}

// take receives a stage from its producer.
func (c *Conn) take(s *Stage) {
	if s.msgs > 0 {
		c.outMsgs.Add(int64(s.msgs))
		c.outBytes.Add(int64(s.size))
	}
	c.mu.Lock()
	switch {
	case c.closed.Load():
		c.mu.Unlock()
		for i := range s.chunks {
			s.chunks[i].release()
		}
		c.giveBack(int64(s.bytes), false)
	case c.writing:
		c.enqueue(s.chunks)
		c.mu.Unlock()
		s.out.behind = s.out.behind || c.pending.Load() > ebbLeast
	case c.raw == nil:
		c.enqueue(s.chunks)
		c.writing = true
		c.mu.Unlock()
		c.cfg.Go(c.write)
	case s.out.Patient && s.out.ending && s.bytes <= lateBytes && c.sharers.met(s.out, s.bytes):
		c.enqueue(s.chunks)
		c.writing = true
		c.mu.Unlock()
		s.out.late = append(s.out.late, c)
	default:
		c.writing = true
		c.mu.Unlock()
		c.writeDirect(s.chunks, s.bytes)
	}
}

// Send hands over a copy of b, reserved here. For the few lines that do not come
// from a producer (PING, INFO).
func (c *Conn) Send(b []byte) {
	c.Reserve(len(b))
	o := Outbox{expect: len(b)}
	o.Stage(c).Append(b)
	o.Flush()
}

// enqueue appends chunks to the queue; mu is held.
func (c *Conn) enqueue(chunks []chunk) {
	for i := range chunks {
		ch := &chunks[i]
		if n := len(c.queue); n > 0 && ch.buf != nil {
			// Many producers with little each: one buffer for all.
			if last := &c.queue[n-1]; last.buf != nil && cap(last.b)-len(last.b) >= len(ch.b) {
				last.b = append(last.b, ch.b...)
				ch.release()
				continue
			}
		}
		c.queue = append(c.queue, keep(ch))
	}
}

// keep makes a chunk of a stage one that may wait: its own copy of shared bytes,
// and no large buffer for few bytes.
func keep(ch *chunk) chunk {
	if ch.sh != nil {
		if ch.owner {
			return *ch
		}
		at := len(ch.sh.b) - len(ch.b)
		ch.sh.own()
		ch.sh.refs.Add(1)
		return chunk{b: ch.sh.b[at:], sh: ch.sh, owner: true}
	}
	if n := len(ch.b); n <= cap(ch.buf)/8 {
		small := append(GetBuffer(n), ch.b...)
		ch.release()
		return chunk{b: small, buf: small[:0]}
	}
	return *ch
}

// consume releases the chunks that n written bytes cover and cuts the next one.
func consume(chunks []chunk, n int64) (rest []chunk) {
	for len(chunks) > 0 && n >= int64(len(chunks[0].b)) {
		n -= int64(len(chunks[0].b))
		chunks[0].release()
		chunks = chunks[1:]
	}
	if n > 0 {
		chunks[0].b = chunks[0].b[n:]
	}
	return chunks
}

// writeDirect writes without blocking, and what was queued meanwhile, too, if the
// socket takes it. The caller has the token, which is given back or passed to a
// writer here.
func (c *Conn) writeDirect(chunks []chunk, total int) {
	for round := 0; ; round++ {
		n, err := c.raw.write(chunks)
		c.giveBack(int64(n), n == total)
		rest := consume(chunks, int64(n))
		c.mu.Lock()
		if len(rest) > 0 {
			c.move()
			front := make([]chunk, 0, len(rest)+len(c.queue))
			for i := range rest {
				front = append(front, keep(&rest[i]))
			}
			c.queue = append(front, c.queue...)
		}
		if err != nil && c.state < cut {
			c.fail()
			c.release()
			c.mu.Unlock()
			c.cfg.Owner.WriteFailed(err)
			return
		}
		if len(c.queue) == 0 || c.state >= cut {
			c.release()
			c.mu.Unlock()
			return
		}
		if len(rest) > 0 || round == directRounds {
			c.mu.Unlock()
			c.cfg.Go(c.write)
			return
		}
		chunks, total = c.takeQueue()
		c.mu.Unlock()
	}
}

// writeLate writes what was queued since the caller took the token.
func (c *Conn) writeLate() {
	c.mu.Lock()
	if c.state >= cut {
		c.release()
		c.mu.Unlock()
		return
	}
	chunks, total := c.takeQueue()
	c.sharers.wrote(total)
	c.mu.Unlock()
	c.writeDirect(chunks, total)
}

// takeQueue empties the queue for a direct write; mu and the token are held.
func (c *Conn) takeQueue() (chunks []chunk, total int) {
	c.taken, c.queue = c.queue, c.taken[:0]
	for i := range c.taken {
		total += len(c.taken[i].b)
	}
	return c.taken, total
}

// release gives the token back; mu is held, the queue is empty or dropped here.
func (c *Conn) release() {
	var dropped int64
	for i := range c.queue {
		dropped += int64(len(c.queue[i].b))
		c.queue[i].release()
	}
	// An idle connection keeps little.
	if c.queue = c.queue[:0]; cap(c.queue) > 16 {
		c.queue = nil
	}
	if cap(c.taken) > 16 {
		c.taken = nil
	}
	if dropped > 0 {
		c.pending.Add(-dropped)
		c.liftGate()
		c.endEbb()
	}
	c.writing = false
	if c.state == draining {
		c.die()
	}
}

// die closes the socket; mu is held. TLS writes a last record, which may wait for the
// peer, and producers for mu.
func (c *Conn) die() {
	c.end(dead)
	if c.raw == nil {
		c.cfg.Go(func() { c.nc.Close() })
		return
	}
	c.nc.Close()
}

// end lets nobody wait for the connection any more; mu is held.
func (c *Conn) end(s state) {
	c.state = s
	c.closed.Store(true)
	c.liftGate()
	c.endEbb()
}

// fail is what an error of the socket leads to, unless the connection was cut: the
// owner closes it if it was open, and who drains it has nothing left to do. mu is
// held.
func (c *Conn) fail() {
	if c.state == open {
		c.end(cut)
	} else {
		c.die()
	}
}

// write is the writer goroutine: it has the token and writes until the queue is
// empty.
func (c *Conn) write() {
	var (
		batch    []chunk
		deadline bool // one is set on the socket
		slow     bool // a write timed out and is being retried
		since    time.Time
	)
	for {
		c.mu.Lock()
		if c.state >= cut {
			c.release()
			c.mu.Unlock()
			return
		}
		if len(c.queue) == 0 {
			if deadline && c.raw != nil {
				// Producers who write directly must not meet an old deadline.
				c.mu.Unlock()
				c.nc.SetWriteDeadline(time.Time{})
				deadline = false
				continue
			}
			c.release()
			c.mu.Unlock()
			return
		}
		n := min(len(c.queue), maxWriteChunks)
		batch = append(batch[:0], c.queue[:n]...)
		left := copy(c.queue, c.queue[n:])
		clear(c.queue[left:])
		c.queue = c.queue[:left]
		last := c.state == draining
		c.mu.Unlock()

		var size int64
		for i := range batch {
			size += int64(len(batch[i].b))
		}
		if since.IsZero() || !slow {
			since = time.Now()
		}
		if d := time.Duration(c.writeDeadline.Load()); last {
			c.nc.SetWriteDeadline(time.Now().Add(finalFlush))
		} else if d > 0 {
			c.nc.SetWriteDeadline(time.Now().Add(d))
			deadline = true
		}
		wrote, rest, err := c.writeBatch(batch)
		if err == nil {
			if slow {
				slow = false
				c.cfg.Owner.WriteRecovered(Timeout{After: time.Since(since), Chunks: n, Bytes: size, Written: true})
			}
			continue
		}
		c.mu.Lock()
		c.queue = append(append(make([]chunk, 0, len(rest)+len(c.queue)), rest...), c.queue...)
		if c.state != open {
			if c.state == draining {
				c.die()
			}
			c.mu.Unlock()
			continue
		}
		c.mu.Unlock()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t := Timeout{After: time.Duration(c.writeDeadline.Load()), Chunks: n, Bytes: size, Written: wrote > 0}
			if c.cfg.Owner.WriteTimeout(t) {
				slow = true
				continue
			}
			c.Cut()
			continue
		}
		c.Cut()
		c.cfg.Owner.WriteFailed(err)
	}
}

// writeBatch writes chunks and waits for the socket. What the peer took is neither
// pending nor held in memory from then on, whatever the rest does.
func (c *Conn) writeBatch(chunks []chunk) (wrote int64, rest []chunk, err error) {
	rest = chunks
	took := func(n int) []chunk {
		wrote += int64(n)
		rest = consume(rest, int64(n))
		c.move()
		c.giveBack(int64(n), len(rest) == 0)
		return rest
	}
	if c.raw != nil {
		err = c.raw.writeAll(chunks, took)
		return wrote, rest, err
	}
	for len(rest) > 0 && err == nil {
		var n int
		if n, err = c.nc.Write(rest[0].b); n > 0 {
			took(n)
		}
	}
	return wrote, rest, err
}

// Close takes nothing more, lets the queue be written, and closes the socket.
// It does not wait.
func (c *Conn) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open {
		return
	}
	if !c.writing {
		c.die()
		return
	}
	c.end(draining)
	c.nc.SetWriteDeadline(time.Now().Add(finalFlush))
}

// Cut drops what is queued and takes nothing more. The socket stays open, so that
// its peer does not see the end yet: Abort follows.
func (c *Conn) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state < cut {
		c.end(cut)
		c.nc.SetWriteDeadline(time.Unix(1, 0)) // a writer may wait
	}
}

// Abort closes the socket at once and drops what is queued.
func (c *Conn) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == dead {
		return
	}
	// Of TLS, the socket below: a last record to say goodbye would wait for a peer
	// that does not read.
	if t, ok := c.nc.(interface{ NetConn() net.Conn }); ok {
		t.NetConn().Close()
	}
	c.die()
}
