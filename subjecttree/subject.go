package subjecttree

import (
	"strings"
	"unicode/utf8"
	"unsafe"
)

// Subject is what every predicate takes: text of a subject as a string or as
// bytes. No predicate allocates or keeps its argument.
type Subject interface{ ~string | ~[]byte }

const (
	separator = '.' // between tokens
	partial   = '*' // alone in a token: any one token
	full      = '>' // alone in the last token: one or more tokens
)

// view reads a subject as a string without copying it. A string header is the
// beginning of a slice header, so the cast is good for both. The result lives
// no longer than s, and only while the bytes behind s are left alone.
func view[S Subject](s S) string { return *(*string)(unsafe.Pointer(&s)) }

// Valid reports whether s may stand in a configuration, a filter or a
// permission: it is not empty, no token is empty, ">" is only the last token,
// and there is no blank, TAB, LF, FF or CR in it.
func Valid[S Subject](s S) bool { return insertable(view(s)) && !hasSpace(view(s)) }

// ValidStrict reports whether s is Valid and is UTF-8 text without NUL and
// without U+FFFD.
func ValidStrict[S Subject](s S) bool {
	v := view(s)
	return Valid(v) && strings.IndexByte(v, 0) < 0 && !strings.ContainsRune(v, utf8.RuneError)
}

// Literal reports whether no token of s is exactly "*" or ">".
func Literal[S Subject](s S) bool {
	v := view(s)
	for i := 0; i < len(v); i++ {
		if (v[i] == partial || v[i] == full) && tokenStart(v, i) && tokenEnd(v, i+1) {
			return false
		}
	}
	return true
}

// ValidPublish reports whether s is Valid and Literal.
func ValidPublish[S Subject](s S) bool { return Valid(s) && Literal(s) }

// PedanticLiteral reports whether s is Literal and has no empty token. White
// space is not looked at: this is what a pedantic PUB and a transform demand.
func PedanticLiteral[S Subject](s S) bool { return !hasEmptyToken(view(s)) && Literal(s) }

// Insertable reports whether a subscription on s is possible: no token is empty
// and ">" is only the last token. White space is not looked at.
func Insertable[S Subject](s S) bool { return insertable(view(s)) }

// Matches reports whether the literal subject is matched by pattern. Tokens "*"
// and ">" of literal are plain text, which is what permission checks on patterns
// need. A literal with an empty token matches nothing.
func Matches[S, P Subject](literal S, pattern P) bool {
	return matches(view(literal), view(pattern))
}

// Subset reports whether every literal that s matches is matched by t as well.
func Subset[S, T Subject](s S, t T) bool { return subset(view(s), view(t)) }

// Collide reports whether some literal subject is matched by both a and b.
func Collide[A, B Subject](a A, b B) bool { return collide(view(a), view(b)) }

// NumTokens returns the number of tokens: one more than there are dots.
func NumTokens[S Subject](s S) int { return strings.Count(view(s), ".") + 1 }

// Token returns the i-th token of s, counted from 0, or "" when there is none.
// It is a part of s, not a copy.
func Token[S Subject](s S, i int) S {
	v := view(s)
	from := 0
	for ; i > 0; i-- {
		end := tokenLen(v[from:])
		if from+end == len(v) {
			return s[:0]
		}
		from += end + 1
	}
	if i < 0 {
		return s[:0]
	}
	return s[from : from+tokenLen(v[from:])]
}

// tokenStart reports whether a token begins at v[i].
func tokenStart(v string, i int) bool { return i == 0 || v[i-1] == separator }

// tokenEnd reports whether a token ends before v[i].
func tokenEnd(v string, i int) bool { return i == len(v) || v[i] == separator }

// tokenLen returns the length of the first token of v. Tokens are short, so a
// plain loop beats a call of IndexByte.
func tokenLen(v string) int {
	for i := 0; i < len(v); i++ {
		if v[i] == separator {
			return i
		}
	}
	return len(v)
}

// cut returns the first token of v, what follows its dot, and whether there was
// a dot, so whether another token (perhaps an empty one) follows.
func cut(v string) (token, rest string, more bool) {
	n := tokenLen(v)
	if n == len(v) {
		return v, "", false
	}
	return v[:n], v[n+1:], true
}

func hasSpace(v string) bool {
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case ' ', '\t', '\n', '\f', '\r':
			return true
		}
	}
	return false
}

func hasEmptyToken(v string) bool {
	last := byte(separator)
	for i := 0; i < len(v); i++ {
		if v[i] == separator && last == separator {
			return true
		}
		last = v[i]
	}
	return last == separator
}

func insertable(v string) bool {
	start := 0
	for i := 0; i <= len(v); i++ {
		if i < len(v) && v[i] != separator {
			continue
		}
		if i == start || i < len(v) && i == start+1 && v[start] == full {
			return false
		}
		start = i + 1
	}
	return true
}

// matches is on many hot paths: it goes once over both texts, byte by byte.
func matches(l, p string) bool {
	i, start := 0, true // position in l; at the start of a token of both
	for j := 0; j < len(p); j++ {
		if start && i < len(l) && (p[j] == partial || p[j] == full) && tokenEnd(p, j+1) {
			if p[j] == full && j+1 == len(p) {
				return !hasEmptyToken(l[i:])
			}
			if p[j] == partial {
				n := tokenLen(l[i:])
				if n == 0 {
					return false
				}
				i, start = i+n, false
				continue
			}
		}
		if i == len(l) || l[i] != p[j] || start && l[i] == separator {
			return false
		}
		start = l[i] == separator
		i++
	}
	return i == len(l) && !start
}

func subset(s, t string) bool {
	for {
		st, srest, smore := cut(s)
		tt, trest, tmore := cut(t)
		switch {
		case tt == "":
			return false
		case tt == ">":
			return true
		case st == "" || st == ">":
			return false
		case tt != "*" && (st == "*" || st != tt):
			return false
		}
		if !smore || !tmore {
			return smore == tmore
		}
		s, t = srest, trest
	}
}

func collide(a, b string) bool {
	if a == b {
		return true
	}
	for {
		at, arest, amore := cut(a)
		bt, brest, bmore := cut(b)
		if at == "" || bt == "" {
			return false
		}
		// A ">" stops constraining from its position on: the other side has a
		// token here, and whatever follows it is covered.
		if at == ">" && !amore || bt == ">" && !bmore {
			return true
		}
		if at != bt && at != "*" && bt != "*" {
			return false
		}
		if !amore || !bmore {
			return amore == bmore
		}
		a, b = arest, brest
	}
}
