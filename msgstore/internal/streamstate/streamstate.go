// Package streamstate reads and writes the encoded state of a stream, as
// replicas exchange it: the totals and the deleted sequences.
package streamstate

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/binread"
	"github.com/natsd/natsd/msgstore/internal/sources"
	"github.com/natsd/natsd/msgstore/seqset"
)

const (
	magic       = 42
	version     = 1
	versionSrcs = 2
	runMagic    = 33
	setMagic    = 22
)

var (
	ErrHeader  = errors.New("bad stream state encoding")
	ErrCorrupt = errors.New("stream state snapshot is corrupt")
)

// DeleteBlock is a group of deleted sequences: either a set, or, if Set is nil,
// the run of Num sequences from First.
type DeleteBlock struct {
	Set        *seqset.Set
	First, Num uint64
}

// Bounds returns the first and last deleted sequence and their number.
func (d DeleteBlock) Bounds() (first, last, num uint64) {
	if d.Set == nil {
		return d.First, d.First + d.Num - 1, d.Num
	}
	first, _ = d.Set.Min()
	last, _ = d.Set.Max()
	return first, last, uint64(d.Set.Len())
}

// State is the encoded state.
type State struct {
	Msgs, Bytes       uint64
	FirstSeq, LastSeq uint64
	Failed            uint64             // read for compatibility; ours is always 0
	Sources           []sources.Progress // nil: version 1
	Deleted           []DeleteBlock      // ascending
}

// NumDeleted is the number of missing sequences in [FirstSeq, LastSeq].
func (s *State) NumDeleted() uint64 {
	if s.LastSeq < s.FirstSeq {
		return 0
	}
	n := s.LastSeq - s.FirstSeq + 1
	if s.Msgs > n {
		return 0
	}
	return n - s.Msgs
}

// Is says whether b begins like an encoded state.
func Is(b []byte) bool {
	return len(b) >= 2 && b[0] == magic && (b[1] == version || b[1] == versionSrcs)
}

// AppendTo appends the encoded state, version 2 if Sources is not nil.
func (s *State) AppendTo(b []byte) []byte {
	v := byte(version)
	if s.Sources != nil {
		v = versionSrcs
	}
	b = append(b, magic, v)
	for _, n := range [...]uint64{s.Msgs, s.Bytes, s.FirstSeq, s.LastSeq, s.Failed} {
		b = binary.AppendUvarint(b, n)
	}
	if s.Sources != nil {
		b = binary.AppendUvarint(b, uint64(len(s.Sources)))
		for _, p := range s.Sources {
			b = sources.AppendEntry(b, p)
		}
	}
	if len(s.Deleted) == 0 {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, max(s.NumDeleted(), 1)) // 0 would end the state here
	for _, d := range s.Deleted {
		if d.Set != nil {
			b = d.Set.AppendTo(b)
			continue
		}
		b = append(b, runMagic)
		b = binary.AppendUvarint(b, d.First)
		b = binary.AppendUvarint(b, d.Num)
	}
	return b
}

// Decode reads an encoded state. Errors wrap ErrHeader or ErrCorrupt. Memory is
// bounded by a multiple of the length of b; a run is not expanded.
func Decode(b []byte) (*State, error) {
	if !Is(b) {
		return nil, ErrHeader
	}
	r := binread.New(b[2:])
	s := &State{Msgs: r.Uvarint(), Bytes: r.Uvarint(), FirstSeq: r.Uvarint(), LastSeq: r.Uvarint(), Failed: r.Uvarint()}
	if b[1] == versionSrcs {
		var err error
		if s.Sources, err = sources.ReadEntries(&r, r.Uvarint()); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	deleted := r.Uvarint()
	if r.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, r.Err())
	}
	if deleted == 0 {
		return s, nil
	}
	for r.Len() > 0 {
		switch r.Rest()[0] {
		case setMagic:
			set, n, err := seqset.Decode(r.Rest())
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
			r.Bytes(uint64(n))
			s.Deleted = append(s.Deleted, DeleteBlock{Set: set})
		case runMagic:
			r.Byte()
			d := DeleteBlock{First: r.Uvarint(), Num: r.Uvarint()}
			if r.Err() != nil || d.Num == 0 || d.First+d.Num-1 < d.First {
				return nil, fmt.Errorf("%w: run", ErrCorrupt)
			}
			s.Deleted = append(s.Deleted, d)
		default:
			return nil, fmt.Errorf("%w: delete block %d", ErrCorrupt, r.Rest()[0])
		}
	}
	return s, nil
}
