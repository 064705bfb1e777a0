package msgstore

import (
	"errors"
	"path"
	"slices"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/manifest"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scan"
	"github.com/natsd/natsd/msgstore/internal/truncation"
	"github.com/natsd/natsd/msgstore/vfs"
)

// truncate is the file side of store.truncate: removed are the blocks that have
// left the stream. Everything that is to be done is written down first, with the
// index.db of the stream as it is afterwards: from then on it happens, by this
// process or by the next one. Tombstones in what goes, for messages of the blocks
// that stay, move to a new block, and so does the last sequence, if nothing else
// carries it. The caller holds wmu, cleaning and mu, nothing is in flight and the
// tail's file is closed.
func (d *disk) truncate(seq uint64, removed []*block) error {
	s := d.s
	if err := d.queue.Perform(&commit.Op{Forget: d.rel}); err != nil {
		return err
	}
	p := &truncation.Plan{Seq: seq}
	var keep []removal
	add := func(tomb []uint64) {
		for _, t := range tomb {
			if t < seq {
				keep = append(keep, removal{t, s.last.ts})
			}
		}
	}
	for _, b := range removed {
		c, err := s.content(b)
		if err != nil {
			return err
		}
		add(c.tomb)
	}
	var cut *block
	var head []byte
	if n := len(s.blocks); n > 0 {
		cut = s.blocks[n-1]
		p.Keep = cut.num
		c, err := s.content(cut)
		if err != nil {
			return err
		}
		c.shared.Store(true) // it is looked at beyond its time
		head = c.buf[:d.cutAt(cut, c.buf, seq)]
		rest := &cache{buf: c.buf, bad: c.bad}
		if err := rest.each(func(off int, r *record.Record) {
			if off >= len(head) {
				rest.note(r, int64(off))
			}
		}); err != nil {
			return err
		}
		add(rest.tomb)
	}
	if b, _ := s.blockFor(seq); b == nil && seq > 0 {
		keep = append(keep, removal{seq, s.last.ts})
	}
	var next *block
	if cut == nil || len(keep) > 0 {
		n := s.tail.b.num + 1
		if seq == 0 {
			n = 1
		}
		next = newBlock(n, s.last)
		next.file.owner = s
		p.Next = n
		key := record.NewKey(s.cfg.Name, n)
		for _, g := range keep {
			p.Records = record.AppendTombstone(p.Records, &key, g.seq, g.ts)
		}
		if cut != nil {
			cut.file.sealed = true
		}
		s.blocks = append(s.blocks, next)
	}
	d.tailSum = [record.SumSize]byte{}
	last := head
	if next != nil {
		last = p.Records
	}
	if len(last) >= record.SumSize {
		d.tailSum = [record.SumSize]byte(last[len(last)-record.SumSize:])
	}
	waiting := slices.Concat(d.garbage, d.later)
	for _, b := range slices.Concat(removed, waiting) {
		d.host.drop(b)
	}
	d.garbage, d.later, d.gone, d.floored, d.marked, d.sourced = nil, nil, nil, 0, 0, 0
	d.changes++
	d.forgetLost(seq)
	x, err := d.stateLocked()
	if err != nil {
		return err
	}
	p.Index = x.index
	if err := vfs.ReplaceFile(d.fs, path.Join(d.msgs, truncationFile), p.Append(nil, s.cfg.Name), 0o600); err != nil {
		return err
	}
	if err := d.carryOut(p, cut, next); err != nil {
		return err
	}
	if err := d.removeFiles(waiting, p.Keep); err != nil {
		return err
	}
	for _, b := range []*block{cut, next} {
		if b != nil {
			d.host.drop(b)
			b.cache.Store(nil)
			b.recent.Store(nil)
			if _, err := s.content(b); err != nil {
				return err
			}
		}
	}
	if next != nil {
		cut = next
	}
	s.setTailAt(cut)
	return nil
}

// removeFiles deletes the files of blocks below a number, durably.
func (d *disk) removeFiles(blocks []*block, below uint32) error {
	if len(blocks) == 0 {
		return nil
	}
	for _, b := range blocks {
		if b.num < below {
			d.fs.Remove(d.blockPath(b.num))
		}
	}
	return d.fs.SyncDir(d.msgs)
}

// cutAt is the offset of the first record in the content of b with a sequence
// above seq.
func (d *disk) cutAt(b *block, content []byte, seq uint64) int {
	at := len(content)
	scan.Run(&scan.Block{Content: content, Stream: d.name, Number: b.num}, func(off int, r *record.Record) error {
		if r.Seq > seq {
			at = off
			return errFound
		}
		return nil
	})
	return at
}

var errFound = errors.New("found")

// finishTruncation carries out a truncation that was interrupted.
func (d *disk) finishTruncation() error {
	name := path.Join(d.msgs, truncationFile)
	raw := d.readState(name)
	if raw == nil {
		return nil
	}
	p, err := truncation.Decode(raw, d.name)
	if newer := newerVersion(truncationFile, err); newer != nil {
		return newer
	}
	if err != nil {
		d.host.event(StateFailed{Account: d.account, Stream: d.name, File: name, Err: err})
		return d.fs.Remove(name)
	}
	block := func(n uint32) *block {
		if n == 0 {
			return nil
		}
		b := newBlock(n, seqTime{})
		b.file.owner = d.s
		return b
	}
	keep := block(p.Keep)
	if keep != nil {
		d.blockKey(keep)
		if keep.file.locked != "" {
			return errors.New(keep.file.locked)
		}
	}
	return d.carryOut(p, keep, block(p.Next))
}

// carryOut does what a plan says, which is durable. Doing it again changes
// nothing.
func (d *disk) carryOut(p *truncation.Plan, keep, next *block) error {
	entries, err := d.fs.ReadDir(d.msgs)
	if err != nil {
		return err
	}
	var gone []uint32
	for _, e := range entries {
		if n := blockNumber(e.Name()); n > p.Keep {
			gone = append(gone, n)
		}
	}
	for _, n := range gone {
		if err := d.fs.Remove(d.blockPath(n)); err != nil {
			return err
		}
	}
	if err := d.fs.SyncDir(d.msgs); err != nil {
		return err
	}
	for _, n := range gone { // a key goes after its block
		d.fs.Remove(d.keyPath(n))
		d.fs.Remove(d.keyPath(n) + ".old")
	}
	if keep != nil {
		buf, err := d.readFile(keep, keep.file.key, -1)
		if err != nil {
			return err
		}
		content, compressed, _ := plain(buf)
		if at := d.cutAt(keep, content, p.Seq); at < len(content) || compressed && next == nil {
			if err := d.writeBlock(keep, content[:at], compressed && next != nil); err != nil {
				return err
			}
		}
	}
	if next != nil {
		if err := d.writeBlock(next, p.Records, false); err != nil {
			return err
		}
	}
	for _, name := range []string{ttlFile, schedFile, floorFile} {
		d.fs.Remove(path.Join(d.msgs, name))
	}
	if err := d.manifestOf(p.Index); err != nil {
		return err
	}
	if err := vfs.ReplaceFile(d.fs, path.Join(d.msgs, indexFile), p.Index, 0o600); err != nil {
		return err
	}
	// The sequences are about to be used again: what is left of this must not
	// happen to them.
	if err := d.fs.Remove(path.Join(d.msgs, truncationFile)); err != nil {
		return err
	}
	return d.fs.SyncDir(d.msgs)
}

// manifestOf writes the manifest that goes with the content of an index.db.
func (d *disk) manifestOf(index []byte) error {
	name := path.Join(d.msgs, manifestFile)
	plain, err := indexdb.Unseal(index, d.name, d.key)
	if err != nil {
		d.fs.Remove(name) // it is sealed with the key before: index.db will not do, either
		return nil
	}
	x, err := indexdb.Decode(plain)
	if err != nil {
		return err
	}
	return vfs.ReplaceFile(d.fs, name, manifest.Append(nil, x, d.name), 0o600)
}

// setTailAt makes a block of the stream the tail. The caller holds wmu and mu.
func (s *store) setTailAt(b *block) {
	b.file.sealed = false
	s.disk.host.dropSubjects(b)
	s.tail.b, s.tail.size, s.tail.skipped = b, b.size, uint64(b.deleted.Len())
	s.tail.sum = s.disk.tailSum
	k := record.NewKey(s.cfg.Name, b.num)
	s.tail.key = &k
}
