package msgstore

import (
	"fmt"
	"slices"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seqset"
	"github.com/natsd/natsd/msgstore/vfs"
)

// liveSet is what is live in a block at one moment.
type liveSet struct {
	first, last uint64
	deleted     *seqset.Set
}

func (l *liveSet) has(seq uint64) bool {
	return seq >= l.first && seq <= l.last && !l.deleted.Contains(seq)
}

// rewrite replaces the file of b by one that holds the intact records of c: all
// of them, or with live the messages in it and the tombstones that are still
// needed. Nothing is in flight for the file. An encrypted block gets a new key.
// The caller holds store.mu, or is the only one who knows the store.
func (d *disk) rewrite(b *block, c *cache, live *liveSet) error {
	s := d.s
	fresh := &cache{buf: make([]byte, 0, len(c.buf))}
	i := s.blockIndex(b)
	err := c.each(func(off int, r *record.Record) {
		if live == nil || s.keeps(live, i, r) {
			fresh.append(r, c.buf[off:off+r.Size])
		}
	})
	if err != nil {
		return fmt.Errorf("%s: %w", d.blockPath(b.num), err)
	}
	return d.write(b, fresh)
}

// keeps says whether a compaction of s.blocks[i] keeps a record.
func (s *store) keeps(live *liveSet, i int, r *record.Record) bool {
	switch r.Kind {
	case record.Message:
		return live.has(r.Seq)
	case record.Tombstone:
		return s.blockOf(r.Seq) < i || r.Seq >= s.last.seq
	case record.Skip, record.Erased:
		return r.Seq >= s.last.seq // nothing else may carry the last sequence
	}
	return false
}

// write makes the content of fresh the file of b.
func (d *disk) write(b *block, fresh *cache) error {
	s := d.s
	tail := s.blockIndex(b) == len(s.blocks)-1
	if err := d.writeBlock(b, fresh.buf, s.cfg.Compression == S2Compression && !tail); err != nil {
		return err
	}
	fresh.compressed = b.file.compressed
	if n := len(fresh.buf); tail {
		d.tailSum = [record.SumSize]byte{}
		if n >= record.SumSize {
			d.tailSum = [record.SumSize]byte(fresh.buf[n-record.SumSize:])
		}
	}
	b.recent.Store(nil)
	b.cache.Store(fresh)
	d.hold(b, fresh)
	return nil
}

// writeBlock replaces the file of b, atomically and durably, by one with that
// content, under a new key if the store is encrypted.
func (d *disk) writeBlock(b *block, content []byte, compress bool) error {
	stored := content
	compressed := compress && len(content) >= minCompress
	if compressed {
		stored = blockcomp.Encode(nil, content)
	}
	var keyFile []byte
	key := b.file.key
	if d.ring.Enabled() {
		var err error
		if key, keyFile, err = d.ring.New(d.blockObject(b)); err != nil {
			return err
		}
		if !compressed {
			stored = slices.Clone(stored)
		}
		key.Stream().XORAt(stored, stored, 0)
	}
	name := d.blockPath(b.num)
	if err := vfs.WriteSynced(d.fs, name+".tmp", stored, 0o600); err != nil {
		return err
	}
	if keyFile != nil {
		if err := d.swapKey(b, keyFile); err != nil {
			return err
		}
	}
	if err := d.fs.Rename(name+".tmp", name); err != nil {
		return err
	}
	if err := d.fs.SyncDir(d.msgs); err != nil {
		return err
	}
	if keyFile != nil {
		d.fs.Remove(d.keyPath(b.num) + ".old")
	}
	b.file.key = key
	b.file.convert = false
	b.file.gen++
	b.file.compressed = compressed
	b.file.stored = int64(len(stored))
	b.size = int64(len(content))
	return nil
}

// minCompress is the smallest block that is compressed: a compressed block keeps
// its last 8 bytes as they are.
const minCompress = 64

// swapKey puts a new key file in place and keeps the old one beside it, until
// the block that it opens has been replaced.
func (d *disk) swapKey(b *block, keyFile []byte) error {
	name := d.keyPath(b.num)
	if b.file.key != nil {
		old, err := vfs.ReadFile(d.fs, name, maxKeyFile)
		if err == nil {
			if err := vfs.ReplaceFile(d.fs, name+".old", old, 0o600); err != nil {
				return err
			}
		}
	}
	return vfs.ReplaceFile(d.fs, name, keyFile, 0o600)
}
