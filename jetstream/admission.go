package jetstream

import (
	"bytes"
	"errors"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/natsproto"
)

const (
	maxRecordSize = 32 << 20 // of a file store, with everything
	maxHeaderSize = 65535
)

// publish is a message under admission. Its bytes live as long as the proposal
// that it goes into.
type publish struct {
	subject []byte
	reply   []byte
	asked   []byte // see Msg
	header  []byte
	data    []byte
	h       *pubHeader // what header says; nil if there is no header
	trace   Trace      // nil unless it is traced

	subjectText string // subject, after the stream's transform
	ttl         int64  // seconds, 0 none, negative never
	rollup      msgstore.Rollup
	value       string // the sum of a counter
	noInterest  bool   // consumes a sequence and is not stored
	cancels     uint64 // sequence of a schedule that ends with this message; 0: none
}

// control is the reply subject as the publisher gave it.
func (m *publish) control() []byte {
	if m.asked != nil {
		return m.asked
	}
	return m.reply
}

// asString is b as a string without a copy; it lives as long as b.
func asString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// admitBatch decides about all messages of a batch, and proposes what it
// accepted.
func (st *Stream) admitBatch(b *msgBatch) {
	p := st.newProposal(b)
	cfg := st.config.Load()
	now := time.Now().UnixNano()
	var ok bool
	if st.turn.storageLimit, ok = st.account.storageLimit(cfg); !ok {
		st.turn.storageLimit = 0
	}
	for i := range b.msgs {
		in := &b.msgs[i]
		m := &st.turn.message
		b.open(in, m)
		if in.feed != nil {
			st.admitOrigin(p, in.feed, m, now)
		} else {
			st.admitOne(p, cfg, m, now)
		}
	}
	st.turn.message = publish{}
	if st.turn.inflightMsgs+len(b.msgs) <= fewPublishes && b.msgs[0].reply > 0 && b.msgs[0].feed == nil {
		st.engine.consumers.pacer.published.Store(now)
	}
	st.propose(p)
}

// admitOne sorts a message by the way it wants to be published.
func (st *Stream) admitOne(p *proposal, cfg *jsapi.StreamConfig, m *publish, now int64) {
	if len(m.header) > 0 {
		m.header = natsproto.RemoveStatus(m.header)
		m.h = &st.turn.header
		m.h.parse(m.header)
		if m.h.requestInfo != nil {
			m.header = natsproto.RemoveHeader(m.header, hdrRequestInfo)
			m.h.parse(m.header)
		}
		if m.header == nil {
			m.h = nil
		}
	}
	if m.trace != nil {
		// Held by the inbox; a message that is stored alone holds it itself.
		defer m.trace.Release()
	}
	switch {
	case isFastReply(m.control()):
		st.admitFast(p, cfg, m, now)
	case m.h != nil && len(m.h.batchID) > 0:
		st.admitAtomic(p, cfg, m, now)
	default:
		st.admitSingle(p, cfg, m, now)
	}
}

// admitSingle decides about a message that stands for itself.
func (st *Stream) admitSingle(p *proposal, cfg *jsapi.StreamConfig, m *publish, now int64) {
	st.transformSubject(m)
	msgs, bytes := p.msgs, p.bytes
	err := st.check(p, cfg, m, now)
	if m.trace != nil && st.traceAdmission(p, m, err) {
		p.msgs, p.bytes = msgs, bytes
		return
	}
	if err != nil {
		if dup := (*duplicateError)(nil); errors.As(err, &dup) {
			st.replyDuplicate(p, m.reply, pubAck{seq: dup.seq, duplicate: true})
			return
		}
		st.refuse(m.reply, err)
		return
	}
	seq := st.accept(p, m, now)
	if len(m.reply) > 0 && !cfg.NoAck {
		p.answers.add(m.reply, nil, st.encodeAck(&pubAck{seq: seq, value: m.value}))
	}
}

// duplicateError says that a message with this id is stored, or about to be.
type duplicateError struct{ seq uint64 }

func (*duplicateError) Error() string { return "duplicate message id" }

// check makes the checks for a single publish, in the order of a stream without
// replicas, and prepares what is stored. The error is a *jsapi.Error or a
// *duplicateError.
func (st *Stream) check(p *proposal, cfg *jsapi.StreamConfig, m *publish, now int64) error {
	if err := checkRecord(m); err != nil {
		return err
	}
	if cfg.Sealed {
		return jsapi.ErrStreamSealed
	}
	if err := checkStorable(m); err != nil {
		return err
	}
	if m.h != nil {
		if err := st.checkHeaders(p, cfg, m, now); err != nil {
			return err
		}
	}
	if cfg.AllowMsgCounter {
		if err := st.checkCounter(p, cfg, m); err != nil {
			return err
		}
	}
	if err := checkSize(cfg, m); err != nil {
		return err
	}
	if st.engine.exhausted(cfg.Storage) {
		return jsapi.ErrInsufficientResources
	}
	if cfg.Retention == jsapi.InterestPolicy && !st.consumers.interested(m.subjectText) {
		m.noInterest = true
		return nil
	}
	size := recordSize(cfg.Storage, len(m.subjectText), len(m.header), len(m.data))
	if err := st.checkRoom(p, cfg, size); err != nil {
		return err
	}
	if m.h != nil && len(m.h.ttl) > 0 {
		if err := setTTL(cfg, m); err != nil {
			return err
		}
	}
	if err := checkRecord(m); err != nil { // its headers may have grown
		return err
	}
	return st.checkDiscardNew(p, cfg, m, size)
}

// checkRecord refuses a message that is too large for a record of any store.
func checkRecord(m *publish) error {
	if recordSize(jsapi.FileStorage, len(m.subjectText), len(m.header), len(m.data)) > maxRecordSize {
		return jsapi.ErrStreamStoreFailed.With(msgstore.ErrMsgTooLarge)
	}
	return nil
}

// checkStorable refuses what no store could hold: a subject that a transform has made
// empty in part or too long, or headers that would be taken for damaged ones. A proposal
// with such a message would fail as if the disk had.
func checkStorable(m *publish) error {
	if err := msgstore.Storable(m.subjectText, m.header, m.data); err != nil {
		return jsapi.ErrStreamStoreFailed.With(err)
	}
	return nil
}

// checkHeaders is the part of check that only concerns messages with headers.
func (st *Stream) checkHeaders(p *proposal, cfg *jsapi.StreamConfig, m *publish, now int64) error {
	h := m.h
	if err := checkIncrement(cfg, m); err != nil {
		return err
	}
	if len(h.expectedStream) > 0 && string(h.expectedStream) != st.name {
		return jsapi.ErrStreamNotMatch
	}
	if len(h.ttl) > 0 && !cfg.AllowMsgTTL {
		if _, ok := parseTTL(h.ttl); ok {
			return jsapi.ErrMessageTTLDisabled
		}
	}
	if err := st.checkSubjectSeq(p, m); err != nil {
		return err
	}
	if err := st.checkLastSeq(h); err != nil {
		return err
	}
	if err := st.checkSchedule(p, cfg, m); err != nil {
		return err
	}
	if h.streamSource != nil {
		return jsapi.ErrMessageSourceHdrNotAllowed
	}
	if len(h.msgID) > 0 {
		if seq, ok := st.turn.dedup.find(h.msgID, now); ok {
			st.countDuplicate()
			return &duplicateError{seq}
		}
		if st.turn.dedup.full() {
			return jsapi.ErrStreamTooManyRequests
		}
	}
	if len(h.expectedLastMsgID) > 0 && string(h.expectedLastMsgID) != st.turn.overlay.lastMsgID {
		return jsapi.ErrStreamWrongLastMsgID.With(st.turn.overlay.lastMsgID)
	}
	return checkRollup(cfg, m)
}

func (st *Stream) checkLastSeq(h *pubHeader) error {
	if len(h.expectedLastSeq) == 0 {
		return nil
	}
	last := st.turn.overlay.lastSeq
	if want, ok := parseSeq(h.expectedLastSeq); !ok || want != last {
		return jsapi.ErrStreamWrongLastSequence.With(last)
	}
	return nil
}

// checkSubjectSeq is the expectation on the last sequence of a subject.
func (st *Stream) checkSubjectSeq(p *proposal, m *publish) error {
	h := m.h
	if len(h.expectedSubjectSeq) == 0 {
		if len(h.expectedSubject) > 0 {
			return jsapi.ErrStreamExpectedLastSeqPerSubjectInvalid
		}
		return nil
	}
	subject := m.subjectText
	if len(h.expectedSubject) > 0 {
		subject = asString(h.expectedSubject)
	}
	last := st.lastOf(p, subject)
	if want, ok := parseSeq(h.expectedSubjectSeq); !ok || want != last {
		return jsapi.ErrStreamWrongLastSequence.With(last)
	}
	return nil
}

func parseSeq(b []byte) (uint64, bool) {
	n, err := strconv.ParseUint(asString(b), 10, 64)
	return n, err == nil
}

func checkRollup(cfg *jsapi.StreamConfig, m *publish) error {
	if len(m.h.rollup) == 0 {
		return nil
	}
	if !cfg.AllowRollup || cfg.DenyPurge {
		return jsapi.ErrStreamRollupFailed.With("rollup not permitted")
	}
	if m.rollup = rollupOf(m.h.rollup); m.rollup == msgstore.RollupNone {
		return jsapi.ErrStreamRollupFailed.With("rollup value invalid: " + strconv.Quote(string(m.h.rollup)))
	}
	return nil
}

// rollupOf is what the value of Nats-Rollup asks for.
func rollupOf(value []byte) msgstore.Rollup {
	switch {
	case bytes.EqualFold(value, []byte("sub")):
		return msgstore.RollupSubject
	case bytes.EqualFold(value, []byte("all")):
		return msgstore.RollupAll
	}
	return msgstore.RollupNone
}

// checkSize is about what a client sent, or what a counter made of it.
func checkSize(cfg *jsapi.StreamConfig, m *publish) error {
	if cfg.MaxMsgSize >= 0 && len(m.header)+len(m.data) > int(cfg.MaxMsgSize) {
		return jsapi.ErrStreamMessageExceedsMaximum
	}
	if len(m.header) > maxHeaderSize {
		return jsapi.ErrStreamHeaderExceedsMaximum
	}
	return nil
}

// checkRoom is the account's limit for stored bytes. What was accepted and is
// not accounted for yet is looked at only when it matters.
func (st *Stream) checkRoom(p *proposal, cfg *jsapi.StreamConfig, size int) error {
	limit := st.turn.storageLimit
	if limit < 0 {
		return nil
	}
	have := st.account.stored(cfg.Storage) + int64(size)*int64(cfg.Replicas)
	if have > limit || have+maxInflightBytes > limit && have+st.unseen(p) > limit {
		return jsapi.ErrAccountResourcesExceeded
	}
	return nil
}

// checkDiscardNew refuses what the stream's limits have no room for.
func (st *Stream) checkDiscardNew(p *proposal, cfg *jsapi.StreamConfig, m *publish, size int) error {
	if cfg.Discard != jsapi.DiscardNew {
		return nil
	}
	perSubject := cfg.MaxMsgsPerSubject > 0 && (cfg.DiscardNewPerSubject || cfg.MaxMsgs > 0 || cfg.MaxBytes > 0)
	replaced := int64(-1) // size of the message that gives way
	if perSubject {
		if n, oldest := st.subjectCount(p, m.subjectText); n >= cfg.MaxMsgsPerSubject {
			if cfg.DiscardNewPerSubject && m.rollup == msgstore.RollupNone {
				return jsapi.ErrStreamStoreFailed.With(msgstore.ErrMaxMsgsPerSubject)
			}
			replaced = oldest
		}
	}
	if cfg.MaxMsgs > 0 || cfg.MaxBytes > 0 {
		msgs, bytes := st.totals(p)
		if cfg.MaxMsgs > 0 && msgs >= cfg.MaxMsgs && replaced < 0 {
			return jsapi.ErrStreamStoreFailed.With(msgstore.ErrMaxMsgs)
		}
		if cfg.MaxBytes > 0 && bytes+int64(size) > cfg.MaxBytes && replaced < int64(size) {
			return jsapi.ErrStreamStoreFailed.With(msgstore.ErrMaxBytes)
		}
	}
	if replaced >= 0 && m.rollup != msgstore.RollupSubject { // that takes away more
		p.msgs--
		p.bytes -= replaced
	}
	return nil
}

// accept gives a message its sequence and puts it into the proposal.
func (st *Stream) accept(p *proposal, m *publish, now int64) (seq uint64) {
	o := &st.turn.overlay
	o.lastSeq++
	seq = o.lastSeq
	p.last = seq
	if m.h != nil && len(m.h.msgID) > 0 {
		st.turn.dedup.add(m.h.msgID, seq, now)
		if st.turn.dedupArmed == 0 {
			st.armDedup()
		}
	}
	if m.cancels != 0 {
		p.cancels = append(p.cancels, m.cancels)
	}
	if m.noInterest {
		p.raw = rawSlices.add(p.raw, msgstore.RawMsg{Seq: seq, Time: now, Skip: 1})
		return seq
	}
	switch {
	case m.h != nil && len(m.h.msgID) > 0:
		o.lastMsgID = string(m.h.msgID)
	case o.lastMsgID != "":
		o.lastMsgID = ""
	}
	if m.rollup == msgstore.RollupSubject {
		if cfg := st.Config(); cfg.Discard == jsapi.DiscardNew && (cfg.MaxMsgs > 0 || cfg.MaxBytes > 0) {
			msgs, bytes := st.subjectTotals(p, m.subjectText)
			p.msgs -= msgs
			p.bytes -= bytes
		}
	}
	if st.turn.republish != nil {
		p.stored = storedSlices.add(p.stored, storedMsg{st.lastOf(p, m.subjectText), len(p.raw)})
	}
	p.raw = rawSlices.add(p.raw, msgstore.RawMsg{
		Subject: m.subjectText, Header: m.header, Data: m.data, Seq: seq, Time: now, TTL: m.ttl, Rollup: m.rollup,
	})
	size := recordSize(st.Config().Storage, len(m.subjectText), len(m.header), len(m.data))
	p.size += size
	p.msgs++
	p.bytes += int64(size)
	if o.subjects != nil {
		o.note(&p.raw[len(p.raw)-1])
	}
	if m.rollup == msgstore.RollupAll {
		st.noteRollupAll(p, seq, size)
	}
	return seq
}

// noteRollupAll corrects the totals for a message that replaces all others.
func (st *Stream) noteRollupAll(p *proposal, seq uint64, size int) {
	st.turn.overlay.rollupAll = seq
	msgs, bytes := st.totals(p)
	p.msgs -= msgs - 1
	p.bytes -= bytes - int64(size)
}

// propose sends a batch on its way, or gives it back if nothing of it is left
// to wait for.
func (st *Stream) propose(p *proposal) {
	t := &st.turn
	if len(p.raw) == 0 {
		p.recycle()
		return
	}
	t.pipeline = append(t.pipeline, p)
	t.inflight++
	p.records = len(p.raw)
	t.inflightMsgs += p.records
	t.inflightBytes += p.size
	if t.republish == nil {
		defer p.release() // it may be done, but is not applied before the turn goes on
	}
	if len(p.cancels) == 0 {
		st.proposer.Propose(p.raw, p.done)
		return
	}
	// The schedules that end with these messages go behind them, in order; the
	// proposal is complete when both are done.
	var failed error
	st.proposer.Propose(p.raw, func(err error) { failed = err })
	st.proposer.Remove(p.cancels, func(_ uint64, err error) { p.finished(errors.Join(failed, err)) })
}

// replyDuplicate acknowledges a message again: at once if it is visible, else
// when it will be.
func (st *Stream) replyDuplicate(p *proposal, reply []byte, ack pubAck) {
	switch {
	case len(reply) == 0 || st.Config().NoAck:
	case ack.seq <= st.turn.overlay.visible || st.engine.opts.Mutations.DuplicateAckEarly:
		st.reply(reply, &ack)
	default:
		st.replyInOrder(p, reply, nil, st.encodeAck(&ack))
	}
}

// reply sends an acknowledgement with the turn's next flush.
func (st *Stream) reply(to []byte, ack *pubAck) {
	st.turn.publisher.Publish(to, nil, nil, st.encodeAck(ack))
}

// encodeAck is an acknowledgement as it is sent; it is good until the next one.
func (st *Stream) encodeAck(ack *pubAck) []byte {
	t := &st.turn
	t.ack = ack.appendTo(t.ack[:0], st.ackPrefix)
	return t.ack
}

// refuse answers a publish that was not accepted.
func (st *Stream) refuse(to []byte, err error) {
	if len(to) == 0 || st.Config().NoAck {
		return
	}
	t := &st.turn
	t.ack = appendPubError(t.ack[:0], st.name, apiError(err))
	t.publisher.Publish(to, nil, nil, t.ack)
}

// apiError is err as clients see it on a publish.
func apiError(err error) *jsapi.Error {
	if errors.Is(err, syscall.ENOSPC) {
		return jsapi.ErrInsufficientResources
	}
	return jsapi.ErrStreamStoreFailed.Wrap(err)
}

// recordSize is what a message counts for in all limits and totals.
func recordSize(storage jsapi.StorageType, subject, header, data int) int {
	if storage == jsapi.MemoryStorage {
		return 16 + subject + header + data
	}
	n := 30 + subject + data
	if header > 0 {
		n += 4 + header
	}
	return n
}
