package msgstore

import (
	"sync/atomic"

	"github.com/natsd/natsd/msgstore/internal/record"
)

// The window of a stream that is written to holds what was appended last: enough
// for consumers that are right behind, and little for a stream that nobody
// reads. It grows to leastWindow, or unreadWindow, and beyond it only by batches
// larger than half of it, and as far back as somebody has read since it moved the
// last time.
const (
	firstWindow  = 4 << 10
	unreadWindow = 64 << 10
	leastWindow  = 256 << 10
)

// behind is how far back those are who read the last two blocks: who is in the one
// before the last comes to its window next.
type behind struct {
	low  atomic.Uint64 // lowest sequence since a window has moved, 0: none
	last uint64        // the same, of the time before; guarded by store.mu
}

// read notes that the message seq was read. Called by many at a time: one that gets
// lost is lower than what is read next by little.
func (b *behind) read(seq uint64) {
	if low := b.low.Load(); low == 0 || seq < low {
		b.low.Store(seq)
	}
}

// take returns the lowest sequence that was read since the last call, 0: none. With
// active it is what it was the last time if nobody has read since: between two batches
// of a fast publisher a reader may not get a processor.
func (b *behind) take(active bool) uint64 {
	if low := b.low.Swap(0); low != 0 || !active {
		b.last = low
	}
	return b.last
}

// extendWindow makes room in the window c for part, the records at offset off of the
// block, and takes its bytes over. first is the sequence of its first message, most the size
// to which the window grows without readers that hold it.
func (d *disk) extendWindow(c *cache, part []byte, off int64, first uint64, most int) {
	if len(c.buf) == 0 {
		c.base, c.from = uint32(off), first
		c.ents, c.tomb = c.ents[:0], nil
	}
	if need := len(c.buf) + len(part); need > cap(c.buf) {
		if need > most {
			c.slide(len(part), most, d.behind.take(d.host.tick.Load()-d.readAt.Load() <= 1))
			if need = len(c.buf) + len(part); need > most {
				need += need / 2 // readers hold it: it must not be moved for each part
			}
		}
		if need > cap(c.buf) {
			size := firstWindow
			for size < need {
				size *= 2
			}
			c.grow(size)
		}
	}
	c.buf = append(c.buf, part...)
}

// ahead is how much of the beginning of part a window need not take over, because
// only its end is worth keeping if nobody reads.
func ahead(part []byte, most int) int {
	at := 0
	var r record.Record
	for len(part)-at > most {
		record.ParseOwn(part[at:], &r)
		if at+r.Size == len(part) {
			break // it is larger than a window
		}
		at += r.Size
	}
	return at
}

// slide forgets the older part of the window: all but half of most, less what is
// coming, and from the lowest message that is read.
func (c *cache) slide(coming, most int, low uint64) {
	keep := max(most/2-coming, 0)
	n := len(c.ents)
	for n > 0 {
		e := &c.ents[n-1]
		if held := len(c.buf) - int(e.off-c.base); held > keep && (low == 0 || e.seq < low) {
			break
		}
		n--
	}
	if n == 0 {
		return
	}
	cut := len(c.buf) // behind it, tombstones may follow the last message that goes
	if n < len(c.ents) {
		cut = int(c.ents[n].off - c.base)
		c.from = c.ents[n].seq
	} else {
		c.from = c.ents[n-1].seq + 1
	}
	kept := c.buf[cut:]
	c.base += uint32(cut)
	if cap(c.buf) > 4*max(len(kept)+coming, most) {
		c.buf = make([]byte, 0, 2*max(len(kept)+coming, most/2))
	}
	c.buf = append(c.buf[:0], kept...)
	c.ents = append(c.ents[:0], c.ents[n:]...)
	c.tomb = c.tomb[:0] // nobody asks a window for its tombstones
}

// window is where the records of part go, which come to offset b.size of b, when
// b has no cache. The caller holds store.mu for writing.
func (d *disk) window(b *block, part []byte) *cache {
	c := b.recent.Load()
	if c == nil {
		if c = d.spare; c == nil {
			c = new(cache)
		}
		d.spare = nil
		b.recent.Store(c)
	}
	off := b.size
	most := leastWindow
	if d.host.tick.Load()-d.readAt.Load() > cacheIdle {
		if most = unreadWindow; len(part) > most {
			skip := ahead(part, most)
			part = part[skip:]
			off += int64(skip)
			c.buf = c.buf[:0]
		}
	}
	first := uint64(0)
	if len(c.buf) == 0 {
		var r record.Record
		record.ParseOwn(part, &r)
		if first = r.Seq; r.Kind != record.Message {
			first = d.s.last.seq + 1
		}
	}
	d.extendWindow(c, part, off, first, most)
	return c
}

// cachedFrom is cached for a reader of messages of b from seq on.
func (s *store) cachedFrom(b *block, seq uint64) (*cache, error) {
	if n := len(s.blocks); s.disk != nil && (b == s.blocks[n-1] || n > 1 && b == s.blocks[n-2]) {
		s.disk.behind.read(seq)
	}
	c := b.recent.Load()
	if c == nil || seq < c.from {
		return s.cached(b)
	}
	s.use(b)
	return c, nil
}

// contentFrom is cachedFrom for those who hold mu for writing: it loads the
// block if need be.
func (s *store) contentFrom(b *block, seq uint64) (*cache, error) {
	c, err := s.cachedFrom(b, seq)
	if err == nil {
		return c, nil
	}
	return s.content(b)
}
