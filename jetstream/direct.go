package jetstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/nanos"
	"github.com/natsd/natsd/natsproto"
)

// maxDirectBatches bounds the batches that are under way, all accounts: each has a
// goroutine for as long as its receiver is slow. Of those maxDirectSlices at a time have
// messages in memory, directSlice bytes of them or one: the others wait.
const (
	maxDirectBatches = 1000
	maxDirectSlices  = 16
	directSlice      = 256 << 10
)

// directOverhead is about what a message of a batch takes on the wire beside what is
// stored: the line, and the headers that say where it comes from.
const directOverhead = 512

// roomPoll is how often a batch that waits looks at its receiver, if nothing else wakes
// it.
const roomPoll = time.Second

// maxMultiLasts bounds the multi_last requests that are answered at a time, the others
// wait: all that one sends is loaded at one moment, as much as a client may have
// waiting for it. Receivers that take nothing are cut off in the end, so that its place
// gets free.
const maxMultiLasts = 4

// maxMultiLast bounds the subjects that one multi_last request may match.
const maxMultiLast = 1024

// serveInline serves what must not wait in the queues, and reports whether it
// did: direct get, and what consumers serve themselves. alone says that nothing else
// came with it.
func (a *Account) serveInline(p *Publisher, tail []byte, m *Msg, alone bool) bool {
	if names, ok := bytes.CutPrefix(tail, []byte("CONSUMER.MSG.NEXT.")); ok {
		return a.servePull(p, names, tail, m, alone)
	}
	if rest, ok := bytes.CutPrefix(tail, []byte("DIRECT.GET.")); ok && len(rest) > 0 {
		a.serveDirectGet(a.publisher(p), rest, tail, m)
		return true
	}
	return false
}

// cutToken splits a subject behind its first token.
func cutToken(subject []byte) (first, rest []byte, found bool) {
	return bytes.Cut(subject, []byte{'.'})
}

// serveDirectGet answers a direct get; target is the stream's name and possibly a
// subject, tail all that follows "$JS.API.". A single message is answered here, on
// the producer's goroutine, batches on one of their own.
func (a *Account) serveDirectGet(p Publisher, target, tail []byte, m *Msg) {
	name, subject, bySubject := cutToken(target)
	st := a.directStream(name)
	if st == nil {
		a.noResponders(p, m, []byte(apiPrefix), tail)
		return
	}
	if len(m.Reply) == 0 {
		return
	}
	if checkLevel(m.Header) != nil {
		p.Publish(m.Reply, nil, statusHeader("412 Required Api Level"), nil)
		return
	}
	var req jsapi.MsgGetRequest
	if status := parseDirectGet(&req, subject, bySubject, m.Data); status != "" {
		p.Publish(m.Reply, nil, statusHeader(status), nil)
		return
	}
	if req.Batch > 0 || len(req.MultiLast) > 0 {
		if n := &a.engine.directBatches; n.Add(1) > maxDirectBatches {
			n.Add(-1)
			p.Publish(m.Reply, nil, overloadHeader, nil)
			return
		}
		reply := bytes.Clone(m.Reply)
		go st.directBatch(&req, reply, m.From)
		return
	}
	sm, err := st.find(&req)
	if err != nil {
		p.Publish(m.Reply, nil, statusHeader(directError(err)), nil)
		return
	}
	if req.NoHeaders {
		p.Publish(m.Reply, nil, nil, sm.Data)
		return
	}
	scratch := headerScratch.Get().(*[]byte)
	*scratch = st.appendOriginHeaders((*scratch)[:0], sm)
	p.Publish(m.Reply, nil, endHeader(scratch), sm.Data)
	headerScratch.Put(scratch)
}

var headerScratch = sync.Pool{New: func() any { return new([]byte) }}

// directStream is the stream that answers a direct get for a name: itself, or
// one of the mirrors that are up to date, as if they were a queue group.
func (a *Account) directStream(name []byte) *Stream {
	a.mu.RLock()
	defer a.mu.RUnlock()
	mirrors := a.mirrors[string(name)]
	st := a.streams[string(name)]
	if st != nil && !st.Config().AllowDirect {
		st = nil
	}
	if st == nil && len(mirrors) == 0 {
		return nil
	}
	if n := len(mirrors); n > 0 {
		if st == nil {
			return mirrors[rand.IntN(n)]
		}
		if i := rand.IntN(n + 1); i < n {
			return mirrors[i]
		}
	}
	return st
}

// parseDirectGet reads the body of a direct get, and returns the status that
// answers one that is not in order.
func parseDirectGet(req *jsapi.MsgGetRequest, subject []byte, bySubject bool, body []byte) (status string) {
	if len(body) > 0 {
		if json.Unmarshal(body, req) != nil {
			return "408 Malformed Request"
		}
	}
	if bySubject {
		if selectsOne(req) || len(req.MultiLast) > 0 || req.Batch > 0 || req.UpToSeq > 0 || req.UpToTime != nil {
			return "408 Bad Request"
		}
		req.LastFor = string(subject)
		return ""
	}
	multi := len(req.MultiLast) > 0
	switch {
	case !selectsOne(req) && !multi:
		return "408 Empty Request"
	case conflicting(req), req.LastFor != "" && req.Batch > 0, multi && (req.LastFor != "" || req.NextFor != ""),
		req.UpToSeq > 0 && req.UpToTime != nil:
		return "408 Bad Request"
	}
	return ""
}

func directError(err error) string {
	var bad *msgstore.BadRecordError
	if errors.As(err, &bad) {
		return "500 " + bad.Error()
	}
	return "404 Message Not Found"
}

// appendOriginHeaders writes the headers of a stored message and those that say
// where it comes from, without the end of the block.
func (st *Stream) appendOriginHeaders(b []byte, sm *msgstore.StoredMsg) []byte {
	if len(sm.Header) > 2 {
		b = append(b, sm.Header[:len(sm.Header)-2]...)
	} else {
		b = append(b, natsproto.HeaderLine...)
	}
	b = appendField(b, hdrStream, st.name)
	b = appendField(b, hdrSubject, sm.Subject)
	b = appendNumber(b, hdrSequence, sm.Seq)
	b = append(b, hdrTimeStamp+": "...)
	b = time.Unix(0, sm.Time).UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, "\r\n"...)
}

func appendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}

func appendNumber(b []byte, name string, n uint64) []byte {
	b = append(append(b, name...), ": "...)
	return append(strconv.AppendUint(b, n, 10), "\r\n"...)
}

// endHeader ends a block that is being written.
func endHeader(b *[]byte) []byte {
	*b = append(*b, "\r\n"...)
	return *b
}

// directBatch sends the messages of a batch or multi_last request, and the mark
// behind them.
func (st *Stream) directBatch(req *jsapi.MsgGetRequest, reply []byte, from Requester) {
	s := batchSender{stream: st, req: req, reply: reply, publisher: st.account.bus.Publisher()}
	s.taker, _ = from.(Taker)
	s.maxBytes = req.MaxBytes
	if s.maxBytes <= 0 {
		s.maxBytes = st.engine.opts.MaxPending
	}
	s.slice = min(directSlice, st.engine.opts.MaxPending/4)
	if len(req.MultiLast) > 0 {
		s.sendMulti()
	} else {
		s.sendBatch()
	}
	s.publisher.Flush()
	st.engine.directBatches.Add(-1)
}

// batchSender is one batch reply under way.
type batchSender struct {
	stream    *Stream
	req       *jsapi.MsgGetRequest
	reply     []byte
	taker     Taker // nil: who asked does not tell what there is room for
	publisher Publisher
	maxBytes  int
	slice     int // bytes that are sent at a time, if it is not one message
	sent      int
	bytes     int
	last      uint64 // sequence of the message before
	header    []byte
}

func (s *batchSender) status(status string) {
	s.publisher.Publish(s.reply, nil, statusHeader(status), nil)
}

// send sends one message and reports whether another may follow.
func (s *batchSender) send(sm *msgstore.StoredMsg, pending uint64, withHeaders bool) bool {
	var header []byte
	if withHeaders {
		s.header = s.stream.appendOriginHeaders(s.header[:0], sm)
		s.header = appendNumber(s.header, hdrNumPending, pending)
		s.header = appendNumber(s.header, hdrLastSeq, s.last)
		header = endHeader(&s.header)
	}
	wanted := s.publisher.Publish(s.reply, nil, header, sm.Data)
	s.bytes += storedSize(sm)
	s.last = sm.Seq
	s.sent++
	return wanted && s.bytes < s.maxBytes && (s.req.Batch <= 0 || s.sent < s.req.Batch)
}

// storedSize is what counts for the size of a batch.
func storedSize(sm *msgstore.StoredMsg) int { return len(sm.Subject) + len(sm.Header) + len(sm.Data) }

// wireSize is about what messages take on the wire.
func (s *batchSender) wireSize(msgs []msgstore.StoredMsg) (n int) {
	for i := range msgs {
		n += storedSize(&msgs[i]) + len(s.reply) + directOverhead
	}
	return n
}

// offer is Taker.Offer.
func (s *batchSender) offer(n int, send func()) bool {
	if s.taker != nil {
		return s.taker.Offer(n, send)
	}
	send()
	return true
}

// awaitRoom is Taker.AwaitRoom.
func (s *batchSender) awaitRoom(n int, most time.Duration) bool {
	return s.taker == nil || s.taker.AwaitRoom(n, most)
}

// end sends the mark behind the last message.
func (s *batchSender) end(pending, upTo uint64) {
	h := append(s.header[:0], "NATS/1.0 204 EOB\r\n"...)
	h = appendNumber(h, hdrNumPending, pending)
	h = appendNumber(h, hdrLastSeq, s.last)
	if upTo > 0 {
		h = appendNumber(h, hdrUpToSeq, upTo)
	}
	s.publisher.Publish(s.reply, nil, append(h, "\r\n"...), nil)
}

func (s *batchSender) sendBatch() {
	store := s.stream.store
	filter := msgstore.NewFilter()
	if s.req.NextFor != "" {
		filter = msgstore.NewFilter(s.req.NextFor)
	}
	start := s.stream.startSeq(s.req)
	pending, through, err := store.NumPendingMulti(start, filter, false)
	if err != nil || pending == 0 {
		s.status("404 Message Not Found")
		return
	}
	for more := true; more; {
		start, more = s.sendSlice(filter, start, &pending)
	}
	if store.Positions().Visible > through {
		pending, _, _ = store.NumPendingMulti(s.last+1, filter, false)
	}
	s.end(pending, 0)
}

// enter takes a place when the receiver has room for n bytes.
func (s *batchSender) enter(places chan struct{}, n int) {
	for {
		places <- struct{}{}
		if s.awaitRoom(n, 0) {
			return
		}
		<-places
		s.awaitRoom(n, roomPoll)
	}
}

// sendSlice sends some messages from start on when the receiver has room for them. It
// returns where to go on, and whether there may be more.
func (s *batchSender) sendSlice(filter *msgstore.Filter, start uint64, pending *uint64) (next uint64, more bool) {
	places := s.stream.engine.directSlices
	limit := msgstore.BatchLimit{Msgs: min(s.req.Batch-s.sent, 256), Bytes: min(s.maxBytes-s.bytes, s.slice)}
	var batch msgstore.Batch
	var resume <-chan struct{}
	for size, sent := 1, false; !sent; {
		s.enter(places, size)
		var err error
		next, err = s.stream.store.LoadBatch(filter, start, limit, &batch)
		if err != nil {
			<-places
			// A damaged message is stepped over, and was reported.
			var bad *msgstore.BadRecordError
			return next + 1, errors.As(err, &bad)
		}
		more = len(batch.Msgs) > 0
		size = s.wireSize(batch.Msgs)
		sent = s.offer(size, func() {
			for i := range batch.Msgs {
				*pending -= min(*pending, 1)
				if more = s.send(&batch.Msgs[i], *pending, !s.req.NoHeaders); !more {
					break
				}
			}
			resume = s.publisher.Flush()
		})
		batch.Recycle()
		<-places
	}
	if more && resume != nil {
		<-resume
	}
	return next, more
}

func (s *batchSender) sendMulti() {
	places := s.stream.engine.multiLasts
	s.enter(places, s.slice)
	defer func() { <-places }()
	store := s.stream.store
	var state msgstore.State
	store.FastState(&state)
	upTo := s.req.UpToSeq
	switch {
	case s.req.UpToTime != nil:
		if upTo = store.GetSeqFromTime(nanos.Of(*s.req.UpToTime)) - 1; upTo == 0 || upTo < state.FirstSeq {
			s.status("404 No Results")
			return
		}
	case upTo == 0:
		upTo = state.LastSeq
	}
	var group []msgstore.StoredMsg
	size, count, bytes := 0, 0, 0
	total, remaining, err := store.MultiLastMsgs(s.req.MultiLast, s.req.Seq, upTo, maxMultiLast, s.maxBytes,
		func(sm *msgstore.StoredMsg, remaining int) bool {
			group = append(group, *sm)
			size += s.wireSize(group[len(group)-1:])
			bytes += storedSize(sm)
			count++
			more := bytes < s.maxBytes && (s.req.Batch <= 0 || count < s.req.Batch)
			if more && remaining > 0 && size < s.slice {
				return true
			}
			wanted := s.sendGroup(group, size, remaining)
			group, size = group[:0], 0
			return more && wanted
		})
	switch {
	case errors.Is(err, msgstore.ErrTooManyResults):
		s.status("413 Too Many Results")
	case err != nil:
		s.status("500 " + err.Error())
	case total == 0:
		s.status("404 No Results")
	default:
		s.end(uint64(remaining), upTo)
	}
}

// sendGroup sends messages of size bytes behind which others remain, when the receiver
// has room for them, and reports whether anybody wants more.
func (s *batchSender) sendGroup(group []msgstore.StoredMsg, size, remaining int) (wanted bool) {
	for !s.offer(size, func() {
		for i := range group {
			wanted = s.send(&group[i], uint64(remaining+len(group)-1-i), true)
		}
		s.publisher.Flush()
	}) {
		s.awaitRoom(size, roomPoll)
	}
	return wanted
}
