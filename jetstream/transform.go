package jetstream

import (
	"errors"
	"strconv"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/subjecttree"
)

// republisher publishes what became visible a second time.
type republisher struct {
	source      string
	headersOnly bool
}

// checkTransform says whether subjects of src can be mapped to dest.
func checkTransform(src, dest string) error {
	if !subjecttree.Valid(src) {
		return errors.New("invalid subject")
	}
	return nil
}

// derive makes what the turn uses out of the configuration.
func (st *Stream) derive(cfg *jsapi.StreamConfig) {
	st.republish = nil
	if r := cfg.Republish; r != nil {
		st.republish = &republisher{source: r.Source, headersOnly: r.HeadersOnly}
	}
}

// transformSubject sets the subject under which a message is checked and stored.
func (st *Stream) transformSubject(cfg *jsapi.StreamConfig, m *publish) {
	m.subjectText = asString(m.subject)
}

// republishAll publishes the messages of a proposal that match.
func (st *Stream) republishAll(p *proposal) {
	for i := range p.stored {
		s := &p.stored[i]
		m := &p.raw[s.raw]
		st.republishOne(m, s.previous)
	}
}

func (st *Stream) republishOne(m *msgstore.RawMsg, previous uint64) {
	r := st.republish
	if !subjecttree.Matches(m.Subject, r.source) {
		return
	}
	h := append([]byte(nil), m.Header...)
	h = natsproto.AppendHeader(h, hdrStream, st.name)
	h = natsproto.AppendHeader(h, hdrSubject, m.Subject)
	h = natsproto.AppendHeader(h, hdrSequence, strconv.FormatUint(m.Seq, 10))
	h = natsproto.AppendHeader(h, hdrTimeStamp, time.Unix(0, m.Time).UTC().Format(time.RFC3339Nano))
	h = natsproto.AppendHeader(h, hdrLastSeq, strconv.FormatUint(previous, 10))
	data := m.Data
	if r.headersOnly {
		h = natsproto.AppendHeader(h, hdrMsgSize, strconv.Itoa(len(data)))
		data = nil
	}
	st.turn.publisher.Publish([]byte(m.Subject), nil, h, data)
}
