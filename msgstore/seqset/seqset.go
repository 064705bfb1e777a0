// Package seqset is a set of stream sequences, used for deleted messages.
//
// It is a B-tree of 2,048-bit nodes: operations cost O(log n), and a dense set
// takes about one bit per sequence. Its encoded form is that of the file format
// (a balanced binary tree in pre-order), so index.db, replicated stream state
// and this package share one representation.
package seqset

import (
	"iter"
	"math"
	"math/bits"

	"github.com/google/btree"
)

const (
	nodeBits  = 2048
	nodeWords = nodeBits / 64
	nodeMask  = nodeBits - 1
	degree    = 16 // of the B-tree; wider nodes cost more per insert than they save
)

type bitmap struct {
	n     int // bits set, 1 to nodeBits
	words [nodeWords]uint64
}

type node struct {
	base uint64 // multiple of nodeBits
	*bitmap
}

// Set is a set of sequences. The zero value is empty and ready for use. Methods
// that do not change it may run concurrently.
type Set struct {
	tree *btree.BTreeG[node]
	len  int
	last node // node of the last insert, a shortcut for sequences in a row
}

func less(a, b node) bool { return a.base < b.base }

func (s *Set) find(base uint64) *bitmap {
	if s.tree == nil {
		return nil
	}
	n, _ := s.tree.Get(node{base: base})
	return n.bitmap
}

func (s *Set) node(base uint64) *bitmap {
	if s.last.bitmap != nil && s.last.base == base {
		return s.last.bitmap
	}
	if s.tree == nil {
		s.tree = btree.NewG(degree, less)
	}
	b := s.find(base)
	if b == nil {
		b = new(bitmap)
		s.tree.ReplaceOrInsert(node{base, b})
	}
	s.last = node{base, b}
	return b
}

func (s *Set) drop(base uint64) {
	s.tree.Delete(node{base: base})
	s.last = node{}
}

// Len is the number of sequences in the set.
func (s *Set) Len() int { return s.len }

// Insert adds seq and reports whether it was absent.
func (s *Set) Insert(seq uint64) bool {
	b := s.node(seq &^ nodeMask)
	w, bit := (seq&nodeMask)/64, uint64(1)<<(seq%64)
	if b.words[w]&bit != 0 {
		return false
	}
	b.words[w] |= bit
	b.n++
	s.len++
	return true
}

// Delete takes seq out and reports whether it was present.
func (s *Set) Delete(seq uint64) bool {
	base := seq &^ nodeMask
	b := s.find(base)
	w, bit := (seq&nodeMask)/64, uint64(1)<<(seq%64)
	if b == nil || b.words[w]&bit == 0 {
		return false
	}
	b.words[w] &^= bit
	b.n--
	s.len--
	if b.n == 0 {
		s.drop(base)
	}
	return true
}

// Contains reports whether seq is in the set.
func (s *Set) Contains(seq uint64) bool {
	b := s.find(seq &^ nodeMask)
	return b != nil && b.words[(seq&nodeMask)/64]&(1<<(seq%64)) != 0
}

// wordMask has the bits of word w that lie in [lo, hi], bit positions in a node.
func wordMask(w int, lo, hi uint64) uint64 {
	m := ^uint64(0)
	if start := uint64(w) * 64; lo > start {
		if lo >= start+64 {
			return 0
		}
		m <<= lo - start
	}
	if start := uint64(w) * 64; hi < start+63 {
		if hi < start {
			return 0
		}
		m &= ^uint64(0) >> (63 - (hi - start))
	}
	return m
}

// InsertRange adds first to last, both included. Memory grows by one bit per
// sequence, so a caller that does not control the range must bound it.
func (s *Set) InsertRange(first, last uint64) {
	for first <= last {
		base := first &^ nodeMask
		b := s.node(base)
		hi := min(last-base, nodeMask)
		before := b.n
		b.n = 0
		for w := range b.words {
			b.words[w] |= wordMask(w, first-base, hi)
			b.n += bits.OnesCount64(b.words[w])
		}
		s.len += b.n - before
		if base+nodeMask >= last {
			return
		}
		first = base + nodeBits
	}
}

// DeleteRange takes out first to last, both included. It costs O(log n) per node
// that is touched, not per sequence of the range.
func (s *Set) DeleteRange(first, last uint64) {
	if s.tree == nil || first > last {
		return
	}
	var empty []uint64
	s.tree.AscendGreaterOrEqual(node{base: first &^ nodeMask}, func(n node) bool {
		if n.base > last {
			return false
		}
		lo, hi := uint64(0), min(last-n.base, nodeMask)
		if first > n.base {
			lo = first - n.base
		}
		before := n.n
		n.n = 0
		for w := range n.words {
			n.words[w] &^= wordMask(w, lo, hi)
			n.n += bits.OnesCount64(n.words[w])
		}
		s.len += n.n - before
		if n.n == 0 {
			empty = append(empty, n.base)
		}
		return true
	})
	for _, base := range empty {
		s.drop(base)
	}
}

// CountRange is the number of sequences of the set in [first, last].
func (s *Set) CountRange(first, last uint64) int {
	if s.tree == nil || first > last {
		return 0
	}
	total := 0
	s.tree.AscendGreaterOrEqual(node{base: first &^ nodeMask}, func(n node) bool {
		switch {
		case n.base > last:
			return false
		case n.base >= first && last-n.base >= nodeMask:
			total += n.n
		default:
			lo, hi := uint64(0), min(last-n.base, nodeMask)
			if first > n.base {
				lo = first - n.base
			}
			for w := range n.words {
				total += bits.OnesCount64(n.words[w] & wordMask(w, lo, hi))
			}
		}
		return true
	})
	return total
}

// Min returns the smallest sequence.
func (s *Set) Min() (uint64, bool) { return s.Next(0) }

// Max returns the largest sequence.
func (s *Set) Max() (uint64, bool) {
	if s.len == 0 {
		return 0, false
	}
	n, _ := s.tree.Max()
	for w := nodeWords - 1; ; w-- {
		if n.words[w] != 0 {
			return n.base + uint64(w)*64 + 63 - uint64(bits.LeadingZeros64(n.words[w])), true
		}
	}
}

// Next returns the smallest sequence of the set that is at or above seq.
func (s *Set) Next(seq uint64) (next uint64, ok bool) {
	if s.len == 0 {
		return 0, false
	}
	s.tree.AscendGreaterOrEqual(node{base: seq &^ nodeMask}, func(n node) bool {
		lo := uint64(0)
		if seq > n.base {
			lo = seq - n.base
		}
		for w := int(lo / 64); w < nodeWords; w++ {
			if v := n.words[w] & wordMask(w, lo, nodeMask); v != 0 {
				next, ok = n.base+uint64(w)*64+uint64(bits.TrailingZeros64(v)), true
				return false
			}
		}
		return true
	})
	return next, ok
}

// NextAbsent returns the smallest sequence at or above seq that is not in the
// set, or 0 if there is none below 2^64.
func (s *Set) NextAbsent(seq uint64) uint64 {
	if s.len == 0 {
		return seq
	}
	s.tree.AscendGreaterOrEqual(node{base: seq &^ nodeMask}, func(n node) bool {
		if n.base > seq {
			return false
		}
		if n.n == nodeBits {
			seq = n.base + nodeBits
			return seq != 0
		}
		lo := seq - n.base
		for w := int(lo / 64); w < nodeWords; w++ {
			if v := ^n.words[w] & wordMask(w, lo, nodeMask); v != 0 {
				seq = n.base + uint64(w)*64 + uint64(bits.TrailingZeros64(v))
				return false
			}
		}
		seq = n.base + nodeBits
		return seq != 0
	})
	return seq
}

// PrevAbsent returns the largest sequence at or below seq that is not in the
// set; ok is false if all of them are.
func (s *Set) PrevAbsent(seq uint64) (prev uint64, ok bool) {
	if s.len == 0 {
		return seq, true
	}
	ok = true
	s.tree.DescendLessOrEqual(node{base: seq &^ nodeMask}, func(n node) bool {
		if n.base != seq&^nodeMask {
			return false
		}
		hi := seq - n.base
		for w := int(hi / 64); w >= 0; w-- {
			if v := ^n.words[w] & wordMask(w, 0, hi); v != 0 {
				seq = n.base + uint64(w)*64 + 63 - uint64(bits.LeadingZeros64(v))
				return false
			}
		}
		if n.base == 0 {
			ok = false
			return false
		}
		seq = n.base - 1
		return true
	})
	return seq, ok
}

// All yields the sequences in ascending order. The set must not change
// meanwhile.
func (s *Set) All() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if s.tree == nil {
			return
		}
		s.tree.Ascend(func(n node) bool {
			for w, v := range n.words {
				for ; v != 0; v &= v - 1 {
					if !yield(n.base + uint64(w)*64 + uint64(bits.TrailingZeros64(v))) {
						return false
					}
				}
			}
			return true
		})
	}
}

// Run is a range of sequences without a gap.
type Run struct{ First, Last uint64 }

// Runs yields the maximal ranges of the set in ascending order.
func (s *Set) Runs() iter.Seq[Run] {
	return func(yield func(Run) bool) {
		for first, ok := s.Min(); ok; {
			last := s.NextAbsent(first) - 1 // 0 - 1 is the largest sequence
			if !yield(Run{first, last}) || last == math.MaxUint64 {
				return
			}
			first, ok = s.Next(last + 1)
		}
	}
}

// Clone returns an independent copy.
func (s *Set) Clone() *Set {
	c := &Set{len: s.len}
	if s.tree != nil {
		c.tree = btree.NewG(degree, less)
		s.tree.Ascend(func(n node) bool {
			b := *n.bitmap
			c.tree.ReplaceOrInsert(node{n.base, &b})
			return true
		})
	}
	return c
}

// Merge adds all sequences of o.
func (s *Set) Merge(o *Set) {
	if o.tree == nil {
		return
	}
	o.tree.Ascend(func(n node) bool {
		b := s.node(n.base)
		before := b.n
		b.n = 0
		for w := range b.words {
			b.words[w] |= n.words[w]
			b.n += bits.OnesCount64(b.words[w])
		}
		s.len += b.n - before
		return true
	})
}

// Equal reports whether both sets hold the same sequences.
func (s *Set) Equal(o *Set) bool {
	if s.len != o.len {
		return false
	}
	equal := true
	if s.len > 0 {
		s.tree.Ascend(func(n node) bool {
			b := o.find(n.base)
			equal = b != nil && b.words == n.words
			return equal
		})
	}
	return equal
}
