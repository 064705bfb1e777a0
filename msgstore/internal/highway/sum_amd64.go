//go:build amd64 && !noasm

package highway

import "unsafe"

//go:noescape
func sumAVX2(key *[32]byte, head *[16]byte, body *byte, n int) uint64

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
