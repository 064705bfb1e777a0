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
	// fewChanges in a window end it that a connection takes turns.
	fewChanges = 200
	// sliceChanges end a turn: some 200 µs, so that nobody waits for a whole read
	// buffer of them.
	sliceChanges = 256
	// restFrom is how much work with a turn makes a pause worth its timer.
	restFrom = 200 * time.Microsecond
	// tiredAfter is how much work makes the pauses longer by the time worked, and
	// maxRest how many times that they are in the end.
	tiredAfter = 50 * time.Millisecond
	maxRest    = 29
)

// churnTurns is how many connections at a time may go through many changes of
// subscriptions: half of the processors. Each change takes about as long as
// thirty messages, and takes the list's lock; with connections that do nothing
// else on all processors everybody would wait for them, the more since the
// network is looked at only when a processor runs out of work. It belongs to the
// process, as the processors do.
//
// Whoever had a turn pauses for as long as it worked before the next one begins, and
// for longer the longer it goes on: what sends the changes has to share the machine
// with those who wait for it, and is slowed down by this too. A hundred thousand
// subscriptions on one connection are made in a fifth of a second, a million in six.
var churnTurns = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// churn counts the changes of one connection. It belongs to its read loop.
type churn struct {
	changes int
	base    int   // what changes began with: none is free for who takes turns
	since   int64 // Unix nanoseconds
	turn    bool  // held
	began   time.Time
	worked  time.Duration // with turns, since the last pause
	tired   time.Duration // all work with turns since there were few changes
}

// change counts one, and takes a turn first if there were many lately. The turn
// is held until rest is called; nothing that waits may happen in between.
func (c *churn) change() {
	if c.changes++; c.changes <= freeChanges {
		return
	}
	if c.changes%sliceChanges == 0 {
		c.rest()
	}
	if !c.turn {
		churnTurns <- struct{}{}
		c.turn, c.began = true, time.Now()
	}
}

// rest gives the turn back.
func (c *churn) rest() {
	if !c.turn {
		return
	}
	if c.worked += time.Since(c.began); c.worked >= restFrom {
		time.Sleep(c.pause())
	}
	<-churnTurns
	c.turn = false
}

// pause is how long a pause the work calls for.
func (c *churn) pause() time.Duration {
	worked := c.worked
	c.worked = 0
	c.tired += worked
	return worked * min(1+c.tired/tiredAfter, maxRest)
}

// at says what time it is, so that old changes are forgotten.
func (c *churn) at(now int64) {
	if now-c.since <= int64(churnWindow) {
		return
	}
	switch {
	case c.changes-c.base <= fewChanges:
		c.base, c.tired = 0, 0
	case c.changes > freeChanges:
		c.base = freeChanges
	}
	c.changes, c.since = c.base, now
}
