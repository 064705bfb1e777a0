package account

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
	return pub.deliver(&r.match, r.subject, subject, reply, header, payload)
}

// deliver is Deliver, by a match that is kept if there is one.
func (pub *Publisher) deliver(kept *match, route, subject, reply, header, payload []byte) bool {
	p := &pub.p
	m := &pub.msg
	*m = Msg{Subject: route, Show: subject, Payload: payload}
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
type Route struct {
	subject []byte
	match   match
}

// NewRoute returns the way to the subscribers of a literal subject in a.
func NewRoute(a *Account, subject string) *Route { return &Route{subject: []byte(subject)} }

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
