package consumer

import "github.com/natsd/natsd/msgstore/consumerstate"

// Kind says what an [Effect] is.
type Kind uint8

const (
	// Status is a header-only message to Target: Text is "408 Request
	// Timeout". With Remaining it carries Messages and Bytes.
	Status Kind = iota
	// Heartbeat is "100 Idle Heartbeat" to Target with ConsumerSeq, Seq and,
	// if Reply is set, the stalled flow-control subject.
	Heartbeat
	// FlowRequest is "100 FlowControl Request" to Target with a reply subject.
	FlowRequest
	// Confirm is the empty answer to an ack that had a reply subject. It waits until
	// the steps of its turn are durable.
	Confirm
	// Naked, Terminated (Text is the reason), MaxDeliver and Sampled
	// (Elapsed) are advisories about message Seq.
	Naked
	Terminated
	MaxDeliver
	Sampled
	// Pinned and Unpinned are advisories: ID is the pin, Text the reason.
	Pinned
	Unpinned
	// Resumed tells that the pause ended by itself.
	Resumed
	// Premature is an ack for message Seq, which was not delivered yet; Garbled is a
	// -NAK whose argument makes no sense: Text is its beginning.
	Premature
	Garbled
	// Inactive tells that nobody uses the consumer any more: delete it.
	Inactive
)

// Effect is something for the outside, in the order it must happen.
type Effect struct {
	Kind      Kind
	Remaining bool // Status: with Messages and Bytes
	Target    string
	Reply     string
	Text      string
	Messages  int
	Bytes     int

	Seq         uint64
	ConsumerSeq uint64
	Count       uint64
	Elapsed     int64
}

func (m *Machine) emit(e Effect) {
	s := m.work()
	s.effects = append(s.effects, e)
}

// Effects returns what happened since the last call. The slice is valid until
// the next input.
func (m *Machine) Effects() []Effect {
	if m.s == nil {
		return nil
	}
	e := m.s.effects
	m.s.effects = e[:0]
	return e
}

// Steps returns the changes since the last call of what survives a restart, as
// one run of the consumer. The slice is valid until the next input.
func (m *Machine) Steps() []consumerstate.Step {
	if m.s == nil {
		return nil
	}
	s := m.s.steps
	m.s.steps = s[:0]
	return s
}

// step records a change. Neighbours become one step.
func (m *Machine) step(s *consumerstate.Step) {
	w := m.work()
	if n := len(w.steps); n > 0 && s.Num == 1 {
		l := &w.steps[n-1]
		if l.Kind == s.Kind && l.DC == s.DC && l.Time == s.Time && l.SSeq+l.Num == s.SSeq && l.DSeq+l.Num == s.DSeq {
			l.Num++
			return
		}
	}
	w.steps = append(w.steps, *s)
}

func (m *Machine) acked(sseq, dseq uint64) {
	m.step(&consumerstate.Step{Kind: consumerstate.StepAcked, SSeq: sseq, DSeq: dseq, Num: 1})
}

func (m *Machine) sentTo(sseq, dseq uint64, count uint32, at int64) {
	m.step(&consumerstate.Step{Kind: consumerstate.StepDelivered, SSeq: sseq, DSeq: dseq, DC: uint64(count), Time: at, Num: 1})
}

func (m *Machine) release(seq uint64) {
	s := m.work()
	s.released = append(s.released, seq)
}

// Released returns the sequences that this consumer does not need any more,
// for interest and work queue retention. Valid until the next input.
func (m *Machine) Released() []uint64 {
	if m.s == nil {
		return nil
	}
	r := m.s.released
	m.s.released = r[:0]
	return r
}
