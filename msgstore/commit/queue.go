package commit

import (
	"sync"
)

// Op is one thing to be made durable. Exactly one of these is meant:
//
//   - File and Data: append Data to File. Sync may be set too.
//   - File and Sync: make everything that was appended to File before durable.
//   - Runs and Data: add a run to the log of a consumer. Lazy runs may wait for
//     others, up to LazyDelay.
//   - Do: call a function that does what needs a sync of its own: create a file and
//     sync its directory, replace a state file. It is called when all ops before it
//     in the queue are complete, and the ops behind it are begun when it has
//     returned. If File is set too, Do is not called once the file or its queue has
//     failed, and its error counts as a failure of the file; with Sync the file is
//     synced before: so a store begins a new block.
//   - Forget: what the journal holds of the paths at and below Forget is void from
//     here on. Required before a file changes in another way than by appending
//     (truncation, rewriting) and before its name is used again (a stream that was
//     removed and is created anew). Files of the queue below Forget are synced first,
//     so nothing is lost. Ordered like Do; a Do in the same op is called afterwards.
//
// The owner may use an Op again after its completion.
type Op struct {
	File   *File
	Runs   *RunLog
	Data   []byte // owned by the committer until completion; not changed
	Sync   bool
	Lazy   bool
	Do     func() error
	Forget string

	// Err is the result, set before completion.
	Err error

	done   bool
	wait   chan struct{} // of Perform
	next   *Op           // in the queue
	nextIn *Op           // in the file's pending ops, or the held ones
}

func (o *Op) barrier() bool { return o.Do != nil || o.Forget != "" }

func (o *Op) target() *File {
	switch {
	case o.barrier():
		return nil
	case o.Runs != nil:
		return &o.Runs.f
	default:
		return o.File
	}
}

// opList is a list of ops linked by nextIn.
type opList struct {
	head, tail *Op
	n          int
	bytes      int
}

func (l *opList) push(o *Op) {
	o.nextIn = nil
	if l.tail == nil {
		l.head = o
	} else {
		l.tail.nextIn = o
	}
	l.tail = o
	l.n++
	l.bytes += len(o.Data)
}

func (l *opList) pop() *Op {
	o := l.head
	l.head = o.nextIn
	if l.head == nil {
		l.tail = nil
	}
	o.nextIn = nil
	l.n--
	l.bytes -= len(o.Data)
	return o
}

// Queue is the line of one store: its ops complete in the order of submission.
//
// Lock order: an owner's lock, then Queue.mu, then Committer.mu. Callbacks are made
// without any of them.
type Queue struct {
	c         *Committer
	completed func([]*Op)
	delivered func() // may be nil

	mu          sync.Mutex
	first, last *Op    // all ops that are not complete, in order
	held        opList // ops behind a barrier, not begun
	begun       int    // ops that were handed to files and are not done
	inBarrier   bool   // the op that was begun is a barrier
	ready       []*File
	bytes       int   // Data of all ops that are not complete
	err         error // why appends are refused from now on
	broken      error // what the first op that failed was completed with
	delivering  bool
	batch       []*Op // what deliver works on, and
	waited      []chan struct{}
	doer        File // stands in line for the queue's barriers
	files       map[*File]struct{}
}

// NewQueue makes the queue of a store. completed is called with the ops that are
// complete, in order, one call at a time, without locks of this package; the slice
// is valid during the call. It may be called from within [Queue.Run]. It may submit
// further ops, but must not call [Queue.Perform].
func (c *Committer) NewQueue(completed func(done []*Op)) *Queue {
	q := &Queue{c: c, completed: completed, files: map[*File]struct{}{}}
	q.doer = File{queue: q, kind: kindDo}
	return q
}

// OnDelivered sets what is called behind the completed callback, perhaps by several
// goroutines at a time. Other than that one, it may wait for what the queue does: for
// a lock, say, whose holder is in [Queue.Perform]. To be called before the first op is
// submitted.
func (q *Queue) OnDelivered(fn func()) { q.delivered = fn }

// Submit puts an op in the queue and does no I/O, so it may be called with the
// owner's lock held. The op is begun at the next [Queue.Start] or [Queue.Run], at
// the latest.
func (q *Queue) Submit(o *Op) {
	o.Err, o.done, o.next = nil, false, nil
	q.mu.Lock()
	q.submit(o)
	q.mu.Unlock()
}

func (q *Queue) submit(o *Op) {
	if q.last == nil {
		q.first = o
	} else {
		q.last.next = o
	}
	q.last = o
	q.bytes += len(o.Data)
	if o.Runs != nil && !o.barrier() {
		o.Runs.submitted++
	}
	if q.held.head != nil || q.inBarrier || (o.barrier() && q.begun > 0) {
		if q.held.head == nil {
			q.hurry()
		}
		q.held.push(o)
		return
	}
	q.begin(o)
}

// begin hands an op to its file. Called with mu held.
func (q *Queue) begin(o *Op) {
	q.begun++
	f := o.target()
	if f == nil {
		f = &q.doer
		q.inBarrier = true
	}
	f.pending.push(o)
	if f.kind == kindRuns && !o.Lazy {
		f.urgent = true
	}
	q.enlist(f)
}

// enlist lets a file with pending ops stand in line, if it does not yet and is not in
// flight. Called with mu held; Committer.stand passes the files on.
func (q *Queue) enlist(f *File) {
	switch {
	case f.state == idle && f.kind == kindRuns && !f.urgent:
		f.state = waiting
	case f.state == idle, f.state == waiting && f.urgent:
		f.state = queued
	default:
		return
	}
	q.ready = append(q.ready, f)
}

// hurry makes lazy runs urgent, since something waits behind them.
func (q *Queue) hurry() {
	for f := range q.files {
		if f.kind == kindRuns && f.pending.n > 0 && !f.urgent {
			f.urgent = true
			q.enlist(f)
		}
	}
}

// release begins held ops when what they waited for is done. Called with mu held.
func (q *Queue) release() {
	for q.held.head != nil && !q.inBarrier {
		if q.held.head.barrier() && q.begun > 0 {
			q.hurry()
			return
		}
		q.begin(q.held.pop())
	}
}

// Start lets workers begin what was submitted, and returns at once.
func (q *Queue) Start() {
	q.mu.Lock()
	q.c.stand(q)
	q.mu.Unlock()
}

// Run is Start, except that the calling goroutine does the work itself if nothing
// else is in flight: the completed callback may be called before Run returns. The
// caller must hold no lock that the callback takes.
func (q *Queue) Run() {
	q.mu.Lock()
	lent := q.c.standOrLend(q)
	q.mu.Unlock()
	if lent {
		q.c.workOnce()
	}
}

// Perform submits an op, waits for its completion and returns its error. The op is
// not given to the completed callback. It must not be called from that callback,
// nor with a lock held that the callback takes.
func (q *Queue) Perform(o *Op) error {
	o.wait = make(chan struct{})
	q.Submit(o)
	q.Start() // the caller may hold locks that the callbacks of other queues take
	<-o.wait
	o.wait = nil
	return o.Err
}

// Pending is the number of bytes that were submitted and are not complete.
func (q *Queue) Pending() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// Err is the error that made the queue refuse appends, or nil.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Reset lets appends go on after a failure. Before it, the owner waits until all its
// ops are complete, and repairs: with a Do op it writes what it wants to keep of the
// failed file (up to [File.Durable], and in the modes that complete early what it has
// shown) to a new file, syncs it, renames it over the old one and syncs the
// directory; then, in this order, it calls Drop of the old File, performs a Forget of
// its path, calls Reset, and registers the new file with NewFile. Dropping or
// forgetting before the new file is durable would let go of what the journal alone
// holds.
func (q *Queue) Reset() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err, q.broken = nil, nil
}

// take removes ops from a file's line for one round: at most maxBytes, but at least
// one op. Called with mu held.
func (f *File) take(maxBytes int, into []*Op) []*Op {
	f.state = busy
	f.urgent = false
	bytes := 0
	for f.pending.head != nil {
		n := len(f.pending.head.Data)
		if bytes > 0 && bytes+n > maxBytes {
			f.urgent = true
			break
		}
		bytes += n
		into = append(into, f.pending.pop())
	}
	return into
}

// finish records that the ops of a round are done, each with its Err set, lets the
// file stand in line again if it has more, and delivers what is complete.
func (q *Queue) finish(f *File, ops []*Op) {
	q.mu.Lock()
	for _, o := range ops {
		o.done = true
	}
	q.begun -= len(ops)
	if f.kind == kindDo {
		q.inBarrier = false
	}
	if len(ops) > 0 {
		f.crowd = len(ops) + f.pending.n
	}
	f.leave()
	q.release()
	q.c.stand(q) // before the callbacks, which may take their time
	q.deliverAll()
	q.mu.Unlock()
}

// deliverAll delivers what is complete, unless another goroutine is at it. Called with
// mu held, which it lets go meanwhile.
func (q *Queue) deliverAll() {
	for !q.delivering && q.complete() {
		q.delivering = true
		q.mu.Unlock()
		told := q.deliver()
		q.mu.Lock()
		q.delivering = false
		if !told || q.delivered == nil {
			continue
		}
		if q.first != nil && q.first.done {
			q.c.deliverRest(q) // the callback may wait for it
		}
		q.mu.Unlock()
		q.c.aside(q.delivered)
		q.mu.Lock()
	}
}

// complete takes the ops that are complete out of the queue, into batch, and says
// whether there are any. Called with mu held.
func (q *Queue) complete() bool {
	if q.c.opts.Mutations.OutOfOrder {
		q.doneToFront()
	}
	q.batch = q.batch[:0]
	for bytes := 0; q.first != nil && q.first.done && bytes < deliverBytes; {
		o := q.first
		q.first = o.next
		if q.first == nil {
			q.last = nil
		}
		o.next = nil
		q.bytes -= len(o.Data)
		bytes += len(o.Data)
		if o.File != nil {
			// What comes behind a failure is no use, though it may be durable:
			// what is complete is a prefix.
			if o.Err != nil {
				q.broken = o.Err
			} else {
				o.Err = q.broken
			}
		}
		q.batch = append(q.batch, o)
	}
	return len(q.batch) > 0
}

// doneToFront is the mutation OutOfOrder.
func (q *Queue) doneToFront() {
	for prev := q.first; prev != nil && prev.next != nil; {
		o := prev.next
		if !o.done || q.first.done {
			prev = o
			continue
		}
		prev.next, o.next = o.next, q.first
		q.first = o
		if q.last == o {
			q.last = prev
		}
	}
}

// deliver makes the callback for the batch, and says whether there was any. Only one
// goroutine is here at a time.
func (q *Queue) deliver() bool {
	own, waited := q.batch[:0], q.waited[:0]
	for _, o := range q.batch {
		if o.wait != nil {
			waited = append(waited, o.wait)
		} else {
			own = append(own, o)
		}
	}
	n := len(own) + len(waited)
	if len(own) > 0 {
		q.completed(own)
	}
	for i, wait := range waited { // after the callback, which tells of the ops before
		close(wait)
		waited[i] = nil
	}
	q.waited = waited
	clear(q.batch[:n])
	return len(own) > 0
}
