package jetstream

import (
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/natsproto"
)

const (
	maxBatchID = 64
	// maxStagedBytes bounds what all open atomic batches of a server hold in
	// memory. Beyond it a message is refused like a batch too many.
	maxStagedBytes = 512 << 20
)

// atomicBatch is an open batch: what came for it waits in memory for the
// commit. It belongs to the stream's turn.
type atomicBatch struct {
	id       string
	msgs     []stagedMsg
	slabs    [][]byte // which msgs point into
	last     uint64   // batch sequence of the last message
	bytes    int64
	deadline int64 // ns; when it is dropped without another message
}

// stagedMsg is a message of an open batch.
type stagedMsg struct{ subject, header, data []byte }

// Reasons of the advisory for a dropped batch.
const (
	abandonedTimeout     = "timeout"
	abandonedLarge       = "large"
	abandonedIncomplete  = "incomplete"
	abandonedUnsupported = "unsupported"
)

// admitAtomic takes a message of an atomic batch.
func (st *Stream) admitAtomic(p *proposal, cfg *jsapi.StreamConfig, m *publish, now int64) {
	st.transformSubject(m)
	if err := st.stage(p, cfg, m, now); err != nil {
		st.refuse(m.reply, err)
	}
}

// stage puts a message into its batch, and commits the batch if this is its end.
func (st *Stream) stage(p *proposal, cfg *jsapi.StreamConfig, m *publish, now int64) error {
	if err := st.checkCapacity(p, cfg, m); err != nil {
		return err
	}
	h := m.h
	if !cfg.AllowAtomic {
		return jsapi.ErrAtomicPublishDisabled
	}
	if len(h.batchID) == 0 || len(h.batchID) > maxBatchID {
		return jsapi.ErrAtomicPublishInvalidBatchID
	}
	seq, ok := parseSeq(h.batchSeq)
	if !ok {
		return jsapi.ErrAtomicPublishMissingSeq
	}
	t := &st.turn
	b := t.batches[string(h.batchID)]
	eob := string(h.batchCommit) == "eob"
	limit := st.engine.opts.Limits.BatchMaxMsgs
	if b == nil {
		if seq != 1 {
			if eob {
				seq-- // the end is not counted
			}
			if seq > uint64(limit) {
				return jsapi.ErrAtomicPublishTooLargeBatch.With(limit)
			}
			return jsapi.ErrAtomicPublishIncompleteBatch
		}
		if b = st.openBatch(string(h.batchID)); b == nil {
			return jsapi.ErrAtomicPublishTooManyInflight
		}
	}
	b.deadline = now + int64(st.engine.opts.Limits.BatchTimeout) // the timer, which is set for an earlier one, looks at it
	commit := len(h.batchCommit) > 0
	switch {
	case commit && !eob && string(h.batchCommit) != "1":
		st.dropBatch(b, "")
		return jsapi.ErrAtomicPublishInvalidBatchCommit
	case h.requiredLevel != nil && checkLevel(m.header) != nil:
		st.dropBatch(b, abandonedUnsupported)
		return jsapi.ErrRequiredApiLevel
	case seq != b.last+1 || eob && len(b.msgs) == 0:
		st.dropBatch(b, abandonedIncomplete)
		return jsapi.ErrAtomicPublishIncompleteBatch
	case !eob && len(b.msgs) >= limit:
		st.dropBatch(b, abandonedLarge)
		return jsapi.ErrAtomicPublishTooLargeBatch.With(limit)
	}
	b.last = seq
	if h.requiredLevel != nil {
		m.header = natsproto.RemoveHeader(m.header, requiredLevelHeader)
	}
	if eob {
		last := &b.msgs[len(b.msgs)-1]
		last.header = natsproto.SetHeader(last.header, hdrBatchCommit, "1")
	} else if !st.keep(b, m) {
		st.dropBatch(b, "")
		return jsapi.ErrAtomicPublishTooManyInflight
	}
	if !commit {
		if len(m.reply) > 0 && !cfg.NoAck {
			t.publisher.Publish(m.reply, nil, nil, nil)
		}
		if seq == 1 {
			st.arm(time.Unix(0, b.deadline), 0)
		}
		return nil
	}
	defer st.dropBatch(b, "")
	last, err := st.commitBatch(p, cfg, b, now)
	if err != nil {
		return err
	}
	if len(m.reply) > 0 && !cfg.NoAck {
		p.answers.add(m.reply, nil, st.encodeAck(&pubAck{seq: last, batch: b.id, count: uint64(len(b.msgs))}))
	}
	p.batch.slabs = append(p.batch.slabs, b.slabs...) // they live as long as the proposal
	b.slabs = nil
	return nil
}

// openBatch begins a batch, or returns nil if there are too many.
func (st *Stream) openBatch(id string) *atomicBatch {
	l := &st.engine.opts.Limits
	perStream, total := defaultBatchesPerStream, defaultBatchesTotal
	if l.BatchesPerStream > 0 {
		perStream = l.BatchesPerStream
	}
	if l.BatchesTotal > 0 {
		total = l.BatchesTotal
	}
	if len(st.turn.batches) >= perStream || int(st.engine.openBatches.Load()) >= total {
		return nil
	}
	st.engine.openBatches.Add(1)
	b := &atomicBatch{id: id}
	if st.turn.batches == nil {
		st.turn.batches = make(map[string]*atomicBatch)
	}
	st.turn.batches[id] = b
	return b
}

// keep copies a message into the batch, if there is memory for it.
func (st *Stream) keep(b *atomicBatch, m *publish) bool {
	size := int64(len(m.subjectText) + len(m.header) + len(m.data))
	if st.engine.stagedBytes.Add(size) > maxStagedBytes {
		st.engine.stagedBytes.Add(-size)
		return false
	}
	n := len(b.slabs) - 1
	if n < 0 || len(b.slabs[n])+int(size) > cap(b.slabs[n]) {
		n++
		b.slabs = append(b.slabs, newSlab(int(size), int(b.bytes)))
	}
	b.bytes += size
	s := b.slabs[n]
	put := func(part []byte) []byte {
		from := len(s)
		s = append(s, part...)
		return s[from:len(s):len(s)]
	}
	b.msgs = stagedSlices.add(b.msgs, stagedMsg{put(asBytes(m.subjectText)), put(m.header), put(m.data)})
	b.slabs[n] = s
	return true
}

// stagedSlices are lent to open batches.
var stagedSlices reuse[stagedMsg]

// dropBatch forgets a batch; with a reason it is announced.
func (st *Stream) dropBatch(b *atomicBatch, reason string) {
	delete(st.turn.batches, b.id)
	st.engine.openBatches.Add(-1)
	st.engine.stagedBytes.Add(-b.bytes)
	stagedSlices.put(b.msgs)
	for _, s := range b.slabs {
		msgstore.FreeBuffer(s)
	}
	b.msgs, b.slabs = nil, nil
	if reason == "" {
		return
	}
	adv := jsapi.BatchAbandoned{
		Event: newEvent(jsapi.AdvisoryPrefix + "stream_batch_abandoned"), Stream: st.name, Batch: b.id, Reason: reason,
		Domain: st.engine.opts.Domain,
	}
	subject := "$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED." + st.name
	st.account.advise(subject, &adv)
	adv.Account = st.account.name
	st.engine.adviseSystem(subject, &adv)
}

// dropBatches forgets all open batches without a word.
func (st *Stream) dropBatches() {
	for _, b := range st.turn.batches {
		st.dropBatch(b, "")
	}
	for _, b := range st.turn.fast {
		st.dropFast(b)
	}
}

// dropDisabledBatches forgets the open batches of features that are switched off.
func (st *Stream) dropDisabledBatches(cfg *jsapi.StreamConfig) {
	for _, b := range st.turn.batches {
		if !cfg.AllowAtomic {
			st.dropBatch(b, "")
		}
	}
	for _, b := range st.turn.fast {
		if !cfg.AllowBatched {
			st.dropFast(b)
		}
	}
}

// expireBatches drops what has waited for too long, and sets the timer for the
// next one.
func (st *Stream) expireBatches(now int64) {
	var next int64
	wait := func(deadline int64) {
		if next == 0 || deadline < next {
			next = deadline
		}
	}
	for _, b := range st.turn.batches {
		if b.deadline <= now {
			st.dropBatch(b, abandonedTimeout)
		} else {
			wait(b.deadline)
		}
	}
	for _, b := range st.turn.fast {
		if b.deadline <= now {
			st.dropFast(b)
		} else {
			wait(b.deadline)
		}
	}
	if next != 0 {
		st.arm(time.Unix(0, next), 0)
	}
}

// commitBatch checks all messages of a batch, each seeing the effect of those
// before it, and accepts all of them or none. They get consecutive sequences.
func (st *Stream) commitBatch(p *proposal, cfg *jsapi.StreamConfig, b *atomicBatch, now int64) (last uint64, err error) {
	mark := st.mark(p)
	in := batchContext{batch: b}
	m, h := &st.turn.staged, &st.turn.stagedHeader
	defer func() { *m = publish{} }()
	for i := range b.msgs {
		s := &b.msgs[i]
		*m = publish{subject: s.subject, subjectText: asString(s.subject), header: s.header, data: s.data, h: h}
		h.parse(m.header)
		in.index = i
		if err := st.checkReplicated(p, cfg, m, now, &in); err != nil {
			st.rollBack(p, mark)
			return 0, err
		}
		last = st.accept(p, m, now)
	}
	return last, nil
}

// admissionMark is a point that admission can go back to.
type admissionMark struct {
	raw, stored, cancels int
	size                 int
	msgs, bytes          int64
	last                 uint64
	overlay              overlay
}

func (st *Stream) mark(p *proposal) admissionMark {
	return admissionMark{len(p.raw), len(p.stored), len(p.cancels), p.size, p.msgs, p.bytes, p.last, st.turn.overlay}
}

// rollBack takes back everything accepted since the mark.
func (st *Stream) rollBack(p *proposal, m admissionMark) {
	clear(p.raw[m.raw:])
	p.raw, p.stored, p.cancels = p.raw[:m.raw], p.stored[:m.stored], p.cancels[:m.cancels]
	p.size, p.msgs, p.bytes, p.last = m.size, m.msgs, m.bytes, m.last
	st.turn.overlay = m.overlay
	st.turn.overlay.forgetSubjects() // made again when needed
	st.turn.dedup.forgetAbove(m.overlay.lastSeq)
}

// batchContext is what the checks within an atomic batch depend on.
type batchContext struct {
	batch    *atomicBatch
	index    int                 // of the message
	subjects map[string]struct{} // of the first known messages; most batches never ask
	known    int
	expected map[string]uint64 // by subject that was checked
}

// wrote tells whether a message of the batch before this one has the subject.
func (b *batchContext) wrote(subject string) bool {
	if b.subjects == nil {
		b.subjects = make(map[string]struct{})
	}
	for ; b.known < b.index; b.known++ {
		b.subjects[asString(b.batch.msgs[b.known].subject)] = struct{}{}
	}
	_, ok := b.subjects[subject]
	return ok
}

// checkReplicated makes the checks in the order of replicated streams, which
// batches use everywhere. b is nil outside of atomic batches.
func (st *Stream) checkReplicated(p *proposal, cfg *jsapi.StreamConfig, m *publish, now int64, b *batchContext) error {
	if err := st.checkCapacity(p, cfg, m); err != nil {
		return err
	}
	if err := checkRecord(m); err != nil {
		return err
	}
	if err := checkStorable(m); err != nil {
		return err
	}
	if len(m.header) > maxHeaderSize {
		return jsapi.ErrStreamHeaderExceedsMaximum
	}
	if m.h != nil {
		if err := st.checkReplicatedHeaders(cfg, m, now, b); err != nil {
			return err
		}
	}
	if cfg.AllowMsgCounter {
		if err := st.checkCounter(p, cfg, m); err != nil {
			return err
		}
	}
	if m.h != nil {
		if err := st.checkExpectations(p, m, b); err != nil {
			return err
		}
		if err := st.checkSchedule(p, cfg, m); err != nil {
			return err
		}
		if err := checkRollup(cfg, m); err != nil {
			return err
		}
		if err := b.checkRollup(m); err != nil {
			return err
		}
	}
	if cfg.Retention == jsapi.InterestPolicy && !st.consumers.interested(m.subjectText) {
		m.noInterest = true
		return nil
	}
	if err := checkRecord(m); err != nil { // its headers may have grown
		return err
	}
	return st.checkDiscardNew(p, cfg, m, recordSize(cfg.Storage, len(m.subjectText), len(m.header), len(m.data)))
}

// checkCapacity is what is checked for each message of a batch as it comes.
func (st *Stream) checkCapacity(p *proposal, cfg *jsapi.StreamConfig, m *publish) error {
	if cfg.Sealed {
		return jsapi.ErrStreamSealed
	}
	if st.engine.exhausted(cfg.Storage) {
		return jsapi.ErrInsufficientResources
	}
	if err := st.checkRoom(p, cfg, recordSize(cfg.Storage, len(m.subjectText), len(m.header), len(m.data))); err != nil {
		return err
	}
	if cfg.MaxMsgSize >= 0 && len(m.header)+len(m.data) > int(cfg.MaxMsgSize) {
		return jsapi.ErrStreamMessageExceedsMaximum
	}
	return nil
}

func (st *Stream) checkReplicatedHeaders(cfg *jsapi.StreamConfig, m *publish, now int64, b *batchContext) error {
	h := m.h
	if err := checkIncrement(cfg, m); err != nil {
		return err
	}
	if len(h.expectedStream) > 0 && string(h.expectedStream) != st.name {
		return jsapi.ErrStreamNotMatch
	}
	if len(h.ttl) > 0 {
		if !cfg.AllowMsgTTL {
			return jsapi.ErrMessageTTLDisabled
		}
		if err := setTTL(cfg, m); err != nil {
			return err
		}
	}
	if len(h.msgID) > 0 {
		if seq, ok := st.turn.dedup.find(h.msgID, now); ok {
			if b != nil {
				return jsapi.ErrAtomicPublishContainsDuplicateMessage
			}
			st.countDuplicate()
			return &duplicateError{seq}
		}
		if st.turn.dedup.full() {
			return jsapi.ErrStreamTooManyRequests
		}
	}
	if h.streamSource != nil {
		return jsapi.ErrMessageSourceHdrNotAllowed
	}
	return nil
}

// checkExpectations is about the sequences that a publisher expects.
func (st *Stream) checkExpectations(p *proposal, m *publish, b *batchContext) error {
	if b == nil {
		if len(m.h.expectedLastMsgID) > 0 && string(m.h.expectedLastMsgID) != st.turn.overlay.lastMsgID {
			return jsapi.ErrStreamWrongLastMsgID.With(st.turn.overlay.lastMsgID)
		}
		if err := st.checkLastSeq(m.h); err != nil {
			return err
		}
		return st.checkSubjectSeq(p, m)
	}
	h := m.h
	if len(h.expectedLastMsgID) > 0 {
		return jsapi.ErrAtomicPublishUnsupportedHeaderBatch.With(hdrExpectedLastMsgID)
	}
	if len(h.expectedLastSeq) > 0 {
		if b.index > 0 {
			return jsapi.ErrStreamWrongLastSequenceConstant
		}
		if err := st.checkLastSeq(h); err != nil {
			return err
		}
	}
	if len(h.expectedSubjectSeq) == 0 {
		return st.checkSubjectSeq(p, m) // may still be in disorder
	}
	subject := m.subjectText
	if len(h.expectedSubject) > 0 {
		subject = string(h.expectedSubject)
	}
	want, _ := parseSeq(h.expectedSubjectSeq)
	if before, ok := b.expected[subject]; ok {
		if before != want || len(h.expectedSubject) == 0 {
			return jsapi.ErrStreamWrongLastSequenceConstant
		}
		return nil
	}
	if b.wrote(subject) {
		return jsapi.ErrStreamWrongLastSequenceConstant
	}
	if err := st.checkSubjectSeq(p, m); err != nil {
		return err
	}
	if b.expected == nil {
		b.expected = make(map[string]uint64)
	}
	b.expected[subject] = want
	return nil
}

// checkRollup allows a rollup only where nothing of the batch would be rolled up.
func (b *batchContext) checkRollup(m *publish) error {
	if b == nil {
		return nil
	}
	switch m.rollup {
	case msgstore.RollupAll:
		if b.index > 0 {
			return jsapi.ErrStreamRollupFailed.With("batch rollup all invalid")
		}
	case msgstore.RollupSubject:
		if b.wrote(m.subjectText) {
			return jsapi.ErrStreamRollupFailed.With("batch rollup sub invalid")
		}
	}
	return nil
}
