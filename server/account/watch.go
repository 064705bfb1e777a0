package account

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/natsd/natsd/subjecttree"
)

// watches are those who want to know when a subject gains or loses interest,
// wildcards included.
type watches struct {
	n  atomic.Int64 // of all, so that accounts without any pay nothing
	mu sync.Mutex
	// by the literal subject that is watched
	by map[string][]*watch
}

type watch struct {
	subject, queue string
	ignore         func(*Sub) bool
	changed        func(bool)

	mu   sync.Mutex // held while changed is called: one call at a time
	last bool
	done bool
}

// Watch calls changed whenever the answer of Interested with the same arguments
// changes, until stop is called. changed is called without locks of the account,
// one call at a time, and must not block.
func (a *Account) Watch(subject, queue string, ignore func(*Sub) bool, changed func(bool)) (stop func()) {
	w := &watch{subject: subject, queue: queue, ignore: ignore, changed: changed}
	ws := &a.watches
	ws.mu.Lock()
	if ws.by == nil {
		ws.by = map[string][]*watch{}
	}
	ws.by[subject] = append(ws.by[subject], w)
	ws.mu.Unlock()
	ws.n.Add(1)
	w.mu.Lock()
	w.last = a.Interested(subject, queue, ignore)
	w.mu.Unlock()
	return func() {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		i := slices.Index(ws.by[subject], w)
		if i < 0 {
			return
		}
		ws.n.Add(-1)
		if ws.by[subject] = slices.Delete(ws.by[subject], i, i+1); len(ws.by[subject]) == 0 {
			delete(ws.by, subject)
		}
		w.mu.Lock()
		w.done = true
		w.mu.Unlock()
	}
}

// changed is called after s came or went.
func (ws *watches) changed(a *Account, s *Sub) {
	if ws.n.Load() == 0 {
		return
	}
	var hit []*watch
	ws.mu.Lock()
	if subjecttree.Literal(s.Subject) {
		hit = append(hit, ws.by[s.Subject]...)
	} else {
		for subject, list := range ws.by {
			if subjecttree.Matches(subject, s.Subject) {
				hit = append(hit, list...)
			}
		}
	}
	ws.mu.Unlock()
	for _, w := range hit {
		w.check(a)
	}
}

func (w *watch) check(a *Account) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return
	}
	if now := a.Interested(w.subject, w.queue, w.ignore); now != w.last {
		w.last = now
		w.changed(now)
	}
}
