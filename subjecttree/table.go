package subjecttree

// table is a map from text to values that gives memory back when it shrinks,
// which a Go map never does. The zero value is empty.
type table[T any] struct {
	m    map[string]*T
	peak int // largest size since m was made
}

// shrinkShare is how small a part of its peak a table must have become to be
// copied: every copy is paid for by seven times as many removals.
const shrinkShare = 8

func (t *table[T]) len() int { return len(t.m) }

func (t *table[T]) get(key string) *T { return t.m[key] }

func (t *table[T]) put(key string, v *T) {
	if t.m == nil {
		t.m = make(map[string]*T)
	}
	t.m[key] = v
	t.peak = max(t.peak, len(t.m))
}

func (t *table[T]) remove(key string) {
	delete(t.m, key)
	if len(t.m) >= t.peak/shrinkShare && len(t.m) > 0 {
		return
	}
	old := t.m
	*t = table[T]{}
	if len(old) > 0 {
		t.m, t.peak = make(map[string]*T, len(old)), len(old)
		for k, v := range old {
			t.m[k] = v
		}
	}
}
