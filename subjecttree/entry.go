package subjecttree

import (
	"cmp"
	"slices"
)

// entry holds the subscriptions on one subject. The list's lock guards it.
type entry[V comparable] struct {
	plain  set[V]
	groups []*group[V] // by name
}

// group holds the members of one queue group on one subject.
type group[V comparable] struct {
	queue   string
	members set[V]
	weights map[V]int32 // of members whose weight is not 1; may be nil
}

func (e *entry[V]) empty() bool { return len(e.plain.list) == 0 && len(e.groups) == 0 }

func (e *entry[V]) search(queue string) (int, bool) {
	return slices.BinarySearchFunc(e.groups, queue, func(g *group[V], queue string) int {
		return cmp.Compare(g.queue, queue)
	})
}

// count returns the number of plain subscriptions (queue "") or of members of a
// queue group.
func (e *entry[V]) count(queue string) int {
	if e == nil {
		return 0
	}
	if queue == "" {
		return len(e.plain.list)
	}
	if i, ok := e.search(queue); ok {
		return len(e.groups[i].members.list)
	}
	return 0
}

func (e *entry[V]) add(queue string, v V) bool {
	if queue == "" {
		return e.plain.add(v)
	}
	i, ok := e.search(queue)
	if !ok {
		e.groups = slices.Insert(e.groups, i, &group[V]{queue: queue})
	}
	return e.groups[i].members.add(v)
}

func (e *entry[V]) remove(queue string, v V) bool {
	if queue == "" {
		return e.plain.remove(v)
	}
	i, ok := e.search(queue)
	if !ok {
		return false
	}
	g := e.groups[i]
	if !g.members.remove(v) {
		return false
	}
	delete(g.weights, v)
	if len(g.members.list) == 0 {
		if e.groups = slices.Delete(e.groups, i, i+1); len(e.groups) == 0 {
			e.groups = nil
		}
	}
	return true
}

func (g *group[V]) setWeight(v V, w int32) {
	if w == 1 {
		delete(g.weights, v)
		return
	}
	if g.weights == nil {
		g.weights = make(map[V]int32)
	}
	g.weights[v] = w
}

// appendTo appends the members, each as often as it weighs.
func (g *group[V]) appendTo(to []V) []V {
	if len(g.weights) == 0 {
		return append(to, g.members.list...)
	}
	for _, v := range g.members.list {
		w, ok := g.weights[v]
		if !ok {
			w = 1
		}
		for range w {
			to = append(to, v)
		}
	}
	return to
}

// set is a set of values in a slice, with their positions once there are many.
type set[V comparable] struct {
	list []V
	pos  map[V]int32 // nil up to fewValues
}

// fewValues is where a hash beats looking at each value.
const fewValues = 32

func (s *set[V]) index(v V) int {
	if s.pos == nil {
		return slices.Index(s.list, v)
	}
	if i, ok := s.pos[v]; ok {
		return int(i)
	}
	return -1
}

func (s *set[V]) add(v V) bool {
	if s.index(v) >= 0 {
		return false
	}
	s.list = append(s.list, v)
	switch {
	case s.pos != nil:
		s.pos[v] = int32(len(s.list) - 1)
	case len(s.list) > fewValues:
		s.pos = make(map[V]int32, 2*fewValues)
		for i, v := range s.list {
			s.pos[v] = int32(i)
		}
	}
	return true
}

func (s *set[V]) remove(v V) bool {
	i := s.index(v)
	if i < 0 {
		return false
	}
	last := len(s.list) - 1
	if s.pos != nil {
		s.pos[s.list[last]] = int32(i)
		delete(s.pos, v)
	}
	s.list[i] = s.list[last]
	clear(s.list[last:])
	s.list = s.list[:last]
	// Give memory back; a Go map would never do so by itself.
	if len(s.list) == 0 {
		*s = set[V]{}
	} else if cap(s.list) > 2*fewValues && len(s.list) <= cap(s.list)/4 {
		s.list = append(make([]V, 0, 2*len(s.list)), s.list...)
		s.pos = nil
		if len(s.list) > fewValues {
			s.pos = make(map[V]int32, len(s.list))
			for i, v := range s.list {
				s.pos[v] = int32(i)
			}
		}
	}
	return true
}
