package jetstream

import (
	"time"

	"github.com/natsd/natsd/msgstore"
)

// recountSlice bounds how long the stream's turn counts before publishes get a
// chance: a purge under 10,000 consumers takes several slices, and so does a
// filter that matches some of many messages. recountScan is how many messages are
// looked at between two looks at the clock.
const (
	recountSlice = 2 * time.Millisecond // Engine.countSlice
	recountScan  = 4096
)

// purged says that many messages are gone that were not given to removed one by
// one. In the stream's turn, when nothing is in flight. A consumer drops what is
// gone before it does anything else; the messages that it still has to deliver
// are counted anew in slices, and at once for those who ask.
func (cs *consumerSet) purged() {
	for _, c := range cs.list() {
		c.purged.Store(true)
	}
	cs.lost()
}

// lost is purged for messages that limits or their age took away, which count as
// terminated.
func (cs *consumerSet) lost() {
	cs.shrunk.Store(false)
	running := len(cs.recount) > 0
	cs.recount = cs.list()
	for _, c := range cs.recount {
		c.stale.Store(true)
		c.lost.Store(true)
	}
	if !running {
		cs.recountSome()
	}
}

// recountSome is a slice of what follows a purge. As purged.
func (cs *consumerSet) recountSome() {
	for began := time.Now(); len(cs.recount) > 0; {
		c := cs.recount[0]
		if c.stale.Load() {
			c.refresh()
			if c.counting.Load() != 0 {
				break // the next slice goes on with it
			}
		}
		cs.recount[0] = nil
		cs.recount = cs.recount[1:]
		if time.Since(began) >= cs.stream.engine.countSlice {
			break
		}
	}
	if len(cs.recount) == 0 {
		cs.recount = nil
		return
	}
	cs.stream.exclusivelyLater(cs.recountSome, nil)
}

// refresh counts anew after a purge, for a slice. As purged.
func (c *Consumer) refresh() {
	c.state.Lock()
	defer c.state.Unlock()
	c.settleEvents()
	if c.counting.Load() != 0 && !c.lost.Load() {
		c.count()
		return
	}
	c.settlePurge()
	c.floor.Store(c.m.Done())
	c.recount()
}

// fresh waits until the count is exact: after a purge, and for a new filter. Not to
// be called in the stream's turn.
func (c *Consumer) fresh() {
	if cs := c.set; cs.shrunk.Load() {
		cs.stream.exclusively(func() {
			if cs.shrunk.Load() {
				cs.lost()
			}
		})
	}
	for c.stale.Load() || c.counting.Load() != 0 {
		if next := c.counting.Load(); next != 0 {
			// The block that is next is brought into memory here, not in the turn.
			var b msgstore.Batch
			_, _ = c.stream.store.LoadBatch(nil, next, msgstore.BatchLimit{Msgs: 1}, &b)
		}
		ok := c.stream.exclusively(func() {
			if c.stale.Load() || c.counting.Load() != 0 {
				c.refresh()
			}
		})
		if !ok {
			return
		}
	}
}

// settlePurge drops what is pending and is gone. Under state.
func (c *Consumer) settlePurge() {
	if !c.lost.Swap(false) || c.gone {
		return
	}
	purged := c.purged.Swap(false) // it was set before
	store := c.stream.store
	if purged {
		var s msgstore.State
		store.FastState(&s)
		c.m.Purged(s.FirstSeq)
	}
	for _, seq := range c.m.Pending(nil) {
		switch {
		case store.Has(seq):
		case purged:
			c.m.Gone(seq)
		default:
			c.m.Removed(seq, false)
		}
	}
}

// recount begins to count the pending messages anew, with a slice of it. Only in
// the stream's turn, when nothing is in flight, and under state, after
// settleEvents: so that no message is counted twice or not at all. Until the count
// is complete the consumer takes and delivers nothing; whoever has called recount
// sees to it that [Consumer.fresh] or the next slice goes on.
func (c *Consumer) recount() {
	c.in.mu.Lock()
	c.in.held = true
	c.in.mu.Unlock()
	c.counted = 0
	c.counting.Store(max(c.m.CountFrom(), 1))
	c.count()
}

// count is a slice of a count that was begun. As recount.
func (c *Consumer) count() {
	store := c.stream.store
	next := c.counting.Load()
	for began := time.Now(); next != 0 && next <= store.Positions().Visible; {
		n, to, err := store.CountPending(next, c.filter, recountScan)
		if err != nil {
			c.stream.engine.event(ErrorEvent{"counting for consumer '" + c.path() + "': " + err.Error()})
			break
		}
		c.counted += n
		if next = to; time.Since(began) >= c.stream.engine.countSlice && next <= store.Positions().Visible {
			c.counting.Store(next)
			return
		}
	}
	c.counting.Store(0)
	c.m.SetPending(c.counted, store.Positions().Visible)
	c.stale.Store(false)
	c.in.mu.Lock()
	c.in.held = false
	if c.in.ring = c.in.ring || c.m.Busy(); c.in.ring || len(c.in.items)+len(c.in.events) > 0 {
		c.start()
	}
	c.in.mu.Unlock()
}

// account keeps account of a stream event while the messages are being counted. It
// reports false if the machine is to hear of it as always.
func (c *Consumer) account(e *streamEvent) bool {
	next := c.counting.Load()
	switch {
	case next == 0 || e.n == 0 && e.seq < c.m.CountFrom():
		return false
	case e.n == 0 && e.seq < next && e.matches && c.counted > 0:
		c.counted--
	}
	return true // what is stored, or removed, from next on is seen by the count
}
