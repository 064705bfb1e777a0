package subjecttree

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Errors of making and applying a transform, besides DestinationError.
var (
	ErrBadSubject  = errors.New("invalid subject")
	ErrNoTransform = errors.New("no matching transforms available")
)

// Random returns a uniform random number from 0 to n-1, n > 0. It is what
// math/rand/v2.Uint32N does.
type Random func(n uint32) uint32

// Transform rewrites subjects that a source pattern matches after a destination
// template:
//
//	$n, {{wildcard(n)}}           what the n-th "*" of the source matched
//	{{partition(n)}}              hash of the whole subject modulo n
//	{{partition(n,i,j,...)}}      hash of the i-th, j-th, ... wildcard modulo n
//	{{split(i,delim)}}            the i-th wildcard, its pieces become tokens
//	{{splitfromleft(i,p)}}        cut in two after p bytes; from the right likewise
//	{{slicefromleft(i,k)}}        cut in pieces of k bytes; from the right likewise
//	{{left(i,k)}}, {{right(i,k)}} the first or last k bytes
//	{{random(n)}}                 a number from 0 to n-1
//
// and ">" at the end of both for the rest. A Transform does not change and may be
// used by any number of goroutines.
type Transform struct {
	source, dest string
	identity     bool // from ">" to ">"
	parts        []part
	stars        []int // positions of "*" among the source's tokens
	tokens       int   // of the source; the last is ">" if tail
	tail         bool
}

// NewTransform makes the transform of a mapping, a stream, a mirror or source, or
// a republish. An empty source means ">". An empty destination stands for no
// transform: every subject stays as it is. The error is ErrBadSubject or a
// *DestinationError.
func NewTransform(source, dest string) (*Transform, error) {
	if dest == "" {
		source, dest = ">", ">"
	}
	if err := checkDestination(dest); err != nil {
		return nil, err
	}
	return newTransform(source, dest, false)
}

// NewStrictTransform makes the transform of an import, which can be reversed: the
// destination uses every wildcard of the source and no other function. The error
// is ErrBadSubject or a *DestinationError.
func NewStrictTransform(source, dest string) (*Transform, error) {
	return newTransform(source, dest, true)
}

func newTransform(source, dest string, strict bool) (*Transform, error) {
	if source == "" {
		source = ">"
	}
	if !insertable(source) || !insertable(dest) {
		return nil, ErrBadSubject
	}
	t := onSource(source)
	t.dest = dest
	t.identity = source == ">" && dest == ">"
	to := onSource(dest)
	if len(to.stars) > 0 || to.tail != t.tail {
		return nil, ErrBadSubject
	}
	wild := t.tail || len(t.stars) > 0
	uses := 0
	for token := range strings.SplitSeq(dest, ".") {
		p, err := parsePart(token)
		if err != nil {
			return nil, err
		}
		if strict && p.do > wildcardFunc {
			return nil, &DestinationError{Reason: ErrOnlyWildcard, Token: token}
		}
		if !wild && p.do == partitionFunc {
			p.inputs = nil // there is nothing to choose from: the whole subject
		}
		if !wild && len(p.inputs) > 0 {
			return nil, &DestinationError{Reason: ErrWildcardRange, Token: token}
		}
		for k, i := range p.inputs {
			if i > len(t.stars) {
				return nil, &DestinationError{Reason: ErrWildcardRange, Token: token, Index: []int{i}}
			}
			// As the reference has it, 0 and less stand for the first token.
			p.inputs[k] = 0
			if i > 0 {
				p.inputs[k] = t.stars[i-1]
			}
		}
		if p.do == wildcardFunc {
			uses++
		}
		t.parts = append(t.parts, p)
	}
	if strict && uses < len(t.stars) {
		return nil, &DestinationError{Reason: ErrUnusedWildcard, Token: dest}
	}
	return t, nil
}

// onSource returns a transform that knows its source only.
func onSource(source string) *Transform {
	t := &Transform{source: source}
	for token := range strings.SplitSeq(source, ".") {
		switch token {
		case "*":
			t.stars = append(t.stars, t.tokens)
		case ">":
			t.tail = true
		}
		t.tokens++
	}
	return t
}

// Source returns the pattern of the subjects that are transformed.
func (t *Transform) Source() string { return t.source }

// Destination returns the template.
func (t *Transform) Destination() string { return t.dest }

// Pattern returns the destination with "*" for each use of a wildcard: what the
// results look like. It is meant for strict transforms.
func (t *Transform) Pattern() string {
	tokens := make([]string, len(t.parts))
	for i, p := range t.parts {
		if tokens[i] = p.text; p.do == wildcardFunc {
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, ".")
}

// Match transforms a subject. The error is ErrBadSubject if subject is not
// PedanticLiteral, ErrNoTransform if the source does not match it, or nil. random
// is needed only if the destination uses it.
func (t *Transform) Match(subject string, random Random) (string, error) {
	if t.identity {
		return subject, nil
	}
	if !PedanticLiteral(subject) {
		return "", ErrBadSubject
	}
	if !matches(subject, t.source) {
		return "", ErrNoTransform
	}
	var few [128]byte
	return string(t.Apply(few[:0], []byte(subject), random)), nil
}

// Apply appends the transformed subject to to. The source must match subject.
// The result may have empty tokens, and then matches no subscription.
func (t *Transform) Apply(to, subject []byte, random Random) []byte {
	if t.identity {
		return append(to, subject...)
	}
	s := view(subject)
	var few [32]int
	starts := append(few[:0], 0) // of the tokens that the source names
	for i := 0; i < len(s) && len(starts) < t.tokens; i++ {
		if s[i] == separator {
			starts = append(starts, i+1)
		}
	}
	if len(starts) < t.tokens {
		return append(to, subject...) // a caller's mistake: it does not match
	}
	token := func(i int) string {
		from := s[starts[i]:]
		return from[:tokenLen(from)]
	}
	for i := range t.parts {
		if i > 0 {
			to = append(to, separator)
		}
		p := &t.parts[i]
		switch p.do {
		case literalToken:
			to = append(to, p.text...)
		case rest:
			to = append(to, s[starts[t.tokens-1]:]...)
		case partitionFunc:
			h := newHash()
			if len(p.inputs) == 0 {
				h.add(s)
			}
			for _, k := range p.inputs {
				h.add(token(k))
			}
			to = strconv.AppendUint(to, uint64(h.partition(p.n)), 10)
		case randomFunc:
			n := uint32(0)
			if p.n > 0 {
				n = random(p.n)
			}
			to = strconv.AppendUint(to, uint64(n), 10)
		default:
			to = p.append(to, token(p.inputs[0]))
		}
	}
	return to
}

// append appends what a function of one token makes of it.
func (p *part) append(to []byte, token string) []byte {
	cut := int(p.n)
	cuts := cut > 0 && cut < len(token)
	switch {
	case p.do == splitFunc:
		return appendSplit(to, token, p.text)
	case p.do == wildcardFunc || !cuts:
		return append(to, token...)
	}
	switch p.do {
	case leftFunc:
		return append(to, token[:cut]...)
	case rightFunc:
		return append(to, token[len(token)-cut:]...)
	case splitFromRightFunc:
		cut = len(token) - cut
		fallthrough
	case splitFromLeftFunc:
		to = append(to, token[:cut]...)
		to = append(to, separator)
		return append(to, token[cut:]...)
	}
	first := cut
	if p.do == sliceFromRightFunc && len(token)%cut > 0 {
		first = len(token) % cut
	}
	to = append(to, token[:first]...)
	for token = token[first:]; token != ""; token = token[min(cut, len(token)):] {
		to = append(to, separator)
		to = append(to, token[:min(cut, len(token))]...)
	}
	return to
}

// appendSplit appends the pieces of a token that are not empty. An empty
// delimiter splits between characters.
func appendSplit(to []byte, token, delim string) []byte {
	first := true
	for token != "" {
		var piece string
		if delim == "" {
			_, n := utf8.DecodeRuneInString(token)
			piece, token = token[:n], token[n:]
		} else {
			piece, token, _ = strings.Cut(token, delim)
		}
		if piece == "" {
			continue
		}
		if !first {
			to = append(to, separator)
		}
		to = append(to, piece...)
		first = false
	}
	return to
}

// Reverse returns the transform from results back to subjects of the source. It
// exists if every wildcard of the source is used; the error is a
// *DestinationError.
func (t *Transform) Reverse() (*Transform, error) {
	use := make([]int, t.tokens) // by source token: which "*" of the pattern it is, from 1
	n := 0
	for _, p := range t.parts {
		if p.do > wildcardFunc {
			return nil, &DestinationError{Reason: ErrOnlyWildcard, Token: p.text}
		}
		if p.do == wildcardFunc {
			n++
			if i := p.inputs[0]; use[i] == 0 {
				use[i] = n
			}
		}
	}
	r := onSource(t.Pattern())
	r.identity = t.identity
	// Not through parsing: a literal token of the source may look like a call.
	tokens := strings.Split(t.source, ".")
	for i, token := range tokens {
		p := part{text: token}
		switch token {
		case "*":
			if use[i] == 0 {
				return nil, &DestinationError{Reason: ErrUnusedWildcard, Token: t.dest}
			}
			p = part{do: wildcardFunc, text: "$" + strconv.Itoa(use[i]), inputs: []int{r.stars[use[i]-1]}}
		case ">":
			p.do = rest
		}
		tokens[i] = p.text
		r.parts = append(r.parts, p)
	}
	r.dest = strings.Join(tokens, ".")
	return r, nil
}

// Placeholders writes $1, $2, ... for the "*" tokens of a pattern: the template
// that a bare pattern as destination of an import means.
func Placeholders(pattern string) string {
	tokens, n := strings.Split(pattern, "."), 0
	for i, token := range tokens {
		if token == "*" {
			n++
			tokens[i] = "$" + strconv.Itoa(n)
		}
	}
	return strings.Join(tokens, ".")
}

// hash is FNV-1a of 32 bits (http://www.isthe.com/chongo/tech/comp/fnv/).
type hash uint32

func newHash() hash { return 2166136261 }

func (h *hash) add(s string) {
	for i := range len(s) {
		*h = (*h ^ hash(s[i])) * 16777619
	}
}

// partition returns the hash modulo n, and 0 for no partitions.
func (h hash) partition(n uint32) uint32 {
	if n == 0 {
		return 0
	}
	return uint32(h) % n
}
