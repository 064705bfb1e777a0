package account

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/natsd/natsd/subjecttree"
)

// watches are those who want to know when a subject gains or loses a subscription
// on exactly itself.
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

// Watch calls changed, at once with the present answer and then whenever it
// changes, until stop is called. The answer is whether there is a subscription on
// exactly this literal subject that ignore does not ignore: a plain one if queue
// is empty, else one of that queue group. It is told again when another one comes: in
// between there may have been none, which somebody who delivered has noticed. changed
// is called once at a time, at times while imports are being wired: it must not block,
// and not change subscriptions.
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
	w.last = w.present(a)
	changed(w.last)
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
	hit = append(hit, ws.by[s.Subject]...)
	ws.mu.Unlock()
	for _, w := range hit {
		w.check(a, !s.closed.Load())
	}
}

// check tells of the answer if it has changed, or if somebody came.
func (w *watch) check(a *Account, came bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return
	}
	if now := w.present(a); now != w.last || now && came {
		w.last = now
		w.changed(now)
	}
}

// present is the answer of the watch.
func (w *watch) present(a *Account) bool {
	var r subjecttree.Result[*Sub]
	a.list.MatchInto(&r, []byte(w.subject))
	counts := func(s *Sub) bool { return s.Subject == w.subject && !s.closed.Load() && !w.ignore(s) }
	if w.queue == "" {
		return slices.ContainsFunc(r.Plain, counts)
	}
	for _, g := range r.Groups {
		if g.Queue == w.queue && slices.ContainsFunc(g.Members, counts) {
			return true
		}
	}
	return false
}
