package msgstore

import (
	"fmt"
	"time"

	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scan"
)

// replay reads the blocks and applies their records: those behind the place that
// index.db describes, if its state was adopted, and else all. Up to the place that
// index.db or the manifest describes, what lives is what it says; elsewhere the
// limits remove what they removed then.
func (r *recovery) replay() error {
	from, offset := 0, int64(0)
	if r.adopted {
		from, offset = r.place.file, r.place.offset
	}
	limits := r.s.cfg
	switch {
	case r.adopted && r.beyond:
		r.enforce()
	case !r.adopted && r.place.ok:
		r.unlimit()
	}
	defer func() { r.s.cfg = limits }()
	ahead := readAhead{r: r}
	defer ahead.stop()
	for i := from; i < len(r.files); i++ {
		if i > r.place.file || !r.place.ok {
			r.limit(limits)
		}
		var known *block
		if n := len(r.s.blocks); n > 0 && r.s.blocks[n-1].num == r.files[i].num {
			if known = r.s.blocks[n-1]; offset == endOfBlock {
				offset = 0
				continue // nothing new in it
			}
		}
		x := ahead.take(i, known)
		if x.err != nil {
			return x.err
		}
		if known == nil {
			b := x.b
			b.first, b.last = seqTime{seq: r.s.last.seq + 1}, r.s.last
			r.s.blocks = append(r.s.blocks, b)
			offset = 0
		}
		if err := r.replayBlock(x, offset, i, limits); err != nil {
			return err
		}
		offset = 0
	}
	r.limit(limits)
	return nil
}

// unlimit puts the limits out of force, where the replay is told what lives.
func (r *recovery) unlimit() {
	r.s.cfg.MaxMsgs, r.s.cfg.MaxBytes, r.s.cfg.MaxMsgsPerSubject = 0, 0, 0
}

// limit puts the limits in force, when the replay has come to the place that the
// index describes.
func (r *recovery) limit(limits Config) {
	if r.s.cfg.sameLimits(&limits) {
		return
	}
	r.s.cfg = limits
	r.enforce()
}

// enforce makes the limits hold. Where they were changed, index.db describes the
// stream right before.
func (r *recovery) enforce() {
	e := enforcement{s: r.s, o: newOp()}
	for e.some(time.Now()) {
	}
	e.o.free()
}

// scanBlock finds the records of x, which is r.files[i], and what is wrong with it.
// They go to its cache.
func (r *recovery) scanBlock(x *checked, i int) (scan.Result, error) {
	s, d, b, c := r.s, r.d, x.b, x.cache
	r.scanned += int64(x.size)
	sb := scan.Block{
		Content: c.buf,
		Stream:  s.cfg.Name, Number: b.num, Last: i >= r.end,
		Prefix:     d.mode == External,
		Evidence:   scan.FromIndex(r.index, uint64(b.num), true),
		Unreadable: x.bad,
	}
	if n := s.blockIndex(b); n > 0 {
		sb.After = s.blocks[n-1].last.seq
	}
	if sb.Evidence.LastSum == nil && x.whole && (x.first == 0 || x.first > sb.After) {
		var res scan.Result
		if n := len(c.buf); n > 0 {
			res.LastSum = [record.SumSize]byte(c.buf[n-record.SumSize:])
		}
		return res, nil
	}
	if s.index != nil {
		sb.ValidSubject = record.ValidSubject[[]byte]
	}
	if sb.Last && b.file.key != nil && !c.compressed {
		sb.Raw = make([]byte, len(c.buf))
		b.file.key.Stream().XORAt(sb.Raw, c.buf, 0)
	}
	c.ents, c.tomb = c.ents[:0], nil
	return scan.Run(&sb, func(off int, x *record.Record) error {
		c.note(x, int64(off))
		return nil
	})
}

func (r *recovery) replayBlock(x *checked, offset int64, i int, limits Config) error {
	d, b, c := r.d, x.b, x.cache
	if b.file.locked != "" {
		r.lockedBlock(b)
		return nil
	}
	res, err := r.scanBlock(x, i)
	if err != nil {
		return err
	}
	var ended []int // damages behind which the block has nothing
	b.file.compressed = c.compressed
	b.size = int64(len(c.buf))
	c.shared.Store(true) // the replay looks at it while others are loaded
	defer c.shared.Store(len(res.Damage) > 0)
	b.cache.Store(c)
	b.date(c)
	d.hold(b, c)
	for _, x := range res.Damage {
		r.damages = append(r.damages, foundDamage{b, x})
		if x.FirstSeq != 0 && x.End == len(c.buf) {
			ended = append(ended, len(r.damages)-1)
		}
		if x.End > x.Start {
			c.bad = append(c.bad, badRange{int64(x.Start), int64(x.End - x.Start), x.FirstSeq, x.LastSeq, x.Reason})
		}
	}
	b.file.reported = len(c.bad) > 0 // by mend
	r.old = nil
	if r.index == nil && len(r.obsolete) > 0 {
		r.old = d.readOldIndex(b, len(c.buf), res.LastSum)
	}
	if r.old != nil {
		r.unlimit()
		r.unwritten = true
	}
	err = c.each(func(off int, rec *record.Record) {
		if i == r.place.file && int64(off) >= r.place.offset {
			r.limit(limits)
		}
		if int64(off) >= offset {
			r.apply(b, rec)
		}
	})
	if err != nil {
		return fmt.Errorf("%s: %w", d.blockPath(b.num), err)
	}
	if x := r.old; x != nil && x.LastSeq > r.s.last.seq {
		r.raiseTo(x.LastSeq, x.LastTime)
	}
	if i >= r.end {
		d.tailSum = res.LastSum
	}
	r.open = append(r.open, ended...)
	return nil
}

// extend tells the damages at the ends of blocks, of which the scan of the block
// knew only where they begin, that a later block has a record with sequence next.
func (r *recovery) extend(next uint64) {
	for _, i := range r.open {
		x := &r.damages[i]
		x.LastSeq = max(x.LastSeq, next-1)
	}
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
		r.extend(rec.Seq)
		r.open = nil
		s.applyKind(nil, b, rec)
		// An index proves removals whose tombstones are gone, or that never had any.
		x := r.index
		if rec.Kind == record.Message && (!r.adopted && x != nil && rec.Seq <= x.LastSeq && !r.lists(rec.Seq) || r.old != nil && !r.old.Has(rec.Seq)) {
			if b, i := s.blockFor(rec.Seq); b != nil {
				s.drop(nil, b, i, rec.Seq, true)
			}
		}
		return
	}
	if rec.Seq > s.last.seq {
		// It carries the last sequence.
		r.extend(rec.Seq)
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
	b.file.reported = true // by mend
}
