// Package truncation reads and writes truncate.db, a file of ours beside the blocks
// of a stream. It is there while a truncation is carried out, and says what there
// is to do: whoever finds it does it (again), so that a truncation happens as a
// whole or not at all.
//
// Layout, little endian:
//
//	0   magic "natsdtrn", version, zero (package sidecar)
//	12  u64 sequence: what follows it goes
//	20  u32 number of the block that becomes the last one of those that exist, 0 for
//	    none; higher ones go, and of this one everything from its first record with
//	    a higher sequence on
//	24  u32 number of a new block behind it, 0 for none
//	28  u32 length, then the plain content of the new block
//	... u32 length, then index.db as it is afterwards
//	... checksum (package sidecar)
package truncation

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
var ErrCorrupt = errors.New("corrupt truncation file")

var format = sidecar.Format{Magic: "natsdtrn", Version: Version, Name: "truncation file", Corrupt: ErrCorrupt}

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
	return format.Append(b, stream, func(b []byte) []byte {
		b = binary.LittleEndian.AppendUint64(b, p.Seq)
		b = binary.LittleEndian.AppendUint32(b, p.Keep)
		b = binary.LittleEndian.AppendUint32(b, p.Next)
		for _, part := range [][]byte{p.Records, p.Index} {
			b = binary.LittleEndian.AppendUint32(b, uint32(len(part)))
			b = append(b, part...)
		}
		return b
	})
}

// Decode reads truncate.db. Errors wrap ErrCorrupt or are a *sidecar.NewerError. The
// plan keeps b.
func Decode(b []byte, stream string) (*Plan, error) {
	body, err := format.Open(b, stream)
	if err != nil {
		return nil, err
	}
	r := binread.New(body)
	p := &Plan{Seq: r.U64(), Keep: r.U32(), Next: r.U32()}
	p.Records = r.Bytes(uint64(r.U32()))
	p.Index = r.Bytes(uint64(r.U32()))
	if r.Err() != nil || r.Len() > 0 {
		return nil, fmt.Errorf("%w: length", ErrCorrupt)
	}
	return p, nil
}
