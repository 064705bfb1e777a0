package msgstore

import (
	"math"

	"github.com/natsd/natsd/msgstore/internal/buffers"
	"github.com/natsd/natsd/msgstore/internal/record"
)

// maxSubject is the longest subject that the format can hold.
const maxSubject = math.MaxUint16

// skipLimit is the number of skipped sequences of a block above which a range begins a
// new one, so that the deleted set of a block stays small.
const skipLimit = 65536

// StoreMsg implements Store.
func (s *store) StoreMsg(subject string, header, data []byte, ttl int64) (uint64, int64, error) {
	m := [1]RawMsg{{Subject: subject, Header: header, Data: data, TTL: ttl}}
	w := newWaiter()
	ts := s.storeRaw(m[:], true, true, w.op)
	r := w.wait()
	if r.err != nil {
		return 0, 0, r.err
	}
	return r.seq, ts, nil
}

// StoreRawMsg implements Store.
func (s *store) StoreRawMsg(subject string, header, data []byte, seq uint64, ts, ttl int64, discardNew bool) error {
	m := [1]RawMsg{{Subject: subject, Header: header, Data: data, Seq: seq, Time: ts, TTL: ttl}}
	w := newWaiter()
	s.storeRaw(m[:], discardNew, false, w.op)
	return w.wait().err
}

// StoreRawMsgs implements Store.
func (s *store) StoreRawMsgs(batch []RawMsg, done func(error)) {
	s.storeRaw(batch, false, false, func(o *op) { done(o.err) })
}

// InFlight implements Store.
func (s *store) InFlight(fn func(m *RawMsg)) {
	s.wmu.Lock() // nobody adds to an op in flight
	defer s.wmu.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var m RawMsg
	for _, o := range s.flight {
		rollups := o.rollups
		o.each(func(_ *segment, r *record.Record, _ []byte) {
			if r.Kind != record.Message {
				return
			}
			m = RawMsg{Subject: stringOf(r.Subject), Header: r.Header, Data: r.Data, Seq: r.Seq, Time: r.Time}
			if len(rollups) > 0 && rollups[0].seq == r.Seq {
				m.Rollup, rollups = rollups[0].kind, rollups[1:]
			}
			fn(&m)
		})
	}
}

// SkipMsg implements Store.
func (s *store) SkipMsg(seq uint64) (uint64, error) {
	m := [1]RawMsg{{Seq: seq, Skip: 1}}
	w := newWaiter()
	s.storeRaw(m[:], false, false, w.op)
	r := w.wait()
	if r.err != nil {
		return 0, r.err
	}
	return r.seq, nil
}

// SkipMsgs implements Store.
func (s *store) SkipMsgs(seq, num uint64) error {
	if num == 0 {
		return nil
	}
	m := [1]RawMsg{{Seq: seq, Skip: num}}
	w := newWaiter()
	s.storeRaw(m[:], false, false, w.op)
	return w.wait().err
}

// waiter is the blocking form of a callback.
type waiter struct {
	ch chan waited
}

type waited struct {
	seq     uint64
	removed uint64
	err     error
}

func newWaiter() waiter { return waiter{ch: make(chan waited, 1)} }

func (w waiter) op(o *op) { w.ch <- waited{seq: o.lastSeq, removed: o.removed, err: o.err} }

func (w waiter) wait() waited { return <-w.ch }

// storeRaw is the way of all messages. With stamp the time is the clock's; it
// returns the last time used.
func (s *store) storeRaw(batch []RawMsg, discardNew, stamp bool, done func(*op)) (ts int64) {
	o := newOp()
	o.done = done
	s.wmu.Lock()
	ts, err := s.place(o, batch, discardNew, stamp)
	switch {
	case err != nil:
		s.refuse(o, err)
		s.wmu.Unlock()
	case len(o.segs) == 0:
		s.follow(o)
		s.wmu.Unlock()
	default:
		s.submit(o) // unlocks
	}
	s.runCallbacks()
	return ts
}

// refuse ends an op that was not submitted. The caller holds wmu.
func (s *store) refuse(o *op, err error) {
	if o.disk.flying { // a part of it is on its way: the disk has failed
		s.disk.seal(o, err)
		s.disk.queue.Start()
		return
	}
	o.freeSegments()
	o.acts = o.acts[:0]
	o.err = err
	s.follow(o)
}

// place checks a batch and encodes it into o. The caller holds wmu. On error
// the positions are as before.
func (s *store) place(o *op, batch []RawMsg, discardNew, stamp bool) (ts int64, err error) {
	if err := s.writable(); err != nil {
		return 0, err
	}
	saved, end := s.tail, s.end
	bytes := 0
	for i := range batch {
		m := &batch[i]
		if m.Seq != 0 && m.Seq != end.seq+1 {
			return 0, ErrSequenceMismatch
		}
		if m.Skip > 0 {
			if end.seq > record.MaxSeq || m.Skip > record.MaxSeq-end.seq {
				return 0, ErrSequenceMismatch
			}
			end.seq += m.Skip
			continue
		}
		if len(m.Subject) > maxSubject || s.tracks && !record.ValidSubject(m.Subject) {
			return 0, ErrBadSubject
		}
		if !record.Storable(m.Subject, m.Header, m.Data) {
			return 0, ErrBadHeader
		}
		size := record.Size(len(m.Subject), len(m.Header), len(m.Data))
		if size > record.MaxSize {
			return 0, ErrMsgTooLarge
		}
		bytes += size
		end.seq++
	}
	if end.seq > record.MaxSeq {
		return 0, ErrSequenceMismatch
	}
	if discardNew && s.cfg.Discard == DiscardNew {
		for i := range batch {
			if err := s.room(&batch[i]); err != nil {
				return 0, err
			}
		}
	}
	before := s.end
	defer func() {
		if err == nil {
			return
		}
		// Only a failed rotation gets here. Nothing of o was handed to the disk.
		s.end = before
		if s.tail.b == saved.b {
			s.tail = saved
		} else {
			s.tail.size = 0
		}
	}()
	o.coming = bytes
	o.firstSeq = s.end.seq + 1
	for i := range batch {
		m := &batch[i]
		ts = m.Time
		if stamp {
			ts = s.now().UnixNano()
		}
		if m.Skip > 0 {
			if err := s.placeSkip(o, m.Skip, ts); err != nil {
				return 0, err
			}
			continue
		}
		if m.Rollup == RollupAll && s.tail.size > 0 && s.disk != nil {
			// Whole blocks go then, and no message needs a tombstone.
			if err := s.rotate(o); err != nil {
				return 0, err
			}
		}
		size := record.Size(len(m.Subject), len(m.Header), len(m.Data))
		sg, err := s.seat(o, size)
		if err != nil {
			return 0, err
		}
		s.end.seq++
		s.end.ts = ts
		sg.buf = record.AppendMessage(sg.buf, nil, s.end.seq, ts, m.Subject, m.Header, m.Data)
		s.tail.size += int64(size)
		o.msgs++
		o.bytes += s.sizeOf(m.Subject, m.Header, m.Data)
		if m.TTL != 0 {
			o.ttls = append(o.ttls, givenTTL{s.end.seq, m.TTL})
		}
		if m.Rollup != RollupNone {
			o.rollups = append(o.rollups, givenRollup{s.end.seq, m.Rollup})
			if err := s.placeRollup(o, m); err != nil {
				return 0, err
			}
		}
	}
	o.lastSeq = s.end.seq
	return ts, nil
}

// placeSkip encodes the record for n skipped sequences.
func (s *store) placeSkip(o *op, n uint64, ts int64) error {
	if ts == 0 {
		if ts = s.end.ts; ts == 0 {
			ts = s.now().UnixNano()
		}
	}
	if s.tail.skipped+n > skipLimit && s.tail.size > 0 {
		if err := s.rotate(o); err != nil {
			return err
		}
	}
	if s.tail.size > 0 {
		s.tail.skipped += n
	}
	sg, err := s.seat(o, record.MinSize)
	if err != nil {
		return err
	}
	s.end.seq += n
	s.end.ts = ts
	sg.buf = record.AppendSkip(sg.buf, nil, s.end.seq, ts)
	s.tail.size += record.MinSize
	return nil
}

// placeTombstone encodes the removal of a message.
func (s *store) placeTombstone(o *op, seq uint64, ts int64) error {
	if s.disk == nil {
		return nil
	}
	sg, err := s.seat(o, record.MinSize)
	if err != nil {
		return err
	}
	sg.buf = record.AppendTombstone(sg.buf, nil, seq, ts)
	s.tail.size += record.MinSize
	return nil
}

// seat returns the segment of o, with room, where a record of that size goes.
func (s *store) seat(o *op, size int) (*segment, error) {
	if s.tail.size > 0 && s.tail.size+int64(size) > s.tail.max {
		if err := s.rotate(o); err != nil {
			return nil, err
		}
	}
	room := max(size, min(o.coming, mostSegment))
	o.coming -= min(size, o.coming)
	if n := len(o.segs); n > o.disk.sent && o.segs[n-1].b == s.tail.b {
		sg := &o.segs[n-1]
		have := cap(sg.buf) - len(sg.buf)
		if have < size && len(sg.buf) < mostSegment/2 {
			// There is more than was announced.
			bigger := append(buffers.Get(2*len(sg.buf)+size), sg.buf...)
			buffers.Put(sg.buf)
			sg.buf, have = bigger, size
		}
		if have >= size {
			return sg, nil
		}
	}
	o.segs = append(o.segs, segment{b: s.tail.b, off: s.tail.size, buf: buffers.Get(room)})
	return &o.segs[len(o.segs)-1], nil
}

// room makes the checks of discard policy new, against what is visible and what
// is in flight. The caller holds wmu.
func (s *store) room(m *RawMsg) error {
	start := uint64(0)
	return s.read(func() error { return s.roomFor(m, &start) })
}

// roomFor is room with mu held for reading; start is how far the search for the
// oldest message of the subject has come.
func (s *store) roomFor(m *RawMsg, start *uint64) error {
	size := s.sizeOf(m.Subject, m.Header, m.Data)
	msgs, bytes, same := s.msgs, s.bytes, uint64(0)
	var info *subjectInfo
	if s.index != nil {
		if info = s.index.get(m.Subject); info != nil {
			same = info.total
		}
	}
	var flying uint64 // size of the first in flight with this subject
	for _, o := range s.flight {
		msgs += o.msgs
		bytes += o.bytes
		if s.cfg.MaxMsgsPerSubject == 0 {
			continue
		}
		o.each(func(_ *segment, r *record.Record, _ []byte) {
			if r.Kind == record.Message && string(r.Subject) == m.Subject {
				same++
				if flying == 0 {
					flying = s.sizeOf(m.Subject, r.Header, r.Data)
				}
			}
		})
	}
	replaces := false
	replaced := flying
	if p := s.cfg.MaxMsgsPerSubject; p > 0 && same >= uint64(p) {
		if s.cfg.DiscardNewPer {
			if _, ok := headerValue(m.Header, hdrRollup); !ok {
				return ErrMaxMsgsPerSubject
			}
		} else {
			replaces = true
			if info != nil && s.cfg.MaxBytes > 0 {
				c, e, _, err := s.next(literalFilter(m.Subject), start, s.last.seq, nil)
				if err != nil {
					return err
				}
				replaced = s.msgSize(c, e)
			}
		}
	}
	if s.cfg.MaxMsgs > 0 && msgs >= uint64(s.cfg.MaxMsgs) && !replaces {
		return ErrMaxMsgs
	}
	if s.cfg.MaxBytes > 0 && bytes+size > uint64(s.cfg.MaxBytes) && (!replaces || replaced < size) {
		return ErrMaxBytes
	}
	return nil
}

// writable says whether the store takes operations. The caller holds wmu.
func (s *store) writable() error {
	if s.closed || s.disk != nil && s.disk.stopping {
		return ErrStoreClosed
	}
	return s.failure()
}

// rotate begins a new block. The caller holds wmu.
func (s *store) rotate(o *op) error {
	b := newBlock(s.tail.b.num+1, s.end)
	if s.disk != nil {
		if err := s.disk.rotate(o, b); err != nil {
			return err
		}
	}
	s.setTail(b)
	return nil
}

// setTail makes the new block b the tail. It joins s.blocks with its first
// visible record. The caller holds wmu.
func (s *store) setTail(b *block) {
	s.tail.b, s.tail.size, s.tail.skipped = b, 0, 0
	if s.disk == nil {
		b.cache.Store(new(cache))
	} else {
		k := record.NewKey(s.cfg.Name, b.num)
		s.tail.key = &k
	}
}

// submit hands an op to the disk, or applies it at once, and releases wmu,
// which the caller holds.
func (s *store) submit(o *op) {
	s.appended.Store(s.end.seq)
	if s.disk != nil {
		s.disk.submit(o) // unlocks
		return
	}
	for s.slice(o) {
	}
	s.mu.Lock()
	s.apply(o)
	s.notify.add(o)
	s.mu.Unlock()
	s.wmu.Unlock()
}

// follow queues the callbacks of an op that changes nothing, behind those of
// everything in flight. The caller holds wmu.
func (s *store) follow(o *op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.flight); n > 0 {
		last := s.flight[n-1]
		for last.next != nil {
			last = last.next
		}
		last.next = o
		return
	}
	if o.err == nil {
		o.err = s.failure() // of what was in flight until now
	}
	s.notify.add(o)
}

// complete is called by the disk when the oldest op in flight is durable (as
// far as its mode goes), or failed. The caller holds no lock that the store's
// owner could want, and calls runCallbacks afterwards.
func (s *store) complete(o *op, err error) {
	for err == nil && s.slice(o) {
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		o.err = err
	} else {
		s.apply(o)
	}
	s.flying.Lock()
	if s.flight[0] != o {
		panic("msgstore: completions out of order")
	}
	s.flight[0] = nil
	s.flight = s.flight[1:]
	s.flying.Unlock()
	// An op belongs to its callbacks from the moment when it is added.
	for n := o; n != nil; {
		next := n.next
		if n.err == nil {
			n.err = err // that it had nothing to do rests on o
		}
		s.notify.add(n)
		n = next
	}
}
