package prefetch

import (
	"testing"
	"unsafe"
)

// A prefetch must not fault whatever it is given, and changes nothing.
func TestLines(t *testing.T) {
	b := make([]byte, 1000)
	for i := range b {
		b[i] = byte(i)
	}
	for _, n := range []int{-1, 0, 1, LinesOf(uintptr(len(b)))} {
		Lines(unsafe.Pointer(&b[0]), n)
		Lines(nil, n)
	}
	for i := range b {
		if b[i] != byte(i) {
			t.Fatalf("byte %d is %d", i, b[i])
		}
	}
	for size, want := range map[uintptr]int{0: 0, 1: 1, 64: 1, 65: 2, 640: 10} {
		if got := LinesOf(size); got != want {
			t.Errorf("LinesOf(%d) = %d, want %d", size, got, want)
		}
	}
}
