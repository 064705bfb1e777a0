// Package sidecar is the envelope of our own files beside the blocks of a stream:
//
//	0   magic, 8 bytes
//	8   u16 version, little endian, u16 zero
//	12  what the file says
//	... u64 HighwayHash-64, keyed by the stream's name, of all before
package sidecar

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/highway"
)

const header = 12

// Format is a kind of file.
type Format struct {
	Magic   string // of 8 bytes
	Version uint16 // that is written; newer ones are not understood
	Name    string // in errors
	Corrupt error  // wrapped by the errors of Open about damage
}

// NewerError says that a newer version wrote the file.
type NewerError struct {
	Name         string
	Found, Known uint16
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s of version %d, this version knows up to %d", e.Name, e.Found, e.Known)
}

// Append appends a file of a stream. body appends what it says.
func (f *Format) Append(b []byte, stream string, body func([]byte) []byte) []byte {
	start := len(b)
	b = append(b, f.Magic...)
	b = binary.LittleEndian.AppendUint16(b, f.Version)
	b = body(append(b, 0, 0))
	return binary.LittleEndian.AppendUint64(b, highway.Sum64(stream, b[start:]))
}

// Open returns what a file of a stream says, as a part of b. Errors wrap Corrupt or
// are a *NewerError, which a wrong checksum does not hide: it may be another one. If
// it is that of a version that is known, the number is what is damaged.
func (f *Format) Open(b []byte, stream string) ([]byte, error) {
	if len(b) < header || string(b[:len(f.Magic)]) != f.Magic {
		return nil, fmt.Errorf("%w: magic", f.Corrupt)
	}
	end := len(b) - highway.Size
	v := binary.LittleEndian.Uint16(b[len(f.Magic):])
	if v > f.Version {
		for known := uint16(1); known <= f.Version && end >= header; known++ {
			mended := bytes.Clone(b[:end])
			binary.LittleEndian.PutUint16(mended[len(f.Magic):], known)
			if binary.LittleEndian.Uint64(b[end:]) == highway.Sum64(stream, mended) {
				return nil, fmt.Errorf("%w: version", f.Corrupt)
			}
		}
		return nil, &NewerError{f.Name, v, f.Version}
	}
	if end < header || binary.LittleEndian.Uint64(b[end:]) != highway.Sum64(stream, b[:end]) {
		return nil, fmt.Errorf("%w: checksum", f.Corrupt)
	}
	return b[header:end:end], nil
}
