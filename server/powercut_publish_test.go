package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// publisher is one client of one stream. It alone publishes to its subject.
type publisher struct {
	*powered
	w       *witness
	rng     *rand.Rand
	subject string
	name    string // part of all payloads
	n       int
	// config, where it is set, makes this the client that updates the stream.
	config func(w *witness, version int) string
}

func (c *publisher) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := c.step(ctx); err != nil {
			return fmt.Errorf("client %s: %w", c.name, err)
		}
	}
	return nil
}

func (c *publisher) step(ctx context.Context) error {
	switch k := c.rng.IntN(100); {
	case k < 40:
		return c.publish(ctx)
	case k < 55:
		return c.burst(ctx)
	case k < 65:
		return c.twice(ctx)
	case k < 73:
		return c.atomic(ctx)
	case k < 80:
		return c.fast(ctx)
	case k < 88:
		return c.delete(ctx)
	case k < 94:
		return c.purge(ctx)
	case k < 97:
		return c.rollup(ctx)
	case c.config != nil:
		return c.update(ctx)
	}
	return nil
}

// next is a message that was not sent yet, and that it is going to be.
func (c *publisher) next() *publication {
	c.n++
	return c.w.sends(c.subject, fmt.Sprintf("%s.%d %s", c.name, c.n, strings.Repeat("x", c.rng.IntN(400))))
}

// publish sends one message, with an id, an expectation or neither, and waits.
func (c *publisher) publish(ctx context.Context) error {
	m := c.next()
	var headers []string
	switch c.rng.IntN(6) {
	case 0:
		headers = c.id(m)
	case 1:
		headers = []string{"Nats-Expected-Stream", c.w.stream, "Nats-TTL", "1h"}
	case 2:
		if known := c.w.known(c.subject); len(known) > 0 {
			headers = []string{"Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(known[len(known)-1].seq, 10)}
		}
	case 3:
		headers = []string{"Nats-Expected-Last-Sequence", strconv.FormatUint(c.w.ends(), 10)}
	}
	a, err := c.ask(ctx, m.subject, m.data, headers...)
	if isCode(err, codeWrongLast) && len(headers) == 2 {
		return nil // another client was there before
	}
	if err != nil {
		return err
	}
	if a.Duplicate {
		return fmt.Errorf("%q is a duplicate", m.data)
	}
	c.w.tell(m, a.Seq)
	return nil
}

// ends is the last sequence that clients were told of.
func (w *witness) ends() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (c *publisher) id(m *publication) []string {
	m.id = fmt.Sprintf("id.%s.%d", c.name, c.n)
	return []string{"Nats-Msg-Id", m.id}
}

// burst sends messages and then waits for their acks.
func (c *publisher) burst(ctx context.Context) error {
	inbox := c.nc.NewInbox()
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	var sent []*publication
	for range 2 + c.rng.IntN(12) {
		m := c.next()
		msg := message(m.subject, m.data)
		msg.Reply = inbox
		if err := c.nc.PublishMsg(msg); err != nil {
			return err
		}
		sent = append(sent, m)
	}
	for _, m := range sent { // acks of one subject come in order
		reply, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		a, err := parseAnswer(reply.Data)
		if err != nil {
			return err
		}
		c.w.tell(m, a.Seq)
	}
	return nil
}

// twice sends a message and one with the same id, without waiting in between: both
// are told where the first one is.
func (c *publisher) twice(ctx context.Context) error {
	inbox := c.nc.NewInbox()
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	m := c.next()
	id := c.id(m)
	for i := range 3 {
		msg := message(m.subject, m.data, id...)
		if i > 0 {
			msg.Data = []byte("duplicate")
		}
		msg.Reply = inbox
		if err := c.nc.PublishMsg(msg); err != nil {
			return err
		}
	}
	for range 3 {
		reply, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		a, err := parseAnswer(reply.Data)
		if err != nil {
			return err
		}
		c.w.tell(m, a.Seq)
	}
	return nil
}

// atomic sends a batch of which all is stored or nothing.
func (c *publisher) atomic(ctx context.Context) error {
	n := 2 + c.rng.IntN(4)
	var sent []*publication
	id := fmt.Sprintf("%s.%d", c.name, c.n)
	for range n {
		sent = append(sent, c.next())
	}
	c.w.sendsBatch(id, sent)
	for i, m := range sent[:n-1] {
		if err := c.nc.PublishMsg(message(m.subject, m.data, "Nats-Batch-Id", id, "Nats-Batch-Sequence", strconv.Itoa(i+1))); err != nil {
			return err
		}
	}
	a, err := c.ask(ctx, c.subject, sent[n-1].data, "Nats-Batch-Id", id, "Nats-Batch-Sequence", strconv.Itoa(n), "Nats-Batch-Commit", "1")
	if err != nil {
		return err
	}
	if a.Count != n {
		return fmt.Errorf("batch of %d messages, committed were %d", n, a.Count)
	}
	for i, m := range sent {
		c.w.tell(m, a.Seq-uint64(n-1-i))
	}
	return nil
}

// fast ingests a batch whose acks say how far it is.
func (c *publisher) fast(ctx context.Context) error {
	prefix := c.nc.NewInbox()
	sub, err := c.nc.SubscribeSync(prefix + ".>")
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	n := 3 + c.rng.IntN(10)
	var sent []*publication
	for range n {
		sent = append(sent, c.next())
	}
	for i, m := range sent {
		op := 1
		switch i {
		case 0:
			op = 0
		case n - 1:
			op = 2
		}
		if err := c.nc.PublishRequest(m.subject, fmt.Sprintf("%s.f%d.4.fail.%d.%d.$FI", prefix, c.n, i+1, op), []byte(m.data)); err != nil {
			return err
		}
	}
	for {
		reply, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		a, err := parseAnswer(reply.Data)
		if err != nil {
			return err
		}
		switch a.Type {
		case "ack":
			for _, m := range sent[:a.Seq] {
				c.w.tell(m, 0)
			}
		case "":
			if a.Count != n {
				return fmt.Errorf("fast batch of %d messages, handled were %d", n, a.Count)
			}
			for _, m := range sent {
				c.w.tell(m, 0)
			}
			c.w.tell(sent[n-1], a.Seq)
			return nil
		default:
			return fmt.Errorf("fast batch: %s", reply.Data)
		}
	}
}

// delete removes a message, with or without overwriting it.
func (c *publisher) delete(ctx context.Context) error {
	known := c.w.known(c.subject)
	if len(known) == 0 {
		return nil
	}
	m := known[c.rng.IntN(len(known))]
	seq := m.seq
	r := c.w.removes(removal{what: fmt.Sprintf("delete %d", seq), covers: func(p *publication) bool { return p == m || p.seq == seq }})
	_, err := c.ask(ctx, "$JS.API.STREAM.MSG.DELETE."+c.w.stream, fmt.Sprintf(`{"seq":%d,"no_erase":%v}`, seq, c.rng.IntN(2) == 0))
	var refused *apiError
	if errors.As(err, &refused) {
		return nil // it has been removed before
	}
	if err == nil {
		c.w.removed(r)
	}
	return err
}

// purge removes messages in all forms of a purge.
func (c *publisher) purge(ctx context.Context) error {
	known := c.w.known(c.subject)
	if len(known) == 0 {
		return nil
	}
	seq := known[c.rng.IntN(len(known))].seq
	own := func(p *publication) bool { return p.subject == c.subject }
	below := func(p *publication) bool { return p.seq == 0 || p.seq < seq }
	all := func(*publication) bool { return true }
	r, request := removal{}, ""
	switch c.rng.IntN(6) {
	case 0:
		r.covers, request = own, fmt.Sprintf(`{"filter":%q}`, c.subject)
	case 1:
		r.covers, r.keep = own, 1+c.rng.IntN(5)
		request = fmt.Sprintf(`{"filter":%q,"keep":%d}`, c.subject, r.keep)
	case 2:
		r.covers = func(p *publication) bool { return own(p) && below(p) }
		request = fmt.Sprintf(`{"filter":%q,"seq":%d}`, c.subject, seq)
	case 3:
		r.covers, request = below, fmt.Sprintf(`{"seq":%d}`, seq)
	case 4:
		r.covers, r.keep = all, 1+c.rng.IntN(20)
		request = fmt.Sprintf(`{"keep":%d}`, r.keep)
	case 5:
		r.covers, request = all, ""
	}
	r.what = "purge " + request
	noted := c.w.removes(r)
	a, err := c.ask(ctx, "$JS.API.STREAM.PURGE."+c.w.stream, request)
	if err == nil {
		c.w.removed(noted)
		if !a.Success {
			return errors.New("purge without success")
		}
	}
	return err
}

// rollup sends a message that replaces those before it, on its subject or all.
func (c *publisher) rollup(ctx context.Context) error {
	m := c.next()
	r, what := removal{by: m, covers: func(p *publication) bool { return p.subject == m.subject }}, "sub"
	if c.rng.IntN(4) == 0 {
		r.covers, what = func(*publication) bool { return true }, "all"
	}
	r.what = "rollup " + what
	noted := c.w.removes(r)
	a, err := c.ask(ctx, m.subject, m.data, nats.MsgRollup, what)
	if err == nil {
		c.w.tell(m, a.Seq)
		c.w.removed(noted)
	}
	return err
}

// update changes the stream's configuration.
func (c *publisher) update(ctx context.Context) error {
	c.w.mu.Lock()
	c.w.asked++
	version := c.w.asked
	c.w.mu.Unlock()
	_, err := c.ask(ctx, "$JS.API.STREAM.UPDATE."+c.w.stream, c.config(c.w, version))
	if err == nil {
		c.w.mu.Lock()
		c.w.confirmed = version
		c.w.mu.Unlock()
	}
	return err
}
