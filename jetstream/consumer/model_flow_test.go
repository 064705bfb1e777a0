package consumer

import "github.com/natsd/natsd/jetstream/jsapi"

// flowModel is the flow control of a push consumer, as its client sees it.
type flowModel struct {
	window, used, covered int
	outstanding           string
	due                   bool // a request must follow
}

// flowSent counts a message that goes out.
func (m *model) flowSent(d *Delivery) {
	f, cfg := &m.flow, m.s.cfg
	if !cfg.FlowControl {
		return
	}
	if f.used > f.window {
		m.fail("delivered %d with %d bytes of %d under way", d.Seq, f.used, f.window)
	}
	msg := m.s.msgs[d.Seq]
	size := len(msg.subject) + len(d.Reply) + msg.size
	f.used += size
	switch {
	case f.outstanding == "":
		f.due = f.used > f.window/2 || cfg.AckPolicy == jsapi.AckFlowControl && len(m.pending) >= cfg.MaxAckPending
	case f.used-f.covered >= f.window:
		f.covered += size
	}
}

func (m *model) flowRequested(e *Effect) {
	m.note("  flow request %s", e.Reply)
	f := &m.flow
	if !f.due || f.outstanding != "" {
		m.fail("flow-control request %s; outstanding %q, %d bytes of %d", e.Reply, f.outstanding, f.used, f.window)
	}
	*f = flowModel{window: f.window, used: f.used, covered: f.used, outstanding: e.Reply}
}

// beat hears a heartbeat.
func (m *model) beat(e *Effect) {
	f, cfg := &m.flow, m.s.cfg
	if !cfg.FlowControl {
		return
	}
	m.note("  heartbeat %q", e.Reply)
	if e.Reply != f.outstanding {
		m.fail("heartbeat stalled by %q, outstanding is %q", e.Reply, f.outstanding)
	}
	f.due = cfg.AckPolicy == jsapi.AckFlowControl && len(m.pending) > 0 && f.outstanding == ""
}

// answer has the client answer a flow-control request, or something that is none.
func (m *model) answer() {
	s, r := m.s, m.r
	subject := m.flow.outstanding
	if subject == "" || r.IntN(8) == 0 {
		subject = "$JS.FC.S.C.none"
	}
	seq := m.someSeq()
	switch r.IntN(6) {
	case 0:
		seq = 0
	case 1, 2, 3:
		seq = s.m.delivered.Stream
	}
	m.answerWith(subject, seq)
}

func (m *model) answerWith(subject string, seq uint64) {
	s, f := m.s, &m.flow
	m.note("answer %s, %d", subject, seq)
	if subject == f.outstanding {
		*f = flowModel{window: min(2*f.window, 32<<20), used: max(f.used-f.covered, 0)}
		if s.cfg.AckPolicy == jsapi.AckFlowControl && seq > 0 && seq < s.m.next {
			upTo := uint64(0)
			for q := range m.pending {
				if q <= seq {
					upTo = max(upTo, m.firsts[q])
				}
			}
			m.ackAll(seq, upTo)
		}
	}
	if m.mutant.flow != nil {
		subject, seq = m.mutant.flow(m, subject, seq)
	}
	s.m.FlowAnswer(subject, seq, s.now)
	s.turn()
}

func (m *model) checkFlow(i *Info) {
	f := &m.flow
	if !m.s.cfg.FlowControl {
		return
	}
	if f.due {
		m.fail("no flow-control request with %d bytes of %d and %d pending", f.used, f.window, len(m.pending))
	}
	if i.FlowWindow != f.window || i.FlowUsed != f.used || i.FlowOutstanding != f.outstanding {
		m.fail("flow control: %d of %d, request %q; want %d of %d, %q", i.FlowUsed, i.FlowWindow, i.FlowOutstanding, f.used, f.window, f.outstanding)
	}
}
