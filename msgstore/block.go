package msgstore

import (
	"encoding/binary"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/natsd/natsd/msgstore/internal/buffers"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seqset"
)

// seqTime is a sequence and the time of its message.
type seqTime struct {
	seq uint64
	ts  int64
}

// block is a run of records: a file, or a piece of memory. Its fields are
// guarded by store.mu and describe the stream up to the visible position,
// except for those of files, which say so.
//
// The live messages are the sequences in [first, last] that are not in deleted.
// A block without live messages has first = last + 1.
type block struct {
	num     uint32
	msgs    uint64
	bytes   uint64 // of live messages
	size    int64  // of all visible records, uncompressed
	first   seqTime
	last    seqTime
	deleted seqset.Set
	// ttls and schedules count live messages with a TTL or schedule header.
	ttls      uint64
	schedules uint64
	// No message in it is later than latest: times need not ascend, since clocks go back.
	// While undated is set, of a block that another server wrote and nobody has read
	// yet, latest is what its ends tell.
	latest  int64
	undated bool

	// cache is the whole content; nil when that is only in the file. In a memory
	// store it is always there. recent is the window on what was appended last,
	// of a block whose cache is nil.
	cache  atomic.Pointer[cache]
	recent atomic.Pointer[cache]
	// inside counts the scans that began at the first message of the cache and
	// have not come to its end.
	inside atomic.Int32
	// places is for reads of single messages; nil if it is not known.
	places *places
	pieces atomic.Int32 // that were read since the block was loaded for them
	// subjects is the table for searches, of a sealed block; nil if there is none.
	subjects atomic.Pointer[blockSubjects]
	// used is the host's tick at the last use of the cache.
	used atomic.Int64
	read atomic.Bool // the cache was used by a reader
	miss missing
	// pinned keeps the cache in memory while records are added to it.
	pinned atomic.Bool

	top      uint64       // last sequence, of a block that has left the stream
	capacity atomic.Int64 // of the cache when the host last heard of it; 0: it has none

	file blockFile // zero in a memory store
}

func newBlock(num uint32, last seqTime) *block {
	b := &block{num: num, first: seqTime{seq: last.seq + 1}, last: last}
	b.miss.b = b
	return b
}

// missing says that a read needs the content of b.
type missing struct{ b *block }

func (m *missing) Error() string { return "block is not in the cache" }

func (b *block) live(seq uint64) bool {
	return b.msgs > 0 && seq >= b.first.seq && seq <= b.last.seq && !b.deleted.Contains(seq)
}

// liveBelow counts the live messages with a sequence below seq.
func (b *block) liveBelow(seq uint64) uint64 {
	switch {
	case b.msgs == 0 || seq <= b.first.seq:
		return 0
	case seq > b.last.seq:
		return b.msgs
	}
	return seq - b.first.seq - uint64(b.deleted.CountRange(b.first.seq, seq-1))
}

// nextLive is the first live sequence at or after seq.
func (b *block) nextLive(seq uint64) (uint64, bool) {
	if b.msgs == 0 || seq > b.last.seq {
		return 0, false
	}
	seq = b.deleted.NextAbsent(max(seq, b.first.seq))
	return seq, seq <= b.last.seq
}

// ent locates the record of a message in a cache.
type ent struct {
	seq  uint64
	off  uint32
	size uint32
}

// cache is the plain content of a block with the places of its messages.
// Those who hold store.mu for reading may read it; it grows and changes only
// under store.mu, so nothing of it may be kept without.
type cache struct {
	buf  []byte
	base uint32   // offset of buf in the block; 0 except for a window
	ents []ent    // messages, ascending; dead ones among them
	tomb []uint64 // sequences of the tombstones in it
	bad  []badRange

	compressed bool // the file's form

	from uint64 // a window has all messages of its block from this sequence on

	shared atomic.Bool // buf is used without the lock: it is not for reuse
}

// caches are for reuse; their ents have memory.
var caches = sync.Pool{New: func() any { return new(cache) }}

// mostEnts bounds the places that a cache in reserve keeps: those of a block of
// records of 64 B.
const mostEnts = maxBlockSize / 64

func newCache() *cache { return caches.Get().(*cache) }

// free gives the memory of c back. Nobody uses it any more.
func (c *cache) free() {
	if c.shared.Load() {
		return
	}
	buffers.Put(c.buf)
	c.buf, c.base, c.ents, c.tomb, c.bad = nil, 0, c.ents[:0], nil, nil
	if cap(c.ents) > mostEnts {
		c.ents = nil
	}
	c.compressed, c.from = false, 0
	caches.Put(c)
}

// memory is what the cache takes, in bytes.
func (c *cache) memory() int64 { return int64(cap(c.buf)) + 16*int64(cap(c.ents)) }

// lost says that nothing of the block can be read.
func (c *cache) lost() bool { return len(c.bad) > 0 && c.bad[0].off < 0 }

// badRange is a part of a block that holds no valid records.
type badRange struct {
	off, size   int64
	first, last uint64 // sequences that may have been in it; 0, 0 if unknown
	detail      string
}

// find returns the index of the first entry whose sequence is seq or higher.
func (c *cache) find(seq uint64) int {
	n := len(c.ents)
	if n == 0 || seq <= c.ents[0].seq {
		return 0
	}
	// Without gaps the answer is known.
	if d := seq - c.ents[0].seq; d < uint64(n) && c.ents[d].seq == seq {
		return int(d)
	}
	return sort.Search(n, func(i int) bool { return c.ents[i].seq >= seq })
}

// at returns the entry of seq.
func (c *cache) at(seq uint64) (int, bool) {
	i := c.find(seq)
	return i, i < len(c.ents) && c.ents[i].seq == seq
}

// Parts of a record that was verified or made here.

func (c *cache) raw(e *ent) []byte {
	at := e.off - c.base
	return c.buf[at : at+e.size]
}

func (c *cache) time(e *ent) int64 {
	return int64(binary.LittleEndian.Uint64(c.buf[e.off-c.base+12:]))
}

func (c *cache) subject(e *ent) []byte {
	raw := c.raw(e)
	n := binary.LittleEndian.Uint16(raw[20:])
	return raw[22 : 22+int(n)]
}

func (c *cache) hasHeader(e *ent) bool { return c.buf[e.off-c.base+3]&0x80 != 0 }

// parts returns the subject, header section and payload.
func (c *cache) parts(e *ent) (subject, header, data []byte) {
	raw := c.raw(e)
	n := 22 + int(binary.LittleEndian.Uint16(raw[20:]))
	subject = raw[22:n]
	if raw[3]&0x80 != 0 {
		h := int(binary.LittleEndian.Uint32(raw[n:]))
		header = raw[n+4 : n+4+h]
		n += 4 + h
	}
	return subject, header, raw[n : len(raw)-record.SumSize]
}

// append takes over a record, whose bytes are raw.
func (c *cache) append(r *record.Record, raw []byte) {
	c.note(r, int64(len(c.buf)))
	c.extend(raw)
}

// each calls fn with the records of c and their offsets, passing over what is
// damaged. The record is good during the call. An error says that something else is.
func (c *cache) each(fn func(off int, r *record.Record)) error {
	bad := c.bad
	r := new(record.Record)
	for off := 0; off < len(c.buf); {
		if len(bad) > 0 && int64(off) >= bad[0].off {
			off = max(off, int(bad[0].off+bad[0].size))
			bad = bad[1:]
			continue
		}
		var err error
		if *r, err = record.Parse(c.buf[off:]); err != nil {
			return fmt.Errorf("record at %d: %w", off, err)
		}
		fn(off, r)
		off += r.Size
	}
	return nil
}

// extend takes over the bytes of records.
func (c *cache) extend(raw []byte) {
	if len(c.buf)+len(raw) > cap(c.buf) {
		c.grow(max(2*cap(c.buf), len(c.buf)+len(raw), 4096))
	}
	c.buf = append(c.buf, raw...)
}

// grow gives buf room for size bytes.
func (c *cache) grow(size int) {
	old := c.buf
	c.buf = append(buffers.Get(size), old...)
	if !c.shared.Load() {
		buffers.Put(old)
	}
}

// note remembers the record at offset off of the block.
func (c *cache) note(r *record.Record, off int64) {
	switch r.Kind {
	case record.Message:
		if len(c.ents) == cap(c.ents) {
			c.ents = double(c.ents, 1, 64)
		}
		c.ents = append(c.ents, ent{seq: r.Seq, off: uint32(off), size: uint32(r.Size)})
	case record.Tombstone:
		c.tomb = append(c.tomb, r.Seq)
	}
}

// double makes room for n more, by doubling: a block grows to megabytes in small
// steps, and the growth of append copies it too often.
func double[T any](s []T, n, least int) []T {
	bigger := make([]T, len(s), max(2*cap(s), len(s)+n, least))
	copy(bigger, s)
	return bigger
}

// date finds out what latest is. c is the content of b.
func (b *block) date(c *cache) {
	if !b.undated {
		return
	}
	b.undated = false
	for i := range c.ents {
		b.latest = max(b.latest, c.time(&c.ents[i]))
	}
}

func newSet() seqset.Set { return seqset.Set{} }
