package natsproto

import (
	"bytes"
	"iter"
)

// HeaderLine is the first line of a header block without a status.
const HeaderLine = "NATS/1.0\r\n"

// headerEntry finds the entry of name in a header block: start is the offset of
// the name, value that of the value behind it, end that of the CR LF that ends
// the line. start is -1 where there is none. The name is case-sensitive, begins
// right behind a CR LF and is followed by a colon; the first occurrence wins.
func headerEntry(hdr []byte, name string, from int) (start, value, end int) {
	for i := from; ; {
		nl := bytes.Index(hdr[i:], crlf)
		if nl < 0 {
			return -1, -1, -1
		}
		i += nl + 2
		rest := hdr[i:]
		if len(rest) > len(name) && rest[len(name)] == ':' && string(rest[:len(name)]) == name {
			value = i + len(name) + 1
			for value < len(hdr) && hdr[value] == ' ' {
				value++
			}
			n := bytes.Index(hdr[value:], crlf)
			if n < 0 {
				return -1, -1, -1
			}
			return i, value, value + n
		}
	}
}

var crlf = []byte(CRLF)

// HeaderValue is the value of the first entry called name in a header block,
// without leading spaces; nil if there is none, empty but not nil if the value
// is empty. It points into hdr.
func HeaderValue(hdr []byte, name string) []byte {
	start, value, end := headerEntry(hdr, name, 0)
	if start < 0 {
		return nil
	}
	return hdr[value:end:end]
}

// RemoveHeader removes every entry called name and returns what is left; nil
// when no entry is left in a block without a status. hdr itself is not changed;
// it is returned as it is when nothing is removed.
func RemoveHeader(hdr []byte, name string) []byte {
	start, _, end := headerEntry(hdr, name, 0)
	if start < 0 {
		return hdr
	}
	out := make([]byte, 0, len(hdr))
	from := 0
	for start >= 0 {
		out = append(out, hdr[from:start]...)
		from = end + 2
		start, _, end = headerEntry(hdr, name, end)
	}
	out = append(out, hdr[from:]...)
	if string(out) == HeaderLine+CRLF {
		return nil
	}
	return out
}

// SetHeader returns a block in which name has exactly this value: every
// existing entry is removed and one appended at the end. An empty hdr begins a
// new block. hdr itself is not changed.
func SetHeader[V ~string | ~[]byte](hdr []byte, name string, value V) []byte {
	hdr = RemoveHeader(hdr, name)
	out := make([]byte, 0, len(HeaderLine)+len(hdr)+len(name)+len(value)+6)
	return AppendHeader(append(out, hdr...), name, value)
}

// AppendHeader adds an entry at the end of the block that dst holds, in place.
// An empty dst begins a new block; a dst that does not end in an empty line, or in a
// line, is taken for a block without its end.
func AppendHeader[V ~string | ~[]byte](dst []byte, name string, value V) []byte {
	if len(dst) == 0 {
		dst = append(dst, HeaderLine...)
	} else if bytes.HasSuffix(dst, []byte("\r\n\r\n")) {
		dst = dst[:len(dst)-2]
	} else if !bytes.HasSuffix(dst, crlf) {
		dst = append(dst, crlf...)
	}
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n\r\n"...)
}

// Headers walks over the entries of a block in order; names and values are
// trimmed of blanks, and point into hdr. A block that does not begin with
// NATS/1.0 has none. Lines without a colon are passed over.
func Headers(hdr []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		if !bytes.HasPrefix(hdr, []byte("NATS/1.0")) {
			return
		}
		nl := bytes.Index(hdr, crlf)
		if nl < 0 {
			return
		}
		rest := hdr[nl+2:]
		for len(rest) > 0 {
			nl := bytes.Index(rest, crlf)
			if nl < 0 {
				return
			}
			line := rest[:nl]
			rest = rest[nl+2:]
			name, value, ok := bytes.Cut(line, []byte{':'})
			if !ok {
				continue
			}
			if !yield(bytes.TrimSpace(name), bytes.TrimSpace(value)) {
				return
			}
		}
	}
}

// HeaderStatus splits the first line of a block: the status code ("503") and
// the description behind it, both empty where there is none.
func HeaderStatus(hdr []byte) (code, description []byte) {
	nl := bytes.Index(hdr, crlf)
	if nl < 0 || !bytes.HasPrefix(hdr, []byte("NATS/1.0")) {
		return nil, nil
	}
	line := bytes.TrimSpace(hdr[len("NATS/1.0"):nl])
	code, description, _ = bytes.Cut(line, []byte{' '})
	return code, bytes.TrimSpace(description)
}

// RemoveStatus takes a status off the first line. A block that holds nothing
// else becomes nil. hdr is returned as it is when there is no status.
func RemoveStatus(hdr []byte) []byte {
	nl := bytes.Index(hdr, crlf)
	if nl < 0 || nl <= len("NATS/1.0") || !bytes.HasPrefix(hdr, []byte("NATS/1.0")) {
		return hdr
	}
	out := append([]byte("NATS/1.0"), hdr[nl:]...)
	if string(out) == HeaderLine+CRLF {
		return nil
	}
	return out
}
