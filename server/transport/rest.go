package transport

import (
	"sync/atomic"
	"unsafe"
)

// What a client that waits for each answer asks for may as well be done by the
// goroutine that reads from it: to hand it over means to wake another thread, which
// takes about as long as the work itself. The work may last as long as a disk takes to
// sync. Meanwhile nothing else is read from this connection, and, while the other
// threads sleep, from no other one either: the thread that looked at the network is the
// one that works. So it is done there only if this client has shown that it waits, and
// nobody else has sent anything for a while.

// calmReads is how many reads in a row must have brought one request each, and nothing
// from anybody else in between, before the next is served by the reader.
const calmReads = 32

// reading is the connection that was read from last, as an address for comparison only,
// and how often that changed.
var reading struct {
	last    atomic.Uintptr
	changes atomic.Uint32
}

// rest is what a reader does before it waits for its socket again. It belongs to the
// goroutine that reads.
type rest struct {
	work    func(here bool)
	asked   int // times since the last read
	calm    int // reads in a row
	changes uint32
}

// BeforeRest is called by the handler of what was read. If the reader has nothing else
// to do it calls work with here set when it is about to wait for the socket; if more
// has come until then it calls work without: somebody else must do it. BeforeRest
// reports false, and work is not called, if it is better done elsewhere at once, and if
// work is nil: somebody is at it already, and it only counts that there is a request.
func (c *Conn) BeforeRest(work func(here bool)) bool {
	r := &c.rest
	r.asked++
	if work == nil || r.calm < calmReads || r.work != nil {
		return false
	}
	r.work = work
	return true
}

// began notes a read.
func (r *rest) began() {
	if id := uintptr(unsafe.Pointer(r)); reading.last.Load() != id {
		reading.last.Store(id)
		reading.changes.Add(1)
	}
	r.asked = 0
}

// handled notes that what was read has been handled.
func (r *rest) handled() {
	changes := reading.changes.Load()
	if r.asked != 1 || changes != r.changes {
		r.calm, r.changes = 0, changes
	} else if r.calm < calmReads {
		r.calm++
	}
}

// end calls work, if there is any.
func (r *rest) end(here bool) {
	if work := r.work; work != nil {
		r.work = nil
		work(here)
	}
}
