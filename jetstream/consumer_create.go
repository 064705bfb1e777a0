package jetstream

import (
	"errors"
	"reflect"
	"time"

	"github.com/natsd/natsd/jetstream/consumer"
	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/nanos"
)

// consumerRequest is a create request with its checks passed that need no stream.
type consumerRequest struct {
	config   jsapi.ConsumerConfig
	action   jsapi.ConsumerAction
	pedantic bool
	sourcing bool // made by a server for a source on an interest or work queue stream
}

// rules are what a configuration is judged by in this stream.
func (cs *consumerSet) rules(pedantic bool) *jsapi.ConsumerRules {
	st := cs.stream
	limits, _, _ := st.account.limitsFor(st.Config().Replicas)
	server := st.engine.opts.Limits
	return &jsapi.ConsumerRules{
		Stream: st.Config(), MaxAckPending: server.MaxAckPending, AccountAckPending: limits.MaxAckPending,
		MaxRequestBatch: server.MaxRequestBatch, Pedantic: pedantic,
	}
}

// upsert creates or updates a consumer. The result is durable. It is called by a
// worker of the API.
func (cs *consumerSet) upsert(r *consumerRequest) (*Consumer, *jsapi.Error) {
	cs.change.Lock()
	c, created, err := cs.accept(r)
	cs.change.Unlock()
	if created {
		err = cs.complete(c, &r.config)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// accept updates a consumer, or begins a new one, which is to be completed. Under
// change.
func (cs *consumerSet) accept(r *consumerRequest) (c *Consumer, created bool, err *jsapi.Error) {
	cfg := &r.config
	if cs.stream.closed.Load() {
		return nil, false, jsapi.ErrStreamNotFound
	}
	rules := cs.rules(r.pedantic)
	cfg.SetRequiredLevel()
	if err := cfg.SetDefaults(rules); err != nil {
		return nil, false, err
	}
	if err := cfg.Check(rules); err != nil {
		return nil, false, err
	}
	if cfg.Name == "" {
		cfg.Name = cfg.Durable
	}
	if old := cs.get([]byte(cfg.Name)); old != nil && cfg.Name != "" && old.made() {
		c, err = cs.updateExisting(old, r)
		return c, false, err
	}
	if r.action == jsapi.ActionUpdate {
		return nil, false, jsapi.ErrConsumerDoesNotExist
	}
	c, err = cs.create(r)
	return c, err == nil, err
}

func (cs *consumerSet) updateExisting(c *Consumer, r *consumerRequest) (*Consumer, *jsapi.Error) {
	cfg, old := &r.config, c.config.Load()
	if r.sourcing {
		// The start options are those of its first creation.
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = old.DeliverPolicy, old.OptStartSeq, old.OptStartTime
	}
	cfg.PauseUntil = old.PauseUntil
	cfg.SetRequiredLevel()
	if r.action == jsapi.ActionCreate {
		if !sameConsumer(old, cfg) {
			return nil, jsapi.ErrConsumerAlreadyExists
		}
		c.advisePaused()
		return c, nil
	}
	if old.Durable == "" && cfg.Durable != "" && cfg.InactiveThreshold == 0 {
		cfg.InactiveThreshold = old.InactiveThreshold
	}
	if err := cfg.CheckUpdate(old, c.bound()); err != nil {
		return nil, err
	}
	if cs.stream.Config().Retention == jsapi.WorkQueuePolicy && !cfg.Direct && !r.sourcing {
		if err := cs.checkUnique(cfg, c); err != nil {
			return nil, err
		}
	}
	if sameConsumer(old, cfg) && !r.sourcing {
		c.advisePaused()
		return c, nil
	}
	if r.sourcing { // first: nothing goes to a new deliver subject under old numbers
		if _, err := c.reset(0); err != nil {
			return nil, err
		}
	}
	if err := cs.apply(c, cfg); err != nil {
		return nil, jsapi.ErrConsumerCreate.Wrap(err)
	}
	c.advisePaused()
	return c, nil
}

// sameConsumer compares configurations, the server's metadata apart.
func sameConsumer(a, b *jsapi.ConsumerConfig) bool {
	x, y := *a, *b
	x.Metadata, y.Metadata = jsapi.UserMetadata(a.Metadata), jsapi.UserMetadata(b.Metadata)
	for _, t := range [...]struct{ x, y **time.Time }{{&x.OptStartTime, &y.OptStartTime}, {&x.PauseUntil, &y.PauseUntil}} {
		if *t.x != nil && *t.y != nil && (*t.x).Equal(**t.y) {
			*t.x = *t.y
		}
	}
	return reflect.DeepEqual(x, y)
}

// checkUnique refuses a consumer of a work queue whose messages another one
// gets as well.
func (cs *consumerSet) checkUnique(cfg *jsapi.ConsumerConfig, self *Consumer) *jsapi.Error {
	filters := cfg.Filters()
	ours := jsapi.Patterns(filters)
	for _, c := range cs.list() {
		oc := c.config.Load()
		if c == self || oc.Direct || oc.Sourcing {
			continue
		}
		others := oc.Filters()
		if len(filters) == 0 && self == nil {
			return jsapi.ErrConsumerWQMultipleUnfiltered
		}
		if len(filters) == 0 || len(others) == 0 {
			return jsapi.ErrConsumerWQConsumerNotUnique
		}
		if ours.CollideWith(others) {
			return jsapi.ErrConsumerWQConsumerNotUnique
		}
	}
	return nil
}

// checkPlace makes the checks that only a creation needs.
func (cs *consumerSet) checkPlace(r *consumerRequest) *jsapi.Error {
	cfg, sc := &r.config, cs.stream.Config()
	internal := cfg.Direct || r.sourcing
	if !internal {
		limits, _, _ := cs.stream.account.limitsFor(sc.Replicas)
		limit := sc.MaxConsumers
		if limits.MaxConsumers > 0 && (limit <= 0 || limits.MaxConsumers < limit) {
			limit = limits.MaxConsumers
		}
		if limit > 0 && cs.limited() >= limit {
			return jsapi.ErrMaximumConsumersLimit
		}
	}
	if sc.Retention == jsapi.WorkQueuePolicy && !internal {
		if cfg.AckPolicy != jsapi.AckExplicit && cfg.AckPolicy != jsapi.AckFlowControl {
			return jsapi.ErrConsumerWQRequiresExplicitAck
		}
		if cfg.DeliverPolicy != jsapi.DeliverAll {
			return jsapi.ErrConsumerWQConsumerNotDeliverAll
		}
		if err := cs.checkUnique(cfg, nil); err != nil {
			return err
		}
	}
	if len(cfg.Name) > jsapi.MaxNameLen {
		return jsapi.ErrConsumerNameTooLong.With(jsapi.MaxNameLen)
	}
	return nil
}

// create begins a new consumer, whose log is locked until complete has written its
// files. Under change.
func (cs *consumerSet) create(r *consumerRequest) (*Consumer, *jsapi.Error) {
	if err := cs.checkPlace(r); err != nil {
		return nil, err
	}
	cfg := &r.config
	name := cfg.Name
	for name == "" || cs.get([]byte(name)) != nil {
		name = randomID(8)
	}
	c := cs.newConsumer(name, time.Now().UTC(), cfg)
	var err error
	if cs.persistent(cfg) {
		if c.log, err = newConsumerLog(c); err != nil {
			return nil, jsapi.ErrConsumerStoreFailed.With(err)
		}
		c.log.mu.Lock()
	}
	running := cs.stream.exclusively(func() { err = c.begin(cfg) })
	if running && err == nil {
		c.fresh()
		return c, nil
	}
	if c.log != nil {
		c.log.mu.Unlock()
		c.log.drop()
	}
	if !running {
		return nil, jsapi.ErrStreamNotFound
	}
	return nil, jsapi.ErrConsumerCreate.Wrap(err)
}

// complete makes a new consumer durable, at the same time as others are: whoever
// finds it meanwhile waits for its log.
func (cs *consumerSet) complete(c *Consumer, cfg *jsapi.ConsumerConfig) *jsapi.Error {
	if c.log != nil {
		var err error
		cs.stream.engine.api.blocking(func() { err = c.log.create(cfg) })
		if err != nil {
			c.end("", false)
			c.log.drop()
			return jsapi.ErrConsumerStoreFailed.With(err)
		}
		if cs.blind.Load() {
			cs.forgetUnusable(c.name)
		}
	}
	if !cfg.Direct {
		c.adviseAction("CREATED", "create")
		c.advisePaused()
	}
	return nil
}

// made waits until the consumer is durable, if it is new, and reports false if it
// could not be made.
func (c *Consumer) made() bool {
	if c.log == nil {
		return true
	}
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.log.files != nil
}

func (cs *consumerSet) newConsumer(name string, created time.Time, cfg *jsapi.ConsumerConfig) *Consumer {
	c := &Consumer{set: cs, stream: cs.stream, name: name, created: created}
	c.config.Store(cfg)
	c.filter = msgstore.NewFilter(cfg.Filters()...)
	c.timer.fire = c.wake
	return c
}

// persistent reports whether the consumer's state is kept on disk.
func (cs *consumerSet) persistent(cfg *jsapi.ConsumerConfig) bool {
	return cs.queue != nil && !cfg.MemoryStorage && !cfg.Direct
}

// begin starts a new consumer. In the stream's turn, when nothing is in flight.
func (c *Consumer) begin(cfg *jsapi.ConsumerConfig) error {
	next, list, resume, err := c.start0(cfg)
	if err != nil {
		return err
	}
	c.state.Lock()
	defer c.state.Unlock()
	c.m = consumer.New(cfg, next, c, c.options(cfg))
	if list != nil {
		c.m.SetList(list, resume)
	}
	c.recount()
	c.floor.Store(c.m.Done())
	c.from.Store(c.m.Cursor())
	c.set.add(c)
	c.watch(cfg)
	c.rearm(time.Now().UnixNano())
	return nil
}

// options are the machine's.
func (c *Consumer) options(cfg *jsapi.ConsumerConfig) consumer.Options {
	st := c.stream
	burst := int(st.Config().MaxMsgSize)
	if burst <= 0 {
		burst = st.account.bus.MaxPayload()
	}
	if burst <= 0 {
		burst = st.engine.opts.MaxPayload
	}
	ack, flow := "$JS.ACK.", "$JS.FC."
	if st.engine.opts.AckFormat2 {
		place := "_"
		if d := st.engine.opts.Domain; d != "" {
			place = d
		}
		place += "." + shortHash(st.account.name) + "."
		ack, flow = ack+place, flow+place
	}
	names := st.name + "." + c.name + "."
	return consumer.Options{
		AckPrefix: ack + names, FlowPrefix: flow + names, Burst: burst,
		ReplayEnd: st.store.Positions().Visible, Now: time.Now().UnixNano(),
	}
}

// start0 finds where a new consumer begins: the first sequence that it looks at,
// or the list that it begins with and where it goes on behind that.
func (c *Consumer) start0(cfg *jsapi.ConsumerConfig) (next uint64, list []uint64, resume uint64, err error) {
	store := c.stream.store
	var s msgstore.State
	store.FastState(&s)
	policy := cfg.DeliverPolicy
	if policy == jsapi.DeliverLastPerSubject && c.stream.Config().MaxMsgsPerSubject == 1 {
		policy = jsapi.DeliverAll
	}
	switch policy {
	case jsapi.DeliverAll:
		next = s.FirstSeq
	case jsapi.DeliverLast:
		next = s.LastSeq
		if c.filter != nil {
			_, seq, err := store.LoadPrevMsgMulti(c.filter, s.LastSeq, nil)
			switch {
			case err == nil:
				next = seq
			case errors.Is(err, msgstore.ErrStoreEOF) || errors.Is(err, msgstore.ErrStoreMsgNotFound):
				next = 0
			default:
				return 0, nil, 0, err
			}
		}
	case jsapi.DeliverNew:
		next = s.LastSeq + 1
	case jsapi.DeliverByStartSequence:
		next = min(cfg.OptStartSeq, jsapi.MaxSequence+1)
	case jsapi.DeliverByStartTime:
		next = store.GetSeqFromTime(nanos.Of(*cfg.OptStartTime))
	case jsapi.DeliverLastPerSubject:
		if list, err = store.MultiLastSeqs(cfg.Filters(), 0, 0); err != nil {
			return 0, nil, 0, err
		}
		if len(list) > 0 {
			return list[0], list, s.LastSeq + 1, nil
		}
		next = s.LastSeq // as the reference has it; this one does not match
	}
	if cfg.OptStartSeq == 0 && next > s.LastSeq {
		next = s.LastSeq + 1
	}
	return max(next, s.FirstSeq, 1), nil, 0, nil
}

// watch follows the interest in the deliver subject. Under state.
func (c *Consumer) watch(cfg *jsapi.ConsumerConfig) {
	if c.stopWatch != nil {
		go c.stopWatch()
		c.stopWatch = nil
	}
	c.route.Store(nil)
	if !cfg.Push() {
		return
	}
	route := c.stream.account.bus.Route(cfg.DeliverSubject)
	c.route.Store(&route)
	changed := func(interest bool) {
		if c.route.Load() == &route { // else it is a late call of an old watch
			c.bind(interest)
		}
	}
	c.stopWatch = c.stream.account.bus.WatchInterest(cfg.DeliverSubject, cfg.DeliverGroup, changed)
}

// bound reports whether a push consumer's deliver subject has interest.
func (c *Consumer) bound() bool {
	c.state.Lock()
	defer c.state.Unlock()
	c.settleItems()
	return c.m.Info(time.Now().UnixNano()).Bound
}

// apply puts a new configuration into force. Under change.
func (cs *consumerSet) apply(c *Consumer, cfg *jsapi.ConsumerConfig) error {
	old := c.config.Load()
	if c.log != nil {
		if err := c.log.writeMeta(cfg); err != nil {
			return err
		}
	}
	run := func() {
		c.state.Lock()
		defer c.state.Unlock()
		c.settleEvents()
		now := time.Now().UnixNano()
		filtered := !reflect.DeepEqual(old.Filters(), cfg.Filters())
		if filtered {
			c.stopSeeking()
			c.m.Filtered()
		}
		c.config.Store(cfg)
		c.m.Update(cfg, now)
		if filtered {
			c.filter = msgstore.NewFilter(cfg.Filters()...)
			cs.route(c, old.Filters(), cfg.Filters(), true)
			cs.strayed(c)
			c.recount()
		}
		if old.DeliverSubject != cfg.DeliverSubject || old.DeliverGroup != cfg.DeliverGroup {
			c.m.SetActive(false, now)
			c.watch(cfg)
		}
	}
	if !cs.stream.exclusively(run) {
		return msgstore.ErrStoreClosed
	}
	c.fresh()
	if c.log != nil && old.MaxDeliver != cfg.MaxDeliver {
		// What the journal holds is read with the new limit: the state that was
		// made with the old one must not depend on it.
		if err := c.log.write(); err != nil {
			return err
		}
	}
	c.wake()
	if !reflect.DeepEqual(old.Filters(), cfg.Filters()) {
		cs.recheck()
	}
	return nil
}

// reset starts the consumer over, durably. seq 0: behind its floor.
func (c *Consumer) reset(seq uint64) (uint64, *jsapi.Error) {
	cfg := c.config.Load()
	if seq > 0 {
		refuse := func(why string) *jsapi.Error { return jsapi.ErrConsumerInvalidReset.With(why) }
		switch cfg.DeliverPolicy {
		case jsapi.DeliverAll:
		case jsapi.DeliverByStartSequence:
			if seq < cfg.OptStartSeq {
				return 0, refuse("below start seq")
			}
		case jsapi.DeliverByStartTime:
			if seq < c.stream.store.GetSeqFromTime(nanos.Of(*cfg.OptStartTime)) {
				return 0, refuse("below start time")
			}
		default:
			return 0, refuse("not allowed")
		}
	}
	seq = min(seq, jsapi.MaxSequence+1)
	ok := c.stream.exclusively(func() {
		c.state.Lock()
		defer c.state.Unlock()
		c.settleEvents()
		c.settleItems()
		c.stopSeeking()
		seq = c.m.Reset(seq, time.Now().UnixNano())
		c.recount()
		c.floor.Store(0)
		c.from.Store(seq)
	})
	if !ok {
		return 0, jsapi.ErrConsumerNotFound
	}
	c.fresh()
	if c.log != nil { // its run would follow with the next turn, behind the answer
		if err := c.log.write(); err != nil {
			return 0, jsapi.ErrConsumerCreate.Wrap(err)
		}
	}
	c.wake()
	c.set.recheck()
	return seq, nil
}

// pause stores the time until which the consumer is paused; zero resumes it.
func (c *Consumer) pause(until time.Time) *jsapi.Error {
	c.set.change.Lock()
	defer c.set.change.Unlock()
	cfg := *c.config.Load()
	old := cfg.PauseUntil
	cfg.PauseUntil = nil
	if !until.IsZero() {
		until = jsapi.UTC(until)
		cfg.PauseUntil = &until
	}
	cfg.SetRequiredLevel()
	if c.log != nil {
		if err := c.log.writeMeta(&cfg); err != nil {
			return jsapi.ErrConsumerCreate.Wrap(err)
		}
	}
	c.state.Lock()
	if c.gone {
		c.state.Unlock()
		return jsapi.ErrConsumerNotFound
	}
	now := time.Now()
	c.config.Store(&cfg)
	c.m.Configure(&cfg)
	at := int64(0)
	if !until.IsZero() {
		at = nanos.Of(until)
	}
	c.m.Pause(at, now.UnixNano())
	c.state.Unlock()
	if changed := old == nil != until.IsZero() || old != nil && !old.Equal(until); changed {
		c.advisePause(until.After(now), until)
	}
	c.wake()
	return nil
}

// advisePaused tells that the consumer is paused, if it is.
func (c *Consumer) advisePaused() {
	if p := c.config.Load().PauseUntil; p != nil && p.After(time.Now()) {
		c.advisePause(true, *p)
	}
}

// info describes the consumer. With the server's version in the metadata if
// full.
func (c *Consumer) info(full bool) *jsapi.ConsumerInfo {
	c.fresh()
	now := time.Now().UTC()
	var s msgstore.State
	c.stream.store.FastState(&s)
	c.state.Lock()
	c.settleEvents()
	c.settleItems() // so that who asked sees what it did before
	c.m.CheckFloor(s.FirstSeq)
	i := c.m.Info(now.UnixNano())
	busy := c.m.HasEffects()
	c.state.Unlock()
	if busy {
		c.wake()
	}
	cfg := c.config.Load()
	shown := cfg
	if full {
		shown = cfg.Shown(c.stream.engine.opts.Version)
	}
	r := &jsapi.ConsumerInfo{
		Stream: c.stream.name, Name: c.name, Created: c.created, Config: shown,
		Delivered:     sequenceInfo(i.Delivered, i.LastDelivery),
		AckFloor:      sequenceInfo(i.Floor, i.LastAck),
		NumAckPending: i.AckPending, NumRedelivered: i.Redelivered, NumWaiting: i.Waiting, NumPending: i.Pending,
		PushBound: i.Bound, Time: now,
	}
	if p := cfg.PauseUntil; p != nil && p.After(now) {
		r.Paused, r.PauseRemaining = true, p.Sub(now)
	}
	if len(cfg.PriorityGroups) > 0 { // all groups share one pin: the state is the first one's
		s := jsapi.PriorityGroupState{Group: cfg.PriorityGroups[0]}
		if i.Pinned != "" {
			s.PinnedClientID, s.PinnedTime = i.Pinned, time.Unix(0, i.PinnedAt).UTC()
		}
		r.PriorityGroups = append(r.PriorityGroups, s)
	}
	return r
}

func sequenceInfo(p consumerstate.Pair, at int64) jsapi.SequenceInfo {
	s := jsapi.SequenceInfo{Consumer: p.Consumer, Stream: p.Stream}
	if at != 0 {
		t := time.Unix(0, at).UTC()
		s.Last = &t
	}
	return s
}
