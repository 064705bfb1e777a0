package msgstore

import (
	"errors"
	"math"
	"slices"
	"sort"

	"github.com/natsd/natsd/msgstore/internal/record"
)

// RemoveMsg implements Store.
func (s *store) RemoveMsg(seq uint64) (bool, error) { return s.removeOne(seq, false) }

// EraseMsg implements Store.
func (s *store) EraseMsg(seq uint64) (bool, error) { return s.removeOne(seq, true) }

func (s *store) removeOne(seq uint64, erase bool) (bool, error) {
	w := newWaiter()
	s.removeAll([]uint64{seq}, erase, true, w.op)
	r := w.wait()
	return r.removed > 0, r.err
}

// RemoveMsgs implements Store.
func (s *store) RemoveMsgs(seqs []uint64, erase bool, done func(uint64, error)) {
	s.removeAll(seqs, erase, false, func(o *op) { done(o.removed, o.err) })
}

// removeAll removes messages. With strict a sequence outside of the stream is
// an error.
func (s *store) removeAll(seqs []uint64, erase, strict bool, done func(*op)) {
	o := newOp()
	o.done = done
	s.wmu.Lock()
	err := s.writable()
	if err == nil {
		err = s.placeRemovals(o, seqs, strict, len(seqs) > 1)
	}
	switch {
	case err != nil:
		s.refuse(o, err)
		s.wmu.Unlock()
	case len(o.acts) == 0:
		s.follow(o)
		s.wmu.Unlock()
	case erase:
		s.eraseAfter(o) // unlocks
	default:
		s.submit(o) // unlocks
	}
	s.runCallbacks()
}

// placeRemovals adds the removal of those messages of seqs that exist to o, with
// their tombstones. The caller holds wmu.
func (s *store) placeRemovals(o *op, seqs []uint64, strict, bulk bool) error {
	var gone []removal
	next := 0
	err := s.read(func() error {
		for ; next < len(seqs); next++ {
			seq := seqs[next]
			if strict {
				switch {
				case seq > s.end.seq:
					return ErrStoreEOF
				case seq == 0 || seq < s.first.seq && s.msgs > 0 || s.msgs == 0 && seq <= s.last.seq:
					return ErrStoreMsgNotFound
				}
			}
			ts, ok, err := s.exists(seq)
			if err != nil {
				return err
			}
			if ok {
				gone = append(gone, removal{seq, ts})
			}
		}
		return nil
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	return s.placeGone(o, gone, 0, bulk)
}

// removal is a message that is going to be removed.
type removal struct {
	seq uint64
	ts  int64
}

// placeGone adds the removal of messages to o, after its record at (0: the
// last).
func (s *store) placeGone(o *op, gone []removal, at uint64, bulk bool) error {
	a := action{kind: actRemove, at: at, bulk: bulk, seqs: make([]uint64, len(gone))}
	for i, g := range gone {
		a.seqs[i] = g.seq
		if err := s.placeTombstone(o, g.seq, g.ts); err != nil {
			return err
		}
	}
	o.acts = append(o.acts, a)
	return nil
}

// exists says whether a message is live or in flight, and its time. The caller
// holds wmu, and mu for reading. A damaged message exists, with the time of its
// block.
func (s *store) exists(seq uint64) (ts int64, ok bool, err error) {
	if seq > s.last.seq {
		for _, o := range s.flight {
			if seq < o.firstSeq || seq > o.lastSeq {
				continue
			}
			o.each(func(_ *segment, r *record.Record, _ []byte) {
				if r.Kind == record.Message && r.Seq == seq {
					ts, ok = r.Time, true
				}
			})
		}
		return ts, ok, nil
	}
	b, _ := s.blockFor(seq)
	if b == nil {
		return 0, false, nil
	}
	c, e, err := s.fetch(b, seq)
	if err != nil {
		if _, bad := err.(*BadRecordError); bad {
			return b.last.ts, true, nil
		}
		return 0, false, err
	}
	return c.time(e), true, nil
}

// matching returns the messages, live and in flight, that match and have a
// sequence below seq, ascending. The caller holds wmu.
func (s *store) matching(f *Filter, below uint64) ([]removal, error) {
	var found []removal
	start, changes := uint64(0), uint64(0)
	look := func() error {
		if len(found) == 0 && start == 0 && s.disk != nil {
			changes = s.disk.changes
		}
		for range sliceMsgs {
			c, e, seq, err := s.next(f, &start, below-1, nil)
			if _, bad := err.(*BadRecordError); bad {
				start = seq + 1
				continue
			}
			if err == nil {
				found = append(found, removal{e.seq, c.time(e)})
				start = e.seq + 1
				continue
			}
			if err != ErrStoreEOF {
				return err
			}
			if s.disk != nil && s.disk.changes != changes { // by what was in flight
				found = slices.DeleteFunc(found, func(r removal) bool {
					b, _ := s.blockFor(r.seq)
					return b == nil
				})
			}
			for _, o := range s.flight {
				o.each(func(_ *segment, r *record.Record, _ []byte) {
					if r.Kind == record.Message && r.Seq < below && f.matchBytes(r.Subject) {
						found = append(found, removal{r.Seq, r.Time})
					}
				})
			}
			found = s.withoutFlying(found)
			return nil
		}
		return errMore
	}
	err := errMore
	for err == errMore {
		err = s.read(look)
	}
	return found, err
}

var errMore = errors.New("there is more")

// withoutFlying leaves out what the operations in flight remove. The caller
// holds mu.
func (s *store) withoutFlying(found []removal) []removal {
	gone := make(map[uint64]struct{})
	floor := uint64(0)
	for _, o := range s.flight {
		for i := range o.acts {
			a := &o.acts[i]
			if a.kind == actCompact {
				floor = max(floor, a.seq)
			}
			for _, seq := range a.seqs {
				gone[seq] = struct{}{}
			}
		}
	}
	if floor == 0 && len(gone) == 0 {
		return found
	}
	return slices.DeleteFunc(found, func(r removal) bool {
		_, ok := gone[r.seq]
		return ok || r.seq < floor
	})
}

// placed returns the messages that o itself has placed already.
func (s *store) placed(o *op, f *Filter, below uint64) []removal {
	var found []removal
	o.each(func(_ *segment, r *record.Record, _ []byte) {
		if r.Kind == record.Message && r.Seq < below && f.matchBytes(r.Subject) {
			found = append(found, removal{r.Seq, r.Time})
		}
	})
	return found
}

// placeRollup adds what the message just placed replaces.
func (s *store) placeRollup(o *op, m *RawMsg) error {
	at := s.end.seq
	if m.Rollup == RollupAll {
		return s.placeCompact(o, at, at)
	}
	f := literalFilter(m.Subject)
	gone, err := s.matching(f, at)
	if err != nil {
		return err
	}
	gone = append(gone, s.placed(o, f, at)...)
	if len(gone) == 0 {
		return nil
	}
	return s.placeGone(o, gone, at, true)
}

// Purge implements Store.
func (s *store) Purge() (uint64, error) { return s.PurgeEx("", 0, 0) }

// PurgeEx implements Store.
func (s *store) PurgeEx(subject string, seq, keep uint64) (uint64, error) {
	w := newWaiter()
	s.purge(subject, seq, keep, w.op)
	r := w.wait()
	return r.removed, r.err
}

// PurgeMsgs implements Store.
func (s *store) PurgeMsgs(subject string, seq, keep uint64, done func(uint64, error)) {
	s.purge(subject, seq, keep, func(o *op) { done(o.removed, o.err) })
}

// Compact implements Store.
func (s *store) Compact(seq uint64) (uint64, error) {
	w := newWaiter()
	s.compact(seq, w.op)
	r := w.wait()
	return r.removed, r.err
}

func (s *store) compact(seq uint64, done func(*op)) {
	if seq == 0 {
		s.purge("", 0, 0, done)
		return
	}
	s.operate(done, func(o *op) error {
		if seq > record.MaxSeq {
			return ErrSequenceMismatch // no message could follow
		}
		s.mu.RLock()
		first := s.first.seq
		s.mu.RUnlock()
		if seq < first {
			return nil
		}
		return s.placeCompact(o, seq, 0)
	})
}

// operate runs an operation that place prepares under wmu.
func (s *store) operate(done func(*op), place func(*op) error) {
	if s.disk != nil {
		s.disk.repairNow()
	}
	o := newOp()
	o.done = done
	s.wmu.Lock()
	err := s.writable()
	if err == nil {
		err = place(o)
	}
	switch {
	case err != nil:
		s.refuse(o, err)
		s.wmu.Unlock()
	case len(o.acts) == 0:
		s.follow(o)
		s.wmu.Unlock()
	default:
		s.submit(o) // unlocks
	}
	s.runCallbacks()
}

func (s *store) purge(subject string, seq, keep uint64, done func(*op)) {
	all := matchesAll(subject)
	switch {
	case all && seq > 1:
		s.compact(seq, done)
		return
	case seq == 1:
		s.operate(done, func(*op) error { return nil })
		return
	}
	s.operate(done, func(o *op) error {
		switch {
		case all && keep == 0:
			return s.placeCompact(o, s.end.seq+1, 0)
		case all:
			seq := s.oldestOf(keep)
			if seq == 0 {
				return nil
			}
			return s.placeCompact(o, seq, 0)
		}
		below := uint64(math.MaxUint64)
		if seq > 1 {
			below = seq
		}
		f := NewFilter(subject)
		found, err := s.matching(f, math.MaxUint64)
		if err != nil || uint64(len(found)) <= keep {
			return err
		}
		found = found[:uint64(len(found))-keep]
		n, _ := slices.BinarySearchFunc(found, below, func(r removal, seq uint64) int {
			if r.seq < seq {
				return -1
			}
			return 1
		})
		if n == 0 {
			return nil
		}
		return s.placeGone(o, found[:n], 0, true)
	})
}

// oldestOf is the sequence of the oldest of the n latest messages; 0 if there are no
// older ones. n is not 0.
func (s *store) oldestOf(n uint64) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.msgs <= n {
		return 0
	}
	before := s.msgs - n
	for _, b := range s.blocks {
		if before >= b.msgs {
			before -= b.msgs
			continue
		}
		// The first sequence up to which there are more than before.
		first := b.first.seq
		return first + uint64(sort.Search(int(b.last.seq-first), func(i int) bool { return b.liveBelow(first+uint64(i)+1) > before }))
	}
	return 0
}

// placeCompact adds the removal of everything below seq to o, after its record
// at. On disk the blocks below are deleted, and what goes of the block that
// holds seq gets tombstones.
func (s *store) placeCompact(o *op, seq, at uint64) error {
	if s.disk != nil {
		if err := s.placeFloor(o, seq); err != nil {
			return err
		}
	}
	if seq > s.end.seq+1 {
		s.end.seq = seq - 1
	}
	o.acts = append(o.acts, action{kind: actCompact, at: at, seq: seq, bulk: true})
	return nil
}
