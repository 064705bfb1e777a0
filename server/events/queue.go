package events

import (
	"sync"
	"time"
)

// queue does jobs one after the other, on a goroutine that exists only while there are some.
type queue struct {
	maxJobs  int
	maxBytes int // of what the jobs hold
	start    func(func())
	full     func(dropped int) // called at most once a second

	mu       sync.Mutex // guards the rest
	jobs     []job
	bytes    int
	running  bool
	closed   bool
	done     chan struct{} // closed when the last job is done; made by close
	dropped  int           // since the last report
	reported time.Time
}

type job struct {
	do   func()
	size int
}

// add puts a job in, and tells whether it did: the queue may be full or closed.
func (q *queue) add(size int, do func()) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	if len(q.jobs) < q.maxJobs && q.bytes+size <= q.maxBytes {
		q.put(job{do, size})
		q.mu.Unlock()
		return true
	}
	q.dropped++
	report := 0
	if now := time.Now(); now.Sub(q.reported) >= time.Second {
		report = q.dropped
		q.dropped, q.reported = 0, now
	}
	q.mu.Unlock()
	if report > 0 {
		q.full(report)
	}
	return false
}

// put adds a job and starts the goroutine if there is none; mu is held.
func (q *queue) put(j job) {
	q.jobs = append(q.jobs, j)
	q.bytes += j.size
	if !q.running {
		q.running = true
		q.start(q.run)
	}
}

func (q *queue) run() {
	q.mu.Lock()
	for len(q.jobs) > 0 {
		j := q.jobs[0]
		q.jobs[0] = job{}
		q.jobs = q.jobs[1:]
		q.mu.Unlock()
		j.do()
		q.mu.Lock()
		q.bytes -= j.size
	}
	q.jobs = nil
	q.running = false
	if q.done != nil {
		close(q.done)
		q.done = nil
	}
	q.mu.Unlock()
}

// close takes no more jobs, does last (if not nil) after those that are there, and waits until that is done.
func (q *queue) close(last func()) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	if last != nil {
		q.put(job{do: last})
	}
	q.closed = true
	if !q.running {
		q.mu.Unlock()
		return
	}
	done := make(chan struct{})
	q.done = done
	q.mu.Unlock()
	<-done
}

// fill is the number of jobs that wait, and those under way.
func (q *queue) fill() (pending, active int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running {
		active = 1
	}
	return len(q.jobs), active
}
