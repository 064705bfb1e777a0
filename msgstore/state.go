package msgstore

// FastState implements Store.
func (s *store) FastState(st *State) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.fastState(st)
}

func (s *store) fastState(st *State) {
	*st = State{
		Msgs:      s.msgs,
		Bytes:     s.bytes,
		FirstSeq:  s.first.seq,
		FirstTime: s.first.ts,
		LastSeq:   s.last.seq,
		LastTime:  s.last.ts,
	}
	if s.index != nil {
		st.NumSubjects = s.index.len()
	}
	if s.last.seq > s.first.seq {
		st.NumDeleted = s.last.seq - s.first.seq + 1 - s.msgs
	}
	if len(s.lost.Msgs) > 0 || s.lost.Bytes > 0 {
		st.Lost = &LostData{Msgs: append([]uint64(nil), s.lost.Msgs...), Bytes: s.lost.Bytes}
	}
}

// MaxDeletedListed bounds the sequences that State lists. What a stream lacks may be
// any range of sequences, and it is asked for by clients.
const MaxDeletedListed = 1 << 20

// State implements Store.
func (s *store) State() State {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var st State
	s.fastState(&st)
	if st.NumDeleted > 0 {
		st.Deleted = make([]uint64, 0, min(st.NumDeleted, MaxDeletedListed))
		s.eachDeleted(func(r SeqRange) {
			for i := range min(r.Num, MaxDeletedListed-uint64(len(st.Deleted))) {
				st.Deleted = append(st.Deleted, r.First+i)
			}
		})
	}
	return st
}

// eachDeleted calls fn with the runs of missing sequences in [first, last],
// ascending.
func (s *store) eachDeleted(fn func(SeqRange)) {
	next := s.first.seq // first sequence that is not accounted for
	for _, b := range s.blocks {
		if b.msgs == 0 {
			continue
		}
		if b.first.seq > next {
			fn(SeqRange{next, b.first.seq - next})
		}
		for r := range b.deleted.Runs() {
			fn(SeqRange{r.First, r.Last - r.First + 1})
		}
		next = b.last.seq + 1
	}
	if next <= s.last.seq {
		fn(SeqRange{next, s.last.seq - next + 1})
	}
}

// Utilization implements Store.
func (s *store) Utilization() (total, reported uint64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.disk == nil {
		return s.bytes, s.bytes, nil
	}
	for _, b := range s.blocks {
		total += uint64(b.size)
	}
	return total, s.bytes, nil
}

// RegisterStorageUpdates implements Store.
func (s *store) RegisterStorageUpdates(fn func(msgs, bytes int64, seq uint64, subject string)) {
	s.mu.Lock()
	s.updates = fn
	bytes := s.bytes
	s.mu.Unlock()
	if fn != nil && bytes > 0 && s.disk != nil {
		fn(0, int64(bytes), 0, "")
	}
}

// RegisterStorageRemoveMsg implements Store.
func (s *store) RegisterStorageRemoveMsg(fn func(seq uint64)) {
	s.mu.Lock()
	s.remove = fn
	s.mu.Unlock()
}

// RegisterProcessJetStreamMsg implements Store.
func (s *store) RegisterProcessJetStreamMsg(fn func(subject string, header, data []byte)) {
	s.mu.Lock()
	s.process = fn
	s.mu.Unlock()
}

// found takes a sequence off the list of lost ones.
func (s *store) found(seq uint64) {
	for i, l := range s.lost.Msgs {
		if l == seq {
			s.lost.Msgs = append(s.lost.Msgs[:i], s.lost.Msgs[i+1:]...)
			if s.disk != nil {
				s.disk.found = append(s.disk.found, seq)
			}
			return
		}
	}
}
