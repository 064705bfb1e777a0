package jetstream

import (
	"bytes"
	"encoding/json"
	"math/big"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/natsproto"
)

// parseInteger reads a decimal integer with an optional sign. What is read is as
// long as a payload at most, and an increment as long as the headers.
func parseInteger(v []byte) (*big.Int, bool) {
	digits := v
	if len(digits) > 0 && (digits[0] == '+' || digits[0] == '-') {
		digits = digits[1:]
	}
	if len(digits) == 0 {
		return nil, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return nil, false
		}
	}
	n, ok := new(big.Int).SetString(string(v), 10)
	return n, ok
}

// checkIncrement is what can be said about Nats-Incr without the stream's state.
func checkIncrement(cfg *jsapi.StreamConfig, m *publish) error {
	h := m.h
	if h.incr == nil {
		return nil
	}
	if _, ok := parseInteger(h.incr); !ok || len(h.incr) > maxHeaderSize {
		return jsapi.ErrMessageIncrInvalid
	}
	if !cfg.AllowMsgCounter {
		return jsapi.ErrMessageIncrDisabled
	}
	if len(m.data) > 0 {
		return jsapi.ErrMessageIncrPayload
	}
	if h.rollup != nil || h.expectedStream != nil || h.expectedLastSeq != nil || h.expectedLastMsgID != nil ||
		h.expectedSubjectSeq != nil || h.expectedSubject != nil {
		return jsapi.ErrMessageIncrInvalid
	}
	return nil
}

// counterValue is the payload of a counter's message.
type counterValue struct {
	Value string `json:"val"`
}

// counterSources are the totals that a counter has seen of its origins:
// origin -> subject there -> total.
type counterSources map[string]map[string]string

// checkCounter adds a client's increment to the counter, and makes the message
// that is stored.
func (st *Stream) checkCounter(p *proposal, cfg *jsapi.StreamConfig, m *publish) error {
	if m.h == nil || m.h.incr == nil {
		return jsapi.ErrMessageIncrMissing
	}
	incr, ok := parseInteger(m.h.incr)
	if !ok {
		return jsapi.ErrMessageIncrInvalid
	}
	if m.h.counterSources != nil { // only servers keep this
		m.header = natsproto.RemoveHeader(m.header, hdrCounterSources)
	}
	sum, sources, err := st.counterState(p, m.subjectText)
	if err != nil {
		return err
	}
	sum.Add(sum, incr)
	if len(sources) > 0 {
		encoded, jerr := json.Marshal(sources)
		if jerr != nil {
			return jsapi.ErrMessageCounterBroken
		}
		m.header = natsproto.SetHeader(m.header, hdrCounterSources, encoded)
	}
	m.h.parse(m.header)
	st.setCounter(m, sum)
	if len(m.header)+len(m.data) > st.engine.opts.MaxPayload {
		return jsapi.ErrStreamMessageExceedsMaximum
	}
	return nil
}

// setCounter makes sum the message's payload.
func (st *Stream) setCounter(m *publish, sum *big.Int) {
	m.value = sum.String()
	data := make([]byte, 0, len(m.value)+10)
	data = append(append(append(data, `{"val":"`...), m.value...), `"}`...)
	m.data = data
}

// counterState is the value of a subject's counter and what it knows of its
// origins, with what is in flight.
func (st *Stream) counterState(p *proposal, subject string) (*big.Int, counterSources, error) {
	var payload, header []byte
	if st.turn.inflight > 0 || len(p.raw) > 0 {
		if in := st.inflightSubjects(p)[subject]; in.last(&st.turn.overlay) > 0 {
			payload, header = in.value, in.header
		}
	}
	if payload == nil {
		sm, err := st.store.LoadLastMsg(subject, nil)
		if err != nil {
			return new(big.Int), nil, nil
		}
		payload, header = sm.Data, sm.Header
	}
	var v counterValue
	if json.Unmarshal(payload, &v) != nil {
		return nil, nil, jsapi.ErrMessageCounterBroken
	}
	sum, ok := parseInteger([]byte(v.Value))
	if !ok {
		return nil, nil, jsapi.ErrMessageCounterBroken
	}
	var sources counterSources
	if b := natsproto.HeaderValue(header, hdrCounterSources); len(bytes.TrimSpace(b)) > 0 {
		if json.Unmarshal(b, &sources) != nil {
			return nil, nil, jsapi.ErrMessageCounterBroken
		}
	}
	return sum, sources, nil
}

// addSourced adds to a counter what the counter at an origin has grown by since
// the last message seen of it, however many messages were lost or repeated.
func (st *Stream) addSourced(p *proposal, o *origin, m *publish, subject string) error {
	var v counterValue
	if json.Unmarshal(m.data, &v) != nil {
		return jsapi.ErrMessageCounterBroken
	}
	total, ok := parseInteger([]byte(v.Value))
	if !ok {
		return jsapi.ErrMessageCounterBroken
	}
	sum, sources, err := st.counterState(p, m.subjectText)
	if err != nil {
		return err
	}
	if sources == nil {
		sources = make(counterSources)
	}
	label := originLabel(o.config)
	seen := new(big.Int)
	if text, ok := sources[label][subject]; ok {
		if seen, ok = parseInteger([]byte(text)); !ok {
			return jsapi.ErrMessageCounterBroken
		}
	}
	if sources[label] == nil {
		sources[label] = make(map[string]string)
	}
	sources[label][subject] = total.String()
	encoded, jerr := json.Marshal(sources)
	if jerr != nil {
		return jsapi.ErrMessageCounterBroken
	}
	incr := new(big.Int).Sub(total, seen)
	// In the order of the reference: increment, source, sources.
	source := natsproto.HeaderValue(m.header, hdrStreamSource)
	header := natsproto.SetHeader(m.header, hdrIncr, incr.String())
	header = natsproto.SetHeader(header, hdrStreamSource, source)
	m.header = natsproto.SetHeader(header, hdrCounterSources, encoded)
	m.h.parse(m.header)
	st.setCounter(m, sum.Add(sum, incr))
	return nil
}
