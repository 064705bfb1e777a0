package msgstore

import (
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/internal/floordb"
	"github.com/natsd/natsd/msgstore/internal/record"
)

// floorMark is the content of floor.db: what has left the stream since index.db
// was written (package floordb). It is written before the files of blocks are
// deleted, so that a purge is there as a whole or not at all, and a deleted file
// is not taken for a lost one.
type floorMark struct {
	block uint32
	off   int64
	sum   [8]byte
	seq   uint64
	gone  []uint32
}

func (f *floorMark) encode(stream string) []byte {
	m := floordb.Mark{Block: f.block, Offset: f.off, Sum: f.sum, Seq: f.seq, Gone: f.gone}
	return m.Append(nil, stream)
}

// has says whether floor.db says that the messages of a block are gone.
func (f *floorMark) has(num uint32, last uint64) bool {
	return f != nil && (slices.Contains(f.gone, num) || last < f.seq)
}

func decodeFloor(stream string, b []byte) (*floorMark, error) {
	m, err := floordb.Decode(b, stream)
	if newer := newerVersion(floorFile, err); newer != nil {
		return nil, newer
	}
	if err != nil {
		return nil, err
	}
	return &floorMark{block: m.Block, off: m.Offset, sum: m.Sum, seq: m.Seq, gone: m.Gone}, nil
}

// placeFloor adds to o what makes the removal of everything below seq durable:
// floor.db, which makes it happen as a whole, and behind it what other servers
// understand: a tombstone that carries the last sequence, or tombstones in the
// block that holds seq. The caller holds wmu.
func (s *store) placeFloor(o *op, seq uint64) error {
	if s.end.seq == 0 && seq <= 1 {
		return nil // a new store has nothing to remember
	}
	all := seq > s.end.seq
	if all && s.tail.size > 0 {
		if err := s.rotate(o); err != nil {
			return err
		}
	}
	if err := s.disk.placeMark(o, seq); err != nil {
		return err
	}
	if all {
		return s.placeTombstone(o, max(seq-1, s.end.seq), s.end.ts)
	}
	gone, err := s.belowInBlock(o, seq)
	if err != nil {
		return err
	}
	for _, g := range gone {
		if err := s.placeTombstone(o, g.seq, g.ts); err != nil {
			return err
		}
	}
	return nil
}

// placeMark adds the writing of floor.db to o, behind the records that o has. The
// caller holds wmu.
func (d *disk) placeMark(o *op, seq uint64) error {
	t := &d.s.tail
	err := d.send(o)
	if err == nil {
		err = d.openTail(t.b, t.size)
	}
	if err != nil {
		d.fail(err)
		return err
	}
	mark := floorMark{block: t.b.num, off: t.size, seq: seq}
	if t.size > 0 {
		mark.sum = t.sum
		if n := len(o.segs); n > 0 && o.segs[n-1].b == t.b {
			sent := o.segs[n-1].buf
			mark.sum = [record.SumSize]byte(sent[len(sent)-record.SumSize:])
		}
	}
	// In the modes where complete is less than durable what the mark names is synced
	// first.
	d.part(o, commit.Op{File: d.out, Sync: d.mode != Always, Do: func() error {
		d.cleaning.Lock()
		defer d.cleaning.Unlock()
		mark.seq = max(mark.seq, d.floored)
		return d.writeMark(mark)
	}})
	return nil
}

// writeMark replaces floor.db. The caller holds cleaning.
func (d *disk) writeMark(mark floorMark) error {
	if err := d.keepSources(); err != nil {
		return err
	}
	mark.gone = d.gone
	d.floored, d.marked = max(d.floored, mark.seq), 0 // if it fails, either may be there
	if err := d.replace(path.Join(d.msgs, floorFile), mark.encode(d.name)); err != nil {
		return err
	}
	d.floored, d.marked = mark.seq, mark.block
	return nil
}

// renewFloor writes floor.db again after a failure: the removal that it may have been
// written for last has not happened, and the record that it names may never have been
// visible. The caller holds wmu and cleaning, and nothing is in flight.
func (d *disk) renewFloor() error {
	if d.floored == 0 {
		return nil
	}
	s := d.s
	s.mu.RLock()
	b := s.blocks[len(s.blocks)-1]
	mark := floorMark{block: b.num, off: b.size, sum: d.tailSum, seq: s.first.seq}
	s.mu.RUnlock()
	return d.writeMark(mark)
}

// belowInBlock returns the messages below seq in the block that holds it. The
// caller holds wmu. For a rollup seq is in o itself, and the first of its block.
func (s *store) belowInBlock(o *op, seq uint64) ([]removal, error) {
	if o.firstSeq != 0 && seq >= o.firstSeq {
		return nil, nil
	}
	s.mu.RLock()
	from := seq
	var holder *block
	if i := s.blockOf(seq); i < len(s.blocks) {
		from = s.blocks[i].first.seq
	} else {
		for _, f := range s.flight {
			f.each(func(sg *segment, r *record.Record, _ []byte) {
				if r.Kind == record.Message && r.Seq == seq {
					holder = sg.b
				}
			})
		}
		for _, f := range s.flight {
			f.each(func(sg *segment, r *record.Record, _ []byte) {
				if sg.b == holder && r.Kind == record.Message {
					from = min(from, r.Seq)
				}
			})
		}
		if n := len(s.blocks); n > 0 && s.blocks[n-1] == holder {
			from = s.blocks[n-1].first.seq
		}
	}
	s.mu.RUnlock()
	if from >= seq {
		return nil, nil
	}
	found, err := s.matching(nil, seq)
	if err != nil {
		return nil, err
	}
	for len(found) > 0 && found[0].seq < from {
		found = found[1:]
	}
	return found, nil
}

// sweep is a set of blocks that have left the stream, with a mark of the state in
// which they had.
type sweep struct {
	blocks []*block
	mark   floorMark
}

// collect takes what has left the stream. In the modes where visible is more than
// durable the caller makes everything durable before the sweep is carried out.
func (d *disk) collect() sweep {
	s := d.s
	s.mu.Lock()
	defer s.mu.Unlock()
	g := sweep{blocks: d.garbage}
	d.garbage = nil
	if len(g.blocks) == 0 || len(s.blocks) == 0 {
		return sweep{}
	}
	b := s.blocks[len(s.blocks)-1]
	g.mark = floorMark{block: b.num, off: b.size, sum: d.tailSum, seq: s.first.seq}
	if s.cfg.MaxMsgsPerSubject > 0 {
		g.blocks = slices.DeleteFunc(g.blocks, func(b *block) bool {
			if b.top < g.mark.seq {
				return false
			}
			d.later = append(d.later, b)
			return true
		})
	}
	return g
}

// clean deletes the files of blocks that have left the stream.
func (d *disk) clean() {
	d.cleaning.Lock()
	defer d.cleaning.Unlock()
	d.remove(d.collect())
}

// remove carries out a sweep: first floor.db says what goes, unless it does so
// already, then it goes. The caller holds cleaning.
func (d *disk) remove(g sweep) {
	if len(g.blocks) == 0 {
		return
	}
	known := d.marked != 0
	for _, b := range g.blocks {
		d.gone = append(d.gone, b.num)
		known = known && b.top < d.floored && b.num != d.marked
	}
	if !known {
		mark := g.mark
		mark.seq = max(mark.seq, d.floored) // a compaction may follow a purge in flight
		if slices.Contains(d.gone, mark.block) {
			// An older sweep, carried out later. A block that exists is as good.
			d.s.mu.RLock()
			b := d.s.blocks[len(d.s.blocks)-1]
			d.s.mu.RUnlock()
			mark.block, mark.off, mark.sum = b.num, 0, [record.SumSize]byte{}
		}
		if err := d.writeMark(mark); err != nil {
			d.fail(err)
			for _, b := range g.blocks {
				d.stuck = append(d.stuck, b.num)
			}
			return // the files stay; the next start deletes them
		}
	}
	for _, b := range g.blocks {
		d.host.drop(b)
		d.removeBlock(b.num)
	}
}

// removeBlock deletes the file of a block that floor.db says is gone. If it stays, so
// does its key: the next start, which finds the file, must see what it is. The caller
// holds cleaning.
func (d *disk) removeBlock(n uint32) {
	if err := d.fs.Remove(d.blockPath(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.stuck = append(d.stuck, n)
	}
}

// cleanLater deletes blocks out of the middle of a stream with a limit per
// subject. A dead message in them may be all that tells that an older one of its
// subject was removed, so index.db has to be written first. The caller holds
// maintaining.
func (d *disk) cleanLater() {
	s := d.s
	s.mu.Lock()
	l := d.later
	if s.closed || d.stopping {
		l = nil // the next start does it
	}
	s.mu.Unlock()
	if len(l) == 0 || d.checkpointNow(true) != nil {
		return
	}
	s.mu.Lock()
	d.later = d.later[len(l):]
	s.mu.Unlock()
	for _, b := range l {
		d.host.drop(b)
		d.fs.Remove(d.blockPath(b.num))
	}
}
