package commit

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/minio/highwayhash"
)

// A segment of the journal is a file of fixed size:
//
//	0    magic "natsdjnl"
//	8    u16 version, u16 zero, u32 zero
//	16   u64 sequence number of this use of the file
//	24   u64 HighwayHash-64 of bytes 0..23
//	512  frames, each at a multiple of 512, so that no sector that holds something
//	     durable is ever written again
//
// A frame is the records of one round, and counts as a whole or not at all:
//
//	0    u32 magic 0x4d52464e
//	4    u32 length of the records
//	8    u64 sequence number of the segment, which makes frames of earlier uses void
//	16   u64 number of the frame in the journal: replay goes by it
//	24   u64 HighwayHash-64 of the offset of the frame (u64), bytes 0..23, the records
//	32   records
//
// Records, with integers as uvarint where no size is given:
//
//	1 define   id, length, path            what id means in the rest of the segment
//	2 append   id, offset, prev [8], length, bytes
//	3 run      id, length, bytes
//	4 forget   length, path                all records before of this path, and below it, are void
//
// All fixed integers are little endian.
const (
	journalMagic   = "natsdjnl"
	journalVersion = 1
	headerSize     = 32
	frameAlign     = 512
	frameMagic     = 0x4d52464e
	frameHeader    = 32

	recDefine = 1
	recAppend = 2
	recRun    = 3
	recForget = 4

	// maxPath bounds the paths that a journal may name: two names of 255 bytes, the
	// longest that JetStream allows, and what is around them.
	maxPath = 2048
	// maxRun bounds one consumer run.
	maxRun = 1 << 20
)

var journalKey = []byte("natsd commit journal, version 1.")

func journalHash(parts ...[]byte) uint64 {
	h, err := highwayhash.New64(journalKey)
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum64()
}

// errNoHeader says that a segment has no valid header.
var errNoHeader = errors.New("commit: journal segment without a valid header")

// VersionError is returned by [Open] for a journal that a newer server wrote and
// did not empty by an orderly stop.
type VersionError struct {
	Path         string
	Found, Known uint16
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("commit journal %s has format version %d, this server knows up to version %d: start the newer server once and stop it in an orderly way", e.Path, e.Found, e.Known)
}

func appendHeader(b []byte, seq uint64) []byte {
	at := len(b)
	b = append(b, journalMagic...)
	b = binary.LittleEndian.AppendUint16(b, journalVersion)
	b = append(b, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, seq)
	return binary.LittleEndian.AppendUint64(b, journalHash(b[at:]))
}

// parseHeader returns the version and sequence number of a segment.
func parseHeader(b []byte) (version uint16, seq uint64, err error) {
	if len(b) < headerSize || string(b[:8]) != journalMagic || binary.LittleEndian.Uint64(b[24:]) != journalHash(b[:24]) {
		return 0, 0, errNoHeader
	}
	return binary.LittleEndian.Uint16(b[8:]), binary.LittleEndian.Uint64(b[16:]), nil
}

// alignFrame is n rounded up to where a frame may begin.
func alignFrame(n int64) int64 { return (n + frameAlign - 1) &^ (frameAlign - 1) }

// sealFrame completes a frame whose records are in b behind frameHeader free bytes.
func sealFrame(b []byte, seq, number uint64, offset int64) {
	binary.LittleEndian.PutUint32(b, frameMagic)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-frameHeader))
	binary.LittleEndian.PutUint64(b[8:], seq)
	binary.LittleEndian.PutUint64(b[16:], number)
	binary.LittleEndian.PutUint64(b[24:], frameHash(b, offset))
}

func frameHash(b []byte, offset int64) uint64 {
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(offset))
	return journalHash(at[:], b[:24], b[frameHeader:])
}

// frame is a valid frame of a segment.
type frame struct {
	number  uint64
	records []byte // points into the segment
	next    int64  // where the next frame begins
}

// parseFrame decodes the frame at offset of a segment. ok is false if there is no
// whole, valid frame of that use of the segment.
func parseFrame(segment []byte, seq uint64, offset int64) (f frame, ok bool) {
	if offset < 0 || int64(len(segment))-offset < frameHeader {
		return frame{}, false
	}
	b := segment[offset:]
	n := int64(binary.LittleEndian.Uint32(b[4:]))
	if binary.LittleEndian.Uint32(b) != frameMagic || binary.LittleEndian.Uint64(b[8:]) != seq || n > int64(len(b))-frameHeader {
		return frame{}, false
	}
	b = b[:frameHeader+n]
	if binary.LittleEndian.Uint64(b[24:]) != frameHash(b, offset) {
		return frame{}, false
	}
	return frame{
		number:  binary.LittleEndian.Uint64(b[16:]),
		records: b[frameHeader:],
		next:    alignFrame(offset + int64(len(b))),
	}, true
}

func appendBytes(b, p []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(p)))
	return append(b, p...)
}

func appendDefine(b []byte, id uint64, path string) []byte {
	b = append(b, recDefine)
	b = binary.AppendUvarint(b, id)
	b = binary.AppendUvarint(b, uint64(len(path)))
	return append(b, path...)
}

// appendAppend begins an append record; n bytes of data follow.
func appendAppend(b []byte, id uint64, offset int64, prev [8]byte, n int) []byte {
	b = append(b, recAppend)
	b = binary.AppendUvarint(b, id)
	b = binary.AppendUvarint(b, uint64(offset))
	b = append(b, prev[:]...)
	return binary.AppendUvarint(b, uint64(n))
}

func appendRun(b []byte, id uint64, run []byte) []byte {
	b = append(b, recRun)
	b = binary.AppendUvarint(b, id)
	return appendBytes(b, run)
}

func appendForget(b []byte, path string) []byte {
	b = append(b, recForget)
	return appendBytes(b, []byte(path))
}

// record is one decoded record. data points into the segment.
type record struct {
	kind   byte
	id     uint64
	path   string // of define and forget
	offset int64
	prev   [8]byte
	data   []byte
}

var errRecord = errors.New("commit: bad journal record")

// parseRecord decodes the first record of b and returns the rest.
func parseRecord(b []byte) (r record, rest []byte, err error) {
	bad := func() (record, []byte, error) { return record{}, nil, errRecord }
	if len(b) == 0 {
		return bad()
	}
	r.kind, b = b[0], b[1:]
	uvarint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err = errRecord
			return 0
		}
		b = b[n:]
		return v
	}
	bytes := func(limit uint64) []byte {
		n := uvarint()
		if err != nil || n > uint64(len(b)) || n > limit {
			err = errRecord
			return nil
		}
		p := b[:n:n]
		b = b[n:]
		return p
	}
	switch r.kind {
	case recDefine:
		r.id = uvarint()
		r.path = string(bytes(maxPath))
	case recAppend:
		r.id = uvarint()
		off := uvarint()
		if err != nil || off > 1<<62 || len(b) < 8 {
			return bad()
		}
		r.offset = int64(off)
		copy(r.prev[:], b)
		b = b[8:]
		r.data = bytes(1 << 31)
	case recRun:
		r.id = uvarint()
		r.data = bytes(maxRun)
	case recForget:
		r.path = string(bytes(maxPath))
	default:
		return bad()
	}
	if err != nil {
		return bad()
	}
	return r, b, nil
}
