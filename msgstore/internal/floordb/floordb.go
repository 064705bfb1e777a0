// Package floordb reads and writes floor.db, a file of ours beside the blocks of
// a stream. It says what has left the stream since index.db was written without
// a tombstone for every message: everything below a sequence, and the messages
// of some blocks. Other servers ignore it.
//
// Layout, little endian:
//
//	0   magic "natsdflr", version, zero (package sidecar)
//	12  u32 number of a block
//	16  u64 offset in it (uncompressed) behind the last record
//	24  [8] checksum of that record
//	32  u64 floor: the first sequence that may be live
//	40  u32 number of blocks that are gone, then u32 for each
//	... checksum (package sidecar)
//
// It holds while the block still has that record in that place. Otherwise
// another server has written since, and knows better.
package floordb

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/binread"
	"github.com/natsd/natsd/msgstore/internal/sidecar"
)

// Version is the version that is written. A newer one alone can open the stream.
const Version = 1

// ErrCorrupt wraps the errors of Decode about damage.
var ErrCorrupt = errors.New("corrupt floor file")

var format = sidecar.Format{Magic: "natsdflr", Version: Version, Name: "floor file", Corrupt: ErrCorrupt}

// Mark is the content of floor.db.
type Mark struct {
	Block  uint32
	Offset int64
	Sum    [8]byte
	Seq    uint64
	Gone   []uint32
}

// Append appends the file's content for a stream.
func (m *Mark) Append(b []byte, stream string) []byte {
	return format.Append(b, stream, func(b []byte) []byte {
		b = binary.LittleEndian.AppendUint32(b, m.Block)
		b = binary.LittleEndian.AppendUint64(b, uint64(m.Offset))
		b = append(b, m.Sum[:]...)
		b = binary.LittleEndian.AppendUint64(b, m.Seq)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Gone)))
		for _, n := range m.Gone {
			b = binary.LittleEndian.AppendUint32(b, n)
		}
		return b
	})
}

// Decode reads floor.db. Errors wrap ErrCorrupt or are a *sidecar.NewerError. Memory
// is bounded by the length of b.
func Decode(b []byte, stream string) (*Mark, error) {
	body, err := format.Open(b, stream)
	if err != nil {
		return nil, err
	}
	r := binread.New(body)
	m := &Mark{Block: r.U32(), Offset: int64(r.U64())}
	copy(m.Sum[:], r.Bytes(8))
	m.Seq = r.U64()
	n := r.U32()
	if uint64(n)*4 > uint64(r.Len()) {
		return nil, fmt.Errorf("%w: %d blocks", ErrCorrupt, n)
	}
	for range n {
		m.Gone = append(m.Gone, r.U32())
	}
	if r.Err() != nil || r.Len() > 0 {
		return nil, fmt.Errorf("%w: length", ErrCorrupt)
	}
	return m, nil
}
