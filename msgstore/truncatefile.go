package msgstore

import (
	"path"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs"
)

// truncate is the file side of store.truncate: removed are the blocks that have
// left the stream. Tombstones in what goes, for messages of the blocks that
// stay, are kept in a new block, which comes first, and so is the last sequence.
// The caller holds wmu and mu, nothing is in flight and the tail's file is
// closed.
func (d *disk) truncate(seq uint64, removed []*block) error {
	s := d.s
	if err := d.queue.Perform(&commit.Op{Forget: d.rel}); err != nil {
		return err
	}
	// floor.db is about to go: the files of the blocks below it must be gone, and
	// so must those that wait for their deletion, since their numbers are used
	// again.
	for _, b := range append(d.garbage, d.later...) {
		d.host.drop(b)
		d.fs.Remove(d.blockPath(b.num))
	}
	d.garbage, d.later = nil, nil
	if err := d.fs.SyncDir(d.msgs); err != nil {
		return err
	}
	for _, name := range []string{indexFile, ttlFile, schedFile, floorFile} {
		d.fs.Remove(path.Join(d.msgs, name))
	}
	d.cleaning.Lock()
	d.gone, d.floored = nil, 0
	d.cleaning.Unlock()
	d.changes++
	top := uint32(0)
	var keep []removal
	add := func(tomb []uint64) {
		for _, t := range tomb {
			if t < seq {
				keep = append(keep, removal{t, s.last.ts})
			}
		}
	}
	for _, b := range removed {
		top = max(top, b.num)
		c, err := s.content(b)
		if err != nil {
			return err
		}
		add(c.tomb)
	}
	var cut *block
	var fresh *cache
	if n := len(s.blocks); n > 0 {
		cut = s.blocks[n-1]
		top = max(top, cut.num)
		c, err := s.content(cut)
		if err != nil {
			return err
		}
		var gone *cache
		if fresh, gone, err = split(c, seq); err != nil {
			return err
		}
		add(gone.tomb)
		if len(gone.buf) == 0 && !c.compressed {
			fresh = nil // nothing of it goes
		}
	}
	if b, _ := s.blockFor(seq); b == nil && seq > 0 {
		keep = append(keep, removal{seq, s.last.ts})
	}
	if seq == 0 {
		top = 0
	}
	var next *block
	if cut == nil || len(keep) > 0 {
		next = newBlock(top+1, s.last)
		if seq > 0 {
			if err := d.writeTombstones(next, keep); err != nil {
				return err
			}
		}
	}
	for i := len(removed) - 1; i >= 0; i-- {
		b := removed[i]
		d.host.drop(b)
		d.fs.Remove(d.blockPath(b.num))
		if err := d.fs.SyncDir(d.msgs); err != nil {
			return err
		}
		d.fs.Remove(d.keyPath(b.num))
	}
	if seq == 0 {
		if err := d.writeTombstones(next, nil); err != nil {
			return err
		}
	}
	if fresh != nil {
		if err := d.write(cut, fresh); err != nil {
			return err
		}
	}
	if next != nil {
		if cut != nil {
			cut.file.sealed = true
		}
		s.blocks = append(s.blocks, next)
		cut = next
	}
	c, err := s.content(cut)
	if err != nil {
		return err
	}
	d.tailSum = [record.SumSize]byte{}
	if n := len(c.buf); n >= record.SumSize {
		d.tailSum = [record.SumSize]byte(c.buf[n-record.SumSize:])
	}
	s.setTailAt(cut)
	return nil
}

// split divides the content of a block in front of the first record with a
// sequence above seq. In the second part only tombstones are listed.
func split(c *cache, seq uint64) (head, rest *cache, err error) {
	head, rest = new(cache), new(cache)
	over := false
	for off := 0; off < len(c.buf); {
		r, err := record.Parse(c.buf[off:])
		if err != nil {
			return nil, nil, err
		}
		raw := c.buf[off : off+r.Size]
		over = over || r.Seq > seq && r.Kind != record.Dead
		switch {
		case !over:
			head.append(&r, raw)
		default:
			rest.append(&r, raw)
		}
		off += r.Size
	}
	return head, rest, nil
}

// writeTombstones makes the file of a new block with tombstones, durably.
func (d *disk) writeTombstones(b *block, gone []removal) error {
	b.file.owner = d.s
	c := new(cache)
	key := record.NewKey(d.s.cfg.Name, b.num)
	for _, g := range gone {
		r := record.Record{Kind: record.Tombstone, Seq: g.seq}
		c.append(&r, record.AppendTombstone(nil, &key, g.seq, g.ts))
	}
	// write knows a block by its place in the stream; this one has none yet.
	stored := c.buf
	if d.ring.Enabled() {
		k, file, err := d.ring.New(d.blockObject(b))
		if err != nil {
			return err
		}
		b.file.key = k
		stored = append([]byte(nil), stored...)
		k.Stream().XORAt(stored, stored, 0)
		if err := vfs.ReplaceFile(d.fs, d.keyPath(b.num), file, 0o600); err != nil {
			return err
		}
	}
	if err := vfs.ReplaceFile(d.fs, d.blockPath(b.num), stored, 0o600); err != nil {
		return err
	}
	b.size = int64(len(c.buf))
	b.cache.Store(c)
	d.hold(b, c)
	return nil
}

// setTailAt makes a block of the stream the tail. The caller holds wmu and mu.
func (s *store) setTailAt(b *block) {
	b.file.sealed = false
	s.disk.host.dropSubjects(b)
	s.tail.b, s.tail.size = b, b.size
	s.tail.sum = s.disk.tailSum
	k := record.NewKey(s.cfg.Name, b.num)
	s.tail.key = &k
}

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
			r.err = d.checkpointNow(true)
			d.maintaining.Unlock()
		}
		if r.err == nil && r.removed > 0 {
			r.err = d.alone(func() error { return d.overwrite(seqs) })
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

// overwrite replaces the records of removed messages by erased ones. The caller
// holds wmu, and nothing is in flight.
func (d *disk) overwrite(seqs []uint64) error {
	s := d.s
	byBlock := make(map[*block][]uint64)
	s.mu.RLock()
	for _, seq := range seqs {
		if i := s.blockOf(seq); i < len(s.blocks) {
			byBlock[s.blocks[i]] = append(byBlock[s.blocks[i]], seq)
		}
	}
	s.mu.RUnlock()
	for b, seqs := range byBlock {
		if err := d.load(b); err != nil {
			return err
		}
		if b == s.tail.b {
			if err := d.closeTail(); err != nil {
				return err
			}
		}
		if err := d.forget(b); err != nil {
			return err
		}
		s.mu.Lock()
		err := d.overwriteBlock(b, seqs)
		if err == nil && b == s.tail.b {
			s.setTailAt(b)
		}
		s.mu.Unlock()
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
	if len(c.bad) > 0 {
		return c.damage(b, seqs[0])
	}
	fresh := &cache{buf: make([]byte, 0, len(c.buf))}
	key := record.NewKey(s.cfg.Name, b.num)
	var erased []byte
	for off := 0; off < len(c.buf); {
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
			clear(raw[22 : len(raw)-record.SumSize])
			raw = erased
		}
		fresh.append(&r, raw)
	}
	return d.write(b, fresh)
}
