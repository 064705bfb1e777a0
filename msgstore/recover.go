package msgstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scan"
	"github.com/natsd/natsd/msgstore/vfs"
)

// recovery is the state of a store that is being opened. It is used by one
// goroutine, before anybody else knows the store.
type recovery struct {
	d     *disk
	s     *store
	files []blockEntry // ascending by number
	index *indexdb.Index
	// dead holds the sequences of tombstones without a live message.
	dead    map[uint64]struct{}
	damages []foundDamage
	missing []indexdb.Block // blocks of the index without a file
	mark    *floorMark      // nil without a valid floor.db
	scanned int64
	adopted bool
	stamp   uint64 // messages below were taken from index.db
}

// blockEntry is a block file in the directory.
type blockEntry struct {
	num  uint32
	size int64
}

// foundDamage is a damage with the block that has it.
type foundDamage struct {
	b *block
	scan.Damage
}

// recover reads the state of the stream from the disk. Index.db, if it is valid
// in itself, is a checkpoint: what was written behind it is replayed. Without it
// everything is replayed, in the order in which it was written, so that limits
// remove exactly what they removed then.
func (d *disk) recover() error {
	r := &recovery{d: d, s: d.s, dead: make(map[uint64]struct{})}
	if err := d.finishPurge(); err != nil {
		return err
	}
	if err := r.list(); err != nil {
		return err
	}
	if err := r.readFloor(); err != nil {
		return err
	}
	if len(r.files) == 0 {
		if x, _ := d.readIndex(); x == nil || x.LastSeq == 0 {
			return r.fresh()
		}
	}
	var why string
	if r.index, why = d.readIndex(); why != "" {
		d.host.event(IndexIgnored{Account: d.account, Stream: d.s.cfg.Name, Reason: why})
	}
	from, offset, ok := r.checkpoint()
	ttl, sched, source := d.readDue()
	if ok {
		r.adopt()
	} else {
		r.s.due.clear()
	}
	if err := r.replay(from, offset); err != nil {
		return err
	}
	if ok {
		r.scanHeaders(ttl, sched, source)
	}
	r.floor()
	r.account()
	if err := r.mend(); err != nil {
		return err
	}
	if x := r.index; x != nil && x.LastSeq > r.s.last.seq {
		d.known = seqTime{x.LastSeq, x.LastTime}
	}
	r.s.end = r.s.last
	if !ok || r.scanned > 0 || len(d.garbage) > 0 {
		d.changes++ // the state on disk is not that of index.db
	}
	d.host.event(Recovered{
		Account: d.account, Stream: d.s.cfg.Name, FromIndex: ok,
		Scanned: r.scanned, Messages: r.s.msgs,
	})
	return nil
}

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
		digits, ok := strings.CutSuffix(name, ".blk")
		if !ok || e.IsDir() {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != digits {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		r.files = append(r.files, blockEntry{uint32(n), info.Size()})
	}
	for _, e := range entries {
		// Keys whose blocks are gone. The old key of a rewrite is not among them.
		if n, ok := strings.CutSuffix(e.Name(), ".key"); ok && !slices.ContainsFunc(entries, func(x fs.DirEntry) bool { return x.Name() == n+".blk" }) {
			r.d.fs.Remove(path.Join(r.d.msgs, e.Name()))
		}
	}
	slices.SortFunc(r.files, func(a, b blockEntry) int { return int(int64(a.num) - int64(b.num)) })
	return nil
}

// fresh begins a stream without messages.
func (r *recovery) fresh() error {
	s := r.s
	b := newBlock(1, seqTime{})
	b.file.owner = s
	_, _, source := r.d.readDue()
	_ = source
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

// checkpoint says where the replay begins: in the file with that position, at
// that offset. ok is false if index.db cannot be used.
func (r *recovery) checkpoint() (file int, offset int64, ok bool) {
	x := r.index
	if x == nil {
		return 0, 0, false
	}
	ignored := func(reason string) (int, int64, bool) {
		r.d.host.event(IndexIgnored{Account: r.d.account, Stream: r.s.cfg.Name, Reason: reason})
		return 0, 0, false
	}
	if n := len(x.Blocks); n == 0 || x.Blocks[n-1].Number != x.LastBlock {
		return ignored("does not list its last block")
	}
	gone := false
	for i := range x.Blocks {
		b := &x.Blocks[i]
		if _, ok := r.fileOf(b.Number); !ok && b.Msgs() > 0 {
			if r.mark.has(uint32(b.Number), b.LastSeq) {
				gone = true
			} else {
				r.missing = append(r.missing, *b)
			}
		}
	}
	if gone && len(r.missing) == 0 {
		return ignored("is older than the deletion of blocks")
	}
	if len(r.missing) > 0 {
		return ignored(fmt.Sprintf("detected prior state, could not locate msg block %d", r.missing[0].Number))
	}
	e, found := r.fileOf(x.LastBlock)
	if !found {
		return ignored(fmt.Sprintf("detected prior state, could not locate msg block %d", x.LastBlock))
	}
	at, _ := slices.BinarySearchFunc(r.files, e.num, func(f blockEntry, n uint32) int { return int(int64(f.num) - int64(n)) })
	if x.LastChecksum == [8]byte{} {
		return at, 0, true // it was empty: all of it is new
	}
	b := r.newBlock(e)
	if sum, err := r.d.lastSum(b, e.size); err == nil && sum == x.LastChecksum {
		return at, e.size, true
	}
	// Written to since. The place is where a record has the checksum.
	content, _, _ := plain(r.d.contentOf(b))
	for off := 0; off < len(content); {
		rec, err := record.Parse(content[off:])
		if err != nil {
			break
		}
		off += rec.Size
		if [8]byte(content[off-8:off]) == x.LastChecksum {
			return at, int64(off), true
		}
	}
	return ignored("outdated, last block does not hold what it describes")
}

// lastSum returns the last 8 bytes of a block's file, decrypted.
func (d *disk) lastSum(b *block, size int64) (sum [8]byte, err error) {
	if size < 8 {
		return sum, errors.New("short file")
	}
	f, err := d.fs.OpenFile(d.blockPath(b.num), os.O_RDONLY, 0)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	if _, err := f.ReadAt(sum[:], size-8); err != nil {
		return sum, err
	}
	if b.file.key != nil {
		b.file.key.Stream().XORAt(sum[:], sum[:], size-8)
	}
	return sum, nil
}

// contentOf returns the bytes of a block file, decrypted; nil if it cannot be
// read.
func (d *disk) contentOf(b *block) []byte {
	if b.file.locked != "" {
		return nil
	}
	buf, err := d.readFile(b, -1)
	if err != nil {
		return nil
	}
	return buf
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
	object := keys.OfBlock(d.account, d.s.cfg.Name, uint64(b.num))
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
	buf, err := d.readFile(b, little)
	if err != nil {
		return false
	}
	if len(buf) == 0 || blockcomp.Is(buf) {
		return true
	}
	key := record.NewKey(d.s.cfg.Name, b.num)
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

// adopt takes over the state of index.db.
func (r *recovery) adopt() {
	s, x := r.s, r.index
	r.adopted = true
	r.stamp = x.LastSeq + 1
	s.msgs, s.bytes = x.Msgs, x.Bytes
	s.first = seqTime{x.FirstSeq, x.FirstTime}
	s.last = seqTime{x.LastSeq, x.LastTime}
	r.d.tailSum = x.LastChecksum
	var first = make(map[uint64]*block)
	var prev seqTime
	listed := make(map[uint32]struct{}, len(x.Blocks))
	for i := range x.Blocks {
		e := &x.Blocks[i]
		f, ok := r.fileOf(e.Number)
		if !ok || e.Msgs() == 0 && e.Number != x.LastBlock {
			continue
		}
		listed[f.num] = struct{}{}
		b := r.newBlock(f)
		b.msgs, b.bytes = e.Msgs(), e.Bytes
		b.first = seqTime{e.FirstSeq, e.FirstTime}
		b.last = seqTime{e.LastSeq, e.LastTime}
		b.ttls, b.schedules = e.TTLs, e.Schedules
		if e.Deleted != nil {
			b.deleted = *e.Deleted
		}
		if b.msgs == 0 { // it may be written with the numbers of a tombstone
			b.last.seq = max(b.last.seq, prev.seq, b.first.seq-1)
			b.first = seqTime{seq: b.last.seq + 1}
			b.deleted = newSet()
		}
		prev = b.last
		s.blocks = append(s.blocks, b)
		first[e.Number] = b
	}
	if s.index != nil {
		for e := range x.Subjects() {
			lo, hi := x.FirstSeq, x.LastSeq
			if b := first[e.FirstBlock]; b != nil {
				lo = max(b.first.seq, 1)
			}
			if b := first[e.LastBlock]; b != nil {
				hi = b.last.seq
			}
			s.index.tree.Insert(e.Name, subjectInfo{total: e.Total, first: lo | inexact, last: hi | inexact})
		}
	}
	// Files of blocks that had left the stream before index.db was written.
	for _, f := range r.files {
		if _, ok := listed[f.num]; !ok && uint64(f.num) < x.LastBlock {
			r.leftover(r.newBlock(f))
		}
	}
}

// leftover deals with a file that index.db does not list: a block without live
// messages. It joins the stream until it is clear whether its tombstones are
// needed (mend).
func (r *recovery) leftover(b *block) {
	i, _ := slices.BinarySearchFunc(r.s.blocks, b.num, func(x *block, n uint32) int { return int(int64(x.num) - int64(n)) })
	if i > 0 {
		b.last = r.s.blocks[i-1].last
	} else {
		b.last = seqTime{}
	}
	b.first = seqTime{seq: b.last.seq + 1}
	r.s.blocks = slices.Insert(r.s.blocks, i, b)
}

// replay reads the blocks from a position on and applies their records.
func (r *recovery) replay(from int, offset int64) error {
	for i := from; i < len(r.files); i++ {
		e := r.files[i]
		var b *block
		if n := len(r.s.blocks); n > 0 && r.s.blocks[n-1].num == e.num {
			b = r.s.blocks[n-1]
			if offset >= e.size && e.size > 0 {
				offset = 0
				continue // nothing new in it
			}
		} else {
			b = r.newBlock(e)
			r.s.blocks = append(r.s.blocks, b)
			offset = 0
		}
		if err := r.replayBlock(b, offset, i); err != nil {
			return err
		}
		offset = 0
	}
	return nil
}

func (r *recovery) replayBlock(b *block, offset int64, i int) error {
	s, d := r.s, r.d
	last := i == len(r.files)-1
	if b.file.locked != "" {
		r.lockedBlock(b)
		return nil
	}
	buf, err := d.readFile(b, -1)
	if err != nil {
		return err
	}
	r.scanned += int64(len(buf))
	after := uint64(0)
	if n := s.blockIndex(b); n > 0 {
		after = s.blocks[n-1].last.seq
	}
	sb := scan.Block{
		Stream: s.cfg.Name, Number: b.num, Last: last, After: after,
		Evidence: scan.FromIndex(r.index, uint64(b.num), true),
	}
	if s.index != nil {
		sb.ValidSubject = validSubject
	}
	c := &cache{}
	var compressed bool
	if last {
		sb.ZeroTail = b.zeroTail(buf)
	}
	sb.Content, compressed, sb.Unreadable = plain(buf)
	c.buf, c.compressed = sb.Content, compressed
	b.file.compressed = compressed
	var res scan.Result
	if sb.Evidence.LastSum == nil && len(sb.Unreadable) == 0 && d.quick(b, c, after) {
		if n := len(c.buf); n > 0 {
			res.LastSum = [record.SumSize]byte(c.buf[n-record.SumSize:])
		}
	} else {
		c.ents, c.tomb = c.ents[:0], nil
		res, _ = scan.Run(&sb, func(off int, x *record.Record) error {
			switch x.Kind {
			case record.Message:
				c.ents = append(c.ents, ent{seq: x.Seq, off: uint32(off), size: uint32(x.Size)})
			case record.Tombstone:
				c.tomb = append(c.tomb, x.Seq)
			}
			return nil
		})
	}
	if n := len(res.Damage); n > 0 && last && d.mode == External && !compressed {
		// The caller's log has everything from the first hole on and wants a
		// prefix: what an unsynced write left behind the hole goes with it.
		x := &res.Damage[0]
		if r.adopted && int64(x.Start) >= offset || r.index == nil || x.FirstSeq > r.index.LastSeq {
			res.Damage = res.Damage[:1]
			x.End, x.Torn, x.FirstSeq, x.LastSeq = len(c.buf), true, 0, 0
			for len(c.ents) > 0 && int(c.ents[len(c.ents)-1].off) >= x.Start {
				c.ents = c.ents[:len(c.ents)-1]
			}
			res.LastSum = [record.SumSize]byte{}
			if x.Start >= record.SumSize {
				res.LastSum = [record.SumSize]byte(c.buf[x.Start-record.SumSize:])
			}
		}
	}
	b.size = int64(len(c.buf))
	b.cache.Store(c)
	d.hold(b, c)
	bad := make(map[int]int)
	for _, x := range res.Damage {
		r.damages = append(r.damages, foundDamage{b, x})
		if x.End > x.Start {
			bad[x.Start] = x.End
			c.bad = append(c.bad, badRange{int64(x.Start), int64(x.End - x.Start), x.FirstSeq, x.LastSeq, x.Reason})
		}
	}
	for off := 0; off < len(c.buf); {
		if end, ok := bad[off]; ok {
			off = end
			continue
		}
		rec, err := record.Parse(c.buf[off:])
		if err != nil {
			return fmt.Errorf("%s: record at %d: %w", d.blockPath(b.num), off, err)
		}
		if int64(off) >= offset {
			r.apply(b, &rec)
		}
		off += rec.Size
	}
	if last {
		d.tailSum = res.LastSum
	}
	return nil
}

// apply is what a record does in a replay.
func (r *recovery) apply(b *block, rec *record.Record) {
	s := r.s
	if rec.Kind == record.Dead {
		return
	}
	if rec.Kind != record.Tombstone {
		if rec.Seq <= s.last.seq {
			return
		}
		s.applyKind(nil, b, rec)
		// Index.db, where it cannot be taken over, still proves removals whose
		// tombstones are gone.
		if x := r.index; rec.Kind == record.Message && !r.adopted && x != nil && rec.Seq <= x.LastSeq && !indexHas(x, rec.Seq) {
			if b, i := s.blockFor(rec.Seq); b != nil {
				s.drop(nil, b, i, rec.Seq, true)
			}
		}
		return
	}
	if rec.Seq > s.last.seq {
		// It carries the last sequence.
		ts := rec.Time
		if ts == noTime {
			ts = 0
		}
		if b.msgs > 0 {
			b.deleted.InsertRange(b.last.seq+1, rec.Seq)
		}
		b.last = seqTime{rec.Seq, ts}
		if b.msgs == 0 {
			b.first = seqTime{seq: rec.Seq + 1}
		}
		s.last = b.last
		if s.msgs == 0 {
			s.first = seqTime{seq: rec.Seq + 1}
		}
		r.dead[rec.Seq] = struct{}{}
		return
	}
	if x, i := s.blockFor(rec.Seq); x != nil {
		s.drop(nil, x, i, rec.Seq, true)
	}
	if rec.Seq == s.last.seq && rec.Time != noTime && rec.Time != 0 {
		s.last.ts = rec.Time // which the message's own record may not tell
	}
	r.dead[rec.Seq] = struct{}{}
}

// noTime is what the reference writes for "no time" in tombstones.
const noTime = -6795364578871345152

// lockedBlock notes a block whose content cannot be read at all.
func (r *recovery) lockedBlock(b *block) {
	r.damages = append(r.damages, foundDamage{b, scan.Damage{Reason: b.file.locked, Start: 0, End: int(b.size)}})
	b.cache.Store(unreadable(b.file.locked))
}

// scanHeaders registers the TTLs, schedules and source positions of messages
// that the state files do not cover.
func (r *recovery) scanHeaders(ttl, sched, source uint64) {
	s := r.s
	from := r.stamp
	need := func(stamp uint64, on bool) {
		if on {
			from = min(from, max(stamp, 1))
		}
	}
	need(ttl, s.due.ttl != nil)
	need(sched, s.due.sched != nil)
	need(source, len(s.cfg.Sources) > 0)
	if s.due.ttl != nil {
		// Messages that never expire are not in thw.db.
		from = 1
	}
	for _, b := range s.blocks {
		if b.msgs == 0 || b.last.seq < from || b.first.seq >= r.stamp {
			continue
		}
		if b.ttls == 0 && (b.schedules == 0 || s.due.sched == nil || sched > b.last.seq) && (len(s.cfg.Sources) == 0 || source > b.last.seq) {
			continue
		}
		c, err := s.content(b)
		if err != nil {
			continue
		}
		for i := range c.ents {
			e := &c.ents[i]
			if e.seq < from || e.seq >= r.stamp || !b.live(e.seq) || !c.hasHeader(e) {
				continue
			}
			s.retrack(b, c, e, ttl, sched, source)
		}
	}
}

// readFloor reads floor.db. It counts only if the record that it names is there.
func (r *recovery) readFloor() error {
	d, s := r.d, r.s
	name := path.Join(d.msgs, floorFile)
	raw := d.readState(name)
	if raw == nil {
		return nil
	}
	f, err := decodeFloor(s.cfg.Name, raw)
	if err != nil {
		var v *VersionError
		if errors.As(err, &v) {
			return err
		}
		d.host.event(StateFailed{Account: d.account, Stream: s.cfg.Name, File: name, Err: err})
		return nil
	}
	e, ok := r.fileOf(uint64(f.block))
	if !ok {
		return nil
	}
	var sum [8]byte
	b := r.newBlock(e)
	if f.off == e.size && f.off >= 8 {
		sum, _ = d.lastSum(b, e.size)
	}
	if sum != f.sum || f.off != e.size {
		content, _, _ := plain(d.contentOf(b))
		if f.off < 0 || f.off > int64(len(content)) {
			return nil
		}
		if sum = [8]byte{}; f.off >= 8 {
			sum = [8]byte(content[f.off-8:])
		}
	}
	if sum != f.sum {
		return nil
	}
	r.mark = f
	files := r.files[:0]
	for _, e := range r.files {
		if slices.Contains(f.gone, e.num) {
			d.fs.Remove(d.blockPath(e.num)) // its deletion was not durable
			d.fs.Remove(d.keyPath(e.num))
			continue
		}
		files = append(files, e)
	}
	r.files = files
	d.gone = f.gone
	d.floored = f.seq
	return nil
}

// floor removes what floor.db says is gone.
func (r *recovery) floor() {
	s := r.s
	if f := r.mark; f != nil && f.seq > s.first.seq && f.seq <= s.last.seq+1 {
		s.compactTo(newOp(), f.seq)
	}
}
