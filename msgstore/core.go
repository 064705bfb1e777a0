package msgstore

import (
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsd/natsd/msgstore/internal/record"
)

// store is what FileStore and MemStore have in common: positions, blocks,
// subject index, limits, and the order of operations.
//
// An operation goes through three stages. Under wmu it gets its place: it is
// checked, encoded, and handed to the disk (submit). When the disk has it, it
// is applied under mu: from then on it is visible. Then its callbacks are
// called, in order and without locks. In memory, and in the modes interval and
// external, the first two follow each other at once.
//
// Locks: wmu before mu before flying and notify.mu. Callbacks are called with none
// held.
type store struct {
	kind StorageType

	// wmu serializes operations up to submit.
	wmu      sync.Mutex
	cfg      Config  // replaced under wmu and mu; read under either
	end      seqTime // of the last record handed over
	tail     tail
	appended atomic.Uint64
	failed   atomic.Pointer[WriteError] // sticky

	// flying guards how far the operations in flight have come, so that the next one
	// gets its place while one is applied. flight grows under wmu and flying, and
	// shrinks under mu and flying: who holds wmu and mu may read it as well.
	flying sync.Mutex
	flight []*op // submitted, not applied; oldest first

	mu     sync.RWMutex
	closed bool     // set under wmu and mu; read under either
	blocks []*block // ascending by number, and by sequence
	msgs   uint64
	bytes  uint64
	first  seqTime
	last   seqTime
	tracks bool          // subjects are tracked; never changes
	index  *subjectIndex // nil if they are not, or the store is closed
	due    dueTimes
	source map[string]sourced
	lost   LostData

	updates func(msgs, bytes int64, seq uint64, subject string)
	remove  func(seq uint64)
	process func(subject string, header, data []byte)

	notify notifier
	disk   *disk // nil in memory
	now    func() time.Time
}

// tail is where the next record goes. Guarded by wmu.
type tail struct {
	b    *block
	key  *record.Key          // nil in memory
	sum  [record.SumSize]byte // of the last record
	size int64                // of all records handed over, uncompressed
	max  int64                // size at which the next block begins

	skipped uint64 // sequences that were skipped behind its first record
}

func (s *store) init(cfg Config) {
	s.cfg = cfg
	s.now = time.Now
	if s.tracks = cfg.tracksSubjects(); s.tracks {
		s.index = newSubjectIndex()
	}
	s.due.init(&s.cfg)
	s.source = make(map[string]sourced)
}

// Type implements Store.
func (s *store) Type() StorageType { return s.kind }

// msgSize is what a message counts for, given the entry of its record.
func (s *store) msgSize(c *cache, e *ent) uint64 {
	n := uint64(e.size)
	if s.kind == MemoryStorage {
		n -= record.MinSize - memOverhead
		if c.hasHeader(e) {
			n -= 4
		}
	}
	return n
}

// memOverhead is what a message in memory counts beyond its parts.
const memOverhead = 16

// sizeOf is msgSize of a message that is not encoded yet.
func (s *store) sizeOf(subject string, header, data []byte) uint64 {
	if s.kind == MemoryStorage {
		return uint64(memOverhead + len(subject) + len(header) + len(data))
	}
	return uint64(record.Size(len(subject), len(header), len(data)))
}

// blockOf returns the position in s.blocks of the block that holds seq or, if
// seq lies between blocks, of the next one.
func (s *store) blockOf(seq uint64) int {
	return sort.Search(len(s.blocks), func(i int) bool { return s.blocks[i].last.seq >= seq })
}

// cached returns the content of b, or b.miss.
func (s *store) cached(b *block) (*cache, error) {
	if c := b.cache.Load(); c != nil {
		s.use(b)
		return c, nil
	}
	return nil, &b.miss
}

// use notes that the content of b was of use to a reader.
func (s *store) use(b *block) {
	if s.disk == nil {
		return
	}
	if !b.read.Load() {
		b.read.Store(true)
	}
	if now := s.disk.host.tick.Load(); b.used.Load() != now {
		b.used.Store(now)
	}
	if now := s.disk.host.tick.Load(); s.disk.readAt.Load() != now {
		s.disk.readAt.Store(now)
	}
}

// content is cached for those who hold mu for writing: it loads the block if
// need be.
func (s *store) content(b *block) (*cache, error) {
	c, err := s.cached(b)
	if err == nil {
		return c, nil
	}
	return s.disk.loadLocked(b)
}

// read calls fn with mu held for reading, and again when a block that fn
// missed has been loaded.
func (s *store) read(fn func() error) error {
	for {
		s.mu.RLock()
		if s.closed {
			s.mu.RUnlock()
			return ErrStoreClosed
		}
		err := fn()
		s.mu.RUnlock()
		m, ok := err.(*missing)
		if !ok {
			return err
		}
		if err := s.disk.load(m.b); err != nil {
			return err
		}
	}
}

// failure is the sticky error, or nil.
func (s *store) failure() error {
	if w := s.failed.Load(); w != nil {
		return w
	}
	return nil
}

// Positions implements Store.
func (s *store) Positions() Positions {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := Positions{Appended: s.appended.Load(), Visible: s.last.seq}
	p.Durable = p.Visible
	if s.disk != nil {
		p.Durable = s.disk.durable(p.Visible)
	}
	return p
}

// notifier calls back in order, by one goroutine at a time.
type notifier struct {
	mu      sync.Mutex
	queue   []*op
	running bool
	added   uint64    // ops ever queued
	called  uint64    // of these, whose callbacks have returned
	removal uint64    // number of the last one that removed something
	slicing int       // ops that have removed something and are not queued
	round   sync.Cond // called has changed; its lock is mu
}

// add queues an op. The caller holds store.mu, so that the order is that of the
// operations.
func (n *notifier) add(o *op) {
	n.mu.Lock()
	n.queue = append(n.queue, o)
	n.added++
	if o.slicing {
		n.slicing--
		n.removal = n.added
	}
	for i := range o.changes {
		if o.changes[i].msgs < 0 {
			n.removal = n.added
			break
		}
	}
	n.mu.Unlock()
}

// begin says that an op, which is not queued yet, removes messages already. The
// caller holds store.mu.
func (n *notifier) begin(o *op) {
	if o.slicing {
		return
	}
	o.slicing = true
	n.mu.Lock()
	n.slicing++
	n.mu.Unlock()
}

// run calls the callbacks of what is queued, unless another goroutine is at it.
func (s *store) runCallbacks() {
	n := &s.notify
	n.mu.Lock()
	if n.running {
		n.mu.Unlock()
		return
	}
	n.running = true
	for len(n.queue) > 0 {
		q := n.queue
		n.queue = nil
		n.mu.Unlock()
		for _, o := range q {
			s.callback(o)
		}
		clear(q)
		n.mu.Lock()
		n.called += uint64(len(q))
		if n.round.L != nil {
			n.round.Broadcast()
		}
		if n.queue == nil {
			n.queue = q[:0]
		}
	}
	n.running = false
	n.mu.Unlock()
}

// Notified implements Store.
func (s *store) Notified() {
	n := &s.notify
	n.mu.Lock()
	defer n.mu.Unlock()
	n.round.L = &n.mu
	for n.slicing > 0 {
		n.round.Wait()
	}
	for mark := n.removal; n.called < mark; {
		n.round.Wait()
	}
}

func (s *store) callback(o *op) {
	if o.heard != nil {
		for i := range o.changes {
			c := &o.changes[i]
			o.heard(c.msgs, c.bytes, c.seq, c.subject)
		}
	}
	if o.done != nil {
		o.done(o)
	}
	o.free()
}
