//go:build !amd64 || noasm

package highway

// SumParts returns the HighwayHash-64 of head and body, as if they were one
// piece, keyed by key.
func SumParts(key *[32]byte, head *[16]byte, body []byte) uint64 {
	return joinParts(key, head, body)
}

// SumPair is SumParts of two pieces.
func SumPair(key *[32]byte, headA *[16]byte, bodyA []byte, headB *[16]byte, bodyB []byte) (a, b uint64) {
	return SumParts(key, headA, bodyA), SumParts(key, headB, bodyB)
}
