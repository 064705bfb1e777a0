package msgstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/buffers"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scan"
)

// maxBlockFile bounds what is read of a file that claims to be a block: a block
// of the largest size, one record of the largest size behind its end, or their
// compressed form.
const maxBlockFile = 64 << 20

// readFile reads the first size bytes of a block's file, or all of it if size is
// negative, and decrypts them with key, unless that is nil.
func (d *disk) readFile(b *block, key *keys.Key, size int64) ([]byte, error) {
	d.host.enter()
	defer d.host.leave()
	f, err := d.fs.OpenFile(d.blockPath(b.num), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	have, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size < 0 || size > have {
		size = have
	}
	if size > maxBlockFile {
		return nil, fmt.Errorf("%s: %d bytes are too many for a block", d.blockPath(b.num), size)
	}
	buf := buffers.Get(int(size))[:size]
	if size > 0 {
		if _, err := f.ReadAt(buf, 0); err != nil {
			return nil, err
		}
	}
	if key != nil {
		key.Stream().XORAt(buf, buf, 0)
	}
	return buf, nil
}

// plain undoes the compression of a block's content.
func plain(buf []byte) (content []byte, compressed bool, bad []blockcomp.Range) {
	if !blockcomp.Is(buf) {
		return buf, false, nil
	}
	content, bad, err := blockcomp.Decode(buf)
	if content == nil && err != nil {
		bad = []blockcomp.Range{{Start: 0, End: 0}}
	}
	return content, true, bad
}

// view is what a load needs to know of a block, taken at one moment.
type view struct {
	size     int64 // -1: the whole file
	gen      uint64
	key      *keys.Key // nil without encryption
	evidence scan.Evidence
	before   uint64
	after    uint64
}

// viewOf is called with store.mu held.
func (d *disk) viewOf(b *block) view {
	s := d.s
	v := view{size: -1, gen: b.file.gen, key: b.file.key}
	i := s.blockIndex(b)
	if !b.file.compressed && (!b.file.sealed || i == len(s.blocks)-1 && !d.truncating) {
		v.size = b.size // what is behind may be on its way, and not visible yet
	}
	if i > 0 {
		v.after = s.blocks[i-1].last.seq
	}
	if b.msgs > 0 {
		v.evidence = scan.Evidence{Known: true, FirstSeq: b.first.seq, LastSeq: b.last.seq, Deleted: b.deleted.Clone()}
	}
	return v
}

// complete says whether c, whose records are all whole, has the last message of
// the block: a file that lost its end between two records looks whole.
func (v *view) complete(c *cache) bool {
	e := &v.evidence
	if !e.Known {
		return true
	}
	last := e.LastSeq
	if e.Deleted != nil {
		last, _ = e.Deleted.PrevAbsent(last)
	}
	_, ok := c.at(last)
	return ok
}

// blockIndex returns the position of b in s.blocks, or -1.
func (s *store) blockIndex(b *block) int {
	for i := len(s.blocks) - 1; i >= 0; i-- {
		if s.blocks[i] == b {
			return i
		}
	}
	return -1
}

// parse makes the cache of a block out of its content.
func (d *disk) parse(b *block, buf []byte, v view) *cache {
	content, compressed, ranges := plain(buf)
	c := newCache()
	c.buf, c.compressed = content, compressed
	if len(ranges) == 0 {
		if _, whole := d.quick(record.NewKey(d.name, b.num), c, v.after); whole && v.complete(c) {
			return c
		}
	}
	c.ents, c.tomb = c.ents[:0], nil
	sb := scan.Block{
		Content:    content,
		Stream:     d.name,
		Number:     b.num,
		Before:     v.before,
		Unreadable: ranges,
		Evidence:   v.evidence,
	}
	if d.s.tracks {
		sb.ValidSubject = record.ValidSubject[[]byte]
	}
	res, _ := scan.Run(&sb, func(off int, r *record.Record) error {
		c.note(r, int64(off))
		return nil
	})
	for _, x := range res.Damage {
		c.bad = append(c.bad, badRange{
			off: int64(x.Start), size: int64(x.End - x.Start),
			first: x.FirstSeq, last: x.LastSeq, detail: x.Reason,
		})
	}
	return c
}

// quick fills in c if every record of its content is whole and they ascend from
// after. The scan, which is slower, is for the others. first is the lowest sequence
// that is not a tombstone's, 0 if there is none.
func (d *disk) quick(key record.Key, c *cache, after uint64) (first uint64, whole bool) {
	if c.ents == nil {
		c.ents = make([]ent, 0, len(c.buf)/128+8)
	}
	var known []byte // subject of the record before, which is valid
	for off := 0; off < len(c.buf); {
		size, seq, kind, subject := record.Next(c.buf[off:], &key)
		if size == 0 {
			return 0, false
		}
		switch kind {
		case record.Message:
			if seq <= after {
				return 0, false
			}
			if d.s.tracks && !bytes.Equal(subject, known) {
				if !record.ValidSubject(subject) {
					return 0, false
				}
				known = subject
			}
			if after = seq; first == 0 {
				first = seq
			}
			c.ents = append(c.ents, ent{seq: seq, off: uint32(off), size: uint32(size)})
		case record.Tombstone:
			c.tomb = append(c.tomb, seq)
		case record.Skip, record.Erased:
			if seq <= after {
				return 0, false
			}
			if after = seq; first == 0 {
				first = seq
			}
		}
		off += size
	}
	return first, true
}

// unreadable is the cache of a block whose content cannot be had.
func unreadable(detail string) *cache { return &cache{bad: []badRange{{off: -1, detail: detail}}} }

// fetchBlock reads and parses b. What is wrong with the content is in the
// result; an error is the disk's.
func (d *disk) fetchBlock(b *block, v view) (*cache, error) {
	if b.file.locked != "" {
		return unreadable(b.file.locked), nil
	}
	buf, err := d.readFile(b, v.key, v.size)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unreadable(ErrNoBlockData.Error()), nil
	case err != nil:
		return nil, err
	}
	return d.parse(b, buf, v), nil
}

// load brings the content of b into memory. The caller holds no lock.
func (d *disk) load(b *block) error {
	s := d.s
	b.file.loading.Lock()
	defer b.file.loading.Unlock()
	for {
		s.mu.RLock()
		if s.closed {
			s.mu.RUnlock()
			return ErrStoreClosed
		}
		if b.cache.Load() != nil {
			s.mu.RUnlock()
			return nil
		}
		v := d.viewOf(b)
		s.mu.RUnlock()
		d.letGo() // a scan goes on in the memory that it has left
		c, err := d.fetchBlock(b, v)
		s.mu.Lock()
		current := b.file.gen == v.gen && s.blockIndex(b) >= 0
		if current && err == nil && b.cache.Load() == nil {
			_, err = d.install(b, c, v)
		}
		loaded := b.cache.Load() != nil || s.blockIndex(b) < 0
		s.mu.Unlock()
		if current && err != nil {
			return err
		}
		if loaded {
			return nil
		}
	}
}

// loadLocked is load for those who hold store.mu for writing.
func (d *disk) loadLocked(b *block) (*cache, error) {
	v := d.viewOf(b)
	c, err := d.fetchBlock(b, v)
	if err != nil {
		return nil, err
	}
	return d.install(b, c, v) // the cache may be dropped meanwhile
}

// retire is called when c has left its block. Readers may still be at it.
func (d *disk) retire(c *cache) {
	d.retiring.Lock()
	defer d.retiring.Unlock()
	if len(d.retired) < maxRetired {
		d.retired = append(d.retired, c)
	}
}

// maxRetired bounds the contents of a store that wait for reuse: a scan needs the
// one that it has left, and the next.
const maxRetired = 2

// reclaim gives the memory of retired contents to who loads next. The caller
// holds store.mu for writing, so no reader is at them any longer.
func (d *disk) reclaim() {
	d.retiring.Lock()
	defer d.retiring.Unlock()
	for i, c := range d.retired {
		c.free()
		d.retired[i] = nil
	}
	d.retired = d.retired[:0]
}

// install makes c, or what the block has become since, the cache of b. The caller
// holds store.mu for writing.
func (d *disk) install(b *block, c *cache, v view) (*cache, error) {
	if v.size >= 0 && b.size > v.size {
		// The tail has grown meanwhile.
		v = d.viewOf(b)
		var err error
		if c, err = d.fetchBlock(b, v); err != nil {
			return nil, err
		}
	}
	if v.size < 0 && len(c.bad) == 0 {
		b.size = int64(len(c.buf))
	}
	if n, ok := c.at(b.first.seq); ok {
		b.first.ts = c.time(&c.ents[n])
		if b.first.seq == d.s.first.seq {
			d.s.first.ts = b.first.ts
		}
	}
	b.file.compressed = c.compressed
	b.date(c)
	d.remember(b, c)
	b.cache.Store(c)
	d.reclaim()
	b.recent.Store(nil)
	b.inside.Store(0)
	d.hold(b, c)
	if len(c.bad) > 0 && !b.file.reported {
		b.file.reported = true
		d.damaged(b, c)
	}
	return c, nil
}
