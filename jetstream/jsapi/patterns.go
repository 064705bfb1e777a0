package jsapi

import "github.com/natsd/natsd/subjecttree"

// What the lists of a configuration may hold. Each of them is compared with
// itself and with those of others, which costs time that grows with the square
// of their lengths in the worst case, some ten nanoseconds for each pair.
const (
	maxSubjects = 10_000 // subjects, filters, transforms
	maxSources  = 2_000  // each is a consumer at its origin, too
)

// MaxSubject is the longest subject of a message, in bytes: what a record can hold. A
// longer one in a configuration would match nothing, and cost memory for each token.
const MaxSubject = 1<<16 - 1

func validSubject(s string) bool { return len(s) <= MaxSubject && subjecttree.Valid(s) }

func validLiteral(s string) bool { return len(s) <= MaxSubject && subjecttree.ValidPublish(s) }

// filterSet is filters of which none lies within another one.
type filterSet struct {
	set subjecttree.PatternSet[struct{}]
}

// add puts a filter in, unless it lies within one that is there or the other way
// round. The filter is valid.
func (s *filterSet) add(filter string) bool {
	within := false
	s.set.Colliding(filter, func(other string, _ struct{}) bool {
		within = subjecttree.Subset(filter, other) || subjecttree.Subset(other, filter)
		return !within
	})
	if within {
		return false
	}
	s.set.Insert(filter, struct{}{}) // the filter is valid
	return true
}

// Colliding is patterns that others are compared with.
type Colliding struct {
	set subjecttree.PatternSet[struct{}]
}

// Patterns makes a set of valid patterns.
func Patterns(patterns []string) *Colliding {
	c := new(Colliding)
	for _, p := range patterns {
		c.set.Insert(p, struct{}{}) // they are valid
	}
	return c
}

// CollideWith reports whether some pattern shares a subject with one of others.
func (c *Colliding) CollideWith(others []string) bool {
	found := false
	for _, p := range others {
		c.set.Colliding(p, func(string, struct{}) bool { found = true; return false })
		if found {
			return true
		}
	}
	return false
}
