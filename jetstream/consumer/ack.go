package consumer

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/nanos"
)

// Ack is an acknowledgement as it came in.
type Ack struct {
	Seq         uint64 // stream sequence
	ConsumerSeq uint64
	Deliveries  uint64
	Body        []byte // valid during the call
	Reply       string // wants a confirmation, or the messages of a +NXT
	Imported    bool   // Reply belongs to another account
}

// Verb says what the body of an ack means.
type Verb uint8

const (
	VerbNone Verb = iota // not an ack; confirmed all the same
	VerbAck
	VerbNak
	VerbProgress
	VerbTerm
	VerbNext
)

// ParseVerb takes a body apart; arg is what follows the verb, untrimmed.
func ParseVerb(body []byte) (v Verb, arg []byte) {
	switch {
	case len(body) == 0:
		return VerbAck, nil
	case body[0] != '+' && body[0] != '-':
		return VerbNone, nil
	case string(body) == "+ACK", string(body) == "+OK":
		return VerbAck, nil
	case string(body) == "+WPI":
		return VerbProgress, nil
	case bytes.HasPrefix(body, []byte("-NAK")):
		return VerbNak, body[4:]
	case bytes.HasPrefix(body, []byte("+TERM")):
		return VerbTerm, body[5:]
	case bytes.HasPrefix(body, []byte("+NXT")):
		return VerbNext, body[4:]
	}
	return VerbNone, nil
}

// Ack processes an acknowledgement.
func (m *Machine) Ack(a Ack, now int64) {
	if m.closed || m.cfg.AckPolicy == jsapi.AckNone || m.cfg.AckPolicy == jsapi.AckFlowControl {
		return
	}
	m.activity = now
	m.blocked = false
	verb, arg := ParseVerb(a.Body)
	if a.Seq >= m.next {
		m.emit(Effect{Kind: Premature, Seq: a.Seq})
		return // never delivered; not even confirmed
	}
	switch verb {
	case VerbAck, VerbNext:
		m.ack(&a, now, true)
	case VerbTerm:
		m.emit(Effect{Kind: Terminated, Seq: a.Seq, ConsumerSeq: a.ConsumerSeq, Count: a.Deliveries, Text: string(bytes.TrimSpace(arg))})
		m.ack(&a, now, false)
	case VerbNak:
		m.nak(&a, bytes.TrimSpace(arg), now)
	case VerbProgress:
		if e := m.pend.find(a.Seq); e != nil {
			m.stamp(e, now)
		}
	}
	if verb == VerbNext {
		if a.Reply != "" {
			m.PullBody(arg, a.Reply, a.Imported, now)
		}
		return
	}
	if a.Reply != "" {
		m.emit(Effect{Kind: Confirm, Target: a.Reply})
	}
}

// ack settles what a covers.
func (m *Machine) ack(a *Ack, now int64, sample bool) {
	m.lastAck = now
	if m.cfg.AckPolicy == jsapi.AckAll {
		m.ackAll(a.Seq, a.ConsumerSeq)
		return
	}
	e := m.pend.find(a.Seq)
	if e == nil {
		if m.forget(a.Seq) {
			m.release(a.Seq)
		}
		return
	}
	if sample && m.sample > 0 && (m.sample >= 100 || m.world.Random(100) < int(m.sample)) {
		m.emit(Effect{Kind: Sampled, Seq: a.Seq, ConsumerSeq: a.ConsumerSeq, Count: a.Deliveries, Elapsed: now - e.stamp})
	}
	m.settle(e, e.dseq)
	m.release(a.Seq)
}

// ackAll settles everything up to a position.
func (m *Machine) ackAll(sseq, dseq uint64) {
	dseq, sseq = min(dseq, m.dnext-1), min(sseq, m.delivered.Stream)
	if sseq <= m.floor.Stream || dseq <= m.floor.Consumer {
		if m.forget(sseq) {
			m.release(sseq)
		}
		return
	}
	highest := uint64(0)
	for e := m.pend.lowest(); e != nil && e.sseq <= sseq; e = m.pend.lowest() {
		highest = e.sseq
		m.release(e.sseq)
		m.pend.settle(e)
	}
	for seq := range m.given {
		if seq <= sseq {
			m.forget(seq)
			m.release(seq)
		}
	}
	m.floor = Position{Consumer: dseq, Stream: sseq}
	if highest > 0 {
		m.acked(highest, m.floor.Consumer)
	}
}

// stamp moves the deadline of a pending message as if it had been delivered at
// the time at.
func (m *Machine) stamp(e *entry, at int64) {
	e.stamp = at
	if e.ticket == 0 {
		m.pend.extend(e, m.dueAfter(at, e.count))
	}
	m.sentTo(e.sseq, e.dseq, 1, at) // of a pending message this changes only its time
}

// nak puts a message up for redelivery, at once or after a delay.
func (m *Machine) nak(a *Ack, arg []byte, now int64) {
	e := m.pend.find(a.Seq)
	if e == nil || a.ConsumerSeq <= m.floor.Consumer || a.ConsumerSeq > m.dnext {
		return
	}
	m.emit(Effect{Kind: Naked, Seq: a.Seq, ConsumerSeq: a.ConsumerSeq, Count: a.Deliveries})
	delay, ok := nakDelay(arg)
	if !ok {
		m.emit(Effect{Kind: Garbled, Text: string(arg[:min(len(arg), maxGarbled)])})
	}
	if delay <= 0 {
		m.pend.enqueue(e)
		return
	}
	due := nanos.After(now, delay)
	// On disk only the stamp is kept: choose it so that the deadline is right
	// after a restart, too.
	e.stamp = due - (m.dueAfter(now, e.count) - now)
	m.sentTo(e.sseq, e.dseq, 1, e.stamp)
	m.pend.unqueue(e)
	m.pend.extend(e, due)
}

// maxGarbled bounds what is shown of an argument that makes no sense.
const maxGarbled = 64

// nakDelay parses the argument of a -NAK: 0 if there is none, and if it makes no
// sense, which ok tells.
func nakDelay(arg []byte) (delay time.Duration, ok bool) {
	if len(arg) == 0 {
		return 0, true
	}
	if arg[0] == '{' {
		var v struct {
			Delay time.Duration `json:"delay"`
		}
		if json.Unmarshal(arg, &v) != nil {
			return 0, false
		}
		return v.Delay, true
	}
	delay, err := time.ParseDuration(string(arg))
	return delay, err == nil
}
