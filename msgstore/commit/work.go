package commit

import (
	"runtime"
	"time"
)

// stand puts the files that a queue has ready in line, and starts a worker if one
// is needed. Called with the queue's mu held.
func (c *Committer) stand(q *Queue) {
	if len(q.ready) == 0 {
		return
	}
	c.mu.Lock()
	c.lineUp(q)
	c.call()
	c.mu.Unlock()
}

// standOrLend is stand for a caller that offers to work. It reports whether the
// caller is now a worker, and must call workOnce.
func (c *Committer) standOrLend(q *Queue) bool {
	if len(q.ready) == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lineUp(q)
	if c.foreground() == 0 && c.workers-c.asides < c.opts.SyncThreads && c.more() {
		c.workers++
		return true
	}
	c.call()
	return false
}

// foreground is the number of workers that do what somebody waits for. Called with mu
// held.
func (c *Committer) foreground() int {
	n := c.workers - c.asides - c.lazies
	if c.journal.preparing {
		n--
	}
	return n
}

// lineUp is called with the queue's mu and c.mu held.
func (c *Committer) lineUp(q *Queue) {
	for i, f := range q.ready {
		q.ready[i] = nil
		switch {
		case f.kind == kindRuns && f.state == waiting:
			c.patient = append(c.patient, f)
			c.startTimer()
		case f.kind == kindRuns:
			c.urgent = append(c.urgent, f)
		case f.kind == kindBlock && f.mode == Always && f.pending.bytes <= c.journalFileBytes():
			c.small.push(f)
		default:
			c.single.push(f)
		}
	}
	q.ready = q.ready[:0]
}

// startTimer sees to it that patient run logs do not wait longer than LazyDelay.
func (c *Committer) startTimer() {
	if c.timing || c.closing {
		return
	}
	c.timing = true
	expired := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.timing = false
		c.urgent = append(c.urgent, c.patient...)
		clear(c.patient)
		c.patient = c.patient[:0]
		c.call()
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(LazyDelay, expired)
	} else {
		c.timer.Reset(LazyDelay)
	}
}

// call starts a worker if there is work for one more. Called with mu held.
func (c *Committer) call() {
	if c.workers-c.asides < c.opts.SyncThreads && c.more() {
		c.workers++
		go c.work()
	}
}

// aside calls what may wait for something that workers do. The worker that is in it
// does not count.
func (c *Committer) aside(fn func()) {
	c.mu.Lock()
	c.asides++
	c.call()
	c.mu.Unlock()
	fn()
	c.mu.Lock()
	c.asides--
	c.mu.Unlock()
}

// deliverRest starts a worker that begins with what q has to deliver. Called with the
// queue's mu held.
func (c *Committer) deliverRest(q *Queue) {
	c.mu.Lock()
	c.workers++
	c.mu.Unlock()
	go func() {
		q.mu.Lock()
		q.deliverAll()
		q.mu.Unlock()
		c.work()
	}()
}

// work is a worker: it works until there is nothing to do.
func (c *Committer) work() {
	for c.workJob() {
	}
}

// workOnce does one job in a caller's goroutine, and leaves the rest to others.
func (c *Committer) workOnce() {
	if !c.workJob() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.more() {
		go c.work()
		return
	}
	c.retire()
}

// retire ends a worker. Called with mu held.
func (c *Committer) retire() {
	c.workers--
	if c.workers == 0 {
		c.idle.Broadcast()
	}
}

// workJob takes one job and does it. If there is none the worker retires.
func (c *Committer) workJob() bool {
	c.mu.Lock()
	var j job
	if c.workers-c.asides <= c.opts.SyncThreads { // else others do it
		j = c.next()
	}
	if j.kind == jobNone {
		c.retire()
		c.mu.Unlock()
		return false
	}
	c.call() // the next worker, if there is more
	c.mu.Unlock()
	switch j.kind {
	case jobFile:
		c.doFile(j.file)
	case jobJournal:
		c.doJournal()
	case jobSegment:
		c.doSegment()
	case jobLazy:
		c.doLazy(j.file)
	}
	return true
}

// more reports whether next would find a job. Called with mu held.
func (c *Committer) more() bool {
	switch {
	case c.single.len() > 0:
		return true
	case c.small.len() > 0 && !(c.journal.busy && c.journal.ready(c)):
		return true
	case len(c.urgent) > 0 && !c.journal.busy:
		return true
	case c.journal.wantsSegment(c):
		return true
	default:
		return c.lazy.len() > 0 && c.lazies < lazyThreads
	}
}

type jobKind uint8

const (
	jobNone    jobKind = iota
	jobFile            // the round of one file, or a queue's barrier
	jobJournal         // a journal round
	jobSegment         // make a segment of the journal ready for use
	jobLazy            // sync a block in the background
)

type job struct {
	kind jobKind
	file *File
}

// next picks a job and takes what it works on out of line. Called with mu held.
func (c *Committer) next() job {
	j := &c.journal
	ready := j.ready(c)
	if !j.busy && (len(c.urgent) > 0 || ready && c.small.len() > 0) {
		c.gather(ready)
		return job{kind: jobJournal}
	}
	if j.wantsSegment(c) {
		j.preparing = true
		return job{kind: jobSegment}
	}
	if small := c.small.len() > 0 && !ready; small || c.single.len() > 0 {
		c.turn = !c.turn
		l := &c.small
		if !small || (c.turn && c.single.len() > 0) {
			l = &c.single
		} else {
			j.alone++
		}
		return job{jobFile, l.pop()}
	}
	if c.lazy.len() > 0 && c.lazies < lazyThreads {
		c.lazies++
		return job{jobLazy, c.lazy.pop()}
	}
	return job{}
}

// doFile is the round of one file, or of a queue's barrier.
func (c *Committer) doFile(f *File) {
	q := f.queue
	q.mu.Lock()
	if f.state != queued || f.pending.n == 0 {
		q.mu.Unlock() // a background sync has it, and puts it in line again
		return
	}
	f.gather()
	w := c.borrow()
	w.ops = f.take(roundFileBytes, w.ops[:0])
	q.mu.Unlock()
	if f.kind == kindDo {
		c.barrier(f, w.ops)
	} else {
		c.plain(f, w.ops, w)
	}
	c.giveBack(w)
}

// gather waits a moment for those who were told of the last round and are about to
// submit again: without it they split into groups that wait for each other's syncs.
// It goes on while they come, which costs those who are there less than another sync.
// Called with the queue's mu held, which it lets go meanwhile.
func (f *File) gather() {
	if f.kind != kindBlock || f.mode != Always || f.pending.n >= f.crowd {
		return
	}
	if f.alone > 0 {
		f.alone--
		return
	}
	f.state = busy // nobody else takes it
	q := f.queue
	first, came := f.pending.n, f.pending.n
	now := time.Now()
	lull := min(f.syncTime/8, gatherLimit/4)
	for last, end := now, now.Add(min(f.syncTime/2, gatherLimit)); f.pending.n < f.crowd; {
		q.mu.Unlock()
		runtime.Gosched()
		now = time.Now()
		q.mu.Lock()
		if f.pending.n > came {
			came, last = f.pending.n, now
		}
		if now.After(end) || now.Sub(last) > lull {
			break
		}
	}
	if came > first {
		f.vain = 0
		return
	}
	f.vain = max(1, min(2*f.vain, gatherPause))
	f.alone = f.vain
}

// barrier performs a Do or Forget.
func (c *Committer) barrier(f *File, ops []*Op) {
	o := ops[0]
	var err error
	if o.File != nil {
		if err = o.File.refusal(); err == nil && o.Sync {
			err = c.syncNow(o.File)
		}
	}
	if err == nil && o.Forget != "" {
		err = c.forget(f.queue, o.Forget)
	}
	if err == nil && o.Do != nil {
		err = o.Do()
		if err != nil && o.File != nil {
			o.File.fail(err)
		}
	}
	o.Err = err
	f.queue.finish(f, ops)
}

// doLazy syncs a block that a full segment of the journal holds.
func (c *Committer) doLazy(f *File) {
	q := f.queue
	q.mu.Lock()
	mine := f.synced < f.wantEnd && f.state != busy && f.failed == nil && f.vf != nil
	if mine {
		f.state = busy
	}
	vf, end := f.vf, f.end
	q.mu.Unlock()
	if mine {
		start := time.Now()
		if err := vf.SyncData(); err != nil {
			f.broke(err)
		} else {
			c.synced(f, 0, 0, time.Since(start))
			q.mu.Lock()
			f.synced = max(f.synced, end)
			q.mu.Unlock()
		}
		q.finish(f, nil)
	}
	c.mu.Lock()
	c.lazies--
	c.call()
	c.mu.Unlock()
	if mine {
		c.settleLazy(f)
	}
}

// settleLazy is called when a worker has let a file go. If a segment of the journal
// waits for a sync of the file that has not happened, the file stands in line for
// it (again).
func (c *Committer) settleLazy(f *File) {
	q := f.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if f.wantEnd == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.synced >= f.wantEnd || f.vf == nil:
		f.wantEnd = 0
		c.journal.check = true
	case f.state != busy && f.failed == nil:
		c.lazy.push(f)
	}
	c.call()
}

// workspace is what a worker needs for a round.
type workspace struct {
	ops     []*Op
	entries []entry  // of a journal round
	buf     []byte   // small records of a round, joined
	pieces  [][]byte // that one call writes
}

func (c *Committer) borrow() *workspace { return c.buffers.Get().(*workspace) }

func (c *Committer) giveBack(w *workspace) {
	clear(w.ops)
	clear(w.entries)
	w.ops, w.entries = w.ops[:0], w.entries[:0]
	if cap(w.buf) <= keepBuf {
		c.buffers.Put(w)
	}
}
