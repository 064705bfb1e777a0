package subjecttree

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// slab hands out numbered places for values of one type. Places are cut from
// chunks, so that a million of them cost no allocation each, need four bytes to
// refer to, and give the garbage collector nothing to follow. Pointers that at
// returned are good until the next alloc: the first chunk grows by copying.
type slab[T any] struct {
	chunks [][]T
	free   []uint32
	used   uint32 // places handed out at least once
	shift  uint8  // log2 of the size of a full chunk
}

// maxPlaces is what fits beside the kind in a ref.
const maxPlaces = 1 << kindShift

func (s *slab[T]) at(i uint32) *T {
	shift := s.shift & 31 // which the compiler need not check then
	return &s.chunks[i>>shift][i&(1<<shift-1)]
}

// alloc returns a place that holds the zero value.
func (s *slab[T]) alloc() uint32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	i := s.used
	if i == maxPlaces {
		panic("subjecttree: index is full")
	}
	s.used++
	size := uint32(1) << s.shift
	switch {
	case len(s.chunks) == 0:
		s.chunks = [][]T{make([]T, min(size, 4))}
	case i>>s.shift == uint32(len(s.chunks)):
		s.chunks = append(s.chunks, make([]T, size))
	case i == uint32(len(s.chunks[0])):
		grown := make([]T, min(size, 2*i))
		copy(grown, s.chunks[0])
		s.chunks[0] = grown
	}
	return i
}

// release takes a place back.
func (s *slab[T]) release(i uint32) {
	var zero T
	*s.at(i) = zero
	s.free = append(s.free, i)
}

// text refers to up to maxText bytes. A text of at most 4 bytes sits in at
// itself, a longer one at that offset of the arena. The upper byte of size is
// for the owner's use.
type text struct {
	at   uint32
	size uint32
}

const (
	maxText    = 1<<24 - 1
	inlineText = 4
)

func (t *text) len() int { return int(t.size & maxText) }

// arena holds texts of more than 4 bytes in chunks of 64 KiB, in units of 4
// bytes, and keeps a list of free places for each number of units. Texts of more
// than largeText bytes have an allocation each.
type arena struct {
	chunks    [][]byte
	free      [32 + 8]uint32 // first free place + 1 by class, linked through the places
	large     [][]byte
	freeLarge []uint32
}

const (
	textUnit   = 4
	chunkUnits = 1 << 14
	largeText  = 1 << 14
)

// class returns the class of a text of n bytes and its size in units: exact up
// to 128 bytes, then powers of two.
func class(n int) (class int, units uint32) {
	u := uint32(n+textUnit-1) / textUnit
	if u <= 32 {
		return int(u) - 1, u
	}
	log := bits.Len32(u - 1) // 6 for 33..64 units
	return 32 + log - 6, 1 << log
}

// bytes returns a text's bytes; they may lie in t itself.
func (a *arena) bytes(t *text) []byte {
	n := t.len()
	switch {
	case n <= inlineText:
		return unsafe.Slice((*byte)(unsafe.Pointer(&t.at)), n)
	case n > largeText:
		return a.large[t.at]
	}
	return a.place(t.at)[:n]
}

func (a *arena) place(at uint32) []byte {
	return a.chunks[at/chunkUnits][at%chunkUnits*textUnit:]
}

// put stores the concatenation of up to three pieces.
func (a *arena) put(x, y, z []byte) text {
	n := len(x) + len(y) + len(z)
	if n > maxText {
		panic("subjecttree: subject is too long")
	}
	t := text{size: uint32(n)}
	switch {
	case n <= inlineText:
		fill(unsafe.Slice((*byte)(unsafe.Pointer(&t.at)), inlineText), x, y, z)
	case n > largeText:
		t.at = a.putLarge(make([]byte, n))
		fill(a.large[t.at], x, y, z)
	default:
		t.at = a.alloc(n)
		fill(a.place(t.at), x, y, z)
	}
	return t
}

func fill(to, x, y, z []byte) {
	n := copy(to, x)
	n += copy(to[n:], y)
	copy(to[n:], z)
}

func (a *arena) putLarge(b []byte) uint32 {
	n := len(a.freeLarge)
	if n == 0 {
		a.large = append(a.large, b)
		return uint32(len(a.large) - 1)
	}
	at := a.freeLarge[n-1]
	a.freeLarge = a.freeLarge[:n-1]
	a.large[at] = b
	return at
}

func (a *arena) alloc(n int) uint32 {
	c, units := class(n)
	if at := a.free[c]; at != 0 {
		a.free[c] = binary.NativeEndian.Uint32(a.place(at - 1))
		return at - 1
	}
	last := len(a.chunks) - 1
	need := int(units * textUnit)
	const full = chunkUnits * textUnit
	if last < 0 || len(a.chunks[last])+need > full {
		// What is left of the last chunk stays unused: at most a quarter, and
		// with the short texts of subjects next to nothing.
		a.chunks = append(a.chunks, nil)
		last++
		if last > 0 {
			a.chunks[last] = make([]byte, 0, full)
		}
	}
	chunk := a.chunks[last]
	at := uint32(last)*chunkUnits + uint32(len(chunk))/textUnit
	if len(chunk)+need > cap(chunk) { // only the first chunk
		grown := make([]byte, len(chunk), min(full, max(64, 2*cap(chunk), len(chunk)+need)))
		copy(grown, chunk)
		chunk = grown
	}
	a.chunks[last] = chunk[:len(chunk)+need]
	return at
}

// drop frees a text.
func (a *arena) drop(t text) {
	n := t.len()
	switch {
	case n <= inlineText:
	case n > largeText:
		a.large[t.at] = nil
		a.freeLarge = append(a.freeLarge, t.at)
	default:
		c, _ := class(n)
		binary.NativeEndian.PutUint32(a.place(t.at), a.free[c])
		a.free[c] = t.at + 1
	}
}
