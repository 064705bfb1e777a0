package consumer

import "math"

// waiter is a pull request in the queue.
type waiter struct {
	Request
	left     int   // messages still wanted
	budget   int   // bytes left of MaxBytes
	deadline int64 // 0: none
	active   int64 // arrival, last heartbeat or last message
	served   bool  // got at least one message
}

// waiting is the queue of pull requests. With the prioritized policy it is
// kept in ascending order of priority, first come first served inside a level.
type waiting struct {
	q    []*waiter
	head int
	// check is no later than the earliest expiry or heartbeat; 0: none.
	check int64
	// scanned is when a full queue was last searched for dead requests.
	scanned int64
	free    *waiter // the last one that ended, for reuse
}

func (q *waiting) len() int { return len(q.q) - q.head }

func (q *waiting) front() *waiter { return q.q[q.head] }

func (q *waiting) push(w *waiter) {
	if q.head > 32 && q.head*2 > len(q.q) {
		n := copy(q.q, q.q[q.head:])
		clear(q.q[n:])
		q.q, q.head = q.q[:n], 0
	}
	q.q = append(q.q, w)
}

// insert puts w behind the last request of its priority.
func (q *waiting) insert(w *waiter) {
	q.push(w)
	for i := len(q.q) - 1; i > q.head && q.q[i-1].Priority > w.Priority; i-- {
		q.q[i], q.q[i-1] = q.q[i-1], q.q[i]
	}
}

// pop takes the head out without ending it.
func (q *waiting) pop() *waiter {
	w := q.q[q.head]
	q.q[q.head] = nil
	q.head++
	if q.head == len(q.q) {
		q.q, q.head = q.q[:0], 0
	}
	return w
}

// keep drops the requests for which f is false.
func (q *waiting) keep(f func(*waiter) bool) {
	n := q.head
	for i := q.head; i < len(q.q); i++ {
		if w := q.q[i]; f(w) {
			q.q[n] = w
			n++
		} else {
			q.recycle(w)
		}
	}
	clear(q.q[n:])
	q.q = q.q[:n]
	if q.head == len(q.q) {
		q.q, q.head = q.q[:0], 0
	}
}

func (q *waiting) recycle(w *waiter) {
	*w = waiter{}
	q.free = w
}

func (q *waiting) new() *waiter {
	w := q.free
	if w == nil {
		return &waiter{}
	}
	q.free = nil
	return w
}

// outstanding is the sum of the messages still wanted, or the largest number.
func (q *waiting) outstanding() int {
	n := 0
	for _, w := range q.q[q.head:] {
		if n += w.left; n < 0 {
			return math.MaxInt
		}
	}
	return n
}

// due returns when w must be looked at next; 0: never.
func (w *waiter) due() int64 {
	t := w.deadline
	if w.Heartbeat > 0 {
		t = earlier(t, w.active+w.Heartbeat) // a heartbeat is half an expiry at most
	}
	return t
}

// watch makes sure that the queue is looked at when w is due.
func (q *waiting) watch(w *waiter) { q.check = earlier(q.check, w.due()) }

// trim gives memory back that an idle consumer does not need.
func (q *waiting) trim() {
	q.free = nil
	if q.len() == 0 {
		q.q, q.head = nil, 0
	}
}

// earlier returns the earlier of two times of which 0 means never.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
