package msgstore

import "github.com/natsd/natsd/msgstore/internal/record"

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

// extendWindow makes room for part, the records at offset off of the block, and
// takes its bytes over. first is the sequence of its first message, most the size
// to which the window grows without readers that hold it.
func (c *cache) extendWindow(part []byte, off int64, first uint64, most int) {
	if len(c.buf) == 0 {
		c.base, c.from = uint32(off), first
		c.ents, c.tomb = c.ents[:0], nil
	}
	if need := len(c.buf) + len(part); need > cap(c.buf) {
		if need > most {
			c.slide(len(part), most)
		}
		if need = len(c.buf) + len(part); need > cap(c.buf) {
			size := firstWindow
			for size < need {
				size *= 2
			}
			bigger := make([]byte, len(c.buf), size)
			copy(bigger, c.buf)
			c.buf = bigger
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
// coming, and from the lowest message that was read.
func (c *cache) slide(coming, most int) {
	low := c.low.Swap(0)
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
	c.extendWindow(part, off, first, most)
	return c
}

// cachedFrom is cached for a reader of messages of b from seq on.
func (s *store) cachedFrom(b *block, seq uint64) (*cache, error) {
	c := b.recent.Load()
	if c == nil || seq < c.from {
		return s.cached(b)
	}
	if low := c.low.Load(); low == 0 || seq < low {
		c.low.Store(seq)
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
