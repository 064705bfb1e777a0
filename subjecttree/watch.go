package subjecttree

import "slices"

type watchKey struct{ subject, queue string }

// Watch registers ch for the interest in exactly subject, which is literal: true
// is sent when the first subscription on it appears in the list, false when the
// last one goes, and the present state at once. With queue "" plain
// subscriptions count, otherwise members of that queue group. Subscriptions with
// wildcards never count. Nothing blocks: a value that ch does not take at once
// is dropped, so give it room. The error is ErrInvalidSubject, ErrNilChannel,
// ErrAlreadyRegistered or nil.
func (l *List[V]) Watch(subject, queue string, ch chan<- bool) error {
	if !insertable(subject) || !Literal(subject) {
		return ErrInvalidSubject
	}
	if ch == nil {
		return ErrNilChannel
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := watchKey{subject, queue}
	if slices.Contains(l.watches[key], ch) {
		return ErrAlreadyRegistered
	}
	if l.watches == nil {
		l.watches = make(map[watchKey][]chan<- bool)
	}
	l.watches[key] = append(l.watches[key], ch)
	trySend(ch, l.find(subject, true).count(queue) > 0)
	return nil
}

// Unwatch ends what Watch began with the same arguments, and reports whether
// there was such a registration. Nothing is sent to ch after it returns.
func (l *List[V]) Unwatch(subject, queue string, ch chan<- bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := watchKey{subject, queue}
	i := slices.Index(l.watches[key], ch)
	if i < 0 {
		return false
	}
	if left := slices.Delete(l.watches[key], i, i+1); len(left) > 0 {
		l.watches[key] = left
	} else if delete(l.watches, key); len(l.watches) == 0 {
		l.watches = nil
	}
	return true
}

// signal tells those who watch. The caller holds mu.
func (l *List[V]) signal(subject, queue string, interest bool) {
	for _, ch := range l.watches[watchKey{subject, queue}] {
		trySend(ch, interest)
	}
}

func trySend(ch chan<- bool, v bool) {
	select {
	case ch <- v:
	default:
	}
}
