package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/natsd/natsd/server/options"
)

// consumers is everything that consumers do: streams of all retentions, pull and
// push consumers with all ack policies that remember, all kinds of acks, updates, a
// consumer that comes and goes.
type consumers struct {
	cipher  string
	streams []*feed
	churn   consumerChurn
}

// feed is a stream whose consumers are watched.
type feed struct {
	name, retention string
	created         bool
	consumers       []*reader

	mu    sync.Mutex
	acked map[uint64]string // subjects of messages with a PubAck
	last  uint64
}

// reader is a consumer and what its clients have seen and said.
type reader struct {
	*feed
	name    string
	filter  string // "" for all
	config  string // members of its configuration
	push    string // deliver subject
	ackAll  bool
	created bool
	floor   uint64 // of an ackAll: the highest consumer sequence that was acknowledged

	mu    sync.Mutex
	tried map[uint64]bool // an ack was sent, or something else that ends the message
	sure  map[uint64]bool // and it was confirmed
	// Versions of the configuration that were asked for and confirmed.
	asked, confirmed int
}

func newConsumers(seed uint64) scenario {
	rng := rand.New(rand.NewPCG(seed, 12))
	sc := &consumers{cipher: []string{"", "", "chacha", "aes"}[rng.IntN(4)]}
	add := func(name, retention string, readers ...*reader) {
		f := &feed{name: name, retention: retention, acked: map[uint64]string{}, consumers: readers}
		for _, r := range readers {
			r.feed, r.tried, r.sure = f, map[uint64]bool{}, map[uint64]bool{}
			if !r.ackAll {
				r.config += `,"ack_policy":"explicit"`
			}
			if r.filter != "" {
				r.config += fmt.Sprintf(`,"filter_subject":%q`, r.filter)
			}
		}
		sc.streams = append(sc.streams, f)
	}
	add("L", "limits",
		&reader{name: "A"},
		&reader{name: "B", filter: "L.1"},
		&reader{name: "Z", ackAll: true, config: `,"ack_policy":"all"`},
		&reader{name: "P", push: "push.P", config: `,"deliver_subject":"push.P"`},
		&reader{name: "M", filter: "L.2", config: `,"max_ack_pending":2000`})
	add("W", "workqueue", &reader{name: "Q"})
	add("I", "interest", &reader{name: "I1"}, &reader{name: "I2", filter: "I.1"})
	if rng.IntN(2) == 0 { // so many that their runs and the messages share journal rounds
		for i := range 20 {
			add("X"+strconv.Itoa(i), "workqueue", &reader{name: "Q"})
		}
	}
	return sc
}

func (sc *consumers) options(o *options.JetStream) {
	if sc.cipher != "" {
		o.Cipher, o.Key = sc.cipher, "secret"
	}
}

func (sc *consumers) forgetAcks() {
	for _, f := range sc.streams {
		f.created = false
		clear(f.acked)
		for _, r := range f.consumers {
			r.created, r.confirmed = false, 0
			clear(r.sure)
		}
	}
	sc.churn = consumerChurn{lax: true, n: sc.churn.n}
}

func (sc *consumers) verify(p *powered) error {
	ctx, cancel := patient(3 * answerWithin)
	defer cancel()
	for _, f := range sc.streams {
		a, err := p.ask(ctx, "$JS.API.STREAM.INFO."+f.name, "")
		if isCode(err, codeStreamNotFound) && !f.created {
			continue
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", f.name, err)
		}
		f.created = true
		if a.State.LastSeq < f.last {
			return fmt.Errorf("stream %s ends at %d, clients were told %d", f.name, a.State.LastSeq, f.last)
		}
		found, err := p.readStream(f.name)
		if err != nil {
			return err
		}
		if err := f.judge(found); err != nil {
			return fmt.Errorf("stream %s: %w", f.name, err)
		}
		for _, r := range f.consumers {
			if err := r.verify(ctx, p, found, a.State.LastSeq); err != nil {
				return fmt.Errorf("consumer %s > %s: %w", f.name, r.name, err)
			}
		}
		clear(f.acked)
		for seq, m := range found {
			f.acked[seq] = m.subject
		}
		f.last = a.State.LastSeq
	}
	return sc.churn.verify(ctx, p)
}

// judge compares the messages of a stream with what its consumers need.
func (f *feed) judge(found map[uint64]stored) error {
	for seq, subject := range f.acked {
		_, there := found[seq]
		needed, over := f.retention == "limits", f.retention != "limits"
		for _, r := range f.consumers {
			if r.wants(subject) {
				needed = needed || !r.tried[seq]
				over = over && r.sure[seq]
			}
		}
		switch {
		case !there && needed:
			return fmt.Errorf("message %d is missing, and no consumer has acknowledged it", seq)
		case there && over:
			return fmt.Errorf("message %d is there, and all consumers were confirmed that they have acknowledged it", seq)
		}
	}
	return nil
}

func (r *reader) wants(subject string) bool { return r.filter == "" || r.filter == subject }

// verify compares the consumer's state with what its clients said, and takes all that
// it has left.
func (r *reader) verify(ctx context.Context, p *powered, found map[uint64]stored, last uint64) error {
	ci, err := p.js.ConsumerInfo(r.feed.name, r.name)
	if errors.Is(err, nats.ErrConsumerNotFound) && !r.created {
		return nil
	}
	if err != nil {
		return err
	}
	r.created = true
	version, err := strconv.Atoi(ci.Config.Description)
	if err != nil || version < r.confirmed || version > r.asked {
		return fmt.Errorf("configuration %q, %d was confirmed and %d asked for", ci.Config.Description, r.confirmed, r.asked)
	}
	r.asked, r.confirmed = version, version
	if ci.Delivered.Stream > last || ci.AckFloor.Stream > ci.Delivered.Stream || ci.AckFloor.Consumer > ci.Delivered.Consumer {
		return fmt.Errorf("delivered %+v, floor %+v, the stream ends at %d", ci.Delivered, ci.AckFloor, last)
	}
	pending := uint64(0)
	for seq, m := range found {
		switch {
		case !r.wants(m.subject):
		case seq <= ci.AckFloor.Stream && !r.tried[seq]:
			return fmt.Errorf("the floor is %d, message %d was never acknowledged", ci.AckFloor.Stream, seq)
		case seq > ci.Delivered.Stream:
			pending++
		}
	}
	// A push consumer delivers as soon as it is asked for, so its count is no news.
	if pending != ci.NumPending {
		return fmt.Errorf("%d messages are pending, the stream has %d behind %d", ci.NumPending, pending, ci.Delivered.Stream)
	}
	seen, err := p.drain(r.feed.name, r.name, r.push)
	if err != nil {
		return err
	}
	for seq := range seen {
		if r.sure[seq] {
			return fmt.Errorf("message %d came again after its ack was confirmed", seq)
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(found)) {
		if r.wants(found[seq].subject) && !r.tried[seq] && !seen[seq] {
			return fmt.Errorf("message %d was never acknowledged and does not come (%d did; %+v, floor %+v)", seq, len(seen), ci.Delivered, ci.AckFloor)
		}
	}
	return nil
}

func (sc *consumers) work(ctx context.Context, p *powered, rng *rand.Rand, life int) error {
	var wg sync.WaitGroup
	defer wg.Wait() // also when something cannot be created
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed atomic.Pointer[error]
	run := func(f func(*rand.Rand) error) {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 3))
		wg.Go(func() {
			err := f(rng)
			if err != nil && ctx.Err() == nil && !p.disk.IsCut() {
				failed.CompareAndSwap(nil, &err)
				p.disk.Cut() // the life ends here
			}
		})
	}
	for _, f := range sc.streams {
		if !f.created {
			if _, err := p.ask(ctx, "$JS.API.STREAM.CREATE."+f.name, fmt.Sprintf(`{"name":%q,"subjects":["%s.*"],"retention":%q,"allow_direct":true}`, f.name, f.name, f.retention)); err != nil {
				return err
			}
			f.created = true
		}
		for _, r := range f.consumers {
			if r.created {
				continue
			}
			r.asked = max(r.asked, 1)
			if err := r.configure(ctx, p, 1); err != nil {
				return err
			}
			r.created, r.confirmed = true, 1
		}
		run(func(rng *rand.Rand) error { return f.publish(ctx, p, rng, life) })
		for _, r := range f.consumers {
			workers := 2
			if r.ackAll {
				workers = 1
			}
			for range workers {
				run(func(rng *rand.Rand) error { return r.read(ctx, p, rng) })
			}
		}
	}
	a := sc.streams[0].consumers[0]
	run(func(*rand.Rand) error { return a.update(ctx, p) })
	run(func(*rand.Rand) error { return sc.churn.work(ctx, p) })
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (r *reader) configure(ctx context.Context, p *powered, version int) error {
	_, err := p.ask(ctx, "$JS.API.CONSUMER.CREATE."+r.feed.name+"."+r.name, fmt.Sprintf(
		`{"stream_name":%q,"config":{"durable_name":%q,"name":%q,"description":"%d","ack_wait":%d%s}}`,
		r.feed.name, r.name, r.name, version, redeliverAfter, r.config))
	if err != nil {
		err = fmt.Errorf("consumer %s: %w", r.name, err)
	}
	return err
}

func (r *reader) update(ctx context.Context, p *powered) error {
	for ctx.Err() == nil {
		r.asked++
		if err := r.configure(ctx, p, r.asked); err != nil {
			return err
		}
		r.confirmed = r.asked
	}
	return nil
}

func (f *feed) publish(ctx context.Context, p *powered, rng *rand.Rand, life int) error {
	for n := 0; ctx.Err() == nil; n++ {
		subject := f.name + "." + strconv.Itoa(rng.IntN(3))
		a, err := p.ask(ctx, subject, fmt.Sprintf("%d.%d %s", life, n, strings.Repeat("x", rng.IntN(200))))
		if err != nil {
			return fmt.Errorf("publishing to %s: %w", subject, err)
		}
		f.mu.Lock()
		f.acked[a.Seq], f.last = subject, max(f.last, a.Seq)
		f.mu.Unlock()
	}
	return nil
}

// read takes messages and answers each in some way.
func (r *reader) read(ctx context.Context, p *powered, rng *rand.Rand) error {
	inbox := p.nc.NewInbox()
	if r.push != "" {
		inbox = r.push
	}
	sub, err := p.nc.QueueSubscribeSync(inbox, "workers")
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		n := 1 + rng.IntN(10)
		if r.push == "" {
			if err := p.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+r.feed.name+"."+r.name, inbox, fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, n, redeliverAfter)); err != nil {
				return err
			}
		}
		for range n {
			m, err := sub.NextMsgWithContext(ctx)
			if err != nil {
				return err
			}
			if m.Reply == "" {
				break // the request has expired
			}
			if err := r.answer(ctx, p, m, rng); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) answer(ctx context.Context, p *powered, m *nats.Msg, rng *rand.Rand) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	seq := meta.Sequence.Stream
	k := rng.IntN(20)
	body := "+ACK"
	switch {
	case k < 12:
	case k < 14:
		body = "+TERM"
	case k < 16:
		return p.nc.Publish(m.Reply, []byte("-NAK"))
	case k < 17:
		return p.nc.Publish(m.Reply, []byte("+WPI"))
	default:
		return nil // not acknowledged
	}
	if r.ackAll {
		body = "+ACK"
	}
	// What an ack of this message ends.
	ended := []uint64{seq}
	if r.ackAll {
		r.feed.mu.Lock()
		for s := range r.feed.acked {
			if s < seq {
				ended = append(ended, s)
			}
		}
		r.feed.mu.Unlock()
	}
	r.note(r.tried, ended)
	// An ack for all whose consumer sequence is not above the floor is confirmed and
	// does nothing; that of a redelivery moves the floor far.
	r.feed.mu.Lock()
	stale := r.ackAll && meta.Sequence.Consumer <= r.floor
	r.floor = max(r.floor, meta.Sequence.Consumer)
	r.feed.mu.Unlock()
	if k%3 == 0 {
		return p.nc.Publish(m.Reply, []byte(body))
	}
	if _, err := p.nc.RequestWithContext(ctx, m.Reply, []byte(body)); err != nil {
		return fmt.Errorf("consumer %s, message %d: %w", r.name, seq, err)
	}
	if !stale {
		r.note(r.sure, ended)
	}
	return nil
}

func (r *reader) note(set map[uint64]bool, seqs []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, seq := range seqs {
		set[seq] = true
	}
}

// consumerChurn is a consumer that is created, paused, reset and deleted again and
// again.
type consumerChurn struct {
	lax      bool
	exists   bool
	n        int // its number, in its description
	creating bool
	deleting bool
	// Until when it is paused, and where it was reset to: what was asked for, and confirmed.
	pause, reset struct{ asked, confirmed bool }
}

// Until when consumer n is paused, and where it is reset to, beyond its stream's end.
func (c *consumerChurn) until() time.Time { return time.Unix(4e9+int64(c.n), 0).UTC() }
func (c *consumerChurn) start() uint64    { return 1e9 + uint64(c.n) }

func (c *consumerChurn) verify(ctx context.Context, p *powered) error {
	ci, err := p.js.ConsumerInfo("L", "D", nats.Context(ctx))
	if errors.Is(err, nats.ErrConsumerNotFound) || errors.Is(err, nats.ErrStreamNotFound) {
		if c.exists && !c.deleting && !c.lax {
			return fmt.Errorf("consumer D, number %d, is gone", c.n)
		}
		*c = consumerChurn{n: c.n}
		return nil
	}
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(ci.Config.Description)
	if err != nil || !c.lax && (n != c.n || !c.exists && !c.creating) {
		return fmt.Errorf("consumer D is number %q, and should be %d (exists %v)", ci.Config.Description, c.n, c.exists)
	}
	a, err := p.ask(ctx, "$JS.API.CONSUMER.INFO.L.D", "")
	if err != nil {
		return err
	}
	c.n = n
	paused, moved := a.Config.PauseUntil.Equal(c.until()), ci.Delivered.Stream == c.start()-1
	if !c.lax && (paused && !c.pause.asked || !paused && c.pause.confirmed || moved && !c.reset.asked || !moved && c.reset.confirmed) {
		return fmt.Errorf("consumer D, number %d, is paused until %v and has delivered %+v: pause %+v, reset %+v", n, a.Config.PauseUntil, ci.Delivered, c.pause, c.reset)
	}
	*c = consumerChurn{exists: true, n: n}
	c.pause.asked, c.pause.confirmed, c.reset.asked, c.reset.confirmed = paused, paused, moved, moved
	return nil
}

func (c *consumerChurn) work(ctx context.Context, p *powered) error {
	ask := func(what, body string) error {
		_, err := p.ask(ctx, "$JS.API.CONSUMER."+what+".L.D", body)
		if err != nil {
			err = fmt.Errorf("consumer D: %s: %w", what, err)
		}
		return err
	}
	for ctx.Err() == nil {
		if !c.exists {
			*c = consumerChurn{n: c.n + 1, creating: true}
			if err := ask("CREATE", fmt.Sprintf(`{"stream_name":"L","config":{"durable_name":"D","name":"D","description":"%d","ack_policy":"explicit"}}`, c.n)); err != nil {
				return err
			}
			c.exists, c.creating = true, false
		}
		if c.n%2 == 0 {
			c.pause.asked = true
			if err := ask("PAUSE", fmt.Sprintf(`{"pause_until":%q}`, c.until().Format(time.RFC3339))); err != nil {
				return err
			}
			c.pause.confirmed = true
		}
		if c.n%3 == 0 {
			c.reset.asked = true
			if err := ask("RESET", fmt.Sprintf(`{"seq":%d}`, c.start())); err != nil {
				return err
			}
			c.reset.confirmed = true
		}
		c.deleting = true
		if err := ask("DELETE", ""); err != nil {
			return err
		}
		c.exists, c.deleting = false, false
	}
	return nil
}

func TestPowerCutConsumers(t *testing.T) { runSeeds(t, 50, newConsumers) }

func TestPowerCutConsumersCatchesFaults(t *testing.T) {
	catches(t, newConsumers, map[string]fault{"double ack before durable": confirmEarly})
}
