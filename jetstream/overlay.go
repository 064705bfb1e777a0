package jetstream

import (
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
	seqs   []uint64 // of the messages, ascending
	rollup uint64   // sequence of the last accepted rollup of the subject
	size   int      // of the last message's payload
	header []byte   // of the last message
	value  []byte   // payload of the last message, if it has headers: a counter has
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
	s.seqs = append(s.seqs, m.Seq)
	if m.Rollup == msgstore.RollupSubject {
		s.rollup = m.Seq
	}
	s.size = len(m.Data)
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

// last is the last sequence in flight, or 0.
func (s subjectOverlay) last(o *overlay) uint64 {
	if n := len(s.seqs); n > 0 && s.seqs[n-1] > o.visible {
		return s.seqs[n-1]
	}
	return 0
}

// subjectCount is the number of messages of a subject with those accepted, and
// the size of the oldest of them, which is the next to be replaced.
func (st *Stream) subjectCount(current *proposal, subject string) (n int64, oldest int64) {
	o := &st.turn.overlay
	var in subjectOverlay
	if st.turn.inflight > 0 || len(current.raw) > 0 {
		in = st.inflightSubjects(current)[subject]
	}
	storage := st.Config().Storage
	for {
		visible := st.store.Positions().Visible
		from := max(visible+1, in.rollup, o.rollupAll)
		i, _ := slices.BinarySearch(in.seqs, from)
		n = int64(len(in.seqs) - i)
		if n > 0 {
			oldest = int64(recordSize(storage, len(subject), len(in.header), in.size))
		}
		if max(in.rollup, o.rollupAll) > visible {
			return n, oldest // nothing visible outlives the rollup
		}
		state, err := st.store.FilteredState(0, subject)
		if err == nil && state.Msgs > 0 {
			n += int64(state.Msgs)
			if sm, err := st.store.LoadMsg(state.First, nil); err == nil {
				oldest = int64(recordSize(storage, len(sm.Subject), len(sm.Header), len(sm.Data)))
			}
		}
		if st.store.Positions().Visible == visible {
			return n, oldest
		}
	}
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
