package buffers

import "testing"

func TestSizes(t *testing.T) {
	for _, tc := range []struct{ n, size int }{
		{0, 512}, {512, 512}, {513, 1 << 10}, {1 << 20, 1 << 20}, {8 << 20, 8 << 20}, {9 << 20, 9 << 20},
	} {
		b := Get(tc.n)
		if len(b) != 0 || cap(b) != tc.size {
			t.Errorf("Get(%d): len %d cap %d, want 0 and %d", tc.n, len(b), cap(b), tc.size)
		}
		Put(append(b, 1))
	}
	if b := Get(9); len(b) != 0 {
		t.Errorf("a slice that was given back has %d bytes", len(b))
	}
}

func TestReuseDoesNotAllocate(t *testing.T) {
	Put(Get(5000))
	if n := testing.AllocsPerRun(1000, func() { Put(Get(5000)) }); n > 0.1 {
		t.Errorf("%v allocations", n)
	}
}
