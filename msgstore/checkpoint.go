package msgstore

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/natsd/natsd/msgstore/internal/record"
)

// readIndex reads index.db, or else the manifest, and finds the place that it
// describes. It says whether it was index.db.
func (r *recovery) readIndex() (whole bool) {
	d := r.d
	ignored := func(reason string) {
		d.host.event(IndexIgnored{Account: d.account, Stream: r.s.cfg.Name, Reason: reason})
	}
	x, why := d.readIndex()
	manifest := d.readManifest()
	if whole = x != nil; !whole {
		if why != "" {
			ignored(why)
		}
		if x = manifest; x == nil {
			return false
		}
	} else if manifest != nil {
		x.Date(manifest)
	}
	r.index = x
	if n := len(x.Blocks); n == 0 || x.Blocks[n-1].Number != x.LastBlock {
		ignored("does not list its last block")
		return whole
	}
	gone := false
	for i := range x.Blocks {
		b := &x.Blocks[i]
		if _, ok := r.fileOf(b.Number); !ok && b.Msgs() > 0 {
			if r.told.has(uint32(b.Number), b.LastSeq) {
				gone = true
				if !slices.Contains(d.gone, uint32(b.Number)) {
					d.gone = append(d.gone, uint32(b.Number)) // the next floor.db tells it, too
				}
			} else {
				r.missing = append(r.missing, *b)
			}
		}
	}
	if r.locate(); !r.place.ok && !whole && r.writtenSince() {
		// A stale manifest tells nothing, also when the block is gone by which one
		// knows that it is stale.
		r.index, r.missing = nil, nil
		d.fs.Remove(path.Join(d.msgs, manifestFile)) // durably with what is recovered
	} else if !r.place.ok {
		if _, ok := r.fileOf(x.LastBlock); ok {
			ignored("outdated, last block does not hold what it describes")
		} else {
			ignored(fmt.Sprintf("detected prior state, could not locate msg block %d", x.LastBlock))
		}
	} else if len(r.missing) > 0 {
		ignored(fmt.Sprintf("detected prior state, could not locate msg block %d", r.missing[0].Number))
	} else if gone && whole {
		ignored("is older than the deletion of blocks")
	}
	return whole && !gone
}

// writtenSince says whether another server has rewritten the last block of the
// manifest and written more: the block is whole, and it or a later one holds what
// came after the manifest. A block that is whole but holds less has lost its end.
func (r *recovery) writtenSince() bool {
	x := r.index
	e, ok := r.fileOf(x.LastBlock)
	if !ok || e.size == 0 {
		return false
	}
	b := r.newBlock(e)
	if b.file.locked != "" {
		return false
	}
	content, _, bad := plain(r.d.contentOf(b))
	c := &cache{buf: content}
	if len(bad) > 0 {
		return false
	}
	if _, whole := r.d.quick(record.NewKey(r.s.cfg.Name, b.num), c, 0); !whole {
		return false
	}
	if uint64(r.files[r.end].num) > x.LastBlock {
		return true
	}
	n := len(c.ents)
	return n > 0 && (c.ents[n-1].seq > x.LastSeq || c.time(&c.ents[n-1]) > x.LastTime)
}

// locate finds the place that the index describes: behind the record with its
// checksum.
func (r *recovery) locate() {
	x := r.index
	e, found := r.fileOf(x.LastBlock)
	if !found {
		return
	}
	r.place.file, _ = slices.BinarySearchFunc(r.files, e.num, func(f blockEntry, n uint32) int { return int(int64(f.num) - int64(n)) })
	if x.LastChecksum == [8]byte{} {
		r.place.ok = true // it was empty: all of it is new
		return
	}
	b := r.newBlock(e)
	if sum, err := r.d.lastSum(b, e.size); err == nil && sum == x.LastChecksum {
		r.place.offset, r.place.size, r.place.ok = endOfBlock, e.size, true
		return
	}
	// Written to since.
	content, compressed, _ := plain(r.d.contentOf(b))
	for off := 0; off < len(content); {
		rec, err := record.Parse(content[off:])
		if err != nil {
			return
		}
		off += rec.Size
		if [8]byte(content[off-8:off]) == x.LastChecksum {
			r.place.offset, r.place.ok = int64(off), true
			if r.place.size = int64(off); compressed {
				r.place.size = e.size
			}
			return
		}
	}
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
	buf, err := d.readFile(b, b.file.key, -1)
	if err != nil {
		return nil
	}
	return buf
}

// adopt takes over the state of index.db.
func (r *recovery) adopt() {
	s, x := r.s, r.index
	r.adopted = true
	r.stamp = x.LastSeq + 1
	s.msgs, s.bytes = x.Msgs, x.Bytes
	r.beyond = s.overLimit()
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
		b.latest, b.undated = max(e.FirstTime, e.LastTime, e.TopTime), !e.Dated
		if e.Deleted != nil {
			b.deleted = *e.Deleted
		}
		if b.msgs == 0 { // it may be written with the numbers of a tombstone
			b.last.seq = max(b.last.seq, prev.seq, b.first.seq-1)
			b.first = seqTime{seq: b.last.seq + 1}
			b.deleted = newSet()
		}
		if e.Number == x.LastBlock {
			b.size = r.place.size // what is behind is not judged yet
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
			if p := s.cfg.MaxMsgsPerSubject; p > 0 && e.Total > uint64(p) {
				r.beyond = true
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
// needed (mend). Tombstones elsewhere are for its records, so it counts as the
// block of their sequences.
func (r *recovery) leftover(b *block) {
	i, _ := slices.BinarySearchFunc(r.s.blocks, b.num, func(x *block, n uint32) int { return int(int64(x.num) - int64(n)) })
	if i > 0 {
		b.last = r.s.blocks[i-1].last
	} else {
		b.last = seqTime{}
	}
	r.s.blocks = slices.Insert(r.s.blocks, i, b)
	if b.file.locked != "" {
		b.file.reported = true // by the start that found it
	} else if c, err := r.s.content(b); err == nil {
		c.each(func(_ int, rec *record.Record) {
			if rec.Kind != record.Tombstone && rec.Seq <= r.s.last.seq {
				b.last.seq = max(b.last.seq, rec.Seq)
			}
		})
	}
	if i+1 < len(r.s.blocks) {
		b.last.seq = min(b.last.seq, r.s.blocks[i+1].last.seq)
	}
	b.first = seqTime{seq: b.last.seq + 1}
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
	r.told = f // which explains what is not there, even if others have written since
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
			d.removeBlock(e.num) // its deletion was not durable; its key goes later
			continue
		}
		files = append(files, e)
	}
	r.files = files
	d.gone = f.gone
	d.floored, d.marked = f.seq, f.block
	return nil
}

// floor removes what floor.db says is gone. The record that carries the last
// sequence of a purge follows floor.db, so it may be missing.
func (r *recovery) floor() {
	s := r.s
	f := r.mark
	if f == nil || f.seq == 0 {
		return
	}
	r.raiseTo(f.seq-1, s.last.ts)
	if f.seq <= s.first.seq {
		return
	}
	r.owe(f.seq)
	for i, b := range s.blocks {
		if b.file.locked != "" { // what it holds is lost, and not below the floor for that
			b.last.seq = max(b.last.seq, r.lowestIn(s.blocks[i+1:])-1)
			b.first = seqTime{seq: b.last.seq + 1}
		}
	}
	s.compactTo(newOp(), min(f.seq, s.last.seq+1))
	if s.msgs > 0 {
		return
	}
	// What carried the last sequence may have gone.
	c, err := s.content(s.blocks[len(s.blocks)-1])
	if err != nil || !slices.Contains(c.tomb, s.last.seq) {
		r.d.known = seqTime{max(r.d.known.seq, s.last.seq), s.last.ts}
	}
}

// owe notes the messages below seq in the block that holds it. Their tombstones,
// which tell other servers, follow floor.db, so that they may be missing.
func (r *recovery) owe(seq uint64) {
	s := r.s
	i := s.blockOf(seq)
	if i == len(s.blocks) {
		return
	}
	b := s.blocks[i]
	c, err := s.content(b)
	if err != nil {
		return
	}
	for k := range c.ents {
		if e := &c.ents[k]; e.seq < seq && b.live(e.seq) {
			r.d.owed = append(r.d.owed, removal{e.seq, c.time(e)})
		}
	}
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
		if b.ttls == 0 && !s.scheduling(b, sched) && (len(s.cfg.Sources) == 0 || source > b.last.seq) {
			continue
		}
		c, err := s.content(b)
		if err != nil {
			continue
		}
		for i := range c.ents {
			e := &c.ents[i]
			if e.seq < from || e.seq >= r.stamp || !b.live(e.seq) {
				continue
			}
			s.retrack(b, c, e, ttl, sched, source)
		}
	}
}
