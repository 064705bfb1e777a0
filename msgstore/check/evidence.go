package check

import (
	"bytes"
	"path/filepath"
	"slices"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scan"
)

// place is where the blocks were when index.db, or the manifest, was written: behind a
// record of a block.
type place struct {
	block uint64
	end   int // in the content
	ok    bool
}

// placeIndex finds out how old index.db, or the manifest, is: exact, behind the blocks,
// or ahead of them, when the end of a block or the last block is gone. Recovery does
// the same.
func (s *stream) placeIndex() error {
	x := s.index
	if x == nil || s.onlyBlock != 0 {
		return nil
	}
	stale := func(detail string) {
		if !s.manifest { // which is for the time when index.db is not there
			s.find(Repairable, KindIndexStale, filepath.Join(s.msgs, "index.db"), detail)
		}
	}
	last := len(s.blocks) - 1
	if last < 0 || s.blocks[last].number < x.LastBlock {
		s.ahead = x.LastSeq > 0
		s.exact = !s.ahead
		return nil
	}
	i := slices.IndexFunc(s.blocks, func(b *block) bool { return b.number == x.LastBlock })
	if i < 0 {
		stale("newer blocks exist, and the one that was the last is gone: the state is rebuilt from the blocks")
		return nil
	}
	b := s.blocks[i]
	c, err := s.load(b)
	if err != nil {
		return err
	}
	if b.unreadable != nil {
		s.ahead = i == last
		return nil
	}
	s.place = place{block: b.number}
	switch x.LastChecksum {
	case [record.SumSize]byte{}: // the block was empty, whatever zeros it ends in
		s.place.ok = true
	case c.last:
		s.place.ok, s.place.end = true, len(c.bytes)
	}
	for off := 0; off < len(c.bytes) && !s.place.ok; {
		r, err := record.Parse(c.bytes[off:])
		if err != nil {
			break
		}
		if off += r.Size; [record.SumSize]byte(c.bytes[off-record.SumSize:]) == x.LastChecksum {
			s.place.ok, s.place.end = true, off
		}
	}
	switch {
	case s.place.ok && i == last && s.place.end == len(c.bytes):
		s.exact = true
	case s.place.ok && i == last:
		stale("the last block has additional entries: the state is rebuilt from the blocks")
	case s.place.ok:
		stale("newer blocks exist: the state is rebuilt from the blocks")
	case s.manifest && s.writtenSince(b, &c, i < last):
		s.index = nil
		s.find(Info, KindLeftover, s.evidencePath(), "another server has written since")
	default:
		s.ahead = i == last
		stale("the last block does not hold the record that was its last one")
	}
	return nil
}

// writtenSince says whether another server has rewritten block b, the last one of the
// manifest, and written more.
func (s *stream) writtenSince(b *block, c *content, later bool) bool {
	sb := s.scanBlock(b, c)
	sb.Evidence = scan.Evidence{}
	seq, ts := uint64(0), int64(0)
	res, err := scan.Run(sb, func(_ int, r *record.Record) error {
		if r.Kind == record.Message {
			seq, ts = r.Seq, r.Time
		}
		return nil
	})
	if err != nil || len(c.bytes) == 0 || len(res.Damage) > 0 {
		return false
	}
	return later || seq > s.index.LastSeq || seq > 0 && ts > s.index.LastTime
}

// toldAt says whether index.db, or the manifest, tells what lives at an offset of b.
func (p *pass) toldAt(b *block, end int) bool {
	return p.exact || p.place.ok && (b.number < p.place.block || b.number == p.place.block && end < p.place.end)
}

// atPlace puts the limits in force behind the place that the index describes: where
// they were changed, it describes the stream right before.
func (p *pass) atPlace(b *block, end int) {
	if p.history.told && p.old == nil && !p.toldAt(b, end) {
		p.history.told = false
		p.history.limit()
	}
}

// findEnd finds the last block that holds anything: it and those behind it, which are
// empty or hold nothing but zeros, are where a power cut can have torn a write.
func (s *stream) findEnd() error {
	for i := len(s.blocks) - 1; i >= 0; i-- {
		b := s.blocks[i]
		b.last = true
		if s.plan != nil && b.number == uint64(s.plan.Next) {
			return nil
		}
		if b.size == 0 {
			continue
		}
		raw, err := s.read(b.path, blockcomp.MaxSize)
		if unreadable(err) {
			return nil // of what it holds nothing is known
		}
		if err != nil || len(bytes.Trim(raw, "\x00")) > 0 {
			return err
		}
	}
	return nil
}

// settleIndex finds out whether there is less than the index describes: where the
// limits were changed, it describes the stream right before, and floor.db may be newer.
func (p *pass) settleIndex() {
	x := p.index
	if x == nil || !p.exact {
		return
	}
	old := p.cfg.Discard != "new"
	p.beyond = old && (p.cfg.MaxMsgs > 0 && x.Msgs > uint64(p.cfg.MaxMsgs) || p.cfg.MaxBytes > 0 && x.Bytes > uint64(p.cfg.MaxBytes))
	p.beyond = p.beyond || p.floor != nil && p.floor.Seq > x.FirstSeq
	if p.cfg.MaxPer > 0 {
		p.beyond = p.beyond || x.NumSubjects == 0
		for sub := range x.Subjects() {
			p.beyond = p.beyond || sub.Total > uint64(p.cfg.MaxPer)
		}
	}
}

// byIndex says whether the messages that live are those of the index.
func (p *pass) byIndex() bool { return p.exact && !p.beyond }

// reportMissingRecords finds what the index had at its place and nothing has removed
// since. Limits leave no trace of what they remove: of a subject's messages, or below
// the first one.
func (p *pass) reportMissingRecords() {
	if p.index == nil || p.exact || p.ahead || !p.place.ok || p.cfg.MaxPer > 0 {
		return
	}
	low := uint64(0)
	if first, ok := p.live.Min(); ok && (p.cfg.MaxMsgs > 0 || p.cfg.MaxBytes > 0) {
		low = first
	}
	for i := range p.index.Blocks {
		k := &p.index.Blocks[i]
		at := slices.IndexFunc(p.blocks, func(b *block) bool { return b.number == k.Number })
		if at < 0 || k.Msgs() == 0 || p.blocks[at].unreadable != nil {
			continue // a missing block is reported as such
		}
		found := slices.DeleteFunc(p.unaccounted(k.Number, max(k.FirstSeq, low), k.LastSeq, "records are missing"), func(l Lost) bool {
			return slices.ContainsFunc(p.lost, func(x Lost) bool { return x.FirstSeq <= l.FirstSeq && l.LastSeq <= x.LastSeq })
		})
		if lo, hi := p.lose(found); hi > 0 {
			f := p.find(Damage, KindMissingRecords, p.blocks[at].path, "the block does not hold all that it did")
			f.Offset, f.FirstSeq, f.LastSeq = int64(p.blocks[at].raw), lo, hi
		}
	}
}
