package consumer

import "strconv"

// decimal is a number that moves in small steps, with its digits: the sequences of
// an ack subject, which costs more than half of what the consumer does about a
// message if each is divided by ten anew.
type decimal struct {
	n    uint64
	from uint8 // text[from:] are the digits of n; 0: they were not made
	text [21]byte
}

// append appends n. What is next to the number before is counted on in digits.
func (d *decimal) append(dst []byte, n uint64) []byte {
	switch {
	case n == d.n && d.from > 0:
	case n == d.n+1 && n > 0 && d.from > 0 && d.up():
	case n == d.n-1 && d.n > 0 && d.from > 0 && d.down():
	case n-d.n+1 <= 2: // next to it: it is worth it to begin
		var b [20]byte
		digits := strconv.AppendUint(b[:0], n, 10)
		d.from = uint8(len(d.text) - len(digits))
		copy(d.text[d.from:], digits)
	default:
		d.n, d.from = n, 0
		return strconv.AppendUint(dst, n, 10)
	}
	d.n = n
	return append(dst, d.text[d.from:]...)
}

// up adds one. It reports false, and leaves any digits, if another one is needed.
func (d *decimal) up() bool {
	i := len(d.text) - 1
	for ; d.text[i] == '9'; i-- {
		if i == int(d.from) {
			return false
		}
		d.text[i] = '0'
	}
	d.text[i]++
	return true
}

// down takes one away. It reports false, and leaves any digits, if one is left over.
func (d *decimal) down() bool {
	i := len(d.text) - 1
	for ; d.text[i] == '0'; i-- {
		d.text[i] = '9'
	}
	d.text[i]--
	return d.text[d.from] != '0' || int(d.from) == len(d.text)-1
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
	var b [9]byte
	for i := 7; i > 0; i -= 2 {
		pair := 2 * (rest % 100)
		rest /= 100
		b[i], b[i+1] = pairs[pair], pairs[pair+1]
	}
	b[0] = byte('0' + rest)
	return append(dst, b[:]...)
}

const pairs = "00010203040506070809" +
	"10111213141516171819" +
	"20212223242526272829" +
	"30313233343536373839" +
	"40414243444546474849" +
	"50515253545556575859" +
	"60616263646566676869" +
	"70717273747576777879" +
	"80818283848586878889" +
	"90919293949596979899"
