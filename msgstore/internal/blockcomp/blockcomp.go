// Package blockcomp converts a sealed block between its records and the
// compressed form in which it lies on disk: "cmp", the algorithm, the size, an
// S2 stream of all but the last 8 bytes, and the last 8 bytes in clear, so that
// the checksum of the last record can be read without decompressing.
package blockcomp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/s2"
)

const (
	prefix     = "cmp"
	minLength  = len(prefix) + 2
	tail       = 8 // bytes at the end that stay in clear
	algNone    = 0
	algS2      = 1
	streamID   = "\xff\x06\x00\x00S2sTwO"
	snappyID   = "\xff\x06\x00\x00sNaPpY"
	chunkData  = 1 << 20 // uncompressed bytes per chunk, as the reference's writer
	chunkMax   = 4 << 20 // largest chunk that a reader of the framed format takes
	chunkS2    = 0x00
	chunkPlain = 0x01

	// MaxSize bounds the memory that a block on disk can make us allocate: a
	// block holds at most 8 MiB of records, or a single record of 32 MiB.
	MaxSize = 40 << 20
)

// ErrCorrupt wraps every error of Decode.
var ErrCorrupt = errors.New("corrupt compressed block")

// Range is a part [Start, End) of the uncompressed content.
type Range struct{ Start, End int }

// Is says whether content is a compressed block. An uncompressed block cannot
// begin like one.
func Is(content []byte) bool {
	return len(content) >= minLength && string(content[:len(prefix)]) == prefix
}

// Encode appends the compressed form of content, which has at least 8 bytes, to
// dst.
func Encode(dst, content []byte) []byte {
	if len(content) < tail {
		panic("blockcomp: a block has at least one record")
	}
	dst = append(dst, prefix...)
	dst = append(dst, algS2)
	dst = binary.AppendUvarint(dst, uint64(len(content)))
	dst = append(dst, streamID...)
	body, last := content[:len(content)-tail], content[len(content)-tail:]
	for len(body) > 0 {
		n := min(len(body), chunkData)
		dst = appendChunk(dst, body[:n])
		body = body[n:]
	}
	return append(dst, last...)
}

func appendChunk(dst, data []byte) []byte {
	const head = 8 // type, 3 bytes of length, checksum
	at := len(dst)
	room := head + s2.MaxEncodedLen(len(data))
	if cap(dst)-at < room {
		dst = append(dst, make([]byte, room)...)[:at]
	}
	enc := s2.Encode(dst[at+head:at+room], data)
	kind, n := byte(chunkS2), len(enc)
	if n >= len(data) {
		kind, n = chunkPlain, copy(dst[at+head:at+room], data)
	}
	dst = dst[:at+head+n]
	binary.LittleEndian.PutUint32(dst[at:], uint32(n+4)<<8|uint32(kind))
	binary.LittleEndian.PutUint32(dst[at+4:], maskedCRC(data))
	return dst
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is the checksum of the framed snappy format.
func maskedCRC(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return c>>15 | c<<17 + 0xa282ead8
}

// Decode returns the content of a compressed block. Damage inside the stream
// does not hide the rest: what could not be decompressed is zero in the content
// and listed in bad, in order. err is not nil, and wraps ErrCorrupt, if anything
// at all is wrong; content is nil then only if the header does not tell a size.
// The content never exceeds MaxSize.
func Decode(stored []byte) (content []byte, bad []Range, err error) {
	if !Is(stored) {
		return nil, nil, fmt.Errorf("%w: no header", ErrCorrupt)
	}
	alg := stored[len(prefix)]
	size, n := binary.Uvarint(stored[len(prefix)+1:])
	body := stored[len(prefix)+1+max(n, 0):]
	switch {
	case alg != algNone && alg != algS2:
		return nil, nil, fmt.Errorf("%w: unknown algorithm %d", ErrCorrupt, alg)
	case n <= 0 || size < tail || len(body) < tail:
		return nil, nil, fmt.Errorf("%w: header", ErrCorrupt)
	case size > MaxSize:
		return nil, nil, fmt.Errorf("%w: size %d above %d", ErrCorrupt, size, MaxSize)
	}
	if alg == algNone {
		if uint64(len(body)) != size {
			return nil, nil, fmt.Errorf("%w: %d bytes, header says %d", ErrCorrupt, len(body), size)
		}
		return bytes.Clone(body), nil, nil
	}
	end := int(size) - tail
	content = make([]byte, 0, size)
	content, bad, err = decodeStream(content, body[:len(body)-tail], end)
	return append(content, body[len(body)-tail:]...), bad, err
}

// decodeStream appends exactly size bytes to dst.
func decodeStream(dst, in []byte, size int) ([]byte, []Range, error) {
	var bad []Range
	var first error
	damage := func(n int, why string) {
		if first == nil {
			first = fmt.Errorf("%w: %s at byte %d", ErrCorrupt, why, len(dst))
		}
		if l := len(bad); l > 0 && bad[l-1].End == len(dst) {
			bad[l-1].End += n
		} else if n > 0 {
			bad = append(bad, Range{len(dst), len(dst) + n})
		}
		dst = dst[:len(dst)+n]
		clear(dst[len(dst)-n:])
	}
	if size == 0 && len(in) == 0 {
		return dst, nil, nil
	}
	if !bytes.HasPrefix(in, []byte(streamID)) && !bytes.HasPrefix(in, []byte(snappyID)) {
		damage(0, "stream identifier") // the chunks tell for themselves
	}
	if len(in) >= len(streamID) {
		in = in[len(streamID):]
	}
	for len(in) > 0 {
		left := size - len(dst)
		if len(in) < 4 {
			damage(left, "chunk header")
			return dst, bad, first
		}
		kind, n := in[0], int(binary.LittleEndian.Uint32(in)>>8)
		if n > len(in)-4 {
			damage(left, "chunk length")
			return dst, bad, first
		}
		chunk := in[4 : 4+n]
		in = in[4+n:]
		switch {
		case kind == 0xff || kind >= 0x80: // stream identifier again, padding, skippable
			continue
		case kind != chunkS2 && kind != chunkPlain:
			damage(left, "chunk type")
			return dst, bad, first
		case n < 4:
			damage(left, "chunk length")
			return dst, bad, first
		}
		sum, data := binary.LittleEndian.Uint32(chunk), chunk[4:]
		want := len(data)
		if kind == chunkS2 {
			var err error
			if want, err = s2.DecodedLen(data); err != nil {
				damage(left, "chunk")
				return dst, bad, first
			}
		}
		if want > left || want > chunkMax {
			damage(left, "chunk size")
			return dst, bad, first
		}
		out := dst[len(dst) : len(dst)+want]
		var err error
		if kind == chunkS2 {
			_, err = s2.Decode(out, data)
		} else {
			copy(out, data)
		}
		if err != nil || maskedCRC(out) != sum {
			damage(want, "chunk content")
			continue
		}
		dst = dst[:len(dst)+want]
	}
	if left := size - len(dst); left > 0 {
		damage(left, "end of stream")
	}
	return dst, bad, first
}
