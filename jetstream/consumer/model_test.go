package consumer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/seedtest"
)

// modelSteps is how many things happen in a run of the model test.
const modelSteps = 400

// TestModel makes random things happen to a machine and compares it after each
// with a simple model: what was delivered how often, what is settled, and where
// the floor is. At the end everything that is left must be delivered.
func TestModel(t *testing.T) {
	for seed := range seedtest.Seeds(t, 500) {
		if err := runModel(seed, mutant{}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// failure is what the model found wrong, with all that happened before.
type failure struct {
	what  string
	trace []string
}

func (f *failure) Error() string { return f.what + "\n" + strings.Join(f.trace, "\n") }

// model is what must be true of a consumer.
type model struct {
	mutant
	s       *sim
	r       *rand.Rand
	sends   map[uint64]int  // deliveries of a message since the last reset
	settled map[uint64]bool // acked, terminated or gone
	given   map[uint64]bool // given up
	passed  map[uint64]bool // not wanted: below the start, or skipped with other filters
	pending map[uint64]bool
	firsts  map[uint64]uint64 // delivery sequence of the first delivery
	latest  map[uint64]uint64 // ... and of the latest, which is what a client acknowledges
	floor   Position
	flow    flowModel
	groups  *groupModel            // of a consumer with priority groups, else nil
	log     *consumerstate.Tracker // what the runs make
	trace   []string
}

// fail ends the run; runModel returns the failure.
func (m *model) fail(format string, args ...any) {
	panic(&failure{fmt.Sprintf(format, args...), m.trace})
}

func randomConfig(r *rand.Rand) *jsapi.ConsumerConfig {
	cfg := &jsapi.ConsumerConfig{
		AckPolicy: []jsapi.AckPolicy{jsapi.AckExplicit, jsapi.AckExplicit, jsapi.AckAll, jsapi.AckNone}[r.IntN(4)],
		AckWait:   time.Second, MaxDeliver: []int{-1, -1, 1, 3}[r.IntN(4)], MaxWaiting: 512,
	}
	if cfg.AckPolicy == jsapi.AckNone {
		cfg.AckWait, cfg.MaxDeliver = 0, -1
	} else if r.IntN(2) == 0 {
		cfg.MaxAckPending = 1 + r.IntN(8)
	}
	cfg.FilterSubject, cfg.FilterSubjects = randomFilters(r)
	cfg.DeliverPolicy = []jsapi.DeliverPolicy{jsapi.DeliverAll, jsapi.DeliverAll, jsapi.DeliverNew, jsapi.DeliverLastPerSubject}[r.IntN(4)]
	if cfg.MaxDeliver == -1 && cfg.AckPolicy == jsapi.AckExplicit && r.IntN(3) == 0 {
		cfg.BackOff = []time.Duration{time.Second, 2 * time.Second}
	}
	if r.IntN(4) == 0 {
		cfg.DeliverSubject, cfg.MaxWaiting = "dl", 0
	}
	return cfg
}

// configKind is what a run is about beside the ordinary.
type configKind int

const (
	anyKind configKind = iota
	withFlow
	withGroups
)

// specialize gives a configuration flow control or priority groups.
func specialize(cfg *jsapi.ConsumerConfig, kind configKind, r *rand.Rand) {
	if kind == anyKind {
		kind = []configKind{anyKind, anyKind, anyKind, withFlow, withGroups}[r.IntN(5)]
	}
	switch kind {
	case withFlow:
		cfg.DeliverSubject, cfg.MaxWaiting, cfg.FlowControl, cfg.Heartbeat = "dl", 0, true, time.Second
		if r.IntN(3) > 0 {
			cfg.AckPolicy, cfg.AckWait, cfg.BackOff, cfg.MaxDeliver = jsapi.AckFlowControl, 0, nil, -1
			cfg.MaxAckPending = 1 + r.IntN(8)
		}
	case withGroups:
		cfg.DeliverSubject, cfg.MaxWaiting = "", 512
		cfg.PriorityGroups = []string{"A", "B"}
		cfg.PriorityPolicy = []jsapi.PriorityPolicy{jsapi.PriorityOverflow, jsapi.PriorityPinnedClient, jsapi.PriorityPrioritized}[r.IntN(3)]
		if cfg.PriorityPolicy == jsapi.PriorityPinnedClient {
			cfg.PriorityTimeout = time.Duration(1+r.IntN(3)) * time.Second
		}
	}
}

func randomFilters(r *rand.Rand) (string, []string) {
	switch r.IntN(4) {
	case 0:
		return "a", nil
	case 1:
		return "", []string{"a", "c.1"}
	case 2:
		return "c.>", nil
	}
	return "", nil
}

var modelSubjects = []string{"a", "a", "b", "c.1", "c.2"}

// runModel makes random things happen and returns what was wrong, or nil.
func runModel(seed uint64, mu mutant) (err *failure) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *failure:
			err = r
		default:
			if mu.name == "" {
				panic(r)
			}
			err = &failure{what: fmt.Sprint("panic: ", r)} // also noticed
		}
	}()
	r := rand.New(rand.NewPCG(seed, 1))
	s := newSim()
	s.now = int64(time.Hour)
	s.cfg = randomConfig(r)
	specialize(s.cfg, mu.kind, r)
	m := &model{mutant: mu, s: s, r: r, flow: flowModel{window: flowStart}}
	if s.cfg.PriorityPolicy != jsapi.PriorityNone {
		m.groups = newGroupModel()
	}
	for range r.IntN(20) {
		s.store(modelSubjects[r.IntN(len(modelSubjects))], m.size())
	}
	m.begin()
	s.onSend, s.onEff, s.onRun = m.sent, m.effect, m.logRun
	s.turn()
	for range modelSteps {
		if m.step != nil {
			m.step(m)
		}
		m.act()
		m.check()
	}
	m.drain()
	return nil
}

// begin makes the consumer at the place that its deliver policy says.
func (m *model) begin() {
	s := m.s
	next := uint64(1)
	var list []uint64
	switch s.cfg.DeliverPolicy {
	case jsapi.DeliverNew:
		next = s.last + 1
	case jsapi.DeliverLastPerSubject:
		lasts := map[string]uint64{}
		for q, msg := range s.msgs {
			if s.matches(msg.subject) {
				lasts[msg.subject] = max(lasts[msg.subject], q)
			}
		}
		list = slices.Sorted(maps.Values(lasts))
		if next = s.last + 1; len(list) > 0 {
			next = list[0]
		}
	}
	m.reset(next)
	for q := range s.msgs {
		if q < next || s.cfg.DeliverPolicy == jsapi.DeliverLastPerSubject && !slices.Contains(list, q) {
			m.passed[q] = true
		}
	}
	s.m = New(s.cfg, next, s, s.options())
	s.m.SetList(list, s.last+1)
	s.recount()
	if s.cfg.Push() {
		s.m.SetActive(true, s.now)
	}
}

func (m *model) reset(next uint64) {
	m.sends, m.settled, m.given, m.pending = map[uint64]int{}, map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}
	m.firsts, m.latest, m.passed = map[uint64]uint64{}, map[uint64]uint64{}, map[uint64]bool{}
	m.floor = Position{Stream: next - 1}
	for q := range m.s.msgs {
		m.passed[q] = q < next
	}
	if m.log == nil {
		m.log = consumerstate.NewTracker(consumerstate.Config{Policy: m.policy(), MaxDeliver: m.s.cfg.MaxDeliver})
	}
	m.log.Reset(next - 1)
}

func (m *model) policy() consumerstate.Policy {
	switch m.s.cfg.AckPolicy {
	case jsapi.AckNone:
		return consumerstate.AckNone
	case jsapi.AckExplicit:
		return consumerstate.AckExplicit
	}
	return consumerstate.AckAll
}

// size is that of another message: with flow control a few fill the window.
func (m *model) size() int {
	if m.s.cfg.FlowControl {
		return m.r.IntN(600_000)
	}
	return m.r.IntN(50)
}

func (m *model) sent(d *Delivery) {
	m.note("  sent %d to %s as %d, delivery %d", d.Seq, d.Target, d.ConsumerSeq, d.Count)
	defer m.flowSent(d)
	if m.groups != nil {
		m.groupSent(d)
	}
	m.sends[d.Seq]++
	cfg := m.s.cfg
	switch {
	case m.settled[d.Seq]:
		m.fail("delivered %d after it was settled", d.Seq)
	case m.given[d.Seq]:
		m.fail("delivered %d after it was given up", d.Seq)
	case int(d.Count) != m.sends[d.Seq]:
		m.fail("delivery %d of %d says %d", m.sends[d.Seq], d.Seq, d.Count)
	case cfg.MaxDeliver > 0 && int(d.Count) > cfg.MaxDeliver:
		m.fail("delivery %d of %d", d.Count, d.Seq)
	case m.passed[d.Seq]:
		m.fail("delivered %d, which was passed over", d.Seq)
	case d.Count == 1 && !m.s.matches(m.s.msgs[d.Seq].subject):
		m.fail("delivered %d, which does not match", d.Seq)
	case d.Seq <= m.s.m.AckFloor().Stream && cfg.AckPolicy != jsapi.AckNone:
		m.fail("delivered %d at or below the floor %d", d.Seq, m.s.m.AckFloor().Stream)
	}
	left := m.undelivered()
	if d.Count == 1 {
		left-- // it is not yet behind the cursor
	}
	if d.Pending != left {
		m.fail("delivery %d of %d says that %d are left, want %d", d.Count, d.Seq, d.Pending, left)
	}
	if cfg.AckPolicy == jsapi.AckNone {
		m.settled[d.Seq] = true
		m.floor = Position{Consumer: d.ConsumerSeq, Stream: d.Seq}
		return
	}
	if d.Count == 1 {
		m.firsts[d.Seq] = d.ConsumerSeq
	}
	if !m.pending[d.Seq] && cfg.MaxAckPending > 0 && len(m.pending) >= cfg.MaxAckPending {
		m.fail("delivered %d with %d pending", d.Seq, len(m.pending))
	}
	m.pending[d.Seq] = true
	m.latest[d.Seq] = d.ConsumerSeq
}

func (m *model) effect(e *Effect) {
	switch e.Kind {
	case MaxDeliver:
		m.given[e.Seq] = true
		delete(m.pending, e.Seq)
	case FlowRequest:
		m.flowRequested(e)
	case Heartbeat:
		m.beat(e)
	case Status, Pinned, Unpinned:
		if m.groups != nil {
			m.groupEffect(e)
		}
	}
}

func (m *model) logRun(steps []consumerstate.Step) {
	if m.run != nil && !m.run(m) {
		return
	}
	_, op := m.log.Position()
	m.log.Apply(&consumerstate.Run{Epoch: 1, Op: op + 1, Steps: steps})
}

// settle takes a message out as an explicit ack, a termination or a removal do.
func (m *model) settle(seq uint64) {
	if !m.pending[seq] {
		return
	}
	m.settled[seq] = true
	delete(m.pending, seq)
	if len(m.pending) == 0 {
		m.floor = Position{Consumer: m.s.m.dnext - 1, Stream: m.s.m.delivered.Stream}
	} else if m.firsts[seq] == m.floor.Consumer+1 {
		low := slices.Min(slices.Collect(maps.Keys(m.pending)))
		m.floor = Position{Consumer: max(m.floor.Consumer, m.firsts[low]-1), Stream: max(m.floor.Stream, low-1)}
	}
}

// someSeq picks a sequence, mostly a pending one.
func (m *model) someSeq() uint64 {
	if len(m.pending) > 0 && m.r.IntN(8) > 0 {
		n := m.r.IntN(len(m.pending))
		for _, q := range sortedKeys(m.pending) {
			if n == 0 {
				return q
			}
			n--
		}
	}
	return 1 + m.r.Uint64N(m.s.last+2)
}

func sortedKeys(set map[uint64]bool) []uint64 { return slices.Sorted(maps.Keys(set)) }

func (m *model) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func (m *model) act() {
	s, r := m.s, m.r
	switch op := r.IntN(100); {
	case op < 30:
		subject := modelSubjects[r.IntN(len(modelSubjects))]
		m.note("store %s as %d", subject, s.last+1)
		s.store(subject, m.size())
	case op < 50 && m.groups != nil:
		m.pull()
	case op < 50:
		body := []string{"", "3", `{"batch":5,"expires":2000000000}`, `{"batch":2,"no_wait":true}`, `{"batch":4,"no_wait":true,"expires":500000000}`,
			`{"batch":5,"max_bytes":120,"expires":1000000000}`, `{"batch":2,"expires":3000000000,"idle_heartbeat":700000000}`}[r.IntN(7)]
		m.note("pull %s", body)
		s.m.PullBody([]byte(body), fmt.Sprint("in", r.IntN(3)), false, s.now)
		s.turn()
	case op < 72 && s.cfg.FlowControl && (s.cfg.AckPolicy == jsapi.AckFlowControl || op < 60):
		m.answer()
	case op < 72:
		seq := m.someSeq()
		cseq := m.s.m.dnext - 1
		if e := s.m.pend.find(seq); e != nil {
			cseq = e.dseq
		}
		body := []string{"", "+ACK", "+ACK", "+ACK", "+ACK", "-NAK", "-NAK {\"delay\":1500000000}", "+WPI", "+TERM", "nonsense", "+NXT", "+NXT 2", `+NXT {"batch":3,"no_wait":true}`}[r.IntN(13)]
		if m.groups != nil && strings.HasPrefix(body, "+NXT") {
			body = "+ACK"
		}
		m.ack(seq, cseq, body)
	case op < 82:
		d := time.Duration(r.IntN(1500)) * time.Millisecond
		m.note("sleep %v", d)
		s.sleep(d)
	case op < 87:
		q := m.someSeq()
		m.note("remove %d", q)
		msg, ok := s.msgs[q]
		if ok {
			m.settle(q)
			m.settled[q] = true
		}
		s.remove(q)
		if m.gone != nil {
			m.gone(m, ok && q >= s.m.next && s.matches(msg.subject))
		}
	case op < 89:
		below := 1 + r.Uint64N(s.last+1)
		filter := []string{"", "a", "b"}[r.IntN(3)]
		m.note("purge %q below %d", filter, below)
		for _, q := range slices.Sorted(maps.Keys(s.msgs)) {
			if q < below && (filter == "" || s.msgs[q].subject == filter) {
				m.settle(q)
				m.settled[q] = true
			}
		}
		next := s.m.next
		s.purged(filter, below)
		if filter == "" && s.first > next && len(m.pending) == 0 {
			// It goes along with the beginning of the stream.
			m.floor = Position{Consumer: s.m.dnext - 1, Stream: max(m.floor.Stream, s.first-1)}
		}
		s.turn()
	case op < 92 && m.groups != nil:
		m.leave()
	case op < 92:
		in := fmt.Sprint("in", r.IntN(3))
		m.note("toggle %s", in)
		if s.deaf[in] {
			delete(s.deaf, in)
		} else {
			s.deaf[in] = true
		}
		if s.cfg.Push() {
			s.deaf["dl"] = !s.deaf["dl"]
			s.m.SetActive(!s.deaf["dl"], s.now)
			s.turn()
		}
	case op < 94:
		m.note("pause")
		s.m.Pause(s.now+int64(r.IntN(2000))*1e6, s.now)
		s.turn()
	case op < 96:
		m.restart(r.IntN(2) == 0)
	case op < 97:
		n := s.m.Reset([]uint64{0, 1 + r.Uint64N(s.last+1)}[r.IntN(2)], s.now)
		m.note("reset to %d", n)
		log := m.log
		m.flow.used, m.flow.covered, m.flow.outstanding = 0, 0, ""
		m.reset(n)
		m.log = log
		s.recount()
		s.turn()
	case op < 98:
		m.note("floor check at %d", s.first)
		m.checkFloor()
		s.turn()
	case op < 99:
		cfg := *s.cfg
		cfg.FilterSubject, cfg.FilterSubjects = randomFilters(r)
		m.note("update filters %q", cfg.Filters())
		s.cfg = &cfg
		s.m.Update(&cfg, s.now)
		s.m.Filtered()
		for q := range s.msgs {
			m.passed[q] = q < s.m.next && m.sends[q] == 0
		}
		s.recount()
		s.turn()
	default:
		cfg := *s.cfg
		if cfg.AckPolicy != jsapi.AckNone {
			cfg.MaxAckPending = r.IntN(10)
			if cfg.AckPolicy == jsapi.AckFlowControl {
				cfg.MaxAckPending++
			} else if cfg.BackOff == nil {
				cfg.AckWait = time.Duration(500+r.IntN(1500)) * time.Millisecond
				cfg.MaxDeliver = []int{-1, 2, 3}[r.IntN(3)]
			}
		}
		m.note("update max_ack_pending %d, ack_wait %v, max_deliver %d", cfg.MaxAckPending, cfg.AckWait, cfg.MaxDeliver)
		s.cfg = &cfg
		s.m.Update(&cfg, s.now)
		state, _ := s.m.Snapshot() // the checkpoint that separates the limits in the log
		m.log.SetConfig(consumerstate.Config{Policy: m.policy(), MaxDeliver: cfg.MaxDeliver})
		if err := m.log.ForceUpdate(&state); err != nil {
			m.fail("checkpoint: %v", err)
		}
		s.turn()
	}
}

// ack sends an ack to the machine and does in the model what it means.
func (m *model) ack(seq, cseq uint64, body string) {
	s := m.s
	m.note("ack %d/%d %s", seq, cseq, body)
	if verb, _ := ParseVerb([]byte(body)); (verb == VerbAck || verb == VerbTerm || verb == VerbNext) && s.m.tracksDeadlines() && seq < s.m.next {
		if s.cfg.AckPolicy == jsapi.AckExplicit {
			m.settle(seq)
			if m.given[seq] {
				m.settled[seq] = true
			}
		} else {
			m.ackAll(seq, cseq)
		}
	}
	a := Ack{Seq: seq, ConsumerSeq: cseq, Deliveries: 1, Body: []byte(body), Reply: "r"}
	if m.mutant.ack == nil || m.mutant.ack(m, &a) {
		s.m.Ack(a, s.now)
	}
	s.turn()
}

// ackAll does in the model what an ack of everything up to a position means.
func (m *model) ackAll(seq, cseq uint64) {
	s := m.s
	seq = min(seq, s.m.delivered.Stream)
	if f := s.m.floor; seq <= f.Stream || min(cseq, s.m.dnext-1) <= f.Consumer {
		return
	}
	for _, q := range sortedKeys(m.pending) {
		if q <= seq {
			m.settled[q] = true
			delete(m.pending, q)
		}
	}
	m.floor = Position{Consumer: min(cseq, s.m.dnext-1), Stream: seq}
}

// restart makes the machine anew from what survives: an orderly stop, or a kill
// after which only the runs are there.
func (m *model) restart(killed bool) {
	s := m.s
	state, scanned := s.m.Snapshot()
	if killed {
		logged := m.log.State()
		if len(logged.Pending) != len(state.Pending) || !maps.Equal(logged.Redelivered, state.Redelivered) {
			return // what is gone from the stream has to be found missing first
		}
		state, scanned = logged, m.log.Scanned()
		m.floor = logged.AckFloor
	}
	if len(state.Pending)+len(state.Redelivered) == 0 && m.floor.Consumer == state.Delivered.Consumer {
		m.floor.Stream = max(m.floor.Stream, state.Delivered.Stream)
	}
	m.note("restart (killed: %v) from %+v, scanned %d", killed, state, scanned)
	s.m, _ = Restore(s.cfg, &state, scanned, s.first, s.last, s, s.options())
	m.flow = flowModel{window: flowStart}
	if m.groups != nil {
		m.groups.restart()
	}
	s.recount()
	m.checkFloor()
	if s.cfg.Push() {
		s.m.SetActive(!s.deaf["dl"], s.now)
	}
	for q := range m.passed {
		if q >= s.m.next {
			delete(m.passed, q) // the list of last messages, or what was skipped, is forgotten
		}
	}
	s.turn()
}

// checkFloor makes the machine repair its floor, of which the model only knows
// the bounds.
func (m *model) checkFloor() {
	s := m.s
	before := s.m.floor
	s.m.CheckFloor(s.first)
	if f := s.m.floor; f != before && (before.Stream+floorLag >= s.first || f.Stream+1 < min(s.first, s.m.next) && len(m.pending) == 0) {
		m.fail("floor %v repaired to %v, first %d", before, f, s.first)
	}
	m.floor = s.m.floor
}
