package client

import (
	"sync"
	"time"

	"github.com/natsd/natsd/server/auth"
)

const (
	// permissionCacheSize bounds the publish decisions that a connection keeps.
	permissionCacheSize = 128

	// Grants are pruned after this many were added or this time went by since
	// the last pruning, so that answers that never come cost a bounded amount.
	grantsPruneCount = 4096
	grantsPruneAfter = time.Second
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
	mu     sync.Mutex
	m      map[string]*grant
	added  int
	pruned time.Time
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
	if e := g.m[string(reply)]; e != nil {
		*e = grant{at: now}
		return
	}
	if g.m == nil {
		g.m = make(map[string]*grant)
		g.pruned = now
	}
	g.m[string(reply)] = &grant{at: now}
	if g.added++; g.added > grantsPruneCount || now.Sub(g.pruned) > grantsPruneAfter {
		g.added, g.pruned = 0, now
		for k, e := range g.m {
			if e.over(r, now) {
				delete(g.m, k)
			}
		}
	}
}

func (e *grant) over(r *auth.Responses, now time.Time) bool {
	return (r.Max > 0 && e.used >= r.Max) || (r.Expires > 0 && now.Sub(e.at) > r.Expires)
}

// use takes one answer of a grant.
func (g *grants) use(r *auth.Responses, subject []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.m[string(subject)]
	if e == nil {
		return false
	}
	if e.over(r, time.Now()) {
		delete(g.m, string(subject))
		return false
	}
	e.used++
	return true
}
