package jetstream

import "github.com/natsd/natsd/msgstore"

// passed is the position of a source behind a message that is not stored, as a
// duplicate, or because nobody wants it.
type passed struct {
	origin   *origin
	progress msgstore.SourceProgress
}

// passSource leaves a message of a source out. The position counts when what the
// decision rests on is durable.
func (st *Stream) passSource(p *proposal, o *origin, seq uint64) {
	t := &st.turn
	o.seq = seq
	x := passed{o, msgstore.SourceProgress{Seq: seq, Identity: o.identity}}
	switch {
	case len(p.raw) > 0:
	case t.inflight > 0:
		p = t.pipeline[len(t.pipeline)-1]
	default:
		st.noteSource(&x)
		return
	}
	for i := range p.passed {
		if p.passed[i].origin == o {
			p.passed[i] = x
			return
		}
	}
	p.passed = append(p.passed, x)
}

// noteSource tells the store how far a source has come, unless the origin was
// made anew meanwhile.
func (st *Stream) noteSource(x *passed) {
	if x.origin.identity == x.progress.Identity {
		st.store.PassSource(x.origin.index, x.progress)
	}
}
