package jetstream

import (
	"time"

	"github.com/natsd/natsd/msgstore"
)

// recountSlice bounds how long the stream's turn counts before publishes get a
// chance: a purge under 10,000 consumers takes several slices.
const recountSlice = 8 * time.Millisecond

// purged says that many messages are gone that were not given to removed one by
// one. In the stream's turn, when nothing is in flight. A consumer drops what is
// gone before it does anything else; the messages that it still has to deliver
// are counted anew in slices, and at once for those who ask.
func (cs *consumerSet) purged() {
	cs.shrunk.Store(false)
	running := len(cs.recount) > 0
	cs.recount = cs.list()
	for _, c := range cs.recount {
		c.stale.Store(true)
		c.purged.Store(true)
	}
	if !running {
		cs.recountSome()
	}
}

// recountSome is a slice of what follows a purge. As purged.
func (cs *consumerSet) recountSome() {
	for began := time.Now(); len(cs.recount) > 0 && time.Since(began) < recountSlice; {
		c := cs.recount[0]
		cs.recount[0] = nil
		cs.recount = cs.recount[1:]
		if c.stale.Load() {
			c.refresh()
		}
	}
	if len(cs.recount) == 0 {
		cs.recount = nil
		return
	}
	cs.stream.exclusivelyLater(cs.recountSome, nil)
}

// refresh counts anew after a purge. As purged.
func (c *Consumer) refresh() {
	c.state.Lock()
	c.settleEvents()
	c.settlePurge()
	c.recount()
	c.stale.Store(false)
	c.floor.Store(c.m.AckFloor().Stream)
	c.state.Unlock()
	c.wake()
}

// fresh waits until the count is exact after a purge. Not to be called in the
// stream's turn.
func (c *Consumer) fresh() {
	if c.stale.Load() {
		c.stream.exclusively(func() {
			if c.stale.Load() {
				c.refresh()
			}
		})
	}
}

// settlePurge drops what is pending and was purged. Under state.
func (c *Consumer) settlePurge() {
	if !c.purged.Swap(false) || c.gone {
		return
	}
	store := c.stream.store
	var s msgstore.State
	store.FastState(&s)
	c.m.Purged(s.FirstSeq)
	for _, seq := range c.m.Pending(nil) {
		if !store.Has(seq) {
			c.m.Gone(seq)
		}
	}
}

// recount counts the pending messages anew. Only in the stream's turn, when
// nothing is in flight, and under state, after settleEvents: so that no message
// is counted twice or not at all.
func (c *Consumer) recount() {
	n, last, err := c.stream.store.NumPendingMulti(c.m.CountFrom(), c.filter, false)
	if err != nil {
		c.stream.engine.event(ErrorEvent{"counting for consumer '" + c.path() + "': " + err.Error()})
		return
	}
	c.m.SetPending(n, last)
}
