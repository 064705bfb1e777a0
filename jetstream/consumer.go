package jetstream

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/natsd/natsd/jetstream/consumer"
	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
)

// Consumer is the engine around one consumer.Machine: an inbox, a turn that
// feeds the machine and does what it says, and the files of its state.
//
// At most one goroutine runs the turn, none while there is nothing to do (see
// consumerTurns); the deadline is an entry of the engine's timer queue. Fields marked
// "state", and what m points to, are guarded by it, the others are immutable after
// creation, atomic, or guarded as noted. Lock order: state before in.mu; whoever holds
// in.mu may only try state. What a message needs comes first, as in the machine.
type Consumer struct {
	in    consumerInbox
	noted uint64 // guarded by set.dispatch: last sequence it was told of

	state    sync.Mutex
	gone     bool              // state: deleted or stopped
	armed    bool              // state: timer was armed; it may have fired
	dirty    bool              // state: something has changed that o.dat does not have
	removals uint64            // state: of messages that were not delivered
	trim     int64             // state: when to give memory back, 0: nothing to give
	m        *consumer.Machine // itself never changed once the stream knows the consumer
	log      *consumerLog      // state; nil: the state lives in memory only

	config   atomic.Pointer[jsapi.ConsumerConfig] // what it points to is never changed
	counting atomic.Uint64                        // where the count that is under way goes on; 0: none is. Changes under state
	floor    atomic.Uint64                        // stream sequence; below it no removal matters
	from     atomic.Uint64                        // where it started; it may be beyond the end of the stream
	lost     atomic.Bool                          // what is pending may be gone ...
	purged   atomic.Bool                          // ... by a purge
	stale    atomic.Bool                          // the count is too high since a purge

	set     *consumerSet
	stream  *Stream
	name    string
	created time.Time
	timer   timer

	filter    *msgstore.Filter      // state
	route     atomic.Pointer[Route] // to the deliver subject; nil: it pulls. Changes under state
	stopWatch func()                // state: ends the watch of the deliver subject
	seeking   *seeker               // state: what the backlog's reader looks for; nil: nothing
	counted   uint64                // state: removals of those below counting

	acked []uint64 // while the stream is opened: settled by runs that were replayed

	_ [32]byte // so that it begins with a cache line: the allocator aligns what is a multiple of one
}

// notedLines is how many cache lines of a Consumer change when it is told of a
// message: all up to what counting it asks for.
const notedLines = 3

// Limits of what waits for a consumer's turn. A turn takes some milliseconds,
// so only a client that floods comes near them; what does not fit is dropped as
// if it had been lost on the way, which clients must cope with anyhow.
const (
	maxConsumerItems = 1 << 20
	maxConsumerBytes = 64 << 20
)

// consumerInbox is what came in since the last turn.
type consumerInbox struct {
	mu      sync.Mutex // leaf lock
	running bool       // the turn runs, or is about to
	closed  bool
	held    bool // messages are being counted: everything waits
	ring    bool // the deadline has passed, or the machine may have something to send
	bound   boundChange
	items   []consumerItem
	events  []streamEvent
	buf     []byte // the bytes of the items
}

type itemKind uint8

const (
	itemAck itemKind = iota
	itemPull
	itemFlow
)

// boundChange is the last change of the interest in the deliver subject. It is no item,
// which might find no room.
type boundChange uint8

const (
	boundAsBefore boundChange = iota
	boundNow
	boundNoMore
)

// consumerItem is something that a client said. Its texts are in the inbox's
// buffer: body from start on, then the reply subject.
type consumerItem struct {
	kind        itemKind
	start       int
	body, reply int    // lengths
	seq         uint64 // ack, flow: stream sequence
	cseq        uint64 // ack: consumer sequence
	deliveries  uint64
}

// streamEvent is n matching messages stored, the last one seq, or message seq
// removed.
type streamEvent struct {
	seq     uint64
	n       uint64 // 0: removed
	matches bool
}

// asBytes is s as bytes without a copy, for reading.
func asBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// start makes sure that the turn runs. Under in.mu.
func (c *Consumer) start() {
	if c.starts() {
		c.stream.engine.consumers.push(c)
	}
}

// starts is start that leaves it to the caller to push the consumer, if it says so.
func (c *Consumer) starts() bool {
	if c.in.running || c.in.closed || c.in.held {
		return false
	}
	c.in.running = true
	return true
}

// put leaves an item for the turn; it copies the texts.
func (c *Consumer) put(it consumerItem, body, reply []byte) {
	c.in.mu.Lock()
	c.add(it, body, reply)
	c.in.mu.Unlock()
}

// putAlone is put for the only message of a read buffer: if the consumer is idle
// its turn runs here, which spares a client that waits for each answer the way to
// another goroutine and back.
func (c *Consumer) putAlone(it consumerItem, body, reply []byte) {
	c.in.mu.Lock()
	idle := !c.in.running && !c.in.closed && !c.in.held && len(c.in.events) == 0 && c.stream.Config().Retention != jsapi.InterestPolicy
	c.in.running = c.in.running || idle
	c.add(it, body, reply)
	c.in.mu.Unlock()
	if idle {
		c.stream.engine.consumers.serveHere(c)
	}
}

// add is put under in.mu.
func (c *Consumer) add(it consumerItem, body, reply []byte) {
	if len(c.in.items) < maxConsumerItems && len(c.in.buf)+len(body)+len(reply) <= maxConsumerBytes && !c.in.closed {
		it.start, it.body, it.reply = len(c.in.buf), len(body), len(reply)
		c.in.buf = append(append(c.in.buf, body...), reply...)
		c.in.items = append(c.in.items, it)
		c.start()
	}
}

// bind tells whether the deliver subject has interest.
func (c *Consumer) bind(interest bool) {
	c.in.mu.Lock()
	if c.in.bound = boundNoMore; interest {
		c.in.bound = boundNow
	}
	c.in.ring = true
	c.start()
	c.in.mu.Unlock()
}

// wake runs a turn although nothing came in.
func (c *Consumer) wake() {
	c.in.mu.Lock()
	c.in.ring = true
	c.start()
	c.in.mu.Unlock()
}

// note tells of a change of the stream. If the consumer is idle it takes effect
// here, so that the many idle consumers of a stream do not run for each message. It
// reports whether the caller must put it into the line of those that run.
func (c *Consumer) note(e streamEvent) (start bool) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.in.closed {
		return false
	}
	if len(c.in.events) == 0 && c.state.TryLock() {
		c.event(&e)
		busy := c.m.Busy()
		c.state.Unlock()
		if !busy {
			return false
		}
		c.in.ring = true
		return c.starts()
	}
	if n := len(c.in.events); n > separateEvents && e.n > 0 && c.in.events[n-1].n > 0 && c.in.events[n-1].seq >= c.from.Load() {
		c.in.events[n-1].n += e.n
		c.in.events[n-1].seq = e.seq
	} else {
		c.in.events = append(c.in.events, e)
	}
	return c.starts()
}

// separateEvents is how many waiting events keep their sequences, which spares a
// filtered consumer the search for its messages.
const separateEvents = 64

// event gives a stream event to the machine. Under state.
func (c *Consumer) event(e *streamEvent) {
	if c.account(e) {
		return
	}
	if e.n > 0 {
		c.m.Stored(e.n, e.seq)
	} else {
		if e.seq >= c.m.Cursor() {
			c.removals++
		}
		c.m.Removed(e.seq, e.matches)
	}
}

// turn takes what came in, lets the machine deliver a slice, and does what it
// said. It reports whether there is more to do. What it sends is staged.
func (c *Consumer) turn(t *consumerTurn) (more bool) {
	c.state.Lock()
	return c.turnLocked(t)
}

// turnLocked is turn for who holds state, which it releases.
func (c *Consumer) turnLocked(t *consumerTurn) (more bool) {
	if c.gone || c.counting.Load() != 0 {
		c.state.Unlock()
		return false // it is started when they are counted
	}
	c.m.Lend(&t.scratch)
	last := c.set.told.Load() // before the events are taken: it is told of all up to there
	now := time.Now().UnixNano()
	bound := c.take(t)
	c.rebind(bound, now)
	for i := range t.events {
		c.event(&t.events[i])
	}
	last = max(last, c.m.Seen()) // a turn may come before the others were told
	c.settlePurge()
	for i := range t.items {
		c.item(&t.items[i], t.buf, now)
	}
	busy := bound != boundAsBefore || len(t.items)+len(t.events) > 0
	t.events, t.items, t.buf = t.events[:0], t.items[:0], t.buf[:0]
	if d := c.m.NextDeadline(now); d != 0 && d <= now {
		c.m.Tick(now)
	}
	if t.here && c.m.Ready() > hereMsgs {
		more = true // what takes long is for another goroutine, from its first message on
	} else {
		more = c.deliver(t, last, now)
	}
	c.record(t)
	switch {
	case !c.m.Holds():
		c.trim = 0
	case c.trim != 0 && c.trim <= now:
		c.m.Trim()
		c.trim = 0
	case busy || c.trim == 0:
		c.trim = now + int64(consumer.IdleAfter)
	}
	c.rearm(now)
	c.floor.Store(c.m.Done())
	c.m.Return()
	c.state.Unlock()
	c.released(t)
	return more
}

// take moves the inbox into the turn. Under state.
func (c *Consumer) take(t *consumerTurn) boundChange {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	bound := c.in.bound
	c.in.ring, c.in.bound = false, boundAsBefore
	t.items, c.in.items = c.in.items, t.items[:0]
	t.events, c.in.events = c.in.events, t.events[:0]
	t.buf, c.in.buf = c.in.buf, t.buf[:0]
	return bound
}

// rebind tells the machine of a change. Under state.
func (c *Consumer) rebind(b boundChange, now int64) {
	if b != boundAsBefore {
		c.m.SetActive(b == boundNow, now)
	}
}

// serviceReply begins the reply subjects of requests that came through a service
// import.
const serviceReply = "_R_."

// item gives what a client said to the machine. Under state.
func (c *Consumer) item(it *consumerItem, buf []byte, now int64) {
	body := buf[it.start : it.start+it.body]
	reply := string(buf[it.start+it.body : it.start+it.body+it.reply])
	imported := strings.HasPrefix(reply, serviceReply)
	switch it.kind {
	case itemAck:
		c.m.Ack(consumer.Ack{Seq: it.seq, ConsumerSeq: it.cseq, Deliveries: it.deliveries, Body: body, Reply: reply, Imported: imported}, now)
	case itemPull:
		c.m.PullBody(body, reply, imported, now)
	case itemFlow:
		c.m.FlowAnswer(string(body), it.seq, now)
	}
}

// settleEvents gives the machine all stream events that wait. Under state.
func (c *Consumer) settleEvents() {
	c.in.mu.Lock()
	events := c.in.events
	c.in.events = nil
	c.in.ring = c.in.ring || len(events) > 0 // a turn is under way: it must not find nothing
	c.in.mu.Unlock()
	for i := range events {
		c.event(&events[i])
	}
}

// settleItems gives the machine what clients said before the end. Under state.
func (c *Consumer) settleItems() {
	c.in.mu.Lock()
	items, buf, bound := c.in.items, c.in.buf, c.in.bound
	c.in.items, c.in.buf, c.in.bound = nil, nil, boundAsBefore
	c.in.ring = c.in.ring || len(items) > 0 // as above
	c.in.mu.Unlock()
	now := time.Now().UnixNano()
	c.rebind(bound, now)
	for i := range items {
		c.item(&items[i], buf, now)
	}
}

// end stops a consumer: nothing is taken or delivered any more, and waiting
// requests get the status, if there is one.
func (c *Consumer) end(status string, remaining bool) {
	c.in.mu.Lock()
	c.in.closed = true
	c.in.mu.Unlock()
	c.state.Lock()
	c.gone = true
	c.stopSeeking()
	stop := c.stopWatch
	c.stopWatch = nil
	c.settleItems()
	if status != "" {
		c.m.EndRequests(status, remaining)
	}
	t := turnScratch.Get().(*consumerTurn)
	t.pub = c.stream.account.publishers.Get().(Publisher)
	c.effects(t, time.Now().UnixNano())
	c.record(t)
	c.m.Close()
	c.stream.engine.timers.disarm(&c.timer)
	c.state.Unlock()
	t.pub.Flush()
	c.stream.account.publishers.Put(t.pub)
	t.pub = nil
	c.released(t)
	turnScratch.Put(t)
	if stop != nil {
		stop()
	}
}

// rearm sets the timer to the machine's deadline. Under state.
func (c *Consumer) rearm(now int64) {
	if c.gone {
		return
	}
	d := c.m.NextDeadline(now)
	if c.trim != 0 && (d == 0 || c.trim < d) {
		d = c.trim
	}
	if d == 0 {
		if c.armed {
			c.armed = false
			c.stream.engine.timers.disarm(&c.timer)
		}
		return
	}
	c.armed = true
	// A millisecond of slack lets neighbours share a wake-up.
	c.stream.engine.timers.arm(&c.timer, time.Unix(0, max(d, now+int64(time.Millisecond))))
}

// Interest makes the consumer the machine's world, with Random and ID.
func (c *Consumer) Interest(reply string) bool { return c.stream.account.bus.Interest(reply, "") }

var _ consumer.World = (*Consumer)(nil)
