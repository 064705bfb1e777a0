// Package sources reads and writes sources.db, which remembers how far a stream
// has read each stream that it sources from.
package sources

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/binread"
)

// Progress is the position in one origin stream.
type Progress struct {
	Name     string // index name, as in the Nats-Stream-Source header
	Seq      uint64 // last sequence taken from the origin, above 0
	Identity string // of the origin stream; may be empty
}

// ErrCorrupt wraps the errors of Decode.
var ErrCorrupt = errors.New("corrupt sources file")

const (
	version  = 1
	minEntry = 3
	// MaxText bounds names and identities: a name holds filters and
	// destinations, which a configuration of 1 MiB bounds anyway.
	MaxText = 1 << 20
)

// Append appends the content of sources.db. stamp is the stream's last sequence
// plus one. Entries with sequence 0 are left out.
func Append(b []byte, list []Progress, stamp uint64) []byte {
	n := uint64(0)
	for _, p := range list {
		if p.Seq > 0 {
			n++
		}
	}
	b = append(b, version)
	b = binary.LittleEndian.AppendUint64(b, n)
	b = binary.LittleEndian.AppendUint64(b, stamp)
	for _, p := range list {
		if p.Seq > 0 {
			b = AppendEntry(b, p)
		}
	}
	return b
}

// AppendEntry appends one entry, as the file and the encoded stream state hold
// it.
func AppendEntry(b []byte, p Progress) []byte {
	b = binary.AppendUvarint(b, uint64(len(p.Name)))
	b = append(b, p.Name...)
	b = binary.AppendUvarint(b, p.Seq)
	b = binary.AppendUvarint(b, uint64(len(p.Identity)))
	return append(b, p.Identity...)
}

// ReadEntries reads n entries from r. The caller checks r.Err.
func ReadEntries(r *binread.Reader, n uint64) ([]Progress, error) {
	if n > uint64(r.Len()/minEntry) {
		return nil, fmt.Errorf("%w: %d entries in %d bytes", ErrCorrupt, n, r.Len())
	}
	list := make([]Progress, n)
	for i := range list {
		list[i].Name = string(r.Bytes(r.Uvarint()))
		list[i].Seq = r.Uvarint()
		list[i].Identity = string(r.Bytes(r.Uvarint()))
		if len(list[i].Name) > MaxText || len(list[i].Identity) > MaxText {
			return nil, fmt.Errorf("%w: entry of %d bytes", ErrCorrupt, len(list[i].Name)+len(list[i].Identity))
		}
	}
	return list, nil
}

// Decode reads sources.db. Memory is bounded by a multiple of the length of b.
func Decode(b []byte) (list []Progress, stamp uint64, err error) {
	r := binread.New(b)
	if v := r.Byte(); v != version && r.Err() == nil {
		return nil, 0, fmt.Errorf("%w: version %d", ErrCorrupt, v)
	}
	n, stamp := r.U64(), r.U64()
	list, err = ReadEntries(&r, n)
	if err != nil {
		return nil, 0, err
	}
	if r.Err() != nil || r.Len() > 0 {
		return nil, 0, fmt.Errorf("%w: entries", ErrCorrupt)
	}
	return list, stamp, nil
}
