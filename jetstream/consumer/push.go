package consumer

import (
	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/nanos"
)

// Flow control of push consumers: the window of bytes that may be on their way
// to the client starts small and doubles with each answer.
const (
	flowMax   = 32 << 20
	flowStart = flowMax / 16
)

// push is the state of push delivery.
type push struct {
	active      bool  // the deliver subject has interest; only a push consumer's is asked for
	idle        int64 // last message or heartbeat
	window      int   // bytes
	used        int   // bytes sent and not covered by an answer
	covered     int   // bytes that the outstanding request covers
	outstanding string
}

// stalled reports whether the flow-control window is used up.
func (m *Machine) stalled() bool { return m.is.flow && m.push.used > m.push.window }

// SetActive tells whether the deliver subject has interest.
func (m *Machine) SetActive(active bool, now int64) {
	if m.push.active == active {
		return
	}
	m.push.active = active
	m.push.idle = now
	m.activity = now
}

// pushed accounts for a message that was pushed.
func (m *Machine) pushed(size int, now int64) {
	m.push.idle = now
	if m.is.limited {
		m.rate = max(m.rate, now) + m.cost(size)
	}
	if !m.is.flow {
		return
	}
	m.push.used += size
	if m.push.outstanding != "" {
		if m.push.used-m.push.covered >= m.push.window {
			m.push.covered += size
		}
		return
	}
	full := m.cfg.AckPolicy == jsapi.AckFlowControl && m.cfg.MaxAckPending > 0 && m.pend.live >= m.cfg.MaxAckPending
	if full || m.push.used > m.push.window/2 {
		m.requestFlow()
	}
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// requestFlow asks the client to say how far it is.
func (m *Machine) requestFlow() {
	var id [4]byte
	for i := range id {
		id[i] = base62[m.world.Random(len(base62))]
	}
	m.push.outstanding = m.opts.FlowPrefix + string(id[:])
	m.push.covered = m.push.used
	m.emit(Effect{Kind: FlowRequest, Target: m.target, Reply: m.push.outstanding})
}

// FlowAnswer is a client's answer to a flow-control request. For ack policy
// flow_control it acknowledges everything up to the stream sequence.
func (m *Machine) FlowAnswer(subject string, streamSeq uint64, now int64) {
	if m.closed || subject == "" || subject != m.push.outstanding {
		return
	}
	m.push.window = min(2*m.push.window, flowMax)
	m.push.used = max(m.push.used-m.push.covered, 0)
	m.push.covered, m.push.outstanding = 0, ""
	if m.cfg.AckPolicy != jsapi.AckFlowControl || streamSeq == 0 || streamSeq >= m.next {
		return
	}
	m.lastAck, m.activity = now, now
	// The delivery that belongs to the stream sequence is known here: a client that
	// tells a later one would take the floor past messages that nobody delivers
	// again.
	dseq := uint64(0)
	m.pend.each(func(e *entry) bool {
		if e.sseq <= streamSeq {
			dseq = e.dseq
		}
		return e.sseq <= streamSeq
	})
	if dseq > 0 {
		m.ackAll(streamSeq, dseq)
	}
}

// cost is the time that the rate limit gives size bytes.
func (m *Machine) cost(size int) int64 {
	return int64(float64(size) * 8 * 1e9 / float64(m.cfg.RateLimit))
}

// waitForRate reports whether a message must wait for the token bucket.
func (m *Machine) waitForRate(size int, now int64) bool {
	if !m.is.limited {
		return false
	}
	at := max(m.rate, now) + m.cost(size) - m.cost(max(m.opts.Burst, size))
	if at <= now {
		return false
	}
	m.notBefore = at
	return true
}

// heartbeatDue is when a push consumer says that it is alive; 0: never.
func (m *Machine) heartbeatDue() int64 {
	if !m.is.beats || !m.push.active {
		return 0
	}
	return nanos.After(m.push.idle, m.cfg.Heartbeat)
}

// beat sends a heartbeat of a push consumer.
func (m *Machine) beat(now int64) {
	m.push.idle = now
	m.heartbeat(m.target, m.push.outstanding)
	if m.cfg.AckPolicy == jsapi.AckFlowControl && m.pend.live > 0 && m.push.outstanding == "" {
		m.requestFlow()
	}
}

func (m *Machine) heartbeat(target, stalled string) {
	m.emit(Effect{Kind: Heartbeat, Target: target, Reply: stalled, ConsumerSeq: m.dnext - 1, Seq: m.next - 1})
}

// pin is the client that a pinned_client consumer serves.
type pin struct {
	id    string
	at    int64
	until int64
}

func (p *pin) renew(cfg *jsapi.ConsumerConfig, now int64) {
	p.until = 0
	if cfg.PriorityTimeout > 0 {
		p.until = nanos.After(now, cfg.PriorityTimeout)
	}
}

// pinTo gives the pin to a request without one.
func (m *Machine) pinTo(w *waiter, now int64) {
	m.pin = pin{id: m.world.ID(), at: now}
	m.pin.renew(m.cfg, now)
	w.ID = m.pin.id
	m.emit(Effect{Kind: Pinned, Target: w.Group, Text: m.pin.id})
}

// Unpin takes the pin away for a reason: "admin" or "timeout".
func (m *Machine) Unpin(group, reason string) {
	m.pin = pin{}
	m.blocked = false
	m.emit(Effect{Kind: Unpinned, Target: group, Text: reason})
}

// Pause stops deliveries until a time; 0 or a time in the past resumes them.
func (m *Machine) Pause(until, now int64) {
	m.pausedUntil = 0
	if until > now {
		m.pausedUntil = until
	}
}
