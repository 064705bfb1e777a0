package conf

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// factors of the letters behind integers: alone they are decimal, with b, i or ib binary.
var factors = map[byte][2]uint64{
	'k': {1e3, 1 << 10},
	'm': {1e6, 1 << 20},
	'g': {1e9, 1 << 30},
	't': {1e12, 1 << 40},
	'p': {1e15, 1 << 50},
	'e': {1e18, 1 << 60},
}

// endsNumber tells whether a number ends before r. A bracket ends it inside an array only: elsewhere 3] is a string.
func (p *parser) endsNumber(r rune) bool {
	switch r {
	case ' ', '\t', '\n', '\r', ';', ',', '}':
		return true
	case ']':
		return p.inArray
	}
	return false
}

// number reads what begins with a digit or a minus sign: an integer with its suffix, a float, a date, something like an
// address, or, if another character follows the digits, a word.
func (p *parser) number() (*Value, error) {
	start, pos := p.pos, p.here()
	negative := false
	if r, _ := p.peek(); r == '-' {
		negative = true
		p.next()
		switch r := p.next(); {
		case r == '.':
			return nil, p.errorf("Floats must start with a digit, not '.'.")
		case !isDigit(r):
			return nil, p.errorf("Expected a digit but got '%s'.", shown(r))
		}
	}
	p.skip(isDigit)
	digits := p.text[start:p.pos]
	r, ok := p.peek()
	switch {
	case !ok || p.endsNumber(r):
		return integer(pos, digits, digits, 0)
	case r == '-' && !negative:
		if len(digits) != 4 {
			p.next()
			return nil, p.errorf("All ISO8601 dates must be in full Zulu form.")
		}
		return p.date(start, pos)
	case r == '.':
		return p.float(start, pos)
	case r < 0x80 && factors[lower(byte(r))][0] != 0:
		p.next()
		p.skip(func(r rune) bool { return strings.ContainsRune("bBiI", r) })
		r, ok = p.peek()
		if ok && !p.endsNumber(r) && !isDigit(r) {
			return p.word(start, pos)
		}
		text := p.text[start:p.pos]
		return sized(pos, digits, text)
	case negative:
		// What follows is reported where the item should end.
		return integer(pos, digits, digits, 0)
	}
	p.next()
	return p.word(start, pos)
}

func lower(c byte) byte { return c | 0x20 }

// sized returns an integer with a suffix.
func sized(pos Pos, digits, text string) (*Value, error) {
	f := factors[lower(text[len(digits)])]
	switch strings.ToLower(text[len(digits)+1:]) {
	case "":
		return integer(pos, digits, text, f[0])
	case "b", "i", "ib":
		return integer(pos, digits, text, f[1])
	}
	return nil, fmt.Errorf("expected integer, but got '%s'", text)
}

// integer returns the number times factor (0 is 1).
func integer(pos Pos, digits, text string, factor uint64) (*Value, error) {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("integer '%s' is out of the range", text)
	}
	if factor > 1 {
		abs := uint64(n)
		if n < 0 {
			abs = -abs
		}
		hi, lo := bits.Mul64(abs, factor)
		if hi != 0 || lo > math.MaxInt64 {
			return nil, fmt.Errorf("integer '%s' is out of the range", text)
		}
		abs = lo
		if n < 0 {
			abs = -abs
		}
		n = int64(abs)
	}
	return &Value{Kind: Int, Pos: pos, Int: n, nodes: 1}, nil
}

// float reads from the first dot on; a second dot makes it an address.
func (p *parser) float(start int, pos Pos) (*Value, error) {
	p.next()
	end := p.atEnd()
	if r := p.next(); end || !isDigit(r) {
		return nil, p.errorf("Floats must have a digit after the '.', but got '%s' instead.", shown(r))
	}
	p.skip(isDigit)
	if r, ok := p.peek(); ok && r == '.' {
		p.skip(func(r rune) bool { return isDigit(r) || r == '.' || r == ':' || r == '-' })
		return &Value{Kind: String, Pos: pos, Str: p.text[start:p.pos], nodes: 1}, nil
	}
	text := p.text[start:p.pos]
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("float '%s' is out of the range", text)
	}
	return &Value{Kind: Float, Pos: pos, Float: f, nodes: 1}, nil
}

// date reads the rest of YYYY-MM-DDTHH:MM:SSZ behind the year.
func (p *parser) date(start int, pos Pos) (*Value, error) {
	for _, want := range "-00-00T00:00:00Z" {
		end := p.atEnd()
		r := p.next()
		switch {
		case want == '0' && (end || !isDigit(r)):
			return nil, p.errorf("Expected digit in ISO8601 datetime, but found '%s' instead.", shown(r))
		case want != '0' && (end || r != want):
			return nil, p.errorf("Expected '%s' in ISO8601 datetime, but found '%s' instead.", string(want), shown(r))
		}
	}
	text := p.text[start:p.pos]
	t, err := time.Parse("2006-01-02T15:04:05Z", text)
	if err != nil {
		return nil, fmt.Errorf("expected Zulu formatted DateTime, but got '%s'", text)
	}
	return &Value{Kind: Time, Pos: pos, Time: t, nodes: 1}, nil
}
