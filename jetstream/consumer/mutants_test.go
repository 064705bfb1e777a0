package consumer

import (
	"testing"

	"github.com/natsd/natsd/jetstream/jsapi"
)

// mutant is a deliberate fault of the machine.
type mutant struct {
	name string
	step func(m *model)                // before each step
	ack  func(m *model, a *Ack) bool   // whether an ack reaches the machine
	gone func(m *model, matching bool) // after a removal
	run  func(m *model) bool           // whether a run reaches the log
	kind configKind                    // of the runs
	// flow is what becomes of an answer to a flow-control request.
	flow func(m *model, subject string, seq uint64) (string, uint64)
}

// mutants are the faults that the model must notice within 20 seeds each.
var mutants = []mutant{
	{name: "the floor passes an unacknowledged message", step: func(m *model) {
		if e := m.s.m.pend.lowest(); e != nil {
			m.s.m.floor.Stream = e.sseq
		}
	}},
	{name: "the floor stays behind", ack: func(m *model, a *Ack) bool {
		floor := m.s.m.floor
		m.s.m.Ack(*a, m.s.now)
		m.s.m.floor = floor
		return false
	}},
	{name: "num_pending is one too high after a delete", gone: func(m *model, matching bool) {
		if matching {
			m.s.m.count++
		}
	}},
	{name: "num_pending is one too low after a delete", gone: func(m *model, matching bool) {
		if m.s.m.count > 0 {
			m.s.m.count--
		}
	}},
	{name: "max_deliver is not looked at", step: func(m *model) {
		if c := *m.s.m.cfg; c.MaxDeliver > 0 {
			c.MaxDeliver = -1
			m.s.m.cfg, m.s.m.is.counted = &c, false
		}
	}},
	{name: "max_ack_pending is not looked at", step: func(m *model) { m.s.m.is.capped = false }},
	{name: "an ack is lost", ack: func(m *model, a *Ack) bool { return m.r.IntN(10) > 0 }},
	{name: "what is acknowledged in the redelivery queue comes again", ack: func(m *model, a *Ack) bool {
		e := m.s.m.pend.find(a.Seq)
		return e == nil || e.ticket == 0
	}},
	{name: "a message is passed over", step: func(m *model) {
		if c := m.s.m; c.next <= m.s.last && m.r.IntN(20) == 0 {
			c.next++
		}
	}},
	{name: "a message comes twice for the first time", step: func(m *model) {
		if c := m.s.m; c.next > m.s.first && len(c.list) == 0 && m.r.IntN(20) == 0 {
			c.next--
			c.count++
		}
	}},
	{name: "a deadline is forgotten", step: func(m *model) {
		if m.r.IntN(10) == 0 {
			m.s.m.pend.deadlines = nil
			m.s.m.pend.each(func(e *entry) bool { m.s.m.pend.find(e.sseq).due = 0; return true })
		}
	}},
	{name: "the flow-control window is not looked at", kind: withFlow, step: func(m *model) {
		m.s.m.is.flow = m.s.m.push.used <= m.s.m.push.window
	}},
	{name: "any flow-control answer counts", kind: withFlow, flow: func(m *model, _ string, seq uint64) (string, uint64) {
		return m.s.m.push.outstanding, seq
	}},
	{name: "a flow-control answer is lost", kind: withFlow, flow: func(m *model, subject string, seq uint64) (string, uint64) {
		if m.r.IntN(10) == 0 {
			subject = ""
		}
		return subject, seq
	}},
	{name: "a flow-control answer acknowledges one message too many", kind: withFlow, flow: func(_ *model, subject string, seq uint64) (string, uint64) {
		return subject, seq + 1
	}},
	{name: "ack policy flow_control is taken for all", kind: withFlow, step: func(m *model) {
		if c := *m.s.m.cfg; c.AckPolicy == jsapi.AckFlowControl {
			c.AckPolicy = jsapi.AckAll
			m.s.m.cfg = &c
		}
	}},
	{name: "the order of requests is lost", kind: withGroups, step: func(m *model) {
		if q := m.s.m.wait.q[m.s.m.wait.head:]; len(q) > 1 {
			q[0], q[1] = q[1], q[0]
		}
	}},
	{name: "min_pending is not looked at", kind: withGroups, step: func(m *model) {
		for _, w := range m.s.m.wait.q[m.s.m.wait.head:] {
			if w.MinPending > 0 {
				w.MinPending = 1
			}
		}
	}},
	{name: "a standby client gets messages of the pinned one", kind: withGroups, step: func(m *model) {
		for _, w := range m.s.m.wait.q[m.s.m.wait.head:] {
			if w.ID == "" {
				w.ID = m.s.m.pin.id
			}
		}
	}},
	{name: "a pin lives on", kind: withGroups, step: func(m *model) { m.s.m.pin.until += 500e6 }},
	{name: "a request with an old pin is not ended", kind: withGroups, step: func(m *model) {
		for _, w := range m.s.m.wait.q[m.s.m.wait.head:] {
			if w.ID != "" && w.ID != m.s.m.pin.id {
				w.ID = ""
			}
		}
	}},
	{name: "a run is lost", run: func(m *model) bool { return m.r.IntN(20) > 0 }},
}

// TestModelNotices: TestModel is worth something.
func TestModelNotices(t *testing.T) {
	for _, mu := range mutants {
		t.Run(mu.name, func(t *testing.T) {
			for seed := range uint64(20) {
				if err := runModel(seed, mu); err != nil {
					t.Logf("seed %d: %v", seed, err.what)
					return
				}
			}
			t.Error("not noticed in 20 seeds")
		})
	}
}
