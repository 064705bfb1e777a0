package transport

import "sync/atomic"

const (
	// ShareFrom is the payload size from which a stage refers to the bytes of
	// the producer instead of copying them.
	ShareFrom = 4 << 10

	// maxStageBytes and maxStageMessages bound what a producer collects for one
	// connection before it hands it over early: enough to fill several writes,
	// little enough that a consumer does not wait for a long input buffer.
	maxStageBytes    = 256 << 10
	maxStageMessages = 1024

	// maxOutboxBytes bounds what a producer collects for all connections
	// together: a fan-out to thousands would else hold an input buffer's worth for
	// each of them.
	maxOutboxBytes = 8 << 20

	// keptStages bounds the stage structures (not their buffers) that an outbox
	// keeps for its next batch.
	keptStages = 64

	// linearStages is the number of stages up to which a look-up compares
	// pointers one by one; beyond, a map is kept.
	linearStages = 16
)

// Shared is a large payload that several stages refer to. Until it is handed to
// a queue it is only a view of the producer's memory, valid until the producer's
// flush; the first connection that cannot write it at once makes the copy that
// all others share.
type Shared struct {
	b     []byte
	owned bool         // b is a copy; set by the producer's goroutine only
	refs  atomic.Int32 // of a copy: chunks in queues, and one of the producer
}

// NewShared returns a view of b for one batch of o.
func (o *Outbox) NewShared(b []byte) *Shared {
	var s *Shared
	if n := len(o.sharedFree); n > 0 {
		s = o.sharedFree[n-1]
		o.sharedFree = o.sharedFree[:n-1]
	} else {
		s = new(Shared)
	}
	s.b = b
	o.shared = append(o.shared, s)
	return s
}

// own makes the copy, once.
func (s *Shared) own() {
	if s.owned {
		return
	}
	s.b = append(GetBuffer(len(s.b)), s.b...)
	s.owned = true
	s.refs.Store(1)
}

func (s *Shared) release() {
	if s.refs.Add(-1) == 0 {
		PutBuffer(s.b)
		s.b = nil
	}
}

// chunk is a run of bytes to be written. Exactly one of buf and sh is set: the
// pool buffer that b is a suffix of, or the shared payload that b is a suffix of.
type chunk struct {
	b     []byte
	buf   []byte
	sh    *Shared
	owner bool // of a reference to sh: chunks in queues are, those in stages not
}

func (c *chunk) release() {
	switch {
	case c.buf != nil:
		PutBuffer(c.buf)
	case c.owner:
		c.sh.release()
	}
	*c = chunk{}
}

// Stage is what one producer has for one connection until its next flush. It is
// not safe for concurrent use. Bytes put into it must have been reserved.
type Stage struct {
	conn   *Conn
	out    *Outbox
	chunks []chunk // complete ones; the current one is tail
	tail   []byte
	bytes  int // in chunks and tail
	noted  int // of bytes: what the outbox has counted
	msgs   int
	size   int // of the messages, as statistics count them
}

// room makes space for n more bytes in tail.
func (s *Stage) room(n int) []byte {
	if cap(s.tail)-len(s.tail) >= n {
		return s.tail
	}
	if len(s.tail) == 0 {
		if s.tail != nil {
			PutBuffer(s.tail)
		}
		s.tail = GetBuffer(max(n, min(s.out.expect, hugeBuffer, maxOutboxBytes/s.out.n)))
		return s.tail
	}
	if need := len(s.tail) + n; need <= hugeBuffer {
		t := append(GetBuffer(max(need, min(4*cap(s.tail), hugeBuffer))), s.tail...)
		PutBuffer(s.tail)
		s.tail = t
		return t
	}
	s.cut()
	s.tail = GetBuffer(max(n, hugeBuffer))
	return s.tail
}

func (s *Stage) cut() {
	if len(s.tail) > 0 {
		s.chunks = append(s.chunks, chunk{b: s.tail, buf: s.tail[:0]})
		s.tail = nil
	}
}

// Grow returns a slice with at least n bytes of capacity behind its length; the
// caller appends to it and gives the result to Put. Nothing else may be done
// with the stage in between.
func (s *Stage) Grow(n int) []byte { return s.room(n) }

// Put takes the slice that Grow returned, with what was appended to it.
func (s *Stage) Put(b []byte) {
	s.bytes += len(b) - len(s.tail)
	s.tail = b
}

// Append copies b.
func (s *Stage) Append(b []byte) { s.Put(append(s.room(len(b)), b...)) }

// AppendString copies b.
func (s *Stage) AppendString(b string) { s.Put(append(s.room(len(b)), b...)) }

// AppendShared refers to sh, without copying.
func (s *Stage) AppendShared(sh *Shared) {
	s.cut()
	s.chunks = append(s.chunks, chunk{b: sh.b, sh: sh})
	s.bytes += len(sh.b)
}

// Message counts one message of size bytes for the statistics of the
// connection, and hands the stage over if it is large enough.
func (s *Stage) Message(size int) {
	s.msgs++
	s.size += size
	s.out.bytes += s.bytes - s.noted
	s.noted = s.bytes
	switch {
	case s.bytes >= maxStageBytes || s.msgs >= maxStageMessages:
		s.Flush()
	case s.out.bytes >= maxOutboxBytes:
		for _, t := range s.out.stages[:s.out.n] {
			t.Flush()
		}
	}
}

// Flush hands the stage to its connection.
func (s *Stage) Flush() {
	if s.bytes == 0 {
		return
	}
	s.cut()
	s.conn.take(s)
	clear(s.chunks)
	s.chunks = s.chunks[:0]
	s.out.bytes -= s.noted
	s.bytes, s.noted, s.msgs, s.size = 0, 0, 0, 0
}

// Outbox is the set of stages of one producer. It is not safe for concurrent
// use. The zero value is ready.
type Outbox struct {
	stages []*Stage // stages[:n] are in use
	n      int
	hint   int              // index of the stage that was asked for last
	index  map[*Conn]*Stage // only beyond linearStages
	expect int              // first size of a stage's buffer
	bytes  int              // in all stages
	behind bool             // a connection's writer does not keep up
	ending bool             // the batch is being flushed as a whole
	late   []*Conn          // whose writer token this outbox holds until the end of the flush

	// Patient lets what is little wait at the flush for what other producers
	// that are ready have for the same connection.
	Patient bool

	// Yielding lets the flush wait a moment for connections with long queues.
	Yielding bool

	shared     []*Shared // of this batch
	sharedFree []*Shared
	scratch    []byte
}

// Expect tells how many bytes the batch may bring for one connection.
func (o *Outbox) Expect(n int) { o.expect = n }

// Stage returns the stage for c, a new one if there is none in this batch.
func (o *Outbox) Stage(c *Conn) *Stage {
	if o.hint < o.n {
		if s := o.stages[o.hint]; s.conn == c {
			return s
		}
		// A fan-out asks for its destinations in the same order each time.
		if o.hint++; o.hint == o.n {
			o.hint = 0
		}
		if s := o.stages[o.hint]; s.conn == c {
			return s
		}
	}
	if o.n <= linearStages {
		for i, s := range o.stages[:o.n] {
			if s.conn == c {
				o.hint = i
				return s
			}
		}
	} else if s := o.index[c]; s != nil {
		return s
	}
	return o.add(c)
}

func (o *Outbox) add(c *Conn) *Stage {
	var s *Stage
	if o.n < len(o.stages) {
		s = o.stages[o.n]
	} else {
		s = &Stage{out: o}
		o.stages = append(o.stages, s)
	}
	s.conn = c
	o.hint = o.n
	o.n++
	if o.n > linearStages {
		if o.index == nil {
			o.index = make(map[*Conn]*Stage, 4*linearStages)
		}
		if len(o.index) == 0 {
			for _, t := range o.stages[:o.n] {
				o.index[t.conn] = t
			}
		}
		o.index[c] = s
	}
	return s
}

// Flush hands over all stages. Afterwards the outbox refers to no connection and
// to no memory of the producer.
func (o *Outbox) Flush() {
	if o.n == 0 {
		return
	}
	o.ending = true
	for _, s := range o.stages[:o.n] {
		s.Flush()
	}
	o.ending = false
	if len(o.late) > 0 {
		o.writeLate()
	}
	var w ebbWait
	if o.behind {
		w = o.lag()
	}
	o.reset()
	w.wait()
}

func (o *Outbox) reset() {
	for _, s := range o.stages[:o.n] {
		if s.tail != nil {
			PutBuffer(s.tail)
			s.tail = nil
		}
		s.conn = nil
		if cap(s.chunks) > keptStages {
			s.chunks = nil
		}
	}
	if len(o.stages) > keptStages {
		o.stages = append([]*Stage(nil), o.stages[:keptStages]...)
	}
	if len(o.index) > 0 {
		clear(o.index)
		if o.n > keptStages*keptStages {
			o.index = nil
		}
	}
	o.n, o.hint, o.behind = 0, 0, false
	for _, s := range o.shared {
		if s.owned {
			s.release()
			continue // queues may still refer to it
		}
		s.b = nil
		if len(o.sharedFree) < keptStages {
			o.sharedFree = append(o.sharedFree, s)
		}
	}
	clear(o.shared)
	o.shared = o.shared[:0]
	if cap(o.shared) > maxStageMessages {
		o.shared = nil
	}
}

// Sharing tells that a stage refers to memory of the producer.
func (o *Outbox) Sharing() bool { return len(o.shared) > 0 }

// Scratch is an empty buffer for lines that are built before their length is
// known; give what became of it to KeepScratch.
func (o *Outbox) Scratch() []byte { return o.scratch[:0] }

// KeepScratch takes back the buffer of Scratch.
func (o *Outbox) KeepScratch(b []byte) {
	if cap(b) <= smallBuffer {
		o.scratch = b
	}
}
