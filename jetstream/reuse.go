package jetstream

import (
	"math/bits"
	"sync"
)

// reuse lends slices by capacity: a small batch must not hold what a large one
// needs, and what all streams of a server keep in reserve must not be a multiple
// of what they use at a time.
type reuse[T any] struct {
	classes [reuseMost - reuseLeast + 1]sync.Pool // of *[]T
	empty   sync.Pool                             // *[]T without memory
}

// Capacities are the powers of two between these, in bits. Larger slices are left
// to the collector.
const (
	reuseLeast = 3
	reuseMost  = 14
)

// get returns an empty slice with room for n.
func (r *reuse[T]) get(n int) []T {
	class := max(bits.Len(uint(max(n, 1)-1)), reuseLeast)
	if class > reuseMost {
		return make([]T, 0, n)
	}
	if p, ok := r.classes[class-reuseLeast].Get().(*[]T); ok {
		s := *p
		*p = nil
		r.empty.Put(p)
		return s
	}
	return make([]T, 0, 1<<class)
}

// put takes a slice back, and forgets what is in it.
func (r *reuse[T]) put(s []T) {
	n := cap(s)
	if n < 1<<reuseLeast || n > 1<<reuseMost || n&(n-1) != 0 {
		return
	}
	clear(s)
	p, ok := r.empty.Get().(*[]T)
	if !ok {
		p = new([]T)
	}
	*p = s[:0]
	r.classes[bits.Len(uint(n-1))-reuseLeast].Put(p)
}

// add appends to a slice of r, which it may exchange for a larger one.
func (r *reuse[T]) add(s []T, v T) []T {
	if len(s) == cap(s) {
		bigger := append(r.get(2*len(s)), s...)
		r.put(s)
		s = bigger
	}
	return append(s, v)
}
