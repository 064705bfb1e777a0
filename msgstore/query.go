package msgstore

import (
	"bytes"
	"slices"
)

// firstSeqLoading returns the sequence of the first live message of a subject,
// and remembers it. The caller holds mu for writing.
func (s *store) firstSeqLoading(subject []byte, info *subjectInfo) (uint64, error) {
	seq := info.lower()
	if info.first&inexact == 0 {
		return seq, nil
	}
	for i := s.blockOf(seq); i < len(s.blocks); i++ {
		b := s.blocks[i]
		if b.msgs == 0 {
			continue
		}
		c, err := s.content(b)
		if err != nil {
			return 0, err
		}
		if n, ok := c.nextOf(b, subject, seq); ok {
			info.first = n
			return n, nil
		}
	}
	return 0, ErrStoreMsgNotFound
}

// nextOf returns the first live message at or after seq with that subject.
func (c *cache) nextOf(b *block, subject []byte, seq uint64) (uint64, bool) {
	for i := c.find(seq); i < len(c.ents); i++ {
		e := &c.ents[i]
		if bytes.Equal(c.subject(e), subject) && b.live(e.seq) {
			return e.seq, true
		}
	}
	return 0, false
}

// liveBelow counts the live messages of the stream with a sequence below seq.
func (s *store) liveBelow(seq uint64) uint64 {
	var n uint64
	for _, b := range s.blocks {
		if b.msgs > 0 && b.first.seq >= seq {
			break
		}
		n += b.liveBelow(seq)
	}
	return n
}

// NumPending implements Store.
func (s *store) NumPending(start uint64, filter string, lastPerSubject bool) (uint64, uint64, error) {
	return s.NumPendingMulti(start, NewFilter(filter), lastPerSubject)
}

// NumPendingMulti implements Store.
func (s *store) NumPendingMulti(start uint64, f *Filter, lastPerSubject bool) (n, validThrough uint64, err error) {
	var count counter
	var subjects subjectCounter
	err = s.read(func() error {
		validThrough = s.last.seq
		n = 0
		switch {
		case start > s.last.seq || s.msgs == 0:
			return nil
		case lastPerSubject:
			var err error
			n, err = subjects.from(s, start, f)
			return err
		case start <= s.first.seq && f != nil && s.index != nil:
			n = s.index.sum(f)
			return nil
		}
		st, err := count.from(s, start, f)
		n = st.Msgs
		return err
	})
	return n, validThrough, err
}

// CountPending implements Store.
func (s *store) CountPending(start uint64, f *Filter, scan int) (n, next uint64, err error) {
	err = s.read(func() error {
		start = max(start, s.first.seq)
		switch {
		case start > s.last.seq || s.msgs == 0:
			next = s.last.seq + 1
			return nil
		case f == nil:
			n, next = s.msgs-s.liveBelow(start), s.last.seq+1
			return nil
		case s.index != nil && n == 0:
			switch sum := s.index.sum(f); {
			case start <= s.first.seq || sum == 0:
				n, next = sum, s.last.seq+1
				return nil
			case sum == s.msgs:
				n, next = s.msgs-s.liveBelow(start), s.last.seq+1
				return nil
			}
		}
		for {
			_, e, seq, err := s.next(f, &start, s.last.seq, &scan)
			if _, bad := err.(*BadRecordError); bad {
				start = seq + 1
				continue
			}
			switch {
			case err == ErrStoreEOF:
				next = s.last.seq + 1
				return nil
			case err != nil:
				return err
			case e == nil:
				next = seq
				return nil
			}
			n++
			start = seq + 1
		}
	})
	return n, next, err
}

// subjectCounter counts subjects, and goes on where it stopped when a block has
// to be loaded.
type subjectCounter struct {
	last    uint64 // visible when it began
	n       uint64
	pos     uint64
	pending map[string]struct{} // subjects of which that is not known yet
}

// from counts the subjects whose last message is at or after start. Those whose
// last sequence is not known are looked for from start on.
func (k *subjectCounter) from(s *store, start uint64, f *Filter) (uint64, error) {
	if s.index == nil {
		return 0, nil
	}
	if k.pending == nil || k.last != s.last.seq {
		*k = subjectCounter{last: s.last.seq, pos: start, pending: make(map[string]struct{})}
		s.index.matchAny(f, func(subject []byte, i *subjectInfo) bool {
			switch {
			case i.upper() < start:
			case i.last&inexact == 0 || i.lower() >= start:
				k.n++
			default:
				k.pending[string(subject)] = struct{}{}
			}
			return true
		})
	}
	for len(k.pending) > 0 {
		c, e, seq, err := s.next(f, &k.pos, k.last, nil)
		if err == ErrStoreEOF {
			break
		}
		if _, bad := err.(*BadRecordError); bad {
			k.pos = seq + 1
			continue
		}
		if err != nil {
			return 0, err
		}
		if _, ok := k.pending[string(c.subject(e))]; ok {
			delete(k.pending, string(c.subject(e)))
			k.n++
		}
		k.pos = e.seq + 1
	}
	return k.n, nil
}

// counter counts messages from a sequence on, and goes on where it stopped when
// a block has to be loaded.
type counter struct {
	pos   uint64 // next sequence to look at; 0 before the first
	back  uint64 // the same, from the end
	state SimpleState
	last  uint64 // visible when it began
	whole bool
}

// from returns number, first and last of the live messages at or after start
// that match. The caller holds mu for reading.
func (k *counter) from(s *store, start uint64, f *Filter) (SimpleState, error) {
	start = max(start, s.first.seq)
	if f == nil || s.index != nil && s.index.sum(f) == s.msgs {
		return s.allFrom(start), nil // everything matches
	}
	if k.pos == 0 || k.last != s.last.seq {
		*k = counter{pos: start, back: s.last.seq, last: s.last.seq, whole: start == s.first.seq && s.index != nil}
	}
	if k.whole {
		return k.wholeStream(s, f)
	}
	for {
		_, e, seq, err := s.next(f, &k.pos, k.last, nil)
		switch {
		case err == ErrStoreEOF:
			return k.state, nil
		case err != nil:
			if _, bad := err.(*BadRecordError); !bad {
				return SimpleState{}, err
			}
			k.pos = seq + 1
			continue
		}
		if k.state.Msgs == 0 {
			k.state.First = e.seq
		}
		k.state.Msgs++
		k.state.Last = e.seq
		k.pos = e.seq + 1
	}
}

// allFrom is from for all subjects.
func (s *store) allFrom(start uint64) SimpleState {
	st := SimpleState{Msgs: s.msgs - s.liveBelow(start)}
	if st.Msgs == 0 {
		return SimpleState{}
	}
	for i := s.blockOf(start); i < len(s.blocks); i++ {
		if seq, ok := s.blocks[i].nextLive(start); ok {
			st.First = seq
			break
		}
	}
	for i := len(s.blocks) - 1; i >= 0; i-- {
		b := s.blocks[i]
		if b.msgs == 0 {
			continue
		}
		st.Last, _ = b.deleted.PrevAbsent(b.last.seq)
		break
	}
	return st
}

// wholeStream answers for all messages out of the subject index: the number is
// a sum, first and last are found by a search from either end.
func (k *counter) wholeStream(s *store, f *Filter) (SimpleState, error) {
	k.state.Msgs = s.index.sum(f)
	if k.state.Msgs == 0 {
		return SimpleState{}, nil
	}
	for k.state.First == 0 {
		_, _, seq, err := s.next(f, &k.pos, k.last, nil)
		if _, bad := err.(*BadRecordError); bad {
			k.pos = seq + 1
			continue
		}
		if err != nil && err != ErrStoreEOF {
			return SimpleState{}, err
		}
		k.state.First = seq
	}
	for k.state.Last == 0 {
		_, _, seq, err := s.prev(f, &k.back)
		if _, bad := err.(*BadRecordError); bad {
			k.back = seq - 1
			continue
		}
		if err != nil && err != ErrStoreEOF {
			return SimpleState{}, err
		}
		k.state.Last = seq
	}
	return k.state, nil
}

// FilteredState implements Store.
func (s *store) FilteredState(start uint64, filter string) (SimpleState, error) {
	f := NewFilter(filter)
	var count counter
	var st SimpleState
	err := s.read(func() error {
		switch {
		case start > s.last.seq:
			st = SimpleState{First: s.first.seq, Last: s.last.seq}
			return nil
		case f == nil && start <= s.first.seq:
			st = SimpleState{Msgs: s.msgs, First: s.first.seq, Last: s.last.seq}
			return nil
		}
		var err error
		st, err = count.from(s, start, f)
		return err
	})
	return st, err
}

// SubjectsState implements Store.
func (s *store) SubjectsState(filter string) (map[string]SimpleState, error) {
	f := NewFilter(filter)
	var states map[string]SimpleState
	var start, last uint64
	exact := false
	err := s.read(func() error {
		if s.index == nil {
			states = map[string]SimpleState{}
			return nil
		}
		if states == nil || last != s.last.seq {
			states = make(map[string]SimpleState)
			start, last = 0, s.last.seq
			exact = true
			s.index.matchAny(f, func(subject []byte, i *subjectInfo) bool {
				exact = exact && (i.first|i.last)&inexact == 0
				states[string(subject)] = SimpleState{Msgs: i.total, First: i.first, Last: i.last}
				return exact
			})
			if !exact {
				clear(states)
			}
		}
		// What the index does not know exactly, the messages tell.
		for !exact {
			c, e, seq, err := s.next(f, &start, last, nil)
			if err == ErrStoreEOF {
				break
			}
			if _, bad := err.(*BadRecordError); bad {
				start = seq + 1
				continue
			}
			if err != nil {
				return err
			}
			st := states[string(c.subject(e))]
			if st.Msgs == 0 {
				st.First = e.seq
			}
			st.Msgs++
			st.Last = e.seq
			states[string(c.subject(e))] = st
			start = e.seq + 1
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return states, nil
}

// SubjectsTotals implements Store.
func (s *store) SubjectsTotals(filter string) map[string]uint64 {
	totals := make(map[string]uint64)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.index == nil || s.closed {
		return totals
	}
	s.index.matchAny(NewFilter(filter), func(subject []byte, i *subjectInfo) bool {
		totals[string(subject)] = i.total
		return true
	})
	return totals
}

// AllLastSeqs implements Store.
func (s *store) AllLastSeqs() ([]uint64, error) {
	return s.MultiLastSeqs(nil, 0, 0)
}

// MultiLastSeqs implements Store.
func (s *store) MultiLastSeqs(filters []string, maxSeq uint64, maxAllowed int) ([]uint64, error) {
	f := NewFilter(filters...)
	var l lastFinder
	var seqs []uint64
	err := s.read(func() error {
		var err error
		seqs, err = l.find(s, f, maxSeq, maxAllowed)
		return err
	})
	return seqs, err
}

// lastFinder looks for the last messages of subjects, and goes on where it
// stopped when a block has to be loaded.
type lastFinder struct {
	began  bool
	last   uint64 // visible when it began
	pos    uint64
	seqs   []uint64
	behind map[string]struct{} // subjects to be found by going back from pos
}

// find returns for each subject that matches its last sequence up to maxSeq.
// Where that is not in the index, because there are newer messages or the number
// is not exact, it goes back through the stream once, however many they are.
func (l *lastFinder) find(s *store, f *Filter, maxSeq uint64, maxAllowed int) ([]uint64, error) {
	if s.index == nil {
		return nil, nil
	}
	if !l.began || l.last != s.last.seq {
		if maxSeq == 0 {
			maxSeq = s.last.seq
		}
		*l = lastFinder{began: true, last: s.last.seq, pos: maxSeq, behind: make(map[string]struct{})}
		s.index.matchAny(f, func(subject []byte, i *subjectInfo) bool {
			switch {
			case i.lower() > maxSeq:
			case i.upper() > maxSeq || i.last&inexact != 0:
				l.behind[string(subject)] = struct{}{}
			default:
				l.seqs = append(l.seqs, i.last)
			}
			return maxAllowed <= 0 || len(l.seqs) <= maxAllowed
		})
	}
	for len(l.behind) > 0 && (maxAllowed <= 0 || len(l.seqs) <= maxAllowed) {
		c, e, seq, err := s.prev(f, &l.pos)
		if err == ErrStoreEOF {
			break
		}
		if _, bad := err.(*BadRecordError); !bad {
			if err != nil {
				return nil, err
			}
			if _, ok := l.behind[string(c.subject(e))]; ok {
				delete(l.behind, string(c.subject(e)))
				l.seqs = append(l.seqs, seq)
			}
		}
		if seq <= 1 {
			break
		}
		l.pos = seq - 1
	}
	if maxAllowed > 0 && len(l.seqs) > maxAllowed {
		return nil, ErrTooManyResults
	}
	slices.Sort(l.seqs)
	return l.seqs, nil
}

// MultiLastMsgs implements Store.
func (s *store) MultiLastMsgs(filters []string, minSeq, maxSeq uint64, maxAllowed, maxBytes int, fn func(*StoredMsg, int) bool) (total, remaining int, err error) {
	f := NewFilter(filters...)
	var b Batch
	var before []uint64
	for {
		var l lastFinder
		var seqs []uint64
		err := s.read(func() error {
			var err error
			seqs, err = l.find(s, f, maxSeq, maxAllowed)
			return err
		})
		if err != nil {
			return 0, 0, err
		}
		total = len(seqs)
		at, _ := slices.BinarySearch(seqs, minSeq)
		b.Reset()
		loaded, err := s.loadMsgs(seqs[at:], maxBytes, &b)
		if err != nil {
			return 0, 0, err
		}
		// Messages do not change: if all are still there, they are as they were
		// at the moment when the list was made. One that is in the same list again
		// was damaged and removed; its subject is not known any more.
		if len(b.Msgs) == loaded || slices.Equal(seqs, before) {
			remaining = len(b.Msgs) + len(seqs) - at - loaded
			break
		}
		before = seqs
	}
	for i := range b.Msgs {
		remaining--
		if !fn(&b.Msgs[i], remaining) {
			break
		}
	}
	return total, remaining, nil
}
