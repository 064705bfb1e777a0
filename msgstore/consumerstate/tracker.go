package consumerstate

import (
	"maps"

	"github.com/google/btree"
)

// Policy is the acknowledgement policy, as far as the state depends on it.
type Policy uint8

const (
	AckExplicit Policy = iota
	AckNone
	AckAll // also flow control
)

// Config is what the state depends on.
type Config struct {
	Policy     Policy
	MaxDeliver int // deliveries after which a message is no longer pending; <= 0: unlimited
}

// Tracker is the live state of a consumer. Not safe for concurrent use.
type Tracker struct {
	cfg              Config
	delivered, floor Pair
	pending          *btree.BTreeG[pending] // by stream sequence
	redelivered      map[uint64]uint64
	scanned          uint64
	epoch, op        uint64
}

type pending struct {
	stream uint64
	Pending
}

const degree = 32

// NewTracker returns an empty state.
func NewTracker(cfg Config) *Tracker {
	t := &Tracker{cfg: cfg}
	t.clear()
	return t
}

func (t *Tracker) clear() {
	t.delivered, t.floor, t.scanned = Pair{}, Pair{}, 0
	t.pending = btree.NewG(degree, func(a, b pending) bool { return a.stream < b.stream })
	t.redelivered = make(map[uint64]uint64)
}

// SetConfig changes the configuration; the state stays.
func (t *Tracker) SetConfig(cfg Config) { t.cfg = cfg }

// Delivered and AckFloor are the cursor and the floor.
func (t *Tracker) Delivered() Pair { return t.delivered }
func (t *Tracker) AckFloor() Pair  { return t.floor }

// NumPending is the number of pending messages.
func (t *Tracker) NumPending() int { return t.pending.Len() }

// Pending reports whether a message is pending.
func (t *Tracker) Pending(sseq uint64) bool { return t.pending.Has(pending{stream: sseq}) }

// Scanned is how far the consumer has looked without finding a match, or 0.
func (t *Tracker) Scanned() uint64 { return t.scanned }

// Position returns the epoch and operation number of the last applied run.
func (t *Tracker) Position() (epoch, op uint64) { return t.epoch, t.op }

// HasState reports whether anything was ever delivered or a start was set.
func (t *Tracker) HasState() bool { return t.delivered != Pair{} }

// State returns a copy.
func (t *Tracker) State() State {
	s := State{Delivered: t.delivered, AckFloor: t.floor}
	if n := t.pending.Len(); n > 0 {
		s.Pending = make(map[uint64]Pending, n)
		t.pending.Ascend(func(p pending) bool {
			s.Pending[p.stream] = p.Pending
			return true
		})
	}
	if len(t.redelivered) > 0 {
		s.Redelivered = maps.Clone(t.redelivered)
	}
	return s
}

// SetStarting begins the consumer behind stream sequence seq.
func (t *Tracker) SetStarting(seq uint64) {
	t.delivered.Stream, t.floor.Stream = seq, seq
}

// UpdateStarting moves the cursor up to seq; it never moves it back.
func (t *Tracker) UpdateStarting(seq uint64) {
	if seq > t.delivered.Stream {
		t.delivered.Stream = seq
		if t.cfg.Policy == AckNone {
			t.floor.Stream = seq
		}
	}
}

// Reset forgets everything and begins behind stream sequence seq.
func (t *Tracker) Reset(seq uint64) {
	t.clear()
	t.SetStarting(seq)
}

// Deliver records that stream sequence sseq was sent as delivery dseq at time ts,
// for the dc-th time. Error: ErrAckNone.
func (t *Tracker) Deliver(dseq, sseq, dc uint64, ts int64) error {
	if t.cfg.Policy == AckNone {
		if dc != 1 {
			return ErrAckNone
		}
		t.delivered = Pair{max(t.delivered.Consumer, dseq), max(t.delivered.Stream, sseq)}
		t.floor = Pair{max(t.floor.Consumer, dseq), max(t.floor.Stream, sseq)}
		return nil
	}
	if dseq <= t.floor.Consumer {
		return nil
	}
	p := pending{sseq, Pending{dseq, ts}}
	if sseq <= t.delivered.Stream {
		if old, ok := t.pending.Get(p); ok {
			p.Sequence = old.Sequence
		}
	}
	if sseq > t.floor.Stream {
		t.pending.ReplaceOrInsert(p)
	}
	t.delivered.Consumer = max(t.delivered.Consumer, dseq)
	t.delivered.Stream = max(t.delivered.Stream, sseq)
	if dc > 1 {
		t.redelivered[sseq] = max(t.redelivered[sseq], dc-1)
		if t.cfg.MaxDeliver > 0 && dc > uint64(t.cfg.MaxDeliver) {
			t.pending.Delete(p)
		}
	}
	return nil
}

// Ack records the acknowledgement of stream sequence sseq under delivery dseq.
// Errors: ErrAckNone, ErrNotPending.
func (t *Tracker) Ack(dseq, sseq uint64) error {
	if t.cfg.Policy == AckNone {
		return ErrAckNone
	}
	delete(t.redelivered, sseq)
	if dseq <= t.floor.Consumer {
		return nil
	}
	dseq = min(dseq, t.delivered.Consumer) // the number comes from a client
	p, ok := t.pending.Get(pending{stream: sseq})
	if !ok {
		return ErrNotPending
	}
	if t.cfg.Policy == AckAll {
		t.ackAll(dseq, sseq)
		return nil
	}
	t.pending.Delete(p)
	if p.Sequence > 0 && p.Sequence < dseq {
		dseq = p.Sequence // a redelivery: the floor counts first deliveries
	}
	first, some := t.pending.Min()
	switch {
	case !some:
		t.floor = t.delivered
	case dseq == t.floor.Consumer+1:
		t.floor = Pair{max(dseq, first.Sequence-min(first.Sequence, 1)), first.stream - 1}
	}
	return nil
}

func (t *Tracker) ackAll(dseq, sseq uint64) {
	t.floor = Pair{dseq, sseq}
	for {
		p, ok := t.pending.Min()
		if !ok || p.stream > sseq {
			break
		}
		t.pending.DeleteMin()
	}
	maps.DeleteFunc(t.redelivered, func(seq, _ uint64) bool { return seq <= sseq })
}

// RemoveRedeliveredBelow forgets redelivery counts of sequences below seq.
func (t *Tracker) RemoveRedeliveredBelow(seq uint64) {
	maps.DeleteFunc(t.redelivered, func(s, _ uint64) bool { return s < seq })
}

// Update replaces the state unless it goes back. Errors: those of State.Check,
// ErrOldUpdate.
func (t *Tracker) Update(s *State) error {
	if err := s.Check(); err != nil {
		return err
	}
	if s.Delivered.Consumer < t.delivered.Consumer || s.AckFloor.Stream < t.floor.Stream {
		return ErrOldUpdate
	}
	t.replace(s)
	return nil
}

// ForceUpdate replaces the state, even by an older one. Errors: those of
// State.Check.
func (t *Tracker) ForceUpdate(s *State) error {
	if err := s.Check(); err != nil {
		return err
	}
	t.replace(s)
	return nil
}

func (t *Tracker) replace(s *State) {
	scanned := t.scanned
	t.clear()
	t.delivered, t.floor = s.Delivered, s.AckFloor
	for seq, p := range s.Pending {
		t.pending.ReplaceOrInsert(pending{seq, p})
	}
	maps.Copy(t.redelivered, s.Redelivered)
	if scanned > t.delivered.Stream {
		t.scanned = scanned
	}
}
