package subjecttree

import (
	"errors"
	"sync"
	"sync/atomic"
)

// Errors of a List.
var (
	ErrInvalidSubject    = errors.New("sublist: invalid subject")
	ErrNotFound          = errors.New("sublist: no matches found")
	ErrNilChannel        = errors.New("sublist: nil channel")
	ErrAlreadyRegistered = errors.New("sublist: notification already registered")
)

// MaxWeight bounds the weight of a queue member: a member appears in its group
// as often as it weighs, and the number comes from another server.
const MaxWeight = 1 << 16

// removeChunk is how many subscriptions RemoveBatch takes out before it lets
// readers in: some 100 µs.
const removeChunk = 256

// List is a subscription list: it says who gets a message on a subject. V names
// a subscriber and is usually a pointer. The zero value is an empty list.
//
// A List may be used by any number of goroutines. One RWMutex guards all of it:
// a reader holds it for the 100 to 300 ns of an uncached match, and the hot path
// of a server does not come here at all, since it keeps results with a [Ticket].
// Copy-on-write was weighed and lost: with 100,000 subscriptions
// such as "_INBOX.x.*" below one level every change copies a large node, while
// readers save only an atomic add. Subjects without wildcards are in a hash map,
// the others in a trie of tokens: a lookup among a million literal subjects costs
// two or three cache misses that way, and five or more in any tree.
type List[V comparable] struct {
	matches atomic.Uint64
	hits    atomic.Uint64

	cache    atomic.Pointer[cache[V]] // made by the first Match
	noCache  bool
	mu       sync.RWMutex     // guards everything below
	literals table[entry[V]]  // subjects without wildcards
	patterns node[pattern[V]] // subjects with wildcards
	wild     int              // subscriptions in patterns
	zones    zones
	count    int
	inserts  uint64
	removes  uint64
	watches  map[watchKey][]chan<- bool
}

// pattern is what the list keeps for a subject with wildcards.
type pattern[V comparable] struct {
	subject string
	entry[V]
}

// Sub is one subscription of a list.
type Sub[V comparable] struct {
	Subject string
	Queue   string // "" for a plain subscription
	Value   V
}

// ListOptions configures a List.
type ListOptions struct {
	NoCache bool // let every Match search
}

// NewList returns an empty list.
func NewList[V comparable](o ListOptions) *List[V] { return &List[V]{noCache: o.NoCache} }

// Len returns the number of subscriptions.
func (l *List[V]) Len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.count
}

// Insert adds v as a subscription on subject, in the queue group queue unless
// that is "". A subscription that is there already is left as it is. The list
// keeps subject. The error is ErrInvalidSubject or nil.
func (l *List[V]) Insert(subject, queue string, v V) error {
	if !insertable(subject) {
		return ErrInvalidSubject
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	literal := Literal(subject)
	e := l.entryFor(subject, literal)
	if !e.add(queue, v) {
		return nil
	}
	l.count++
	l.inserts++
	if !literal {
		l.wild++
	}
	l.changed(subject, literal)
	if len(l.watches) > 0 && literal && e.count(queue) == 1 {
		l.signal(subject, queue, true)
	}
	return nil
}

// entryFor returns the subscriptions on a subject, making room for them.
func (l *List[V]) entryFor(subject string, literal bool) *entry[V] {
	if literal {
		e := l.literals.get(subject)
		if e == nil {
			e = new(entry[V])
			l.literals.put(subject, e)
		}
		return e
	}
	slot := l.patterns.slot(subject)
	if *slot == nil {
		*slot = &pattern[V]{subject: subject}
	}
	return &(*slot).entry
}

// find returns the subscriptions on a subject, or nil.
func (l *List[V]) find(subject string, literal bool) *entry[V] {
	if literal {
		return l.literals.get(subject)
	}
	if p := l.patterns.get(subject); p != nil {
		return &p.entry
	}
	return nil
}

// changed tells caches and tickets about a change of the subscriptions on subject.
func (l *List[V]) changed(subject string, literal bool) {
	if c := l.cache.Load(); c != nil {
		c.invalidate(subject, literal)
	}
	l.zones.changed(subject)
}

// Remove takes the subscription out that Insert put in with the same arguments.
// The error is ErrInvalidSubject, ErrNotFound or nil.
func (l *List[V]) Remove(subject, queue string, v V) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remove(subject, queue, v)
}

func (l *List[V]) remove(subject, queue string, v V) error {
	if !insertable(subject) {
		return ErrInvalidSubject
	}
	literal := Literal(subject)
	e := l.find(subject, literal)
	if e == nil || !e.remove(queue, v) {
		return ErrNotFound
	}
	gone := e.count(queue) == 0
	if e.empty() {
		if literal {
			l.literals.remove(subject)
		} else {
			l.patterns.remove(subject)
		}
	}
	l.count--
	l.removes++
	if !literal {
		l.wild--
	}
	l.changed(subject, literal)
	if len(l.watches) > 0 && literal && gone {
		l.signal(subject, queue, false)
	}
	return nil
}

// RemoveBatch removes all of subs that can be removed and returns the first
// error met.
func (l *List[V]) RemoveBatch(subs []Sub[V]) error {
	var first error
	for len(subs) > 0 {
		n := min(len(subs), removeChunk)
		l.mu.Lock()
		for _, s := range subs[:n] {
			if err := l.remove(s.Subject, s.Queue, s.Value); err != nil && first == nil {
				first = err
			}
		}
		l.mu.Unlock()
		subs = subs[n:]
	}
	return first
}

// SetWeight sets how often v appears among the members of its queue group: the
// number of members that a remote server has. w is forced into 1..MaxWeight.
// The error is ErrInvalidSubject, ErrNotFound or nil.
func (l *List[V]) SetWeight(subject, queue string, v V, w int32) error {
	if !insertable(subject) {
		return ErrInvalidSubject
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	literal := Literal(subject)
	e := l.find(subject, literal)
	if e == nil || queue == "" {
		return ErrNotFound
	}
	i, ok := e.search(queue)
	if !ok || e.groups[i].members.index(v) < 0 {
		return ErrNotFound
	}
	e.groups[i].setWeight(v, min(max(w, 1), MaxWeight))
	l.changed(subject, literal)
	return nil
}

// ReverseMatch returns the subscriptions whose subject collides with query: some
// literal subject is matched by both. Their order is unspecified. A query of ">"
// returns all of them; a malformed query none. A query with wildcards looks at
// every literal subject, some 50 ns each.
func (l *List[V]) ReverseMatch(query string) []Sub[V] {
	if !insertable(query) {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	var subs []Sub[V]
	add := func(subject string, e *entry[V]) {
		for _, v := range e.plain.list {
			subs = append(subs, Sub[V]{subject, "", v})
		}
		for _, g := range e.groups {
			for _, v := range g.members.list {
				subs = append(subs, Sub[V]{subject, g.queue, v})
			}
		}
	}
	if Literal(query) {
		if e := l.literals.get(query); e != nil {
			add(query, e)
		}
	} else {
		for subject, e := range l.literals.m {
			if matches(subject, query) {
				add(subject, e)
			}
		}
	}
	for _, p := range l.patterns.collide(query, nil) {
		add(p.subject, &p.entry)
	}
	return subs
}
