// Package seedtest says which seeds a random test tries: a fixed share, which CI
// can afford, or what the environment asks for. It is meant for tests only.
//
//	NATSD_RUNS  how many seeds
//	NATSD_SEED  the first one; "now" is another place each time
package seedtest

import (
	"iter"
	"os"
	"strconv"
	"testing"
	"time"
)

// Seeds yields the seeds that a test tries, and logs which. Without environment it
// is share of them from 1 on, a tenth of that with -short. A test reports what
// fails as "seed N: ...", so that it is found in the log of a long run.
func Seeds(t testing.TB, share int) iter.Seq[uint64] {
	t.Helper()
	first, n := First(t), Runs(t, share)
	t.Logf("seeds %d to %d", first, first+n-1)
	return func(yield func(uint64) bool) {
		for i := range n {
			if !yield(first + i) {
				return
			}
		}
	}
}

// First is the first seed.
func First(t testing.TB) uint64 {
	t.Helper()
	switch v := os.Getenv("NATSD_SEED"); v {
	case "":
		return 1
	case "now":
		return uint64(time.Now().UnixNano())
	default:
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("NATSD_SEED: %v", err)
		}
		return n
	}
}

// Runs is how many seeds are tried.
func Runs(t testing.TB, share int) uint64 {
	t.Helper()
	if v := os.Getenv("NATSD_RUNS"); v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil || n == 0 {
			t.Fatalf("NATSD_RUNS: %q", v)
		}
		return n
	}
	if testing.Short() {
		share = max(share/10, 1)
	}
	return uint64(share)
}
