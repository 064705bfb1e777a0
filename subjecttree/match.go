package subjecttree

import (
	"cmp"
	"slices"
	"strings"
)

// Result says who gets a message: every plain subscription, and one member of
// each group.
type Result[V comparable] struct {
	Plain  []V
	Groups []Group[V] // each queue name once
}

// Group is a queue group. A member with a weight appears as often as it weighs.
type Group[V comparable] struct {
	Queue   string
	Members []V
}

// Empty reports whether nobody gets the message.
func (r *Result[V]) Empty() bool { return len(r.Plain) == 0 && len(r.Groups) == 0 }

// fewMatches is how many patterns may match before a match allocates.
const fewMatches = 16

// Match returns who gets a message on subject. The result is a snapshot that
// nobody may change; it is shared with other callers through a cache. A subject
// with an empty token has no match. Use it for subjects that come again;
// MatchInto is for the others.
func (l *List[V]) Match(subject []byte) *Result[V] {
	s := view(subject)
	if l.noCache {
		r := new(Result[V])
		l.matchInto(r, s)
		return r
	}
	c := l.cache.Load()
	if c == nil {
		l.cache.CompareAndSwap(nil, new(cache[V]))
		c = l.cache.Load()
	}
	if r := c.get(s); r != nil {
		l.matches.Add(1)
		l.hits.Add(1)
		return r
	}
	r := new(Result[V])
	l.mu.RLock()
	defer l.mu.RUnlock()
	l.search(r, s)
	if !r.Empty() {
		// Under the lock: a change that comes later finds it and throws it out.
		c.put(strings.Clone(s), r)
	}
	return r
}

// MatchInto is Match without the cache: it replaces the contents of r, which
// belongs to the caller, and reuses its memory.
func (l *List[V]) MatchInto(r *Result[V], subject []byte) { l.matchInto(r, view(subject)) }

func (l *List[V]) matchInto(r *Result[V], s string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	l.search(r, s)
}

// search fills r. The caller holds mu.
func (l *List[V]) search(r *Result[V], s string) {
	l.matches.Add(1)
	r.reset()
	if e := l.literals.get(s); e != nil {
		r.add(e)
	}
	if l.wild == 0 || hasEmptyToken(s) {
		return
	}
	var few [fewMatches]*pattern[V]
	for _, p := range l.patterns.match(s, few[:0]) {
		r.add(&p.entry)
	}
}

// HasInterest reports whether a message on subject would match anything.
func (l *List[V]) HasInterest(subject []byte) bool {
	s := view(subject)
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.literals.get(s) != nil ||
		l.wild > 0 && !hasEmptyToken(s) && l.patterns.matchesAny(s)
}

// NumInterest returns how many plain and how many queue subscriptions match
// subject, each counted once whatever it weighs.
func (l *List[V]) NumInterest(subject []byte) (plain, queues int) {
	s := view(subject)
	l.mu.RLock()
	defer l.mu.RUnlock()
	count := func(e *entry[V]) {
		plain += len(e.plain.list)
		for _, g := range e.groups {
			queues += len(g.members.list)
		}
	}
	if e := l.literals.get(s); e != nil {
		count(e)
	}
	if l.wild > 0 && !hasEmptyToken(s) {
		var few [fewMatches]*pattern[V]
		for _, p := range l.patterns.match(s, few[:0]) {
			count(&p.entry)
		}
	}
	return plain, queues
}

// reset empties r and keeps its memory. Nothing that it named stays reachable.
func (r *Result[V]) reset() {
	clear(r.Plain)
	r.Plain = r.Plain[:0]
	for i := range r.Groups {
		g := &r.Groups[i]
		clear(g.Members)
		g.Queue, g.Members = "", g.Members[:0]
	}
	r.Groups = r.Groups[:0]
}

// fewGroups is where a binary search beats comparing queue names one by one.
const fewGroups = 8

// add puts the subscriptions of one more subject into r.
func (r *Result[V]) add(e *entry[V]) {
	r.Plain = append(r.Plain, e.plain.list...)
	if len(e.groups) == 0 {
		return
	}
	// Groups that r had before; within one entry names differ. They are sorted
	// if one entry brought them, since its own groups are.
	before := len(r.Groups)
	if before > fewGroups {
		byQueue := func(a, b Group[V]) int { return cmp.Compare(a.Queue, b.Queue) }
		if !slices.IsSortedFunc(r.Groups, byQueue) {
			slices.SortFunc(r.Groups, byQueue)
		}
	}
	for _, g := range e.groups {
		i := r.search(g.queue, before)
		if i < 0 {
			i = len(r.Groups)
			if i < cap(r.Groups) {
				r.Groups = r.Groups[:i+1] // with the memory of an old group
			} else {
				r.Groups = append(r.Groups, Group[V]{})
			}
			r.Groups[i].Queue = g.queue
		}
		r.Groups[i].Members = g.appendTo(r.Groups[i].Members)
	}
}

// search finds a queue among the first n groups, or returns -1.
func (r *Result[V]) search(queue string, n int) int {
	if n > fewGroups {
		i, ok := slices.BinarySearchFunc(r.Groups[:n], queue, func(g Group[V], queue string) int {
			return cmp.Compare(g.Queue, queue)
		})
		if ok {
			return i
		}
		return -1
	}
	for i := range r.Groups[:n] {
		if r.Groups[i].Queue == queue {
			return i
		}
	}
	return -1
}
