package jetstream

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// pacer keeps consumers that read old messages from being in the way of those who
// wait for each publish. A replay takes a processor, and its client another one:
// where there are few, a publish would wait for both, three times on its way. So
// while such a publisher is about, replays take turns: each one rests until all
// together have had no more than their share of the processors.
type pacer struct {
	published atomic.Int64 // when somebody published and waited, as Unix nanoseconds

	mu    sync.Mutex // guards the rest; leaf lock
	free  time.Time  // when the share is used up to
	line  []paced    // ascending
	clock *time.Timer
}

// paced is a consumer whose turn goes on at a time.
type paced struct {
	c  *Consumer
	at time.Time
}

const (
	// fewPublishes is how many messages in flight are of publishers who wait for
	// each answer; more are a bulk, of which no single one is urgent.
	fewPublishes = 64
	// hurry is how long a publish matters to those who replay.
	hurry = 50 * time.Millisecond
	// pacedMsgs is a slice of a replay meanwhile: it holds a publish up by that
	// much at the server, and by as much at a client on the same machine.
	pacedMsgs = 128
	// pacedShare is the part of the processors that replays get: one in so many.
	pacedShare = 4
)

// hurried reports whether somebody waits for publishes.
func (p *pacer) hurried(now time.Time) bool {
	return now.UnixNano()-p.published.Load() < int64(hurry)
}

// rest has a consumer that sent old messages, in a turn that began at began, go on
// when replays may.
func (p *pacer) rest(c *Consumer, began time.Time) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(now.Sub(began) * pacedShare / time.Duration(runtime.GOMAXPROCS(0)))
	p.line = append(p.line, paced{c, p.free})
	if len(p.line) == 1 {
		p.arm(now)
	}
}

// arm sets the clock to the head of the line. Under mu.
func (p *pacer) arm(now time.Time) {
	d := p.line[0].at.Sub(now)
	if p.clock == nil {
		p.clock = time.AfterFunc(d, p.run)
		return
	}
	p.clock.Reset(d)
}

// run lets those go on whose time has come: all, if nobody is in a hurry.
func (p *pacer) run() {
	now := time.Now()
	p.mu.Lock()
	n := 0
	for n < len(p.line) && (!p.line[n].at.After(now) || !p.hurried(now)) {
		n++
	}
	due := make([]*Consumer, n)
	for i := range due {
		due[i] = p.line[i].c
	}
	left := copy(p.line, p.line[n:])
	clear(p.line[left:])
	if p.line = p.line[:left]; left > 0 {
		p.arm(now)
	} else {
		p.line = nil
	}
	p.mu.Unlock()
	for _, c := range due {
		c.finish(true)
	}
}
