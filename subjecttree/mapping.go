package subjecttree

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Errors of NewMapping, besides those of NewTransform.
var (
	ErrWeight      = errors.New("individual weights need to be <= 100")
	ErrTotalWeight = errors.New("total weight needs to be <= 100")
)

// DuplicateError says that a destination is listed twice for the same cluster.
type DuplicateError struct{ Destination string }

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("duplicate entry for %q", e.Destination)
}

// Destination is one place where a mapping sends messages.
type Destination struct {
	Subject string // template of a transform
	Weight  uint8  // percent
	Cluster string // only in that cluster; "" for those without destinations of their own
}

// Mapping sends the messages on a source to one of several destinations. It does
// not change.
type Mapping struct {
	source string
	scopes map[string][]choice // by cluster
	listed bool                // the source is a destination
}

// choice is a destination with the sum of the weights up to it.
type choice struct {
	below     uint32
	transform *Transform
}

// NewMapping makes a mapping. The error is ErrWeight, ErrTotalWeight, a
// *DuplicateError, or one of NewTransform; an empty destination is refused.
func NewMapping(source string, dests ...Destination) (*Mapping, error) {
	m := &Mapping{source: source, scopes: make(map[string][]choice)}
	type key struct{ cluster, subject string }
	seen := make(map[key]bool)
	for _, d := range dests {
		k := key{d.Cluster, d.Subject}
		if seen[k] {
			return nil, &DuplicateError{d.Subject}
		}
		seen[k] = true
		if d.Weight > 100 {
			return nil, ErrWeight
		}
		if d.Subject == "" {
			return nil, &DestinationError{Reason: ErrBadTransform}
		}
		t, err := NewTransform(source, d.Subject)
		if err != nil {
			return nil, err
		}
		scope := m.scopes[d.Cluster]
		below := uint32(d.Weight)
		if n := len(scope); n > 0 {
			below += scope[n-1].below
		}
		if below > 100 {
			return nil, ErrTotalWeight
		}
		m.scopes[d.Cluster] = append(scope, choice{below, t})
		m.listed = m.listed || d.Subject == source
	}
	return m, nil
}

// Source returns the subject or pattern whose messages are mapped.
func (m *Mapping) Source() string { return m.source }

// Mappings decides for each message of an account where it goes. It does not
// change and may be used by any number of goroutines; a nil one maps nothing.
type Mappings struct {
	literals map[string]*route
	patterns node[route] // sources with wildcards
}

// route is a mapping as it is on servers of one cluster.
type route struct {
	source  string
	order   int // the lowest wins
	choices []choice
	drop    bool // what no choice takes is lost, otherwise it stays
}

// NewMappings puts mappings together as they are on a server of the named
// cluster ("" for none). Where several sources match, a literal one wins, then
// the one that is more specific in the first token in which they differ in kind
// (literal before "*" before ">"), then the earlier one. A later mapping of the
// same source takes the place of the earlier one.
func NewMappings(cluster string, mappings ...*Mapping) *Mappings {
	if len(mappings) == 0 {
		return nil
	}
	place := make(map[string]int)
	var unique []*Mapping
	for _, m := range mappings {
		if i, ok := place[m.source]; ok {
			unique[i] = m
			continue
		}
		place[m.source] = len(unique)
		unique = append(unique, m)
	}
	slices.SortStableFunc(unique, func(a, b *Mapping) int { return compareKinds(a.source, b.source) })
	all := &Mappings{literals: make(map[string]*route)}
	for i, m := range unique {
		r := &route{source: m.source, order: i}
		var scoped bool
		if r.choices, scoped = m.scopes[cluster]; !scoped {
			r.choices, scoped = m.scopes[""]
		}
		r.drop = scoped && m.listed
		if Literal(m.source) {
			all.literals[m.source] = r
		} else {
			*all.patterns.slot(m.source) = r
		}
	}
	return all
}

// compareKinds orders patterns by how specific their tokens are.
func compareKinds(a, b string) int {
	kind := func(token string) int {
		switch token {
		case ">":
			return 2
		case "*":
			return 1
		}
		return 0
	}
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	return slices.CompareFunc(as, bs, func(a, b string) int { return cmp.Compare(kind(a), kind(b)) })
}

// Apply says where a message on subject goes. mapped is false if it stays there;
// then result is nil. Otherwise result is to with the new subject appended, or
// nil if the message is to be dropped. One pass: the result is not mapped again.
func (a *Mappings) Apply(to, subject []byte, random Random) (result []byte, mapped bool) {
	if a == nil {
		return nil, false
	}
	s := view(subject)
	r := a.literals[s]
	if r == nil && !a.patterns.empty() {
		r = a.findPattern(s)
	}
	if r == nil {
		return nil, false
	}
	n := len(r.choices)
	if n > 0 {
		pick := uint32(0)
		if r.choices[0].below < 100 {
			pick = random(100)
		}
		for i := range r.choices {
			if pick < r.choices[i].below {
				return r.choices[i].transform.Apply(to, subject, random), true
			}
		}
	}
	return nil, r.drop
}

func (a *Mappings) findPattern(s string) *route {
	var best *route
	if hasEmptyToken(s) {
		return nil
	}
	var few [fewMatches]*route
	for _, r := range a.patterns.match(s, few[:0]) {
		// A publisher may use a pattern as subject; it must be within the source.
		if (best == nil || r.order < best.order) && subset(s, r.source) {
			best = r
		}
	}
	return best
}
