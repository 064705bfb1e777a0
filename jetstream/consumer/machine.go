package consumer

import (
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/nanos"
)

// Position is a delivery sequence and the stream sequence that belongs to it.
type Position = consumerstate.Pair

// World answers what the machine cannot know by itself.
type World interface {
	// Interest reports whether anybody listens on the reply subject of a
	// pull request.
	Interest(reply string) bool
	// Random returns a number in [0, n).
	Random(n int) int
	// ID returns a fresh unique identifier of 22 characters.
	ID() string
}

// Options say where a consumer lives and where it starts.
type Options struct {
	AckPrefix  string // of ack subjects, up to and including the dot before the delivery count
	FlowPrefix string // of flow-control subjects, with the final dot
	// Burst is the size of the rate limit's bucket in bytes.
	Burst int
	// ReplayEnd is the stream's last sequence at the start: up to there the
	// replay policy holds.
	ReplayEnd uint64
	// Now is the time of the start.
	Now int64
}

// Machine is a consumer. It is not safe for concurrent use.
//
// What each message changes or asks for comes first: among thousands of consumers
// one is out of the processor's cache between two messages, and each line that
// must be fetched costs as much as all that is computed.
type Machine struct {
	is       nature
	closed   bool
	blocked  bool // no waiting request may be served until the next input
	complete bool
	sample   uint8 // percent of the acks that are sampled

	next  uint64 // first stream sequence not looked at
	count uint64 // matching messages not yet delivered
	seen  uint64 // highest matching sequence that the stream told of

	// known are the sequences of all counted messages if complete, else of
	// those up to through: a filtered consumer loads them directly and need not
	// look at the messages in between. While they are few, few is their memory.
	through uint64
	s       *Scratch // nil at rest
	known   []uint64
	few     [4]uint64
	push    push
	list    []uint64

	cfg         *jsapi.ConsumerConfig
	target      string // the deliver subject
	pausedUntil int64
	notBefore   int64  // deliveries wait until then (rate limit, replay)
	dnext       uint64 // next delivery sequence
	delivered   Position
	floor       Position
	lastSent    int64 // when something was delivered last; 0: not since the start
	activity    int64 // last sign of life, for inactivity
	inactive    int64 // the threshold, 0: none
	replay      struct {
		last  int64 // time of the message that was delivered last for the first time
		sent  int64 // when that was
		until uint64
	}
	pend  pending
	given map[uint64]uint32 // given up: deliveries so far
	spent uint64            // no given up message is below it
	wait  waiting
	pin   pin

	lastAck int64
	resume  uint64 // where delivery goes on after the list
	rate    int64  // theoretical arrival time of the rate limit, ns
	world   World
	opts    Options
}

// nature is what each message asks of the configuration, so that a consumer among
// thousands, which is out of the processor's cache between two messages, does not
// fetch all of that.
type nature struct {
	push     bool
	filtered bool
	flow     bool // flow control
	none     bool // ack policy none
	limited  bool // by a rate
	capped   bool // by max_ack_pending
	counted  bool // by max_deliver
	bare     bool // headers only
	beats    bool // idle heartbeats to the deliver subject
}

// New returns a machine that has delivered nothing and starts at the stream
// sequence next.
func New(cfg *jsapi.ConsumerConfig, next uint64, w World, o Options) *Machine {
	m := newMachine(w, o)
	m.restart(next)
	m.configure(cfg, o.Now)
	m.start(o.Now)
	return m
}

func newMachine(w World, o Options) *Machine {
	m := &Machine{opts: o, world: w}
	m.known = m.few[:0]
	return m
}

// Restore returns a machine that goes on where the state stopped. first and
// last are the bounds of the stream. The second result tells whether the state
// went beyond the end of the stream and had to be cut. scanned is how far the
// consumer is known to have looked.
func Restore(cfg *jsapi.ConsumerConfig, s *consumerstate.State, scanned, first, last uint64, w World, o Options) (m *Machine, cut bool) {
	m = newMachine(w, o)
	m.dnext, m.next = s.Delivered.Consumer+1, s.Delivered.Stream+1
	m.delivered, m.floor = s.Delivered, s.AckFloor
	seqs := slices.Sorted(maps.Keys(s.Pending))
	if s.Delivered.Stream > last && s.Delivered.Consumer > 0 {
		// The stream lost its tail; its sequences will be given again.
		cut = true
		m.floor.Stream = min(m.floor.Stream, last)
		for len(seqs) > 0 && seqs[len(seqs)-1] > last {
			seqs = seqs[:len(seqs)-1]
		}
		m.delivered = m.floor
		if n := len(seqs); n > 0 {
			m.delivered = Position{Consumer: s.Pending[seqs[n-1]].Sequence, Stream: seqs[n-1]}
		}
		m.dnext, m.next = m.delivered.Consumer+1, m.delivered.Stream+1
	}
	m.configure(cfg, o.Now)
	for i, seq := range seqs {
		p := s.Pending[seq]
		if p.Sequence == 0 { // unknown: any that fits the order will do
			p.Sequence = m.floor.Consumer + uint64(i) + 1
		}
		e := entry{sseq: seq, dseq: p.Sequence, stamp: p.Timestamp, count: uint32(s.Redelivered[seq]) + 1}
		e.due = m.dueAfter(p.Timestamp, e.count)
		m.pend.add(e)
	}
	for seq, extra := range s.Redelivered {
		if seq >= first && seq <= last && seq < m.next && m.pend.find(seq) == nil {
			m.giveUp(seq, uint32(extra))
		}
	}
	if m.pend.live == 0 && len(m.given) == 0 && m.floor.Consumer == m.delivered.Consumer {
		m.floor.Stream = max(m.floor.Stream, m.delivered.Stream) // a purge has told the one, not the other
	}
	if scanned >= m.next && scanned <= last {
		m.next = scanned + 1
	}
	m.raise(first)
	m.start(o.Now)
	if m.pend.live > 0 && m.tracksDeadlines() {
		// The first check comes a random moment after the start, so that the
		// consumers of a server do not all redeliver at once.
		wait := int64(500e6) + int64(m.world.Random(1000))*1e6
		if cfg.AckWait > 0 {
			wait = min(wait, int64(cfg.AckWait))
		}
		soon := o.Now + wait
		m.pend.each(func(e *entry) bool {
			if e.due < soon {
				e.due = soon
			}
			return true
		})
		m.pend.rearm()
	}
	return m, cut
}

// restart forgets all deliveries and starts at next.
func (m *Machine) restart(next uint64) {
	next = max(next, 1)
	m.next, m.dnext = next, 1
	m.delivered = Position{Consumer: 0, Stream: next - 1}
	m.floor = m.delivered
	m.pend.clear()
	m.given = nil
	m.list, m.resume = nil, 0
	m.lastSent, m.lastAck = 0, 0
	m.replay.last, m.replay.sent = 0, 0
	m.known, m.complete, m.through = m.known[:0], false, 0
}

func (m *Machine) start(now int64) {
	m.activity = now
	m.replay.until = 0
	if m.cfg.ReplayPolicy == jsapi.ReplayOriginal {
		m.replay.until = m.opts.ReplayEnd
	}
	m.push.window = flowStart
	m.push.idle = now
	if p := m.cfg.PauseUntil; p != nil {
		m.Pause(nanos.Of(*p), now)
	}
}

// configure takes over what depends on the configuration.
func (m *Machine) configure(cfg *jsapi.ConsumerConfig, now int64) {
	m.cfg, m.target = cfg, cfg.DeliverSubject
	m.is = nature{
		push: cfg.Push(), filtered: len(cfg.Filters()) > 0, flow: cfg.FlowControl, none: cfg.AckPolicy == jsapi.AckNone,
		limited: cfg.RateLimit > 0, capped: cfg.MaxAckPending > 0 && cfg.AckPolicy != jsapi.AckNone, counted: cfg.MaxDeliver > 0,
		bare: cfg.HeadersOnly, beats: cfg.Push() && cfg.Heartbeat > 0,
	}
	m.sample = uint8(min(SamplePercent(cfg.SampleFrequency), 100))
	m.inactive = int64(cfg.InactiveThreshold)
	if m.inactive > 0 && (!cfg.Push() || cfg.InactiveThreshold == jsapi.DefaultInactiveThreshold) {
		// So that the consumers of a client that went away do not all go at once.
		m.inactive = nanos.After(m.inactive, int64(100+m.world.Random(900))*1e6)
	}
	m.activity = now
}

// SamplePercent returns the share of a sample_freq, which was validated.
func SamplePercent(freq string) int {
	n, err := strconv.Atoi(strings.TrimSuffix(freq, "%"))
	if err != nil {
		return 0
	}
	return n
}

// SetList makes the machine deliver exactly the listed sequences first, and go
// on with resume (deliver policy last_per_subject). It takes the slice.
func (m *Machine) SetList(list []uint64, resume uint64) {
	m.list, m.resume = list, resume
	if len(list) > 0 {
		m.next = list[0]
		m.delivered = Position{Consumer: 0, Stream: list[0] - 1}
		m.floor = m.delivered
	}
}

// Stored tells that n matching messages became visible, the last one with
// sequence last. They are all at or above the cursor, or all below it, where a
// consumer that waits beyond the end of the stream does not want them.
func (m *Machine) Stored(n, last uint64) {
	if last < m.next && len(m.list) == 0 {
		return
	}
	m.blocked = false
	m.learn(n, last)
	m.count += n
	m.seen = max(m.seen, last)
}

// Removed tells that a message left the stream. matches says whether it was of
// interest to this consumer.
func (m *Machine) Removed(seq uint64, matches bool) {
	if len(m.list) > 0 && seq < m.resume {
		if m.unlist(seq) {
			m.uncount()
			return
		}
	} else if seq >= m.next {
		if matches {
			m.uncount()
			m.unlearn(seq)
		}
		return
	}
	if e := m.pend.find(seq); e != nil {
		m.emit(Effect{Kind: Terminated, Seq: seq, ConsumerSeq: e.dseq, Count: uint64(e.count), Text: "Unacknowledged message was deleted"})
		m.settle(e, e.dseq)
	} else if m.given != nil {
		m.forget(seq)
	}
}

func (m *Machine) uncount() {
	if m.count > 0 {
		m.count--
	}
}

// unlist takes a message out of the list of last messages, if it is there.
func (m *Machine) unlist(seq uint64) bool {
	i, ok := slices.BinarySearch(m.list, seq)
	if ok {
		m.list = slices.Delete(m.list, i, i+1)
		m.listMoved()
	}
	return ok
}

// listMoved makes next follow the list of last messages.
func (m *Machine) listMoved() {
	if len(m.list) > 0 {
		m.next = max(m.next, m.list[0])
		return
	}
	m.list = nil
	m.next = max(m.next, m.resume)
}

// Purged tells that everything below first is gone. The count of pending
// messages must be set anew. Nothing is advised.
func (m *Machine) Purged(first uint64) {
	next := m.next
	n := sort.Search(len(m.list), func(i int) bool { return m.list[i] >= first })
	if n > 0 {
		m.list = m.list[n:]
		m.listMoved()
	}
	for e := m.pend.lowest(); e != nil && e.sseq < first; e = m.pend.lowest() {
		m.settle(e, e.dseq)
	}
	for seq := range m.given {
		if seq < first {
			m.forget(seq)
		}
	}
	if first > next {
		m.raise(first)
		if m.pend.live == 0 {
			m.follow(first)
		}
	}
}

// Pending appends the sequences of unacknowledged, given up and listed
// messages to dst: those that a purge of some subjects may have removed.
func (m *Machine) Pending(dst []uint64) []uint64 {
	m.pend.each(func(e *entry) bool { dst = append(dst, e.sseq); return true })
	for seq := range m.given {
		dst = append(dst, seq)
	}
	return append(dst, m.list...)
}

// Gone tells that a purge removed a message, without advisory.
func (m *Machine) Gone(seq uint64) {
	if m.unlist(seq) {
		return
	}
	if e := m.pend.find(seq); e != nil {
		m.settle(e, e.dseq)
		return
	}
	m.forget(seq)
}

// raise moves the cursor up to first, but not past the list of last messages.
func (m *Machine) raise(first uint64) {
	if len(m.list) > 0 {
		first = min(first, m.list[0])
	}
	m.next = max(m.next, first)
}

// CheckFloor repairs what the stream's first sequence left behind.
func (m *Machine) CheckFloor(first uint64) {
	for e := m.pend.lowest(); e != nil && e.sseq < first; e = m.pend.lowest() {
		m.emit(Effect{Kind: Terminated, Seq: e.sseq, ConsumerSeq: e.dseq, Count: uint64(e.count), Text: "Message deleted by stream limits"})
		m.settle(e, e.dseq)
	}
	for seq := range m.given {
		if seq < first {
			m.forget(seq)
		}
	}
	if m.floor.Stream+floorLag >= first {
		return
	}
	if e := m.pend.lowest(); e != nil {
		m.floor = Position{Consumer: e.dseq - 1, Stream: e.sseq - 1}
		return
	}
	m.follow(first)
}

// follow has what was delivered, and the floor with it, go along with the beginning
// of the stream, when nothing is pending. The floor never passes what was delivered.
func (m *Machine) follow(first uint64) {
	m.raise(first)
	m.delivered.Stream = max(m.delivered.Stream, min(first, m.next)-1)
	m.floor = Position{Consumer: m.dnext - 1, Stream: m.delivered.Stream}
	m.step(&consumerstate.Step{Kind: consumerstate.StepUpdateStarting, SSeq: m.delivered.Stream})
}

// floorLag is how far the floor may stay below the stream's first sequence
// before it is repaired.
const floorLag = 50

// giveUp remembers the counter of a message that is never delivered again.
func (m *Machine) giveUp(seq uint64, count uint32) {
	if m.given == nil {
		m.given = make(map[uint64]uint32)
	}
	if len(m.given) == 0 || seq < m.spent {
		m.spent = seq
	}
	m.given[seq] = count
}

// forget drops the counter of a message that was given up.
func (m *Machine) forget(seq uint64) bool {
	if _, ok := m.given[seq]; !ok {
		return false
	}
	delete(m.given, seq)
	m.acked(seq, 0)
	return true
}

// settle takes a pending message out and moves the floor as for an ack by the
// delivery sequence dseq.
func (m *Machine) settle(e *entry, dseq uint64) {
	sseq := e.sseq
	if first := e.dseq; first > dseq || m.cfg.AckPolicy == jsapi.AckExplicit {
		dseq = first
	}
	if m.cfg.AckPolicy == jsapi.AckExplicit {
		// With the others an ack in the run covers everything below; there it
		// is enough that the missing message is found missing again.
		m.acked(sseq, dseq)
	}
	m.pend.settle(e)
	switch {
	case m.pend.live == 0:
		m.floor = Position{Consumer: m.dnext - 1, Stream: m.delivered.Stream}
	case dseq == m.floor.Consumer+1:
		low := m.pend.lowest()
		m.floor.Consumer = max(m.floor.Consumer, low.dseq-1)
		m.floor.Stream = max(m.floor.Stream, low.sseq-1)
	}
}

// tracksDeadlines reports whether unacknowledged messages expire.
func (m *Machine) tracksDeadlines() bool {
	return m.cfg.AckPolicy == jsapi.AckExplicit || m.cfg.AckPolicy == jsapi.AckAll
}

// dueAfter is the ack deadline of a message that was delivered for the n-th
// time at the given time.
func (m *Machine) dueAfter(at int64, n uint32) int64 {
	if !m.tracksDeadlines() {
		return 0
	}
	wait := int64(m.cfg.AckWait)
	if b := m.cfg.BackOff; len(b) > 0 {
		wait = max(int64(b[min(int(max(n, 1)), len(b))-1]), minBackOff)
	}
	if wait <= 0 {
		return 0
	}
	return nanos.After(at, wait)
}

// minBackOff is the shortest time between two deliveries: a backoff may be 0.
const minBackOff = int64(1e6)

// Needs reports whether the consumer still needs a message of its filters.
func (m *Machine) Needs(seq uint64) bool {
	if _, ok := m.given[seq]; ok {
		return true
	}
	if seq <= m.floor.Stream {
		return false
	}
	if m.pend.find(seq) != nil {
		return true
	}
	if len(m.list) > 0 && seq < m.resume {
		_, listed := slices.BinarySearch(m.list, seq)
		return listed
	}
	return seq >= m.next // what was passed over is not delivered any more
}

// AckFloor is the floor; Delivered the highest delivery.
func (m *Machine) AckFloor() Position  { return m.floor }
func (m *Machine) Delivered() Position { return m.delivered }

// Done is a sequence up to which the machine need not be told of removals.
func (m *Machine) Done() uint64 {
	if len(m.given) > 0 {
		return min(m.floor.Stream, m.spent-1)
	}
	return m.floor.Stream
}

// Cursor is the first sequence that was not looked at.
func (m *Machine) Cursor() uint64 { return m.next }

// Info is what API replies show.
type Info struct {
	Delivered, Floor     Position
	LastDelivery         int64
	LastAck              int64
	AckPending           int
	Redelivered          int
	Waiting              int
	Pending              uint64
	Bound                bool
	PausedFor            int64 // 0: not paused
	Pinned               string
	PinnedAt             int64
	Queued               int // in the redelivery queue
	FlowOutstanding      string
	FlowWindow, FlowUsed int
}

// Info describes the machine.
func (m *Machine) Info(now int64) Info {
	m.dropDead(now)
	i := Info{
		Delivered: m.delivered, Floor: m.floor,
		LastDelivery: m.lastSent, LastAck: m.lastAck,
		AckPending: m.pend.live, Redelivered: m.pend.again + len(m.given),
		Waiting: m.wait.len(), Pending: m.count,
		Bound:  m.cfg.Push() && m.push.active,
		Pinned: m.pin.id, PinnedAt: m.pin.at,
		Queued:          m.pend.queued,
		FlowOutstanding: m.push.outstanding, FlowWindow: m.push.window, FlowUsed: m.push.used,
	}
	if m.cfg.MaxDeliver == 1 {
		i.Redelivered = 0
	}
	if m.pausedUntil > now {
		i.PausedFor = m.pausedUntil - now
	}
	return i
}

// Snapshot returns what must survive a restart, and how far the consumer has
// looked.
func (m *Machine) Snapshot() (s consumerstate.State, scanned uint64) {
	s = consumerstate.State{Delivered: Position{Consumer: m.dnext - 1, Stream: m.delivered.Stream}, AckFloor: m.floor}
	if len(m.list) == 0 {
		scanned = m.next - 1
	}
	if m.pend.live > 0 {
		s.Pending = make(map[uint64]consumerstate.Pending, m.pend.live)
	}
	if n := m.pend.again + len(m.given); n > 0 {
		s.Redelivered = make(map[uint64]uint64, n)
	}
	m.pend.each(func(e *entry) bool {
		s.Pending[e.sseq] = consumerstate.Pending{Sequence: e.dseq, Timestamp: e.stamp}
		if e.count > 1 {
			s.Redelivered[e.sseq] = uint64(e.count) - 1
		}
		return true
	})
	for seq, n := range m.given {
		s.Redelivered[seq] = uint64(n) // the attempt that was one too many counts
	}
	return s, scanned
}

// Busy reports whether a message that comes now could be sent, or something
// waits to be taken: the caller should make a turn.
func (m *Machine) Busy() bool {
	if m.s != nil && m.s.says() {
		return true
	}
	if m.is.push {
		return m.push.active
	}
	return m.wait.len() > 0
}

// AcksNone reports whether the ack policy is none.
func (m *Machine) AcksNone() bool { return m.is.none }

// Ready is how many messages the waiting requests could be given, as far as is
// known without a look at them. A push consumer has none.
func (m *Machine) Ready() int {
	if m.is.push || m.wait.len() == 0 {
		return 0
	}
	n := m.count + uint64(m.pend.queued)
	if room := m.room(); room >= 0 {
		n = min(n, uint64(room+m.pend.queued))
	}
	return int(min(n, uint64(m.wait.outstanding())))
}

// HasEffects reports whether Effects would return any.
func (m *Machine) HasEffects() bool { return m.s != nil && len(m.s.effects) > 0 }

// Holds reports whether Trim would give back a noticeable amount of memory.
func (m *Machine) Holds() bool {
	const few = 16
	return m.pend.live == 0 && cap(m.pend.entries)+cap(m.pend.deadlines)+cap(m.pend.queue) > few ||
		len(m.known) == 0 && cap(m.known) > few || cap(m.wait.q) > few && m.wait.len() == 0
}

// Trim gives memory back; to be called when the consumer has been idle.
func (m *Machine) Trim() {
	m.pend.trim()
	m.wait.trim()
	if len(m.known) == 0 {
		m.known = m.few[:0]
	}
}
