// Package truncation reads and writes truncate.db, a file of ours beside the blocks
// of a stream. It is there while a truncation is carried out, and says what there
// is to do: whoever finds it does it (again), so that a truncation happens as a
// whole or not at all.
//
// Layout, little endian:
//
//	0   magic "natsdtrn"
//	8   u16 version, u16 zero
//	12  u64 sequence: what follows it goes
//	20  u32 number of the block that becomes the last one of those that exist, 0 for
//	    none; higher ones go, and of this one everything from its first record with
//	    a higher sequence on
//	24  u32 number of a new block behind it, 0 for none
//	28  u32 length, then the plain content of the new block
//	... u32 length, then index.db as it is afterwards
//	... u64 HighwayHash-64, keyed by the stream's name, of all before
package truncation

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/binread"
	"github.com/natsd/natsd/msgstore/internal/highway"
)

const (
	magic = "natsdtrn"
	// Version is the version that is written; newer ones are not understood.
	Version = 1
)

// ErrCorrupt wraps the errors of Decode about damage.
var ErrCorrupt = errors.New("corrupt truncation file")

// NewerError says that a newer version wrote the file, which alone can open the
// stream.
type NewerError struct{ Found uint16 }

func (e *NewerError) Error() string {
	return fmt.Sprintf("truncation file of version %d, this version knows up to %d", e.Found, Version)
}

// Plan is the content of truncate.db.
type Plan struct {
	Seq     uint64
	Keep    uint32
	Next    uint32
	Records []byte
	Index   []byte
}

// Append appends the file's content for a stream.
func (p *Plan) Append(b []byte, stream string) []byte {
	start := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint16(b, Version)
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, p.Seq)
	b = binary.LittleEndian.AppendUint32(b, p.Keep)
	b = binary.LittleEndian.AppendUint32(b, p.Next)
	for _, part := range [][]byte{p.Records, p.Index} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return binary.LittleEndian.AppendUint64(b, highway.Sum64(stream, b[start:]))
}

// Decode reads truncate.db. Errors wrap ErrCorrupt or are a *NewerError. The plan
// keeps b.
func Decode(b []byte, stream string) (*Plan, error) {
	r := binread.New(b)
	if string(r.Bytes(uint64(len(magic)))) != magic {
		return nil, fmt.Errorf("%w: magic", ErrCorrupt)
	}
	if v := r.U16(); v > Version {
		return nil, &NewerError{v}
	}
	r.U16()
	p := &Plan{Seq: r.U64(), Keep: r.U32(), Next: r.U32()}
	p.Records = r.Bytes(uint64(r.U32()))
	p.Index = r.Bytes(uint64(r.U32()))
	sum := r.U64()
	if r.Err() != nil || r.Len() > 0 || sum != highway.Sum64(stream, b[:len(b)-highway.Size]) {
		return nil, fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	return p, nil
}
