package jetstream

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/natsproto"
)

// Fast ingest: the control data of a batch are in its messages' reply subjects,
//
//	<prefix>.<batch id>.<flow>.<gap mode>.<seq>.<op>.$FI
//
// and one ack covers many messages.

const (
	fastSuffix      = ".$FI"
	defaultFastFlow = 10
	maxFastFlow     = 65535
	// fastFlowTotal is what all open batches of a stream may have on the way
	// between two acks.
	fastFlowTotal = 500
)

// The operations of a fast batch.
const (
	fastStart = iota
	fastAppend
	fastCommit    // and store
	fastCommitEnd // without storing
	fastPing
)

// fastReply is the control data in a reply subject.
type fastReply struct {
	id   []byte
	flow int
	ok   bool // gap mode
	seq  uint64
	op   int
}

// fastBatch is an open fast batch. It belongs to the stream's turn.
type fastBatch struct {
	id       string
	last     uint64 // batch sequence handled, stored or not
	stored   uint64 // last stream sequence stored for it
	acked    uint64 // batch sequence of the last ack
	every    int    // messages per ack in force
	flow     int    // what the client wishes
	deadline int64
}

func isFastReply(reply []byte) bool { return bytes.HasSuffix(reply, []byte(fastSuffix)) }

// parseFastReply reads the control data. valid is false if they are malformed;
// the id is filled in if there is one.
func parseFastReply(reply []byte) (f fastReply, valid bool) {
	rest := reply[:len(reply)-len(fastSuffix)]
	var tokens [5][]byte // op, seq, gap mode, flow, id
	for i := range tokens {
		dot := bytes.LastIndexByte(rest, '.')
		if dot < 0 {
			return f, false
		}
		tokens[i], rest = rest[dot+1:], rest[:dot]
	}
	f.id = tokens[4]
	flow, err := strconv.Atoi(string(tokens[3]))
	if err != nil || flow <= 0 {
		flow = defaultFastFlow
	}
	f.flow = min(flow, maxFastFlow)
	switch string(tokens[2]) {
	case "ok":
		f.ok = true
	case "fail":
	default:
		return f, false
	}
	var ok bool
	if f.seq, ok = parseSeq(tokens[1]); !ok || f.seq == 0 || f.seq == 1<<64-1 {
		return f, false
	}
	if f.op, err = strconv.Atoi(string(tokens[0])); err != nil || f.op < fastStart || f.op > fastPing {
		return f, false
	}
	if f.op == fastStart && f.seq != 1 || (f.op == fastAppend || f.op == fastCommitEnd) && f.seq < 2 {
		return f, false
	}
	return f, len(f.id) > 0
}

// admitFast takes a message of a fast batch.
func (st *Stream) admitFast(p *proposal, cfg *jsapi.StreamConfig, m *publish, now int64) {
	st.transformSubject(m)
	f, valid := parseFastReply(m.control())
	switch {
	case !cfg.AllowBatched:
		st.refuse(m.reply, jsapi.ErrBatchPublishDisabled)
		return
	case !valid:
		st.refuse(m.reply, jsapi.ErrBatchPublishInvalidPattern)
		return
	case len(f.id) > maxBatchID:
		st.refuse(m.reply, jsapi.ErrBatchPublishInvalidBatchID)
		return
	}
	t := &st.turn
	b := t.fast[string(f.id)]
	if b == nil {
		if f.seq != 1 || f.op == fastPing {
			st.refuse(m.reply, jsapi.ErrBatchPublishUnknownBatchID)
			return
		}
		if m.h != nil && m.h.requiredLevel != nil && checkLevel(m.header) != nil {
			st.refuse(m.reply, jsapi.ErrRequiredApiLevel)
			return
		}
		if b = st.openFast(&f); b == nil {
			st.refuse(m.reply, jsapi.ErrBatchPublishTooManyInflight)
			return
		}
	}
	b.deadline = now + int64(st.engine.opts.Limits.BatchTimeout)
	b.flow = f.flow
	st.arm(time.Unix(0, b.deadline), 0)
	st.fastMessage(p, cfg, m, b, &f, now)
}

// openFast begins a fast batch, or returns nil if there are too many.
func (st *Stream) openFast(f *fastReply) *fastBatch {
	t := &st.turn
	l := &st.engine.opts.Limits
	perStream, total := defaultFastBatchesPerStream, defaultFastBatchesTotal
	if l.BatchesPerStream > 0 {
		perStream = l.BatchesPerStream
	}
	if l.BatchesTotal > 0 {
		total = l.BatchesTotal
	}
	if len(t.fast) >= perStream || int(st.engine.openFastBatches.Load()) >= total {
		return nil
	}
	st.engine.openFastBatches.Add(1)
	b := &fastBatch{id: string(f.id), flow: f.flow, every: min(f.flow, fastFlowTotal)}
	if len(t.fast) > 0 {
		b.every = 1
	}
	if t.fast == nil {
		t.fast = make(map[string]*fastBatch)
	}
	t.fast[b.id] = b
	return b
}

func (st *Stream) dropFast(b *fastBatch) {
	if st.turn.fast[b.id] == b {
		delete(st.turn.fast, b.id)
		st.engine.openFastBatches.Add(-1)
	}
}

// fastMessage handles one message of an open batch.
func (st *Stream) fastMessage(p *proposal, cfg *jsapi.StreamConfig, m *publish, b *fastBatch, f *fastReply, now int64) {
	first := f.seq == 1 && b.last == 0
	want := b.last + 1
	if f.op == fastPing {
		if f.seq > b.last {
			st.fastGap(p, m.reply, want, f.seq+1)
			if !f.ok {
				st.endFast(p, m.reply, b)
				return
			}
			b.last = f.seq
		}
		st.fastAck(p, m.reply, b.acked, b.every)
		return
	}
	switch {
	case f.seq < want:
		st.endFast(p, m.reply, b) // backward or repeated
		return
	case f.seq > want:
		st.fastGap(p, m.reply, want, f.seq)
		if !f.ok {
			st.endFast(p, m.reply, b)
			return
		}
	}
	if f.op == fastCommitEnd {
		// The end itself is no message: the count is that of what came before.
		st.endFast(p, m.reply, b)
		return
	}
	if m.h != nil && (m.h.requiredLevel != nil || m.h.batchID != nil) {
		m.header = natsproto.RemoveHeader(m.header, requiredLevelHeader)
		m.header = natsproto.RemoveHeader(m.header, hdrBatchID) // it would look like a part of an atomic batch
		if m.h.parse(m.header); m.header == nil {
			m.h = nil
		}
	}
	if err := st.checkReplicated(p, cfg, m, now, nil); err != nil {
		if !st.fastRefused(p, m.reply, b, f, first, err) {
			return
		}
	} else {
		if f.op == fastStart {
			st.fastAck(p, m.reply, 0, b.every)
		}
		b.stored = st.accept(p, m, now)
	}
	b.last = f.seq
	if f.op == fastCommit {
		st.endFast(p, m.reply, b)
		return
	}
	st.fastFlow(p, m.reply, b)
}

// fastRefused answers a message that was not accepted, and reports whether the
// batch goes on.
func (st *Stream) fastRefused(p *proposal, reply []byte, b *fastBatch, f *fastReply, first bool, err error) bool {
	dup := (*duplicateError)(nil)
	repeated := errors.As(err, &dup)
	if first && !f.ok && !repeated {
		st.dropFast(b)
		st.refuse(reply, err)
		return false
	}
	if f.op == fastStart {
		st.fastAck(p, reply, 0, b.every)
	}
	if repeated {
		if first && f.op == fastCommit && !f.ok {
			st.dropFast(b)
			st.replyDuplicate(p, reply, pubAck{seq: dup.seq, duplicate: true, batch: b.id, count: 1})
			return false
		}
		return true // counts as handled
	}
	body := append([]byte(`{"type":"err","seq":`), strconv.FormatUint(f.seq, 10)...)
	body = append(body, `,"error":`...)
	body = append(appendError(body, apiError(err)), '}')
	st.fastReply(p, reply, body)
	if f.ok {
		return true
	}
	st.endFast(p, reply, b)
	return false
}

// fastFlow acks if enough messages were handled since the last ack, and moves
// the distance of acks towards what the client wishes.
func (st *Stream) fastFlow(p *proposal, reply []byte, b *fastBatch) {
	n := (b.last - b.acked) / uint64(b.every)
	if n == 0 {
		return
	}
	b.acked += n * uint64(b.every)
	target := max(1, min(b.flow, fastFlowTotal/max(1, len(st.turn.fast))))
	switch {
	case b.every < target:
		b.every = min(b.every*2, target)
	case b.every > target:
		b.every = max(b.every/2, target)
	}
	st.fastAck(p, reply, b.acked, b.every)
}

// endFast closes a batch with an acknowledgement of what was stored.
func (st *Stream) endFast(p *proposal, reply []byte, b *fastBatch) {
	st.dropFast(b)
	ack := pubAck{seq: b.stored, batch: b.id, count: b.last}
	st.fastReply(p, reply, ack.appendTo(nil, st.ackPrefix))
}

func (st *Stream) fastAck(p *proposal, reply []byte, seq uint64, every int) {
	body := append([]byte(`{"type":"ack","seq":`), strconv.FormatUint(seq, 10)...)
	body = append(body, `,"msgs":`...)
	st.fastReply(p, reply, append(strconv.AppendInt(body, int64(every), 10), '}'))
}

func (st *Stream) fastGap(p *proposal, reply []byte, want, got uint64) {
	body := append([]byte(`{"type":"gap","last_seq":`), strconv.FormatUint(want, 10)...)
	body = append(body, `,"seq":`...)
	st.fastReply(p, reply, append(strconv.AppendUint(body, got, 10), '}'))
}

func (st *Stream) fastReply(p *proposal, reply, body []byte) {
	if !st.Config().NoAck {
		st.replyInOrder(p, reply, nil, body)
	}
}
