// Package record encodes and decodes the records that message blocks are made
// of. The format is the reference server's (file store format, section 4.2):
//
//	offset  size  field
//	0       u32   total length L, with this field and the checksum; bit 31: has a header section
//	4       u64   sequence; bit 63: erased or skipped, bit 62: tombstone
//	12      i64   timestamp, nanoseconds since the Unix epoch
//	20      u16   subject length S
//	22      S     subject
//	22+S    u32   header length H (only with bit 31)
//	26+S    H     header section (only with bit 31)
//	...           payload
//	L-8     8     HighwayHash-64 over bytes 4..19, subject, header section, payload
//
// All integers are little endian. Nothing here allocates per record.
package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/natsd/natsd/msgstore/internal/highway"
)

const (
	// MaxSize is the largest record that may be written or read: 32 MiB.
	MaxSize = 32 << 20
	// MinSize is the size of a record without subject, headers and payload.
	MinSize = 30
	// SumSize is the size of the checksum at the end of a record.
	SumSize = 8

	// fixedSize is the part before the subject, headerField the length field
	// of the header section.
	fixedSize   = 22
	headerField = 4
	// headSize is the part of the fixed fields that the checksum covers: sequence
	// and time.
	headSize = 16

	hasHeader    = uint32(1) << 31
	erasedBit    = uint64(1) << 63
	tombstoneBit = uint64(1) << 62
	// MaxSeq is the largest sequence a record can carry.
	MaxSeq = tombstoneBit - 1
)

// Kind says what a record stands for.
type Kind uint8

const (
	// Message holds a message.
	Message Kind = iota
	// Tombstone says that the message with its sequence was removed.
	Tombstone
	// Skip uses up its sequence without a message.
	Skip
	// Erased was a message whose bytes were overwritten with random ones.
	Erased
	// Dead has sequence 0 and is to be ignored.
	Dead
)

func (k Kind) String() string {
	return [...]string{"message", "tombstone", "skip", "erased", "dead"}[k]
}

// Record is a decoded record. Subject, Header and Data point into the buffer
// that was decoded.
type Record struct {
	Kind    Kind
	Seq     uint64 // without flag bits
	Time    int64  // nanoseconds since the Unix epoch
	Subject []byte
	Header  []byte // raw header section, nil if the record has none
	Data    []byte // payload; random bytes of an erased record
	Size    int    // length of the encoded record
}

// Error says what is wrong with the bytes at the beginning of a buffer.
// Its text is the detail of "malformed or corrupt message in <N>.blk: ...".
type Error struct{ Detail string }

func (e *Error) Error() string { return e.Detail }

var (
	errShort    = &Error{"record too short"}
	errChecksum = &Error{"invalid checksum"}
	// ErrTooLarge refuses a record of more than MaxSize bytes.
	ErrTooLarge = errors.New("message too large")
)

// IsChecksum reports whether err says that only the checksum of a record is wrong.
func IsChecksum(err error) bool { return errors.Is(err, errChecksum) }

func insane(format string, args ...any) error {
	return &Error{"sanity check failed (" + fmt.Sprintf(format, args...) + ")"}
}

// Key keys the checksums of one block of one stream. It is a value: any number
// of goroutines may use one at a time.
type Key [sha256.Size]byte

// NewKey is the checksum key of block number block of a stream.
func NewKey(stream string, block uint32) Key {
	name := make([]byte, 0, len(stream)+11)
	name = append(name, stream...)
	name = append(name, '-')
	name = strconv.AppendUint(name, uint64(block), 10)
	return sha256.Sum256(name)
}

// Size is the length of the record of a message with a subject, header section
// and payload of these lengths. It is what all byte limits count.
func Size(subject, header, data int) int {
	n := MinSize + subject + data
	if header > 0 {
		n += headerField + header
	}
	return n
}

// AppendMessage appends the record of a message to dst. The caller has checked
// that Size is at most MaxSize and that the subject has at most 65535 bytes.
// Without a key the record has no checksum: it never leaves memory, or Seal follows.
func AppendMessage(dst []byte, key *Key, seq uint64, ts int64, subject string, header, data []byte) []byte {
	size := Size(len(subject), len(header), len(data))
	start := len(dst)
	dst = grow(dst, size)
	b := dst[start : start+size]
	field := uint32(size)
	binary.LittleEndian.PutUint64(b[4:], seq)
	binary.LittleEndian.PutUint64(b[12:], uint64(ts))
	binary.LittleEndian.PutUint16(b[20:], uint16(len(subject)))
	n := fixedSize + copy(b[fixedSize:], subject)
	if len(header) > 0 {
		field |= hasHeader
		binary.LittleEndian.PutUint32(b[n:], uint32(len(header)))
		n += headerField
		n += copy(b[n:], header)
	}
	n += copy(b[n:], data)
	clear(b[n:])
	binary.LittleEndian.PutUint32(b, field)
	if key != nil {
		Seal(b, key)
	}
	return dst
}

// Seal writes the checksums of the records in buf, which were made by this
// package. Done for many at a time it costs less than one by one: the processor
// does not have to wait for what was written last.
func Seal(buf []byte, key *Key) {
	for len(buf) > 0 {
		field := binary.LittleEndian.Uint32(buf)
		size := int(field &^ hasHeader)
		if field&hasHeader == 0 && len(buf) > size && binary.LittleEndian.Uint32(buf[size:]) == field {
			// Two at a time, if the next one is as large.
			a, b := buf[:size], buf[size:2*size]
			end := size - SumSize
			sumA, sumB := highway.SumPair((*[sha256.Size]byte)(key),
				(*[headSize]byte)(a[4:]), a[fixedSize:end], (*[headSize]byte)(b[4:]), b[fixedSize:end])
			binary.LittleEndian.PutUint64(a[end:], sumA)
			binary.LittleEndian.PutUint64(b[end:], sumB)
			buf = buf[2*size:]
			continue
		}
		sum := sumExclusive(buf[:size], int(binary.LittleEndian.Uint16(buf[20:])), field&hasHeader != 0, key)
		binary.LittleEndian.PutUint64(buf[size-SumSize:], sum)
		buf = buf[size:]
	}
}

// AppendTombstone appends a record that removes the message seq, whose time was ts.
func AppendTombstone(dst []byte, key *Key, seq uint64, ts int64) []byte {
	return AppendMessage(dst, key, seq|tombstoneBit, ts, "", nil, nil)
}

// AppendSkip appends a record that uses up seq; ts is the last time of the stream.
func AppendSkip(dst []byte, key *Key, seq uint64, ts int64) []byte {
	return AppendMessage(dst, key, seq|erasedBit, ts, "", nil, nil)
}

// AppendErased appends the record that takes the place of an erased one of
// len(random)+MinSize bytes.
func AppendErased(dst []byte, key *Key, seq uint64, random []byte) []byte {
	return AppendMessage(dst, key, seq|erasedBit, 0, "", nil, random)
}

// Parse reads the record at the beginning of buf without verifying its
// checksum. Every length is checked against the limits of the format.
func Parse(buf []byte) (Record, error) {
	if len(buf) < fixedSize {
		return Record{}, errShort
	}
	field := binary.LittleEndian.Uint32(buf)
	size := int(field &^ hasHeader)
	switch {
	case size < MinSize:
		return Record{}, insane("record length %d", size)
	case size > MaxSize:
		return Record{}, insane("record length %d", size)
	case size > len(buf):
		return Record{}, &Error{fmt.Sprintf("message overrun (index %d lbuf %d)", size, len(buf))}
	}
	seq := binary.LittleEndian.Uint64(buf[4:])
	subject := int(binary.LittleEndian.Uint16(buf[20:]))
	r := Record{
		Seq:  seq &^ (erasedBit | tombstoneBit),
		Time: int64(binary.LittleEndian.Uint64(buf[12:])),
		Size: size,
	}
	head := 0
	if field&hasHeader != 0 {
		head = headerField
	}
	if subject+head > size-fixedSize-SumSize {
		return Record{}, insane("subject length %d of %d", subject, size)
	}
	at := fixedSize + subject
	r.Subject = buf[fixedSize:at:at]
	if head != 0 {
		h := int(binary.LittleEndian.Uint32(buf[at:]))
		at += headerField
		if h > size-SumSize-at {
			return Record{}, insane("header length %d of %d", h, size)
		}
		r.Header = buf[at : at+h : at+h]
		at += h
	}
	end := size - SumSize
	r.Data = buf[at:end:end]

	switch {
	case r.Seq == 0:
		r.Kind = Dead
	case seq&tombstoneBit != 0:
		r.Kind = Tombstone
	case seq&erasedBit != 0 && size == MinSize:
		r.Kind = Skip
	case seq&erasedBit != 0:
		r.Kind = Erased
	}
	if r.Kind == Tombstone && size != MinSize {
		return Record{}, insane("tombstone length %d", size)
	}
	if r.Kind == Message && head != 0 && !usualHeader(r.Header) && holdsHeader(buf[fixedSize:end]) {
		return Record{}, insane("header section")
	}
	return r, nil
}

// The length of a header section is not covered by the checksum, so a wrong one
// must be caught by what the bytes say. But no server looks into what a client
// calls headers, so that a section of another form alone proves nothing.

var (
	headerStart = []byte("NATS/1.0")
	headerEnd   = []byte("\r\n\r\n")
)

// usualHeader says whether h has the form of a header section.
func usualHeader(h []byte) bool {
	return bytes.HasPrefix(h, headerStart) && bytes.HasSuffix(h, headerEnd)
}

// holdsHeader says whether something of that form is anywhere in the bytes of a
// record: if its section has another one, the lengths are damaged.
func holdsHeader(b []byte) bool {
	_, behind, found := bytes.Cut(b, headerStart)
	return found && bytes.Contains(behind, headerEnd)
}

// Storable says whether the record of a message would be read as what it is.
func Storable(subject string, header, data []byte) bool {
	if len(header) == 0 || usualHeader(header) {
		return true
	}
	_, err := Parse(AppendMessage(nil, nil, 1, 0, subject, header, data))
	return err == nil
}

// ValidSubject says whether a message of a stream with subjects can have this one:
// no token is empty, and nothing in it ends an argument or a line of the protocol.
// Servers take "*" and ">" in the subject of a message for plain text.
func ValidSubject[S ~string | ~[]byte](s S) bool {
	begins := true // a token
	for i := range len(s) {
		switch s[i] {
		case '.':
			if begins {
				return false
			}
			begins = true
		case ' ', '\t', '\r', '\n':
			return false
		default:
			begins = false
		}
	}
	return !begins
}

// ParseOwn reads the record at the beginning of buf, which this process has
// encoded and nobody changed since, into r.
func ParseOwn(buf []byte, r *Record) {
	field := binary.LittleEndian.Uint32(buf)
	seq := binary.LittleEndian.Uint64(buf[4:])
	size := int(field &^ hasHeader)
	at := fixedSize + int(binary.LittleEndian.Uint16(buf[20:]))
	r.Size = size
	r.Seq = seq &^ (erasedBit | tombstoneBit)
	r.Time = int64(binary.LittleEndian.Uint64(buf[12:]))
	r.Subject = buf[fixedSize:at:at]
	r.Header = nil
	if field&hasHeader != 0 {
		h := int(binary.LittleEndian.Uint32(buf[at:]))
		at += headerField
		r.Header = buf[at : at+h : at+h]
		at += h
	}
	end := size - SumSize
	r.Data = buf[at:end:end]
	switch {
	case seq < tombstoneBit:
		r.Kind = Message
	case seq < erasedBit:
		r.Kind = Tombstone
	case size == MinSize:
		r.Kind = Skip
	default:
		r.Kind = Erased
	}
}

// Decode reads and verifies the record at the beginning of buf.
func Decode(buf []byte, key *Key) (Record, error) {
	r, err := Parse(buf)
	if err != nil {
		return Record{}, err
	}
	if r.sum(buf, key) != binary.LittleEndian.Uint64(buf[r.Size-SumSize:]) {
		return Record{}, errChecksum
	}
	return r, nil
}

// DecodeExclusive is Decode for a buffer that nobody else reads at the moment.
// It is faster, because it moves bytes of the record while it hashes; they are
// back in their places when it returns.
func DecodeExclusive(buf []byte, key *Key) (Record, error) {
	r, err := Parse(buf)
	if err != nil {
		return Record{}, err
	}
	if !verify(buf, r.Size, len(r.Subject), r.Header != nil, key) {
		return Record{}, errChecksum
	}
	return r, nil
}

// verify checks the checksum of a record whose lengths are sane.
func verify(buf []byte, size, subject int, header bool, key *Key) bool {
	return sumExclusive(buf[:size], subject, header, key) == binary.LittleEndian.Uint64(buf[size-SumSize:])
}

// sumExclusive computes the checksum of a record that nobody else reads. The
// length of a header section is in the way of what is hashed: the subject is laid
// over it, and moved back.
func sumExclusive(b []byte, subject int, header bool, key *Key) uint64 {
	head := (*[headSize]byte)(b[4:])
	end := len(b) - SumSize
	if !header {
		return highway.SumParts((*[sha256.Size]byte)(key), head, b[fixedSize:end])
	}
	at := fixedSize + headerField
	length := binary.LittleEndian.Uint32(b[fixedSize+subject:])
	copy(b[at:], b[fixedSize:fixedSize+subject])
	sum := highway.SumParts((*[sha256.Size]byte)(key), head, b[at:end])
	copy(b[fixedSize:], b[at:at+subject])
	binary.LittleEndian.PutUint32(b[fixedSize+subject:], length)
	return sum
}

// Next is DecodeExclusive for those who only want to know that the record at the
// beginning of buf is whole, and of what kind. size is 0 if it is not.
func Next(buf []byte, key *Key) (size int, seq uint64, kind Kind, subject []byte) {
	if len(buf) < MinSize {
		return 0, 0, 0, nil
	}
	field := binary.LittleEndian.Uint32(buf)
	size = int(field &^ hasHeader)
	raw := binary.LittleEndian.Uint64(buf[4:])
	n := int(binary.LittleEndian.Uint16(buf[20:]))
	if field&hasHeader != 0 || raw >= tombstoneBit || raw == 0 {
		r, err := DecodeExclusive(buf, key)
		if err != nil {
			return 0, 0, 0, nil
		}
		return r.Size, r.Seq, r.Kind, r.Subject
	}
	if size < MinSize || size > MaxSize || size > len(buf) || n > size-MinSize || !verify(buf, size, n, false, key) {
		return 0, 0, 0, nil
	}
	return size, raw, Message, buf[fixedSize : fixedSize+n]
}

// stackSum is the largest record whose hashed parts are joined on the stack.
const stackSum = 1024

func (r *Record) sum(buf []byte, key *Key) uint64 {
	head := (*[headSize]byte)(buf[4:])
	if r.Header == nil {
		return highway.SumParts((*[sha256.Size]byte)(key), head, buf[fixedSize:r.Size-SumSize])
	}
	n := len(r.Subject) + len(r.Header) + len(r.Data)
	var few [stackSum]byte
	parts := few[:0]
	if n > len(few) {
		parts = make([]byte, 0, n)
	}
	parts = append(parts, r.Subject...)
	parts = append(parts, r.Header...)
	parts = append(parts, r.Data...)
	return highway.SumParts((*[sha256.Size]byte)(key), head, parts)
}

// grow extends dst by n bytes.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst[:len(dst)+n]
	}
	bigger := make([]byte, len(dst)+n, max(2*cap(dst), len(dst)+n))
	copy(bigger, dst)
	return bigger
}
