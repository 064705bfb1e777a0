package msgstore

import "time"

// sameLimits says whether two configurations remove the same messages.
func (c *Config) sameLimits(x *Config) bool {
	return c.MaxMsgs == x.MaxMsgs && c.MaxBytes == x.MaxBytes && c.MaxMsgsPerSubject == x.MaxMsgsPerSubject && c.Discard == x.Discard
}

// overLimit says whether max_msgs or max_bytes ask for the removal of the oldest
// message.
func (s *store) overLimit() bool {
	return s.cfg.Discard == DiscardOld && s.msgs > 0 &&
		(s.cfg.MaxMsgs > 0 && s.msgs > uint64(s.cfg.MaxMsgs) || s.cfg.MaxBytes > 0 && s.bytes > uint64(s.cfg.MaxBytes))
}

// limitAll removes the oldest messages until max_msgs and max_bytes hold.
func (s *store) limitAll(o *op) {
	for s.overLimit() && s.limitOne(o, s.first.seq) {
	}
}

// limitSubject removes the oldest messages of a subject until max remain.
func (s *store) limitSubject(o *op, subject []byte, max uint64) {
	for {
		info := s.index.get(stringOf(subject))
		if info == nil || info.total <= max {
			return
		}
		seq, err := s.firstSeqLoading(subject, info)
		if err != nil || !s.limitOne(o, seq) {
			return
		}
	}
}

// limitOne removes a live message because of a limit.
func (s *store) limitOne(o *op, seq uint64) bool {
	b, i := s.blockFor(seq)
	if b == nil {
		return false
	}
	return s.drop(o, b, i, seq, false)
}

// surplus counts the messages beyond max_msgs_per_subject.
func (s *store) surplus() (n uint64) {
	p := uint64(s.cfg.MaxMsgsPerSubject)
	if p == 0 || s.index == nil {
		return 0
	}
	s.index.matchAny(nil, func(_ []byte, i *subjectInfo) bool {
		if i.total > p {
			n += i.total - p
		}
		return true
	})
	return n
}

// enforcement makes limits hold that are new: first max_msgs and max_bytes, then, in
// one walk over the stream, max_msgs_per_subject. It is done in slices, so that
// nobody waits long for store.mu, while nothing else changes the store.
type enforcement struct {
	s       *store
	o       *op
	counted bool
	over    uint64 // messages beyond the limit of their subjects
	seq     uint64 // where the walk is
}

// next is the message that is looked at next; false if all limits hold. The caller
// holds store.mu, for reading at least.
func (e *enforcement) next() (seq uint64, ok bool) {
	s := e.s
	if s.overLimit() {
		return s.first.seq, true
	}
	if !e.counted {
		e.counted, e.over = true, s.surplus()
	}
	if e.over == 0 {
		return 0, false
	}
	for i := s.blockOf(e.seq); i < len(s.blocks); i++ {
		if seq, ok := s.blocks[i].nextLive(e.seq); ok {
			return seq, true
		}
	}
	return 0, false
}

// some removes messages until the time is over, or a block is needed that is not in
// memory. It says whether there is more to do. The caller holds store.mu.
func (e *enforcement) some(end time.Time) (more bool) {
	s := e.s
	var loaded *block
	for n := 1; ; n++ {
		seq, ok := e.next()
		if !ok {
			return false
		}
		b, i := s.blockFor(seq)
		if b != loaded {
			if loaded != nil && b.cache.Load() == nil && s.disk != nil {
				return true
			}
			loaded = b
		}
		if !e.counted {
			s.drop(e.o, b, i, seq, false)
		} else if e.seq = seq + 1; s.oneTooMany(b, seq) {
			e.over--
			s.drop(e.o, b, i, seq, false)
		}
		if n%sliceStep == 0 && !time.Now().Before(end) {
			return true
		}
	}
}

// oneTooMany says whether there are too many messages of the subject of seq, in b.
func (s *store) oneTooMany(b *block, seq uint64) bool {
	c, err := s.contentFrom(b, seq)
	if err != nil {
		return false
	}
	n, ok := c.at(seq)
	if !ok {
		return false // it is damaged
	}
	info := s.index.get(stringOf(c.subject(&c.ents[n])))
	return info != nil && info.total > uint64(s.cfg.MaxMsgsPerSubject)
}

// enforce makes the limits hold, with store.mu in slices. The caller holds wmu, and
// nothing is in flight.
func (s *store) enforce(o *op) {
	e := enforcement{s: s, o: o}
	for more := true; more; {
		s.mu.RLock()
		seq, ok := e.next()
		b, _ := s.blockFor(seq)
		s.mu.RUnlock()
		if !ok {
			return
		}
		if s.disk != nil && b != nil {
			s.disk.load(b) // on error drop sees it, too
		}
		s.mu.Lock()
		s.notify.begin(o)
		more = e.some(time.Now().Add(sliceTime))
		s.mu.Unlock()
	}
}
