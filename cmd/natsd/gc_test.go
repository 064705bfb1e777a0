package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestCollectorFollowsTheHeap(t *testing.T) {
	for _, tc := range []struct {
		live uint64
		want int
	}{{0, 50}, {largeHeap - 1, 50}, {largeHeap, 100}, {1 << 40, 100}} {
		if got := gcPercent(tc.live); got != tc.want {
			t.Errorf("%d live bytes: %d%%, want %d%%", tc.live, got, tc.want)
		}
	}
}

func TestCollectorIsTuned(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "100")
	tuneGC()
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("GOGC is set, and the percentage became %d", got)
	}
	t.Setenv("GOGC", "")
	tuneGC()
	runtime.GC()
	if got := debug.SetGCPercent(100); got != smallHeapPercent {
		t.Errorf("the percentage is %d, want %d", got, smallHeapPercent)
	}
}
