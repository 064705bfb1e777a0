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

// msgBatch is messages in order. Their bytes are in slabs, so that a producer
// copies many at a time and what was copied does not move when more come.
type msgBatch struct {
	msgs  []inMsg
	slabs []*slab
	size  int // what they count for in the inbox
}

// slab is memory for messages.
type slab struct{ buf []byte }

// inMsg is a message in a batch.
type inMsg struct {
	slab, start                  int // of subject
	subject, reply, header, data int // lengths; the parts follow each other
	from                         Requester
	trace                        Trace
	feed                         *originFeed // that delivered it; nil for publishes
}

func (b *msgBatch) subject(m *inMsg) []byte { return b.part(m, 0, m.subject) }
func (b *msgBatch) reply(m *inMsg) []byte   { return b.part(m, m.subject, m.reply) }
func (b *msgBatch) header(m *inMsg) []byte {
	return b.part(m, m.subject+m.reply, m.header)
}
func (b *msgBatch) data(m *inMsg) []byte {
	return b.part(m, m.subject+m.reply+m.header, m.data)
}

func (b *msgBatch) part(m *inMsg, at, n int) []byte {
	if n == 0 {
		return nil
	}
	at += m.start
	return b.slabs[m.slab].buf[at : at+n : at+n]
}

func (b *msgBatch) add(m *Msg, feed *originFeed) {
	subject := m.Subject
	if feed != nil && m.Shown != nil {
		subject = m.Shown // what the message is called at the origin
	}
	size := len(subject) + len(m.Reply) + len(m.Header) + len(m.Data)
	n := len(b.slabs) - 1
	if n < 0 || len(b.slabs[n].buf)+size > cap(b.slabs[n].buf) {
		n++
		b.slabs = append(b.slabs, newSlab(size, 4*b.size))
	}
	s := b.slabs[n].buf
	b.msgs = inMsgSlices.add(b.msgs, inMsg{
		slab: n, start: len(s), subject: len(subject), reply: len(m.Reply),
		header: len(m.Header), data: len(m.Data), from: m.From, feed: feed,
	})
	if feed == nil && m.Trace != nil {
		m.Trace.Hold()
		b.msgs[len(b.msgs)-1].trace = m.Trace
	}
	s = append(s, subject...)
	s = append(s, m.Reply...)
	s = append(s, m.Header...)
	b.slabs[n].buf = append(s, m.Data...)
}

// slabSizes are the sizes of slabs that are kept for reuse by all streams: a
// message that comes alone must not hold much, many must not need many.
var slabSizes = [...]int{1 << 10, 8 << 10, 64 << 10}

var slabs [len(slabSizes)]sync.Pool // of *slab

// newSlab returns an empty slab for at least so many bytes, and for want if there
// are slabs of that size.
func newSlab(least, want int) *slab {
	want = max(least, min(want, slabSizes[len(slabSizes)-1]))
	for i, size := range slabSizes {
		if want > size {
			continue
		}
		if s, ok := slabs[i].Get().(*slab); ok {
			return s
		}
		return &slab{make([]byte, 0, size)}
	}
	return &slab{make([]byte, 0, want)}
}

// free takes a slab back. One that was made for a large message is left to the
// collector.
func (s *slab) free() {
	for i, size := range slabSizes {
		if cap(s.buf) == size {
			s.buf = s.buf[:0]
			slabs[i].Put(s)
			return
		}
	}
}

// batches are empty batches for reuse by all streams, so that an idle stream
// keeps none.
var batches = sync.Pool{New: func() any { return new(msgBatch) }}

// recycle gives back a batch that is not used any more.
func (b *msgBatch) recycle() {
	for i, s := range b.slabs {
		s.free()
		b.slabs[i] = nil
	}
	inMsgSlices.put(b.msgs)
	*b = msgBatch{slabs: b.slabs[:0]}
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

// close refuses everything from now on.
func (in *inbox) close() {
	in.mu.Lock()
	in.closed = true
	in.batches, in.msgs, in.size = nil, 0, 0
	in.mu.Unlock()
}
