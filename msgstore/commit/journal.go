package commit

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// journal is the commit journal of a store directory. The fields are guarded by
// Committer.mu, except that the segment cur, and taken, belong to the worker of a
// journal round (busy), and full[0] to the one that prepares segments (preparing).
type journal struct {
	dir       string
	usable    bool // neither switched off nor failed
	wanted    bool // something was found that belongs in the journal
	busy      bool
	preparing bool
	check     bool // a segment may have become free
	alone     int  // small appends that were synced in their own file
	cramped   bool // the disk had no room for another segment

	cur     *segment
	free    []*segment // empty and durable
	full    []*segment // oldest first
	nextSeq uint64
	number  uint64 // of the next frame
	space   int64  // left in cur
	files   int    // number of segment files
	made    int    // number of names used for them

	taken []*File // what a round works on
}

// ready reports whether there is room for a round. Called with c.mu held.
func (j *journal) ready(c *Committer) bool {
	return j.usable && (len(j.free) > 0 || j.space >= c.opts.SegmentSize/2)
}

// wantsSegment reports whether a segment should be made ready in the background:
// the first, a spare one while the journal is used, or an old one for another use.
// Called with c.mu held.
func (j *journal) wantsSegment(c *Committer) bool {
	if !j.usable || j.preparing {
		return false
	}
	if len(j.full) > 0 && j.check {
		return true
	}
	if j.alone >= c.opts.SyncsAlone {
		j.cramped = false // time to look again
	}
	if j.cramped {
		return false
	}
	if c.small.len() >= c.opts.JournalFiles || j.alone >= c.opts.SyncsAlone {
		j.wanted = true
	}
	used := j.cur == nil || j.space < c.opts.SegmentSize*3/4 // by then a spare one is worth its space
	return j.wanted && used && len(j.free) == 0 && j.files < c.opts.Segments
}

// unblock is called when a segment of the journal may have become free.
func (c *Committer) unblock() {
	c.mu.Lock()
	c.journal.check = true
	c.call()
	c.mu.Unlock()
}

// doSegment makes a segment ready for use.
func (c *Committer) doSegment() {
	j := &c.journal
	c.mu.Lock()
	var old *segment
	if len(j.full) > 0 && j.check {
		old = j.full[0]
	}
	j.check = false
	c.mu.Unlock()
	var s *segment
	var err error
	switch {
	case old == nil:
		s, err = c.newSegment()
	case old.settled() || c.opts.Mutations.FreeBeforeSync:
		s, err = old, c.recycle(old)
	}
	switch {
	case err == nil:
	case old == nil:
		c.notMade(err)
	default:
		c.journalFailed(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	j.preparing = false
	c.released.Broadcast()
	if s == nil || err != nil {
		return
	}
	if s == old {
		j.full = append(j.full[:0], j.full[1:]...)
		j.check = true // the next may be free as well
		j.cramped = false
	}
	j.free = append(j.free, s)
}

// journalFailed ends the use of the journal. What it holds is synced to the files,
// and stays for a replay until it is.
func (c *Committer) journalFailed(err error) {
	c.mu.Lock()
	was := c.journal.usable
	c.journal.usable = false
	c.mu.Unlock()
	if was {
		c.event(JournalFailed{Err: err})
	}
}

// gather takes what the next journal round works on out of line. Called with c.mu
// held.
func (c *Committer) gather(blocks bool) {
	j := &c.journal
	j.busy = true
	j.taken = append(j.taken[:0], c.urgent...)
	j.taken = append(j.taken, c.patient...)
	clear(c.urgent)
	clear(c.patient)
	c.urgent, c.patient = c.urgent[:0], c.patient[:0]
	if blocks {
		for c.small.len() > 0 {
			j.taken = append(j.taken, c.small.pop())
		}
	}
}

// entry is the share of one file in a round.
type entry struct {
	f    *File
	ops  []*Op
	sync bool // the file is synced, too, which the others do not wait for
	end  int64
	err  error
}

// doJournal is a journal round: one frame, one sync, then the plain writes.
func (c *Committer) doJournal() {
	j := &c.journal
	w := c.borrow()
	entries, size := c.takeEntries(w)
	runs := 0
	for i := range entries {
		if entries[i].f.kind == kindRuns {
			runs++
		}
	}
	err := ErrNoJournal
	var took time.Duration
	if len(entries) == 0 {
		// All were taken by others meanwhile.
	} else if s := c.room(size, runs > 0); s != nil {
		start := time.Now()
		frame := s.encode(w, entries, j.number)
		if err = j.write(s, frame); err == nil {
			took = time.Since(start)
			c.event(JournalRound{Files: len(entries) - runs, Runs: runs, Bytes: len(frame), Duration: took})
		} else {
			c.journalFailed(err)
			err = fmt.Errorf("%w: %w", ErrNoJournal, err)
		}
	}
	c.mu.Lock()
	c.letJournalGo()
	c.mu.Unlock()

	for i := range entries {
		if !entries[i].sync {
			c.conclude(&entries[i], w, err, took)
		}
	}
	for i := range entries {
		if entries[i].sync {
			c.conclude(&entries[i], w, err, took)
		}
	}
	c.giveBack(w)
}

// conclude is the rest of a round for one file. err is why the journal does not hold
// the frame, and took how long that lasted.
func (c *Committer) conclude(e *entry, w *workspace, err error, took time.Duration) {
	switch {
	case e.err != nil:
		for _, o := range e.ops {
			o.Err = e.err
		}
		e.f.queue.finish(e.f, e.ops)
	case e.f.kind == kindRuns:
		for _, o := range e.ops {
			o.Err = err
		}
		e.f.queue.finish(e.f, e.ops)
	case err != nil:
		c.plain(e.f, e.ops, w) // as if there had been no journal
	default:
		e.f.syncTime += (took - e.f.syncTime) / 8
		c.writeBack(e, w)
	}
}

// journalFileBytes is the most that one file gets into a round.
func (c *Committer) journalFileBytes() int {
	return int(min(journalFileBytes, c.opts.SegmentSize/8))
}

// takeEntries takes the ops of the round. What does not fit stays in line.
func (c *Committer) takeEntries(w *workspace) (entries []entry, size int) {
	size = frameHeader
	entries = w.entries[:0]
	ops := w.ops[:0]
	for i, f := range c.journal.taken {
		c.journal.taken[i] = nil
		q := f.queue
		q.mu.Lock()
		if (f.state != queued && f.state != waiting) || f.pending.n == 0 {
			q.mu.Unlock()
			continue
		}
		if len(c.journal.taken) == 1 {
			f.gather()
		}
		if err := f.refused(); f.kind == kindBlock && err != nil {
			// In the journal it would stand where something else is appended later.
			entries = append(entries, entry{f: f, ops: f.take(1<<62, nil), err: err})
			q.mu.Unlock()
			continue
		}
		if f.kind == kindBlock && len(f.pending.head.Data) > c.journalFileBytes() {
			f.state = queued
			c.mu.Lock()
			c.single.push(f) // a sync of its own costs less
			c.call()
			c.mu.Unlock()
			q.mu.Unlock()
			continue
		}
		if size > journalRoundBytes || int64(size) > c.opts.SegmentSize/8 {
			f.urgent = true
			f.state = idle
			q.enlist(f)
			c.stand(q)
			q.mu.Unlock()
			continue
		}
		from := len(ops)
		ops = f.take(c.journalFileBytes(), ops)
		bytes, sync := 0, false
		for _, o := range ops[from:] {
			bytes += len(o.Data)
			sync = sync || o.Sync
		}
		q.mu.Unlock()
		entries = append(entries, entry{f: f, ops: ops[from:len(ops):len(ops)], sync: sync})
		size += bytes + 2*len(f.path) + 64 + 16*(len(ops)-from)
	}
	w.ops, w.entries = ops, entries
	return entries, size
}

// room returns the segment that takes a frame of size bytes, or nil if the journal
// cannot take it. With must a segment is made above the usual number, and the journal
// ends if it cannot be made.
func (c *Committer) room(size int, must bool) *segment {
	j := &c.journal
	c.mu.Lock()
	limit := c.opts.SegmentSize - c.forgetReserve()
	if !j.usable || int64(size) > limit-frameAlign {
		c.mu.Unlock()
		return nil
	}
	if j.cur != nil && j.cur.off+int64(size) <= limit {
		defer c.mu.Unlock()
		return j.cur
	}
	if len(j.free) == 0 {
		switch {
		case must || !j.cramped && j.files < c.opts.Segments && !j.preparing:
			c.mu.Unlock()
			s, err := c.newSegment()
			switch {
			case err != nil && must: // what is refused may not be followed by what is kept
				c.journalFailed(err)
				return nil
			case err != nil:
				c.notMade(err)
				return nil
			}
			c.mu.Lock()
			j.free = append(j.free, s)
		case j.cramped && len(j.full) == 0:
			c.useSegment(nil) // the only one there is: it is used again when it is settled
			return nil
		default:
			c.mu.Unlock()
			return nil
		}
	}
	s := j.free[0]
	j.free = append(j.free[:0], j.free[1:]...)
	c.useSegment(s)
	return s
}

// useSegment puts next, or none, in the place of the segment in use, which waits for what
// it holds. Called with c.mu held, which it lets go.
func (c *Committer) useSegment(next *segment) {
	j := &c.journal
	old := j.cur
	j.cur = next
	if next == nil {
		j.space = 0
	}
	if old == nil {
		c.mu.Unlock()
		return
	}
	has := append([]held(nil), old.has...) // recycling may begin at once
	j.full = append(j.full, old)
	c.mu.Unlock()
	c.syncHeld(has)
}

// syncHeld asks for everything that a full segment waits for.
func (c *Committer) syncHeld(has []held) {
	for _, h := range has {
		if r := h.f.runs; r != nil {
			if r.checkpointed.Load() < h.end && r.checkpoint != nil {
				r.checkpoint()
			}
			continue
		}
		q := h.f.queue
		q.mu.Lock()
		if h.f.synced < h.end {
			h.f.wantEnd = h.end
		}
		q.mu.Unlock()
		c.settleLazy(h.f)
	}
	c.unblock()
}

// forgetReserve is the end of each segment that only Forgets are written to, so that
// what frees space on a full disk - the removal of a file or of a stream - does not
// wait for a segment.
func (c *Committer) forgetReserve() int64 {
	return min(64<<10, alignFrame(c.opts.SegmentSize/16))
}

// letJournalGo ends a round. Called with c.mu held.
func (c *Committer) letJournalGo() {
	j := &c.journal
	j.busy = false
	if j.cur != nil {
		j.space = c.opts.SegmentSize - j.cur.off
	}
	c.released.Broadcast()
	c.call()
}

// writeBack writes what the journal holds to the file itself, and completes it. It
// does so even if another file of the queue has failed meanwhile, so that the next
// append goes behind what the journal holds.
func (c *Committer) writeBack(e *entry, w *workspace) {
	f := e.f
	end, tail, err := f.write(e.ops, w)
	if err == nil && e.sync {
		err = f.vf.SyncData()
	}
	if err != nil {
		err = f.broke(err)
	} else {
		q := f.queue
		q.mu.Lock()
		f.end, f.tail, f.journaled = end, tail, end
		if e.sync {
			f.synced = end
		}
		q.mu.Unlock()
	}
	for _, o := range e.ops {
		o.Err = err
	}
	f.queue.finish(f, e.ops)
	c.settleLazy(f)
}

// acquire waits until no worker has the file, and takes it. It reports false if the
// file was dropped. Called with the queue's mu held, which it may let go meanwhile.
func (f *File) acquire() bool {
	for f.state == busy {
		if f.idleWait == nil {
			f.idleWait = make(chan struct{})
		}
		wait := f.idleWait
		f.queue.mu.Unlock()
		<-wait
		f.queue.mu.Lock()
	}
	if f.vf == nil {
		return false
	}
	f.state = busy
	return true
}

// forget voids what the journal holds of a path and below it, when the files of the
// queue there have been synced.
func (c *Committer) forget(q *Queue, name string) error {
	var files []*File
	q.mu.Lock()
	for f := range q.files {
		if f.kind == kindBlock && within(f.path, name) {
			files = append(files, f)
		}
	}
	q.mu.Unlock()
	for _, f := range files {
		if err := c.syncNow(f); err != nil {
			return err
		}
	}
	return c.forgetInJournal(name)
}

// syncNow syncs what a file holds, for a barrier of its queue.
func (c *Committer) syncNow(f *File) error {
	q := f.queue
	q.mu.Lock()
	if !f.acquire() {
		q.mu.Unlock()
		return nil
	}
	err, end := f.failed, f.end
	need := err == nil && f.synced < end
	q.mu.Unlock()
	if need {
		if err = f.vf.SyncData(); err != nil {
			err = f.broke(err)
		} else {
			q.mu.Lock()
			f.synced = max(f.synced, end)
			q.mu.Unlock()
		}
	}
	q.finish(f, nil)
	c.settleLazy(f)
	return err
}

// forgetInJournal makes durable that records so far of a path are void.
func (c *Committer) forgetInJournal(name string) error {
	j := &c.journal
	c.mu.Lock()
	for j.busy {
		c.released.Wait()
	}
	if j.cur == nil && len(j.full) == 0 && len(c.carried) == 0 {
		c.mu.Unlock()
		return nil
	}
	j.busy = true
	c.mu.Unlock()
	err := c.writeForget(name)
	c.mu.Lock()
	c.letJournalGo()
	c.mu.Unlock()
	return err
}

// writeForget is called by the worker that has the journal.
func (c *Committer) writeForget(name string) error {
	j := &c.journal
	if err := c.carry(func(p string) bool { return !within(p, name) }); err != nil {
		return err
	}
	if j.cur == nil && len(j.full) == 0 {
		return nil
	}
	b := appendForget(make([]byte, frameHeader), name)
	c.mu.Lock()
	s := j.cur
	if !j.usable || s == nil || s.off+int64(len(b)) > c.opts.SegmentSize {
		s = nil
	}
	c.mu.Unlock()
	if s == nil {
		s = c.room(len(b), true)
	}
	if s == nil {
		return c.removeSegments()
	}
	sealFrame(b, s.seq, j.number, s.off)
	if err := j.write(s, b); err != nil {
		c.journalFailed(err)
		return c.removeSegments()
	}
	return nil
}

// removeSegments removes the journal's files, oldest first, if nothing depends on
// them. Called by the worker that has the journal, after it failed, or at the end.
func (c *Committer) removeSegments() error {
	j := &c.journal
	c.mu.Lock()
	for j.preparing {
		c.released.Wait()
	}
	all := append([]*segment(nil), j.full...)
	if j.cur != nil {
		all = append(all, j.cur)
	}
	all = append(all, j.free...)
	c.mu.Unlock()
	for _, s := range all {
		if err := c.settle(s); err != nil {
			return err
		}
		s.file.Close()
		if err := c.opts.FS.Remove(s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := c.opts.FS.SyncDir(j.dir); err != nil {
			return err
		}
	}
	c.mu.Lock()
	j.full, j.cur, j.free, j.space, j.files = nil, nil, nil, 0, 0
	c.mu.Unlock()
	return nil
}

// settle syncs the files that a segment holds records of, so that nothing depends on it.
func (c *Committer) settle(s *segment) error {
	for _, h := range s.has {
		if h.f.runs == nil {
			if err := c.syncNow(h.f); err != nil {
				return fmt.Errorf("%w: %w", errForget, err)
			}
		}
	}
	if !s.settled() {
		return errForget
	}
	return nil
}

// within reports whether p is the path dir or below it.
func within(p, dir string) bool {
	return len(p) >= len(dir) && p[:len(dir)] == dir && (len(p) == len(dir) || p[len(dir)] == '/')
}

var errForget = errors.New("commit: the journal failed, and holds content that is not durable elsewhere")
