package jetstream

import (
	"errors"
	"fmt"
	"strings"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/natsproto"
)

// traceDisabled takes the place of the destination in what is stored, so that a
// delivery later is not traced again.
const traceDisabled = "trace disabled"

// pendingTrace is a traced message that waits for its proposal.
type pendingTrace struct {
	trace      Trace
	subject    string
	noInterest bool
}

// traceAdmission notes what the checks said about a traced message. It returns
// true if that is all that is to be done with the message.
func (st *Stream) traceAdmission(p *proposal, m *publish, err error) (done bool) {
	subject := strings.Clone(m.subjectText)
	if err != nil || m.trace.Only() {
		m.trace.Stream(st.name, subject, m.noInterest, traceReason(m, err))
		return m.trace.Only()
	}
	m.trace.Hold()
	p.traces = append(p.traces, pendingTrace{m.trace, subject, m.noInterest})
	if m.h != nil && m.h.traceDest != nil {
		m.header = natsproto.SetHeader(m.header, hdrTraceDest, traceDisabled)
	}
	return false
}

// finishTraces tells the traces of a proposal how it went.
func (st *Stream) finishTraces(p *proposal) {
	for i := range p.traces {
		t := &p.traces[i]
		reason := ""
		if p.err != nil {
			reason = p.err.Error()
		}
		t.trace.Stream(st.name, t.subject, t.noInterest, reason)
		t.trace.Release()
		*t = pendingTrace{}
	}
	p.traces = p.traces[:0]
}

// traceReason is why a stream does not take a message, in the words of a trace.
func traceReason(m *publish, err error) string {
	var dup *duplicateError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &dup):
		return err.Error()
	}
	e := apiError(err)
	switch e.ErrCode {
	case jsapi.ErrStreamWrongLastSequence.ErrCode:
		want := m.h.expectedLastSeq
		if len(m.h.expectedSubjectSeq) > 0 {
			want = m.h.expectedSubjectSeq
		}
		last := e.Description[strings.LastIndexByte(e.Description, ' ')+1:]
		return fmt.Sprintf("last sequence mismatch: %s vs %s", want, last)
	case jsapi.ErrStreamMessageExceedsMaximum.ErrCode:
		return "maximum payload exceeded"
	}
	return e.Description
}
