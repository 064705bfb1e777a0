package jetstream

import (
	"cmp"
	"slices"
	"strings"

	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/subjecttree"
)

// overlay is what admission knows beyond the visible state: what was accepted
// and is not visible yet. It belongs to the stream's turn.
type overlay struct {
	lastSeq   uint64 // accepted
	visible   uint64 // last sequence applied
	lastMsgID string // of the last message accepted
	rollupAll uint64 // sequence of the last accepted rollup of the whole stream
	// subjects in flight. They are kept only from the first check that needs
	// them until nothing is in flight, since most streams never ask. They may know
	// messages that are visible, stale of them.
	subjects map[string]subjectOverlay
	stale    int
}

// leastStale is how many messages at least the subjects know in vain before they
// are collected anew.
const leastStale = 1024

type subjectOverlay struct {
	msgs   []inflightMsg // in order of sequence
	rollup uint64        // sequence of the last accepted rollup of the subject
	header []byte        // of the last message
	value  []byte        // payload of the last message, if it has headers: a counter has
}

type inflightMsg struct {
	seq uint64
	// Lengths: what the message counts for depends on the storage.
	header, data uint32
}

// resync takes the position of admission from the store. Nothing is in flight.
func (st *Stream) resync() {
	var s msgstore.State
	st.store.FastState(&s)
	o := &st.turn.overlay
	*o = overlay{lastSeq: s.LastSeq, visible: s.LastSeq, lastMsgID: o.lastMsgID}
	st.turn.dedup.forgetAbove(s.LastSeq)
}

// inflightSubjects makes sure that the subjects in flight are known, by looking
// through the proposals once.
func (st *Stream) inflightSubjects(current *proposal) map[string]subjectOverlay {
	o := &st.turn.overlay
	if o.subjects == nil {
		o.subjects = make(map[string]subjectOverlay)
		if st.turn.inflight > 0 {
			st.proposer.InFlight(o.note)
		}
		for i := range current.raw {
			o.note(&current.raw[i])
		}
	}
	return o.subjects
}

// note enters an accepted message into the subjects in flight.
func (o *overlay) note(m *msgstore.RawMsg) {
	if m.Skip > 0 {
		return
	}
	s := o.subjects[m.Subject]
	s.msgs = append(s.msgs, inflightMsg{m.Seq, uint32(len(m.Header)), uint32(len(m.Data))})
	if m.Rollup == msgstore.RollupSubject {
		s.rollup = m.Seq
	}
	s.value, s.header = s.value[:0], s.header[:0]
	if len(m.Header) > 0 {
		s.value, s.header = append(s.value, m.Data...), append(s.header, m.Header...)
	}
	o.subjects[strings.Clone(m.Subject)] = s
}

func (o *overlay) forgetSubjects() { o.subjects, o.stale = nil, 0 }

// applied takes note that a proposal's messages are visible.
func (o *overlay) applied(p *proposal, inflight int) {
	o.visible = p.last
	if o.subjects == nil {
		return
	}
	if o.stale += p.records; o.stale > max(leastStale, inflight) {
		o.forgetSubjects()
	}
}

// lastOf is the last accepted sequence whose subject matches, or 0.
func (st *Stream) lastOf(current *proposal, subject string) uint64 {
	var last uint64
	if st.turn.inflight > 0 || len(current.raw) > 0 {
		subjects := st.inflightSubjects(current)
		if subjecttree.Literal(subject) {
			last = subjects[subject].last(&st.turn.overlay)
		} else {
			for s, in := range subjects {
				if n := in.last(&st.turn.overlay); n > last && subjecttree.Matches(s, subject) {
					last = n
				}
			}
		}
		if last > 0 {
			return last
		}
	}
	if st.turn.overlay.rollupAll > st.turn.overlay.visible {
		return 0
	}
	state, err := st.store.FilteredState(0, subject)
	if err != nil || state.Msgs == 0 {
		return 0
	}
	return state.Last
}

// inFlight reports whether a message of the subject was accepted and may not be
// visible yet.
func (st *Stream) inFlight(current *proposal, subject string) bool {
	if st.turn.inflight == 0 && len(current.raw) == 0 {
		return false
	}
	return st.inflightSubjects(current)[subject].last(&st.turn.overlay) > 0
}

// last is the last sequence in flight that no rollup of the stream takes away, or 0.
func (s subjectOverlay) last(o *overlay) uint64 {
	if n := len(s.msgs); n > 0 && s.msgs[n-1].seq > o.visible && s.msgs[n-1].seq >= o.rollupAll {
		return s.msgs[n-1].seq
	}
	return 0
}

// from are the messages at or above a sequence.
func (s subjectOverlay) from(seq uint64) []inflightMsg {
	i, _ := slices.BinarySearchFunc(s.msgs, seq, func(m inflightMsg, seq uint64) int { return cmp.Compare(m.seq, seq) })
	return s.msgs[i:]
}

// subjectCount is the number of messages of a subject with those accepted, and
// the size of the oldest of them, which is the next to be replaced.
func (st *Stream) subjectCount(current *proposal, subject string) (n int64, oldest int64) {
	for done := false; !done; {
		in, state, replaced, unchanged := st.ofSubject(current, subject)
		n, oldest = int64(len(in))+int64(state.Msgs)-replaced, 0
		if len(in) > 0 {
			oldest = st.sizeOf(subject, in[0])
		}
		if int64(state.Msgs) > replaced {
			if sm, err := st.store.LoadMsg(state.First, nil); err == nil {
				oldest = st.sizeOf(subject, inflightMsg{header: uint32(len(sm.Header)), data: uint32(len(sm.Data))})
			}
		}
		done = unchanged()
	}
	return n, oldest
}

// maxRolledUp bounds the visible messages whose sizes are added up for a rollup. Of
// more the rest counts until the rollup is visible.
const maxRolledUp = 1024

// subjectTotals are the messages and bytes of a subject with those accepted, which a
// rollup takes away.
func (st *Stream) subjectTotals(current *proposal, subject string) (n, bytes int64) {
	for done := false; !done; {
		in, state, replaced, unchanged := st.ofSubject(current, subject)
		n, bytes = int64(len(in))+int64(state.Msgs)-replaced, 0
		for i := range in {
			bytes += st.sizeOf(subject, in[i])
		}
		if state.Msgs > 0 && st.Config().MaxBytes > 0 {
			var sm msgstore.StoredMsg
			for i, next := int64(0), state.First; i < maxRolledUp && next <= state.Last; i++ {
				m, _, err := st.store.LoadNextMsg(subject, next, &sm)
				if err != nil {
					break
				}
				if i >= replaced {
					bytes += st.sizeOf(subject, inflightMsg{header: uint32(len(m.Header)), data: uint32(len(m.Data))})
				}
				next = m.Seq + 1
			}
		}
		done = unchanged()
	}
	return n, bytes
}

// ofSubject are the messages of a subject: those accepted that are not visible, and
// the state of the visible ones, without what a rollup in flight takes away. The
// first of the visible ones are replaced by those in flight. What was made of all
// this is right if nothing became visible meanwhile.
func (st *Stream) ofSubject(current *proposal, subject string) (in []inflightMsg, state msgstore.SimpleState, replaced int64, unchanged func() bool) {
	o := &st.turn.overlay
	visible := st.store.Positions().Visible
	rollup := o.rollupAll
	if st.turn.inflight > 0 || len(current.raw) > 0 {
		s := st.inflightSubjects(current)[subject]
		rollup = max(rollup, s.rollup)
		in = s.from(max(visible+1, rollup))
	}
	if rollup <= visible { // else nothing visible outlives it
		if s, err := st.store.FilteredState(0, subject); err == nil {
			state = s
		}
	}
	if most := st.Config().MaxMsgsPerSubject; most > 0 {
		if n := int64(len(in)); n > most {
			in = in[n-most:]
		}
		replaced = min(max(int64(state.Msgs)+int64(len(in))-most, 0), int64(state.Msgs))
	}
	return in, state, replaced, func() bool { return st.store.Positions().Visible == visible }
}

func (st *Stream) sizeOf(subject string, m inflightMsg) int64 {
	return int64(recordSize(st.Config().Storage, len(subject), int(m.header), int(m.data)))
}

// totals are the messages and bytes of the stream with all that was accepted.
func (st *Stream) totals(current *proposal) (msgs, bytes int64) {
	var s msgstore.State
	st.store.FastState(&s)
	msgs, bytes = int64(s.Msgs)+current.msgs, int64(s.Bytes)+current.bytes
	for _, p := range st.turn.pipeline {
		if p.last > s.LastSeq {
			msgs += p.msgs
			bytes += p.bytes
		}
	}
	return msgs, bytes
}

// unseen is the size of what was accepted and is not visible yet.
func (st *Stream) unseen(current *proposal) int64 {
	visible := st.store.Positions().Visible
	size := int64(current.size)
	for _, p := range st.turn.pipeline {
		if p.last > visible {
			size += int64(p.size)
		}
	}
	return size
}
