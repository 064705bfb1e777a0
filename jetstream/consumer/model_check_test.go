package consumer

import (
	"maps"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
)

// drain has everything delivered and acknowledged that is left.
func (m *model) drain() {
	s := m.s
	m.note("drain")
	maps.DeleteFunc(s.deaf, func(in string, _ bool) bool { return m.groups == nil || !m.groups.gone[in] })
	s.m.Pause(0, s.now)
	if s.cfg.Push() {
		s.m.SetActive(true, s.now)
	}
	for range 10_000 {
		i := s.m.Info(s.now)
		if i.Pending == 0 && i.AckPending == 0 {
			break
		}
		if m.groups != nil {
			m.pullRest()
		} else if !s.cfg.Push() && i.Waiting == 0 {
			s.m.PullBody([]byte("100"), "drain", false, s.now)
		}
		s.turn()
		if m.flow.outstanding != "" {
			m.answerWith(m.flow.outstanding, s.m.delivered.Stream)
		}
		for _, q := range sortedKeys(m.pending) {
			if m.pending[q] && s.m.pend.find(q).ticket == 0 {
				m.ack(q, m.latest[q], "")
			}
		}
		s.sleep(100 * time.Millisecond)
		m.check()
	}
	for q, msg := range s.msgs {
		if s.matches(msg.subject) && !m.settled[q] && !m.given[q] && !m.passed[q] {
			m.fail("%d was never delivered and acknowledged", q)
		}
	}
}

// undelivered counts the messages that are still to be delivered for the first time.
func (m *model) undelivered() (n uint64) {
	for q, msg := range m.s.msgs {
		// With a list of last messages, those that are not in it do not count.
		if q >= m.s.m.next && m.s.matches(msg.subject) && !m.passed[q] {
			n++
		}
	}
	return n
}

// check compares the machine with the model and with itself.
func (m *model) check() {
	s := m.s
	i := s.m.Info(s.now)
	if exact := m.undelivered(); i.Pending != exact {
		m.fail("num_pending %d, want %d", i.Pending, exact)
	}
	if i.Floor != m.floor {
		m.fail("floor %v, want %v", i.Floor, m.floor)
	}
	if i.AckPending != len(m.pending) {
		m.fail("num_ack_pending %d, want %v", i.AckPending, sortedKeys(m.pending))
	}
	if i.Floor.Stream > i.Delivered.Stream || i.Floor.Consumer > i.Delivered.Consumer || i.Delivered.Stream >= s.m.next {
		m.fail("floor %v, delivered %v, next %d", i.Floor, i.Delivered, s.m.next)
	}
	queued := 0
	armed := map[deadline]bool{}
	for _, d := range s.m.pend.deadlines {
		armed[d] = true
	}
	s.m.pend.each(func(e *entry) bool {
		if !m.pending[e.sseq] || e.sseq <= i.Floor.Stream {
			m.fail("pending %d, floor %v", e.sseq, i.Floor)
		}
		if e.ticket != 0 {
			queued++
		} else if s.m.tracksDeadlines() && (e.due == 0 || e.armed == 0 || e.armed > e.due || !armed[deadline{e.armed, e.sseq}]) {
			m.fail("%d never expires", e.sseq)
		}
		return true
	})
	if queued != s.m.pend.queued {
		m.fail("%d queued, counted %d", queued, s.m.pend.queued)
	}
	m.checkLog()
	m.checkFlow(&i)
	if m.groups != nil {
		m.checkGroups(&i)
	}
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
		if p.Sequence <= want.AckFloor.Consumer {
			// An ack of a redelivery took the floor past it: of such a message
			// the log takes no later time (store document 14).
			p.Timestamp = got.Pending[seq].Timestamp
		}
		if got.Pending[seq] != p {
			m.fail("runs: pending %d is %v, want %v", seq, got.Pending[seq], p)
		}
	}
	for seq := range got.Pending {
		// What is gone from the stream is found missing after a restart, and
		// what was given up with the floor ahead of it is given up again.
		if _, ok := want.Pending[seq]; !ok && !(m.s.cfg.AckPolicy != jsapi.AckExplicit && (m.settled[seq] || m.given[seq])) {
			m.fail("runs: %d is still pending", seq)
		}
	}
	if m.s.cfg.AckPolicy == jsapi.AckExplicit && !maps.Equal(got.Redelivered, want.Redelivered) {
		m.fail("runs: redelivered %v, want %v", got.Redelivered, want.Redelivered)
	}
	for seq := range got.Redelivered {
		_, pending := got.Pending[seq]
		if _, ok := want.Redelivered[seq]; !ok && !pending {
			m.fail("runs: %d is still given up", seq)
		}
	}
}
