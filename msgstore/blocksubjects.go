package msgstore

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// blockSubjects says where in a sealed block the messages of a subject may be. A
// search for few subjects passes over a block that has none of them without
// reading it, and finds those of the others without looking at every message.
//
// Per message it takes 4 bytes for the chain of those with the same hash, 4 more
// where sequences have gaps, and per subject some 12 bytes of table: 2 to 10 % of
// a block of messages of 128 B. It outlives the block's content.
type blockSubjects struct {
	base  uint64 // sequence of the first entry
	slots []subjectSlot
	prev  []uint32 // by entry: 1 + the entry before it with this hash
	seqs  []uint32 // by entry: its sequence less base; nil if there are no gaps
	used  atomic.Int64
}

// subjectSlot is empty if last is 0.
type subjectSlot struct {
	hash uint32
	last uint32 // 1 + the last entry with this hash
}

const (
	// subjectsIdle is the time in seconds after which an unused table is dropped,
	// subjectsBudget what all tables of a host may take.
	subjectsIdle   = 120
	subjectsBudget = 64 << 20
	// chainLimit is how many messages of a subject a search follows in a block;
	// with more of them they are found by looking.
	chainLimit = 256
)

var subjectSeed = maphash.MakeSeed()

func hashSubject(subject []byte) uint32 { return uint32(maphash.Bytes(subjectSeed, subject)) }

// indexSubjects makes the table of a block's content, or nil if it has none that
// is whole.
func indexSubjects(c *cache) *blockSubjects {
	n := len(c.ents)
	if n == 0 || len(c.bad) > 0 || c.ents[n-1].seq-c.ents[0].seq > 1<<32-1 {
		return nil
	}
	x := &blockSubjects{base: c.ents[0].seq, prev: make([]uint32, n)}
	if c.ents[n-1].seq-x.base != uint64(n-1) {
		x.seqs = make([]uint32, n)
	}
	x.slots = make([]subjectSlot, 64)
	subjects := 0
	for i := range c.ents {
		e := &c.ents[i]
		if x.seqs != nil {
			x.seqs[i] = uint32(e.seq - x.base)
		}
		hash := hashSubject(c.subject(e))
		s := x.slot(hash)
		if s.last == 0 {
			if subjects++; subjects > len(x.slots)*3/4 {
				x.grow()
				s = x.slot(hash)
			}
			s.hash = hash
		}
		x.prev[i] = s.last
		s.last = uint32(i + 1)
	}
	return x
}

// slot is where a hash is, or belongs.
func (x *blockSubjects) slot(hash uint32) *subjectSlot {
	mask := uint32(len(x.slots) - 1)
	for at := hash >> 7 & mask; ; at = (at + 1) & mask {
		if s := &x.slots[at]; s.last == 0 || s.hash == hash {
			return s
		}
	}
}

func (x *blockSubjects) grow() {
	old := x.slots
	x.slots = make([]subjectSlot, 1<<bits.Len(uint(len(old))))
	for _, s := range old {
		if s.last != 0 {
			*x.slot(s.hash) = s
		}
	}
}

func (x *blockSubjects) memory() int64 {
	return int64(8*len(x.slots) + 4*len(x.prev) + 4*len(x.seqs))
}

// next returns the first live sequence of b, from seq on, of a message whose
// subject may have one of the hashes.
func (x *blockSubjects) next(b *block, hashes []uint32, seq uint64) (first uint64, ok bool) {
	for _, h := range hashes {
		steps := 0
		for i := x.slot(h).last; i != 0; i = x.prev[i-1] {
			at := x.base + uint64(i-1)
			if x.seqs != nil {
				at = x.base + uint64(x.seqs[i-1])
			}
			if at < seq {
				break
			}
			if (!ok || at < first) && b.live(at) {
				first, ok = at, true
			}
			if steps++; steps == chainLimit {
				return seq, true
			}
		}
	}
	return first, ok
}

// Of a search that finds nothing among so many messages the index is asked where
// to go on: sparseAfter, and each time that was no help four times as many. It
// looks at so many subjects that match, and searches for few of them by name.
const (
	sparseAfter    = 2048
	sparseSubjects = 4096
	sparseNames    = 64
)

// sparseSearch is a search for messages that are far apart.
type sparseSearch struct {
	names []uint32 // hashes of all subjects that match; nil if they are too many
	asked bool
}

// names appends the hashes of the subjects of a filter without wildcards to few,
// if there is room for them, and returns nil otherwise.
func (f *Filter) names(few []uint32) []uint32 {
	if f == nil || len(f.patterns) > cap(few) {
		return nil
	}
	for i := range f.patterns {
		if !f.patterns[i].literal {
			return nil
		}
		few = append(few, hashSubject(bytesOf(f.patterns[i].subject)))
	}
	return few
}

// ask narrows [seq, hi] to where the index says that matches can be. useful is
// false if it does not tell.
func (p *sparseSearch) ask(s *store, f *Filter, seq, hi uint64) (lo, up uint64, useful bool) {
	if s.index == nil || p.asked {
		return seq, hi, p.names != nil
	}
	p.asked = true
	lo, n := ^uint64(0), 0
	named := p.names != nil
	var hashes []uint32
	s.index.matchAny(f, func(subject []byte, i *subjectInfo) bool {
		n++
		if i.upper() < seq {
			return n < sparseSubjects
		}
		up = max(up, i.upper())
		lo = min(lo, max(i.lower(), seq))
		if !named && len(hashes) <= sparseNames {
			hashes = append(hashes, hashSubject(subject))
		}
		return n < sparseSubjects
	})
	if n == sparseSubjects { // and perhaps more
		return seq, hi, named
	}
	if !named && len(hashes) <= sparseNames {
		p.names = hashes
	}
	return lo, min(up, hi), p.names != nil || lo > seq
}

// candidate narrows a search of b from seq on by the block's table, if it has one.
func (s *store) candidate(b *block, names []uint32, seq uint64) (uint64, bool) {
	x := b.subjects.Load()
	if x == nil {
		return seq, true
	}
	if now := s.disk.host.tick.Load(); x.used.Load() != now {
		x.used.Store(now)
	}
	return x.next(b, names, seq)
}

// tabulate makes the table of a sealed block of which c is the content.
func (s *store) tabulate(b *block, c *cache) {
	if s.disk == nil || b == s.blocks[len(s.blocks)-1] || c != b.cache.Load() || b.subjects.Load() != nil {
		return
	}
	if x := indexSubjects(c); x != nil {
		s.disk.host.holdSubjects(b, x)
	}
}
