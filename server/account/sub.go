package account

import (
	"sync/atomic"
)

// Receiver is what a subscription delivers to: a connection, or a handler inside
// the server. It is called by the goroutine of the producer, with no locks held,
// by many producers at a time.
type Receiver interface {
	Kind() Kind
	// Deliver takes a message for the subscription s and returns whether it did;
	// if not, another member of the queue group is tried. The receiver stages:
	// the work that can be done for all messages of a buffer together it leaves
	// to the producer's flush ([Producer.Out], [Handler]).
	Deliver(p *Producer, s *Sub, m *Msg) bool
}

// Sub is a subscription. Its exported fields are set before Subscribe and not
// changed afterwards.
type Sub struct {
	Subject string
	Queue   string // empty: a plain subscription
	SID     string
	To      Receiver

	delivered atomic.Int64
	max       atomic.Int64 // 0: no limit
	closed    atomic.Bool

	acc    *Account // in whose list it is
	shadow *shadow  // what it stands for in an importing account; nil: itself
	// shadows of this subscription in exporting accounts; guarded by the wiring
	// lock of the set. wired tells, without it, that there are some.
	wired   atomic.Bool
	shadows []*Sub
}

// Account is the one that the subscription was made in.
func (s *Sub) Account() *Account { return s.acc }

// Delivered is the number of messages that the subscription was given.
func (s *Sub) Delivered() int64 { return s.delivered.Load() }

// Max is the number of messages after which the subscription ends, 0 for none.
func (s *Sub) Max() int64 { return s.max.Load() }

// SetMax ends the subscription after n messages, counted from its beginning. It
// returns false if there were that many already: the caller removes it.
func (s *Sub) SetMax(n int64) bool {
	s.max.Store(n)
	return n == 0 || s.delivered.Load() < n
}

// Count reserves the delivery of one message. ok is false if the subscription
// had all it wants; last tells that this message is the last one, and that the
// receiver removes the subscription once it is staged.
func (s *Sub) Count() (ok, last bool) {
	n := s.delivered.Add(1)
	max := s.max.Load()
	if max == 0 || n < max {
		return true, false
	}
	if n > max {
		s.delivered.Add(-1)
		return false, false
	}
	return true, true
}

// Uncount takes back what Count reserved.
func (s *Sub) Uncount() { s.delivered.Add(-1) }

// Closed tells that the subscription was removed; match results may still hold
// it.
func (s *Sub) Closed() bool { return s.closed.Load() }
