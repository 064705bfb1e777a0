//go:build amd64 && !noasm

package highway

import "unsafe"

//go:noescape
func sumAVX2(key *[32]byte, head *[16]byte, body *byte, n int) uint64

//go:noescape
func sumPairAVX2(key *[32]byte, headA *[16]byte, bodyA *byte, headB *[16]byte, bodyB *byte, n int) (a, b uint64)

func cpuid(leaf, sub uint32) (ax, bx, cx, dx uint32)

func xgetbv() (ax uint32)

var hasAVX2 = detect()

// detect asks for AVX2, and for an operating system that keeps its registers.
func detect() bool {
	const (
		osxsave, avx = 1 << 27, 1 << 28 // leaf 1, cx
		avx2         = 1 << 5           // leaf 7, bx
		sse, ymm     = 1 << 1, 1 << 2   // xgetbv
	)
	if leaves, _, _, _ := cpuid(0, 0); leaves < 7 {
		return false
	}
	if _, _, cx, _ := cpuid(1, 0); cx&osxsave == 0 || cx&avx == 0 {
		return false
	}
	if xgetbv()&(sse|ymm) != sse|ymm {
		return false
	}
	_, bx, _, _ := cpuid(7, 0)
	return bx&avx2 != 0
}

// SumParts returns the HighwayHash-64 of head and body, as if they were one
// piece, keyed by key.
func SumParts(key *[32]byte, head *[16]byte, body []byte) uint64 {
	if hasAVX2 && len(body) >= len(head) {
		return sumAVX2(key, head, unsafe.SliceData(body), len(body))
	}
	return joinParts(key, head, body)
}

// SumPair is SumParts of two pieces, whose bodies are of the same length. It takes
// little more than half the time: the steps of one sum wait for each other.
func SumPair(key *[32]byte, headA *[16]byte, bodyA []byte, headB *[16]byte, bodyB []byte) (a, b uint64) {
	if n := len(bodyA); hasAVX2 && n >= len(headA) && n == len(bodyB) {
		return sumPairAVX2(key, headA, unsafe.SliceData(bodyA), headB, unsafe.SliceData(bodyB), n)
	}
	return SumParts(key, headA, bodyA), SumParts(key, headB, bodyB)
}
