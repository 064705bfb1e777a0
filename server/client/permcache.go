package client

import (
	"sync"
	"time"

	"github.com/natsd/natsd/server/auth"
)

const (
	// permissionCacheSize bounds the publish decisions that a connection keeps.
	permissionCacheSize = 128

	// maxGrants and maxGrantBytes (of reply subjects) bound the requests that a
	// connection may answer to, twice: those of two generations. More than that are
	// forgotten, the oldest first; some 80 MiB.
	maxGrants     = 1 << 18
	maxGrantBytes = 16 << 20
)

// permissionCache keeps decisions about publishing, response grants apart. It
// belongs to the read loop.
type permissionCache struct{ m map[string]bool }

func (pc *permissionCache) reset() { pc.m = nil }

func (pc *permissionCache) publish(p *auth.Permissions, subject []byte) bool {
	if ok, found := pc.m[string(subject)]; found {
		return ok
	}
	ok := p.Publish(subject)
	if pc.m == nil || len(pc.m) >= permissionCacheSize {
		pc.m = make(map[string]bool)
	}
	pc.m[string(subject)] = ok
	return ok
}

// grants are the reply subjects that a connection may answer to. They are added
// by deliveries and used by the read loop.
type grants struct {
	mu    sync.Mutex
	young map[string]*grant
	old   map[string]*grant // those that were young before
	since time.Time         // when young was begun
	bytes int               // of the reply subjects that young was given
}

type grant struct {
	at   time.Time
	used int
}

// add grants answers to reply; a grant that exists is renewed.
func (g *grants) add(r *auth.Responses, reply []byte) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.young) >= maxGrants || g.bytes >= maxGrantBytes || r.Expires > 0 && now.Sub(g.since) > r.Expires {
		g.old, g.young, g.since, g.bytes = g.young, nil, now, 0
	}
	if e := g.young[string(reply)]; e != nil {
		*e = grant{at: now}
		return
	}
	if g.young == nil {
		g.young = make(map[string]*grant)
	}
	delete(g.old, string(reply))
	g.bytes += len(reply)
	g.young[string(reply)] = &grant{at: now}
}

// use takes one answer of a grant.
func (g *grants) use(r *auth.Responses, subject []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range []map[string]*grant{g.young, g.old} {
		e := m[string(subject)]
		if e == nil {
			continue
		}
		ok := r.Expires <= 0 || time.Since(e.at) <= r.Expires
		e.used++
		if !ok || r.Max > 0 && e.used >= r.Max {
			delete(m, string(subject))
		}
		return ok
	}
	return false
}
