package transport

import (
	"runtime"
	"unsafe"
)

// Requests of many clients to one service come one by one, and each would cost a
// write of its own, which is most of what such a message costs. When a connection
// is written to by several producers in turn, a producer with little takes the
// writer token, queues, and lets the other goroutines that are ready run before it
// writes: those of them that have something for the same connection find the token
// taken, and queue as well.

const (
	// lateBytes is how much a producer may have for a connection and still wait for
	// others: what is more is worth a write of its own.
	lateBytes = 4 << 10

	// sharedAfter is how many changes of the producer make a connection a shared one,
	// and sharedMost how many count.
	sharedAfter = 4
	sharedMost  = 8
)

// sharers notes whether a connection has several producers, and whether it pays to
// wait for them. It is guarded by the connection's mu.
type sharers struct {
	last uintptr // address of the outbox that wrote last, for comparison only
	luck int8    // changes of the producer, less what speaks against waiting
	own  int     // bytes of the producer that waits
}

// met notes that a producer is about to write n bytes, and tells whether it should
// wait.
func (s *sharers) met(o *Outbox, n int) bool {
	id := uintptr(unsafe.Pointer(o))
	if id != s.last {
		s.last = id
		s.luck = min(s.luck+1, sharedMost)
	} else {
		s.luck = max(s.luck-1, 0)
	}
	s.own = n
	return s.luck >= sharedAfter
}

// wrote notes what a producer that waited has to write in the end. When it waited in
// vain, the next ones do not.
func (s *sharers) wrote(total int) {
	if total <= s.own {
		s.luck = 0
	}
}

// writeLate lets others run, and writes to the connections whose token is held.
func (o *Outbox) writeLate() {
	runtime.Gosched()
	for i, c := range o.late {
		c.writeLate()
		o.late[i] = nil
	}
	o.late = o.late[:0]
}
