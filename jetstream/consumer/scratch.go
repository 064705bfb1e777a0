package consumer

import (
	"slices"

	"github.com/natsd/natsd/msgstore/consumerstate"
)

// Scratch is the memory that a machine works with and does without at rest: what
// it said, until that is taken, and what a message passes through. Whoever serves
// many machines in turn lends them the same one ([Machine.Lend]), which stays in
// the processor's cache then. The zero value is ready to use.
type Scratch struct {
	effects  []Effect
	steps    []consumerstate.Step
	released []uint64
	seqs     []uint64 // that are wanted, or due

	offer offer
	text  replyText
}

// says reports whether there is something that was not taken.
func (s *Scratch) says() bool { return len(s.effects)+len(s.steps)+len(s.released) > 0 }

// Small reports whether it is worth keeping for other machines.
func (s *Scratch) Small() bool {
	const many = 1024
	return cap(s.effects) <= many && cap(s.steps) <= many && cap(s.released) <= many && cap(s.seqs) <= many
}

// Lend gives the machine a scratch until Return. Its content is lost; what the
// machine has said before is in it from then on.
func (m *Machine) Lend(s *Scratch) {
	s.effects, s.steps, s.released = s.effects[:0], s.steps[:0], s.released[:0]
	if own := m.s; own != nil {
		s.effects = append(s.effects, own.effects...)
		s.steps = append(s.steps, own.steps...)
		s.released = append(s.released, own.released...)
	}
	m.s = s
}

// Return ends the use of what was lent. What was not taken from the machine stays
// to be taken.
func (m *Machine) Return() {
	s := m.s
	m.s = nil
	if s.says() {
		m.s = &Scratch{effects: slices.Clone(s.effects), steps: slices.Clone(s.steps), released: slices.Clone(s.released)}
	}
	s.offer = offer{}
}

// work returns the scratch in use.
func (m *Machine) work() *Scratch {
	if m.s == nil {
		m.s = new(Scratch)
	}
	return m.s
}
