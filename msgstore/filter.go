package msgstore

import (
	"strings"
	"unsafe"
)

// Filter is a set of subject patterns. The nil Filter matches everything.
// It is immutable and safe for concurrent use.
type Filter struct {
	patterns []pattern
}

// pattern is one subject with or without wildcards.
type pattern struct {
	subject string
	literal bool
	full    bool   // ends in ">"
	prefix  string // its tokens before the first wildcard, with the dot behind them
}

// NewFilter returns the filter for the given subjects. No subject, "" and ">"
// among them give nil, which matches everything.
func NewFilter(subjects ...string) *Filter {
	if len(subjects) == 0 {
		return nil
	}
	f := &Filter{patterns: make([]pattern, 0, len(subjects))}
	for _, s := range subjects {
		if matchesAll(s) {
			return nil
		}
		f.patterns = append(f.patterns, newPattern(s))
	}
	return f
}

// literalFilter matches one subject, whatever is in it: servers take "*" and ">" in the
// subject of a message for plain text.
func literalFilter(subject string) *Filter {
	return &Filter{patterns: []pattern{{subject: subject, literal: true}}}
}

func newPattern(s string) pattern {
	p := pattern{subject: s, literal: !hasWildcard(s), full: s == ">" || strings.HasSuffix(s, ".>")}
	for rest := s; !p.literal; {
		token, behind, more := strings.Cut(rest, ".")
		if token == "*" || !more { // a ">" before the end is a token like others
			break
		}
		p.prefix = s[:len(s)-len(behind)]
		rest = behind
	}
	return p
}

// Subjects returns the subjects that the filter was made of, nil for all.
func (f *Filter) Subjects() []string {
	if f == nil {
		return nil
	}
	s := make([]string, len(f.patterns))
	for i := range f.patterns {
		s[i] = f.patterns[i].subject
	}
	return s
}

// Match reports whether a literal subject matches.
func (f *Filter) Match(subject string) bool {
	if f == nil {
		return true
	}
	for i := range f.patterns {
		if f.patterns[i].match(subject) {
			return true
		}
	}
	return false
}

func matchesAll(filter string) bool { return filter == "" || filter == ">" }

func hasWildcard(s string) bool {
	for i := range len(s) {
		if (s[i] == '*' || s[i] == '>') && (i == 0 || s[i-1] == '.') && (i+1 == len(s) || s[i+1] == '.') {
			return true
		}
	}
	return false
}

func (p *pattern) match(subject string) bool {
	if p.literal {
		return p.subject == subject
	}
	n := len(p.prefix)
	return len(subject) > n && subject[:n] == p.prefix && matchPattern(p.subject[n:], subject[n:])
}

// matchPattern matches a literal subject against a pattern, token by token,
// without allocating.
func matchPattern(p, s string) bool {
	for {
		i, j := strings.IndexByte(p, '.'), strings.IndexByte(s, '.')
		pt, st := p, s
		if i >= 0 {
			pt = p[:i]
		}
		if j >= 0 {
			st = s[:j]
		}
		switch {
		case pt == ">" && i < 0:
			return true
		case pt != "*" && pt != st:
			return false
		case i < 0 || j < 0:
			return i < 0 && j < 0
		}
		p, s = p[i+1:], s[j+1:]
	}
}

// matchBytes is Match for a subject in a buffer that does not change meanwhile.
func (f *Filter) matchBytes(subject []byte) bool {
	return f.Match(unsafe.String(unsafe.SliceData(subject), len(subject)))
}
