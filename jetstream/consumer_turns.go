package jetstream

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/natsd/natsd/internal/prefetch"
	"github.com/natsd/natsd/jetstream/consumer"
	"github.com/natsd/natsd/msgstore"
)

// consumerTurns is the line of an engine's consumers that have something to do,
// and the few goroutines that serve it. A goroutine takes several consumers of
// an account before it flushes, so that 10,000 consumers with a message each
// cost their clients few writes.
type consumerTurns struct {
	engine *Engine

	mu      sync.Mutex // leaf lock
	ready   []*Consumer
	head    int
	running int

	here  atomic.Int32 // turns that run on goroutines of others
	pacer pacer
}

// Bounds of what a goroutine does between two flushes.
const (
	groupConsumers = 64
	groupBytes     = sliceBytes
)

// perGoroutine is how many consumers that come into the line together are worth another
// goroutine.
const perGoroutine = 16

// keepReady bounds, in consumers, what the line keeps when it is empty: 256 KiB.
const keepReady = 32 << 10

// push puts consumers into the line. Each is there at most once.
func (q *consumerTurns) push(list ...*Consumer) {
	q.mu.Lock()
	if q.head > 256 && q.head*2 > len(q.ready) {
		n := copy(q.ready, q.ready[q.head:])
		clear(q.ready[n:])
		q.ready, q.head = q.ready[:n], 0
	}
	q.ready = append(q.ready, list...)
	start := max(min((len(list)+perGoroutine-1)/perGoroutine, turnGoroutines()-q.running), 0)
	q.running += start
	q.mu.Unlock()
	for range start {
		q.engine.runTurn(q.work)
	}
}

// pop takes a share of the line, in order, so that neither the line's lock is asked
// for each consumer, nor one goroutine sits on what others have time for. Without
// anything in the line it returns false; leave says that the goroutine ends then.
func (q *consumerTurns) pop(t *consumerTurn, leave bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.ready) - q.head
	if n == 0 {
		q.ready, q.head = q.ready[:0], 0
		if cap(q.ready) > keepReady {
			q.ready = nil
		}
		if leave {
			q.running--
		}
		return false
	}
	n = min(max(n/(2*turnGoroutines()), 1), groupConsumers)
	taken := q.ready[q.head : q.head+n]
	t.taken = append(t.taken[:0], taken...)
	clear(taken)
	t.next = 0
	q.head += n
	return true
}

// warm has the processor fetch what the turns of the consumers begin with.
func warm(list []*Consumer) {
	if len(list) == 1 {
		return
	}
	for _, c := range list {
		prefetch.Lines(unsafe.Pointer(c), prefetch.LinesOf(unsafe.Sizeof(*c)))
	}
	for _, c := range list {
		c.m.Prefetch(false)
	}
	routes := 0
	for _, c := range list {
		c.m.PrefetchTexts()
		if r := c.route.Load(); r != nil {
			prefetch.Lines(unsafe.Pointer(r), 1)
			routes++
		}
	}
	for step := range routeSteps {
		if routes == 0 {
			return
		}
		for _, c := range list {
			if r := c.route.Load(); r != nil {
				(*r).Prefetch(step)
			}
		}
	}
}

// turnGoroutines bounds the goroutines that serve a line: a turn may wait for a
// disk, so there are more of them than processors.
func turnGoroutines() int { return max(4, 2*runtime.GOMAXPROCS(0)) }

// consumerTurn is what a goroutine works with; an idle consumer has none.
type consumerTurn struct {
	pub      Publisher
	began    time.Time
	hurried  bool // replays get their share only
	slice    int  // messages that a consumer may send, and the group before it flushes
	here     bool // on the goroutine of somebody else: it must not wait for the store
	msgs     int  // staged since the last flush
	bytes    int
	scratch  consumer.Scratch
	items    []consumerItem
	events   []streamEvent
	buf      []byte
	batch    msgstore.Batch
	header   []byte // scratch for what is copied
	reply    []byte // the same, for ack subjects
	built    []byte // headers that live until the flush
	release  []uint64
	confirms []string
	taken    []*Consumer // from the line; those before next have had their turn
	next     int
	group    []groupMember
}

type groupMember struct {
	c    *Consumer
	more bool
}

var turnScratch = sync.Pool{New: func() any { return new(consumerTurn) }}

// keepItems and keepBatch, in bytes, bound what a pooled turn keeps for reuse.
const (
	keepItems = 16 << 10
	keepBatch = 1 << 20
)

// work serves the line until it is empty.
func (q *consumerTurns) work() {
	t := turnScratch.Get().(*consumerTurn)
	t.here = false
	for q.peek(t, true) != nil {
		a := q.peek(t, false).stream.account
		t.pub = a.publishers.Get().(Publisher)
		t.began, t.msgs, t.bytes, t.slice = time.Now(), 0, 0, sliceMsgs
		if t.hurried = q.pacer.hurried(t.began); t.hurried {
			t.slice = pacedMsgs
		}
		for len(t.group) < groupConsumers && t.msgs < t.slice && t.bytes < groupBytes {
			c := q.peek(t, false)
			if c == nil || c.stream.account != a {
				break
			}
			t.taken[t.next] = nil
			t.next++
			t.group = append(t.group, groupMember{c, c.turn(t)})
		}
		t.finish(a)
	}
	t.recycle()
}

// peek returns the consumer whose turn is next, of those that were taken or of the
// line; nil if there is none. leave is as with pop.
func (q *consumerTurns) peek(t *consumerTurn, leave bool) *Consumer {
	if t.next == len(t.taken) {
		if !q.pop(t, leave) {
			return nil
		}
		warm(t.taken)
	}
	return t.taken[t.next]
}

// finish flushes what the group has sent, and ends its turns.
func (t *consumerTurn) finish(a *Account) {
	resume := t.pub.Flush()
	a.publishers.Put(t.pub)
	t.pub = nil
	t.batch.Recycle()
	t.built = t.built[:0]
	for i := range t.group {
		m := &t.group[i]
		switch {
		case resume != nil && m.more:
			go m.c.waitForReceiver(resume)
		case m.more && t.hurried:
			m.c.stream.engine.consumers.pacer.rest(m.c, t.began)
			t.began = time.Now() // the others in the group have rested for it
		default:
			m.c.finish(m.more)
		}
		*m = groupMember{}
	}
	t.group = t.group[:0]
}

// recycle keeps t for the next turn.
func (t *consumerTurn) recycle() {
	if t.scratch.Small() && cap(t.items) <= keepItems && cap(t.buf) <= keepBatch && cap(t.built) <= keepBatch {
		turnScratch.Put(t)
	}
}

// Bounds of turns on goroutines of others: of the messages that one sends there
// (requests for more of them go into the line at once), and of how many there are
// (one may lead to another, by way of a subject that is a request).
const (
	hereMsgs  = 4
	hereTurns = 8
)

// serveHere runs the turn of a consumer that was idle on the calling goroutine,
// a read loop, if that cannot block. The consumer is marked as running.
func (q *consumerTurns) serveHere(c *Consumer) {
	defer q.here.Add(-1)
	if q.here.Add(1) > hereTurns || !c.state.TryLock() {
		q.push(c)
		return
	}
	t := turnScratch.Get().(*consumerTurn)
	a := c.stream.account
	t.pub, t.slice, t.msgs, t.bytes = a.publishers.Get().(Publisher), hereMsgs, 0, 0
	t.here, t.hurried = true, false
	t.group = append(t.group, groupMember{c, c.turnLocked(t)})
	t.finish(a)
	t.recycle()
}

// slowReceiver bounds how long a consumer waits for a client that does not keep
// up; the transport decides when such a client is cut off.
const slowReceiver = 2 * time.Second

// waitForReceiver goes on with a consumer's turns when its client has room.
func (c *Consumer) waitForReceiver(resume <-chan struct{}) {
	t := time.NewTimer(slowReceiver)
	defer t.Stop()
	select {
	case <-resume:
	case <-t.C:
	}
	c.finish(true)
}

// finish ends a turn whose messages were flushed: the consumer gets another one
// if there is more to do.
func (c *Consumer) finish(more bool) {
	c.in.mu.Lock()
	again := (more || len(c.in.items) > 0 || len(c.in.events) > 0 || c.in.ring) && !c.in.closed && !c.in.held
	if !again {
		c.in.running = false
		if !c.in.held {
			c.in.items, c.in.events, c.in.buf = nil, nil, nil
		}
	}
	c.in.mu.Unlock()
	if again {
		c.stream.engine.consumers.push(c)
	}
}
