// Package binread reads the varints and little endian integers of the store's
// files. An error sticks, so that a decoder checks once at the end of a part.
package binread

import (
	"encoding/binary"
	"errors"
)

// ErrShort says that the data ended early or a varint was malformed.
var ErrShort = errors.New("short or malformed data")

// Reader consumes a byte slice. After an error all results are zero.
type Reader struct {
	b      []byte
	failed bool
}

// New returns a reader over b, which it does not change.
func New(b []byte) Reader { return Reader{b: b} }

// Err is ErrShort after the first read that did not find its bytes.
func (r *Reader) Err() error {
	if r.failed {
		return ErrShort
	}
	return nil
}

// Len is the number of unread bytes.
func (r *Reader) Len() int { return len(r.b) }

// Rest returns the unread bytes without consuming them.
func (r *Reader) Rest() []byte { return r.b }

func (r *Reader) fail() {
	r.failed = true
	r.b = nil
}

// Bytes returns the next n bytes, a part of the input.
func (r *Reader) Bytes(n uint64) []byte {
	if r.failed || n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

// Byte reads a u8.
func (r *Reader) Byte() byte {
	if p := r.Bytes(1); p != nil {
		return p[0]
	}
	return 0
}

// U16 reads a little endian u16.
func (r *Reader) U16() uint16 {
	if p := r.Bytes(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

// U32 reads a little endian u32.
func (r *Reader) U32() uint32 {
	if p := r.Bytes(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

// U64 reads a little endian u64.
func (r *Reader) U64() uint64 {
	if p := r.Bytes(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

// Uvarint reads an unsigned LEB128 number.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Varint reads a zig-zag mapped signed number.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}
