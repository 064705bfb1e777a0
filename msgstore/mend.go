package msgstore

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"

	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs"
)

// mend brings the files in the order that the state needs: torn ends are cut,
// damaged blocks rewritten from their intact records, after the original bytes
// went to the quarantine directory.
func (r *recovery) mend() error {
	s, d := r.s, r.d
	r.readNotes()
	for i := range r.missing {
		if err := r.noteMissing(&r.missing[i]); err != nil {
			return err
		}
	}
	// Other bytes at the same places under the same key stream would give both
	// away: an encrypted block of which a part goes takes no more records. The next
	// one is there before the cut makes this one look whole.
	for i := range r.damages {
		if b := r.damages[i].b; b.file.key != nil && b == s.blocks[len(s.blocks)-1] {
			if err := r.appendTail(); err != nil {
				return err
			}
			break
		}
	}
	for i := 0; i < len(r.damages); {
		b := r.damages[i].b
		n := i
		for n < len(r.damages) && r.damages[n].b == b {
			n++
		}
		if err := r.mendBlock(b, r.damages[i:n]); err != nil {
			return err
		}
		i = n
	}
	if len(s.blocks) == 0 {
		s.blocks = append(s.blocks, newBlock(r.nextNumber(), s.last))
		s.blocks[0].file.owner = s
		return r.newTail(s.blocks[0])
	}
	for i := 0; i < len(s.blocks)-1; {
		b := s.blocks[i]
		if b.msgs == 0 && b.file.locked == "" && d.emptied(b, i) {
			s.blocks = slices.Delete(s.blocks, i, i+1)
			continue
		}
		i++
	}
	if s.last.seq > 0 {
		s.findFirst()
	}
	tail := s.blocks[len(s.blocks)-1]
	if r.tailed {
		return nil
	}
	if tail.file.locked != "" || tail.file.compressed || tail.file.convert || tail.num < r.highest() {
		return r.appendTail()
	}
	s.setTailAt(tail)
	return nil
}

// appendTail begins a new last block.
func (r *recovery) appendTail() error {
	s := r.s
	n := r.highest()
	if len(s.blocks) > 0 {
		n = max(n, s.blocks[len(s.blocks)-1].num)
	}
	b := newBlock(n+1, s.last)
	b.file.owner = s
	s.blocks = append(s.blocks, b)
	r.tailed = true
	return r.newTail(b)
}

// mendBlock deals with the damages of one block.
func (r *recovery) mendBlock(b *block, found []foundDamage) error {
	s, d := r.s, r.d
	if b.file.locked != "" && slices.ContainsFunc(d.noted, func(n quarantineNote) bool {
		return n.Block == b.num && n.Reason == b.file.locked && n.Size == b.size
	}) {
		return nil // an earlier start has reported it
	}
	whole := true
	zeros := true
	for i := range found {
		x := &found[i]
		whole = whole && x.Torn
		zeros = zeros && x.Torn && x.Reason == "zero bytes"
	}
	copied := ""
	if !zeros {
		var err error
		if copied, err = d.quarantine(b); err != nil {
			return err
		}
	}
	for i := range found {
		x := &found[i]
		note := quarantineNote{Block: b.num, Offset: int64(x.Start), Size: int64(x.End - x.Start), Reason: x.Reason, Torn: x.Torn}
		if !x.Torn {
			note.LostBytes = uint64(note.Size)
			for _, seq := range s.lost.Msgs {
				if seq >= x.FirstSeq && seq <= x.LastSeq {
					note.Lost = append(note.Lost, seq)
				}
			}
		}
		if copied != "" {
			if err := d.writeNote(copied, i, &note); err != nil {
				return err
			}
		}
		if !zeros {
			d.host.event(Damaged{Account: d.account, Stream: s.cfg.Name, Block: b.num, Offset: note.Offset, Size: note.Size,
				First: x.FirstSeq, Last: x.LastSeq, Torn: x.Torn, Reason: x.Reason, Quarantine: copied})
		}
	}
	if b.file.locked != "" {
		return nil // it stays on disk as it is
	}
	if s.blockIndex(b) < 0 { // nothing in it lives: it is deleted soon
		if whole && !b.file.compressed {
			// Until then it may be that a later block gets records, and then this
			// one would not be the one that a power cut can have torn.
			return r.cutFile(b, found[0].Start)
		}
		return nil
	}
	c, err := s.content(b)
	if err != nil {
		return err
	}
	mended := &cache{buf: c.buf, compressed: c.compressed}
	for _, x := range found {
		if x.End > x.Start {
			mended.bad = append(mended.bad, badRange{off: int64(x.Start), size: int64(x.End - x.Start)})
		}
	}
	b.file.reported = false
	r.unwritten = true
	if whole && !c.compressed {
		return r.cut(b, mended, found[0].Start)
	}
	return d.rewrite(b, mended, nil)
}

// cut removes the torn end of a block.
func (r *recovery) cut(b *block, c *cache, size int) error {
	if err := r.cutFile(b, size); err != nil {
		return err
	}
	left := &cache{buf: bytes.Clone(c.buf[:size])}
	if err := left.each(func(off int, rec *record.Record) { left.note(rec, int64(off)) }); err != nil {
		return err
	}
	b.cache.Store(left)
	r.d.hold(b, left)
	return nil
}

// cutFile cuts a block's file, durably.
func (r *recovery) cutFile(b *block, size int) error {
	d := r.d
	if err := d.forget(b.num); err != nil {
		return err
	}
	f, err := d.fs.OpenFile(d.blockPath(b.num), os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err = f.Truncate(int64(size)); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	b.size, b.file.stored = int64(size), int64(size)
	return nil
}

const quarantineDir = "quarantine"

// quarantine copies a block file and its key. It returns the name of the copy.
func (d *disk) quarantine(b *block) (string, error) {
	dir := path.Join(d.dir, quarantineDir)
	if err := vfs.MkdirAllSynced(d.fs, dir, 0o700); err != nil {
		return "", err
	}
	name := path.Join(dir, blockName(b.num)+"."+strconv.FormatInt(d.s.now().Unix(), 10))
	for n := 0; ; n++ { // names are never used again
		if _, err := d.fs.Stat(name); errors.Is(err, fs.ErrNotExist) {
			break
		}
		name = path.Join(dir, blockName(b.num)+"."+strconv.FormatInt(d.s.now().Unix(), 10)+"-"+strconv.Itoa(n+1))
	}
	raw, err := vfs.ReadFile(d.fs, d.blockPath(b.num), maxBlockFile)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return "", err
	}
	if err := vfs.WriteSynced(d.fs, name, raw, 0o600); err != nil {
		return "", err
	}
	if key, err := vfs.ReadFile(d.fs, d.keyPath(b.num), maxKeyFile); err == nil {
		if err := vfs.WriteSynced(d.fs, name+".key", key, 0o600); err != nil {
			return "", err
		}
	}
	return name, d.fs.SyncDir(dir)
}
