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
//	... checksum (package sidecar)
//
// A file of a newer version counts as none.
package manifest

import (
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/sidecar"
)

// Version is the version that is written.
const Version = 1

// ErrUnusable wraps the errors of Decode.
var ErrUnusable = errors.New("unusable manifest")

var format = sidecar.Format{Magic: "natsdmnf", Version: Version, Name: "manifest", Corrupt: ErrUnusable}

// Append appends the file's content for a stream. Subjects are left out.
func Append(b []byte, x *indexdb.Index, stream string) []byte {
	return format.Append(b, stream, func(b []byte) []byte {
		plain := *x
		plain.NumSubjects = 0
		return plain.Append(b, nil)
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
	x, err := indexdb.Decode(body)
	if err == nil {
		err = x.CheckTotals()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	return x, nil
}
