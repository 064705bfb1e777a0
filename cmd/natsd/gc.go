package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// A heap of medium size costs little to collect, so it is collected when it has
// grown by half: what a server holds is then not twice what it uses. A tiny one
// would be collected all the time, a large one, of many subscriptions or subjects,
// is much to mark: they keep Go's ordinary setting.
const (
	mediumHeapPercent = 50
	otherHeapPercent  = 100
	mediumHeap        = 8 << 20
	largeHeap         = 128 << 20
)

// tuneGC adjusts the collector to the heap after every collection, unless the
// environment says how it shall work.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	new(gcTuner).adjust()
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
	if live < mediumHeap || live >= largeHeap {
		return otherHeapPercent
	}
	return mediumHeapPercent
}
