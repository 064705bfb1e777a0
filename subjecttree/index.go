package subjecttree

import "bytes"

// Index maps subjects to values: the subjects of a stream to what is known about
// each. It is a radix tree over the bytes of the whole subject, in which "." is
// a byte like any other, and every subject is plain data: it may hold any byte,
// be empty, have empty tokens or look like a pattern. Wildcards have a meaning
// in filters only (Matches); for stored subjects with empty tokens what a
// wildcard matches is unspecified.
//
// Inner nodes carry sums over what is below them, so that totals need no visit
// of every subject.
//
// An index is as safe for concurrent use as a map: many readers, or one writer.
// A nil index can be read like an empty one. Subjects that are handed to
// callbacks are good during the call only, and callbacks must not change the
// index except for the value they are given, and of that nothing that the weight
// is made from; see Update.
//
// Memory is the value rounded up to 4 or 8 bytes, 8 bytes, the text that is not
// shared with other subjects, and a share of the inner nodes, typically 15 to 40
// bytes a subject. A value without pointers leaves the garbage collector nothing
// to scan. Limits are 2^29 subjects, and 2^24-1 bytes for one; exceeding them
// panics.
type Index[V any] struct {
	weigh  func(*V) (count, bytes uint64)
	root   ref
	n      int
	peak   int // largest n since the last rebuild
	leaves slab[leaf[V]]
	nodes
}

// Sum is a total over subjects. Count and Bytes are what the weights of their
// values add up to, modulo 2^64.
type Sum struct {
	Subjects uint64
	Count    uint64
	Bytes    uint64
}

// NewIndex returns an empty index. weigh returns what a value adds to a Sum; it
// must depend on nothing but the value. Without weigh only subjects are counted.
func NewIndex[V any](weigh func(*V) (count, bytes uint64)) *Index[V] {
	x := &Index[V]{weigh: weigh}
	x.clear()
	return x
}

func (x *Index[V]) clear() {
	x.root, x.n, x.peak = 0, 0, 0
	x.leaves = slab[leaf[V]]{shift: 9}
	x.nodes = makeNodes()
}

// Len returns the number of subjects.
func (x *Index[V]) Len() int {
	if x == nil {
		return 0
	}
	return x.n
}

// Find returns the value of a subject, or nil. The pointer is good until the
// next subject is inserted or deleted. Through it anything may be changed that
// the weight does not depend on.
func (x *Index[V]) Find(subject []byte) *V {
	if x == nil {
		return nil
	}
	var few [fewNodes]*head
	v, _ := x.find(subject, few[:0])
	return v
}

// Insert sets the value of a subject, and returns the value that it had before
// if there was one.
func (x *Index[V]) Insert(subject []byte, value V) (old V, updated bool) {
	var few [pathDepth]ref
	l, found, path := x.locate(subject, true, few[:0])
	before := x.before(l, found)
	v := &x.leaves.at(l.place()).value
	old, *v = *v, value
	x.add(path, before, x.sum(l))
	return old, found
}

// Upsert calls f with the value of a subject, which is a new zero value if found
// is false, and keeps the sums right whatever f changes.
func (x *Index[V]) Upsert(subject []byte, f func(v *V, found bool)) {
	var few [fewNodes]*head
	if v, above := x.find(subject, few[:0]); v != nil {
		count, bytes := x.weight(v)
		f(v, true)
		x.reweigh(v, above, count, bytes)
		return
	}
	var path [pathDepth]ref
	l, found, above := x.locate(subject, true, path[:0])
	before := x.before(l, found)
	f(&x.leaves.at(l.place()).value, found)
	x.add(above, before, x.sum(l))
}

// Update calls f with the value of a subject if there is one, keeps the sums
// right whatever f changes, and returns whether there was one.
func (x *Index[V]) Update(subject []byte, f func(v *V)) bool {
	if x == nil {
		return false
	}
	var few [fewNodes]*head
	v, above := x.find(subject, few[:0])
	if v == nil {
		return false
	}
	count, bytes := x.weight(v)
	f(v)
	x.reweigh(v, above, count, bytes)
	return true
}

// fewNodes is how many inner nodes a path may have before find allocates.
const fewNodes = 16

// find returns the value of a subject, or nil, and appends the nodes above it to above.
func (x *Index[V]) find(subject []byte, above []*head) (*V, []*head) {
	r := x.root
	if r == 0 {
		return nil, nil
	}
	for r.kind() != kindLeaf {
		h := x.head(r)
		if n := h.prefix.len(); n > 0 {
			if n > len(subject) || !bytes.Equal(x.texts.bytes(&h.prefix), subject[:n]) {
				return nil, nil
			}
			subject = subject[n:]
		}
		above = append(above, h)
		if len(subject) == 0 {
			if h.term == 0 {
				return nil, nil
			}
			return &x.leaves.at(h.term.place()).value, above
		}
		kid := h.child(r.kind(), subject[0])
		if kid == nil {
			return nil, nil
		}
		r, subject = *kid, subject[1:]
	}
	l := x.leaves.at(r.place())
	if n := l.rest.len(); n != len(subject) || n > 0 && !bytes.Equal(x.texts.bytes(&l.rest), subject) {
		return nil, nil
	}
	return &l.value, above
}

// reweigh tells the nodes above v what it adds to sums; it added count and bytes.
func (x *Index[V]) reweigh(v *V, above []*head, count, bytes uint64) {
	nowCount, nowBytes := x.weight(v)
	nowCount -= count // differences wrap around
	nowBytes -= bytes
	if nowCount == 0 && nowBytes == 0 {
		return
	}
	for _, h := range above {
		h.count += nowCount
		h.bytes += nowBytes
	}
}

// pathDepth is how many inner nodes a path may have before it costs an
// allocation. A million subjects are some 5 to 15 deep.
const pathDepth = 48

// before returns what a leaf that locate returned has added to sums: nothing if
// it is new, and then it is counted here.
func (x *Index[V]) before(l ref, found bool) Sum {
	if found {
		return x.sum(l)
	}
	x.n++
	x.peak = max(x.peak, x.n)
	return Sum{}
}

// add replaces what a leaf adds to the sums of all nodes above it; differences
// wrap around.
func (x *Index[V]) add(path []ref, old, now Sum) {
	if old == now {
		return
	}
	for _, r := range path {
		h := x.head(r)
		h.subjects += uint32(now.Subjects - old.Subjects)
		h.count += now.Count - old.Count
		h.bytes += now.Bytes - old.Bytes
	}
}

func (x *Index[V]) weight(v *V) (count, bytes uint64) {
	if x.weigh == nil {
		return 0, 0
	}
	return x.weigh(v)
}

// sum returns what is at and below r.
func (x *Index[V]) sum(r ref) Sum {
	if r.kind() == kindLeaf {
		count, bytes := x.weight(&x.leaves.at(r.place()).value)
		return Sum{1, count, bytes}
	}
	h := x.head(r)
	return Sum{uint64(h.subjects), h.count, h.bytes}
}

// locate finds the leaf of a subject and the inner nodes above it, from the root
// down. If there is none and create is set it makes one with a zero value, which
// is in no sum yet.
func (x *Index[V]) locate(subject []byte, create bool, path []ref) (l ref, found bool, _ []ref) {
	var parent ref // the inner node above r, which names r under key
	var key byte
	r := x.root
	for {
		if r == 0 { // the tree is empty
			if create {
				l = x.newLeaf(subject)
				x.root = l
			}
			return l, false, path
		}
		if r.kind() == kindLeaf {
			rest := x.texts.bytes(&x.leaves.at(r.place()).rest)
			n := common(rest, subject)
			if n == len(rest) && n == len(subject) {
				return r, true, path
			}
			if create {
				var branch ref
				l, branch = x.fork(r, subject, n)
				x.replace(parent, key, branch)
				path = append(path, branch)
			}
			return l, false, path
		}
		h := x.head(r)
		if n := h.prefix.len(); n > 0 {
			prefix := x.texts.bytes(&h.prefix)
			same := common(prefix, subject)
			if same < n {
				if create {
					var branch ref
					l, branch = x.fork(r, subject, same)
					x.replace(parent, key, branch)
					path = append(path, branch)
				}
				return l, false, path
			}
			subject = subject[n:]
		}
		path = append(path, r)
		if len(subject) == 0 {
			if h.term != 0 {
				return h.term, true, path
			}
			if create {
				l = x.newLeaf(nil)
				x.head(r).term = l
			}
			return l, false, path
		}
		kid := x.child(r, subject[0])
		if kid == nil {
			if create {
				l = x.newLeaf(subject[1:])
				grown := x.addChild(r, subject[0], l)
				if grown != r {
					x.replace(parent, key, grown)
					path[len(path)-1] = grown
				}
			}
			return l, false, path
		}
		parent, key = r, subject[0]
		r, subject = *kid, subject[1:]
	}
}

func (x *Index[V]) newLeaf(rest []byte) ref {
	t := x.texts.put(rest, nil, nil)
	r := makeRef(kindLeaf, x.leaves.alloc())
	x.leaves.at(r.place()).rest = t
	return r
}

// fork puts an inner node above r and a new leaf, whose text agrees with subject
// in n bytes only. The node's sum is that of r.
func (x *Index[V]) fork(r ref, subject []byte, n int) (l, branch ref) {
	prefix := x.texts.put(subject[:n], nil, nil)
	branch = x.allocNode(kind4)
	if n == len(subject) {
		l = x.newLeaf(nil)
	} else {
		l = x.newLeaf(subject[n+1:])
	}
	// r loses the common part and the byte behind it, which becomes its key.
	var old text
	if r.kind() == kindLeaf {
		old = x.leaves.at(r.place()).rest
	} else {
		old = x.head(r).prefix
	}
	below := x.texts.bytes(&old)[n:]
	whole := len(below) == 0 // a leaf that ends here
	var first byte
	if !whole {
		first, below = below[0], below[1:]
	}
	rest := x.texts.put(below, nil, nil)
	if r.kind() == kindLeaf {
		x.leaves.at(r.place()).rest = rest
	} else {
		x.head(r).setPrefix(rest)
	}
	x.texts.drop(old)
	sum := x.sum(r)
	h := x.head(branch)
	h.count, h.bytes, h.subjects = sum.Count, sum.Bytes, uint32(sum.Subjects)
	h.setPrefix(prefix)
	switch {
	case whole:
		h.term = r
		x.setFirst(branch, subject[n], l)
	case n == len(subject):
		h.term = l
		x.setFirst(branch, first, r)
	default:
		x.setFirst(branch, first, r)
		x.addChild(branch, subject[n], l)
	}
	return l, branch
}

// replace lets parent, or the root if that is 0, name r under key.
func (x *Index[V]) replace(parent ref, key byte, r ref) {
	if parent == 0 {
		x.root = r
	} else {
		*x.child(parent, key) = r
	}
}

// Delete removes a subject and returns its value, if it was there.
func (x *Index[V]) Delete(subject []byte) (value V, found bool) {
	if x == nil {
		return value, false
	}
	var few [pathDepth]ref
	l, found, path := x.locate(subject, false, few[:0])
	if !found {
		return value, false
	}
	value = x.leaves.at(l.place()).value
	x.add(path, x.sum(l), Sum{})
	x.n--
	if x.n == 0 {
		x.clear()
		return value, true
	}
	x.unlink(l, path, subject)
	x.texts.drop(x.leaves.at(l.place()).rest)
	x.leaves.release(l.place())
	if x.peak > minRebuild && x.n < x.peak/rebuildShare {
		x.rebuild()
	}
	return value, true
}

// unlink takes a leaf out of the last node of its path, and takes that node out
// too if it has become needless.
func (x *Index[V]) unlink(l ref, path []ref, subject []byte) {
	r := path[len(path)-1]
	// The keys on the way: subject consists of prefixes and keys.
	var parent ref
	var key byte
	at := 0
	for i, p := range path {
		at += x.head(p).prefix.len()
		if i == len(path)-1 {
			break
		}
		parent, key = p, subject[at]
		at++
	}
	h := x.head(r)
	switch {
	case h.term == l:
		h.term = 0
		if h.len() > 1 {
			return
		}
		// One child is left: it takes the place of r.
		var lastKey byte
		var last ref
		x.each(r, func(b byte, kid ref) bool { lastKey, last = b, kid; return true })
		x.lift(r, last, []byte{lastKey})
		x.replace(parent, key, last)
	case h.len() > 2 || h.len() == 2 && h.term != 0:
		if to := x.removeChild(r, subject[at]); to != r {
			x.replace(parent, key, to)
		}
	case h.len() == 2:
		var lastKey byte
		var last ref
		x.each(r, func(b byte, kid ref) bool {
			if b != subject[at] {
				lastKey, last = b, kid
			}
			return true
		})
		x.lift(r, last, []byte{lastKey})
		x.replace(parent, key, last)
	default: // l is the only child, and a subject ends here
		term := h.term
		x.lift(r, term, nil)
		x.replace(parent, key, term)
	}
}

// lift prepares kid to take the place of the node r: it gets the prefix of r and
// its key before its own text. r is released.
func (x *Index[V]) lift(r, kid ref, key []byte) {
	prefix := x.head(r).prefix
	if kid.kind() == kindLeaf {
		t := &x.leaves.at(kid.place()).rest
		old := *t
		*t = x.texts.put(x.texts.bytes(&prefix), key, x.texts.bytes(&old))
		x.texts.drop(old)
	} else {
		h := x.head(kid)
		old := h.prefix
		h.setPrefix(x.texts.put(x.texts.bytes(&prefix), key, x.texts.bytes(&old)))
		x.texts.drop(old)
	}
	x.texts.drop(prefix)
	x.releaseNode(r)
}

// An index that has lost most of its subjects is copied, since a slab keeps what
// it once had: 10 to 20 ms when 1,000,000 subjects have become 125,000.
const (
	minRebuild   = 4096
	rebuildShare = 8
)

func (x *Index[V]) rebuild() {
	to := NewIndex[V](x.weigh)
	to.root = x.copyTo(to, x.root)
	to.n, to.peak = x.n, x.n
	*x = *to
}

func (x *Index[V]) copyTo(to *Index[V], r ref) ref {
	if r.kind() == kindLeaf {
		from := x.leaves.at(r.place())
		l := to.newLeaf(x.texts.bytes(&from.rest))
		to.leaves.at(l.place()).value = from.value
		return l
	}
	// The children first: each makes room, and pointers hold until then only.
	h := x.head(r)
	branch := to.allocNode(kind4)
	prefix := to.texts.put(x.texts.bytes(&h.prefix), nil, nil)
	b := to.head(branch)
	b.count, b.bytes, b.subjects = h.count, h.bytes, h.subjects
	b.setPrefix(prefix)
	if h.term != 0 {
		term := x.copyTo(to, h.term)
		to.head(branch).term = term
	}
	first := true
	x.each(r, func(key byte, kid ref) bool {
		c := x.copyTo(to, kid)
		if first {
			to.setFirst(branch, key, c)
			first = false
		} else {
			branch = to.addChild(branch, key, c)
		}
		return true
	})
	return branch
}

func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
