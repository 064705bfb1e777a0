package consumerstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/natsd/natsd/msgstore/internal/binread"
	"github.com/natsd/natsd/msgstore/internal/highway"
)

// Checkpoint is the content of scan.db: what o.dat, whose format belongs to the
// reference, cannot hold. It only saves time: without it a consumer scans again
// from its delivered sequence, and all its runs in the journal are applied
// again, which changes nothing that they had changed already.
type Checkpoint struct {
	Created   int64  // creation time of the consumer, nanoseconds since the epoch
	Filters   uint64 // FiltersHash of its filters
	Delivered uint64 // delivered stream sequence at the time of writing
	Scanned   uint64 // nothing matches in (Delivered, Scanned]
	Epoch, Op uint64 // the last run that is part of the o.dat with checksum StateSum
	StateSum  uint64 // StateSum of the plain o.dat written with it
}

const (
	checkpointMagic   = "NSCN"
	checkpointVersion = 1
)

var (
	// ErrCheckpoint wraps the errors of DecodeCheckpoint. The file is ignored.
	ErrCheckpoint = errors.New("unusable scan.db")
)

// FiltersHash identifies a set of filter subjects, in any order.
func FiltersHash(filters []string) uint64 {
	h := highway.New("filters")
	for _, f := range slices.Sorted(slices.Values(filters)) {
		h.Write(binary.AppendUvarint(nil, uint64(len(f))))
		h.Write([]byte(f))
	}
	return h.Sum64()
}

// StateSum identifies the plain content of an o.dat.
func StateSum(plain []byte) uint64 { return highway.Sum64("o.dat", plain) }

// Append appends the content of scan.db. name is "<stream>/<consumer>".
func (c *Checkpoint) Append(b []byte, name string) []byte {
	start := len(b)
	b = append(b, checkpointMagic...)
	b = append(b, checkpointVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Created))
	for _, n := range [...]uint64{c.Filters, c.Delivered, c.Scanned, c.Epoch, c.Op, c.StateSum} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return binary.LittleEndian.AppendUint64(b, highway.Sum64(name, b[start:]))
}

// DecodeCheckpoint reads scan.db.
func DecodeCheckpoint(b []byte, name string) (Checkpoint, error) {
	r := binread.New(b)
	if m := r.Bytes(uint64(len(checkpointMagic))); string(m) != checkpointMagic {
		return Checkpoint{}, fmt.Errorf("%w: magic", ErrCheckpoint)
	}
	if v := r.Byte(); v != checkpointVersion {
		return Checkpoint{}, fmt.Errorf("%w: version %d", ErrCheckpoint, v)
	}
	c := Checkpoint{
		Created: int64(r.U64()), Filters: r.U64(), Delivered: r.U64(), Scanned: r.U64(),
		Epoch: r.U64(), Op: r.U64(), StateSum: r.U64(),
	}
	sum := r.U64()
	if r.Err() != nil || r.Len() > 0 || sum != highway.Sum64(name, b[:len(b)-highway.Size]) {
		return Checkpoint{}, fmt.Errorf("%w: checksum", ErrCheckpoint)
	}
	return c, nil
}

// ScannedFor returns the position up to which a consumer with this creation time
// and these filters need not look, given its delivered sequence and the stream's
// last one; it is delivered if the checkpoint does not apply.
func (c *Checkpoint) ScannedFor(created int64, filters uint64, delivered, last uint64) uint64 {
	if c.Created != created || c.Filters != filters || c.Delivered > delivered || c.Scanned > last {
		return delivered
	}
	return max(c.Scanned, delivered)
}
