package commit

import (
	"errors"
	"io/fs"
	"math"
	"time"

	"github.com/natsd/natsd/msgstore/vfs"
)

// Mode says when an append is complete.
type Mode uint8

const (
	// Always: after the sync that covers it.
	Always Mode = iota
	// Interval: after the write; the owner submits a Sync op every so often.
	Interval
	// External: after the write; the caller's own log is the truth until a Sync op
	// is complete.
	External
)

type fileKind uint8

const (
	kindBlock fileKind = iota
	kindRuns
	kindDo
)

type fileState uint8

const (
	idle    fileState = iota
	waiting           // lazy runs, until the next journal round or LazyDelay
	queued            // in line
	busy              // a worker has it
)

// File is an append-only file of a store. Its fields belong to the worker that has
// the file (state busy), or are guarded by the queue's mu (marked mu).
type File struct {
	queue *Queue
	path  string
	vf    vfs.File
	mode  Mode
	kind  fileKind

	pending opList    // mu
	state   fileState // mu
	urgent  bool      // mu: does not wait any longer for company
	runs    *RunLog   // of kindRuns

	crowd    int           // mu: ops of the last round, and those that came meanwhile
	alone    int           // rounds without waiting for company
	vain     int           // what alone was the last time, 0 if company came
	syncTime time.Duration // a moving average

	end       int64         // mu: length after all completed rounds
	tail      [8]byte       // the last 8 bytes before end
	synced    int64         // mu: content below is durable in the file itself
	journaled int64         // mu: content below is durable in the file or the journal
	failed    error         // mu
	wantEnd   int64         // mu: a journal segment waits until synced has reached this; 0 if none
	jseq, jid uint64        // the id of the file in the journal's segment jseq; of the journal round
	jindex    int           // and where that segment lists it
	idleWait  chan struct{} // mu: closed when the state next becomes idle
}

// NewFile registers a file that will be appended to. path is its path relative to
// the store directory, with slashes: under this name the journal knows it. size is
// the current length, all of it durable, and tail the last 8 bytes of it as they are
// in the file (zeros for an empty file). file stays the owner's, who may read it at
// any time, and closes it after [File.Close] or [File.Drop]; nobody else writes it.
func (q *Queue) NewFile(path string, file vfs.File, size int64, tail [8]byte, mode Mode) *File {
	f := &File{queue: q, path: path, vf: file, mode: mode, end: size, synced: size, journaled: size, tail: tail}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.files[f] = struct{}{}
	return f
}

// Durable is the length up to which the content is durable: in the file itself
// (synced), and in the file or the journal (durable >= synced).
func (f *File) Durable() (synced, durable int64) {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	return f.synced, max(f.synced, f.journaled)
}

// Err is the error that made the file unusable, or nil.
func (f *File) Err() error {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	return f.failed
}

// Close makes what was appended durable and ends the committer's use of the file.
// It waits for the ops of the file to complete; the rules of [Queue.Perform] apply.
// After an error it is for the owner to end the use, by [File.Drop] or [File.Leave].
func (f *File) Close() error {
	err := f.queue.Perform(&Op{File: f, Sync: true})
	if err == nil {
		f.Drop()
	}
	return err
}

// Drop ends the committer's use of a file that was removed or replaced, or whose
// content no longer matters, without syncing it: the removal or replacement is
// durable already. All ops of the file must be complete. It waits for a background
// sync that is in flight.
func (f *File) Drop() { f.release(true) }

// Leave is Drop for a file whose content matters and could not be made durable: what
// the journal holds of it stays there for the next [Open].
func (f *File) Leave() { f.release(false) }

// release ends the use of the file. With void nothing of it holds the journal any
// longer, what it failed to write included.
func (f *File) release(void bool) {
	q := f.queue
	q.mu.Lock()
	f.acquire()
	f.leave()
	f.wantEnd = 0
	if void {
		f.synced, f.journaled = math.MaxInt64, f.end
	}
	f.vf = nil
	delete(q.files, f)
	q.mu.Unlock()
	q.c.unblock()
}

// leave ends a worker's use of a file. Called with queue.mu held.
func (f *File) leave() {
	f.state = idle
	if f.idleWait != nil {
		close(f.idleWait)
		f.idleWait = nil
	}
	if f.pending.n > 0 {
		f.queue.enlist(f)
	}
}

// broke makes the file and its queue refuse everything from here on, after a write
// or sync of it has failed. It returns the error with the file's name in the store
// directory: the one it was opened with may be that of a stream that was not in place
// yet, and what clients are shown does not tell where the store is.
func (f *File) broke(err error) error {
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		err = &fs.PathError{Op: at.Op, Path: f.path, Err: at.Err}
	}
	f.fail(err)
	return err
}

// fail makes the file and its queue refuse everything from here on.
func (f *File) fail(err error) {
	q := f.queue
	q.mu.Lock()
	if f.failed == nil {
		f.failed = err
	}
	if q.err == nil {
		q.err = err
	}
	q.mu.Unlock()
	q.c.event(FileFailed{Path: f.path, Err: err})
}

// refusal is why ops of this file cannot be done, or nil.
func (f *File) refusal() error {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	return f.refused()
}

// refused is refusal for a caller that holds the queue's mu.
func (f *File) refused() error {
	switch {
	case f.failed != nil:
		return f.failed
	case f.kind == kindBlock && f.vf == nil:
		return errDropped
	default:
		return f.queue.err
	}
}

var errDropped = errors.New("commit: file is closed")

// write appends the data of the ops in one call, or few, and returns the new end and
// tail without recording them.
func (f *File) write(ops []*Op, w *workspace) (end int64, tail [8]byte, err error) {
	end, tail = f.end, f.tail
	pieces, b := w.pieces[:0], w.buf[:0]
	joined, size := 0, 0 // what of b is in pieces; the size of the pieces
	add := func(p []byte) {
		if len(p) > 0 {
			pieces = append(pieces, p)
			size += len(p)
			tail = lastBytes(tail, p)
		}
	}
	flush := func() error {
		err := vfs.WritePieces(f.vf, pieces, end)
		clear(pieces)
		end += int64(size)
		pieces, b, joined, size = pieces[:0], b[:0], 0, 0
		return err
	}
	for i, o := range ops {
		if alone := joined == len(b) && i == len(ops)-1; alone || len(o.Data) >= copyLimit {
			add(b[joined:])
			joined = len(b)
			add(o.Data)
			continue
		}
		if len(b)+len(o.Data) > joinLimit {
			add(b[joined:])
			if err = flush(); err != nil {
				break
			}
		}
		b = append(b, o.Data...)
	}
	if err == nil {
		add(b[joined:])
		err = flush()
	}
	w.pieces, w.buf = pieces, b
	return end, tail, err
}

// copyLimit is the size from which an op's bytes are a piece of their own of what is
// written: copying them would cost more.
const copyLimit = 32 << 10

// joinLimit is how many bytes of small ops are written by one call: a call costs little
// beside them, and what they are copied into is memory.
const joinLimit = 256 << 10

// lastBytes is the tail of a file after p was appended.
func lastBytes(tail [8]byte, p []byte) [8]byte {
	if len(p) >= 8 {
		return [8]byte(p[len(p)-8:])
	}
	copy(tail[:], tail[len(p):])
	copy(tail[8-len(p):], p)
	return tail
}

// plain is a round of one file: write, sync, complete.
func (c *Committer) plain(f *File, ops []*Op, w *workspace) {
	err := f.refusal()
	if err == nil {
		needSync := f.mode == Always
		var bytes int
		for _, o := range ops {
			needSync = needSync || o.Sync
			bytes += len(o.Data)
		}
		var end int64
		var tail [8]byte
		end, tail, err = f.write(ops, w)
		if err == nil && needSync && !c.skipsSync(ops) && f.unsynced(end) {
			start := time.Now()
			if err = f.vf.SyncData(); err == nil {
				c.synced(f, len(ops), bytes, time.Since(start))
			}
		}
		if err != nil {
			err = f.broke(err)
		} else {
			f.advance(end, tail, needSync)
		}
	}
	for _, o := range ops {
		o.Err = err
	}
	f.queue.finish(f, ops)
	c.settleLazy(f)
}

// skipsSync is the mutations CompleteBeforeSync and TombstoneUnsynced.
func (c *Committer) skipsSync(ops []*Op) bool {
	m := &c.opts.Mutations
	if m.TombstoneUnsynced {
		const tombstone = 30
		for _, o := range ops {
			if len(o.Data)%tombstone != 0 {
				return m.CompleteBeforeSync
			}
		}
		return true
	}
	return m.CompleteBeforeSync
}

// synced records how long a sync took.
func (c *Committer) synced(f *File, ops, bytes int, took time.Duration) {
	f.syncTime += (took - f.syncTime) / 8
	if c.opts.Listener != nil {
		c.opts.Listener(SyncDone{Path: f.path, Ops: ops, Bytes: bytes, Duration: took})
	}
}

func (f *File) unsynced(end int64) bool {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	return f.synced < end
}

func (f *File) advance(end int64, tail [8]byte, synced bool) {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	f.end, f.tail = end, tail
	if synced {
		f.synced = end
		f.journaled = end
	}
}
