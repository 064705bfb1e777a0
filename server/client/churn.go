package client

import (
	"runtime"
	"time"
)

const (
	// freeChanges is how many subscriptions a connection may make and end within
	// churnWindow before it takes turns: a client that starts is never held up.
	freeChanges = 2000
	churnWindow = 100 * time.Millisecond
	// restFrom is how much work with a turn makes a pause worth its timer.
	restFrom = time.Millisecond
)

// churnTurns is how many connections at a time may go through many changes of
// subscriptions: half of the processors. Each change takes about as long as
// thirty messages, and takes the list's lock; with connections that do nothing
// else on all processors everybody would wait for them, the more since the
// network is looked at only when a processor runs out of work. It belongs to the
// process, as the processors do.
//
// Whoever had a turn pauses for as long as it worked before the next one begins:
// what sends the changes has to share the machine with those who wait for it, and
// is slowed down by this too.
var churnTurns = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// churn counts the changes of one connection. It belongs to its read loop.
type churn struct {
	changes int
	since   int64 // Unix nanoseconds
	turn    bool  // held
	began   time.Time
	worked  time.Duration // with turns, since the last pause
}

// change counts one, and takes a turn first if there were many lately. The turn
// is held until rest is called; nothing that waits may happen in between.
func (c *churn) change() {
	if c.changes++; c.changes > freeChanges && !c.turn {
		churnTurns <- struct{}{}
		c.turn, c.began = true, time.Now()
	}
}

// rest gives the turn back.
func (c *churn) rest() {
	if c.turn {
		if c.worked += time.Since(c.began); c.worked >= restFrom {
			time.Sleep(c.worked)
			c.worked = 0
		}
		<-churnTurns
		c.turn = false
	}
}

// at says what time it is, so that old changes are forgotten.
func (c *churn) at(now int64) {
	if now-c.since > int64(churnWindow) {
		c.changes, c.since = 0, now
	}
}
