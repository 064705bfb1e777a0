package jetstream

import "sync"

// inbox is where producers leave the messages for a stream, and where everyone
// else leaves work that must run in the stream's turn. It starts the turn: at
// most one goroutine runs a stream, and none while the inbox is empty.
type inbox struct {
	mu      sync.Mutex // leaf lock
	begin   func()     // starts the turn, which takes until take says that there is nothing
	running bool       // a goroutine is inside run, or about to be
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
// time adds little to what may be in flight, and buffers are small enough to be
// kept for reuse.
const batchSize = 1 << 20

// msgBatch is messages in order. Their bytes are in one buffer, so that a
// producer copies and the collector frees them together.
type msgBatch struct {
	msgs []inMsg
	buf  []byte
	size int // what they count for in the inbox
}

// inMsg is a message in a batch; the slices point into the batch's buffer.
type inMsg struct {
	start                        int // of subject, in the buffer
	subject, reply, header, data int // lengths; the parts follow each other
	from                         Requester
	trace                        Trace
	feed                         *originFeed // that delivered it; nil for publishes
}

func (b *msgBatch) subject(m *inMsg) []byte { return b.part(m.start, m.subject) }
func (b *msgBatch) reply(m *inMsg) []byte   { return b.part(m.start+m.subject, m.reply) }
func (b *msgBatch) header(m *inMsg) []byte {
	return b.part(m.start+m.subject+m.reply, m.header)
}
func (b *msgBatch) data(m *inMsg) []byte {
	return b.part(m.start+m.subject+m.reply+m.header, m.data)
}

func (b *msgBatch) part(start, n int) []byte {
	if n == 0 {
		return nil
	}
	return b.buf[start : start+n : start+n]
}

func (b *msgBatch) add(m *Msg, feed *originFeed) {
	subject := m.Subject
	if feed != nil && m.Shown != nil {
		subject = m.Shown // what the message is called at the origin
	}
	b.msgs = append(b.msgs, inMsg{
		start: len(b.buf), subject: len(subject), reply: len(m.Reply),
		header: len(m.Header), data: len(m.Data), from: m.From, feed: feed,
	})
	if feed == nil && m.Trace != nil {
		m.Trace.Hold()
		b.msgs[len(b.msgs)-1].trace = m.Trace
	}
	b.buf = append(b.buf, subject...)
	b.buf = append(b.buf, m.Reply...)
	b.buf = append(b.buf, m.Header...)
	b.buf = append(b.buf, m.Data...)
}

// batches are empty batches for reuse by all streams, so that an idle stream
// keeps none. keepBatch bounds the buffers in it.
var batches = sync.Pool{New: func() any { return new(msgBatch) }}

const keepBatch = 4 << 20

// recycle gives back a batch that is not used any more.
func (b *msgBatch) recycle() {
	if cap(b.buf) > keepBatch {
		return
	}
	clear(b.msgs)
	b.msgs, b.buf, b.size = b.msgs[:0], b.buf[:0], 0
	batches.Put(b)
}

func (in *inbox) init(begin func(), maxMsgs, maxSize int) {
	in.begin, in.maxMsgs, in.maxSize = begin, maxMsgs, maxSize
}

// put copies msgs in and starts the turn. feed says what origin they come from;
// nil for publishes. It returns the first message that did not fit; those from
// there on were not taken.
func (in *inbox) put(msgs []Msg, feed *originFeed) (refused int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return len(msgs) // a stream that is gone says nothing
	}
	for i := range msgs {
		m := &msgs[i]
		size := max(len(m.Subject), len(m.Shown)) + len(m.Reply) + len(m.Header) + len(m.Data)
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
	in.start()
	return len(msgs)
}

// last is the batch for another message of this size. Under mu.
func (in *inbox) last(size int) *msgBatch {
	if n := len(in.batches); n > 0 && len(in.batches[n-1].buf)+size <= batchSize {
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

// close refuses everything from now on.
func (in *inbox) close() {
	in.mu.Lock()
	in.closed = true
	in.batches, in.msgs, in.size = nil, 0, 0
	in.mu.Unlock()
}
