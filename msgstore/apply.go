package msgstore

import (
	"bytes"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/record"
)

// apply makes an op visible: its records in order, each followed by what the
// limits remove, and its actions at their places. It refuses nothing and looks
// at no clock. The caller holds mu.
func (s *store) apply(o *op) {
	o.heard = s.updates
	acts := o.acts
	var r record.Record
	for i := range o.segs {
		sg := &o.segs[i]
		b := sg.b
		if last := s.blocks[len(s.blocks)-1]; b != last {
			s.blocks = append(s.blocks, b) // its first record
			if s.disk != nil {
				s.disk.filled(last)
			}
		}
		part := sg.buf
		if len(part) == 0 {
			continue
		}
		// The content takes over all bytes at once. Where it goes or comes
		// meanwhile, it takes the records one by one.
		b.pinned.Store(true)
		bulk := b.cache.Load()
		if bulk != nil {
			bulk.extend(part)
		} else {
			bulk = s.disk.window(b, part)
		}
		base := b.size
		for at := 0; at < len(part); at += r.Size {
			record.ParseOwn(part[at:], &r)
			switch c := b.cache.Load(); {
			case c == bulk, c == nil && bulk == b.recent.Load() && base+int64(at) >= int64(bulk.base):
				bulk.note(&r, base+int64(at))
			case c != nil:
				c.extend(part[at : at+r.Size])
				c.note(&r, b.size)
			}
			b.size += int64(r.Size)
			s.applyRecord(o, b, &r)
			for len(acts) > 0 && acts[0].at == r.Seq && r.Kind == record.Message {
				s.act(o, &acts[0])
				acts = acts[1:]
			}
		}
		if s.disk != nil {
			s.disk.tailSum = [record.SumSize]byte(part[len(part)-record.SumSize:])
		}
		b.pinned.Store(false)
	}
	for i := range acts {
		s.act(o, &acts[i])
	}
	if s.disk != nil {
		s.disk.applied(o)
	}
}

// applyRecord makes the effect of a record of o, behind all others of b.
func (s *store) applyRecord(o *op, b *block, r *record.Record) {
	if r.Kind == record.Message && r.Seq <= s.last.seq {
		panic(fmt.Sprintf("msgstore: message %d behind %d", r.Seq, s.last.seq))
	}
	s.applyKind(o, b, r)
}

// applyKind makes the effect of a record on the state.
func (s *store) applyKind(o *op, b *block, r *record.Record) {
	switch r.Kind {
	case record.Message:
		s.applyMsg(o, b, r)
		s.limitAll(o)
	case record.Skip, record.Erased:
		s.applySkip(b, r)
	}
}

func (s *store) applyMsg(o *op, b *block, r *record.Record) {
	size := uint64(r.Size)
	if s.kind == MemoryStorage {
		size = uint64(memOverhead + len(r.Subject) + len(r.Header) + len(r.Data))
	}
	at := seqTime{r.Seq, r.Time}
	if b.msgs == 0 {
		b.first = at
		b.deleted.DeleteRange(0, r.Seq)
	} else if r.Seq > b.last.seq+1 {
		b.deleted.InsertRange(b.last.seq+1, r.Seq-1)
	}
	b.last = at
	b.latest = max(b.latest, r.Time)
	b.msgs++
	b.bytes += size
	if s.msgs == 0 {
		s.first = at
	}
	s.last = at
	s.msgs++
	s.bytes += size
	var same uint64
	if s.index != nil {
		same = s.index.add(r.Subject, r.Seq)
	}
	s.track(o, b, r)
	if o != nil && o.heard != nil {
		o.changes = append(o.changes, change{1, int64(size), r.Seq, o.textOf(r.Subject)})
	}
	if p := s.cfg.MaxMsgsPerSubject; p > 0 && same > uint64(p) {
		s.limitSubject(o, r.Subject, uint64(p))
	}
}

// applySkip uses up the sequences from the last one to that of r.
func (s *store) applySkip(b *block, r *record.Record) {
	if r.Seq <= b.last.seq {
		return
	}
	at := seqTime{r.Seq, r.Time}
	if r.Time == 0 {
		at.ts = s.last.ts
	}
	if b.msgs == 0 {
		b.first = seqTime{seq: r.Seq + 1}
	} else {
		b.deleted.InsertRange(b.last.seq+1, r.Seq)
	}
	b.last = at
	if r.Seq > s.last.seq {
		s.last = at
		if s.msgs == 0 {
			s.first = seqTime{seq: r.Seq + 1}
		}
	}
}

// blockFor returns the block with the live message seq, and its position.
func (s *store) blockFor(seq uint64) (*block, int) {
	i := s.blockOf(seq)
	if i == len(s.blocks) || !s.blocks[i].live(seq) {
		return nil, 0
	}
	return s.blocks[i], i
}

// drop removes the live message seq of block b = s.blocks[i] from all counts.
// A message that cannot be read is removed from those that are known.
// With bulk the change is left to the caller.
func (s *store) drop(o *op, b *block, i int, seq uint64, bulk bool) bool {
	c, err := s.singleContent(b, seq)
	var e *ent
	if err == nil {
		if n, ok := c.at(seq); ok {
			e = &c.ents[n]
		}
	}
	if e == nil {
		if s.index != nil && err == nil && !c.lost() {
			s.index.removeUnknown(seq)
		}
		s.dropUnreadable(o, b, i, seq, bulk)
		return true
	}
	size := s.msgSize(c, e)
	subject := c.subject(e)
	if s.index != nil {
		s.index.remove(subject, seq)
		s.chase(b, c, e, subject)
	}
	if c.hasHeader(e) {
		s.untrack(b, c, e)
	}
	if o != nil {
		o.removed++
		o.removedBytes += size
		if o.heard != nil && !bulk {
			o.changes = append(o.changes, change{-1, -int64(size), seq, string(subject)})
		}
	}
	s.uncount(b, i, seq, size, c)
	if s.disk == nil && b.msgs > 0 && !b.pinned.Load() {
		s.squeeze(b)
	}
	return true
}

// dropUnreadable is drop for a message whose record is damaged: its size is
// taken for average, its subject is not known.
func (s *store) dropUnreadable(o *op, b *block, i int, seq uint64, bulk bool) {
	size := b.bytes / b.msgs
	if o != nil {
		o.removed++
		o.removedBytes += size
		if o.heard != nil && !bulk {
			o.changes = append(o.changes, change{-1, -int64(size), seq, ""})
		}
	}
	s.uncount(b, i, seq, size, nil)
}

// chase keeps the first sequence of a subject exact, where the next message of
// the subject is in the same block and near.
func (s *store) chase(b *block, c *cache, e *ent, subject []byte) {
	info := s.index.get(stringOf(subject))
	if info == nil || info.first&inexact == 0 || info.lower() != e.seq+1 {
		return
	}
	const near = 64
	i := c.find(e.seq + 1)
	for n := 0; n < near && i < len(c.ents); n, i = n+1, i+1 {
		x := &c.ents[i]
		if bytes.Equal(c.subject(x), subject) && b.live(x.seq) {
			info.first = x.seq
			return
		}
		info.first = (x.seq + 1) | inexact
	}
}

// uncount removes seq from the counts of block and stream, and the block from
// the stream if it was its last message. c may be nil.
func (s *store) uncount(b *block, i int, seq, size uint64, c *cache) {
	delete(s.due.never, seq)
	delete(s.due.asked, seq)
	b.msgs--
	b.bytes -= min(size, b.bytes)
	s.msgs--
	s.bytes -= min(size, s.bytes)
	switch {
	case b.msgs == 0:
		b.first = seqTime{seq: b.last.seq + 1}
		b.deleted = newSet()
	case seq == b.first.seq:
		next := b.deleted.NextAbsent(seq + 1)
		b.deleted.DeleteRange(seq, next)
		b.first = seqTime{seq: next}
		if c != nil {
			if n, ok := c.at(next); ok {
				b.first.ts = c.time(&c.ents[n])
			}
		}
	default:
		b.deleted.Insert(seq)
	}
	if seq == s.first.seq {
		s.findFirst()
	}
	switch {
	case i == len(s.blocks)-1:
	case b.msgs == 0:
		s.emptied(b, i)
	case s.disk != nil:
		s.disk.thinned(b)
	}
}

// findFirst sets the first message of the stream.
func (s *store) findFirst() {
	if s.msgs == 0 {
		s.first = seqTime{seq: s.last.seq + 1}
		return
	}
	for _, b := range s.blocks {
		if b.msgs > 0 {
			s.first = b.first
			return
		}
	}
}

// emptied is called when the last live message of a block that is not the last
// block was removed.
func (s *store) emptied(b *block, i int) {
	if s.disk != nil && !s.disk.emptied(b, i) {
		return
	}
	s.blocks = append(s.blocks[:i], s.blocks[i+1:]...)
}

// act carries out an action of an op.
func (s *store) act(o *op, a *action) {
	msgs, bytes := o.removed-a.removed, o.removedBytes-a.bytes
	one := change{}
	switch a.kind {
	case actRemove:
		for _, seq := range a.seqs {
			s.found(seq)
			b, i := s.blockFor(seq)
			if b == nil {
				continue
			}
			if a.bulk && o.heard != nil && one.seq == 0 {
				one = change{seq: seq, subject: s.subjectOf(b, seq)}
			}
			s.drop(o, b, i, seq, a.bulk)
		}
	case actCompact:
		s.compactTo(o, a.seq)
	case actRaise:
		b := s.blocks[len(s.blocks)-1]
		if b.msgs > 0 {
			b.deleted.InsertRange(b.last.seq+1, a.seq)
		}
		b.last = seqTime{a.seq, a.ts}
		s.last = b.last
		if b.msgs == 0 {
			b.first = seqTime{seq: a.seq + 1}
		}
		if s.msgs == 0 {
			s.first = seqTime{seq: a.seq + 1}
		}
	}
	n := o.removed - msgs
	if o.heard == nil || !a.bulk || n == 0 && a.kind != actCompact {
		return
	}
	if n > 1 || a.kind == actCompact {
		one = change{}
	}
	one.msgs, one.bytes = -int64(n), -int64(o.removedBytes-bytes)
	o.changes = append(o.changes, one)
}

// subjectOf returns the subject of a live message for a callback; "" if it
// cannot be read.
func (s *store) subjectOf(b *block, seq uint64) string {
	c, err := s.singleContent(b, seq)
	if err != nil {
		return ""
	}
	if n, ok := c.at(seq); ok {
		return string(c.subject(&c.ents[n]))
	}
	return ""
}

// compactTo removes everything below seq. With seq above the last sequence + 1
// the last sequence moves as well.
func (s *store) compactTo(o *op, seq uint64) {
	if seq > s.last.seq {
		s.clear(o, seq)
		return
	}
	keep := 0
	for keep < len(s.blocks)-1 && s.blocks[keep].last.seq < seq {
		b := s.blocks[keep]
		s.dropAll(o, b)
		if s.disk != nil {
			s.disk.dropped(b)
		}
		keep++
	}
	s.blocks = append(s.blocks[:0], s.blocks[keep:]...)
	s.findFirst()
	for s.msgs > 0 && s.first.seq < seq {
		b, i := s.blockFor(s.first.seq)
		s.drop(o, b, i, s.first.seq, true)
	}
}

// dropAll removes the live messages of a block that is going away.
func (s *store) dropAll(o *op, b *block) {
	c, err := s.content(b)
	if err == nil {
		for i := range c.ents {
			e := &c.ents[i]
			if !b.live(e.seq) {
				continue
			}
			delete(s.due.never, e.seq)
			delete(s.due.asked, e.seq)
			if s.index != nil {
				s.index.remove(c.subject(e), e.seq)
			}
			if c.hasHeader(e) {
				s.untrack(b, c, e)
			}
		}
	}
	if err != nil || len(c.bad) > 0 {
		s.due.forget(b.first.seq, b.last.seq)
	}
	o.removed += b.msgs
	o.removedBytes += b.bytes
	s.msgs -= b.msgs
	s.bytes -= b.bytes
	b.msgs, b.bytes = 0, 0
}

// clear removes everything; the next message will have the sequence next or a
// higher one.
func (s *store) clear(o *op, next uint64) {
	o.removed += s.msgs
	o.removedBytes += s.bytes
	s.msgs, s.bytes = 0, 0
	s.last.seq = max(s.last.seq, next-1)
	s.first = seqTime{seq: s.last.seq + 1}
	if s.index != nil {
		s.index = newSubjectIndex()
	}
	s.due.clear()
	tail := s.blocks[len(s.blocks)-1]
	if s.disk != nil {
		for _, b := range s.blocks[:len(s.blocks)-1] {
			s.disk.dropped(b)
		}
	} else {
		tail.cache.Store(new(cache))
		tail.size = 0
	}
	tail.msgs, tail.bytes, tail.ttls, tail.schedules = 0, 0, 0, 0
	tail.deleted = newSet()
	tail.last = s.last
	tail.first = s.first
	s.blocks = append(s.blocks[:0], tail)
}
