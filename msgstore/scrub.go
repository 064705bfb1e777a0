package msgstore

// Sealed blocks are read again and again in the background, so that damage is
// found while there may still be a copy elsewhere.
const (
	// defaultScrubRate bounds what that reads, in bytes per second of a host: a
	// few percent of what a disk can do.
	defaultScrubRate = 32 << 20
	// scrubEvery is the age in seconds of a block's last verification from which
	// on it is read again: 6 days, so that 7 are kept.
	scrubEvery = 6 * 24 * 3600
)

// scrub verifies sealed blocks, of at most so many bytes in all. One block may
// exceed it. While others use the disk it is one block alone, so that they are
// held up little, and still every block has its turn: busy says that there were
// writes.
func (h *Host) scrub(stores []*store, budget int64, busy bool) {
	now := h.tick.Load()
	for _, s := range stores {
		for budget > 0 {
			n := s.disk.scrubOne(now)
			if n == 0 {
				break
			}
			if budget -= n; busy || len(h.gate) > 0 {
				return
			}
		}
	}
}

// scrubOne verifies the first block that needs it and returns its size, 0 if
// none does. A block that is in memory was verified when it was loaded, but its
// file may be damaged since.
func (d *disk) scrubOne(now int64) int64 {
	s := d.s
	s.mu.RLock()
	var b *block
	for _, x := range s.blocks[:max(len(s.blocks)-1, 0)] {
		if x.file.sealed && !x.file.reported && (x.file.verified == 0 || now-x.file.verified > scrubEvery) {
			b = x
			break
		}
	}
	if b == nil || s.closed {
		s.mu.RUnlock()
		return 0
	}
	v := d.viewOf(b)
	s.mu.RUnlock()
	c, err := d.fetchBlock(b, v)
	if err != nil {
		d.host.event(ReadFailed{Account: d.account, Stream: d.name, File: d.blockPath(b.num), Err: err})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && len(c.bad) == 0 {
		defer c.free()
	}
	if s.blockIndex(b) < 0 || b.file.gen != v.gen {
		return 1 // it is another one now
	}
	b.file.verified = max(now, 1)
	if err == nil && len(c.bad) > 0 && !b.file.reported {
		b.file.reported = true
		d.damaged(b, c)
	}
	if err != nil {
		return 1
	}
	return max(int64(len(c.buf)), 1)
}
