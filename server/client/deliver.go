package client

import (
	"sync/atomic"
	"time"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/msgtrace"
	"github.com/natsd/natsd/server/transport"
)

const (
	// stallWait is how long a producer waits for a receiver that is slow,
	// stallWaitFull for one at its limit, and maxStall for all in one batch.
	stallWait     = 2 * time.Millisecond
	stallWaitFull = 5 * time.Millisecond
	maxStall      = 10 * time.Millisecond
	// noticedStall is the total from which a warning is logged, which each
	// producer is worth once in stallWarnings.
	noticedStall  = 5 * time.Millisecond
	stallWarnings = time.Second
	// stuckAfter is how long a receiver has to have taken nothing until it is taken
	// for stuck, and stuckStall how often it is waited for then, by all producers
	// together: it is going to be cut off, and others who are sent the same should
	// not notice. It is as long as the waits for a receiver last that stops reading
	// with the default limits, so that nobody is cut off earlier for it.
	stuckAfter = 2 * time.Second
	stuckStall = 50 * time.Millisecond
)

// Deliver stages a message for the client.
func (c *Client) Deliver(p *account.Producer, s *account.Sub, m *account.Msg) bool {
	b := c.bound.Load()
	if !b.echo && p.Self == account.Receiver(c) && !m.Imported() {
		return c.skip(s, m, msgtrace.NoEcho)
	}
	if c.filter.Load() && b.perms != nil && !b.perms.Deliver(m.Subject, s.Queue) {
		return c.skip(s, m, msgtrace.SubscriptionDenies)
	}
	if c.closed.Load() {
		return c.skip(s, m, msgtrace.ClientClosed)
	}
	if m.Trace != nil && m.Trace.Only {
		account.TraceEgress(c, s, m, "")
		return true
	}
	ok, last := s.Count()
	if !ok {
		return c.skip(s, m, msgtrace.AutoUnsubscribe)
	}
	if p.Kind == account.Client && c.conn.Gated() && !c.stall(p) {
		s.Uncount()
		return c.skip(s, m, msgtrace.ProducerNotStalled)
	}
	hdr := len(m.Header)
	if !b.headers {
		hdr = 0
	}
	size := hdr + len(m.Payload)
	n := len(" ") + len(m.Shown()) + len(s.SID) + len(" ") + digits(size) + 2*len(natsproto.CRLF) + size
	if len(m.Reply) > 0 {
		n += len(m.Reply) + 1
	}
	if hdr > 0 {
		n += len("HMSG ") + digits(hdr) + 1
	} else {
		n += len("MSG ")
	}
	if !c.reserve(n) {
		s.Uncount()
		return c.skip(s, m, msgtrace.ClientClosed)
	}
	if p.Kind != account.Client && c.conn.Gated() {
		p.Slow = c.conn
	}
	st := p.Out.Stage(c.conn)
	if len(m.Payload) >= transport.ShareFrom {
		head := n - len(m.Payload) - len(natsproto.CRLF)
		st.Put(appendHead(st.Grow(head), s, m, hdr, size))
		st.AppendShared(m.Shared(p))
		st.AppendString(natsproto.CRLF)
	} else {
		buf := appendHead(st.Grow(n), s, m, hdr, size)
		buf = append(buf, m.Payload...)
		st.Put(append(buf, natsproto.CRLF...))
	}
	st.Message(size)
	p.Sent(b.acc, size)
	if m.Trace != nil {
		account.TraceEgress(c, s, m, "")
	}
	if b.perms != nil && b.perms.Responses != nil && len(m.Reply) > 0 && !b.perms.Publish(m.Reply) {
		b.grants.add(b.perms.Responses, m.Reply)
	}
	if c.host.Tracing() {
		c.traceMsg(s, m, hdr, size)
	}
	if last {
		c.remove(s)
	}
	return true
}

// appendHead appends the message's line and its header block.
func appendHead(dst []byte, s *account.Sub, m *account.Msg, hdr, size int) []byte {
	if hdr == 0 {
		return natsproto.AppendMsg(dst, m.Shown(), s.SID, m.Reply, size)
	}
	dst = natsproto.AppendHMsg(dst, m.Shown(), s.SID, m.Reply, hdr, size)
	return append(dst, m.Header...)
}

func digits(n int) int {
	d := 1
	for n >= 10 {
		n /= 10
		d++
	}
	return d
}

// skip notes in a trace why a message was not delivered.
func (c *Client) skip(s *account.Sub, m *account.Msg, why string) bool {
	if m.Trace != nil {
		account.TraceEgress(c, s, m, why)
	}
	return false
}

// stuckTurn says whether it is time to wait for a receiver. Safe for concurrent use.
type stuckTurn struct{ last atomic.Int64 } // Unix nanoseconds

// turn is asked before each wait; still is how long the receiver has taken nothing.
func (s *stuckTurn) turn(still time.Duration, now time.Time) bool {
	if still <= stuckAfter {
		return true
	}
	last := s.last.Load()
	return now.UnixNano()-last >= int64(stuckStall) && s.last.CompareAndSwap(last, now.UnixNano())
}

// stall makes a producer wait for this slow receiver. It returns false if the
// message is not to be delivered instead.
func (c *Client) stall(p *account.Producer) bool {
	o := c.host.Options()
	if o.NoFastProducerStall {
		return false
	}
	if p.Stall <= 0 {
		return true
	}
	wait := stallWait
	if c.conn.Pending() >= o.MaxPending {
		wait = stallWaitFull
	}
	wait = min(wait, p.Stall)
	// What it waits for may be in this producer's own stage.
	p.Out.Stage(c.conn).Flush()
	if !c.conn.Gated() {
		return true
	}
	start := time.Now()
	if !c.stuck.turn(c.conn.Still(), start) {
		return true
	}
	c.stalls.Add(1)
	c.host.Stalled()
	lifted := c.conn.Wait(wait)
	took := time.Since(start)
	p.Stall -= took
	p.Stalled += took
	if !lifted {
		c.Debugf("Timed out of fast producer stall (%v)", wait)
	}
	return true
}

// slowPending closes a connection whose queue is over its limit.
func (c *Client) slowPending() {
	if c.reason.Load() != 0 {
		return
	}
	c.host.SlowConsumer(c)
	c.Account().Stats().SlowConsumers.Add(1)
	c.host.Noticef("%s - Slow Consumer Detected: MaxPending of %d Exceeded", c.Label(), c.host.Options().MaxPending)
	c.Close(SlowConsumerPendingBytes)
}

// TraceID identifies the connection in traces.
func (c *Client) TraceID() (uint64, string, *account.Account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id, c.opts.Name, c.bound.Load().acc
}
