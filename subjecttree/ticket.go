package subjecttree

import "sync/atomic"

// maxZones bounds the beginnings of subjects that a List counts changes for: some
// 60 bytes each, and enough for a result to be kept for each of 10,000 consumers
// with a deliver subject of its own. Beyond, all tickets expire and it begins anew.
const maxZones = 32 << 10

// maxBeginning bounds a beginning, in bytes. Longer ones that are equal up to there
// share their counters: subjects come from outside and may be long.
const maxBeginning = 128

// Ticket tells, without a lock, whether a result that was asked for together with
// it still holds. It says no too early at times, never too late: what counts are
// changes of subscriptions whose first two tokens could match the subject's, so
// that those who come and go below one subject cost others nothing. The zero
// value holds for nothing.
type Ticket struct {
	wide, first, second *atomic.Uint64
	sum                 uint64
}

// Valid reports whether the list would say the same again. A change of the list
// has made the tickets that it concerns invalid when the call that made it
// returns.
func (t *Ticket) Valid() bool {
	return t.wide != nil && t.wide.Load()+t.first.Load()+t.second.Load() == t.sum
}

// zones counts changes by the beginnings of subjects. The list's lock guards the
// map; counters only grow, so that an equal sum means that nothing was counted.
type zones struct {
	wide atomic.Uint64 // changes on subjects whose first token is a wildcard
	m    map[string]*atomic.Uint64
}

// beginnings returns what the counters of a subject go by: its first token with
// its dot, and its first two tokens. Of a subject of one token both are that.
func beginnings(v string) (first, second string) {
	n := tokenLen(v)
	if n == len(v) {
		first, second = v, v
	} else {
		first, second = v[:n+1], v[:n+1+tokenLen(v[n+1:])]
	}
	return first[:min(len(first), maxBeginning)], second[:min(len(second), maxBeginning)]
}

func isWildcard(token string) bool { return token == "*" || token == ">" }

// changed counts a change of the subscriptions on subject; the list is locked.
func (z *zones) changed(subject string) {
	token, rest, more := cut(subject)
	if isWildcard(token) {
		z.wide.Add(1)
		return
	}
	first, second := beginnings(subject)
	if token, _, _ = cut(rest); more && isWildcard(token) {
		second = first
	}
	if n := z.m[second]; n != nil {
		n.Add(1)
	}
}

// ticket fills t for a subject, and reports whether it could: false if there are
// no counters for it yet. The list is locked, for reading at least.
func (z *zones) ticket(t *Ticket, subject string) bool {
	first, second := beginnings(subject)
	t.wide, t.first, t.second = &z.wide, z.m[first], z.m[second]
	if t.first == nil || t.second == nil {
		return false
	}
	t.sum = t.wide.Load() + t.first.Load() + t.second.Load()
	return true
}

// add makes the counters for a subject; the list is locked for writing.
func (z *zones) add(subject string) {
	if len(z.m) >= maxZones {
		z.m = nil
		z.wide.Add(1)
	}
	if z.m == nil {
		z.m = make(map[string]*atomic.Uint64)
	}
	first, second := beginnings(subject)
	for _, s := range []string{first, second} {
		if z.m[s] == nil {
			z.m[string([]byte(s))] = new(atomic.Uint64) // the subject is the caller's
		}
	}
}

// MatchHeld is MatchInto for results that are kept: t says from then on whether r
// is what the list says.
func (l *List[V]) MatchHeld(r *Result[V], t *Ticket, subject []byte) {
	s := view(subject)
	l.mu.RLock()
	if !l.zones.ticket(t, s) {
		l.mu.RUnlock()
		l.mu.Lock()
		l.zones.add(s)
		l.mu.Unlock()
		l.mu.RLock()
		if !l.zones.ticket(t, s) {
			*t = Ticket{} // thrown out by others at once; the next match tries again
		}
	}
	l.search(r, s)
	l.mu.RUnlock()
}
