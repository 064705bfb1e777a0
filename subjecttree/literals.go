package subjecttree

// literals holds the subscriptions on subjects without wildcards.
type literals[V comparable] struct {
	m    map[string]*entry[V]
	peak int
}

func (l *literals[V]) get(subject string) *entry[V] { return l.m[subject] }

func (l *literals[V]) add(subject string) *entry[V] {
	e := l.m[subject]
	if e == nil {
		if l.m == nil {
			l.m = make(map[string]*entry[V])
		}
		e = new(entry[V])
		l.m[subject] = e
		l.peak = max(l.peak, len(l.m))
	}
	return e
}

func (l *literals[V]) remove(subject string) {
	delete(l.m, subject)
	if len(l.m)*8 < l.peak {
		left := make(map[string]*entry[V], len(l.m))
		for s, e := range l.m {
			left[s] = e
		}
		l.m, l.peak = left, len(left)
	}
}

func (l *literals[V]) match(query string, f func(subject string, e *entry[V])) {
	if Literal(query) {
		if e := l.m[query]; e != nil {
			f(query, e)
		}
		return
	}
	for s, e := range l.m {
		if matches(s, query) {
			f(s, e)
		}
	}
}

func (l *literals[V]) len() int { return len(l.m) }
