package consumer

import (
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/consumerstate"
)

// Want says which messages to load.
type Want struct {
	Kind WantKind
	Seqs []uint64 // Listed: exactly these, in this order; valid until the next call
	From uint64   // Following: the next Max messages from here on that match the filters
	Max  int
}

// Limit makes it at most n messages.
func (w *Want) Limit(n int) {
	w.Max = min(w.Max, n)
	w.Seqs = w.Seqs[:min(len(w.Seqs), n)]
}

// WantKind says what a [Want] is.
type WantKind uint8

const (
	Nothing WantKind = iota
	Listed
	Following
)

// Message is what the machine must know of a loaded message. Lengths are in
// bytes.
type Message struct {
	Seq                   uint64
	Time                  int64
	Subject, Header, Data int
	Scratch               []byte // memory for the ack subject
}

// content is the size of the headers and the payload that are sent. A bare
// message is a header with the size of its payload instead.
func (msg *Message) content(bare bool) int {
	if !bare {
		return msg.Header + msg.Data
	}
	n := len("Nats-Msg-Size: 0\r\n")
	for rest := msg.Data / 10; rest > 0; rest /= 10 {
		n++
	}
	if msg.Header > 0 {
		return msg.Header + n
	}
	return len("NATS/1.0\r\n") + n + len("\r\n")
}

// Verdict says what to do with an offered message.
type Verdict uint8

const (
	// Stop: it cannot be delivered now; ask Next what to do.
	Stop Verdict = iota
	// Send: publish the [Delivery].
	Send
	// Skip: not wanted any more; offer the next one.
	Skip
)

// Delivery is a message on its way.
type Delivery struct {
	Target      string // deliver subject or reply subject of the request
	Reply       []byte // ack subject, in the message's scratch if that has room
	PinID       string // goes into the header Nats-Pin-Id, if not empty
	Seq         uint64
	ConsumerSeq uint64
	Count       uint32
	Pending     uint64 // messages left after this one
	Imported    bool   // Target belongs to another account
	HeadersOnly bool   // a header tells the size of the payload, which is left out
}

// offer is the delivery that waits for Sent or Unsent.
type offer struct {
	d     Delivery
	w     *waiter
	size  int
	stamp int64
	redo  bool
}

// maxWant bounds how many messages are loaded at a time, so that a turn stays
// short and its memory small.
const maxWant = 256

// Next says what to load. last is the last sequence of the stream up to which
// the machine was told of everything.
func (m *Machine) Next(now int64, last uint64) Want {
	if m.closed || m.blocked {
		return Want{}
	}
	if m.pausedUntil > now {
		m.endOneShots()
		return Want{}
	}
	if m.notBefore > now {
		return Want{}
	}
	limit := maxWant
	if m.is.push {
		if !m.push.active || m.stalled() {
			return Want{}
		}
	} else {
		if m.wait.len() == 0 {
			return Want{}
		}
		limit = min(limit, m.wait.outstanding())
	}
	m.dropExhausted()
	if m.pend.queued > 0 {
		s := m.work()
		if s.seqs = m.pend.peek(s.seqs[:0], limit); len(s.seqs) > 0 {
			return Want{Kind: Listed, Seqs: s.seqs}
		}
	}
	if room := m.room(); room == 0 {
		return Want{}
	} else if room > 0 {
		limit = min(limit, room)
	}
	if len(m.list) > 0 {
		return m.wantListed(m.list, limit)
	}
	if len(m.known) == 0 && m.next <= m.through {
		m.next = m.through + 1
	}
	if m.count == 0 && m.seen < m.next {
		// Looking is what moves the cursor over messages that do not match.
		m.next = max(m.next, last+1)
		m.endOneShots()
		return Want{}
	}
	if len(m.known) > 0 {
		return m.wantListed(m.known, limit)
	}
	return Want{Kind: Following, From: m.next, Max: limit}
}

// wantListed asks for the first of some sequences, limit at most.
func (m *Machine) wantListed(seqs []uint64, limit int) Want {
	s := m.work()
	s.seqs = append(s.seqs[:0], seqs[:min(limit, len(seqs))]...)
	return Want{Kind: Listed, Seqs: s.seqs}
}

// room is how many new messages may become pending; -1: any number.
func (m *Machine) room() int {
	if !m.is.capped {
		return -1
	}
	return max(m.cfg.MaxAckPending-m.pend.live, 0)
}

// dropExhausted gives up the messages at the head of the redelivery queue that
// were delivered often enough.
func (m *Machine) dropExhausted() {
	if !m.is.counted {
		return
	}
	for e := m.pend.front(); e != nil && int(e.count) >= m.cfg.MaxDeliver; e = m.pend.front() {
		m.abandon(e)
	}
}

// abandon gives a pending message up.
func (m *Machine) abandon(e *entry) {
	m.emit(Effect{Kind: MaxDeliver, Seq: e.sseq, Count: uint64(e.count)})
	m.sentTo(e.sseq, m.dnext-1, e.count+1, e.stamp)
	m.giveUp(e.sseq, e.count)
	m.pend.settle(e)
}

// Missing tells that a listed message does not exist any more.
func (m *Machine) Missing(seq uint64) {
	if m.unlist(seq) {
		m.uncount()
		return
	}
	if e := m.pend.find(seq); e != nil {
		m.emit(Effect{Kind: Terminated, Seq: seq, ConsumerSeq: e.dseq, Count: uint64(e.count), Text: "Unacknowledged message was deleted"})
		m.settle(e, e.dseq)
		return
	}
	m.unlearn(seq) // the stream will tell that it was removed
}

// Scanned tells that nothing matches from the cursor up to a sequence.
func (m *Machine) Scanned(through uint64) {
	if len(m.list) == 0 && m.next <= through {
		m.next = through + 1
		m.step(&consumerstate.Step{Kind: consumerstate.StepScanned, SSeq: through})
	}
}

// Exhausted tells that nothing matches from the cursor up to the stream's last
// sequence.
func (m *Machine) Exhausted(last uint64) {
	m.Scanned(last)
	if len(m.list) == 0 && m.pend.queued == 0 {
		m.endOneShots()
	}
}

// Offer decides about a message that was loaded.
func (m *Machine) Offer(msg *Message, now int64) (*Delivery, Verdict) {
	s := m.work()
	o := &s.offer
	*o = offer{}
	var count uint32
	pending := m.count
	if e := m.pend.front(); e != nil {
		if e.sseq != msg.Seq {
			if f := m.pend.find(msg.Seq); f != nil || msg.Seq < m.next {
				return nil, Skip // acked or removed since it was asked for
			}
			return nil, Stop // a redelivery goes first
		}
		if m.is.counted && int(e.count) >= m.cfg.MaxDeliver {
			m.abandon(e)
			return nil, Skip
		}
		o.redo, count = true, e.count+1
	} else {
		switch {
		case len(m.list) > 0 && msg.Seq != m.list[0]:
			return nil, Skip
		case msg.Seq < m.next:
			return nil, Skip
		case m.room() == 0:
			return nil, Stop
		}
		count = 1
		if pending > 0 {
			pending--
		}
		if m.waitForReplay(msg, now) {
			return nil, Stop
		}
	}
	o.stamp = msg.Time
	reply := s.text.append(msg.Scratch[:0], m.opts.AckPrefix, count, msg.Seq, m.dnext, msg.Time, pending)
	o.size = msg.Subject + len(reply) + msg.content(m.is.bare)
	// Field by field: to put a Delivery together and copy it costs as much as the text.
	o.d.Reply, o.d.Seq, o.d.ConsumerSeq = reply, msg.Seq, m.dnext
	o.d.Count, o.d.Pending, o.d.HeadersOnly = count, pending, m.is.bare
	if m.is.push {
		if !m.push.active || m.stalled() || m.waitForRate(o.size, now) {
			return nil, Stop
		}
		o.d.Target = m.target
		return &o.d, Send
	}
	w := m.pick(o.size, pending+1, now)
	if w == nil {
		m.blocked = true
		return nil, Stop
	}
	o.w = w
	o.d.Target, o.d.Imported, o.d.PinID = w.Reply, w.Imported, m.pin.id
	return &o.d, Send
}

// Sent tells that the offered message went out.
func (m *Machine) Sent(now int64) {
	o := &m.s.offer
	d := &o.d
	if o.redo {
		e := m.pend.find(d.Seq)
		m.pend.unqueue(e)
		if e.count == 1 {
			m.pend.again++
		}
		e.count = d.Count
		e.stamp = now
		e.due, e.armed = m.dueAfter(now, e.count), 0
		m.pend.arm(e)
	} else {
		m.advance(d, o.stamp, now)
	}
	m.dnext++
	m.lastSent = now
	m.activity = now
	m.delivered.Consumer = d.ConsumerSeq
	if m.is.none {
		m.floor = m.delivered
		m.release(d.Seq)
	}
	m.sentTo(d.Seq, d.ConsumerSeq, d.Count, now)
	if m.is.push {
		m.pushed(o.size, now)
	} else {
		m.serve(o.w, o.size, now)
	}
}

// advance moves the cursor behind a message that was delivered first.
func (m *Machine) advance(d *Delivery, stamp, now int64) {
	m.uncount()
	m.unlearn(d.Seq)
	m.next = d.Seq + 1
	m.delivered.Stream = max(m.delivered.Stream, d.Seq)
	m.replay.last, m.replay.sent = stamp, now
	if len(m.list) > 0 {
		m.list = m.list[1:]
		if len(m.list) == 0 {
			m.listMoved()
		}
	}
	if !m.is.none {
		m.pend.add(entry{sseq: d.Seq, dseq: d.ConsumerSeq, stamp: now, due: m.dueAfter(now, 1), count: 1})
	}
}

// Unsent tells that nobody was there to take the offered message: as if it had
// not been offered.
func (m *Machine) Unsent() {
	if m.cfg.Push() {
		m.push.active = false
		return
	}
	gone := m.s.offer.w
	m.wait.keep(func(w *waiter) bool {
		if w == gone || w.Reply == gone.Reply {
			if w.Imported {
				m.end(w, "408 Interest Expired")
			}
			return false
		}
		return true
	})
}

// pick chooses the request that gets a message of z bytes, and leaves it at the
// head of the queue. before is the number of messages pending with this one.
func (m *Machine) pick(z int, before uint64, now int64) *waiter {
	for tries := m.wait.len(); tries > 0; tries-- {
		w := m.wait.front()
		if w.deadline != 0 && w.deadline <= now {
			m.end(w, "408 Request Timeout")
			m.wait.recycle(m.wait.pop())
			continue
		}
		pinned := false
		switch m.cfg.PriorityPolicy {
		case jsapi.PriorityOverflow:
			if !m.eligible(w, before) {
				m.wait.push(m.wait.pop())
				continue
			}
		case jsapi.PriorityPinnedClient:
			switch {
			case w.ID != "" && w.ID != m.pin.id:
				m.end(w, "423 Nats-Wrong-Pin-Id")
				m.wait.recycle(m.wait.pop())
				continue
			case m.pin.id == "":
				if !m.world.Interest(w.Reply) {
					m.wait.recycle(m.wait.pop())
					continue
				}
				pinned = true
			case w.ID == "":
				m.wait.push(m.wait.pop())
				continue
			}
		}
		if w.MaxBytes > 0 && z > w.budget {
			m.end(w, "409 Message Size Exceeds MaxBytes")
			m.wait.recycle(m.wait.pop())
			continue
		}
		if pinned {
			m.pinTo(w, now)
		}
		return w
	}
	if m.cfg.PriorityPolicy == jsapi.PriorityOverflow {
		m.endOneShots() // their threshold is not met
	}
	return nil
}

func (m *Machine) eligible(w *waiter, before uint64) bool {
	if w.MinPending <= 0 && w.MinAckPending <= 0 {
		return true
	}
	return w.MinPending > 0 && uint64(w.MinPending) <= before ||
		w.MinAckPending > 0 && w.MinAckPending <= m.pend.live
}

// serve takes a message off the request at the head of the queue.
func (m *Machine) serve(w *waiter, size int, now int64) {
	w.left--
	w.served = true
	w.active = now
	if w.MaxBytes > 0 {
		w.budget -= size
	}
	done := w.left <= 0 || w.MaxBytes > 0 && w.budget == 0
	switch {
	case done:
		if w.MaxBytes > 0 && w.budget > 0 {
			m.end(w, "409 Batch Completed")
		}
		m.wait.recycle(m.wait.pop())
	case m.cfg.PriorityPolicy == jsapi.PriorityPinnedClient:
		// Only this client is served: it may stay at the head.
	case m.cfg.PriorityPolicy == jsapi.PriorityPrioritized:
		m.wait.insert(m.wait.pop())
	default:
		if m.wait.len() > 1 {
			m.wait.push(m.wait.pop())
		}
	}
}

// waitForReplay reports whether a message must wait for its original distance
// from the one before it.
func (m *Machine) waitForReplay(msg *Message, now int64) bool {
	if msg.Seq > m.replay.until || m.replay.sent == 0 {
		return false
	}
	gap := msg.Time - m.replay.last
	if gap <= int64(time.Millisecond) || now >= m.replay.sent+gap {
		return false
	}
	m.notBefore = m.replay.sent + gap
	return true
}
