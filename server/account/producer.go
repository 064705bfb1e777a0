package account

import (
	"hash/maphash"
	"math/rand/v2"
	"time"

	"github.com/natsd/natsd/server/msgtrace"
	"github.com/natsd/natsd/server/transport"
	"github.com/natsd/natsd/subjecttree"
)

const (
	// cacheSize bounds the match results that a producer keeps for one account;
	// pruned is how many go when it is full.
	cacheSize = 512
	pruned    = 33

	// doorSize is the number of hashes of subjects seen once that a producer
	// keeps, so that one-time subjects (inboxes) do not fill its cache. A power
	// of two.
	doorSize = 256

	// maxDepth bounds the service imports that a message passes through.
	maxDepth = 32

	// arenaSize is the size of the pieces of memory for subjects and headers that
	// are made on the way.
	arenaSize = 4 << 10
)

// Producer carries messages from one source to their receivers. It belongs to
// one goroutine at a time. Nothing that it delivers is under way before Flush.
type Producer struct {
	// Out holds the stages of connections.
	Out transport.Outbox
	// Self is the connection that publishes, nil inside the server. Kind is its
	// kind.
	Self Receiver
	Kind Kind

	// Slow is a connection that the producer should wait for before it sends
	// more; set by deliveries of producers that do not stall, cleared by whoever
	// reads it.
	Slow *transport.Conn

	// Stall is how long the producer may still wait for slow receivers in this
	// batch; Stalled is how long it did.
	Stall, Stalled time.Duration

	main   *matchCache
	other  *matchCache // of others, the one used last
	others map[*Account]*matchCache
	frames []*frame
	depth  int

	batches  []batch           // of receivers inside the server
	traces   []*msgtrace.Trace // of messages in batches, held
	arena    []byte
	full     [][]byte // arenas that have no room left
	volatile bool     // memory outside of the read buffer is referred to

	began time.Time // of the batch; zero until somebody asks

	// Deliveries not yet counted, and the account that they count for.
	counted     *Account
	msgs, bytes int64
	rng         uint64
}

// frame is what one level of routing needs; levels are service imports.
type frame struct {
	msg    Msg
	pass   passage
	result subjecttree.Result[*Sub]
	shadow Msg
}

var doorSeed = maphash.MakeSeed()

type matchCache struct {
	acc  *Account
	m    map[string]*match
	last *match // the one used last: publishers repeat themselves
	door [doorSize]uint32
}

// match is a cached result, valid while its ticket is.
type match struct {
	subject string
	held    subjecttree.Ticket
	result  subjecttree.Result[*Sub]
}

// random returns a number for choices that need no quality (xorshift).
func (p *Producer) random() uint64 {
	if p.rng == 0 {
		p.rng = rand.Uint64() | 1
	}
	p.rng ^= p.rng << 13
	p.rng ^= p.rng >> 7
	p.rng ^= p.rng << 17
	return p.rng
}

func (p *Producer) cache(a *Account) *matchCache {
	if c := p.main; c != nil && c.acc == a {
		return c
	}
	if p.main == nil {
		p.main = &matchCache{acc: a}
		return p.main
	}
	if c := p.other; c != nil && c.acc == a {
		return c
	}
	c := p.others[a]
	if c == nil {
		c = &matchCache{acc: a}
		if p.others == nil || len(p.others) >= maxDepth {
			p.others = map[*Account]*matchCache{}
		}
		p.others[a] = c
	}
	p.other = c
	return c
}

// Forget drops all match results, for a connection that changes its account.
func (p *Producer) Forget() { p.main, p.other, p.others = nil, nil, nil }

// match returns who gets a message on subject in a. The result is valid until
// the next call at the same depth; nobody may change it.
func (p *Producer) match(a *Account, subject []byte) *subjecttree.Result[*Sub] {
	c := p.cache(a)
	e := c.last
	if e == nil || e.subject != string(subject) {
		if e = c.m[string(subject)]; e != nil {
			c.last = e
		}
	}
	if e != nil {
		if !e.held.Valid() {
			if p.depth > 0 {
				// An outer level may still walk the old result.
				e.result = subjecttree.Result[*Sub]{}
			}
			a.list.MatchHeld(&e.result, &e.held, subject)
		}
		return &e.result
	}
	h := uint32(maphash.Bytes(doorSeed, subject)) | 1
	if seen := &c.door[h%doorSize]; *seen != h {
		*seen = h
		r := &p.frame().result
		a.list.MatchInto(r, subject)
		return r
	}
	e = &match{subject: string(subject)}
	a.list.MatchHeld(&e.result, &e.held, subject)
	if c.m == nil {
		c.m = make(map[string]*match)
	}
	if len(c.m) >= cacheSize {
		n := 0
		for k := range c.m {
			delete(c.m, k)
			if n++; n == pruned {
				break
			}
		}
	}
	c.m[e.subject] = e
	return &e.result
}

// now is the time of the batch: one look at the clock for all of its messages.
func (p *Producer) now() time.Time {
	if p.began.IsZero() {
		p.began = time.Now()
	}
	return p.began
}

func (p *Producer) frame() *frame {
	for len(p.frames) <= p.depth {
		p.frames = append(p.frames, new(frame))
	}
	return p.frames[p.depth]
}

// Route delivers m to everybody in a who should get it: all plain subscriptions
// and one member of each queue group. It returns whether anybody took it.
func (p *Producer) Route(a *Account, m *Msg) bool {
	if p.depth >= maxDepth {
		return false
	}
	if isServiceReply(m.Subject) {
		delivered := p.respond(a, m)
		r := &p.frame().result // most are used once
		a.list.MatchInto(r, m.Subject)
		return p.deliverAll(r, m) || delivered
	}
	return p.deliverAll(p.match(a, m.Subject), m)
}

// routeKept is Route for a source that keeps the match of its subject, which is not
// the reply subject of a service import.
func (p *Producer) routeKept(a *Account, m *Msg, kept *match) bool {
	if !kept.held.Valid() {
		a.list.MatchHeld(&kept.result, &kept.held, m.Subject)
	}
	return p.deliverAll(&kept.result, m)
}

// deliverAll delivers m to all plain subscriptions of r and one member of each
// group. It returns whether anybody took it.
func (p *Producer) deliverAll(r *subjecttree.Result[*Sub], m *Msg) bool {
	delivered := false
	p.depth++
	for _, s := range r.Plain {
		if p.deliver(s, m) {
			delivered = true
		}
	}
	for _, g := range r.Groups {
		if p.deliverGroup(g.Members, m) {
			delivered = true
		}
	}
	p.depth--
	return delivered
}

// deliverGroup gives m to one member, beginning at a random one.
func (p *Producer) deliverGroup(members []*Sub, m *Msg) bool {
	i := 0
	if len(members) > 1 {
		i = int(p.random() % uint64(len(members)))
	}
	for range members {
		if p.deliver(members[i], m) {
			return true
		}
		if i++; i == len(members) {
			i = 0
		}
	}
	return false
}

func (p *Producer) deliver(s *Sub, m *Msg) bool {
	if s.closed.Load() {
		if m.Trace != nil {
			p.traceRefused(s, m, msgtrace.SubscriptionClosed)
		}
		return false
	}
	if s.shadow != nil {
		return p.deliverShadow(s, m)
	}
	return s.To.Deliver(p, s, m)
}

// Keep copies b into memory that lives until the flush.
func (p *Producer) Keep(b []byte) []byte {
	a := p.room(len(b))
	n := len(a)
	p.arena = append(a, b...)
	return p.arena[n:len(p.arena):len(p.arena)]
}

// room makes sure that n bytes can be appended to the arena without moving what
// is there: a full arena waits for the flush.
func (p *Producer) room(n int) []byte {
	if cap(p.arena)-len(p.arena) < n {
		if p.arena != nil {
			p.full = append(p.full, p.arena)
		}
		p.arena = transport.GetBuffer(max(n, arenaSize))
	}
	return p.arena
}

// Build lets f append to memory that lives until the flush, and returns what it
// appended. size is a guess of how much that is.
func (p *Producer) Build(size int, f func(dst []byte) []byte) []byte {
	a := p.room(size)
	n := len(a)
	// If f appends more than there is room for, its copy becomes the arena.
	p.arena = f(a)
	return p.arena[n:len(p.arena):len(p.arena)]
}

// HasReferences tells whether a handler, or a stage with a large payload, refers to
// the slices of messages until the flush. Sources whose memory moves before that must
// flush at once if so.
func (p *Producer) HasReferences() bool { return p.volatile || p.Out.Sharing() }

// Sent counts one delivered message for the account of the receiver.
func (p *Producer) Sent(a *Account, size int) {
	if p.counted != a {
		p.count()
		p.counted = a
	}
	p.msgs++
	p.bytes += int64(size)
}

func (p *Producer) count() {
	if p.msgs > 0 {
		p.counted.stats.OutMsgs.Add(p.msgs)
		p.counted.stats.OutBytes.Add(p.bytes)
		p.counted.total.OutMsgs.Add(p.msgs)
		p.counted.total.OutBytes.Add(p.bytes)
		p.msgs, p.bytes = 0, 0
	}
	p.counted = nil
}

// Flush ends the batch: receivers inside the server get what was collected for
// them, then connections are written to.
func (p *Producer) Flush() {
	p.began = time.Time{}
	// Handlers may publish on the same producer, and so collect again.
	for len(p.batches) > 0 {
		last := len(p.batches) - 1
		b := p.batches[last]
		p.batches[last] = nil
		p.batches = p.batches[:last]
		b.flush(p)
	}
	p.count() // first: whoever has received a message finds it counted
	p.Out.Flush()
	for i, t := range p.traces {
		t.Release()
		p.traces[i] = nil
	}
	p.traces = p.traces[:0]
	p.volatile = false
	if p.arena != nil {
		transport.PutBuffer(p.arena)
		p.arena = nil
		for i, b := range p.full {
			transport.PutBuffer(b)
			p.full[i] = nil
		}
		p.full = p.full[:0]
	}
}

// Map applies the mappings of a to subject. The result is nil if none applies;
// ok is false if the message is to be dropped.
func (p *Producer) Map(a *Account, subject []byte) (mapped []byte, ok bool) {
	m := a.Config().Mappings
	if m == nil {
		return nil, true
	}
	applied := false
	out := p.Build(2*len(subject)+64, func(dst []byte) []byte {
		var out []byte
		if out, applied = m.Apply(dst, subject, rand.Uint32N); out == nil {
			return dst
		}
		return out
	})
	if !applied {
		return nil, true
	}
	return out, len(out) > 0
}

// Tracer is a receiver that shows in traces.
type Tracer interface {
	// TraceID is the connection's id, name and account.
	TraceID() (cid uint64, name string, a *Account)
}

func (p *Producer) traceRefused(s *Sub, m *Msg, why string) {
	if t, ok := s.To.(Tracer); ok {
		TraceEgress(t, s, m, why)
	}
}

// TraceEgress adds the egress event of a delivery to a connection.
func TraceEgress(t Tracer, s *Sub, m *Msg, why string) {
	e := msgtrace.Event{Type: msgtrace.Egress, Kind: msgtrace.Kind(s.To.Kind()), Sub: s.Subject, Queue: s.Queue, Error: why}
	var a *Account
	e.CID, e.Name, a = t.TraceID()
	if a.name != m.Trace.Account {
		e.Account = a.name
	}
	if m.Trace.Shadow != "" {
		e.Sub = m.Trace.Shadow
	}
	m.Trace.Add(e)
}
