package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// A small heap costs little to collect, so it is collected before it has grown by
// half: what a server of a few streams holds is then not twice what it uses. A
// large one, of many subscriptions or subjects, keeps Go's ordinary setting, since
// each collection marks all of it.
const (
	smallHeapPercent = 50
	largeHeapPercent = 100
	largeHeap        = 128 << 20
)

// tuneGC adjusts the collector to the heap after every collection, unless the
// environment says how it shall work.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	t := &gcTuner{percent: smallHeapPercent}
	debug.SetGCPercent(t.percent)
	t.arm()
}

type gcTuner struct {
	percent int // set now; only the cleanup goroutine changes it
}

// arm has adjust called after the next collection.
func (t *gcTuner) arm() {
	marker := new([16]byte)
	runtime.AddCleanup(marker, func(t *gcTuner) { t.adjust() }, t)
}

func (t *gcTuner) adjust() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := gcPercent(live[0].Value.Uint64())
	if percent != t.percent {
		t.percent = percent
		debug.SetGCPercent(percent)
	}
	t.arm()
}

func gcPercent(live uint64) int {
	if live >= largeHeap {
		return largeHeapPercent
	}
	return smallHeapPercent
}
