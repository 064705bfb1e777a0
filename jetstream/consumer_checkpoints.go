package jetstream

import (
	"sync"
	"time"
)

// checkpoints is the line of an engine's consumers whose state goes to disk, and
// the few goroutines that write it. Consumers in the thousands may be due at a
// time: none of them costs a thread for its sync, and where nothing but quiet
// asks for it the disk is left to others most of the time.
type checkpoints struct {
	write func(*consumerLog) // set once, before the first push; it may block
	ended <-chan struct{}    // as write: closed when nothing is to be written any more

	mu      sync.Mutex // leaf lock
	urgent  []*consumerLog
	lazy    []*consumerLog
	running int  // goroutines that write what is urgent
	resting bool // the one for the others runs
}

const (
	// checkpointWriters bounds the checkpoints that are written at a time because
	// the journal needs its space, or instead of it.
	checkpointWriters = 8
	// checkpointRest is how long, in times of the last write, the one that writes
	// the others rests.
	checkpointRest = 4
)

// push puts a log into the line. It is there at most once.
func (q *checkpoints) push(l *consumerLog, urgent bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case urgent && l.due == dueUrgent, !urgent && l.due != dueNot:
		return
	case urgent: // if it is in the other line, too, it is passed over there
		l.due = dueUrgent
		q.urgent = append(q.urgent, l)
		if q.running < checkpointWriters {
			q.running++
			go q.writeUrgent()
		}
	default:
		l.due = dueLazy
		q.lazy = append(q.lazy, l)
		if !q.resting {
			q.resting = true
			go q.writeLazy()
		}
	}
}

func (q *checkpoints) writeUrgent() {
	for {
		q.mu.Lock()
		if len(q.urgent) == 0 {
			q.urgent = nil
			q.running--
			q.mu.Unlock()
			return
		}
		l := q.urgent[0]
		q.urgent[0] = nil
		q.urgent = q.urgent[1:]
		l.due = dueNot
		q.mu.Unlock()
		q.write(l)
	}
}

func (q *checkpoints) writeLazy() {
	for {
		q.mu.Lock()
		if len(q.lazy) == 0 {
			q.lazy = nil
			q.resting = false
			q.mu.Unlock()
			return
		}
		l := q.lazy[0]
		q.lazy[0] = nil
		q.lazy = q.lazy[1:]
		due := l.due == dueLazy
		if due {
			l.due = dueNot
		}
		q.mu.Unlock()
		if due {
			began := time.Now()
			q.write(l)
			select {
			case <-time.After(checkpointRest * time.Since(began)):
			case <-q.ended:
				return
			}
		}
	}
}

// checkpointed writes a checkpoint and reports what keeps it from that.
func (l *consumerLog) checkpointed() {
	if err := l.write(); err != nil && err != errLogClosed {
		l.c.stream.engine.event(ErrorEvent{"checkpoint of consumer '" + l.c.path() + "': " + err.Error()})
	}
}
