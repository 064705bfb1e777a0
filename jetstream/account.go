package jetstream

import (
	"bytes"
	"encoding/json"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/natsd/natsd/jetstream/jsapi"
)

// Account is the JetStream of one account: its streams, its usage, and its API.
//
// mu guards streams, pending and config. It is held for look-ups only; streams
// are made and deleted outside of it, with their name in pending meanwhile.
type Account struct {
	engine *Engine
	name   string
	bus    Bus

	mu      sync.RWMutex
	config  *AccountConfig // nil: not enabled
	streams map[string]*Stream
	pending map[string]*pendingStream // creations, restores and deletions under way, by stream name
	offline map[string]*offlineStream // found on disk, but not usable by this server
	mirrors map[string][]*Stream      // up-to-date mirrors that answer direct gets for an origin, by its name
	changed sync.Cond                 // on mu: pending lost an entry
	stopped bool
	stops   chan struct{} // closed when stopped is set
	subs    []Subscription

	usage      accountUsage
	dedupIDs   atomic.Int64 // in the duplicate windows of its streams
	apiTotal   atomic.Uint64
	apiErrors  atomic.Uint64
	publishers sync.Pool // of Publisher
}

func newAccount(e *Engine, name string, bus Bus, config *AccountConfig) *Account {
	a := &Account{
		engine: e, name: name, bus: bus, config: config,
		streams: make(map[string]*Stream),
		pending: make(map[string]*pendingStream),
		offline: make(map[string]*offlineStream),
		mirrors: make(map[string][]*Stream),
	}
	a.stops = make(chan struct{})
	a.changed.L = &a.mu
	a.publishers.New = func() any { return bus.Publisher() }
	return a
}

// Name is the account's name.
func (a *Account) Name() string { return a.name }

// Enabled reports whether the account may use JetStream.
func (a *Account) Enabled() bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.config != nil
}

// stopping reports whether the account is being stopped.
func (a *Account) stopping() bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.stopped
}

// Config returns the account's limits; nil if it may not use JetStream.
func (a *Account) Config() *AccountConfig {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.config
}

// SetConfig changes the limits of an enabled account; what exists stays.
func (a *Account) SetConfig(config AccountConfig) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.config != nil {
		a.config = &config
	}
}

// Stream returns a stream by name, or nil.
func (a *Account) Stream(name string) *Stream {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.streams[name]
}

// Streams returns all streams, sorted by name.
func (a *Account) Streams() []*Stream {
	a.mu.RLock()
	list := make([]*Stream, 0, len(a.streams))
	for _, st := range a.streams {
		list = append(list, st)
	}
	a.mu.RUnlock()
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list
}

// start subscribes the API's subjects and opens the streams on disk. The API
// comes last, so that no request sees half of the streams.
func (a *Account) start() error {
	if a.Enabled() {
		a.recover()
	}
	type handler struct {
		subject string
		handle  Handler
	}
	handlers := []handler{{apiPrefix + ">", a.serveAPI}}
	if a.Enabled() {
		handlers = append(handlers, handler{"$JS.ACK.>", a.serveAcks}, handler{"$JS.FC.>", a.serveFlowControl})
	}
	if d := a.engine.opts.Domain; d != "" {
		handlers = append(handlers, handler{domainPrefix(d) + ">", a.serveDomain})
	}
	for _, h := range handlers {
		sub, err := a.bus.Subscribe(h.subject, "", h.handle)
		if err != nil {
			return err
		}
		a.mu.Lock()
		a.subs = append(a.subs, sub)
		a.mu.Unlock()
	}
	return nil
}

// stop ends the service of the account and stops its streams in parallel.
func (a *Account) stop() {
	a.mu.Lock()
	if !a.stopped {
		a.stopped = true
		close(a.stops)
	}
	subs := a.subs
	a.subs = nil
	for len(a.pending) > 0 {
		a.changed.Wait()
	}
	a.mu.Unlock()
	for _, s := range subs {
		s.Unsubscribe()
	}
	var wg sync.WaitGroup
	for _, st := range a.Streams() {
		wg.Go(func() { st.stop() })
	}
	wg.Wait()
}

// serveAPI takes requests off the bus: the quick ones are answered here, on the
// producer's goroutine, the others are queued.
func (a *Account) serveAPI(msgs []Msg) {
	var p Publisher
	for i := range msgs {
		m := &msgs[i]
		tail := m.Subject[len(apiPrefix):]
		if a.serveInline(&p, tail, m, len(msgs) == 1) {
			continue
		}
		a.submit(string(m.Subject), string(tail), m)
	}
	a.release(p)
}

// domainPrefix begins the subjects of the API of a domain.
func domainPrefix(domain string) string { return "$JS." + domain + ".API." }

// serveDomain serves the same API under the domain's prefix.
func (a *Account) serveDomain(msgs []Msg) {
	skip := len(domainPrefix(a.engine.opts.Domain))
	var p Publisher
	for i := range msgs {
		m := &msgs[i]
		tail := m.Subject[skip:]
		first, _, more := cutToken(tail)
		switch string(first) {
		case "$KV", "$OBJ": // not the API, but publishes to streams
			a.publisher(&p).Publish(tail, m.Reply, m.Header, m.Data)
			continue
		case "INFO":
			more = !more
		case "STREAM", "CONSUMER", "DIRECT", "META", "SERVER", "ACCOUNT":
		default:
			more = false
		}
		if !more { // the domain has no such subject
			a.noResponders(a.publisher(&p), m, nil, m.Subject)
			continue
		}
		if a.serveInline(&p, tail, m, len(msgs) == 1) {
			continue
		}
		a.submit(apiPrefix+string(tail), string(tail), m)
	}
	a.release(p)
}

func (a *Account) submit(subject, tail string, m *Msg) {
	ep, args := findEndpoint(tail)
	if ep == nil {
		return // another server may own it: silence
	}
	r := &request{account: a, endpoint: ep, subject: subject, args: args}
	n := len(m.Reply) + len(m.Header) + len(m.Data)
	buf := make([]byte, 0, n)
	cut := func(b []byte) []byte {
		start := len(buf)
		buf = append(buf, b...)
		return buf[start:len(buf):len(buf)]
	}
	r.reply, r.header, r.body = cut(m.Reply), cut(m.Header), cut(m.Data)
	if m.From != nil {
		r.client = m.From.ClientInfo()
	}
	a.engine.api.submit(r)
}

// publisher borrows a publisher into *p, unless there is one already.
func (a *Account) publisher(p *Publisher) Publisher {
	if *p == nil {
		*p = a.publishers.Get().(Publisher)
	}
	return *p
}

// release flushes a borrowed publisher and gives it back. nil does nothing.
func (a *Account) release(p Publisher) {
	if p != nil {
		p.Flush()
		a.publishers.Put(p)
	}
}

// publish sends one message at once.
func (a *Account) publish(subject, reply, header, data []byte) bool {
	var p Publisher
	ok := a.publisher(&p).Publish(subject, reply, header, data)
	a.release(p)
	return ok
}

// advise publishes an advisory in the account, if anyone listens there.
func (a *Account) advise(subject string, v any) {
	if a.bus.Interest(subject, "") {
		publishJSON(a.bus, subject, v)
	}
}

// adviseSystem publishes an advisory in the system account.
func (e *Engine) adviseSystem(subject string, v any) {
	if bus := e.systemBus(); bus != nil && bus.Interest(subject, "") {
		publishJSON(bus, subject, v)
	}
}

func publishJSON(bus Bus, subject string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		return // advisories are plain structs: they always marshal
	}
	p := bus.Publisher()
	p.Publish([]byte(subject), nil, nil, body)
	p.Flush()
}

// serveSystem serves the API's subjects in the system account, where JetStream
// is never enabled. prefix is the length of what precedes the endpoint's name.
func (e *Engine) serveSystem(bus Bus, prefix int, msgs []Msg) {
	p := bus.Publisher()
	for i := range msgs {
		m := &msgs[i]
		if len(m.Reply) == 0 || m.From == nil {
			continue
		}
		var reply any
		tail := string(m.Subject[prefix:])
		if name, ok := strings.CutPrefix(tail, "ACCOUNT.PURGE."); ok {
			go e.purgeAccount(bus, name, bytes.Clone(m.Reply))
			continue
		}
		kind := "system_response"
		if tail == "INFO" {
			kind = "account_info_response"
		}
		reply = &jsapi.Response{Type: jsapi.TypePrefix + kind, Error: jsapi.ErrNotEnabledForAccount}
		body, err := json.Marshal(reply)
		if err == nil {
			p.Publish(m.Reply, nil, nil, body)
		}
	}
	p.Flush()
}

// noResponders answers a request that is not for the streams of a, unless somebody else
// hears it, who may know them (an import of another account's). It does so as the server
// does where nobody listens to a subject, which is given in two parts.
func (a *Account) noResponders(p Publisher, m *Msg, prefix, subject []byte) {
	if len(m.Reply) == 0 || a.bus.Others(string(m.Subject)) {
		return
	}
	header := append(append([]byte("NATS/1.0 503\r\nNats-Subject: "), prefix...), subject...)
	header = append(header, "\r\n\r\n"...)
	p.Publish(m.Reply, nil, header, nil)
}

// statusHeader is a header block that is only a status line.
func statusHeader(status string) []byte { return []byte("NATS/1.0 " + status + "\r\n\r\n") }
