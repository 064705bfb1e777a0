package commit

import (
	"errors"
	"sync/atomic"
)

// ErrNoJournal is matched by the error of a run when there is no journal: it was
// switched off, or it failed. The owner then writes its state itself.
var ErrNoJournal = errors.New("commit: no journal")

// RunLog is the log of one consumer: runs, in order, that are kept in the commit
// journal until the owner has written a checkpoint that covers them.
type RunLog struct {
	f          File
	replayed   [][]byte // runs that the file of carried runs holds
	checkpoint func()

	submitted    int64        // guarded by the queue's mu
	checkpointed atomic.Int64 // runs that a checkpoint covers
}

// NewRunLog returns the log of a consumer, whose directory relative to the store
// directory is path, and the runs that the journal held for it when the committer
// was opened, oldest first: those since the last checkpoint, and possibly earlier
// ones. checkpoint is called, without locks and possibly often, when the journal
// needs the space: the owner then writes a checkpoint soon and calls Checkpointed.
// It must not block.
//
// At most one RunLog of a path may be open at a time.
func (q *Queue) NewRunLog(path string, checkpoint func()) (*RunLog, [][]byte) {
	c := q.c
	c.mu.Lock()
	r := c.unclaimed[path]
	delete(c.unclaimed, path)
	c.mu.Unlock()
	if r == nil {
		r = &RunLog{f: File{path: path}} // else it has it, and others may be reading it
	}
	r.f.queue, r.f.kind, r.f.runs = q, kindRuns, r
	r.checkpoint = checkpoint
	q.mu.Lock()
	q.files[&r.f] = struct{}{}
	q.mu.Unlock()
	return r, r.replayed
}

// Mark is the position behind all runs that were submitted so far, those that
// NewRunLog returned included.
func (r *RunLog) Mark() int64 {
	r.f.queue.mu.Lock()
	defer r.f.queue.mu.Unlock()
	return r.submitted
}

// Checkpointed says that a durable checkpoint covers all runs before mark.
func (r *RunLog) Checkpointed(mark int64) {
	for {
		old := r.checkpointed.Load()
		if mark <= old || r.checkpointed.CompareAndSwap(old, mark) {
			break
		}
	}
	r.f.queue.c.unblock()
}

// Close ends the use of the log. All its ops must be complete. Runs that no
// checkpoint covers stay in the journal for the next owner.
func (r *RunLog) Close() {
	q := r.f.queue
	q.mu.Lock()
	delete(q.files, &r.f)
	q.mu.Unlock()
}

// Drop is Close for a consumer whose removal is durable: its runs are void. A Forget
// of its path must be complete before a consumer of the name is created anew.
func (r *RunLog) Drop() {
	r.Close()
	r.Checkpointed(1<<62 - 1)
}
