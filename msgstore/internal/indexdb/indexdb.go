// Package indexdb reads and writes index.db, the saved state of a stream: the
// totals, the subjects and the blocks with their deleted sequences.
package indexdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/natsd/natsd/msgstore/internal/binread"
	"github.com/natsd/natsd/msgstore/internal/highway"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seqset"
)

const (
	magic     = 11
	Version   = 4 // written; 1 to 4 are read
	minLength = 32

	versionTTLs      = 2
	versionSchedules = 3
	versionLastBlock = 4

	// noTime is how the reference writes the time of a stream that never had a
	// message. It reads as 0, which is what we write.
	noTime = -6795364578871345152
)

// ErrCorrupt wraps all errors about the content of the file.
var ErrCorrupt = errors.New("corrupt state file")

// Index is the content of index.db. Times are nanoseconds since the epoch, 0
// for none.
type Index struct {
	Msgs, Bytes  uint64
	FirstSeq     uint64
	FirstTime    int64
	LastSeq      uint64
	LastTime     int64
	NumSubjects  int // 0 if subjects are not tracked
	Blocks       []Block
	LastBlock    uint64
	LastChecksum [8]byte // last 8 bytes of the last block, as stored but decrypted; zero if it is empty

	version  byte
	subjects []byte // encoded, valid
}

// Block is one message block. A block without messages has LastSeq =
// FirstSeq - 1.
type Block struct {
	Number    uint64
	Bytes     uint64 // of live messages
	FirstSeq  uint64
	FirstTime int64
	LastSeq   uint64
	LastTime  int64
	TTLs      uint64      // messages with a TTL header
	Schedules uint64      // messages with a schedule header
	Deleted   *seqset.Set // nil if there are none

	// TopTime is the latest time of its messages, if Dated is set. The manifest tells
	// it; index.db does not hold it.
	TopTime int64
	Dated   bool
}

// Msgs is the number of live messages of the block.
func (b *Block) Msgs() uint64 {
	n := b.LastSeq - b.FirstSeq + 1
	if b.LastSeq < b.FirstSeq {
		return 0
	}
	if b.Deleted != nil {
		d := uint64(b.Deleted.Len())
		if d > n {
			return 0
		}
		n -= d
	}
	return n
}

// Subject is the entry of a subject. Name is part of the decoded data.
type Subject struct {
	Name       []byte
	Total      uint64
	FirstBlock uint64 // may be too low
	LastBlock  uint64 // may be too high
}

// Append appends the plain content of index.db to b. subjects yields
// x.NumSubjects entries with distinct non-empty names.
func (x *Index) Append(b []byte, subjects iter.Seq[Subject]) []byte {
	b = append(b, magic, Version)
	b = binary.AppendUvarint(b, x.Msgs)
	b = binary.AppendUvarint(b, x.Bytes)
	b = binary.AppendUvarint(b, x.FirstSeq)
	b = binary.AppendVarint(b, x.FirstTime)
	b = binary.AppendUvarint(b, x.LastSeq)
	b = binary.AppendVarint(b, x.LastTime)
	b = binary.AppendUvarint(b, uint64(x.NumSubjects))
	n := 0
	if subjects != nil {
		for s := range subjects {
			b = binary.AppendUvarint(b, uint64(len(s.Name)))
			b = append(b, s.Name...)
			b = binary.AppendUvarint(b, s.Total)
			b = binary.AppendUvarint(b, s.FirstBlock)
			b = binary.AppendUvarint(b, s.LastBlock)
			n++
		}
	}
	if n != x.NumSubjects {
		panic(fmt.Sprintf("indexdb: %d subjects announced, %d given", x.NumSubjects, n))
	}
	b = binary.AppendUvarint(b, uint64(len(x.Blocks)))
	for i := range x.Blocks {
		k := &x.Blocks[i]
		b = binary.AppendUvarint(b, k.Number)
		b = binary.AppendUvarint(b, k.Bytes)
		b = binary.AppendUvarint(b, k.FirstSeq)
		b = binary.AppendVarint(b, k.FirstTime-x.FirstTime)
		b = binary.AppendUvarint(b, k.LastSeq)
		b = binary.AppendVarint(b, k.LastTime-x.FirstTime)
		deleted := 0
		if k.Deleted != nil {
			deleted = k.Deleted.Len()
		}
		b = binary.AppendUvarint(b, uint64(deleted))
		b = binary.AppendUvarint(b, k.TTLs)
		b = binary.AppendUvarint(b, k.Schedules)
		if deleted > 0 {
			b = k.Deleted.AppendTo(b)
		}
	}
	b = binary.AppendUvarint(b, x.LastBlock)
	return append(b, x.LastChecksum[:]...)
}

// Date takes over what a manifest, m, knows of the times of the blocks of x. One that
// is newer knows later messages as well, which does not matter.
func (x *Index) Date(m *Index) {
	at := 0
	for i := range x.Blocks {
		b := &x.Blocks[i]
		for at < len(m.Blocks) && m.Blocks[at].Number < b.Number {
			at++
		}
		if at < len(m.Blocks) && m.Blocks[at].Number == b.Number && m.Blocks[at].LastSeq >= b.LastSeq {
			b.TopTime, b.Dated = m.Blocks[at].TopTime, m.Blocks[at].Dated
		}
	}
}

// Decode reads the plain content. Subjects are checked, and read by Subjects;
// the result keeps plain. Memory is bounded by a multiple of its length.
func Decode(plain []byte) (*Index, error) {
	r := binread.New(plain)
	return Read(&r)
}

// Read is Decode for what begins with the content.
func Read(r *binread.Reader) (*Index, error) {
	x := new(Index)
	if m := r.Byte(); m != magic {
		return nil, fmt.Errorf("%w: magic %d", ErrCorrupt, m)
	}
	x.version = r.Byte()
	if x.version < 1 || x.version > Version {
		return nil, fmt.Errorf("%w: version %d", ErrCorrupt, x.version)
	}
	x.Msgs, x.Bytes = r.Uvarint(), r.Uvarint()
	x.FirstSeq = r.Uvarint()
	base := r.Varint()
	x.FirstTime = normal(base)
	x.LastSeq, x.LastTime = r.Uvarint(), normal(r.Varint())

	subjects := r.Uvarint()
	if subjects > uint64(r.Len()) {
		return nil, fmt.Errorf("%w: %d subjects", ErrCorrupt, subjects)
	}
	x.NumSubjects = int(subjects)
	x.subjects = r.Rest()
	empty := 0
	for range x.NumSubjects {
		s := readSubject(r, x.version)
		if r.Err() != nil {
			break
		}
		if len(s.Name) == 0 {
			empty++
		} else if !record.ValidSubject(s.Name) { // wildcards in it are plain text
			return nil, fmt.Errorf("%w: subject %q", ErrCorrupt, s.Name)
		}
	}
	x.subjects = x.subjects[:len(x.subjects)-r.Len()]
	x.NumSubjects -= empty

	blocks := r.Uvarint()
	const minBlock = 7 // bytes of an encoded block
	if blocks > uint64(r.Len()/minBlock) {
		return nil, fmt.Errorf("%w: %d blocks", ErrCorrupt, blocks)
	}
	x.Blocks = make([]Block, blocks)
	for i := range x.Blocks {
		if err := x.Blocks[i].read(r, x.version, base); err != nil {
			return nil, err
		}
	}
	x.LastBlock = r.Uvarint()
	copy(x.LastChecksum[:], r.Bytes(8))
	if r.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, r.Err())
	}
	return x, nil
}

func (b *Block) read(r *binread.Reader, version byte, base int64) error {
	b.Number, b.Bytes = r.Uvarint(), r.Uvarint()
	b.FirstSeq, b.FirstTime = r.Uvarint(), normal(base+r.Varint())
	b.LastSeq, b.LastTime = r.Uvarint(), normal(base+r.Varint())
	deleted := r.Uvarint()
	if version >= versionTTLs {
		b.TTLs = r.Uvarint()
	}
	if version >= versionSchedules {
		b.Schedules = r.Uvarint()
	}
	if deleted == 0 || r.Err() != nil {
		return nil
	}
	set, n, err := seqset.Decode(r.Rest())
	if err != nil {
		return fmt.Errorf("%w: block %d: %w", ErrCorrupt, b.Number, err)
	}
	if uint64(set.Len()) != deleted {
		return fmt.Errorf("%w: block %d: %d deleted, %d in the set", ErrCorrupt, b.Number, deleted, set.Len())
	}
	r.Bytes(uint64(n))
	b.Deleted = set
	return nil
}

func normal(t int64) int64 {
	if t == noTime {
		return 0
	}
	return t
}

func readSubject(r *binread.Reader, version byte) (s Subject) {
	n := r.Uvarint()
	if n == 0 {
		return s
	}
	s.Name = r.Bytes(n)
	s.Total, s.FirstBlock = r.Uvarint(), r.Uvarint()
	s.LastBlock = s.FirstBlock
	if s.Total > 1 || version >= versionLastBlock {
		s.LastBlock = r.Uvarint()
	}
	return s
}

// Subjects yields the subjects of a decoded index in the order of the file.
func (x *Index) Subjects() iter.Seq[Subject] {
	return func(yield func(Subject) bool) {
		r := binread.New(x.subjects)
		for r.Len() > 0 {
			if s := readSubject(&r, x.version); len(s.Name) > 0 && !yield(s) {
				return
			}
		}
	}
}

// CheckTotals compares the totals with the blocks, as a reader must before it
// trusts the file. The error wraps ErrCorrupt.
func (x *Index) CheckTotals() error {
	var msgs, bytes, last uint64
	first := uint64(0)
	for i := range x.Blocks {
		b := &x.Blocks[i]
		n := b.Msgs()
		if n > 0 && first == 0 {
			first = b.FirstSeq
		}
		msgs, bytes, last = msgs+n, bytes+b.Bytes, max(last, b.LastSeq)
	}
	if first == 0 {
		first = last + 1
	}
	switch {
	case msgs != x.Msgs || bytes != x.Bytes:
		return fmt.Errorf("%w: blocks hold %d messages of %d bytes, totals say %d of %d", ErrCorrupt, msgs, bytes, x.Msgs, x.Bytes)
	case last != x.LastSeq:
		return fmt.Errorf("%w: blocks end at %d, totals at %d", ErrCorrupt, last, x.LastSeq)
	case x.FirstSeq > 1 && first != x.FirstSeq:
		return fmt.Errorf("%w: blocks begin at %d, totals at %d", ErrCorrupt, first, x.FirstSeq)
	}
	return nil
}

// Seal makes the file from the plain content: encrypted if key is not nil, and
// ended by the checksum. It may reuse plain's memory.
func Seal(plain []byte, stream string, key *keys.Key) ([]byte, error) {
	if key != nil {
		var err error
		if plain, err = key.Seal(plain); err != nil {
			return nil, err
		}
	}
	return highway.Append(stream, plain), nil
}

// Unseal checks the file's checksum and returns the plain content, decrypted if
// key is not nil. Errors wrap ErrCorrupt, or ErrSealed if only the decryption
// failed.
func Unseal(file []byte, stream string, key *keys.Key) ([]byte, error) {
	if len(file) < minLength {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(file))
	}
	content, sum := file[:len(file)-highway.Size], file[len(file)-highway.Size:]
	if highway.Sum64(stream, content) != binary.LittleEndian.Uint64(sum) {
		return nil, fmt.Errorf("%w: checksum did not match", ErrCorrupt)
	}
	if key == nil {
		return content, nil
	}
	plain, err := key.Unseal(content)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	return plain, nil
}

// ErrSealed says that the file is whole but sealed with another key.
var ErrSealed = errors.New("state file cannot be decrypted")
