package subjecttree

import "errors"

// Errors of a PatternSet.
var (
	ErrInvalidPattern  = errors.New("gsl: invalid subject")
	ErrPatternNotFound = errors.New("gsl: no matches found")
)

// PatternSet maps patterns to sets of small values: the filters of consumers,
// the interest of a gateway. The zero value is empty. It is as safe for
// concurrent use as a map: many readers, or one writer. A nil set can be read
// like an empty one.
type PatternSet[V comparable] struct {
	root     node[patternValues[V]]
	patterns int // distinct
	values   int
}

type patternValues[V comparable] struct {
	pattern string
	values  set[V]
}

// Insert adds v to the values of a pattern, unless it is there. The set keeps
// pattern. The error is ErrInvalidPattern or nil.
func (s *PatternSet[V]) Insert(pattern string, v V) error {
	if !insertable(pattern) {
		return ErrInvalidPattern
	}
	slot := s.root.slot(pattern)
	if *slot == nil {
		*slot = &patternValues[V]{pattern: pattern}
		s.patterns++
	}
	if (*slot).values.add(v) {
		s.values++
	}
	return nil
}

// Remove takes v out of the values of a pattern. The error is ErrInvalidPattern,
// ErrPatternNotFound or nil.
func (s *PatternSet[V]) Remove(pattern string, v V) error {
	if !insertable(pattern) {
		return ErrInvalidPattern
	}
	p := s.root.get(pattern)
	if p == nil || !p.values.remove(v) {
		return ErrPatternNotFound
	}
	s.values--
	if len(p.values.list) == 0 {
		s.root.remove(pattern)
		s.patterns--
	}
	return nil
}

// Len returns the number of values, over all patterns.
func (s *PatternSet[V]) Len() int {
	if s == nil {
		return 0
	}
	return s.values
}

// Match calls f for every value of every pattern that matches subject.
func (s *PatternSet[V]) Match(subject []byte, f func(V)) {
	if s.Len() == 0 || hasEmptyToken(view(subject)) {
		return
	}
	var few [fewMatches]*patternValues[V]
	for _, p := range s.root.match(view(subject), few[:0]) {
		for _, v := range p.values.list {
			f(v)
		}
	}
}

// HasInterest reports whether some pattern matches subject.
func (s *PatternSet[V]) HasInterest(subject []byte) bool {
	return s.Len() > 0 && !hasEmptyToken(view(subject)) && s.root.matchesAny(view(subject))
}

// HasInterestStartingIn reports whether some pattern can match a subject that
// begins with the complete tokens of prefix. An empty prefix is no token.
func (s *PatternSet[V]) HasInterestStartingIn(prefix []byte) bool {
	return s.Len() > 0 && (len(prefix) == 0 || s.root.mayStart(view(prefix)))
}

// Colliding calls f for every value of every pattern that shares a subject with
// the given one, in no particular order, until f returns false. It visits the
// levels of the patterns that agree with it so far.
func (s *PatternSet[V]) Colliding(pattern string, f func(pattern string, v V) bool) {
	if s.Len() == 0 || !insertable(pattern) {
		return
	}
	for _, p := range s.root.collide(pattern, nil) {
		for _, v := range p.values.list {
			if !f(p.pattern, v) {
				return
			}
		}
	}
}

// MatchesAll reports whether ">" is among the patterns.
func (s *PatternSet[V]) MatchesAll() bool { return s != nil && s.root.tail != nil }

// Single returns the pattern if there is exactly one, whatever number of values
// it has.
func (s *PatternSet[V]) Single() (pattern string, ok bool) {
	if s == nil || s.patterns != 1 {
		return "", false
	}
	return s.root.all(nil)[0].pattern, true
}

// Intersect calls f once for every subject of the index that some pattern
// matches, in no particular order. It visits the branches that match, for each
// pattern anew.
func Intersect[V any, P comparable](x *Index[V], s *PatternSet[P], f func(subject []byte, v *V)) {
	intersect(x, s, func(pattern []byte) { x.Match(pattern, f) }, f)
}

// SumIntersect returns the sum over all subjects that some pattern matches; each
// counts once. A pattern that shares no subject with another one costs what
// SumMatch does.
func SumIntersect[V any, P comparable](x *Index[V], s *PatternSet[P]) Sum {
	var sum Sum
	intersect(x, s, func(pattern []byte) { sum.add(x.SumMatch(pattern)) }, func(_ []byte, v *V) {
		count, bytes := x.weight(v)
		sum.add(Sum{1, count, bytes})
	})
	return sum
}

// intersect calls whole for patterns that share no subject with another one, and
// part for the subjects of the rest.
func intersect[V any, P comparable](x *Index[V], s *PatternSet[P], whole func([]byte), part func([]byte, *V)) {
	if x.Len() == 0 || s.Len() == 0 {
		return
	}
	// A pattern within another one adds nothing. What several of the others
	// match goes to the one with the lowest rank.
	rank := make(map[*patternValues[P]]int)
	var found []*patternValues[P]
	for _, p := range s.root.all(nil) {
		covered := false
		found = s.root.collide(p.pattern, found[:0])
		for _, q := range found {
			covered = covered || q != p && subset(p.pattern, q.pattern)
		}
		if !covered {
			rank[p] = len(rank)
		}
	}
	for p, mine := range rank {
		pattern := []byte(p.pattern)
		alone := true
		found = s.root.collide(p.pattern, found[:0])
		for _, q := range found {
			_, ranked := rank[q]
			alone = alone && (q == p || !ranked)
		}
		if alone {
			whole(pattern)
			continue
		}
		x.Match(pattern, func(subject []byte, v *V) {
			var few [fewMatches]*patternValues[P]
			for _, q := range s.root.match(view(subject), few[:0]) {
				if r, ranked := rank[q]; ranked && r < mine {
					return
				}
			}
			part(subject, v)
		})
	}
}
