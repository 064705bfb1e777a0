// Package manifest reads and writes manifest.db, a file of ours beside the blocks
// of a stream, written with index.db: which blocks there are and which messages
// live in them, without the subjects. It is evidence where index.db is missing or
// damaged. Other servers ignore it.
//
// Layout, little endian:
//
//	0   magic "natsdmnf"
//	8   u16 version, u16 zero
//	12  the content of index.db (file store format, 7), without subjects: its last
//	    block number and last checksum say which state it describes
//	... u64 HighwayHash-64, keyed by the stream's name, of all before
//
// A file of a newer version counts as none.
package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/highway"
	"github.com/natsd/natsd/msgstore/internal/indexdb"
)

const (
	magic = "natsdmnf"
	// Version is the version that is written.
	Version = 1
	header  = len(magic) + 4
)

// ErrUnusable wraps the errors of Decode.
var ErrUnusable = errors.New("unusable manifest")

// Append appends the file's content for a stream. Subjects are left out.
func Append(b []byte, x *indexdb.Index, stream string) []byte {
	start := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint16(b, Version)
	b = append(b, 0, 0)
	plain := *x
	plain.NumSubjects = 0
	b = plain.Append(b, nil)
	return binary.LittleEndian.AppendUint64(b, highway.Sum64(stream, b[start:]))
}

// Decode reads manifest.db. Memory is bounded by a multiple of the length of b.
func Decode(b []byte, stream string) (*indexdb.Index, error) {
	if len(b) < header+highway.Size || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: magic", ErrUnusable)
	}
	content, sum := b[:len(b)-highway.Size], b[len(b)-highway.Size:]
	if v := binary.LittleEndian.Uint16(b[len(magic):]); v > Version {
		return nil, fmt.Errorf("%w: version %d, this version knows up to %d", ErrUnusable, v, Version)
	}
	if highway.Sum64(stream, content) != binary.LittleEndian.Uint64(sum) {
		return nil, fmt.Errorf("%w: checksum", ErrUnusable)
	}
	x, err := indexdb.Decode(content[header:])
	if err == nil {
		err = x.CheckTotals()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	return x, nil
}
