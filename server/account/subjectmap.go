package account

import (
	"errors"
	"strconv"
	"strings"
)

// maxTokens is the number of tokens up to which a subject is mapped without
// allocation.
const maxTokens = 32

// subjectMap maps the subjects of one pattern to those of another; each wildcard
// of the source has its place in the destination, so it can be reversed, and
// patterns inside the source can be mapped like subjects.
type subjectMap struct {
	from, to []string
	place    []int // for each token of to: the token of from that goes there, or -1
	tail     bool  // both end in >
}

var errSubjectMap = errors.New("not using all of the token wildcard(s)")

// newSubjectMap maps pattern to the template to, whose tokens are literals, $n
// or {{wildcard(n)}} for the n-th * of the pattern, or, for all of them in order,
// plain *. local is to as a pattern.
func newSubjectMap(pattern, to string) (m *subjectMap, local string, err error) {
	m = &subjectMap{from: strings.Split(pattern, "."), to: strings.Split(to, ".")}
	var stars []int
	for i, t := range m.from {
		if t == "*" {
			stars = append(stars, i)
		}
	}
	m.tail = m.from[len(m.from)-1] == ">"
	if m.tail != (m.to[len(m.to)-1] == ">") {
		return nil, "", errSubjectMap
	}
	used := make([]bool, len(stars))
	n := 0
	for i, t := range m.to {
		m.place = append(m.place, -1)
		k, ok := placeholder(t)
		if !ok && t == "*" {
			k, ok = n+1, true
		}
		if !ok {
			continue
		}
		if k < 1 || k > len(stars) || used[k-1] {
			return nil, "", errSubjectMap
		}
		n++
		used[k-1] = true
		m.place[i] = stars[k-1]
		m.to[i] = "*"
	}
	if n != len(stars) {
		return nil, "", errSubjectMap
	}
	return m, strings.Join(m.to, "."), nil
}

// placeholder reads $n and {{wildcard(n)}}.
func placeholder(t string) (int, bool) {
	if s, ok := strings.CutPrefix(t, "$"); ok {
		n, err := strconv.Atoi(s)
		return n, err == nil
	}
	if len(t) <= 4 || t[:2] != "{{" || t[len(t)-2:] != "}}" {
		return 0, false
	}
	s := strings.TrimSpace(t[2 : len(t)-2])
	if len(s) < len("wildcard") || s[0]|0x20 != 'w' || s[1:len("wildcard")] != "ildcard" {
		return 0, false
	}
	s = strings.TrimSpace(s[len("wildcard"):])
	if len(s) < 2 || s[0] != '(' || s[len(s)-1] != ')' {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(s[1 : len(s)-1]))
	return n, err == nil
}

// reverse is the map in the other direction.
func (m *subjectMap) reverse() *subjectMap {
	r := &subjectMap{from: m.to, to: m.from, place: make([]int, len(m.from)), tail: m.tail}
	for i := range r.place {
		r.place[i] = -1
	}
	for i, p := range m.place {
		if p >= 0 {
			r.place[p] = i
		}
	}
	return r
}

// identity tells that nothing changes.
func (m *subjectMap) identity() bool {
	if len(m.from) != len(m.to) {
		return false
	}
	for i := range m.to {
		if m.to[i] != m.from[i] || (m.to[i] == "*" && m.place[i] != i) {
			return false
		}
	}
	return true
}

// apply appends what a subject of the source becomes. The subject must match it
// (or be a pattern inside it).
func (m *subjectMap) apply(dst, subject []byte) []byte {
	var few [maxTokens]int
	starts := append(few[:0], 0)
	for i, c := range subject {
		if c == '.' {
			starts = append(starts, i+1)
		}
	}
	starts = append(starts, len(subject)+1)
	for i, t := range m.to {
		if i > 0 {
			dst = append(dst, '.')
		}
		switch {
		case m.tail && i == len(m.to)-1:
			if at := len(m.from) - 1; at < len(starts)-1 {
				dst = append(dst, subject[starts[at]:]...)
			}
		case m.place[i] >= 0 && m.place[i] < len(starts)-1:
			p := m.place[i]
			dst = append(dst, subject[starts[p]:starts[p+1]-1]...)
		default:
			dst = append(dst, t...)
		}
	}
	return dst
}
