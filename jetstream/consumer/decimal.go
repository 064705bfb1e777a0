package consumer

import (
	"encoding/binary"
	"strconv"
)

// decimal is a number that moves in small steps, with its digits but the last two: the
// sequences of an ack subject, which costs more than half of what the consumer does
// about a message if each is divided by ten anew. The digits that change each time are
// not kept: to read what was just written byte by byte, the processor must wait.
type decimal struct {
	hundreds uint64
	digits   uint8    // of hundreds, in text; 0: it was not asked for
	text     [18]byte // hundreds of a uint64 have no more
}

// append appends n.
func (d *decimal) append(dst []byte, n uint64) []byte {
	if n < 100 {
		return strconv.AppendUint(dst, n, 10)
	}
	hundreds := n / 100
	if hundreds == d.hundreds && d.digits > 0 {
		dst = append(dst, d.text[:d.digits]...)
	} else {
		at := len(dst)
		dst = strconv.AppendUint(dst, hundreds, 10)
		d.hundreds, d.digits = hundreds, uint8(copy(d.text[:], dst[at:]))
	}
	last := pairs[n-100*hundreds]
	return append(dst, byte(last), byte(last>>8))
}

// moment is a time in nanoseconds with the digits of its second.
type moment struct {
	second uint64
	text   [10]byte // of second, if it is not 0
}

const nano = 1_000_000_000

// append appends the time t, in nanoseconds since the epoch.
func (m *moment) append(dst []byte, t int64) []byte {
	second := uint64(t) / nano
	if second != m.second || second == 0 {
		if t < nano*nano { // not ten digits
			return strconv.AppendInt(dst, t, 10)
		}
		m.second = second
		strconv.AppendUint(m.text[:0], second, 10)
	}
	dst = append(dst, m.text[:]...)
	rest := uint32(uint64(t) - second*nano)
	high, low := rest/10_000, rest%10_000
	dst = append(dst, byte('0'+high/10_000))
	high %= 10_000
	return binary.LittleEndian.AppendUint64(dst, uint64(pairs[high/100])|uint64(pairs[high%100])<<16|uint64(pairs[low/100])<<32|uint64(pairs[low%100])<<48)
}

// pairs are the numbers below 100 in two digits, the first one in the low byte.
var pairs = func() (p [100]uint16) {
	for i := range p {
		p[i] = uint16('0'+i/10) | uint16('0'+i%10)<<8
	}
	return p
}()
