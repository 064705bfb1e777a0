package jetstream

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/subjecttree"
)

// Bounds and defaults of the transfer of snapshots, as the API defines them.
const (
	defaultChunk  = 128 << 10
	minChunk      = 1 << 10
	maxChunk      = 1 << 20
	defaultWindow = 8 << 20
	maxWindow     = 32 << 20

	snapshotInterest = 2 * time.Second // waiting for a receiver
	transferStall    = 5 * time.Second // without an ack, or without a chunk
)

// maxTransfers bounds the snapshots and restores of a server at a time: each holds
// chunks, some megabytes as a rule.
const maxTransfers = 256

var errTransfers = errors.New("too many snapshots and restores under way")

// beginTransfer reports whether another snapshot or restore may begin, which
// endTransfer ends.
func (e *Engine) beginTransfer() bool {
	if e.transfers.Add(1) <= maxTransfers {
		return true
	}
	e.transfers.Add(-1)
	return false
}

func (e *Engine) endTransfer() { e.transfers.Add(-1) }

var (
	errNoInterest = errors.New("408 No Interest")
	errNoFlow     = errors.New("408 No Flow Response")
)

func serveSnapshot(r *request, reply *jsapi.StreamSnapshotResponse) *jsapi.Error {
	if jsapi.IsEmpty(r.body) {
		return jsapi.ErrBadRequest
	}
	var req jsapi.StreamSnapshotRequest
	if err := r.decode(&req); err != nil {
		return err
	}
	st, err := r.stream()
	if err != nil {
		return err
	}
	if !subjecttree.ValidPublish(req.DeliverSubject) {
		return jsapi.ErrSnapshotDeliverSubjectInvalid
	}
	opts := msgstore.SnapshotOptions{Version: 2} // req.CheckMsgs or not: every message is checked
	if !req.NoConsumers {
		consumers, cerr := st.consumers.archive(2)
		if cerr != nil {
			return jsapi.ErrStreamSnapshot.With(cerr)
		}
		if opts.Consumers, cerr = snapshotConsumers(consumers); cerr != nil {
			return jsapi.ErrStreamSnapshot.With(cerr)
		}
	}
	var at msgstore.State
	st.store.FastState(&at)
	opts.At = &at
	cfg, state := *st.Config(), st.stateInfo(&at)
	reply.Config, reply.State = &cfg, &state
	if !st.engine.beginTransfer() {
		return jsapi.ErrStreamSnapshot.With(errTransfers)
	}
	s := newSnapshotSender(st, &req)
	r.after = func() {
		go func() {
			defer st.engine.endTransfer()
			s.send(opts, state, r.client)
		}()
	}
	return nil
}

// archive returns what a snapshot of the stream holds of its consumers: version 1
// takes the state as o.dat, version 2 as JSON.
func (cs *consumerSet) archive(version int) ([]msgstore.SnapshotConsumer, error) {
	var list []msgstore.SnapshotConsumer
	for _, c := range cs.list() {
		cfg := c.config.Load()
		if cfg.Direct || cfg.MemoryStorage {
			continue
		}
		meta, err := encodeConsumerMeta(c, cfg)
		if err != nil {
			return nil, err
		}
		c.state.Lock()
		state, _ := c.m.Snapshot()
		c.state.Unlock()
		s := msgstore.SnapshotConsumer{Name: c.name, Meta: meta}
		if version == 1 {
			s.State = state.Append(nil, time.Now().UnixNano())
		} else if s.State, err = json.Marshal(&state); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// snapshotConsumers makes what an archive of version 2 holds of each consumer.
func snapshotConsumers(list []msgstore.SnapshotConsumer) ([]msgstore.SnapshotConsumer, error) {
	for i := range list {
		var meta consumerMeta
		if err := json.Unmarshal(list[i].Meta, &meta); err != nil {
			return nil, err
		}
		both, err := json.Marshal(archivedConsumer{&meta.ConsumerConfig, list[i].State})
		if err != nil {
			return nil, err
		}
		list[i].State = both
	}
	return list, nil
}

// archivedConsumer is a consumer in an archive of version 2.
type archivedConsumer struct {
	Config *jsapi.ConsumerConfig `json:"config"`
	State  json.RawMessage       `json:"state"`
}

// snapshotSender sends an archive in chunks that the receiver acknowledges, a
// window of them at a time. It is an io.Writer for one goroutine.
type snapshotSender struct {
	stream    *Stream
	deliver   []byte
	ackPrefix string // of the subjects for acks
	chunk     []byte // being filled; its capacity is the size of a chunk
	window    int    // chunks that may be on the way
	sent      int
	publisher Publisher

	mu    sync.Mutex // guards acked
	acked int
	wake  chan struct{} // tells of acks; holds one
}

func newSnapshotSender(st *Stream, req *jsapi.StreamSnapshotRequest) *snapshotSender {
	size, window := req.ChunkSize, req.WindowSize
	if size <= 0 {
		size = defaultChunk
	}
	size = min(max(size, minChunk), maxChunk)
	if window <= 0 {
		window = defaultWindow
	}
	window = max(min(max(window, minChunk), maxWindow), size)
	return &snapshotSender{
		stream: st, deliver: []byte(req.DeliverSubject), ackPrefix: "$JS.SNAPSHOT.ACK." + st.name + "." + randomID(8) + ".",
		chunk: make([]byte, 0, size), window: window / size, publisher: st.account.bus.Publisher(), wake: make(chan struct{}, 1),
	}
}

// send runs the whole transfer, with its advisories.
func (s *snapshotSender) send(opts msgstore.SnapshotOptions, state jsapi.StreamState, client json.RawMessage) {
	st := s.stream
	start := time.Now().UTC()
	st.account.advise("$JS.EVENT.ADVISORY.STREAM.SNAPSHOT_CREATE."+st.name, &jsapi.SnapshotCreate{
		Event: newEvent(jsapi.AdvisoryPrefix + "snapshot_create"), Stream: st.name, State: state,
		Client: clientOrNull(client), Domain: st.engine.opts.Domain,
	})
	err := s.transfer(opts)
	done := &jsapi.SnapshotComplete{
		Event: newEvent(jsapi.AdvisoryPrefix + "snapshot_complete"), Stream: st.name, Start: start, End: time.Now().UTC(),
		Client: clientOrNull(client), Domain: st.engine.opts.Domain,
	}
	if err != nil {
		done.Error = err.Error()
	}
	st.account.advise("$JS.EVENT.ADVISORY.STREAM.SNAPSHOT_COMPLETE."+st.name, done)
}

func (s *snapshotSender) transfer(opts msgstore.SnapshotOptions) error {
	sub, err := s.stream.account.bus.Subscribe(s.ackPrefix+">", "", s.receiveAcks)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	if err = s.awaitInterest(); err == nil {
		err = s.stream.store.Snapshot(s, opts)
	}
	if err == nil {
		err = s.awaitWindow()
	}
	switch {
	case errors.Is(err, errNoInterest), errors.Is(err, errNoFlow):
		s.publish(nil, statusHeader(err.Error()), nil)
		return err
	case err != nil:
		s.publish(nil, statusHeader("500 "+err.Error()), nil)
		return err
	}
	if len(s.chunk) > 0 {
		s.publisher.Publish(s.deliver, nil, nil, s.chunk) // goes out together with the end
	}
	var header []byte
	if s.sent > 0 {
		header = statusHeader("204")
	}
	s.publish(nil, header, nil)
	return nil
}

// awaitInterest waits for someone to listen.
func (s *snapshotSender) awaitInterest() error {
	bus := s.stream.account.bus
	for end := time.Now().Add(snapshotInterest); !bus.Interest(string(s.deliver), ""); {
		if time.Now().After(end) {
			return errNoInterest
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// Write implements io.Writer: whole chunks go out, the rest waits.
func (s *snapshotSender) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(cap(s.chunk)-len(s.chunk), len(p))
		s.chunk = append(s.chunk, p[:take]...)
		p = p[take:]
		if len(s.chunk) == cap(s.chunk) {
			if err := s.sendChunk(); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

// awaitWindow waits until another chunk may be on the way.
func (s *snapshotSender) awaitWindow() error {
	timeout := time.NewTimer(transferStall)
	defer timeout.Stop()
	for s.sent-s.received() >= s.window {
		select {
		case <-s.wake:
		case <-timeout.C:
			return errNoFlow
		}
	}
	if s.stream.closed.Load() {
		return io.ErrClosedPipe
	}
	return nil
}

func (s *snapshotSender) sendChunk() error {
	if err := s.awaitWindow(); err != nil {
		return err
	}
	s.sent++
	reply := s.ackPrefix + strconv.Itoa(len(s.chunk)) + "." + strconv.Itoa(s.sent)
	if !s.publish([]byte(reply), nil, s.chunk) {
		return errNoInterest
	}
	s.chunk = s.chunk[:0]
	return nil
}

func (s *snapshotSender) publish(reply, header, data []byte) bool {
	ok := s.publisher.Publish(s.deliver, reply, header, data)
	if resume := s.publisher.Flush(); resume != nil {
		select {
		case <-resume:
		case <-time.After(transferStall):
		}
	}
	return ok
}

func (s *snapshotSender) received() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}

// receiveAcks is the handler of the subjects for acks.
func (s *snapshotSender) receiveAcks(msgs []Msg) {
	s.mu.Lock()
	s.acked += len(msgs)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
