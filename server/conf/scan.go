package conf

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// eof is what next returns behind the text; it prints as a NUL character.
const eof rune = 0

// scanner reads runes of one text and knows where it is.
type scanner struct {
	file      string
	text      string
	pos       int // byte offset of the next rune
	line      int // of the next rune
	lineStart int // byte offset of the line
	width     int // of the rune that was read last; 0 behind the text
}

// next reads a rune.
func (s *scanner) next() rune {
	if s.pos >= len(s.text) {
		s.width = 0
		return eof
	}
	r, w := utf8.DecodeRuneInString(s.text[s.pos:])
	s.pos += w
	s.width = w
	if r == '\n' {
		s.line++
		s.lineStart = s.pos
	}
	return r
}

// peek returns the next rune without reading it, and whether there is one.
func (s *scanner) peek() (rune, bool) {
	if s.pos >= len(s.text) {
		return eof, false
	}
	r, _ := utf8.DecodeRuneInString(s.text[s.pos:])
	return r, true
}

// atEnd tells whether the text is over.
func (s *scanner) atEnd() bool { return s.pos >= len(s.text) }

// skip reads runes as long as they are of the kind.
func (s *scanner) skip(is func(rune) bool) {
	for {
		r, ok := s.peek()
		if !ok || !is(r) {
			return
		}
		s.next()
	}
}

// here returns the position of the next rune.
func (s *scanner) here() Pos {
	col := s.pos - s.lineStart
	if s.line > 1 {
		col++
	}
	return Pos{File: s.file, Line: s.line, Col: col}
}

// errorf returns a syntax error at the line reached; a rune that was read counts, so an error about a line feed names the
// line behind it.
func (s *scanner) errorf(format string, args ...any) error {
	return fmt.Errorf("Parse error on line %d: '%s'", s.line, fmt.Sprintf(format, args...))
}

// shown returns a rune as messages print it.
func shown(r rune) string {
	switch r {
	case '\n':
		return `\n`
	default:
		return string(r)
	}
}

func isBlank(r rune) bool   { return r == ' ' || r == '\t' }
func isNewline(r rune) bool { return r == '\n' || r == '\r' }
func isSpace(r rune) bool   { return unicode.IsSpace(r) }
func isDigit(r rune) bool   { return '0' <= r && r <= '9' }

// endsWord tells whether an unquoted string ends before r.
func endsWord(r rune) bool {
	switch r {
	case ' ', '\t', '\n', '\r', ';', ',', ']', '}', '\'':
		return true
	}
	return false
}

// skipComment skips the comment that begins here, up to its line feed, and tells whether there was one.
func (s *scanner) skipComment() bool {
	if !strings.HasPrefix(s.text[s.pos:], "#") && !strings.HasPrefix(s.text[s.pos:], "//") {
		return false
	}
	s.skip(func(r rune) bool { return !isNewline(r) })
	return true
}

// skipSpace skips white space of any kind and comments.
func (s *scanner) skipSpace() {
	for {
		s.skip(isSpace)
		if !s.skipComment() {
			return
		}
	}
}

// escape reads an escape sequence behind its backslash.
func (s *scanner) escape(b *strings.Builder) error {
	end := s.atEnd()
	r := s.next()
	switch {
	case end:
		return s.errorf(`Invalid escape character '%s'. Only the following escape characters are allowed: \xXX, \t, \n, \r, \", \\.`, shown(r))
	case r == 't':
		b.WriteByte('\t')
	case r == 'n':
		b.WriteByte('\n')
	case r == 'r':
		b.WriteByte('\r')
	case r == '"':
		b.WriteByte('"')
	case r == '\\':
		b.WriteByte('\\')
	case r == 'x':
		var v byte
		start := s.pos
		for range 2 {
			r, ok := s.peek()
			if !ok || isNewline(r) {
				s.next()
				return s.errorf(`Expected two hexadecimal digits after '\x', but hit end of line`)
			}
			s.next()
			d := strings.IndexRune("0123456789abcdef", unicode.ToLower(r))
			if d < 0 {
				return s.errorf(`Expected two hexadecimal digits after '\x', but got '%s'`, hexText(s.text[start:]))
			}
			v = v<<4 | byte(d)
		}
		b.WriteByte(v)
	default:
		return s.errorf(`Invalid escape character '%s'. Only the following escape characters are allowed: \xXX, \t, \n, \r, \", \\.`, shown(r))
	}
	return nil
}

// hexText returns the two runes that stand where hexadecimal digits should.
func hexText(text string) string {
	n := 0
	for i := range text {
		if n == 2 {
			return text[:i]
		}
		n++
	}
	return text
}
