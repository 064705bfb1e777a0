package consumer

import (
	"testing"
	"unsafe"
)

// The allocator puts what is a multiple of a cache line, or is rounded up to one, at
// the beginning of a line: 640 is a size of its own.
func TestMachineBeginsWithALine(t *testing.T) {
	if size := unsafe.Sizeof(Machine{}); size <= 576 || size > 640 {
		t.Errorf("a machine has %d bytes: too many, or so few that it gets a place that is not aligned", size)
	}
}
