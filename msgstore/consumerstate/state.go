// Package consumerstate is the durable state of a consumer: what was delivered,
// what is acknowledged, what is pending.
//
// [State] is the state as a value, [Tracker] the same with the rules by which
// deliveries and acknowledgements change it, [Run] a group of such changes as it
// goes through a log, and [Checkpoint] what scan.db adds to the checkpoint file
// o.dat. Nothing here does I/O or looks at a clock.
package consumerstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/natsd/natsd/msgstore/internal/binread"
)

var (
	ErrAckNone      = errors.New("ack policy is none")
	ErrNotPending   = errors.New("no message found")
	ErrOldUpdate    = errors.New("old update ignored")
	ErrBadFloorCons = errors.New("bad ack floor for consumer")
	ErrBadFloorStrm = errors.New("bad ack floor for stream")
	// ErrCorrupt wraps the errors of decoding.
	ErrCorrupt = errors.New("corrupt consumer state")
)

// Pair is a position in both sequences: of the consumer's deliveries and of the
// stream.
type Pair struct {
	Consumer uint64 `json:"consumer_seq"`
	Stream   uint64 `json:"stream_seq"`
}

// Pending is a delivered message without an acknowledgement.
type Pending struct {
	Sequence  uint64 // consumer sequence of its first delivery; 0 if unknown
	Timestamp int64  // time of its last delivery, nanoseconds since the epoch
}

// State is a consumer's state. Its JSON form is that of stream snapshots.
type State struct {
	Delivered   Pair               `json:"delivered"`
	AckFloor    Pair               `json:"ack_floor"`
	Pending     map[uint64]Pending `json:"pending,omitempty"`     // by stream sequence
	Redelivered map[uint64]uint64  `json:"redelivered,omitempty"` // stream sequence -> deliveries - 1
}

// Check says whether the state is possible. Errors: ErrBadFloorCons,
// ErrBadFloorStrm, or one that names a pending entry out of range.
func (s *State) Check() error {
	if s.AckFloor.Consumer > s.Delivered.Consumer {
		return ErrBadFloorCons
	}
	if s.AckFloor.Stream > s.Delivered.Stream {
		return ErrBadFloorStrm
	}
	for seq := range s.Pending {
		if seq <= s.AckFloor.Stream || seq > s.Delivered.Stream {
			return fmt.Errorf("bad pending entry, sequence [%d] out of range", seq)
		}
	}
	return nil
}

// Clone returns an independent copy.
func (s *State) Clone() State {
	c := *s
	c.Pending = maps.Clone(s.Pending)
	c.Redelivered = maps.Clone(s.Redelivered)
	return c
}

const (
	magic    = 22
	version1 = 1
	version2 = 2
	second   = int64(1e9)
	highBit  = uint64(1) << 63
)

// Append appends the state in the form of o.dat (version 2) to b. now is the
// time of writing in nanoseconds; times are stored in whole seconds, so their
// fractions are lost. Entries are written in ascending order.
func (s *State) Append(b []byte, now int64) []byte {
	b = append(b, magic, version2)
	for _, n := range [...]uint64{s.AckFloor.Consumer, s.AckFloor.Stream, s.Delivered.Consumer, s.Delivered.Stream, uint64(len(s.Pending))} {
		b = binary.AppendUvarint(b, n)
	}
	if len(s.Pending) > 0 {
		base := (now + second/2) / second
		b = binary.AppendVarint(b, base)
		for _, seq := range slices.Sorted(maps.Keys(s.Pending)) {
			p := s.Pending[seq]
			b = binary.AppendUvarint(b, seq-s.AckFloor.Stream)
			b = binary.AppendUvarint(b, p.Sequence-s.AckFloor.Consumer)
			b = binary.AppendVarint(b, base-p.Timestamp/second)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.Redelivered)))
	for _, seq := range slices.Sorted(maps.Keys(s.Redelivered)) {
		b = binary.AppendUvarint(b, seq-s.AckFloor.Stream)
		b = binary.AppendUvarint(b, s.Redelivered[seq])
	}
	return b
}

// Decode reads o.dat, version 1 or 2. A file without bytes is no state. The
// result has been checked: o.dat has no checksum, so ranges are all that tells
// damage. Errors wrap ErrCorrupt. Memory is bounded by a multiple of len(b).
func Decode(b []byte) (State, error) {
	var s State
	if len(b) == 0 {
		return s, nil
	}
	r := binread.New(b)
	if m := r.Byte(); m != magic {
		return s, fmt.Errorf("%w: magic %d", ErrCorrupt, m)
	}
	version := r.Byte()
	if r.Err() == nil && version != version1 && version != version2 {
		return s, fmt.Errorf("%w: unsupported version: %d", ErrCorrupt, version)
	}
	s.AckFloor = Pair{r.Uvarint(), r.Uvarint()}
	s.Delivered = Pair{r.Uvarint(), r.Uvarint()}
	if version == version1 {
		if s.AckFloor.Consumer > 1 {
			s.Delivered.Consumer += s.AckFloor.Consumer - 1
		}
		if s.AckFloor.Stream > 1 {
			s.Delivered.Stream += s.AckFloor.Stream - 1
		}
	}
	if err := s.decodePending(&r, version); err != nil {
		return State{}, err
	}
	n := r.Uvarint()
	if n > uint64(r.Len()/2) {
		return State{}, fmt.Errorf("%w: %d redelivered", ErrCorrupt, n)
	}
	if n > 0 {
		s.Redelivered = make(map[uint64]uint64, n)
	}
	for range n {
		seq := r.Uvarint() + s.AckFloor.Stream
		s.Redelivered[seq] = r.Uvarint()
	}
	switch {
	case r.Err() != nil:
		return State{}, fmt.Errorf("%w: %w", ErrCorrupt, r.Err())
	case r.Len() > 0:
		return State{}, fmt.Errorf("%w: %d bytes too many", ErrCorrupt, r.Len())
	case (s.AckFloor.Stream|s.Delivered.Stream)&highBit != 0:
		return State{}, fmt.Errorf("%w: stream sequence", ErrCorrupt)
	}
	if err := s.Check(); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return s, nil
}

func (s *State) decodePending(r *binread.Reader, version byte) error {
	n := r.Uvarint()
	if n == 0 {
		return nil
	}
	base := r.Varint()
	if n > uint64(r.Len()/2) {
		return fmt.Errorf("%w: %d pending", ErrCorrupt, n)
	}
	s.Pending = make(map[uint64]Pending, n)
	for range n {
		seq := r.Uvarint() + s.AckFloor.Stream
		var p Pending
		if version == version1 {
			p.Timestamp = (base + r.Varint()) * second
		} else {
			p.Sequence = r.Uvarint() + s.AckFloor.Consumer
			p.Timestamp = (base - r.Varint()) * second
		}
		if r.Err() == nil && seq == 0 {
			return fmt.Errorf("%w: pending sequence 0", ErrCorrupt)
		}
		s.Pending[seq] = p
	}
	return nil
}
