package consumer

import (
	"slices"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/nanos"
)

// expirySlice bounds the expiries of one tick; the rest follows in the next,
// which is due at once, so that other input gets in between.
const expirySlice = 4096

// Tick does what is due.
func (m *Machine) Tick(now int64) {
	if m.closed {
		return
	}
	m.blocked = false
	m.expire(now)
	if m.pausedUntil != 0 && m.pausedUntil <= now {
		m.pausedUntil = 0
		m.emit(Effect{Kind: Resumed})
	}
	if m.pin.id != "" && m.pin.until != 0 && m.pin.until <= now {
		group := ""
		if len(m.cfg.PriorityGroups) > 0 {
			group = m.cfg.PriorityGroups[0]
		}
		m.Unpin(group, "timeout")
	}
	if m.wait.check != 0 && m.wait.check <= now {
		m.checkWaiting(now)
	}
	if due := m.heartbeatDue(); due != 0 && due <= now {
		m.beat(now)
	}
	if m.notBefore != 0 && m.notBefore <= now {
		m.notBefore = 0
	}
	if due := m.inactiveDue(); due != 0 && due <= now {
		m.checkInactive(now)
	}
}

// expire moves the messages whose ack deadline has passed to the end of the
// redelivery queue, in ascending order.
func (m *Machine) expire(now int64) {
	if due := m.pend.nextDeadline(); due == 0 || due > now {
		return
	}
	s := m.work()
	s.seqs = s.seqs[:0]
	for len(s.seqs) < expirySlice {
		e := m.pend.expired(now)
		if e == nil {
			break
		}
		s.seqs = append(s.seqs, e.sseq)
	}
	slices.Sort(s.seqs)
	for _, seq := range s.seqs {
		e := m.pend.find(seq)
		if m.cfg.MaxDeliver > 0 && int(e.count) >= m.cfg.MaxDeliver {
			m.abandon(e)
			continue
		}
		m.pend.enqueue(e)
	}
}

// checkWaiting sends heartbeats, ends expired requests and drops those that nobody
// listens to. Where a tick comes late the beats keep their times, and one that was
// due before the request's end comes before it.
func (m *Machine) checkWaiting(now int64) {
	m.wait.check = 0
	m.wait.keep(func(w *waiter) bool {
		if beat := w.active + w.Heartbeat; w.Heartbeat > 0 && beat <= now && (w.deadline == 0 || beat < w.deadline) {
			if !m.listening(w) {
				return false
			}
			if w.active = beat; beat+w.Heartbeat <= now {
				w.active = now
			}
			m.heartbeat(w.Reply, "")
		}
		if w.deadline != 0 && w.deadline <= now {
			m.end(w, "408 Request Timeout")
			m.waited(now)
			return false
		}
		m.wait.watch(w)
		return true
	})
}

// inactiveDue is when to look whether the consumer is still in use; 0: never.
func (m *Machine) inactiveDue() int64 {
	if m.inactive <= 0 || m.is.push && m.push.active {
		return 0
	}
	return nanos.After(m.activity, m.inactive)
}

// waited tells that a request waited until now: its client gets the threshold,
// without the random part, to come back.
func (m *Machine) waited(now int64) {
	m.activity = max(m.activity, now-(m.inactive-int64(m.cfg.InactiveThreshold)))
}

// checkInactive deletes a consumer that nobody uses.
func (m *Machine) checkInactive(now int64) {
	if !m.cfg.Push() {
		m.wait.keep(func(w *waiter) bool {
			if w.NoWait {
				m.refuse(w.Reply, "404 No Messages")
				return false
			}
			return m.listening(w)
		})
		if m.wait.len() > 0 {
			m.activity = now
			return
		}
		// A message may still be with a client that works on it.
		var latest int64
		m.pend.each(func(e *entry) bool { latest = max(latest, e.stamp); return true })
		if busy := nanos.After(latest, m.cfg.AckWait); m.pend.live > 0 && nanos.After(busy, m.inactive) > now {
			m.activity = busy
			return
		}
	}
	m.closed = true
	m.emit(Effect{Kind: Inactive})
}

// NextDeadline is when Tick has something to do; 0: never.
func (m *Machine) NextDeadline(now int64) int64 {
	if m.closed {
		return 0
	}
	t := earlier(m.pend.nextDeadline(), m.wait.check)
	t = earlier(t, m.heartbeatDue())
	t = earlier(t, m.notBefore)
	t = earlier(t, m.pausedUntil)
	t = earlier(t, m.inactiveDue())
	if m.pin.id != "" {
		t = earlier(t, m.pin.until)
	}
	return t
}

// Update takes over a new configuration that passed the checks for an update.
// If the filters changed, next is where delivery goes on and the count of
// pending messages must be set anew.
func (m *Machine) Update(cfg *jsapi.ConsumerConfig, now int64) {
	old := m.cfg
	m.blocked = false
	m.configure(cfg, now)
	if cfg.AckWait != old.AckWait || !slices.Equal(cfg.BackOff, old.BackOff) {
		m.pend.each(func(e *entry) bool { e.due = m.dueAfter(e.stamp, e.count); return true })
		m.pend.rearm()
	}
	if cfg.RateLimit != old.RateLimit {
		m.rate, m.notBefore = 0, 0
	}
	if cfg.DeliverSubject != old.DeliverSubject {
		m.pend.each(func(e *entry) bool { m.pend.enqueue(e); return true })
		m.push = push{window: flowStart, idle: now}
	}
	if cfg.PriorityPolicy != old.PriorityPolicy || !slices.Equal(cfg.PriorityGroups, old.PriorityGroups) {
		m.pin = pin{}
	}
}

// Configure replaces the configuration by one that differs only in what the
// machine does not look at, such as the stored pause.
func (m *Machine) Configure(cfg *jsapi.ConsumerConfig) { m.cfg = cfg }

// Filtered tells that the filters changed. Messages before the cursor are never
// delivered.
func (m *Machine) Filtered() {
	m.list, m.resume = nil, 0
	m.seen = 0
	m.known, m.complete, m.through = m.known[:0], false, 0
}

// Reset starts the consumer over at a sequence; 0: behind the floor. The count
// of pending messages must be set anew. It returns the sequence.
func (m *Machine) Reset(seq uint64, now int64) uint64 {
	if seq == 0 {
		seq = m.floor.Stream + 1
	}
	m.restart(seq)
	m.seen = 0
	m.activity = now
	m.push.used, m.push.covered, m.push.outstanding = 0, 0, ""
	m.notBefore = 0
	m.step(&consumerstate.Step{Kind: consumerstate.StepReset, SSeq: seq - 1})
	return seq
}

// IdleAfter is how long a consumer must have been without work before
// [Machine.Trim] is worth it.
const IdleAfter = 5 * time.Second
