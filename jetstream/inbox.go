package jetstream

import (
	"sync"
	"time"

	"github.com/natsd/natsd/msgstore"
)

// inbox is where producers leave the messages for a stream, and where everyone
// else leaves work that must run in the stream's turn. It starts the turn: at
// most one goroutine runs a stream, and none while the inbox is empty.
type inbox struct {
	mu      sync.Mutex // leaf lock
	begin   func()     // starts the turn, which takes until take says that there is nothing
	lend    func(here bool)
	loan    time.Duration // for which a goroutine is lent, a moving average
	strict  int           // messages whose senders are not asked to lend theirs
	running bool          // a goroutine is inside run, or about to be
	closed  bool

	batches  []*msgBatch // in order; a turn takes one at a time
	msgs     int         // in batches
	size     int         // bytes of them
	work     []func()
	finished []*proposal

	maxMsgs int
	maxSize int
}

// batchSize is where a batch ends and the next one begins: what a turn takes at a
// time adds little to what may be in flight, and its memory is small
// enough to be kept for reuse.
const batchSize = 256 << 10

// msgBatch is messages in order. Their bytes are in slabs, so that a producer
// copies many at a time and what was copied does not move when more come.
type msgBatch struct {
	msgs   []inMsg
	slabs  [][]byte
	traces []Trace
	size   int // what they count for in the inbox
}

// inMsg is a message in a batch. There are many of them: it is kept small.
type inMsg struct {
	slab, start                         uint32 // of subject
	subject, reply, asked, header, data uint32 // lengths; the parts follow each other
	trace                               uint32 // in traces, plus 1; 0 if it is not traced
	feed                                *originFeed
}

// open makes m the message under admission. What it points to is valid as long as
// the batch.
func (b *msgBatch) open(in *inMsg, m *publish) {
	rest := b.slabs[in.slab][in.start:]
	cut := func(n uint32) []byte {
		if n == 0 {
			return nil
		}
		part := rest[:n:n]
		rest = rest[n:]
		return part
	}
	*m = publish{subject: cut(in.subject), reply: cut(in.reply), asked: cut(in.asked), header: cut(in.header), data: cut(in.data)}
	if in.trace > 0 {
		m.trace = b.traces[in.trace-1]
	}
}

func (b *msgBatch) add(m *Msg, feed *originFeed) {
	subject := m.Subject
	if feed != nil && m.Shown != nil {
		subject = m.Shown // what the message is called at the origin
	}
	var asked []byte // matters for what is told by reply subjects only
	if isFastReply(m.Asked) {
		asked = m.Asked
	}
	size := len(subject) + len(m.Reply) + len(asked) + len(m.Header) + len(m.Data)
	n := len(b.slabs) - 1
	if n < 0 || len(b.slabs[n])+size > cap(b.slabs[n]) {
		n++
		b.slabs = append(b.slabs, newSlab(size, b.size))
	}
	s := b.slabs[n]
	in := inMsg{
		slab: uint32(n), start: uint32(len(s)), subject: uint32(len(subject)), reply: uint32(len(m.Reply)),
		asked: uint32(len(asked)), header: uint32(len(m.Header)), data: uint32(len(m.Data)), feed: feed,
	}
	if feed == nil && m.Trace != nil {
		m.Trace.Hold()
		b.traces = append(b.traces, m.Trace)
		in.trace = uint32(len(b.traces))
	}
	b.msgs = inMsgSlices.add(b.msgs, in)
	s = append(s, subject...)
	s = append(s, m.Reply...)
	s = append(s, asked...)
	s = append(s, m.Header...)
	b.slabs[n] = append(s, m.Data...)
}

// Slabs are of these sizes: a message that comes alone must not hold much, many
// must not need many. A large message gets one of its own.
const (
	leastSlab = 1 << 10
	mostSlab  = 64 << 10
)

// newSlab returns memory for size bytes, and for as much again as there is already,
// to some extent.
func newSlab(size, have int) []byte {
	return msgstore.Buffer(max(size, leastSlab, min(4*have, mostSlab)))
}

// batches are empty batches for reuse by all streams, so that an idle stream
// keeps none.
var batches = sync.Pool{New: func() any { return new(msgBatch) }}

// recycle gives back a batch that is not used any more.
func (b *msgBatch) recycle() {
	for i, s := range b.slabs {
		msgstore.FreeBuffer(s)
		b.slabs[i] = nil
	}
	inMsgSlices.put(b.msgs)
	*b = msgBatch{slabs: b.slabs[:0]}
	batches.Put(b)
}

func (in *inbox) init(begin func(), lend func(here bool), maxMsgs, maxSize int) {
	in.begin, in.lend, in.maxMsgs, in.maxSize = begin, lend, maxMsgs, maxSize
}

// put copies msgs in and starts the turn, on the goroutine that from lends if that is
// not nil. feed says what origin they come from; nil for publishes. It returns the first
// message that did not fit; those from there on were not taken.
func (in *inbox) put(msgs []Msg, feed *originFeed, from Lender) (refused int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return len(msgs) // a stream that is gone says nothing
	}
	for i := range msgs {
		m := &msgs[i]
		size := max(len(m.Subject), len(m.Shown)) + len(m.Reply) + len(m.Asked) + len(m.Header) + len(m.Data)
		if in.msgs >= in.maxMsgs || in.size+size > in.maxSize {
			in.start()
			return i
		}
		in.msgs++
		in.size += size
		b := in.last(size)
		b.size += size
		b.add(m, feed)
	}
	if from != nil {
		lend := in.lend
		if in.strict > 0 {
			in.strict--
			lend = nil
		}
		if in.running {
			lend = nil
		}
		if from.BeforeRest(lend) {
			in.running = true
		}
	}
	in.start()
	return len(msgs)
}

// longLoan is the average time, about, for which a goroutine may be lent: a few syncs of
// a fast disk. On a slow one the connections that it reads from would wait for too long;
// then nobody is asked again for strictFor messages.
const (
	longLoan  = 2 * time.Millisecond
	strictFor = 64
)

// lent notes for how long a goroutine was. One hiccup of the disk says little.
func (in *inbox) lent(took time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.loan += (min(took, 4*longLoan) - in.loan) / 8
	if in.loan > longLoan {
		in.loan, in.strict = 0, strictFor
	}
}

// crowded reports whether something came since the last take that a turn on somebody
// else's goroutine leaves alone.
func (in *inbox) crowded() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.batches) > 0 || len(in.work) > 0
}

// fill is the number of messages that wait, and whether a turn runs.
func (in *inbox) fill() (msgs int, running bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.msgs, in.running
}

// last is the batch for another message of this size. Under mu.
func (in *inbox) last(size int) *msgBatch {
	if n := len(in.batches); n > 0 && in.batches[n-1].size+size <= batchSize {
		return in.batches[n-1]
	}
	b := batches.Get().(*msgBatch)
	in.batches = append(in.batches, b)
	return b
}

// do runs fn in the stream's turn. It reports false, and does not run fn, if
// the stream is closed.
func (in *inbox) do(fn func()) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return false
	}
	in.work = append(in.work, fn)
	in.start()
	return true
}

// start makes sure that the turn runs. Under mu.
func (in *inbox) start() {
	if !in.running {
		in.running = true
		in.begin()
	}
}

// finish hands a proposal back to the turn that made it, also when the stream
// is closed.
func (in *inbox) finish(p *proposal) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.finished = append(in.finished, p)
	in.start()
}

// intake is what the turn has to do.
type intake struct {
	finished []*proposal
	work     []func()
	batch    *msgBatch
}

// take fills in what came since the last time. It reports false, and the turn
// must end, if that is nothing; end is called then, before another turn can
// begin. With full set messages stay where they are.
func (in *inbox) take(t *intake, full bool, end func()) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	t.batch = nil
	if !full && len(in.batches) > 0 {
		t.batch = in.batches[0]
		in.batches[0] = nil
		if in.batches = in.batches[1:]; len(in.batches) == 0 {
			in.batches = nil
		}
		in.msgs -= len(t.batch.msgs)
		in.size -= t.batch.size
	}
	t.finished = append(t.finished[:0], in.finished...)
	clear(in.finished)
	in.finished = in.finished[:0]
	t.work = append(t.work[:0], in.work...)
	clear(in.work)
	in.work = in.work[:0]
	if t.batch == nil && len(t.work) == 0 && len(t.finished) == 0 {
		end()
		in.running = false
		return false
	}
	return true
}

// close refuses everything from now on, and gives up what waits.
func (in *inbox) close() {
	in.mu.Lock()
	left := in.batches
	in.closed = true
	in.batches, in.msgs, in.size = nil, 0, 0
	in.mu.Unlock()
	for _, b := range left {
		for _, t := range b.traces {
			t.Release()
		}
		b.recycle()
	}
}
