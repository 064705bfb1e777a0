package msgstore

import (
	"fmt"
	"slices"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/keys"
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
	fresh, err := d.distill(b, c, live)
	if err != nil {
		return err
	}
	return d.write(b, fresh)
}

// distill returns what rewrite keeps of c. The caller holds store.mu for reading, at
// least.
func (d *disk) distill(b *block, c *cache, live *liveSet) (*cache, error) {
	s := d.s
	fresh := &cache{buf: make([]byte, 0, len(c.buf))}
	i := s.blockIndex(b)
	err := c.each(func(off int, r *record.Record) {
		if live == nil || s.keeps(live, i, r) {
			fresh.append(r, c.buf[off:off+r.Size])
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.blockPath(b.num), err)
	}
	return fresh, nil
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
	x, err := d.stage(b, content, compress)
	if err == nil {
		err = d.swap(b, x)
	}
	if err == nil {
		err = d.settleSwap(b, x)
	}
	return err
}

// staged is a new file for a block, which is durable under a temporary name.
type staged struct {
	size, stored int64 // of the content, and of the file
	compressed   bool
	key          *keys.Key
	keyFile      []byte // nil without encryption
}

// stage writes the new file of b. It needs no lock of the store.
func (d *disk) stage(b *block, content []byte, compress bool) (*staged, error) {
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
			return nil, err
		}
		if !compressed {
			stored = slices.Clone(stored)
		}
		key.Stream().XORAt(stored, stored, 0)
	}
	if err := vfs.WriteSynced(d.fs, d.blockPath(b.num)+".tmp", stored, 0o600); err != nil {
		return nil, err
	}
	return &staged{int64(len(content)), int64(len(stored)), compressed, key, keyFile}, nil
}

// swap puts a staged file in the place of b's. The caller holds store.mu, or is the
// only one who knows the store.
func (d *disk) swap(b *block, x *staged) error {
	name := d.blockPath(b.num)
	if x.keyFile != nil {
		if err := d.swapKey(b, x.keyFile); err != nil {
			return err
		}
	}
	if err := d.fs.Rename(name+".tmp", name); err != nil {
		return err
	}
	b.file.key = x.key
	b.file.convert = false
	b.file.gen++
	d.last.Store(nil) // nothing of what was erased stays
	b.file.compressed = x.compressed
	b.file.stored = x.stored
	b.size = x.size
	return nil
}

// settleSwap makes a swap durable. It needs no lock of the store.
func (d *disk) settleSwap(b *block, x *staged) error {
	if err := d.fs.SyncDir(d.msgs); err != nil {
		return err
	}
	if x.keyFile != nil {
		d.fs.Remove(d.keyPath(b.num) + ".old")
	}
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
		// Not what the file holds: that may be the key of a rewrite that has failed.
		old, err := d.ring.Wrap(b.file.key, d.blockObject(b))
		if err != nil {
			return err
		}
		if err := vfs.ReplaceFile(d.fs, name+".old", old, 0o600); err != nil {
			return err
		}
	}
	return vfs.ReplaceFile(d.fs, name, keyFile, 0o600)
}
