package consumer

import "testing"

// mutant is a deliberate fault of the machine.
type mutant struct {
	name string
	step func(m *model)                // before each step
	ack  func(m *model, a *Ack) bool   // whether an ack reaches the machine
	gone func(m *model, matching bool) // after a removal
	run  func(m *model) bool           // whether a run reaches the log
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
