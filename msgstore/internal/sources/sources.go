// Package sources reads and writes sources.db, which remembers how far a stream
// has read each stream that it sources from.
package sources

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/binread"
	"github.com/natsd/natsd/msgstore/internal/tablefile"
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
	minEntry = 3 // the length of the shortest entry
	// MaxText bounds names and identities: a name holds filters and
	// destinations, which a configuration of 1 MiB bounds anyway.
	MaxText = 1 << 20
)

// Append appends the content of sources.db. stamp is the stream's last sequence
// plus one. Entries with sequence 0 are left out.
func Append(b []byte, list []Progress, stamp uint64) []byte {
	n := 0
	for _, p := range list {
		if p.Seq > 0 {
			n++
		}
	}
	b = tablefile.AppendHead(b, n, stamp)
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
		if err := list[i].read(r); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	return list, nil
}

func (p *Progress) read(r *binread.Reader) error {
	p.Name = string(r.Bytes(r.Uvarint()))
	p.Seq = r.Uvarint()
	p.Identity = string(r.Bytes(r.Uvarint()))
	if len(p.Name) > MaxText || len(p.Identity) > MaxText {
		return fmt.Errorf("entry of %d bytes", len(p.Name)+len(p.Identity))
	}
	return nil
}

// Decode reads sources.db. Memory is bounded by a multiple of the length of b.
func Decode(b []byte) (list []Progress, stamp uint64, err error) {
	stamp, err = tablefile.Decode(b, minEntry, func(r *binread.Reader) error {
		var p Progress
		err := p.read(r)
		list = append(list, p)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return list, stamp, nil
}
