package subjecttree

import "sync"

// Match calls f once for every subject that filter matches, in bytewise order.
func (x *Index[V]) Match(filter []byte, f func(subject []byte, v *V)) {
	x.MatchUntil(filter, func(subject []byte, v *V) bool { f(subject, v); return true })
}

// MatchUntil is Match until f returns false. It returns whether it ran to the
// end.
func (x *Index[V]) MatchUntil(filter []byte, f func(subject []byte, v *V) bool) bool {
	if x == nil || x.root == 0 || len(filter) == 0 {
		return true
	}
	m, wild := parseFilter(filter)
	if !wild {
		v := x.Find(filter)
		return v == nil || f(filter, v)
	}
	w := walker[V]{x: x, f: f, buf: getBuffer()}
	ran := w.match(x.root, &m, m.settle(0))
	w.buf.put()
	return ran
}

// Iterate calls f for every subject in bytewise order until f returns false, and
// returns whether it ran to the end. There is no faster order.
func (x *Index[V]) Iterate(f func(subject []byte, v *V) bool) bool {
	if x == nil || x.root == 0 {
		return true
	}
	w := walker[V]{x: x, f: f, buf: getBuffer()}
	ran := w.all(x.root)
	w.buf.put()
	return ran
}

// Total returns the sum over all subjects.
func (x *Index[V]) Total() Sum {
	if x == nil || x.root == 0 {
		return Sum{}
	}
	return x.sum(x.root)
}

// SumMatch returns the sum over all subjects that filter matches. It visits the
// branches that "*" takes, and nothing below the place where a ">" begins.
func (x *Index[V]) SumMatch(filter []byte) Sum {
	if x == nil || x.root == 0 || len(filter) == 0 {
		return Sum{}
	}
	m, wild := parseFilter(filter)
	if !wild {
		v := x.Find(filter)
		if v == nil {
			return Sum{}
		}
		count, bytes := x.weight(v)
		return Sum{1, count, bytes}
	}
	w := walker[V]{x: x, sum: new(Sum)}
	w.match(x.root, &m, m.settle(0))
	return *w.sum
}

// IntersectIndexes calls f for every subject that is in both indexes.
func IntersectIndexes[A, B any](a *Index[A], b *Index[B], f func(subject []byte, va *A, vb *B)) {
	if a.Len() > b.Len() {
		IntersectIndexes(b, a, func(subject []byte, vb *B, va *A) { f(subject, va, vb) })
		return
	}
	a.Iterate(func(subject []byte, va *A) bool {
		if vb := b.Find(subject); vb != nil {
			f(subject, va, vb)
		}
		return true
	})
}

// filter is a subject with wildcards that is compared byte by byte. How far a
// comparison has come is a position in it: since "*" ends at the next dot, one
// position is enough. everything means that ">" has been reached.
type filter struct {
	s    string
	tail int // where a last ">" is, or -1
}

const (
	everything = -1
	mismatch   = -2
)

// parseFilter returns false for filters that match only the subject that is
// equal to them: those without a wildcard, and those with a ">" token that is
// not the last.
func parseFilter(b []byte) (m filter, wild bool) {
	m = filter{view(b), -1}
	for i := 0; i < len(m.s); i++ {
		if m.s[i] != partial && m.s[i] != full || !tokenStart(m.s, i) || !tokenEnd(m.s, i+1) {
			continue
		}
		if m.s[i] == full {
			if i+1 < len(m.s) {
				return m, false
			}
			m.tail = i
		}
		wild = true
	}
	return m, wild
}

// settle turns the position of a last ">" into everything.
func (m *filter) settle(i int) int {
	if i == m.tail {
		return everything
	}
	return i
}

// star reports whether position i is at, or in the bytes taken by, a "*".
func (m *filter) star(i int) bool {
	return i < len(m.s) && m.s[i] == partial && tokenStart(m.s, i) && tokenEnd(m.s, i+1)
}

// next returns the position after one more byte of a subject.
func (m *filter) next(i int, b byte) int {
	switch {
	case i == everything:
		return i
	case m.star(i):
		if b != separator {
			return i
		}
		if i+1 == len(m.s) {
			return mismatch
		}
		return m.settle(i + 2)
	case i == len(m.s) || m.s[i] != b:
		return mismatch
	}
	return m.settle(i + 1)
}

func (m *filter) nextAll(i int, text []byte) int {
	for _, b := range text {
		if i = m.next(i, b); i < 0 {
			break
		}
	}
	return i
}

// ends reports whether a subject may end at position i.
func (m *filter) ends(i int) bool {
	return i == everything || i == len(m.s) || i+1 == len(m.s) && m.star(i)
}

// buffer is where a walk puts subjects together. Buffers are kept, so that a
// query allocates nothing.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 256)} }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) put() {
	if cap(b.b) <= 1<<16 {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// walker visits subjects: it calls f, or without f adds to sum.
type walker[V any] struct {
	x   *Index[V]
	f   func(subject []byte, v *V) bool
	buf *buffer
	sum *Sum
}

// match visits what matches at and below r, where the bytes above r have brought
// the filter to position i.
func (w *walker[V]) match(r ref, m *filter, i int) bool {
	x := w.x
	if i == everything {
		return w.all(r)
	}
	if r.kind() == kindLeaf {
		l := x.leaves.at(r.place())
		if i = m.nextAll(i, x.texts.bytes(&l.rest)); i == mismatch || !m.ends(i) {
			return true
		}
		return w.visit(r)
	}
	h := x.head(r)
	prefix := x.texts.bytes(&h.prefix)
	if i = m.nextAll(i, prefix); i == mismatch {
		return true
	}
	if i == everything {
		return w.all(r)
	}
	n := w.push(prefix)
	ok := w.matchKids(r, h, m, i)
	w.pop(n)
	return ok
}

// matchKids is match behind the prefix of an inner node.
func (w *walker[V]) matchKids(r ref, h *head, m *filter, i int) bool {
	if h.term != 0 && m.ends(i) && !w.visit(h.term) {
		return false
	}
	if m.star(i) {
		return w.x.each(r, func(b byte, kid ref) bool {
			j := m.next(i, b)
			return j == mismatch || w.below(b, kid, m, j)
		})
	}
	if i == len(m.s) {
		return true
	}
	kid := w.x.child(r, m.s[i])
	return kid == nil || w.below(m.s[i], *kid, m, m.settle(i+1))
}

func (w *walker[V]) below(key byte, kid ref, m *filter, i int) bool {
	if w.buf == nil {
		return w.match(kid, m, i)
	}
	w.buf.b = append(w.buf.b, key)
	ok := w.match(kid, m, i)
	w.buf.b = w.buf.b[:len(w.buf.b)-1]
	return ok
}

// all visits everything at and below r.
func (w *walker[V]) all(r ref) bool {
	x := w.x
	if r.kind() == kindLeaf {
		return w.visit(r)
	}
	if w.sum != nil {
		w.sum.add(x.sum(r))
		return true
	}
	h := x.head(r)
	n := w.push(x.texts.bytes(&h.prefix))
	ok := h.term == 0 || w.visit(h.term)
	ok = ok && x.each(r, func(b byte, kid ref) bool {
		w.buf.b = append(w.buf.b, b)
		ok := w.all(kid)
		w.buf.b = w.buf.b[:len(w.buf.b)-1]
		return ok
	})
	w.pop(n)
	return ok
}

// visit visits a leaf.
func (w *walker[V]) visit(r ref) bool {
	if w.sum != nil {
		w.sum.add(w.x.sum(r))
		return true
	}
	l := w.x.leaves.at(r.place())
	n := w.push(w.x.texts.bytes(&l.rest))
	ok := w.f(w.buf.b, &l.value)
	w.pop(n)
	return ok
}

func (w *walker[V]) push(b []byte) int {
	if w.buf == nil {
		return 0
	}
	n := len(w.buf.b)
	w.buf.b = append(w.buf.b, b...)
	return n
}

func (w *walker[V]) pop(n int) {
	if w.buf != nil {
		w.buf.b = w.buf.b[:n]
	}
}

func (s *Sum) add(o Sum) {
	s.Subjects += o.Subjects
	s.Count += o.Count
	s.Bytes += o.Bytes
}
