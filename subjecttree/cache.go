package subjecttree

import (
	"hash/maphash"
	"sync/atomic"
)

// cacheSlots bounds the results that a List keeps: 8 KiB of slots, made by the
// first Match.
const cacheSlots = 1024

var cacheSeed = maphash.MakeSeed()

// cache keeps results by subject, one per slot; a later subject takes the slot
// of an earlier one. Looking up takes no lock. Putting in happens under the
// list's read lock and throwing out under its write lock, so no result can be
// put in that a change has already made wrong.
type cache[V comparable] struct {
	slots [cacheSlots]atomic.Pointer[cached[V]]
}

type cached[V comparable] struct {
	subject string
	result  *Result[V]
}

func (c *cache[V]) slot(subject string) *atomic.Pointer[cached[V]] {
	return &c.slots[maphash.String(cacheSeed, subject)%cacheSlots]
}

func (c *cache[V]) get(subject string) *Result[V] {
	if e := c.slot(subject).Load(); e != nil && e.subject == subject {
		return e.result
	}
	return nil
}

func (c *cache[V]) put(subject string, r *Result[V]) {
	c.slot(subject).Store(&cached[V]{subject, r})
}

// invalidate throws out the results that a change on a subject touches, and no
// others: one slot, or with wildcards those of the subjects that match.
func (c *cache[V]) invalidate(subject string, literal bool) {
	if literal {
		s := c.slot(subject)
		if e := s.Load(); e != nil && e.subject == subject {
			s.Store(nil)
		}
		return
	}
	for i := range c.slots {
		s := &c.slots[i]
		if e := s.Load(); e != nil && matches(e.subject, subject) {
			s.Store(nil)
		}
	}
}
