package main

import (
	"reflect"
	"testing"
)

func TestFailuresIn(t *testing.T) {
	out := `=== RUN   TestX
    x_test.go:1: seeds 1 to 20
    x_test.go:2: seed 17: life 1: message 3 is gone
        INF Starting
        --- life 1
    x_test.go:2: NATSD_SEED=18: short
--- FAIL: TestX (0.1s)
`
	want := []failure{{17, "life 1: message 3 is gone\n        INF Starting\n        --- life 1\n"}, {18, "short\n"}}
	if got := failuresIn(out); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	out = `=== RUN   TestKill
=== RUN   TestKill/seed_4
=== RUN   TestKill/seed_5
    kill_test.go:9: message 7 is there 2 times
--- FAIL: TestKill (0.1s)
    --- PASS: TestKill/seed_4 (0.1s)
    --- FAIL: TestKill/seed_5 (0.1s)
`
	want = []failure{{5, "    kill_test.go:9: message 7 is there 2 times\n"}}
	if got := failuresIn(out); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}
