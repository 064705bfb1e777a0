package account

import (
	"unsafe"

	"github.com/natsd/natsd/internal/prefetch"
)

// Publisher publishes from inside the server. It belongs to one goroutine at a
// time. Nothing is under way before Flush.
type Publisher struct {
	p   Producer
	acc *Account
	msg Msg

	// staged is how many bytes, about, were staged since the last flush, last how
	// many before it: a guess of what is to come for one receiver.
	staged, last int
}

// NewPublisher returns a publisher in a.
func NewPublisher(a *Account, kind Kind) *Publisher {
	pub := &Publisher{acc: a}
	pub.p.Kind = kind
	return pub
}

// Publish stages a message and returns whether anybody will get it. The
// arguments are copied; reply, header and payload may be nil.
func (pub *Publisher) Publish(subject, reply, header, payload []byte) bool {
	p := &pub.p
	if len(header) > 0 {
		header = p.Keep(header)
	}
	return pub.Deliver(p.Keep(subject), nil, reply, header, p.Keep(payload))
}

// Deliver is Publish to the subscribers of route, who are shown subject (nil:
// route). Only reply is copied; the other arguments must stay as they are until
// Flush.
func (pub *Publisher) Deliver(route, subject, reply, header, payload []byte) bool {
	return pub.deliver(nil, route, subject, reply, header, payload)
}

// DeliverOn is Deliver to the subscribers of r, which is a route of the same account.
func (pub *Publisher) DeliverOn(r *Route, subject, reply, header, payload []byte) bool {
	if r.service {
		return pub.Deliver(r.subject(), subject, reply, header, payload)
	}
	return pub.deliver(&r.match, r.subject(), subject, reply, header, payload)
}

// deliver is Deliver, by a match that is kept if there is one.
func (pub *Publisher) deliver(kept *match, route, subject, reply, header, payload []byte) bool {
	p := &pub.p
	m := &pub.msg
	m.Set(route, nil, nil, payload)
	m.Show = subject
	if len(reply) > 0 {
		m.Reply = p.Keep(reply)
	}
	if len(header) > 0 {
		m.Header = header
	}
	pub.staged += len(m.Shown()) + len(reply) + len(header) + len(payload) + headEstimate
	p.Out.Expect(max(pub.staged, pub.last))
	if kept != nil {
		return p.routeKept(pub.acc, m, kept)
	}
	return p.Route(pub.acc, m)
}

// Route is the way to the subscribers of one subject, who are looked for again
// only when they may have changed: for a source with a subject of its own among
// more of them than a producer's cache holds. It belongs to one goroutine at a time.
//
// What a message needs comes first: among thousands of routes one is out of the
// processor's cache between two messages.
type Route struct {
	match   match
	one     [1]*Sub // memory for the result where one subscribes
	service bool    // it is the reply subject of a service import, which is not matched alone

	_ [16]byte // so that it begins with a cache line
}

// NewRoute returns the way to the subscribers of a literal subject in a.
func NewRoute(a *Account, subject string) *Route {
	r := &Route{match: match{subject: subject}, service: isServiceReply([]byte(subject))}
	r.match.result.Plain = r.one[:0]
	return r
}

func (r *Route) subject() []byte {
	return unsafe.Slice(unsafe.StringData(r.match.subject), len(r.match.subject))
}

// Prefetch has the processor fetch what a message on the route needs, without waiting:
// in the first step the route itself, in the next ones what the step before has
// brought.
func (r *Route) Prefetch(step int) {
	switch step {
	case 0:
		prefetch.Lines(unsafe.Pointer(r), prefetch.LinesOf(unsafe.Sizeof(*r)))
	case 1:
		r.match.held.Valid() // one of its counters is the subject's own
		if to := r.match.result.Plain; len(to) > 0 {
			prefetch.Lines(unsafe.Pointer(to[0]), prefetch.LinesOf(unsafe.Sizeof(*to[0])))
		}
	case 2:
		if to := r.match.result.Plain; len(to) > 0 {
			prefetch.Lines(unsafe.Pointer(unsafe.StringData(to[0].SID)), 1)
		}
	}
}

// headEstimate is about what a message takes on the wire beside its parts.
const headEstimate = 32

// Flush hands over what was staged. If a receiver is slow it returns a channel
// that is closed when sending may go on.
func (pub *Publisher) Flush() (resume <-chan struct{}) {
	pub.p.Flush()
	pub.staged, pub.last = 0, pub.staged
	if slow := pub.p.Slow; slow != nil {
		pub.p.Slow = nil
		return slow.Gate()
	}
	return nil
}
