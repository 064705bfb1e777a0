package jetstream

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
)

// pendingStream is a name that a creation, a restore, an update or a deletion
// holds while it works outside of Account.mu.
type pendingStream struct {
	config *jsapi.StreamConfig // what the stream will be; nil for a deletion
	long   bool                // a restore: nobody waits for its end
}

// offlineStream is on disk and cannot be served: it needs what this server does not
// have, could not be recovered, or could not be deleted. Its name is taken, and it can
// be deleted.
type offlineStream struct {
	reason string // that replies give
	err    error  // why it could not be recovered, else nil
}

// reserveName claims a stream's name; the caller gives it back by releaseName.
// It waits for others who hold it, but not for a restore: then it returns nil, as
// when the account stops. Under a.mu.
func (a *Account) reserveName(name string) *pendingStream {
	for a.pending[name] != nil {
		if a.pending[name].long {
			return nil
		}
		a.changed.Wait()
	}
	if a.stopped {
		return nil
	}
	p := &pendingStream{}
	a.pending[name] = p
	return p
}

func (a *Account) releaseName(name string) {
	a.mu.Lock()
	delete(a.pending, name)
	a.changed.Broadcast()
	a.mu.Unlock()
}

// createStream makes a stream of a configuration that has passed
// jsapi.CheckStream, or returns the existing one if that is equal.
func (a *Account) createStream(cfg *jsapi.StreamConfig) (st *Stream, created bool, err *jsapi.Error) {
	a.mu.Lock()
	p := a.reserveName(cfg.Name)
	if p == nil {
		a.mu.Unlock()
		return nil, false, jsapi.ErrStreamNameExist
	}
	defer a.releaseName(cfg.Name)
	if st := a.streams[cfg.Name]; st != nil {
		a.mu.Unlock()
		if !jsapi.SameStream(st.Config(), cfg) {
			return nil, false, jsapi.ErrStreamNameExist
		}
		return st, false, nil
	}
	if a.offline[cfg.Name] != nil { // its files are there
		a.mu.Unlock()
		return nil, false, jsapi.ErrStreamNameExist
	}
	if err := a.checkLimits(cfg, nil); err != nil {
		a.mu.Unlock()
		return nil, false, err
	}
	if err := a.checkOthers(cfg); err != nil {
		a.mu.Unlock()
		return nil, false, err
	}
	reserved := growth(cfg, nil)
	if err := a.engine.tryReserve(cfg.Storage, reserved); err != nil {
		a.mu.Unlock()
		return nil, false, err
	}
	p.config = cfg
	a.mu.Unlock()

	jsapi.SetRequiredLevel(cfg)
	st, oerr := a.openStream(cfg, time.Now().UTC())
	if oerr != nil {
		a.engine.reserve(cfg.Storage, -reserved)
		return nil, false, jsapi.ErrStreamCreate.Wrap(oerr)
	}
	a.add(st)
	st.serve()
	a.originAppeared(cfg.Name)
	st.advise("CREATED", "create")
	return st, true, nil
}

// add makes a stream known, which holds what was reserved for it from then on.
func (a *Account) add(st *Stream) {
	a.mu.Lock()
	st.reserved = true
	a.streams[st.name] = st
	a.mu.Unlock()
}

// checkOthers looks at the streams that there are, and at those that are being made or
// changed, which the checks of a request by itself may have missed. Under a.mu.
func (a *Account) checkOthers(cfg *jsapi.StreamConfig) *jsapi.Error {
	if a.overlaps(cfg) {
		return jsapi.ErrStreamSubjectOverlap
	}
	return jsapi.CheckCycle(cfg, func(name string) *jsapi.StreamConfig {
		if p := a.pending[name]; p != nil && p.config != nil {
			return p.config
		}
		if st := a.streams[name]; st != nil {
			return st.Config()
		}
		return nil
	})
}

// overlaps reports whether a subject of cfg belongs to another stream. Under a.mu.
func (a *Account) overlaps(cfg *jsapi.StreamConfig) bool {
	ours := jsapi.Patterns(cfg.Subjects)
	collide := func(other *jsapi.StreamConfig) bool {
		return other != nil && other.Name != cfg.Name && ours.CollideWith(other.Subjects)
	}
	for _, st := range a.streams {
		if collide(st.Config()) {
			return true
		}
	}
	for _, p := range a.pending {
		if collide(p.config) {
			return true
		}
	}
	return false
}

// openStream opens a stream's store, makes the stream around it, and recovers
// its consumers. It serves nothing yet.
func (a *Account) openStream(cfg *jsapi.StreamConfig, created time.Time) (*Stream, error) {
	store, err := a.engine.disk.openStore(a, cfg, created)
	if err != nil {
		return nil, err
	}
	return a.newStream(cfg, created, store), nil
}

// newStream makes a stream around an open store.
func (a *Account) newStream(cfg *jsapi.StreamConfig, created time.Time, store msgstore.Store) *Stream {
	st := &Stream{engine: a.engine, account: a, name: cfg.Name, created: created, store: store}
	st.ackPrefix = ackPrefix(cfg.Name, a.engine.opts.Domain)
	st.proposer = localProposer{store}
	st.config.Store(cfg)
	run := st.run
	st.in.init(func() { a.engine.runTurn(run) }, st.lent, a.engine.opts.MaxBufferedMsgs, int(a.engine.opts.MaxBufferedSize))
	st.consumers = newConsumerSet(st)
	st.expiry.fire = func() { st.do(st.expire) }
	st.turn.dedup.window = cfg.DuplicateWindow
	st.turn.dedup.room = dedupRoom{&a.dedupIDs, &a.engine.dedupIDs, int64(a.engine.opts.MaxDedupIDs)}
	st.derive(cfg)
	store.RegisterStorageUpdates(st.stored)
	st.resync()
	st.orderly = st.recoverIDs()
	st.consumers.recover()
	list := st.originsOf(cfg)
	st.origins.p.Store(&list)
	return st
}

// stored hears from the store what became visible, and what is gone.
func (st *Stream) stored(msgs, bytes int64, seq uint64, subject string) {
	st.account.addUsage(st.Config().Storage, bytes)
	switch {
	case seq == 0 && msgs < 0:
		st.consumers.shrunk.Store(true)
	case seq == 0:
	case msgs == 1:
		st.consumers.stored(seq, subject)
	case msgs == -1:
		st.consumers.removed(seq, subject)
	}
}

// serve removes what has expired meanwhile, subscribes to what the configuration says
// and starts the timers.
func (st *Stream) serve() {
	st.do(st.expire)
	st.subscribe(st.Config())
	st.do(st.startOrigins)
}

// subscribe makes the stream's subscriptions those of cfg. A subject that stays
// keeps its subscription, so that no message is missed.
func (st *Stream) subscribe(cfg *jsapi.StreamConfig) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var kept []subjectSub
	for _, s := range st.subs {
		if slices.Contains(cfg.Subjects, s.subject) {
			kept = append(kept, s)
		} else {
			s.sub.Unsubscribe()
		}
	}
	for _, subject := range cfg.Subjects {
		if slices.ContainsFunc(kept, func(s subjectSub) bool { return s.subject == subject }) {
			continue
		}
		sub, err := st.account.bus.Subscribe(subject, "", st.receive)
		if err != nil {
			st.engine.event(ErrorEvent{"subscribing " + subject + " for stream '" + st.account.name + " > " + st.name + "': " + err.Error()})
			continue
		}
		kept = append(kept, subjectSub{subject, sub})
	}
	st.subs = kept
}

func (st *Stream) unsubscribe() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, s := range st.subs {
		s.sub.Unsubscribe()
	}
	st.subs = nil
}

// stop ends the stream in order: nothing comes in any more, what was accepted
// becomes durable and is answered, the consumers save their state.
func (st *Stream) stop() {
	known, idle := st.halt(false)
	if !idle {
		return
	}
	st.consumers.stop()
	if st.store.Type() == msgstore.MemoryStorage {
		st.stored(0, -int64(st.storedBytes()), 0, "") // a file store says it itself
	}
	st.writeRemembered(known)
	if err := st.store.Stop(); err != nil {
		st.engine.event(StreamFailedEvent{st.account.name, st.name, err})
	}
}

// halt takes the stream out of service and waits until nothing is in flight.
// forever says that the stream is deleted. It reports false if that was done
// before, and else what is known of the messages' ids.
func (st *Stream) halt(forever bool) (known *remembered, idle bool) {
	if st.closed.Load() {
		return nil, false
	}
	st.unsubscribe()
	idle = st.exclusively(func() {
		st.closed.Store(true)
		st.in.close()
		for _, o := range st.origins.list() {
			o.stop(forever)
		}
		st.dropBatches()
		known = st.remember()
		st.turn.dedup.clear()
		st.engine.timers.disarm(&st.expiry)
	})
	st.account.mu.RLock()
	defer st.account.mu.RUnlock()
	if idle && st.reserved {
		st.engine.reserve(st.Config().Storage, -growth(st.Config(), nil))
	}
	return known, idle
}

func (st *Stream) storedBytes() uint64 {
	var s msgstore.State
	st.store.FastState(&s)
	return s.Bytes
}

// deleteStream removes a stream with everything that belongs to it.
func (a *Account) deleteStream(name string) *jsapi.Error {
	a.mu.Lock()
	if a.reserveName(name) == nil {
		a.mu.Unlock()
		return jsapi.ErrStreamNotFound
	}
	defer a.releaseName(name)
	st, off := a.streams[name], a.offline[name]
	a.mu.Unlock()
	if off != nil {
		return a.deleteOffline(name)
	}
	if st == nil {
		return jsapi.ErrStreamNotFound
	}
	st.halt(true) // first: no consumer is made any more
	st.consumers.deleteAll()
	err := st.store.Delete(true)
	a.mu.Lock()
	delete(a.streams, name)
	if err != nil && a.engine.disk.host != nil { // its files may be there: it can be deleted again, and not made anew before
		a.offline[name] = &offlineStream{reason: "deletion failed: " + err.Error()}
	}
	a.mu.Unlock()
	if err != nil {
		return jsapi.ErrStreamDelete.Wrap(err)
	}
	st.advise("DELETED", "delete")
	return nil
}

// advise publishes one of the STREAM.<what>.S advisories.
func (st *Stream) advise(what, action string) {
	st.account.advise("$JS.EVENT.ADVISORY.STREAM."+what+"."+st.name, &jsapi.StreamAction{
		Event: newEvent(jsapi.AdvisoryPrefix + "stream_action"), Stream: st.name, Action: action, Domain: st.engine.opts.Domain,
	})
}

// updateStream replaces a stream's configuration by one that has passed
// jsapi.CheckStream. A nil result means success.
func (a *Account) updateStream(cfg *jsapi.StreamConfig) (*Stream, *jsapi.Error) {
	a.mu.Lock()
	p := a.reserveName(cfg.Name)
	if p == nil {
		a.mu.Unlock()
		return nil, jsapi.ErrStreamNotFound
	}
	defer a.releaseName(cfg.Name)
	st, off := a.streams[cfg.Name], a.offline[cfg.Name]
	if st == nil {
		a.mu.Unlock()
		if off != nil {
			return nil, jsapi.ErrStreamOfflineReason.With(off.reason)
		}
		return nil, jsapi.ErrStreamNotFound
	}
	old := st.Config()
	if err := jsapi.CheckStreamUpdate(old, cfg); err != nil {
		a.mu.Unlock()
		return nil, err
	}
	if cfg.Replicas > 1 {
		a.mu.Unlock()
		return nil, jsapi.ErrStreamReplicasNotSupported
	}
	if err := a.checkLimits(cfg, old); err != nil {
		a.mu.Unlock()
		return nil, err
	}
	if err := st.consumers.checkUpdate(cfg); err != nil {
		a.mu.Unlock()
		return nil, err
	}
	if err := a.checkOthers(cfg); err != nil {
		a.mu.Unlock()
		return nil, err
	}
	grow := growth(cfg, old)
	if err := a.engine.tryReserve(cfg.Storage, max(grow, 0)); err != nil {
		a.mu.Unlock()
		return nil, err
	}
	p.config = cfg
	a.mu.Unlock()
	jsapi.SetRequiredLevel(cfg)
	var err error
	done := st.exclusively(func() { err = st.reconfigure(old, cfg) })
	if !done || err != nil {
		a.engine.reserve(cfg.Storage, -max(grow, 0))
	}
	if !done {
		return nil, jsapi.ErrStreamNotFound
	}
	if err != nil {
		return nil, jsapi.ErrStreamUpdate.Wrap(err)
	}
	a.engine.reserve(cfg.Storage, min(grow, 0))
	st.subscribe(cfg)
	st.advise("UPDATED", "modify")
	return st, nil
}

// reconfigure puts a configuration into force, in the turn.
func (st *Stream) reconfigure(old, cfg *jsapi.StreamConfig) error {
	var before, after msgstore.State
	st.store.FastState(&before)
	if err := st.store.UpdateConfig(storeConfig(cfg, st.created)); err != nil {
		return err
	}
	st.config.Store(cfg)
	st.derive(cfg)
	st.turn.dedup.window = cfg.DuplicateWindow
	st.turn.dedup.prune(time.Now().UnixNano())
	st.dropDisabledBatches(cfg)
	st.consumers.updated(old, cfg)
	if st.store.FastState(&after); after.Msgs < before.Msgs {
		st.consumers.lost()
	}
	st.updateOrigins(cfg)
	for _, o := range st.origins.list() {
		if !cfg.MirrorDirect {
			o.answer(false)
		}
		if cfg.Sealed {
			o.cancel() // nothing is fetched any more
		}
	}
	st.armExpiry()
	return nil
}

// storeConfig is the part of a configuration that the store obeys.
func storeConfig(cfg *jsapi.StreamConfig, created time.Time) msgstore.Config {
	meta, _ := json.Marshal(cfg) // a configuration always marshals
	c := msgstore.Config{
		Name: cfg.Name, Storage: msgstore.StorageType(cfg.Storage), Subjects: cfg.Subjects, Mirror: cfg.Mirror != nil,
		MaxMsgs: cfg.MaxMsgs, MaxBytes: cfg.MaxBytes, MaxAge: cfg.MaxAge, MaxMsgsPerSubject: cfg.MaxMsgsPerSubject,
		MaxMsgSize: cfg.MaxMsgSize, Discard: msgstore.Discard(cfg.Discard), DiscardNewPer: cfg.DiscardNewPerSubject,
		FirstSeq: cfg.FirstSeq, WorkQueue: cfg.Retention != jsapi.LimitsPolicy, Compression: msgstore.Compression(cfg.Compression),
		AllowMsgTTL: cfg.AllowMsgTTL, AllowMsgSchedules: cfg.AllowMsgSchedules, SubjectDeleteMarkerTTL: cfg.SubjectDeleteMarkerTTL,
		Created: created, Meta: meta,
	}
	for _, s := range cfg.Sources {
		c.Sources = append(c.Sources, indexName(s))
	}
	return c
}
