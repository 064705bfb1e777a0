package account

// Publisher publishes from inside the server. It belongs to one goroutine at a
// time. Nothing is under way before Flush.
type Publisher struct {
	p   Producer
	acc *Account
	msg Msg
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
	return pub.Deliver(subject, nil, reply, header, payload)
}

// Deliver is Publish to the subscribers of route, who are shown subject (nil:
// route).
func (pub *Publisher) Deliver(route, subject, reply, header, payload []byte) bool {
	p := &pub.p
	m := &pub.msg
	*m = Msg{Subject: p.Keep(route), Payload: p.Keep(payload)}
	if subject != nil {
		m.Show = p.Keep(subject)
	}
	if len(reply) > 0 {
		m.Reply = p.Keep(reply)
	}
	if len(header) > 0 {
		m.Header = p.Keep(header)
	}
	p.Out.Expect(len(p.arena) + len(payload))
	return p.Route(pub.acc, m)
}

// Flush hands over what was staged. If a receiver is slow it returns a channel
// that is closed when sending may go on.
func (pub *Publisher) Flush() (resume <-chan struct{}) {
	pub.p.Flush()
	if slow := pub.p.Slow; slow != nil {
		pub.p.Slow = nil
		return slow.Gate()
	}
	return nil
}
