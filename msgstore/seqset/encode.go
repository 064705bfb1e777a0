package seqset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

const (
	magic      = 22
	version1   = 1
	version2   = 2
	headerSize = 10
	nodeSize1  = 8 + 2*nodeWords*8 + 2 // version 1 has 4,096 bits in a node
	nodeSize2  = 8 + nodeWords*8 + 2
)

var (
	ErrEncoding = errors.New("sequence set: bad encoding")
	ErrVersion  = errors.New("sequence set: bad version")
)

// EncodedLen is the length of what AppendTo appends.
func (s *Set) EncodedLen() int {
	if s.tree == nil {
		return headerSize
	}
	return headerSize + s.tree.Len()*nodeSize2
}

// AppendTo appends the encoded form (version 2) to b. Readers of the format
// insert the nodes as they come, so they are written as a perfectly balanced
// tree in pre-order with true heights.
func (s *Set) AppendTo(b []byte) []byte {
	var nodes []node
	if s.tree != nil {
		nodes = make([]node, 0, s.tree.Len())
		s.tree.Ascend(func(n node) bool {
			nodes = append(nodes, n)
			return true
		})
	}
	b = append(b, magic, version2)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(nodes)))
	b = binary.LittleEndian.AppendUint32(b, uint32(s.len))
	return appendTree(b, nodes)
}

func appendTree(b []byte, nodes []node) []byte {
	if len(nodes) == 0 {
		return b
	}
	mid := len(nodes) / 2
	b = binary.LittleEndian.AppendUint64(b, nodes[mid].base)
	for _, w := range nodes[mid].words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(bits.Len(uint(len(nodes)))))
	b = appendTree(b, nodes[:mid])
	return appendTree(b, nodes[mid+1:])
}

// Decode reads an encoded set, version 1 or 2, from the front of b and returns
// it with the number of bytes that it took. Errors wrap ErrEncoding or
// ErrVersion. Memory is bounded by the length of b.
func Decode(b []byte) (*Set, int, error) {
	if len(b) < headerSize || b[0] != magic {
		return nil, 0, fmt.Errorf("%w: header", ErrEncoding)
	}
	version, nodeSize, words := b[1], nodeSize2, nodeWords
	switch version {
	case version1:
		nodeSize, words = nodeSize1, 2*nodeWords
	case version2:
	default:
		return nil, 0, fmt.Errorf("%w: %d", ErrVersion, version)
	}
	count, total := binary.LittleEndian.Uint32(b[2:]), binary.LittleEndian.Uint32(b[6:])
	if uint64(count)*uint64(nodeSize) > uint64(len(b)-headerSize) {
		return nil, 0, fmt.Errorf("%w: %d nodes in %d bytes", ErrEncoding, count, len(b)-headerSize)
	}
	s := new(Set)
	at := headerSize
	for range count {
		base := binary.LittleEndian.Uint64(b[at:])
		if base%uint64(words*64) != 0 {
			return nil, 0, fmt.Errorf("%w: base %d", ErrEncoding, base)
		}
		for half := 0; half < words; half += nodeWords {
			if err := s.decodeNode(base+uint64(half)*64, b[at+8+half*8:]); err != nil {
				return nil, 0, err
			}
		}
		at += nodeSize
	}
	if s.len != int(total) {
		return nil, 0, fmt.Errorf("%w: %d sequences, header says %d", ErrEncoding, s.len, total)
	}
	s.last = node{}
	return s, at, nil
}

func (s *Set) decodeNode(base uint64, b []byte) error {
	var m bitmap
	for w := range m.words {
		m.words[w] = binary.LittleEndian.Uint64(b[w*8:])
		m.n += bits.OnesCount64(m.words[w])
	}
	if m.n == 0 {
		return nil
	}
	into := s.node(base)
	if into.n != 0 {
		return fmt.Errorf("%w: base %d twice", ErrEncoding, base)
	}
	*into = m
	s.len += m.n
	return nil
}
