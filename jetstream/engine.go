package jetstream

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
)

// Engine is the JetStream of one server: the accounts that use it, one timer
// queue, one pool of API workers, and the store directory.
//
// Locks: Engine.mu -> Account.mu -> Stream (see there). Nothing is called with
// mu held.
type Engine struct {
	opts        Options
	disk        *disk
	timers      timers
	consumers   consumerTurns
	checkpoints checkpoints
	api         apiPool
	usage       serverUsage

	dedupIDs   atomic.Int64  // in the duplicate windows of all streams
	duplicates atomic.Uint64 // of all streams since the server started

	maxMemory, maxStore atomic.Int64 // as Options.MaxMemory and MaxStore

	countSlice time.Duration // recountSlice, but for tests
	recovering chan struct{} // one place for each stream that is being opened
	turns      chan func()   // to goroutines that have run a turn and wait for another
	ended      chan struct{} // closed at the end of Close

	mu       sync.RWMutex
	accounts map[string]*Account
	system   Bus            // of the system account; nil if there is none
	serving  []Subscription // of the API's system endpoints
	closed   bool
	removed  map[string]bool // accounts that were removed: what the disk holds of them may have changed since it was opened

	openBatches     atomic.Int64 // atomic batches, all streams
	stagedBytes     atomic.Int64 // in them
	openFastBatches atomic.Int64
	directBatches   atomic.Int64
	directSlices    chan struct{} // a place for each slice of a batch that is being sent
	multiLasts      chan struct{} // a place for each multi_last that is being answered
	transfers       atomic.Int64  // snapshots and restores
	restoring       atomic.Int64  // bytes of chunks that wait for restores
}

// Defaults of Options and Limits.
const (
	defaultQueueLimit      = 10_000    // requests waiting: a second of work
	defaultMaxBufferedMsgs = 100_000   // one stream's inbox, as the reference has it
	defaultMaxBufferedSize = 128 << 20 // bytes of it
	defaultMaxPayload      = 1 << 20
	defaultMaxPending      = 64 << 20
	maxWorkers             = 16

	defaultBatchesPerStream     = 50
	defaultBatchesTotal         = 1000
	defaultFastBatchesPerStream = 1000
	defaultFastBatchesTotal     = 50_000
	defaultBatchMaxMsgs         = 1000
	defaultBatchTimeout         = 10 * time.Second
)

// ErrClosed is returned by an engine that was closed.
var ErrClosed = errors.New("jetstream is closed")

func (o *Options) setDefaults() {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&o.RequestQueueLimit, defaultQueueLimit)
	set(&o.InfoQueueLimit, defaultQueueLimit)
	set(&o.Workers, min(maxWorkers, max(4, runtime.GOMAXPROCS(0))))
	set(&o.MaxDedupIDs, MostDedupIDs)
	set(&o.MaxBufferedMsgs, defaultMaxBufferedMsgs)
	set(&o.MaxPayload, defaultMaxPayload)
	set(&o.MaxPending, defaultMaxPending)
	if o.MaxBufferedSize <= 0 {
		o.MaxBufferedSize = defaultMaxBufferedSize
	}
	set(&o.Limits.BatchMaxMsgs, defaultBatchMaxMsgs)
	if o.Limits.BatchTimeout <= 0 {
		o.Limits.BatchTimeout = defaultBatchTimeout
	}
	if o.Events == nil {
		o.Events = func(Event) {}
	}
}

// Open takes the store directory and its lock, and replays the commit journal.
// Streams are opened by AddAccount.
func Open(o Options) (*Engine, error) {
	o.setDefaults()
	e := &Engine{opts: o, accounts: make(map[string]*Account), removed: make(map[string]bool), recovering: make(chan struct{}, maxRecovering), turns: make(chan func()), directSlices: make(chan struct{}, maxDirectSlices), multiLasts: make(chan struct{}, maxMultiLasts), ended: make(chan struct{}), countSlice: recountSlice}
	e.checkpoints.write, e.checkpoints.ended = (*consumerLog).checkpointed, e.ended
	d, err := openDisk(&e.opts, e.storeEvent)
	if err != nil {
		return nil, err
	}
	e.disk = d
	e.SetLimits(o.MaxMemory, o.MaxStore)
	e.api.init(&e.opts, e)
	e.consumers.engine = e
	return e, nil
}

// Close stops all accounts in parallel, makes everything durable and releases
// the store directory. Replies that wait for a sync are still sent.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return ErrClosed
	}
	e.closed = true
	serving := e.serving
	accounts := make([]*Account, 0, len(e.accounts))
	for _, a := range e.accounts {
		accounts = append(accounts, a)
	}
	e.mu.Unlock()
	for _, s := range serving {
		s.Unsubscribe()
	}
	e.api.close()
	e.timers.close()
	for _, a := range accounts {
		a.stop()
	}
	close(e.ended)
	return e.disk.close()
}

// SetSystem names the bus of the system account, where the server's advisories
// go, and serves the API's system endpoints there.
func (e *Engine) SetSystem(bus Bus) error {
	e.mu.Lock()
	e.system = bus
	e.mu.Unlock()
	prefixes := []string{apiPrefix}
	if d := e.opts.Domain; d != "" {
		prefixes = append(prefixes, domainPrefix(d))
	}
	for _, prefix := range prefixes {
		sub, err := bus.Subscribe(prefix+">", "", func(msgs []Msg) { e.serveSystem(bus, len(prefix), msgs) })
		if err != nil {
			return err
		}
		e.mu.Lock()
		e.serving = append(e.serving, sub)
		e.mu.Unlock()
	}
	return nil
}

// SetLimits replaces the limits of memory and of files, in bytes for all accounts: negative is unlimited, 0 is none.
func (e *Engine) SetLimits(memory, store int64) {
	e.maxMemory.Store(memory)
	e.maxStore.Store(store)
}

// AddAccount serves the API of an account on its bus. With a config JetStream
// is enabled and the account's streams are opened, several at a time; a stream
// that cannot be opened is reported as an event and keeps none of the others
// from starting. Without a config every request is answered with 10039.
func (e *Engine) AddAccount(name string, bus Bus, config *AccountConfig) (*Account, error) {
	a := newAccount(e, name, bus, config)
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, ErrClosed
	}
	if e.accounts[name] != nil {
		e.mu.Unlock()
		return nil, errors.New("account " + name + " is already there")
	}
	e.accounts[name] = a
	e.mu.Unlock()
	if err := a.start(); err != nil {
		e.RemoveAccount(name)
		return nil, err
	}
	return a, nil
}

// RemoveAccount stops serving an account. Its data stay.
func (e *Engine) RemoveAccount(name string) {
	e.mu.Lock()
	a := e.accounts[name]
	delete(e.accounts, name)
	e.removed[name] = true
	e.mu.Unlock()
	if a != nil {
		a.stop()
	}
}

// Account returns an account that was added, or nil.
func (e *Engine) Account(name string) *Account {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.accounts[name]
}

// Accounts returns all accounts that were added, in no order.
func (e *Engine) Accounts() []*Account {
	e.mu.RLock()
	defer e.mu.RUnlock()
	list := make([]*Account, 0, len(e.accounts))
	for _, a := range e.accounts {
		list = append(list, a)
	}
	return list
}

func (e *Engine) systemBus() Bus {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.system
}

func (e *Engine) event(ev Event) { e.opts.Events(ev) }

// storeEvent takes an event of the stores: a stream knows whether its store takes
// writes, also while nobody publishes. It is called with locks of the store.
func (e *Engine) storeEvent(ev msgstore.Event) {
	switch ev := ev.(type) {
	case msgstore.WriteFailed:
		if st := e.stream(ev.Account, ev.Stream); st != nil {
			st.storeFailed(ev.Err)
		}
	case msgstore.Repaired:
		if st := e.stream(ev.Account, ev.Stream); st != nil {
			st.failure.Store(nil)
			st.do(st.consumers.releaseAgain)
		}
	}
	e.event(StoreEvent{ev})
}

// stream returns a stream by the names of its account and itself, or nil.
func (e *Engine) stream(account, name string) *Stream {
	a := e.Account(account)
	if a == nil {
		return nil
	}
	return a.Stream(name)
}

// newEvent begins an advisory.
func newEvent(kind string) jsapi.Event {
	return jsapi.Event{Type: kind, ID: newID(), Time: time.Now().UTC()}
}

// turnIdle is how long a goroutine waits for another turn before it ends. Its
// stack has the size that a turn needs, which a new one would have to grow to.
const turnIdle = time.Second

// runTurn runs a turn on a goroutine that has nothing else to do.
func (e *Engine) runTurn(turn func()) {
	select {
	case e.turns <- turn:
	default:
		go e.takeTurns(turn)
	}
}

func (e *Engine) takeTurns(turn func()) {
	idle := time.NewTimer(turnIdle)
	defer idle.Stop()
	for {
		turn()
		idle.Reset(turnIdle)
		select {
		case turn = <-e.turns:
		case <-idle.C:
			return
		case <-e.ended:
			return
		}
	}
}
