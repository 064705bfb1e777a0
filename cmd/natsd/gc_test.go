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
	}{{0, 100}, {mediumHeap, 50}, {largeHeap - 1, 50}, {largeHeap, 100}, {1 << 40, 100}} {
		if got := gcPercent(tc.live); got != tc.want {
			t.Errorf("%d live bytes: %d%%, want %d%%", tc.live, got, tc.want)
		}
	}
}

func TestCollectorIsTuned(t *testing.T) {
	before := debug.SetGCPercent(73)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "73")
	tuneGC()
	if got := debug.SetGCPercent(73); got != 73 {
		t.Errorf("GOGC is set, and the percentage became %d", got)
	}
	t.Setenv("GOGC", "")
	tuneGC()
	held := make([]byte, 2*mediumHeap)
	for { // the cleanup runs some time after a collection
		runtime.GC()
		got := debug.SetGCPercent(mediumHeapPercent)
		if got == mediumHeapPercent {
			break
		}
		debug.SetGCPercent(got)
		runtime.Gosched()
	}
	runtime.KeepAlive(held)
}
