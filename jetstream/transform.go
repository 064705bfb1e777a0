package jetstream

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/subjecttree"
)

// checkTransform says whether subjects of src can be mapped to dest.
func checkTransform(src, dest string) error {
	if len(src) > jsapi.MaxSubject || len(dest) > jsapi.MaxSubject {
		return subjecttree.ErrBadSubject
	}
	_, err := subjecttree.NewTransform(src, dest)
	return err
}

// newTransform makes a transform that was checked before; nil if there is
// nothing to transform.
func newTransform(src, dest string) *subjecttree.Transform {
	if dest == "" {
		return nil
	}
	t, err := subjecttree.NewTransform(src, dest)
	if err != nil {
		return nil // found on disk; the reference ignores it as well
	}
	return t
}

// republisher publishes what became visible a second time.
type republisher struct {
	transform   *subjecttree.Transform
	headersOnly bool
}

// derive makes what the turn uses out of the configuration.
func (st *Stream) derive(cfg *jsapi.StreamConfig) {
	t := &st.turn
	t.transform, t.republish = nil, nil
	if s := cfg.SubjectTransform; s != nil {
		t.transform = newTransform(s.Source, s.Destination)
	}
	if r := cfg.Republish; r != nil {
		if tr := newTransform(r.Source, r.Destination); tr != nil {
			t.republish = &republisher{tr, r.HeadersOnly}
		}
	}
}

// transformSubject sets the subject under which a message is checked and
// stored. One that the transform's source does not match stays as it is.
func (st *Stream) transformSubject(m *publish) {
	m.subjectText = st.transformed(asString(m.subject))
}

// transformed is a subject behind the stream's transform.
func (st *Stream) transformed(subject string) string {
	if t := st.turn.transform; t != nil {
		if s, err := t.Match(subject, rand.Uint32N); err == nil {
			return s
		}
	}
	return subject
}

// republishAll publishes the messages of a proposal that match.
func (st *Stream) republishAll(p *proposal) {
	for i := range p.stored {
		s := &p.stored[i]
		st.republishOne(&p.raw[s.raw], s.previous)
	}
}

func (st *Stream) republishOne(m *msgstore.RawMsg, previous uint64) {
	r := st.turn.republish
	dest, err := r.transform.Match(m.Subject, rand.Uint32N)
	if err != nil {
		return
	}
	if !subjecttree.ValidPublish(dest) {
		st.engine.event(WarningEvent{"republish of '" + m.Subject + "' for stream '" + st.account.name + " > " + st.name + "' to an invalid subject: '" + dest + "'"})
		return
	}
	h := st.turn.scratch[:0]
	if len(m.Header) > 2 {
		h = append(h, m.Header[:len(m.Header)-2]...)
	} else {
		h = append(h, "NATS/1.0\r\n"...)
	}
	h = appendField(h, hdrStream, st.name)
	h = appendField(h, hdrSubject, m.Subject)
	h = appendNumber(h, hdrSequence, m.Seq)
	h = append(h, hdrTimeStamp+": "...)
	h = time.Unix(0, m.Time).UTC().AppendFormat(h, time.RFC3339Nano)
	h = append(h, "\r\n"...)
	h = appendNumber(h, hdrLastSeq, previous)
	data := m.Data
	if r.headersOnly {
		h = appendField(h, hdrMsgSize, strconv.Itoa(len(data)))
		data = nil
	}
	h = append(h, "\r\n"...)
	st.turn.scratch = h
	st.turn.publisher.Publish([]byte(dest), nil, h, data)
}
