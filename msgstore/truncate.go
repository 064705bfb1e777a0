package msgstore

// truncate removes everything above seq from what is visible, and makes the
// block that holds seq the tail. The caller holds wmu and mu, and nothing is in
// flight. seq is not above the last sequence.
func (s *store) truncate(o *op, seq uint64) error {
	o.heard = s.updates
	ts := s.last.ts
	if seq == 0 {
		ts = s.now().UnixNano()
	} else if b, _ := s.blockFor(seq); b != nil {
		c, err := s.content(b)
		if err != nil {
			return err
		}
		if n, ok := c.at(seq); ok {
			ts = c.time(&c.ents[n])
		}
	}
	keep := len(s.blocks)
	for keep > 0 {
		b := s.blocks[keep-1]
		if b.msgs > 0 && b.first.seq <= seq || b.msgs == 0 && b.last.seq < seq {
			break
		}
		s.dropAll(o, b)
		keep--
	}
	removed := s.blocks[keep:]
	s.blocks = s.blocks[:keep:keep]
	if keep > 0 {
		b := s.blocks[keep-1]
		for b.msgs > 0 && b.last.seq > seq {
			at, ok := b.nextLive(seq + 1)
			if !ok {
				break
			}
			s.drop(o, b, keep-1, at, true)
		}
		b.deleted.DeleteRange(seq+1, b.last.seq)
		b.last.seq = min(b.last.seq, seq)
		if b.msgs == 0 {
			b.first = seqTime{seq: b.last.seq + 1}
			b.deleted = newSet()
		}
	}
	s.due.truncate(seq)
	s.last = seqTime{seq, ts}
	if s.msgs == 0 {
		s.first = seqTime{seq: seq + 1}
	}
	s.end = s.last
	s.appended.Store(seq)
	if o.removed > 0 && o.heard != nil {
		o.changes = append(o.changes, change{-int64(o.removed), -int64(o.removedBytes), 0, ""})
	}
	if s.disk != nil {
		return s.disk.truncate(seq, removed)
	}
	if keep == 0 {
		b := newBlock(1, s.last)
		b.cache.Store(new(cache))
		s.blocks = append(s.blocks, b)
	}
	b := s.blocks[len(s.blocks)-1]
	c := b.cache.Load()
	if n := c.find(seq + 1); n < len(c.ents) {
		c.buf = c.buf[:c.ents[n].off]
		c.ents = c.ents[:n]
	}
	b.size = int64(len(c.buf))
	s.tail.b, s.tail.size = b, b.size
	return nil
}
