// Package manifest reads and writes manifest.db, a file of ours beside the blocks
// of a stream, written with index.db: which blocks there are and which messages
// live in them, without the subjects. It is evidence where index.db is missing or
// damaged. Other servers ignore it.
//
// Layout, little endian:
//
//	0   magic "natsdmnf", version, zero (package sidecar)
//	12  the content of index.db (file store format, 7), without subjects: its last
//	    block number and last checksum say which state it describes
//	... for each block 0 if it is not known how late its messages are, 1 if none is
//	    later than the last one, or 2 and the latest time, a varint
//	... checksum (package sidecar)
//
// A file of a newer version counts as none.
package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/binread"
	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/sidecar"
)

// Version is the version that is written.
const Version = 1

// ErrUnusable wraps the errors of Decode.
var ErrUnusable = errors.New("unusable manifest")

const (
	undated = iota
	ascending
	dated
)

// readTimes reads how late the messages of each block are, if the file tells.
func readTimes(r *binread.Reader, x *indexdb.Index) error {
	if r.Len() == 0 {
		return nil
	}
	for i := range x.Blocks {
		b := &x.Blocks[i]
		switch kind := r.Byte(); kind {
		case undated:
		case ascending:
			b.TopTime, b.Dated = b.LastTime, true
		case dated:
			b.TopTime, b.Dated = r.Varint(), true
		default:
			return fmt.Errorf("times of kind %d", kind)
		}
	}
	if r.Len() > 0 {
		return errors.New("length")
	}
	return r.Err()
}

var format = sidecar.Format{Magic: "natsdmnf", Version: Version, Name: "manifest", Corrupt: ErrUnusable}

// Append appends the file's content for a stream. Subjects are left out.
func Append(b []byte, x *indexdb.Index, stream string) []byte {
	return format.Append(b, stream, func(b []byte) []byte {
		plain := *x
		plain.NumSubjects = 0
		b = plain.Append(b, nil)
		for i := range x.Blocks {
			switch k := &x.Blocks[i]; {
			case !k.Dated:
				b = append(b, undated)
			case k.TopTime <= k.LastTime:
				b = append(b, ascending)
			default:
				b = binary.AppendVarint(append(b, dated), k.TopTime)
			}
		}
		return b
	})
}

// Decode reads manifest.db. Memory is bounded by a multiple of the length of b.
func Decode(b []byte, stream string) (*indexdb.Index, error) {
	body, err := format.Open(b, stream)
	if err != nil {
		if errors.Is(err, ErrUnusable) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	r := binread.New(body)
	x, err := indexdb.Read(&r)
	if err == nil {
		err = x.CheckTotals()
	}
	if err == nil {
		err = readTimes(&r, x)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	return x, nil
}
