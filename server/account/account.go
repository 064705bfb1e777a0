package account

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/natsd/natsd/server/logging"
	"github.com/natsd/natsd/subjecttree"
)

// Stats count the messages of clients. Sizes are header and payload.
type Stats struct {
	InMsgs, InBytes, OutMsgs, OutBytes atomic.Int64
	SlowConsumers                      atomic.Int64
}

// Set is the accounts of one server.
type Set struct {
	// Total counts over all accounts.
	Total Stats
	// NameHash stands for the server's name in reply subjects: eight characters,
	// set before the first account is made.
	NameHash string
	// ClientsChanged, if not nil, is called after the number of clients of an
	// account changed; set before the first account is made. It must not block.
	ClientsChanged func(*Account)

	mu     sync.RWMutex // guards byName
	byName map[string]*Account

	// wiring guards the shadows of all subscriptions and the change of
	// configurations: an import reaches into another account, so a lock of one
	// account would not do. Taken before the locks of lists.
	wiring sync.Mutex
}

// NewSet returns an empty set.
func NewSet() *Set { return &Set{byName: map[string]*Account{}} }

// Get returns the account called name, nil if there is none.
func (s *Set) Get(name string) *Account {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byName[name]
}

// GetOrAdd returns the account called name, a new one without configuration if
// there is none.
func (s *Set) GetOrAdd(name string, opts subjecttree.ListOptions) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.byName[name]
	if a == nil {
		quoted, _ := json.Marshal(name) // a string: it cannot fail
		a = &Account{name: name, quoted: string(quoted), set: s, list: subjecttree.NewList[*Sub](opts), total: &s.Total}
		a.responses.init()
		a.config.Store(&Config{Limits: Unlimited})
		s.byName[name] = a
	}
	return a
}

// All returns the accounts in no order.
func (s *Set) All() []*Account {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*Account, 0, len(s.byName))
	for _, a := range s.byName {
		all = append(all, a)
	}
	return all
}

// Remove takes an account out whose clients are gone.
func (s *Set) Remove(a *Account) {
	a.Configure(&Config{Limits: Unlimited})
	a.responses.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName[a.name] == a {
		delete(s.byName, a.name)
	}
}

// Stop ends the timers of all accounts.
func (s *Set) Stop() {
	for _, a := range s.All() {
		a.responses.stop()
	}
}

// Limits of an account; negative means none.
type Limits struct {
	MaxConnections, MaxSubscriptions, MaxPayload, MaxLeafNodes int64
}

// Unlimited is an account without limits.
var Unlimited = Limits{-1, -1, -1, -1}

// Config is what an administrator says about an account. It is immutable once it
// was given to Configure.
type Config struct {
	Limits   Limits
	Exports  []*Export
	Services []*ServiceImport
	Streams  []*StreamImport
	Mappings *subjecttree.Mappings // nil: none
	Trace    *Trace
}

// Trace is the destination of traces of messages with a trace context.
type Trace struct {
	Destination string
	Sampling    int // percent
}

// Account is an isolated space of subjects. Its methods are safe for concurrent
// use.
type Account struct {
	name    string
	quoted  string // the name as JSON
	set     *Set
	total   *Stats
	list    *subjecttree.List[*Sub]
	config  atomic.Pointer[Config]
	stats   Stats
	watches watches

	// services are the subscriptions of the service imports; guarded by
	// set.wiring.
	services []*Sub

	responses responses
	awaiting  awaiting

	// clients is the number of connections that are bound to the account;
	// limits are checked against it.
	clients atomic.Int64

	// FullSubs bounds how often the log tells of connections of the account that
	// have as many subscriptions as they may.
	FullSubs logging.Seldom
}

func (a *Account) Name() string { return a.name }

// QuotedName is the name as a JSON string.
func (a *Account) QuotedName() string { return a.quoted }
func (a *Account) Stats() *Stats      { return &a.stats }

// Config is the present configuration, never nil.
func (a *Account) Config() *Config { return a.config.Load() }

// List is the subscription list, for those who look at it.
func (a *Account) List() *subjecttree.List[*Sub] { return a.list }

// Clients is the number of connections bound to the account.
func (a *Account) Clients() int64 { return a.clients.Load() }

// Bind counts one more connection. It returns false, and does not count it, if
// that is over the limit.
func (a *Account) Bind() bool {
	if n := a.clients.Add(1); n > limit(a.Config().Limits.MaxConnections) {
		a.clients.Add(-1)
		return false
	}
	a.clientsChanged()
	return true
}

func (a *Account) clientsChanged() {
	if f := a.set.ClientsChanged; f != nil {
		f(a)
	}
}

func limit(n int64) int64 {
	if n < 0 {
		return 1<<63 - 1
	}
	return n
}

// Unbind takes back what Bind counted.
func (a *Account) Unbind() {
	a.clients.Add(-1)
	a.clientsChanged()
}

// Received counts messages published by clients of the account.
func (a *Account) Received(msgs, bytes int64) {
	a.stats.InMsgs.Add(msgs)
	a.stats.InBytes.Add(bytes)
	a.total.InMsgs.Add(msgs)
	a.total.InBytes.Add(bytes)
}

// NewSub returns a subscription that Subscribe can add. It may be given to
// Unsubscribe before, and is not added then.
func (a *Account) NewSub(subject, queue, sid string, to Receiver) *Sub {
	return &Sub{Subject: subject, Queue: queue, SID: sid, To: to, acc: a}
}

// Subscribe adds s. The error is subjecttree.ErrInvalidSubject or nil.
func (a *Account) Subscribe(s *Sub) error {
	if s.acc != a {
		s.acc = a
	}
	if err := a.list.Insert(s.Subject, s.Queue, s); err != nil {
		return err
	}
	if len(a.Config().Streams) > 0 {
		a.set.wiring.Lock()
		a.wire(s)
		a.set.wiring.Unlock()
	}
	a.watches.changed(a, s)
	if s.closed.Load() {
		// It was ended while it was being added.
		a.list.Remove(s.Subject, s.Queue, s)
		a.afterRemoval(s)
	}
	return nil
}

// Unsubscribe removes s. It may be called more than once.
func (a *Account) Unsubscribe(s *Sub) {
	if s.closed.Swap(true) {
		return
	}
	a.list.Remove(s.Subject, s.Queue, s)
	a.afterRemoval(s)
}

// UnsubscribeAll removes many subscriptions at once.
func (a *Account) UnsubscribeAll(subs []*Sub) {
	batch := make([]subjecttree.Sub[*Sub], 0, len(subs))
	for _, s := range subs {
		if !s.closed.Swap(true) {
			batch = append(batch, subjecttree.Sub[*Sub]{Subject: s.Subject, Queue: s.Queue, Value: s})
		}
	}
	a.list.RemoveBatch(batch)
	for _, b := range batch {
		a.afterRemoval(b.Value)
	}
}

func (a *Account) afterRemoval(s *Sub) {
	if s.wired.Load() {
		a.set.wiring.Lock()
		a.unwire(s)
		a.set.wiring.Unlock()
	}
	a.watches.changed(a, s)
	a.awaiting.interestGone(a, s.Subject)
}

// Configure replaces the configuration: service imports and the shadows of
// stream imports follow. Imports that are the same as before stay as they are,
// so that no message through them is lost; they take the places of their equals
// in c.
func (a *Account) Configure(c *Config) {
	a.set.wiring.Lock()
	defer a.set.wiring.Unlock()
	old := a.config.Load()
	changed := keepStreams(old.Streams, c.Streams)
	services := a.keepServices(c.Services)
	a.config.Store(c)
	gone := a.services
	a.services = services
	for _, s := range gone {
		if !slices.Contains(services, s) {
			s.closed.Store(true)
			a.list.Remove(s.Subject, "", s)
		}
	}
	for _, imp := range changed {
		for _, s := range a.list.ReverseMatch(imp.Local) {
			a.unwire(s.Value)
			a.wire(s.Value)
		}
	}
}

// keepServices returns the subscriptions of imports: those that exist for equal
// ones, and new ones.
func (a *Account) keepServices(imports []*ServiceImport) []*Sub {
	kept := make(map[string][]*Sub, len(a.services))
	for _, s := range a.services {
		kept[s.Subject] = append(kept[s.Subject], s)
	}
	subs := make([]*Sub, 0, len(imports))
next:
	for i, imp := range imports {
		for j, s := range kept[imp.Local] {
			if before := s.To.(*ServiceImport); before.equal(imp) {
				kept[imp.Local] = slices.Delete(kept[imp.Local], j, j+1)
				imports[i] = before
				subs = append(subs, s)
				continue next
			}
		}
		s := &Sub{Subject: imp.Local, To: imp, acc: a}
		if a.list.Insert(s.Subject, "", s) == nil {
			subs = append(subs, s)
		}
	}
	return subs
}

// keepStreams puts the old imports in the places of their equals, and returns
// those on either side that have none.
func keepStreams(old, new []*StreamImport) (changed []*StreamImport) {
	kept := make(map[*StreamImport]bool, len(old))
	for i, imp := range new {
		j := slices.IndexFunc(old, func(o *StreamImport) bool { return !kept[o] && o.equal(imp) })
		if j < 0 {
			changed = append(changed, imp)
			continue
		}
		kept[old[j]] = true
		new[i] = old[j]
	}
	for _, imp := range old {
		if !kept[imp] {
			changed = append(changed, imp)
		}
	}
	return changed
}

// Interested tells whether a message on subject would reach anybody other than
// the receivers that ignore says yes to. With a queue, only members of that
// group count.
func (a *Account) Interested(subject, queue string, ignore func(*Sub) bool) bool {
	if queue == "" && isServiceReply([]byte(subject)) && a.responses.wanted([]byte(subject)) {
		return true
	}
	var r subjecttree.Result[*Sub]
	a.list.MatchInto(&r, []byte(subject))
	counts := func(s *Sub) bool { return !s.closed.Load() && !ignore(s) }
	if queue == "" {
		for _, s := range r.Plain {
			if counts(s) {
				return true
			}
		}
	}
	for _, g := range r.Groups {
		if queue != "" && g.Queue != queue {
			continue
		}
		for _, s := range g.Members {
			if counts(s) {
				return true
			}
		}
	}
	return false
}
