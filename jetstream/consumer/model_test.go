package consumer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/consumerstate"
)

// TestModel makes random things happen to a machine and compares it after each
// with a simple model: what was delivered how often, and what is settled.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		if !t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { runModel(t, seed, 400) }) {
			return
		}
	}
}

// model is what must be true of a consumer.
type model struct {
	t       *testing.T
	s       *sim
	r       *rand.Rand
	sends   map[uint64]int  // deliveries of a message since the last reset
	settled map[uint64]bool // acked, terminated or gone
	given   map[uint64]bool // given up
	pending map[uint64]bool
	log     *consumerstate.Tracker // what the runs make
	trace   []string
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	for _, l := range m.trace {
		m.t.Log(l)
	}
	m.t.Fatalf(format, args...)
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
	if r.IntN(2) == 0 {
		cfg.FilterSubject = "a"
	}
	if cfg.MaxDeliver == -1 && cfg.AckPolicy == jsapi.AckExplicit && r.IntN(3) == 0 {
		cfg.BackOff = []time.Duration{time.Second, 2 * time.Second}
	}
	if r.IntN(4) == 0 {
		cfg.DeliverSubject, cfg.MaxWaiting = "dl", 0
	}
	return cfg
}

func runModel(t *testing.T, seed uint64, steps int) {
	r := rand.New(rand.NewPCG(seed, 1))
	s := newSim()
	s.now = int64(time.Hour)
	s.cfg = randomConfig(r)
	m := &model{t: t, s: s, r: r}
	m.reset(1)
	s.m = New(s.cfg, 1, s, s.options())
	s.recount()
	if s.cfg.Push() {
		s.m.SetActive(true, s.now)
	}
	s.onSend, s.onEff, s.onRun = m.sent, m.effect, m.run
	for range steps {
		m.act()
		m.check()
	}
}

func (m *model) reset(next uint64) {
	m.sends, m.settled, m.given, m.pending = map[uint64]int{}, map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}
	policy := consumerstate.AckAll
	switch m.s.cfg.AckPolicy {
	case jsapi.AckNone:
		policy = consumerstate.AckNone
	case jsapi.AckExplicit:
		policy = consumerstate.AckExplicit
	}
	if m.log == nil {
		m.log = consumerstate.NewTracker(consumerstate.Config{Policy: policy, MaxDeliver: m.s.cfg.MaxDeliver})
	}
	m.log.Reset(next - 1)
}

func (m *model) sent(d *Delivery) {
	m.trace = append(m.trace, fmt.Sprintf("  sent %d as %d, delivery %d", d.Seq, d.ConsumerSeq, d.Count))
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
	case d.Seq <= m.s.m.AckFloor().Stream && cfg.AckPolicy != jsapi.AckNone:
		m.fail("delivered %d at or below the floor %d", d.Seq, m.s.m.AckFloor().Stream)
	}
	if cfg.AckPolicy == jsapi.AckNone {
		m.settled[d.Seq] = true
		return
	}
	if !m.pending[d.Seq] && cfg.MaxAckPending > 0 && len(m.pending) >= cfg.MaxAckPending {
		m.fail("delivered %d with %d pending", d.Seq, len(m.pending))
	}
	m.pending[d.Seq] = true
}

func (m *model) effect(e *Effect) {
	if e.Kind == MaxDeliver {
		m.given[e.Seq] = true
		delete(m.pending, e.Seq)
	}
}

func (m *model) run(steps []consumerstate.Step) {
	_, op := m.log.Position()
	m.log.Apply(&consumerstate.Run{Epoch: 1, Op: op + 1, Steps: steps})
}

func (m *model) settle(seq uint64) {
	if m.pending[seq] {
		m.settled[seq] = true
		delete(m.pending, seq)
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

func sortedKeys(set map[uint64]bool) []uint64 {
	keys := make([]uint64, 0, len(set))
	for q := range set {
		keys = append(keys, q)
	}
	for i := range keys {
		for j := i; j > 0 && keys[j] < keys[j-1]; j-- {
			keys[j], keys[j-1] = keys[j-1], keys[j]
		}
	}
	return keys
}

func (m *model) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func (m *model) act() {
	s, r := m.s, m.r
	switch op := r.IntN(100); {
	case op < 30:
		subject := []string{"a", "a", "b"}[r.IntN(3)]
		m.note("store %s as %d", subject, s.last+1)
		s.store(subject, r.IntN(50))
	case op < 50:
		body := []string{"", "3", `{"batch":5,"expires":2000000000}`, `{"batch":2,"no_wait":true}`, `{"batch":4,"no_wait":true,"expires":500000000}`,
			`{"batch":5,"max_bytes":120,"expires":1000000000}`, `{"batch":2,"expires":3000000000,"idle_heartbeat":700000000}`}[r.IntN(7)]
		m.note("pull %s", body)
		s.m.PullBody([]byte(body), fmt.Sprint("in", r.IntN(3)), false, s.now)
		s.turn()
	case op < 72:
		seq := m.someSeq()
		cseq := m.s.m.dnext - 1
		if e := s.m.pend.find(seq); e != nil {
			cseq = e.dseq
		}
		body := []string{"", "+ACK", "+ACK", "+ACK", "+ACK", "-NAK", "-NAK {\"delay\":1500000000}", "+WPI", "+TERM", "nonsense"}[r.IntN(10)]
		m.note("ack %d/%d %s", seq, cseq, body)
		if verb, _ := ParseVerb([]byte(body)); (verb == VerbAck || verb == VerbTerm) && s.cfg.AckPolicy != jsapi.AckNone && seq < s.m.next {
			if s.cfg.AckPolicy == jsapi.AckExplicit {
				m.settle(seq)
				if m.given[seq] {
					m.settled[seq] = true
				}
			} else if f := s.m.floor; seq > f.Stream && min(cseq, s.m.dnext-1) > f.Consumer {
				for _, q := range sortedKeys(m.pending) {
					if q <= seq {
						m.settle(q)
					}
				}
			}
		}
		s.m.Ack(Ack{Seq: seq, ConsumerSeq: cseq, Deliveries: 1, Body: []byte(body), Reply: "r"}, s.now)
		s.turn()
	case op < 82:
		d := time.Duration(r.IntN(1500)) * time.Millisecond
		m.note("sleep %v", d)
		s.sleep(d)
	case op < 87:
		q := m.someSeq()
		m.note("remove %d", q)
		if _, ok := s.msgs[q]; ok {
			m.settle(q)
			m.settled[q] = true
		}
		s.remove(q)
	case op < 89:
		below := 1 + r.Uint64N(s.last+1)
		filter := []string{"", "a", "b"}[r.IntN(3)]
		m.note("purge %q below %d", filter, below)
		for q, msg := range s.msgs {
			if q < below && (filter == "" || msg.subject == filter) {
				m.settle(q)
				m.settled[q] = true
			}
		}
		s.purge(filter, below)
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
		state, scanned := s.m.Snapshot()
		m.note("restart from %+v, scanned %d", state, scanned)
		s.m, _ = Restore(s.cfg, &state, scanned, s.first, s.last, s, s.options())
		s.recount()
		s.m.CheckFloor(s.first)
		if s.cfg.Push() {
			s.m.SetActive(!s.deaf["dl"], s.now)
		}
		s.turn()
	case op < 97:
		n := s.m.Reset(0, s.now)
		m.note("reset to %d", n)
		log := m.log
		m.reset(n)
		m.log = log
		s.recount()
		s.turn()
	case op < 98:
		m.note("floor check at %d", s.first)
		s.m.CheckFloor(s.first)
		s.turn()
	default:
		cfg := *s.cfg
		if cfg.AckPolicy != jsapi.AckNone {
			cfg.MaxAckPending = r.IntN(10)
			if cfg.BackOff == nil {
				cfg.AckWait = time.Duration(500+r.IntN(1500)) * time.Millisecond
			}
		}
		m.note("update max_ack_pending %d, ack_wait %v", cfg.MaxAckPending, cfg.AckWait)
		s.cfg = &cfg
		s.m.Update(&cfg, s.now)
		s.turn()
	}
}

// check compares the machine with the model and with itself.
func (m *model) check() {
	s := m.s
	i := s.m.Info(s.now)
	exact := uint64(0)
	for q, msg := range s.msgs {
		if q >= s.m.next && s.matches(msg.subject) {
			exact++
		}
	}
	if i.Pending != exact {
		m.fail("num_pending %d, want %d", i.Pending, exact)
	}
	if i.AckPending != len(m.pending) {
		m.fail("num_ack_pending %d, want %v", i.AckPending, sortedKeys(m.pending))
	}
	if i.Floor.Stream > i.Delivered.Stream || i.Floor.Consumer > i.Delivered.Consumer || i.Delivered.Stream >= s.m.next {
		m.fail("floor %v, delivered %v, next %d", i.Floor, i.Delivered, s.m.next)
	}
	queued := 0
	s.m.pend.each(func(e *entry) bool {
		if !m.pending[e.sseq] || e.sseq <= i.Floor.Stream {
			m.fail("pending %d, floor %v", e.sseq, i.Floor)
		}
		if e.ticket != 0 {
			queued++
		} else if s.m.tracksDeadlines() && e.due == 0 {
			m.fail("%d never expires", e.sseq)
		}
		return true
	})
	if queued != s.m.pend.queued {
		m.fail("%d queued, counted %d", queued, s.m.pend.queued)
	}
	m.checkLog()
}

// checkLog compares what the runs make with what the machine would write.
func (m *model) checkLog() {
	want, _ := m.s.m.Snapshot()
	got := m.log.State()
	if got.Delivered != want.Delivered {
		m.fail("runs: delivered %v, want %v", got.Delivered, want.Delivered)
	}
	if got.AckFloor.Stream > want.AckFloor.Stream || got.AckFloor.Consumer > want.AckFloor.Consumer {
		m.fail("runs: floor %v passed %v", got.AckFloor, want.AckFloor)
	}
	for seq, p := range want.Pending {
		if got.Pending[seq] != p {
			m.fail("runs: pending %d is %v, want %v", seq, got.Pending[seq], p)
		}
	}
	for seq := range got.Pending {
		// What is gone from the stream is found missing after a restart.
		if _, ok := want.Pending[seq]; !ok && !(m.s.cfg.AckPolicy == jsapi.AckAll && m.settled[seq]) {
			m.fail("runs: %d is still pending", seq)
		}
	}
	if m.s.cfg.AckPolicy == jsapi.AckExplicit && !maps.Equal(got.Redelivered, want.Redelivered) {
		m.fail("runs: redelivered %v, want %v", got.Redelivered, want.Redelivered)
	}
}
