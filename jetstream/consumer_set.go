package jetstream

import (
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/natsd/natsd/internal/prefetch"
	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/subjecttree"
)

// consumerSet is the consumers of one stream, as the stream sees them. Unless
// noted otherwise its methods are called in the stream's turn, and must not
// block; a consumer that has something to do runs on a goroutine of its own.
//
// Lock order: change, a consumer's state, dispatch, a consumer's in.mu. mu is a
// leaf.
type consumerSet struct {
	stream *Stream
	queue  *commit.Queue // of the consumers' runs; nil for memory streams

	change sync.Mutex // serializes creations, updates and deletions

	mu      sync.RWMutex // guards the next four
	byName  map[string]*Consumer
	direct  int                 // how many of them are internal
	offline map[string]string   // found on disk and not usable by this server: why
	broken  map[string]struct{} // found on disk and not recovered

	// blind: there are offline or broken ones. Nobody knows what they need: an
	// interest stream keeps everything for them. Changes under mu.
	blind atomic.Bool

	shrunk  atomic.Bool // many messages went at once, not by a purge
	recount []*Consumer // still to be counted anew; owned by the stream's turn

	// told is the last sequence of which every consumer that wants it was told,
	// as of all before it. It changes under dispatch.
	told atomic.Uint64

	backlog     backlog
	manyFilters atomic.Bool // enough for the backlog's reader to be worth it

	// dispatch guards who hears of which message: one lock per message, since
	// messages become visible, and are removed, on several goroutines.
	dispatch struct {
		sync.Mutex
		all      []*Consumer // without filter
		filtered subjecttree.List[*Consumer]
		strays   []stray
		nfilters int
		match    subjecttree.Result[*Consumer]
		fresh    []freshMsg  // visible, and nobody was told yet
		hearers  []hearer    // scratch of tell
		started  []*Consumer // those who have a turn to make, until run puts them into the line
	}
}

// freshMsg is a message that has become visible.
type freshMsg struct {
	seq     uint64
	subject string
}

// hearer is a consumer that is told of a message.
type hearer struct {
	c   *Consumer
	seq uint64
}

// freshMsgs is how many messages the consumers are told of at a time: few enough
// that what was prefetched for them is still there when it is needed.
const freshMsgs = 64

// stray is a consumer with messages pending that its filters may not match any
// more, up to a sequence: it must hear when one of them goes.
type stray struct {
	c       *Consumer
	through uint64
}

// newConsumerSet is called while the stream is opened.
func newConsumerSet(st *Stream) *consumerSet {
	cs := &consumerSet{stream: st, byName: make(map[string]*Consumer)}
	cs.told.Store(st.store.Positions().Visible)
	cs.backlog.set = cs
	if st.Config().Storage == jsapi.FileStorage && st.engine.disk.committer != nil {
		cs.queue = st.engine.disk.committer.NewQueue(runsCompleted)
	}
	return cs
}

// get returns a consumer by name, or nil. Called on any goroutine.
func (cs *consumerSet) get(name []byte) *Consumer {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	return cs.byName[string(name)]
}

// whyOffline returns why a consumer on disk cannot be used; "" if it can, or
// does not exist. Called on any goroutine.
func (cs *consumerSet) whyOffline(name string) string {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	return cs.offline[name]
}

// setOffline keeps a consumer that this server cannot use.
func (cs *consumerSet) setOffline(name, reason string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.offline == nil {
		cs.offline = make(map[string]string)
	}
	cs.offline[name] = reason
	cs.blind.Store(true)
}

// setBroken keeps in mind a consumer that could not be recovered.
func (cs *consumerSet) setBroken(name string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.broken == nil {
		cs.broken = make(map[string]struct{})
	}
	cs.broken[name] = struct{}{}
	cs.blind.Store(true)
}

// forgetUnusable tells that an offline or broken consumer is deleted, or made anew,
// and reports whether it was offline.
func (cs *consumerSet) forgetUnusable(name string) (offline bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	_, offline = cs.offline[name]
	delete(cs.offline, name)
	delete(cs.broken, name)
	cs.blind.Store(len(cs.offline)+len(cs.broken) > 0)
	return offline
}

// offlineReasons returns all consumers on disk that cannot be used, and why.
// Called on any goroutine.
func (cs *consumerSet) offlineReasons() map[string]string {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	return maps.Clone(cs.offline)
}

// list returns all consumers, sorted by name. Called on any goroutine.
func (cs *consumerSet) list() []*Consumer {
	cs.mu.RLock()
	list := make([]*Consumer, 0, len(cs.byName))
	for _, c := range cs.byName {
		list = append(list, c)
	}
	cs.mu.RUnlock()
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list
}

// add makes a consumer known to the stream and to clients.
func (cs *consumerSet) add(c *Consumer) {
	cs.route(c, nil, c.config.Load().Filters(), true)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.byName[c.name] = c
	if c.config.Load().Direct {
		cs.direct++
	}
}

// drop makes a consumer unknown. It reports false if it was already.
func (cs *consumerSet) drop(c *Consumer) bool {
	cs.mu.Lock()
	known := cs.byName[c.name] == c
	if known {
		delete(cs.byName, c.name)
		if c.config.Load().Direct {
			cs.direct--
		}
	}
	cs.mu.Unlock()
	if known {
		cs.route(c, c.config.Load().Filters(), nil, false)
	}
	return known
}

// route changes which messages a consumer hears of: old is taken away if it was
// there, and filters added unless the consumer goes.
func (cs *consumerSet) route(c *Consumer, old, filters []string, stays bool) {
	d := &cs.dispatch
	d.Lock()
	defer d.Unlock()
	cs.tell()
	for i, a := range d.all {
		if a == c {
			d.all = append(d.all[:i:i], d.all[i+1:]...)
			break
		}
	}
	for _, f := range old {
		if d.filtered.Remove(f, "", c) == nil {
			d.nfilters--
		}
	}
	d.strays = slices.DeleteFunc(d.strays, func(s stray) bool { return s.c == c })
	if stays {
		if len(filters) == 0 {
			d.all = append(d.all, c)
		}
		for _, f := range filters {
			if d.filtered.Insert(f, "", c) == nil { // validated
				d.nfilters++
			}
		}
	}
	cs.manyFilters.Store(d.nfilters >= seekFilters)
}

// strayed tells that a consumer's filters have changed, under its state.
func (cs *consumerSet) strayed(c *Consumer) {
	if len(c.m.Pending(nil)) == 0 {
		return
	}
	cs.dispatch.Lock()
	cs.dispatch.strays = append(cs.dispatch.strays, stray{c, c.m.Cursor()})
	cs.dispatch.Unlock()
}

func (cs *consumerSet) hasStrays() bool {
	cs.dispatch.Lock()
	defer cs.dispatch.Unlock()
	return len(cs.dispatch.strays) > 0
}

// each calls f for the consumers that want a message. Under dispatch.
func (cs *consumerSet) each(subject string, f func(*Consumer)) {
	d := &cs.dispatch
	for _, c := range d.all {
		f(c)
	}
	if d.nfilters > 0 {
		d.filtered.MatchInto(&d.match, asBytes(subject))
		for _, c := range d.match.Plain {
			f(c)
		}
	}
}

// stored says that a message has become visible. Called on any goroutine, in the
// order of sequences. The consumers hear of it at the next call of settle at the
// latest.
func (cs *consumerSet) stored(seq uint64, subject string) {
	d := &cs.dispatch
	d.Lock()
	defer d.Unlock()
	if len(d.all) == 0 && d.nfilters == 0 {
		cs.told.Store(max(seq, cs.told.Load()))
		return
	}
	if d.fresh = append(d.fresh, freshMsg{seq, subject}); len(d.fresh) == freshMsgs {
		cs.tell()
	}
}

// settle has all consumers told of what was stored. Called on any goroutine.
func (cs *consumerSet) settle() {
	cs.dispatch.Lock()
	cs.tell()
	cs.dispatch.Unlock()
}

// tell tells the consumers of the messages that are fresh. Among thousands of
// consumers each is out of the processor's cache, so all are asked for before the
// first one is looked at. Under dispatch.
func (cs *consumerSet) tell() {
	d := &cs.dispatch
	if len(d.fresh) == 0 {
		return
	}
	for _, msg := range d.fresh {
		cs.each(msg.subject, func(c *Consumer) {
			prefetch.Lines(unsafe.Pointer(c), notedLines)
			d.hearers = append(d.hearers, hearer{c, msg.seq})
		})
	}
	if len(d.hearers) > 1 {
		for _, h := range d.hearers {
			h.c.m.Prefetch(true)
		}
	}
	for _, h := range d.hearers {
		if h.c.noted != h.seq { // several filters may match
			h.c.noted = h.seq
			cs.note(h.c, streamEvent{seq: h.seq, n: 1, matches: true})
		}
	}
	cs.run()
	last := d.fresh[len(d.fresh)-1].seq
	clear(d.fresh)
	clear(d.hearers)
	d.fresh, d.hearers = d.fresh[:0], d.hearers[:0]
	if cap(d.hearers) > maxHearers {
		d.hearers = nil
	}
	cs.told.Store(max(last, cs.told.Load()))
}

// note tells a consumer of a change of the stream. Who calls it calls run at the end.
// Under dispatch.
func (cs *consumerSet) note(c *Consumer, e streamEvent) {
	if c.note(e) {
		cs.dispatch.started = append(cs.dispatch.started, c)
	}
}

// run puts those into the line who have something to do, all at once. Under dispatch.
func (cs *consumerSet) run() {
	d := &cs.dispatch
	if len(d.started) == 0 {
		return
	}
	cs.stream.engine.consumers.push(d.started...)
	clear(d.started)
	if d.started = d.started[:0]; cap(d.started) > maxHearers {
		d.started = nil
	}
}

// maxHearers bounds the scratch that a stream keeps for telling its consumers.
const maxHearers = 4 * freshMsgs

// advanced says that messages up to last have become visible.
func (cs *consumerSet) advanced(last uint64) {
	cs.dispatch.Lock()
	cs.tell()
	cs.told.Store(max(last, cs.told.Load())) // also over sequences without a message
	cs.dispatch.Unlock()
	cs.catchUp()
}

// catchUp has the consumers look, soon, which messages went that they were not told
// of one by one. In the turn.
func (cs *consumerSet) catchUp() {
	if cs.shrunk.Load() && cs.count(true) > 0 {
		cs.stream.exclusivelyLater(func() {
			if cs.shrunk.Load() {
				cs.lost()
			}
		}, nil)
	}
}

// removed says that a message is gone, whatever for: limits, expiry, deletion,
// acknowledgements. Called on any goroutine.
func (cs *consumerSet) removed(seq uint64, subject string) {
	cs.dispatch.Lock()
	defer cs.dispatch.Unlock()
	cs.tell()
	cs.each(subject, func(c *Consumer) {
		if seq > c.floor.Load() {
			cs.note(c, streamEvent{seq: seq, matches: true})
		}
	})
	if d := &cs.dispatch; len(d.strays) > 0 {
		d.strays = slices.DeleteFunc(d.strays, func(s stray) bool {
			if seq < s.through {
				cs.note(s.c, streamEvent{seq: seq})
			}
			return s.c.floor.Load() >= s.through
		})
	}
	cs.run()
}

// interested reports whether a consumer's filter matches subject, so that a
// stream with interest retention stores the message. Called once per message.
func (cs *consumerSet) interested(subject string) bool {
	if cs.blind.Load() {
		return true
	}
	cs.dispatch.Lock()
	defer cs.dispatch.Unlock()
	return len(cs.dispatch.all) > 0 || cs.dispatch.filtered.HasInterest(asBytes(subject))
}

// checkUpdate refuses a configuration that the consumers that exist do not fit
// into (consumer_limits).
func (cs *consumerSet) checkUpdate(cfg *jsapi.StreamConfig) *jsapi.Error {
	var violated []string
	limits := cfg.ConsumerLimits
	for _, c := range cs.list() {
		cc := c.config.Load()
		if limits.MaxAckPending > 0 && cc.MaxAckPending > limits.MaxAckPending ||
			limits.InactiveThreshold > 0 && cc.InactiveThreshold > limits.InactiveThreshold {
			violated = append(violated, c.name)
		}
	}
	if len(violated) > 0 {
		return jsapi.ErrStreamUpdate.With("change to limits violates consumers: " + strings.Join(violated, ", "))
	}
	return nil
}

// updated says that the stream's configuration has changed.
func (cs *consumerSet) updated(old, cfg *jsapi.StreamConfig) {
	if old.Retention != cfg.Retention {
		go cs.recheck()
	}
}

// count is the number of consumers; without internal, direct ones do not
// count. Called on any goroutine.
func (cs *consumerSet) count(internal bool) int {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	if internal {
		return len(cs.byName)
	}
	return len(cs.byName) - cs.direct
}

// limited is the number of consumers that count for limits: not those that servers
// made for mirrors and sources.
func (cs *consumerSet) limited() int {
	n := 0
	for _, c := range cs.list() {
		if cfg := c.config.Load(); !cfg.Direct && !cfg.Sourcing {
			n++
		}
	}
	return n
}

// stop makes the consumers' states durable and ends them. It may block.
func (cs *consumerSet) stop() {
	all := cs.list()
	for _, c := range all {
		status := ""
		if c.config.Load().Replicas <= 1 {
			status = "409 Server Shutdown"
		}
		c.end(status, true)
	}
	if cs.queue != nil {
		// Until all runs are through, and what waits for them is answered.
		if err := cs.queue.Perform(&commit.Op{Do: func() error { return nil }}); err != nil {
			cs.stream.engine.event(ErrorEvent{"stopping the consumers of '" + cs.stream.account.name + " > " + cs.stream.name + "': " + err.Error()})
		}
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16) // as many as sync at a time
	for _, c := range all {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wg.Done() }()
			if c.log != nil {
				if err := c.log.close(); err != nil {
					cs.stream.engine.event(ErrorEvent{"stopping consumer '" + c.path() + "': " + err.Error()})
				}
			}
		}()
	}
	wg.Wait()
}

// deleteAll deletes the consumers with their advisories, before the stream goes
// with all its files. It may block.
func (cs *consumerSet) deleteAll() {
	cs.change.Lock()
	defer cs.change.Unlock()
	all := cs.list()
	for _, c := range all {
		if cs.drop(c) {
			c.end("409 Consumer Deleted", false)
			if !c.config.Load().Direct {
				c.adviseAction("DELETED", "delete")
			}
		}
	}
	if cs.queue == nil || len(all) == 0 {
		return
	}
	dir := path.Dir(all[0].relativePath())
	if err := cs.queue.Perform(&commit.Op{Forget: dir}); err != nil {
		cs.stream.engine.event(ErrorEvent{"deleting the consumers in " + dir + ": " + err.Error()})
	}
	for _, c := range all {
		if c.log != nil {
			c.log.drop()
		}
	}
}

// remove deletes a consumer. It reports false if it was gone already. An error says
// that it may be back after a restart.
func (cs *consumerSet) remove(c *Consumer) (bool, error) {
	cs.change.Lock()
	defer cs.change.Unlock()
	if !cs.drop(c) {
		return false, nil
	}
	c.end("409 Consumer Deleted", false)
	var err error
	if c.log != nil {
		if err = c.log.remove(); err != nil {
			cs.stream.engine.event(ErrorEvent{"deleting consumer '" + c.path() + "': " + err.Error()})
		}
	}
	if !c.config.Load().Direct {
		c.adviseAction("DELETED", "delete")
	}
	return true, err
}

// expire deletes a consumer that nobody uses.
func (cs *consumerSet) expire(c *Consumer) {
	if gone, _ := cs.remove(c); gone && !cs.stream.closed.Load() {
		cs.recheck()
	}
}

// Consumers returns the consumers of the stream, sorted by name, internal ones
// included.
func (st *Stream) Consumers() []*Consumer { return st.consumers.list() }

// Name is the consumer's name.
func (c *Consumer) Name() string { return c.name }

// Config is the current configuration; it must not be changed.
func (c *Consumer) Config() *jsapi.ConsumerConfig { return c.config.Load() }

// Info describes the consumer as LIST does.
func (c *Consumer) Info() *jsapi.ConsumerInfo { return c.info(false) }
