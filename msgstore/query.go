package msgstore

import "slices"

// firstOf returns the first live message of a subject whose entry is info.
// The caller holds mu for reading.
func (s *store) firstOf(subject string, info *subjectInfo) (*block, *cache, *ent, error) {
	seq, err := s.firstSeqOf(subject, info, s.cached)
	if err != nil {
		return nil, nil, nil, err
	}
	b, _ := s.blockFor(seq)
	c, e, err := s.fetch(b, seq)
	return b, c, e, err
}

// firstSeqOf returns the sequence of the first live message of a subject. It
// gets block contents from get.
func (s *store) firstSeqOf(subject string, info *subjectInfo, get func(*block) (*cache, error)) (uint64, error) {
	seq := info.lower()
	if info.first&inexact == 0 {
		return seq, nil
	}
	for i := s.blockOf(seq); i < len(s.blocks); i++ {
		b := s.blocks[i]
		if b.msgs == 0 {
			continue
		}
		c, err := get(b)
		if err != nil {
			return 0, err
		}
		if n, ok := c.nextOf(b, subject, seq); ok {
			return n, nil
		}
	}
	return 0, ErrStoreMsgNotFound
}

// firstSeqLoading is firstSeqOf for those who hold mu for writing. It remembers
// what it found.
func (s *store) firstSeqLoading(subject string, info *subjectInfo) (uint64, error) {
	seq, err := s.firstSeqOf(subject, info, s.content)
	if err == nil {
		info.first = seq
	}
	return seq, err
}

// lastSeqOf returns the sequence of the last live message of a subject.
func (s *store) lastSeqOf(subject string, info *subjectInfo) (uint64, error) {
	seq := info.upper()
	if info.last&inexact == 0 {
		return seq, nil
	}
	for i := min(s.blockOf(seq), len(s.blocks)-1); i >= 0; i-- {
		b := s.blocks[i]
		if b.msgs == 0 {
			continue
		}
		c, err := s.cached(b)
		if err != nil {
			return 0, err
		}
		if n, ok := c.prevOf(b, subject, seq); ok {
			return n, nil
		}
	}
	return 0, ErrStoreMsgNotFound
}

// nextOf returns the first live message at or after seq with that subject.
func (c *cache) nextOf(b *block, subject string, seq uint64) (uint64, bool) {
	for i := c.find(seq); i < len(c.ents); i++ {
		e := &c.ents[i]
		if string(c.subject(e)) == subject && b.live(e.seq) {
			return e.seq, true
		}
	}
	return 0, false
}

// prevOf returns the last live message at or before seq with that subject.
func (c *cache) prevOf(b *block, subject string, seq uint64) (uint64, bool) {
	for i := c.find(seq + 1); i > 0; i-- {
		e := &c.ents[i-1]
		if string(c.subject(e)) == subject && b.live(e.seq) {
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
	err = s.read(func() error {
		validThrough = s.last.seq
		n = 0
		switch {
		case start > s.last.seq || s.msgs == 0:
			return nil
		case lastPerSubject:
			var err error
			n, err = s.subjectsFrom(start, f)
			return err
		}
		st, err := count.from(s, start, f)
		n = st.Msgs
		return err
	})
	return n, validThrough, err
}

// subjectsFrom counts the subjects whose last message is at or after start.
func (s *store) subjectsFrom(start uint64, f *Filter) (n uint64, err error) {
	if s.index == nil {
		return 0, nil
	}
	s.index.matchAny(f, func(subject string, i *subjectInfo) bool {
		if i.upper() < start {
			return true
		}
		if i.last&inexact != 0 && i.lower() < start {
			var last uint64
			if last, err = s.lastSeqOf(subject, i); err != nil {
				return false
			}
			if last < start {
				return true
			}
		}
		n++
		return true
	})
	return n, err
}

// counter counts messages from a sequence on, and goes on where it stopped when
// a block has to be loaded.
type counter struct {
	pos   uint64 // next sequence to look at; 0 before the first
	state SimpleState
	last  uint64 // visible when it began
}

// from returns number, first and last of the live messages at or after start
// that match. The caller holds mu for reading.
func (k *counter) from(s *store, start uint64, f *Filter) (SimpleState, error) {
	start = max(start, s.first.seq)
	if f == nil {
		return s.allFrom(start), nil
	}
	if k.pos == 0 || k.last != s.last.seq {
		*k = counter{pos: start, last: s.last.seq}
	}
	if s.index == nil {
		return SimpleState{}, nil // Raft logs have no subjects
	}
	if start == s.first.seq && k.pos == start {
		if done, err := k.fromIndex(s, f); done || err != nil {
			return k.state, err
		}
	}
	// The shorter side is counted. The other follows from the total; its first
	// message is then found by a search.
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

// fromIndex answers for the whole stream out of the subject index.
func (k *counter) fromIndex(s *store, f *Filter) (bool, error) {
	var st SimpleState
	var err error
	s.index.matchAny(f, func(subject string, i *subjectInfo) bool {
		var x SimpleState
		if x, err = s.stateOf(subject, i); err != nil {
			return false
		}
		if st.Msgs == 0 || x.First < st.First {
			st.First = x.First
		}
		st.Last = max(st.Last, x.Last)
		st.Msgs += x.Msgs
		return true
	})
	if err != nil {
		return false, err
	}
	k.state = st
	return true, nil
}

// stateOf returns the state of a subject.
func (s *store) stateOf(subject string, i *subjectInfo) (SimpleState, error) {
	first, err := s.firstSeqOf(subject, i, s.cached)
	if err != nil {
		return SimpleState{}, err
	}
	last, err := s.lastSeqOf(subject, i)
	return SimpleState{Msgs: i.total, First: first, Last: last}, err
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
	err := s.read(func() error {
		states = make(map[string]SimpleState)
		if s.index == nil {
			return nil
		}
		var err error
		s.index.matchAny(f, func(subject string, i *subjectInfo) bool {
			var st SimpleState
			if st, err = s.stateOf(subject, i); err != nil {
				return false
			}
			states[subject] = st
			return true
		})
		return err
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
	s.index.matchAny(NewFilter(filter), func(subject string, i *subjectInfo) bool {
		totals[subject] = i.total
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
	var seqs []uint64
	err := s.read(func() error {
		var err error
		seqs, err = s.lastSeqs(f, maxSeq, maxAllowed)
		return err
	})
	return seqs, err
}

// lastSeqs is MultiLastSeqs for those who hold mu for reading.
func (s *store) lastSeqs(f *Filter, maxSeq uint64, maxAllowed int) ([]uint64, error) {
	if s.index == nil {
		return nil, nil
	}
	if maxSeq == 0 {
		maxSeq = s.last.seq
	}
	var seqs []uint64
	var err error
	// Subjects that have newer messages than maxSeq are found by going back
	// through the stream once, however many they are.
	var behind map[string]struct{}
	s.index.matchAny(f, func(subject string, i *subjectInfo) bool {
		if i.lower() > maxSeq {
			return true
		}
		if i.upper() > maxSeq {
			if behind == nil {
				behind = make(map[string]struct{})
			}
			behind[subject] = struct{}{}
			return true
		}
		var last uint64
		if last, err = s.lastSeqOf(subject, i); err != nil {
			return false
		}
		seqs = append(seqs, last)
		if maxAllowed > 0 && len(seqs) > maxAllowed {
			err = ErrTooManyResults
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	for start := maxSeq; len(behind) > 0; {
		_, e, seq, err := s.prev(nil, &start)
		switch err.(type) {
		case nil:
		case *BadRecordError:
			if start = seq - 1; start == 0 {
				clear(behind)
			}
			continue
		default:
			if err == ErrStoreEOF {
				clear(behind)
				continue
			}
			return nil, err
		}
		subject, err := s.subjectAt(e.seq)
		if err != nil {
			return nil, err
		}
		if _, ok := behind[string(subject)]; ok {
			delete(behind, string(subject))
			seqs = append(seqs, e.seq)
			if maxAllowed > 0 && len(seqs) > maxAllowed {
				return nil, ErrTooManyResults
			}
		}
		if start = e.seq - 1; start == 0 {
			break
		}
	}
	slices.Sort(seqs)
	return seqs, nil
}

func (s *store) subjectAt(seq uint64) ([]byte, error) {
	c, e, err := s.lookup(seq)
	if err != nil {
		return nil, err
	}
	return c.subject(e), nil
}

// MultiLastMsgs implements Store.
func (s *store) MultiLastMsgs(filters []string, minSeq, maxSeq uint64, maxAllowed int, fn func(*StoredMsg, int) bool) (total, remaining int, err error) {
	f := NewFilter(filters...)
	var b Batch
	err = s.read(func() error {
		b.Reset()
		seqs, err := s.lastSeqs(f, maxSeq, maxAllowed)
		if err != nil {
			return err
		}
		total = len(seqs)
		at, _ := slices.BinarySearch(seqs, minSeq)
		for _, seq := range seqs[at:] {
			c, e, err := s.lookup(seq)
			if err != nil {
				return err
			}
			b.add(c, e)
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	remaining = len(b.Msgs)
	for i := range b.Msgs {
		remaining--
		if !fn(&b.Msgs[i], remaining) {
			break
		}
	}
	return total, remaining, nil
}
