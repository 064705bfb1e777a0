package jetstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/archive"
	"github.com/natsd/natsd/natsproto"
)

// maxRestoreBuffer bounds the chunks that wait for being read, for senders that
// do not wait for answers: of all restores of a server together.
const maxRestoreBuffer = 64 << 20

func serveRestore(r *request, reply *jsapi.StreamRestoreResponse) *jsapi.Error {
	if jsapi.IsEmpty(r.body) {
		return jsapi.ErrBadRequest
	}
	var req jsapi.StreamRestoreRequest
	if err := r.decode(&req); err != nil {
		return err
	}
	cfg := &req.Config
	a := r.account
	if cfg.Name == "" {
		cfg.Name = r.args[0]
	}
	if cfg.Name != r.args[0] {
		return jsapi.ErrStreamMismatch
	}
	if strings.ContainsAny(cfg.Name, `/\`) {
		return jsapi.ErrStreamNameContainsPathSeparators
	}
	if err := jsapi.CheckStream(cfg, a.environment(false, cfg.Replicas)); err != nil {
		return err
	}
	if cfg.Replicas > 1 {
		return jsapi.ErrStreamReplicasNotSupported
	}
	if !a.engine.beginTransfer() {
		return jsapi.ErrStreamRestore.With(errTransfers)
	}
	rs, err := a.beginRestore(cfg)
	if err != nil {
		a.engine.endTransfer()
		return err
	}
	rs.client = r.client
	rs.subject = "$JS.SNAPSHOT.RESTORE." + cfg.Name + "." + randomID(8)
	sub, serr := a.bus.Subscribe(rs.subject, "", rs.receive)
	if serr != nil {
		rs.release(nil)
		return jsapi.ErrRestoreSubscribeFailed.With(rs.subject, serr)
	}
	rs.sub = sub
	reply.DeliverSubject = rs.subject
	go rs.run()
	return nil
}

// restore is a restore under way: the chunks that came, and the goroutine that
// makes a stream of them. Until it ends it holds the stream's name.
type restore struct {
	account *Account
	config  *jsapi.StreamConfig
	subject string
	sub     Subscription
	client  json.RawMessage

	mu     sync.Mutex // guards the rest of this block
	wake   chan struct{}
	chunks []restoreChunk
	ended  bool // what comes is not wanted
	failed error

	// The goroutine's own.
	current []byte
	last    []byte // where the final answer goes
	read    int64
	began   time.Time
}

// restoreChunk is a piece of the archive; empty data are its end.
type restoreChunk struct{ data, reply []byte }

// size is what a chunk takes while it waits, in bytes.
func (c *restoreChunk) size() int64 { return int64(len(c.data)+len(c.reply)) + 64 }

var (
	errRestoreStalled = errors.New("restore stalled")
	errNoChunkReply   = errors.New("requires reply subject for each chunk")
	errRestoreFlood   = errors.New("too many unanswered chunks")
)

// beginRestore takes the name of the stream that is to be.
func (a *Account) beginRestore(cfg *jsapi.StreamConfig) (*restore, *jsapi.Error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.checkLimits(cfg, nil); err != nil {
		return nil, err
	}
	if a.streams[cfg.Name] != nil || a.offline[cfg.Name] != nil || a.pending[cfg.Name] != nil {
		return nil, jsapi.ErrStreamNameExistRestoreFailed
	}
	if err := a.checkOthers(cfg); err != nil {
		return nil, err
	}
	if err := a.engine.tryReserve(cfg.Storage, growth(cfg, nil)); err != nil {
		return nil, err
	}
	a.pending[cfg.Name] = &pendingStream{config: cfg, long: true}
	return &restore{account: a, config: cfg, wake: make(chan struct{}, 1), began: time.Now().UTC()}, nil
}

// release gives the name up, and what was reserved unless a stream has it.
func (rs *restore) release(st *Stream) {
	if st == nil {
		rs.account.engine.reserve(rs.config.Storage, -growth(rs.config, nil))
	}
	rs.account.releaseName(rs.config.Name)
	rs.account.engine.endTransfer()
}

// receive is the handler of the subject for chunks.
func (rs *restore) receive(msgs []Msg) {
	rs.mu.Lock()
	for i := range msgs {
		m := &msgs[i]
		c := restoreChunk{m.Data, m.Reply}
		switch {
		case rs.failed != nil || rs.ended:
		case len(m.Reply) == 0:
			rs.failed = errNoChunkReply
		case !rs.account.engine.holdChunk(c.size()):
			rs.failed = errRestoreFlood
		default:
			rs.chunks = append(rs.chunks, restoreChunk{bytes.Clone(c.data), bytes.Clone(c.reply)})
		}
	}
	rs.mu.Unlock()
	select {
	case rs.wake <- struct{}{}:
	default:
	}
}

// holdChunk takes bytes of the buffer that all restores share, if they are left.
func (e *Engine) holdChunk(n int64) bool {
	if e.restoring.Add(n) <= maxRestoreBuffer {
		return true
	}
	e.restoring.Add(-n)
	return false
}

// discard gives up the chunks that nobody reads.
func (rs *restore) discard() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for i := range rs.chunks {
		rs.account.engine.restoring.Add(-rs.chunks[i].size())
	}
	rs.chunks, rs.ended = nil, true
}

// Read implements io.Reader over the chunks. A chunk is answered when it is
// taken up, the end of the archive when all is done.
func (rs *restore) Read(p []byte) (int, error) {
	for len(rs.current) == 0 {
		if rs.last != nil {
			return 0, io.EOF
		}
		c, err := rs.next()
		if err != nil {
			return 0, err
		}
		if len(c.data) == 0 {
			rs.last = c.reply
			return 0, io.EOF
		}
		rs.account.publish(c.reply, nil, nil, nil)
		rs.current = c.data
		rs.read += int64(len(c.data))
	}
	n := copy(p, rs.current)
	rs.current = rs.current[n:]
	return n, nil
}

// next waits for the next chunk.
func (rs *restore) next() (restoreChunk, error) {
	stall := time.NewTimer(transferStall)
	defer stall.Stop()
	for {
		if rs.account.stopping() {
			return restoreChunk{}, errRestoreStalled // a client that goes on must not hold up the stop
		}
		rs.mu.Lock()
		if len(rs.chunks) > 0 {
			c := rs.chunks[0]
			rs.chunks = rs.chunks[1:]
			rs.account.engine.restoring.Add(-c.size())
			rs.mu.Unlock()
			return c, nil
		}
		failed := rs.failed
		rs.mu.Unlock()
		if failed != nil {
			return restoreChunk{}, failed
		}
		select {
		case <-rs.wake:
		case <-rs.account.stops:
		case <-stall.C:
			return restoreChunk{}, errRestoreStalled
		}
	}
}

// run makes the stream, answers, and tells of it.
func (rs *restore) run() {
	a := rs.account
	name := rs.config.Name
	a.advise("$JS.EVENT.ADVISORY.STREAM.RESTORE_CREATE."+name, &jsapi.RestoreCreate{
		Event: newEvent(jsapi.AdvisoryPrefix + "restore_create"), Stream: name, Client: clientOrNull(rs.client), Domain: a.engine.opts.Domain,
	})
	st, err := rs.restore()
	rs.drain(err)
	rs.sub.Unsubscribe()
	rs.discard()
	if st != nil {
		st.serve() // before others may delete it
	}
	rs.release(st)
	silent := errors.Is(err, errRestoreStalled)
	if silent || errors.Is(err, errNoChunkReply) || errors.Is(err, errRestoreFlood) {
		a.engine.event(WarningEvent{fmt.Sprintf("restore for stream '%s > %s' %v", a.name, name, err)})
	}
	if silent {
		return
	}
	resp := jsapi.StreamCreateResponse{Response: jsapi.Response{Type: jsapi.TypePrefix + "stream_create_response"}}
	if err != nil {
		resp.Error = jsapi.ErrStreamRestore.Wrap(err)
	} else {
		resp.StreamInfo = st.info(false)
		resp.StreamInfo.Domain = ""
	}
	if body, err := json.Marshal(&resp); err == nil && rs.last != nil {
		a.publish(rs.last, nil, nil, body)
	}
	a.advise("$JS.EVENT.ADVISORY.STREAM.RESTORE_COMPLETE."+name, &jsapi.RestoreComplete{
		Event: newEvent(jsapi.AdvisoryPrefix + "restore_complete"), Stream: name, Start: rs.began, End: time.Now().UTC(),
		Bytes: rs.read, Client: clientOrNull(rs.client), Domain: a.engine.opts.Domain,
	})
}

// drain finds the place for the final answer: the end of the archive, or after
// a failure the next chunk.
func (rs *restore) drain(err error) {
	if err == nil {
		var rest [512]byte
		for rs.last == nil {
			if _, err := rs.Read(rest[:]); err != nil {
				break
			}
		}
	}
	if rs.last == nil {
		if c, err := rs.next(); err == nil {
			rs.last = c.reply
		}
	}
}

// restore reads the archive. A failure leaves nothing behind.
func (rs *restore) restore() (*Stream, error) {
	r, err := archive.NewReader(rs)
	if err != nil {
		if rs.read == 0 && rs.last != nil {
			return nil, io.EOF
		}
		return nil, err
	}
	jsapi.SetRequiredLevel(rs.config)
	var st *Stream
	switch {
	case r.Version() != 1:
		st, err = rs.restoreEntries(r, time.Now().UTC())
	case rs.config.Storage == jsapi.MemoryStorage:
		st, err = rs.restoreFilesToMemory(r)
	default:
		st, err = rs.restoreFiles(r)
	}
	if err != nil {
		return nil, err
	}
	rs.account.add(st)
	return st, nil
}

// restoreEntries makes a stream of an archive of version 2.
func (rs *restore) restoreEntries(r *archive.Reader, created time.Time) (*Stream, error) {
	a := rs.account
	e, err := r.Next()
	if err != nil {
		return nil, err
	}
	var state jsapi.StreamState
	if e.Kind != archive.State {
		return nil, errors.New("expected state.json first")
	}
	if err := json.Unmarshal(e.Data, &state); err != nil {
		return nil, fmt.Errorf("reading state.json: %w", err)
	}
	if err := rs.checkRoom(state.Bytes); err != nil {
		return nil, err
	}
	cfg := *rs.config
	if state.FirstSeq > 0 {
		cfg.FirstSeq = state.FirstSeq
	}
	var consumers []restoredConsumer
	dir := "" // none: all is in memory
	fill := func(store msgstore.Store) error {
		archived, err := rs.fill(store, r, &state)
		if err == nil {
			consumers, err = rs.writeConsumers(archived, created, dir)
		}
		if err == nil && cfg.FirstSeq != rs.config.FirstSeq {
			err = store.UpdateConfig(storeConfig(rs.config, created))
		}
		return err
	}
	var store msgstore.Store
	if d := a.engine.disk; cfg.Storage == jsapi.MemoryStorage || d.host == nil {
		if store, err = d.openStore(a, &cfg, created); err == nil {
			err = fill(store)
		}
	} else {
		dir = rs.hiddenDir()
		defer d.fs.RemoveAll(dir)
		store, err = rs.build(dir, &cfg, created, fill)
	}
	if err != nil {
		return nil, err
	}
	st := a.newStream(rs.config, created, store)
	for _, c := range consumers {
		if err := st.consumers.revive(c); err != nil {
			st.halt(true)
			return nil, errors.Join(err, store.Delete(true))
		}
	}
	return st, nil
}

// checkRoom checks the bytes of an archive against the limits: those that it claims to
// have before anything is stored, and then those that came.
func (rs *restore) checkRoom(bytes uint64) error {
	a, storage := rs.account, rs.config.Storage
	size := int64(min(bytes, 1<<62))
	limit, ok := a.storageLimit(rs.config)
	server := a.engine.limit(storage)
	if !ok || limit >= 0 && saturatingAdd(a.stored(storage), size) > limit ||
		server >= 0 && saturatingAdd(a.engine.usage.stored(storage), size) > server {
		return resourcesExceeded(storage)
	}
	return nil
}

// restoreBatch is how many bytes of messages are stored at a time.
const restoreBatch = 1 << 20

// fill stores the messages of an archive, and returns its consumers.
func (rs *restore) fill(store msgstore.Store, r *archive.Reader, state *jsapi.StreamState) (consumers map[string][]byte, err error) {
	consumers = make(map[string][]byte)
	next := max(state.FirstSeq, 1)
	var batch []msgstore.RawMsg
	size, total := 0, uint64(0)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		total += uint64(size)
		if err := rs.checkRoom(total); err != nil {
			return err
		}
		done := make(chan error, 1)
		store.StoreRawMsgs(batch, func(err error) { done <- err })
		batch, size = batch[:0], 0
		return <-done
	}
	skipTo := func(seq uint64) {
		if seq > next {
			batch = append(batch, msgstore.RawMsg{Seq: next, Skip: seq - next})
			next = seq
		}
	}
	now := time.Now().UnixNano()
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if e.Kind == archive.Consumer {
			consumers[e.Name] = bytes.Clone(e.Data)
			continue
		}
		if e.Seq < next {
			return nil, fmt.Errorf("%w: sequence %d behind %d", archive.ErrCorrupt, e.Seq, next)
		}
		ttl, _ := parseTTL(natsproto.HeaderValue(e.Header, hdrTTL))
		if !rs.config.AllowMsgTTL {
			ttl = 0
		}
		if ttl > 0 && e.Time+ttl*int64(time.Second) <= now {
			continue // its time has passed: a deleted sequence
		}
		skipTo(e.Seq)
		batch = append(batch, msgstore.RawMsg{
			Subject: e.Name, Header: bytes.Clone(e.Header), Data: bytes.Clone(e.Data), Seq: e.Seq, Time: e.Time, TTL: ttl,
		})
		next = e.Seq + 1
		if size += len(e.Name) + len(e.Header) + len(e.Data); size >= restoreBatch || len(batch) >= 1024 {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	skipTo(state.LastSeq + 1)
	return consumers, flush()
}
