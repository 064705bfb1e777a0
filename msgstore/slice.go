package msgstore

import "time"

// A removal of many messages is applied in slices: most of them leave the stream
// before the op as a whole is applied, a few milliseconds at a time, so that nobody
// waits long for store.mu. The op is durable by then, and the ones behind it wait.

const (
	// sliceTime bounds a slice, sliceMsgs the rest that is applied with the op, and
	// what is done between two looks at the clock.
	sliceTime = 4 * time.Millisecond
	sliceMsgs = 2048
	sliceStep = 64
)

// slice removes a part of what o is going to remove, and says whether it may be called
// again. Called without store.mu; o is the oldest op in flight, and durable.
func (s *store) slice(o *op) bool {
	for i := range o.acts {
		a := &o.acts[i]
		switch {
		case a.kind == actCompact:
		case a.kind == actRemove && a.bulk && len(a.seqs) > sliceMsgs:
		default:
			continue
		}
		s.mu.RLock()
		seq, more := s.nextGone(o, a)
		b, _ := s.blockFor(seq)
		s.mu.RUnlock()
		if !more {
			continue
		}
		if s.disk != nil && b != nil {
			s.disk.load(b) // on error drop sees it, too
		}
		s.mu.Lock()
		s.sliceOf(o, a)
		s.mu.Unlock()
		return true
	}
	return false
}

// nextGone is the next message that a removes, and whether there are enough of them
// for another slice. The caller holds store.mu for reading.
func (s *store) nextGone(o *op, a *action) (seq uint64, more bool) {
	if a.kind == actRemove {
		more = len(a.seqs) > sliceMsgs && a.seqs[0] <= s.last.seq
		return a.seqs[0], more
	}
	if a.seq > max(s.last.seq, o.lastSeq) {
		return 0, false // everything goes, which is fast
	}
	n := uint64(0)
	for _, b := range s.blocks {
		if n += b.liveBelow(a.seq); n > sliceMsgs {
			return s.first.seq, true
		}
		if b.last.seq >= a.seq {
			break
		}
	}
	return 0, false
}

// sliceOf removes messages until it has taken long enough, or needs the content of a
// block that is not in memory. The caller holds store.mu.
func (s *store) sliceOf(o *op, a *action) {
	s.notify.begin(o)
	msgs, bytes := o.removed, o.removedBytes
	var loaded *block
	for end := time.Now().Add(sliceTime); time.Now().Before(end); {
		for range sliceStep {
			seq, more := uint64(0), len(a.seqs) > sliceMsgs
			if a.kind == actCompact {
				seq, more = s.first.seq, s.msgs > 0 && s.first.seq < a.seq
			} else if more {
				seq = a.seqs[0]
			}
			if !more || seq > s.last.seq { // the rest is for apply
				end = time.Time{}
				break
			}
			b, i := s.blockFor(seq)
			if b != nil && b != loaded {
				if loaded != nil && b.cache.Load() == nil && s.disk != nil {
					end = time.Time{}
					break
				}
				loaded = b
			}
			if a.kind == actRemove {
				a.seqs = a.seqs[1:]
				s.found(seq)
			}
			if b != nil {
				s.drop(o, b, i, seq, true)
			}
		}
	}
	a.removed += o.removed - msgs
	a.bytes += o.removedBytes - bytes
}
