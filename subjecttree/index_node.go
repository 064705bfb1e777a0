package subjecttree

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// The tree is an adaptive radix tree (Leis, Kemper, Neumann: The Adaptive Radix
// Tree, 2013) over the bytes of whole subjects. An inner node has a prefix that
// all subjects below it share at that place, then at most one subject that ends
// there (term) and a child for each next byte. A leaf has what is left of its
// subject. An inner node has at least two of term and children.

// ref names a leaf or an inner node: its kind and its place in the kind's slab.
// The zero ref names nothing.
type ref uint32

const kindShift = 29

const (
	kindLeaf = 1 + iota
	kind4    // up to 4 children, sorted keys
	kind16   // up to 16 children, sorted keys
	kind40   // up to 40 children (36 letters and digits), by bitmap
	kind64   // up to 64 children (base 62 and 64), by bitmap
	kind256  // by key
)

func (r ref) kind() uint8   { return uint8(r >> kindShift) }
func (r ref) place() uint32 { return uint32(r) & (1<<kindShift - 1) }

func makeRef(kind uint8, place uint32) ref { return ref(kind)<<kindShift | ref(place) }

type leaf[V any] struct {
	value V
	rest  text
}

// head is what all inner nodes begin with.
type head struct {
	count    uint64 // sum below
	bytes    uint64 // sum below
	subjects uint32 // leaves below
	term     ref    // leaf of the subject that ends here
	prefix   text   // its upper byte: number of children - 1
}

func (h *head) len() int     { return int(h.prefix.size>>24) + 1 }
func (h *head) setLen(n int) { h.prefix.size = h.prefix.size&maxText | uint32(n-1)<<24 }

func (h *head) setPrefix(t text) {
	h.prefix = text{t.at, h.prefix.size&^maxText | t.size}
}

type node4 struct {
	head
	keys [4]byte
	kids [4]ref
}

type node16 struct {
	head
	keys [16]byte
	kids [16]ref
}

type node40 struct {
	head
	set  bitmap
	kids [40]ref
}

type node64 struct {
	head
	set  bitmap
	kids [64]ref
}

type node256 struct {
	head
	kids [256]ref
}

// nodes holds the parts of a tree that do not depend on the type of its values.
type nodes struct {
	n4    slab[node4]
	n16   slab[node16]
	n40   slab[node40]
	n64   slab[node64]
	n256  slab[node256]
	texts arena
}

func makeNodes() nodes {
	// Full chunks of 9 to 30 KiB.
	return nodes{
		n4:   slab[node4]{shift: 9},
		n16:  slab[node16]{shift: 7},
		n40:  slab[node40]{shift: 6},
		n64:  slab[node64]{shift: 6},
		n256: slab[node256]{shift: 3},
	}
}

func (x *nodes) head(r ref) *head {
	switch r.kind() {
	case kind4:
		return &x.n4.at(r.place()).head
	case kind16:
		return &x.n16.at(r.place()).head
	case kind40:
		return &x.n40.at(r.place()).head
	case kind64:
		return &x.n64.at(r.place()).head
	}
	return &x.n256.at(r.place()).head
}

func (x *nodes) allocNode(kind uint8) ref {
	var place uint32
	switch kind {
	case kind4:
		place = x.n4.alloc()
	case kind16:
		place = x.n16.alloc()
	case kind40:
		place = x.n40.alloc()
	case kind64:
		place = x.n64.alloc()
	case kind256:
		place = x.n256.alloc()
	}
	return makeRef(kind, place)
}

func (x *nodes) releaseNode(r ref) {
	switch r.kind() {
	case kind4:
		x.n4.release(r.place())
	case kind16:
		x.n16.release(r.place())
	case kind40:
		x.n40.release(r.place())
	case kind64:
		x.n64.release(r.place())
	case kind256:
		x.n256.release(r.place())
	}
}

// child returns where the child of key b is named, or nil.
func (x *nodes) child(r ref, b byte) *ref { return x.head(r).child(r.kind(), b) }

// child returns where the child of key b is named, or nil, of the node of that kind
// that begins with h.
func (h *head) child(kind uint8, b byte) *ref {
	switch kind {
	case kind4:
		n := (*node4)(unsafe.Pointer(h))
		for i := range n.len() {
			if n.keys[i] == b {
				return &n.kids[i]
			}
		}
	case kind16:
		n := (*node16)(unsafe.Pointer(h))
		if i := find16(&n.keys, b); i < n.len() {
			return &n.kids[i]
		}
	case kind40:
		n := (*node40)(unsafe.Pointer(h))
		if n.set.has(b) {
			return &n.kids[n.set.rank(b)]
		}
	case kind64:
		n := (*node64)(unsafe.Pointer(h))
		if n.set.has(b) {
			return &n.kids[n.set.rank(b)]
		}
	case kind256:
		n := (*node256)(unsafe.Pointer(h))
		if n.kids[b] != 0 {
			return &n.kids[b]
		}
	}
	return nil
}

// each calls f for every child in the order of keys until f returns false, and
// returns whether it ran to the end.
func (x *nodes) each(r ref, f func(key byte, kid ref) bool) bool {
	switch r.kind() {
	case kind4:
		n := x.n4.at(r.place())
		for i := range n.len() {
			if !f(n.keys[i], n.kids[i]) {
				return false
			}
		}
	case kind16:
		n := x.n16.at(r.place())
		for i := range n.len() {
			if !f(n.keys[i], n.kids[i]) {
				return false
			}
		}
	case kind40:
		n := x.n40.at(r.place())
		return n.set.each(n.kids[:], f)
	case kind64:
		n := x.n64.at(r.place())
		return n.set.each(n.kids[:], f)
	case kind256:
		n := x.n256.at(r.place())
		for b, kid := range n.kids {
			if kid != 0 && !f(byte(b), kid) {
				return false
			}
		}
	}
	return true
}

// capacity returns how many children fit into a kind.
func capacity(kind uint8) int {
	return [...]int{kind4: 4, kind16: 16, kind40: 40, kind64: 64, kind256: 256}[kind]
}

// addChild puts in a child whose key is not there, and returns r or, if r was
// full, the larger node that took its place.
func (x *nodes) addChild(r ref, b byte, kid ref) ref {
	if n := x.head(r).len(); n == capacity(r.kind()) {
		r = x.resize(r, r.kind()+1)
	}
	switch r.kind() {
	case kind4:
		n := x.n4.at(r.place())
		insertKid(n.keys[:], n.kids[:], n.len(), b, kid)
	case kind16:
		n := x.n16.at(r.place())
		insertKid(n.keys[:], n.kids[:], n.len(), b, kid)
	case kind40:
		n := x.n40.at(r.place())
		n.set.insert(n.kids[:], n.len(), b, kid)
	case kind64:
		n := x.n64.at(r.place())
		n.set.insert(n.kids[:], n.len(), b, kid)
	case kind256:
		x.n256.at(r.place()).kids[b] = kid
	}
	h := x.head(r)
	h.setLen(h.len() + 1)
	return r
}

// removeChild takes out the child of key b, which is not the only one, and
// returns r or, if it has become much too large, the node that took its place.
func (x *nodes) removeChild(r ref, b byte) ref {
	switch r.kind() {
	case kind4:
		n := x.n4.at(r.place())
		removeKid(n.keys[:], n.kids[:], n.len(), b)
	case kind16:
		n := x.n16.at(r.place())
		removeKid(n.keys[:], n.kids[:], n.len(), b)
	case kind40:
		n := x.n40.at(r.place())
		n.set.remove(n.kids[:], n.len(), b)
	case kind64:
		n := x.n64.at(r.place())
		n.set.remove(n.kids[:], n.len(), b)
	case kind256:
		x.n256.at(r.place()).kids[b] = 0
	}
	h := x.head(r)
	n := h.len() - 1
	h.setLen(n)
	// Not at once, so that a child that comes and goes does not copy each time.
	if r.kind() > kind4 && n <= capacity(r.kind()-1)*3/4 {
		r = x.resize(r, r.kind()-1)
	}
	return r
}

// setFirst makes the first child of a new node4.
func (x *nodes) setFirst(r ref, b byte, kid ref) {
	n := x.n4.at(r.place())
	n.keys[0], n.kids[0] = b, kid
	n.setLen(1)
}

// resize moves a node to another kind, which has room for its children.
func (x *nodes) resize(r ref, kind uint8) ref {
	to := x.allocNode(kind)
	h := x.head(to)
	*h = *x.head(r)
	i := 0
	x.each(r, func(b byte, kid ref) bool {
		switch kind {
		case kind4:
			n := x.n4.at(to.place())
			n.keys[i], n.kids[i] = b, kid
		case kind16:
			n := x.n16.at(to.place())
			n.keys[i], n.kids[i] = b, kid
		case kind40:
			n := x.n40.at(to.place())
			n.set.insert(n.kids[:], i, b, kid)
		case kind64:
			n := x.n64.at(to.place())
			n.set.insert(n.kids[:], i, b, kid)
		case kind256:
			x.n256.at(to.place()).kids[b] = kid
		}
		i++
		return true
	})
	x.releaseNode(r)
	return to
}

func insertKid(keys []byte, kids []ref, n int, b byte, kid ref) {
	i := 0
	for i < n && keys[i] < b {
		i++
	}
	copy(keys[i+1:], keys[i:n])
	copy(kids[i+1:], kids[i:n])
	keys[i], kids[i] = b, kid
}

func removeKid(keys []byte, kids []ref, n int, b byte) {
	i := 0
	for keys[i] != b {
		i++
	}
	copy(keys[i:], keys[i+1:n])
	copy(kids[i:], kids[i+1:n])
	keys[n-1], kids[n-1] = 0, 0
}

// find16 returns the first place of b among 16 keys, or 16: eight keys at a time
// (the zero byte test of Hacker's Delight 6-1; the lowest hit is exact).
func find16(keys *[16]byte, b byte) int {
	const low, high = 0x0101010101010101, 0x8080808080808080
	v := binary.LittleEndian.Uint64(keys[:8]) ^ uint64(b)*low
	if hit := (v - low) &^ v & high; hit != 0 {
		return bits.TrailingZeros64(hit) / 8
	}
	v = binary.LittleEndian.Uint64(keys[8:]) ^ uint64(b)*low
	if hit := (v - low) &^ v & high; hit != 0 {
		return 8 + bits.TrailingZeros64(hit)/8
	}
	return 16
}

// bitmap says which keys a node has; its children are packed in their order.
type bitmap [4]uint64

func (m *bitmap) has(b byte) bool { return m[b>>6]>>(b&63)&1 != 0 }

// rank returns how many keys are smaller than b.
func (m *bitmap) rank(b byte) int {
	n := bits.OnesCount64(m[b>>6] & (1<<(b&63) - 1))
	for i := range m[:b>>6] {
		n += bits.OnesCount64(m[i])
	}
	return n
}

func (m *bitmap) insert(kids []ref, n int, b byte, kid ref) {
	i := m.rank(b)
	copy(kids[i+1:], kids[i:n])
	kids[i] = kid
	m[b>>6] |= 1 << (b & 63)
}

func (m *bitmap) remove(kids []ref, n int, b byte) {
	i := m.rank(b)
	copy(kids[i:], kids[i+1:n])
	kids[n-1] = 0
	m[b>>6] &^= 1 << (b & 63)
}

func (m *bitmap) each(kids []ref, f func(key byte, kid ref) bool) bool {
	i := 0
	for w, word := range m {
		for ; word != 0; word &= word - 1 {
			if !f(byte(w<<6+bits.TrailingZeros64(word)), kids[i]) {
				return false
			}
			i++
		}
	}
	return true
}
