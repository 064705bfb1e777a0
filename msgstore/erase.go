package msgstore

import "github.com/natsd/natsd/msgstore/internal/record"

// erase submits an op that removes messages, and then overwrites their records:
// with random bytes in a plain block; an encrypted one is rewritten under a new
// key. It releases wmu, which the caller holds.
func (d *disk) erase(o *op) {
	seqs := append([]uint64(nil), o.acts[0].seqs...)
	done := o.done
	removed := make(chan waited, 1)
	o.done = func(o *op) { removed <- waited{removed: o.removed, err: o.err} }
	d.submit(o) // unlocks
	go func() {
		r := <-removed
		if r.err == nil && r.removed > 0 {
			d.maintaining.Lock()
			r.err = d.alone(func() error { return d.overwrite(seqs) })
			d.maintaining.Unlock()
		}
		x := newOp()
		x.removed, x.err = r.removed, r.err
		x.done = done
		d.s.mu.Lock()
		d.s.notify.add(x)
		d.s.mu.Unlock()
		d.s.runCallbacks()
	}()
}

// overwrite replaces the records of removed messages by erased ones. An index.db
// without them is there first: afterwards the blocks tell less of what the limits
// removed. The caller holds maintaining and wmu, and nothing is in flight.
func (d *disk) overwrite(seqs []uint64) error {
	s := d.s
	if err := d.saveAlone(); err != nil {
		return err
	}
	byBlock := make(map[*block][]uint64)
	s.mu.RLock()
	for _, seq := range seqs {
		if b, _ := s.blockFor(seq); b != nil {
			continue // after a truncation the sequence was used again
		}
		if i := s.blockOf(seq); i < len(s.blocks) {
			byBlock[s.blocks[i]] = append(byBlock[s.blocks[i]], seq)
		}
	}
	s.mu.RUnlock()
	for b, seqs := range byBlock {
		if err := d.load(b); err != nil {
			return err
		}
		if err := d.forget(b.num); err != nil {
			return err
		}
		s.mu.Lock()
		err := d.overwriteBlock(b, seqs)
		if err == nil && b == s.tail.b {
			s.setTailAt(b)
		}
		s.mu.Unlock()
		if _, bad := err.(*BadRecordError); bad {
			return err // nothing was changed
		}
		if err != nil {
			d.fail(err)
			return err
		}
	}
	return nil
}

func (d *disk) overwriteBlock(b *block, seqs []uint64) error {
	s := d.s
	if s.blockIndex(b) < 0 {
		return nil // its file is gone, and the bytes with it
	}
	c, err := s.content(b)
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		if _, ok := c.at(seq); !ok && len(c.bad) > 0 {
			return c.damage(b, seq) // its bytes may be anywhere in there, and in quarantine
		}
	}
	fresh := &cache{buf: make([]byte, 0, len(c.buf)), bad: c.bad}
	key := record.NewKey(s.cfg.Name, b.num)
	var erased []byte
	var wipe [][]byte // in memory
	bad := c.bad
	for off := 0; off < len(c.buf); {
		if len(bad) > 0 && int64(off) >= bad[0].off {
			end := max(off, int(bad[0].off+bad[0].size)) // damage stays what it is
			fresh.extend(c.buf[off:end])
			off, bad = end, bad[1:]
			continue
		}
		r, err := record.Parse(c.buf[off:])
		if err != nil {
			return err
		}
		raw := c.buf[off : off+r.Size]
		off += r.Size
		if r.Kind == record.Message && contains(seqs, r.Seq) {
			random := make([]byte, r.Size-record.MinSize)
			if err := randomBytes(random); err != nil {
				return err
			}
			erased = record.AppendErased(erased[:0], &key, r.Seq, random)
			if r, err = record.Parse(erased); err != nil {
				return err
			}
			wipe = append(wipe, raw[22:len(raw)-record.SumSize])
			raw = erased
		}
		fresh.append(&r, raw)
	}
	err = d.write(b, fresh)
	if err != nil {
		// The file may be either one: who wants its content reads it.
		d.host.drop(b)
		b.cache.Store(nil)
		b.recent.Store(nil)
	}
	for _, x := range wipe {
		clear(x)
	}
	return err
}
