package client

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestChurn: few changes cost nothing, many wait for their turn, and who goes on
// pauses longer.
func TestChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c churn
		// In here, time passes in pauses only.
		slice := func(work time.Duration) (paused time.Duration) {
			start := time.Now()
			for range sliceChanges {
				c.change()
			}
			if c.turn {
				time.Sleep(work)
			}
			c.rest()
			if len(churnTurns) != 0 {
				t.Error("the turn was not given back")
			}
			return time.Since(start) - work
		}
		c.at(time.Now().UnixNano())
		for c.changes <= freeChanges-sliceChanges {
			if slice(0) != 0 || c.turn {
				t.Fatalf("a pause after %d changes", c.changes)
			}
		}
		for i, tt := range []struct{ work, want time.Duration }{
			{10 * time.Millisecond, 10 * time.Millisecond},
			{39 * time.Millisecond, 39 * time.Millisecond},
			{10 * time.Millisecond, 20 * time.Millisecond},
			{restFrom / 2, 0},
			{restFrom / 2, 2 * restFrom},
			{time.Second, 22 * time.Second},
			{time.Second, maxRest * time.Second},
		} {
			if got := slice(tt.work); got != tt.want {
				t.Errorf("turn %d: a pause of %v after %v of work, want %v", i, got, tt.work, tt.want)
			}
		}
		// Who goes on has none for free in the next window.
		c.at(time.Now().UnixNano())
		if got := slice(time.Millisecond); got != maxRest*time.Millisecond {
			t.Errorf("a pause of %v in the next window", got)
		}
		// Who had a window with few changes is fresh again.
		time.Sleep(2 * churnWindow)
		c.at(time.Now().UnixNano())
		c.change()
		c.rest()
		time.Sleep(2 * churnWindow)
		c.at(time.Now().UnixNano())
		c.changes = freeChanges + 1
		if got := slice(10 * time.Millisecond); got != 10*time.Millisecond {
			t.Errorf("a pause of %v", got)
		}
	})
}
