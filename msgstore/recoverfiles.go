package msgstore

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/oldindex"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs"
)

// finishPurge completes or undoes a purge of the reference server that was
// interrupted (file store format, 2.1).
func (d *disk) finishPurge() error {
	newDir, oldDir := path.Join(d.dir, "__new_msgs__"), path.Join(d.dir, "__msgs__")
	entries, err := d.fs.ReadDir(newDir)
	if err == nil {
		committed := false
		for _, e := range entries {
			committed = committed || strings.HasSuffix(e.Name(), ".blk")
		}
		if !committed {
			for _, e := range entries {
				if n, ok := strings.CutSuffix(e.Name(), ".key"); ok {
					if err := d.fs.Remove(path.Join(d.msgs, n+".blk")); err != nil && !errors.Is(err, fs.ErrNotExist) {
						return err
					}
				}
			}
			if err := d.fs.RemoveAll(newDir); err != nil {
				return err
			}
			return d.syncDirs()
		}
		if err := d.fs.RemoveAll(d.msgs); err != nil {
			return err
		}
		if err := d.fs.Rename(newDir, d.msgs); err != nil {
			return err
		}
		if err := d.syncDirs(); err != nil {
			return err
		}
	}
	if _, err := d.fs.Stat(oldDir); err == nil {
		if err := d.fs.RemoveAll(oldDir); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) syncDirs() error {
	if err := d.fs.SyncDir(d.msgs); err != nil {
		return err
	}
	return d.fs.SyncDir(d.dir)
}

// list reads the directory, and removes what interrupted rewrites left.
func (r *recovery) list() error {
	entries, err := r.d.fs.ReadDir(r.d.msgs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasSuffix(name, ".blk.tmp"), strings.HasSuffix(name, ".new"), strings.HasSuffix(name, ".tmp"):
			r.d.fs.Remove(path.Join(r.d.msgs, name))
			continue
		}
		n := blockNumber(name)
		if ext := path.Ext(name); ext == ".idx" || ext == ".fss" {
			r.obsolete = append(r.obsolete, path.Join(r.d.msgs, name))
		}
		if n == 0 || e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		r.files = append(r.files, blockEntry{n, info.Size()})
	}
	// Keys whose blocks are gone, durably. The old key of a rewrite is not among
	// them.
	var orphans []string
	for _, e := range entries {
		if n, ok := strings.CutSuffix(e.Name(), ".key"); ok && !slices.ContainsFunc(entries, func(x fs.DirEntry) bool { return x.Name() == n+".blk" }) {
			orphans = append(orphans, path.Join(r.d.msgs, e.Name()))
		}
	}
	if len(orphans) > 0 {
		if err := r.d.fs.SyncDir(r.d.msgs); err != nil {
			return err
		}
	}
	for _, name := range orphans {
		r.d.fs.Remove(name)
	}
	slices.SortFunc(r.files, func(a, b blockEntry) int { return int(int64(a.num) - int64(b.num)) })
	return nil
}

// fresh begins a stream without messages.
func (r *recovery) fresh() error {
	s := r.s
	b := newBlock(1, seqTime{})
	b.file.owner = s
	r.d.readDue() // sources.db survives a purge
	out, file, keyFile, err := r.d.create(b)
	if err != nil {
		return err
	}
	if keyFile != nil {
		if err := vfs.ReplaceFile(r.d.fs, r.d.keyPath(b.num), keyFile, 0o600); err != nil {
			return err
		}
	}
	if err := r.d.syncDirs(); err != nil {
		return err
	}
	r.d.out, r.d.outFile = out, file
	s.setTail(b)
	s.blocks = []*block{b}
	return nil
}

// fileOf returns the entry of block num.
func (r *recovery) fileOf(num uint64) (blockEntry, bool) {
	i, ok := slices.BinarySearchFunc(r.files, num, func(e blockEntry, n uint64) int {
		return int(int64(e.num) - int64(n))
	})
	if !ok {
		return blockEntry{}, false
	}
	return r.files[i], true
}

// newBlock makes a block for a file, with its key.
func (r *recovery) newBlock(e blockEntry) *block {
	b := newBlock(e.num, r.s.last)
	b.file.owner = r.s
	b.size = e.size
	b.file.stored = e.size
	b.file.sealed = true
	r.d.blockKey(b)
	return b
}

// blockKey reads the key file of b. A block whose key cannot be had is locked.
func (d *disk) blockKey(b *block) {
	file, err := vfs.ReadFile(d.fs, d.keyPath(b.num), maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		// Plain, or its key file is lost. What parses is plain: a conversion may
		// have been interrupted.
		if d.ring.Enabled() && d.key != nil && !d.looksPlain(b) {
			b.file.locked = ErrKeysNotRecovered.Error()
		} else if d.ring.Enabled() {
			b.file.convert = true
		}
		return
	}
	if err != nil {
		b.file.locked = err.Error()
		return
	}
	if !d.ring.Enabled() {
		b.file.locked = ErrNoMainKey.Error()
		return
	}
	object := keys.OfBlock(d.account, d.name, uint64(b.num))
	key, opened, err := d.ring.Open(object, file)
	if err != nil {
		b.file.locked = err.Error()
		return
	}
	b.file.key = key
	b.file.convert = !opened.Current(d.ring)
	if d.looksPlain(b) {
		d.fs.Remove(d.keyPath(b.num) + ".old")
		return
	}
	// A rewrite with a new key may have been interrupted between its two renames:
	// then the block is the old one, and so is the key that opens it, or it is
	// still plain.
	if old, err := vfs.ReadFile(d.fs, d.keyPath(b.num)+".old", maxKeyFile); err == nil {
		if oldKey, opened, err := d.ring.Open(object, old); err == nil {
			if b.file.key = oldKey; d.looksPlain(b) {
				b.file.convert = !opened.Current(d.ring)
				vfs.ReplaceFile(d.fs, d.keyPath(b.num), old, 0o600)
				d.fs.Remove(d.keyPath(b.num) + ".old")
				return
			}
		}
	} else if b.file.key = nil; d.looksPlain(b) {
		b.file.convert = true
		d.fs.Remove(d.keyPath(b.num))
		return
	}
	b.file.key = key
}

// maxKeyFile is more than any key file has.
const maxKeyFile = 4096

// looksPlain says whether a block begins with a record, or is compressed, when it
// is read with the key that it has. It reads little: a record that does not fit
// is judged by its fixed part.
func (d *disk) looksPlain(b *block) bool {
	const little = 4096
	buf, err := d.readFile(b, b.file.key, little)
	if err != nil {
		return false
	}
	if len(buf) == 0 || blockcomp.Is(buf) {
		return true
	}
	key := record.NewKey(d.name, b.num)
	if _, err = record.Decode(buf, &key); err == nil {
		return true
	}
	if len(buf) < little {
		return false
	}
	size := int64(binary.LittleEndian.Uint32(buf) &^ (1 << 31))
	subject := int64(binary.LittleEndian.Uint16(buf[20:]))
	return size > little && size <= b.file.stored && size <= record.MaxSize && subject <= size-record.MinSize
}

func (r *recovery) highest() uint32 {
	var n uint32
	if len(r.files) > 0 {
		n = r.files[len(r.files)-1].num
	}
	return n
}

func (r *recovery) nextNumber() uint32 {
	n := r.highest()
	if r.index != nil && r.index.LastBlock < 1<<32-1 {
		n = max(n, uint32(r.index.LastBlock))
	}
	return n + 1
}

// newTail creates the file of a new last block.
func (r *recovery) newTail(b *block) error {
	d := r.d
	out, file, keyFile, err := d.create(b)
	if err != nil {
		return err
	}
	if keyFile != nil {
		if err := vfs.ReplaceFile(d.fs, d.keyPath(b.num), keyFile, 0o600); err != nil {
			return err
		}
	}
	if err := d.fs.SyncDir(d.msgs); err != nil {
		return err
	}
	d.out, d.outFile = out, file
	d.tailSum = [record.SumSize]byte{}
	r.s.setTail(b)
	return nil
}

// findEnd finds the last block that holds anything. Those behind it are empty, or
// have a length but no content yet.
func (r *recovery) findEnd() error {
	r.end = len(r.files) - 1
	for ; r.end > 0; r.end-- {
		blank, err := r.d.blank(r.files[r.end])
		if err != nil || !blank {
			return err
		}
	}
	return nil
}

// blank says whether a file holds nothing but zeros.
func (d *disk) blank(e blockEntry) (bool, error) {
	if e.size == 0 {
		return true, nil
	}
	f, err := d.fs.OpenFile(d.blockPath(e.num), os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	piece := make([]byte, min(e.size, 4096))
	for off := int64(0); off < e.size; {
		p := piece[:min(e.size-off, int64(len(piece)))]
		if _, err := f.ReadAt(p, off); err != nil {
			return false, err
		}
		for _, x := range p {
			if x != 0 {
				return false, nil
			}
		}
		off += int64(len(p))
	}
	return true, nil
}

// readOldIndex reads what a server before 2.10 has written of a block, whose
// content has this size and ends with this checksum; nil if it is not of this
// content.
func (d *disk) readOldIndex(b *block, size int, last [record.SumSize]byte) *oldindex.Index {
	file, err := vfs.ReadFile(d.fs, d.oldIndexPath(b.num), oldindex.MaxSize)
	if err != nil {
		return nil
	}
	return oldindex.Open(file, b.file.key, size, last)
}
