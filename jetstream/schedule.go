package jetstream

import (
	"bytes"
	"errors"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/schedule"
	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/subjecttree"
)

// checkSchedule looks at the headers of a message that is a schedule, and at
// those by which a client cancels one.
func (st *Stream) checkSchedule(p *proposal, cfg *jsapi.StreamConfig, m *publish) error {
	if len(m.h.schedule) > 0 {
		return st.checkNewSchedule(cfg, m)
	}
	if m.h.scheduler != nil || m.h.scheduleNext != nil {
		return st.checkScheduleCancel(p, cfg, m)
	}
	return nil
}

func (st *Stream) checkNewSchedule(cfg *jsapi.StreamConfig, m *publish) error {
	h := m.h
	if h.scheduleZone != nil && len(h.scheduleZone) == 0 {
		return jsapi.ErrMessageSchedulesTimeZoneInvalid
	}
	if _, err := schedule.Parse(string(h.schedule), string(h.scheduleZone)); err != nil {
		switch {
		case errors.Is(err, schedule.ErrTimeZone):
			return jsapi.ErrMessageSchedulesTimeZoneInvalid
		case cfg.AllowMsgSchedules:
			return jsapi.ErrMessageSchedulesPatternInvalid
		}
	}
	if !cfg.AllowMsgSchedules {
		return jsapi.ErrMessageSchedulesDisabled
	}
	if len(h.scheduleTTL) > 0 {
		if _, ok := parseTTL(h.scheduleTTL); !ok {
			return jsapi.ErrMessageSchedulesTTLInvalid
		}
	}
	if len(h.scheduleRollup) > 0 && !bytes.EqualFold(h.scheduleRollup, []byte("sub")) {
		return jsapi.ErrMessageSchedulesRollupInvalid
	}
	if len(h.scheduleTTL) > 0 && !cfg.AllowMsgTTL {
		return jsapi.ErrMessageTTLDisabled
	}
	target, source := asString(h.scheduleTarget), asString(h.scheduleSource)
	if !subjecttree.ValidPublish(target) || target == m.subjectText {
		return jsapi.ErrMessageSchedulesTargetInvalid
	}
	if source != "" && (!subjecttree.ValidPublish(source) || source == target || source == m.subjectText) {
		return jsapi.ErrMessageSchedulesSourceInvalid
	}
	if !captures(cfg, target) {
		return jsapi.ErrMessageSchedulesTargetInvalid
	}
	if source != "" && !captures(cfg, source) {
		return jsapi.ErrMessageSchedulesSourceInvalid
	}
	switch {
	case len(h.rollup) == 0:
		m.header = natsproto.SetHeader(m.header, hdrRollup, "sub")
		h.parse(m.header)
	case !bytes.EqualFold(h.rollup, []byte("sub")):
		return jsapi.ErrMessageSchedulesRollupInvalid
	}
	return nil
}

// checkScheduleCancel is for the headers that the server itself writes into
// what a schedule produces; a client may use them to end a schedule.
func (st *Stream) checkScheduleCancel(p *proposal, cfg *jsapi.StreamConfig, m *publish) error {
	h := m.h
	if len(h.scheduler) == 0 && len(h.scheduleNext) == 0 {
		return nil
	}
	if !cfg.AllowMsgSchedules {
		return jsapi.ErrMessageSchedulesDisabled
	}
	scheduler := asString(h.scheduler)
	if string(h.scheduleNext) != "purge" || !subjecttree.ValidPublish(scheduler) || scheduler == m.subjectText {
		return jsapi.ErrMessageSchedulesSchedulerInvalid
	}
	seq, header := st.lastMessage(p, scheduler)
	if seq > 0 && len(natsproto.HeaderValue(header, hdrSchedule)) == 0 {
		return jsapi.ErrMessageSchedulesSchedulerInvalid
	}
	m.cancels = seq
	return nil
}

// lastMessage is the last accepted message of a subject: its sequence, 0 if
// there is none, and its headers.
func (st *Stream) lastMessage(p *proposal, subject string) (seq uint64, header []byte) {
	if seq = st.lastOf(p, subject); seq == 0 {
		return 0, nil
	}
	if st.inFlight(p, subject) {
		return seq, st.inflightSubjects(p)[subject].header
	}
	sm, err := st.store.LoadMsg(seq, nil)
	if err != nil {
		return 0, nil
	}
	return seq, sm.Header
}

// captures reports whether one of the stream's subjects matches a literal.
func captures(cfg *jsapi.StreamConfig, subject string) bool {
	for _, s := range cfg.Subjects {
		if subjecttree.Matches(subject, s) {
			return true
		}
	}
	return false
}

// fireSchedule stores the message that a schedule produces.
func (st *Stream) fireSchedule(p *proposal, due *msgstore.Due, now int64) {
	msg := due.Publish
	m := publish{subject: []byte(msg.Subject), header: msg.Header, data: msg.Data, h: &st.turn.header}
	st.transformSubject(&m)
	m.h.parse(m.header)
	if ttl, ok := parseTTL(m.h.ttl); ok {
		m.ttl = ttl
	}
	if len(m.h.rollup) > 0 {
		m.rollup = msgstore.RollupSubject
	}
	if string(m.h.scheduleNext) == "purge" {
		m.cancels = due.Seq
	}
	if err := msgstore.Storable(m.subjectText, m.header, m.data); err != nil {
		st.engine.event(WarningEvent{"schedule '" + due.Subject + "' of stream '" + st.account.name + " > " + st.name + "' makes no message: " + err.Error()})
		return
	}
	seq := st.accept(p, &m, now)
	if st.Config().Retention == jsapi.InterestPolicy && !st.consumers.interested(m.subjectText) {
		p.cancels = append(p.cancels, seq) // it had to be stored to move the schedule on
	}
}
