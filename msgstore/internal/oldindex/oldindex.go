// Package oldindex reads N.idx, in which servers before 2.10 kept what lives in
// block N, since a removal left nothing in the blocks then (filestore-format.md 16):
//
//	u8 22, u8 version (1 or 2)
//	uvarint messages, uvarint bytes
//	uvarint first sequence, varint its time
//	uvarint last sequence, varint its time
//	uvarint number of deleted messages
//	the checksum of the block's last record, 8 bytes
//	deleted: version 1 uvarint differences to the first sequence, version 2 a seqset
package oldindex

import (
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/binread"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seqset"
)

// MaxSize bounds a file that is worth reading: a block has at most a record for
// each 30 bytes, and a difference takes at most ten.
const MaxSize = 16 << 20

// ErrCorrupt is wrapped by all errors of Decode.
var ErrCorrupt = errors.New("obsolete block index")

// Index is what the file says of a block.
type Index struct {
	Msgs      uint64
	FirstSeq  uint64 // of a block without messages: behind LastSeq
	FirstTime int64  // ns
	LastSeq   uint64
	LastTime  int64 // ns
	LastSum   [record.SumSize]byte

	deleted *seqset.Set
}

// Has says whether the message with this sequence lives, if the block has it.
func (x *Index) Has(seq uint64) bool {
	return x.Msgs > 0 && x.FirstSeq <= seq && seq <= x.LastSeq && !x.deleted.Contains(seq)
}

// Describes says whether the file was written of a block whose content has this
// size and ends with this checksum. Of a block without messages the content may be
// gone, and only the last sequence counts.
func (x *Index) Describes(size int, last [record.SumSize]byte) bool {
	return size > 0 && x.LastSum == last || size == 0 && x.Msgs == 0
}

// Open reads the file of a block whose content has this size and ends with this
// checksum. key opens the block, nil for a plain one. It is nil if the file is not of
// that content.
func Open(file []byte, key *keys.Key, size int, last [record.SumSize]byte) *Index {
	var err error
	if key != nil {
		if file, err = key.UnsealOld(file); err != nil {
			return nil
		}
	}
	x, err := Decode(file)
	if err != nil || !x.Describes(size, last) {
		return nil
	}
	return x
}

// Decode reads a file, decrypted. Memory is bounded by the length of b.
func Decode(b []byte) (*Index, error) {
	if len(b) < 2 || b[0] != 22 || b[1] != 1 && b[1] != 2 {
		return nil, fmt.Errorf("%w: header", ErrCorrupt)
	}
	version := b[1]
	r := binread.New(b[2:])
	x := &Index{deleted: new(seqset.Set)}
	x.Msgs = r.Uvarint()
	r.Uvarint() // bytes
	x.FirstSeq, x.FirstTime = r.Uvarint(), r.Varint()
	x.LastSeq, x.LastTime = r.Uvarint(), r.Varint()
	deleted := r.Uvarint()
	copy(x.LastSum[:], r.Bytes(uint64(len(x.LastSum))))
	switch {
	case r.Err() != nil, x.FirstSeq > x.LastSeq+1, x.LastSeq+1 == 0:
		return nil, fmt.Errorf("%w: sequences", ErrCorrupt)
	case deleted > 0 && version == 2:
		set, _, err := seqset.Decode(r.Rest())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		x.deleted = set
	case deleted > uint64(r.Len()):
		return nil, fmt.Errorf("%w: %d deleted messages in %d bytes", ErrCorrupt, deleted, r.Len())
	default:
		for range deleted {
			behind := r.Uvarint()
			if behind > x.LastSeq-x.FirstSeq { // far ones would take much memory each
				return nil, fmt.Errorf("%w: message %d behind the first", ErrCorrupt, behind)
			}
			x.deleted.Insert(x.FirstSeq + behind)
		}
	}
	if r.Err() != nil || uint64(x.deleted.Len()) != deleted {
		return nil, fmt.Errorf("%w: %d of %d deleted messages", ErrCorrupt, x.deleted.Len(), deleted)
	}
	return x, nil
}
