package jetstream

import (
	"container/heap"
	"sync"
	"time"
)

// timers is the one timer queue of an engine: the deadlines of all streams and
// consumers in a heap behind one time.Timer. Something idle has no entry, no
// goroutine and no timer of its own.
type timers struct {
	mu      sync.Mutex // leaf lock
	heap    timerHeap
	clock   *time.Timer // fires at the head of the heap; nil until first used
	firesAt time.Time   // what clock is set to; zero: not running
	closed  bool
}

// timer is one deadline. The zero value is not armed; set fire before arming.
type timer struct {
	fire  func() // called on a goroutine of the queue, one at a time: must not block
	at    time.Time
	index int // in the heap, plus 1; 0: not armed
}

// arm sets t to fire at the given time, instead of any earlier setting.
func (q *timers) arm(t *timer, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	t.at = at
	if t.index == 0 {
		heap.Push(&q.heap, t)
	} else {
		heap.Fix(&q.heap, t.index-1)
	}
	q.schedule()
}

// armEarlier is arm, unless t is already set to fire before that.
func (q *timers) armEarlier(t *timer, at time.Time) {
	q.mu.Lock()
	armed := t.index != 0 && !t.at.After(at)
	q.mu.Unlock()
	if !armed {
		q.arm(t, at)
	}
}

// disarm forgets t. fire may still be running when it returns.
func (q *timers) disarm(t *timer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.index != 0 {
		heap.Remove(&q.heap, t.index-1)
	}
}

// close forgets everything and arms nothing any more.
func (q *timers) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, t := range q.heap {
		t.index = 0
	}
	q.heap = nil
	if q.clock != nil {
		q.clock.Stop()
	}
}

// schedule sets the clock to the head of the heap. Under mu.
func (q *timers) schedule() {
	if len(q.heap) == 0 {
		return
	}
	at := q.heap[0].at
	if !q.firesAt.IsZero() && !at.Before(q.firesAt) {
		return // fires early enough, and looks again then
	}
	q.firesAt = at
	if q.clock == nil {
		q.clock = time.AfterFunc(time.Until(at), q.run)
		return
	}
	q.clock.Reset(time.Until(at))
}

// run fires what is due.
func (q *timers) run() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.firesAt = time.Time{}
	for len(q.heap) > 0 && !q.closed {
		t := q.heap[0]
		if t.at.After(time.Now()) {
			break
		}
		heap.Pop(&q.heap)
		q.mu.Unlock()
		t.fire()
		q.mu.Lock()
	}
	if !q.closed {
		q.schedule()
	}
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.index = len(*h)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = 0
	return t
}
