package jetstream

import (
	"sync"
	"time"

	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/subjecttree"
)

// backlog finds old messages for the filtered consumers of a stream that have
// few of them: it reads the stream once for all who seek, and tells each one
// the sequences of its messages. Else 10,000 consumers with a subject each would
// read the stream 10,000 times. One goroutine reads, while anybody seeks.
//
// Lock order: a consumer's state, then mu.
type backlog struct {
	set *consumerSet

	mu      sync.Mutex
	running bool
	pos     uint64                      // of the reader
	tree    subjecttree.List[*seeker]   // those whom the reader serves
	served  map[*seeker]struct{}        // the same
	waiting []*seeker                   // those who begin behind the reader
	hot     []*seeker                   // served ones with something found
	match   subjecttree.Result[*seeker] // scratch
}

// seeker is a consumer that seeks. Fields are guarded by backlog.mu.
type seeker struct {
	c       *Consumer
	filters []string
	from    uint64   // found has all matches from here up to the reader
	found   []uint64 // ascending
	left    bool
}

const (
	// A consumer seeks if the stream's consumers have that many filters at
	// least, and one in so many messages matches its own.
	seekFilters = 16
	seekSparse  = 32
	// ownScan is how many messages a consumer looks at itself before it seeks.
	ownScan = 512
	// maxFound bounds what is found for a consumer before it is told.
	maxFound = 256
	// tellEvery is how often seekers are told at most: a few messages at a time
	// cost a consumer less than one.
	tellEvery = 50 * time.Millisecond
	// backlogMsgs and backlogBytes bound what the reader loads at a time.
	backlogMsgs, backlogBytes = 1024, 1 << 20
)

// sparse reports whether a consumer that wants the messages from a sequence on
// shall seek. Under its state.
func (c *Consumer) sparse(from, last uint64) bool {
	return c.filter != nil && c.set.manyFilters.Load() && last > from+ownScan && c.m.Left() < (last-from)/seekSparse
}

// seek has the matches from a sequence on found. Under state.
func (c *Consumer) seek(from uint64) {
	s := &seeker{c: c, filters: c.config.Load().Filters(), from: from}
	c.seeking = s
	b := &c.set.backlog
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served == nil {
		b.served = make(map[*seeker]struct{})
	}
	if b.running && from >= b.pos {
		b.serve(s)
	} else {
		b.waiting = append(b.waiting, s)
	}
	if !b.running {
		b.running = true
		go b.run()
	}
}

// stopSeeking takes back what seek asked for. Under state.
func (c *Consumer) stopSeeking() {
	if s := c.seeking; s != nil {
		c.seeking = nil
		b := &c.set.backlog
		b.mu.Lock()
		b.leave(s)
		b.mu.Unlock()
	}
}

// serve makes the reader look for a seeker's messages. Under mu.
func (b *backlog) serve(s *seeker) {
	b.served[s] = struct{}{}
	for _, f := range s.filters {
		_ = b.tree.Insert(f, "", s) // validated
	}
}

// leave forgets a seeker. Under mu.
func (b *backlog) leave(s *seeker) {
	if s.left {
		return
	}
	s.left = true
	if _, ok := b.served[s]; ok {
		delete(b.served, s)
		for _, f := range s.filters {
			_ = b.tree.Remove(f, "", s)
		}
	}
}

// place says where to read on; false: nobody seeks. When more seekers wait behind
// the reader than it serves it starts again, so that consumers that begin
// together are served together. Under mu.
func (b *backlog) place() bool {
	n := 0
	for _, s := range b.waiting {
		if !s.left {
			b.waiting[n] = s
			n++
		}
	}
	clear(b.waiting[n:])
	b.waiting = b.waiting[:n]
	if n > len(b.served) {
		b.pos = b.waiting[0].from
		for _, s := range b.waiting {
			b.pos = min(b.pos, s.from)
			b.serve(s)
		}
		b.waiting = nil
	}
	if len(b.served) == 0 {
		b.running = false
		b.hot, b.waiting = nil, nil
	}
	return b.running
}

// run reads until nobody seeks.
func (b *backlog) run() {
	st := b.set.stream
	var batch msgstore.Batch
	told := time.Now()
	for {
		last := b.set.told.Load()
		b.mu.Lock()
		if !b.place() {
			b.mu.Unlock()
			return
		}
		pos := b.pos
		b.mu.Unlock()

		batch.Reset()
		next, err := st.store.LoadBatch(nil, pos, msgstore.BatchLimit{Msgs: backlogMsgs, Bytes: backlogBytes, Through: last}, &batch)
		switch {
		case isDamage(err): // the store has reported it; go on behind it
			next++
		case err != nil:
			b.abandon()
			return
		}
		st.store.Notified() // of what is missing here because it was removed

		b.mu.Lock()
		full := b.find(batch.Msgs)
		b.pos = next
		b.mu.Unlock()
		if now := time.Now(); full || next > last || now.Sub(told) >= tellEvery {
			b.tell(next, next > last)
			told = now
		}
	}
}

// find notes the messages that seekers want, and reports whether somebody should
// be told at once. Under mu.
func (b *backlog) find(msgs []msgstore.StoredMsg) (full bool) {
	for i := range msgs {
		seq := msgs[i].Seq
		b.tree.MatchInto(&b.match, asBytes(msgs[i].Subject))
		for _, s := range b.match.Plain {
			n := len(s.found)
			if seq < s.from || n > 0 && s.found[n-1] == seq { // several filters may match
				continue
			}
			if n == 0 {
				b.hot = append(b.hot, s)
			}
			s.found = append(s.found, seq)
			full = full || len(s.found) >= maxFound
		}
	}
	return full
}

// tell hands over what was found before next. At the end of the stream everybody
// is told and goes.
func (b *backlog) tell(next uint64, end bool) {
	b.mu.Lock()
	hot := b.hot
	if end {
		for s := range b.served {
			if len(s.found) == 0 {
				hot = append(hot, s)
			}
		}
	}
	b.hot = nil
	b.mu.Unlock()
	for _, s := range hot {
		stays := s.c.told(s, next-1, end)
		b.mu.Lock()
		s.found, s.from = s.found[:0], max(s.from, next)
		if !stays {
			b.leave(s)
		}
		b.mu.Unlock()
	}
	clear(hot)
	b.mu.Lock()
	if b.hot == nil {
		b.hot = hot[:0]
	}
	b.mu.Unlock()
}

// abandon leaves the seekers to themselves when the stream cannot be read: they
// go on with the next thing that happens.
func (b *backlog) abandon() {
	b.mu.Lock()
	all := b.waiting
	for s := range b.served {
		all = append(all, s)
	}
	for _, s := range all {
		b.leave(s)
	}
	b.running = false
	b.hot, b.waiting = nil, nil
	b.mu.Unlock()
	for _, s := range all {
		s.c.state.Lock()
		if s.c.seeking == s {
			s.c.seeking = nil
		}
		s.c.state.Unlock()
	}
}

// told takes what was found up to a sequence, the end of the stream perhaps. It
// reports whether the consumer seeks on.
func (c *Consumer) told(s *seeker, through uint64, end bool) bool {
	c.state.Lock()
	defer c.state.Unlock()
	if c.seeking != s || c.gone {
		return false
	}
	c.settleEvents()
	if !c.m.Found(s.found, through) || !c.m.Busy() || end {
		c.seeking = nil
	}
	c.wake()
	return c.seeking != nil
}
