package jetstream

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/natsproto"
)

const (
	apiPrefix           = "$JS.API."
	requiredLevelHeader = "Nats-Required-Api-Level"

	// An error that a server with more knowledge could answer better waits this long.
	delayedReply = 500 * time.Millisecond
	// A request that takes longer than this is logged.
	slowRequest = 2 * time.Second
)

// request is one API request. Its bytes are its own.
type request struct {
	account  *Account
	endpoint *endpoint
	subject  string
	args     []string // tokens behind the endpoint's verb
	reply    []byte
	header   []byte
	body     []byte
	client   json.RawMessage

	// What the endpoint may set before it returns.
	delayed      bool   // answer after delayedReply
	silent       bool   // do not answer
	unaudited    bool   // no audit advisory and no counting of a success
	replyHeaders []byte // header block of the reply
	after        func() // called when the reply was sent

	next *request // an identical request that shares this one's execution
	held int64    // bytes that count as held by the pool until the answer
}

// endpoint is one line of the API's table of subjects.
type endpoint struct {
	verb  string // "STREAM.CREATE"
	args  int    // tokens behind it; anyArgs: two or more, the last holding the rest
	kind  string // of the reply, without jsapi.TypePrefix
	flags endpointFlags
	// failure makes the endpoint's reply that carries only an error.
	failure func(*jsapi.Error) apiReply
	serve   func(*request) apiReply
}

type endpointFlags uint8

const (
	infoQueue   endpointFlags = 1 << iota // waits in the queue of info requests
	clusterOnly                           // a standalone server answers 10010
	emptyBody                             // a body is error 10038
	shared                                // identical requests under way share one execution
	ownChecks                             // checks level and account itself, since its order differs
	unrecorded                            // neither counted nor told to the audit
)

// apiReply is a reply: a pointer to a struct that begins with a jsapi.Response.
type apiReply interface{ Base() *jsapi.Response }

// newEndpoint makes a table line out of a function that fills in a reply. When
// it returns an error, the reply is the zero T with that error.
func newEndpoint[T any, P interface {
	*T
	apiReply
}](verb string, args int, kind string, flags endpointFlags, serve func(*request, P) *jsapi.Error) *endpoint {
	typ := jsapi.TypePrefix + kind
	failure := func(err *jsapi.Error) apiReply {
		p := P(new(T))
		p.Base().Type, p.Base().Error = typ, err
		if l, ok := any(p).(interface{ EmptyLists() }); ok {
			l.EmptyLists()
		}
		return p
	}
	ep := &endpoint{verb: verb, args: args, kind: kind, flags: flags, failure: failure}
	ep.serve = func(r *request) apiReply {
		p := P(new(T))
		p.Base().Type = typ
		if err := serve(r, p); err != nil {
			return failure(err)
		}
		return p
	}
	return ep
}

// decode parses the body as the engine's strictness demands.
func (r *request) decode(v any) *jsapi.Error {
	ignored, err := jsapi.Decode(r.body, v, !r.account.engine.opts.Lenient)
	if ignored != "" && r.account.engine.api.mayWarn() {
		r.account.engine.event(WarningEvent{"Invalid JetStream request '" + r.account.name + " > " + r.subject + "': " + ignored})
	}
	return err
}

// decodeOptional is decode for endpoints that ignore a body that is no JSON.
func (r *request) decodeOptional(v any) *jsapi.Error {
	if !jsapi.IsJSON(r.body) {
		return nil
	}
	return r.decode(v)
}

// checks are those that nearly every endpoint begins with.
func (r *request) checks() *jsapi.Error {
	if err := checkLevel(r.header); err != nil {
		return err
	}
	if !r.account.Enabled() {
		return jsapi.ErrNotEnabledForAccount
	}
	if r.endpoint.flags&emptyBody != 0 && !jsapi.IsEmpty(r.body) {
		return jsapi.ErrNotEmptyRequest
	}
	return nil
}

// checkLevel refuses a request that demands a higher API level than ours.
func checkLevel(header []byte) *jsapi.Error {
	v := natsproto.HeaderValue(header, requiredLevelHeader)
	if v == nil {
		return nil
	}
	if n, err := strconv.Atoi(string(v)); err != nil || n > jsapi.Level {
		return jsapi.ErrRequiredApiLevel
	}
	return nil
}

// execute runs the endpoint and answers the request and those that share it.
func (r *request) execute() {
	began := time.Now()
	var reply apiReply
	if r.endpoint.flags&clusterOnly != 0 {
		reply = r.endpoint.failure(jsapi.ErrClusterRequired)
	} else if err := r.firstChecks(); err != nil {
		reply = r.endpoint.failure(err)
	} else {
		reply = r.endpoint.serve(r)
	}
	if took := time.Since(began); took > slowRequest {
		r.account.engine.event(WarningEvent{"Internal subscription on \"" + r.subject + "\" took too long: " + took.String()})
	}
	if r.delayed {
		time.AfterFunc(delayedReply, func() { r.respondAll(reply) })
		return
	}
	r.respondAll(reply)
}

func (r *request) firstChecks() *jsapi.Error {
	if r.endpoint.flags&ownChecks != 0 {
		return nil
	}
	return r.checks()
}

func (r *request) respondAll(reply apiReply) {
	waiting := r
	if r.endpoint.flags&shared != 0 {
		waiting = r.account.engine.api.finishShared(r)
	}
	for w := waiting; w != nil; w = w.next {
		w.delayed, w.silent, w.unaudited, w.replyHeaders = r.delayed, r.silent, r.unaudited, r.replyHeaders
		w.respond(reply)
		w.account.engine.api.held.Add(-w.held)
	}
}

// respond sends a reply, counts it and tells the audit.
func (r *request) respond(reply apiReply) {
	if r.silent {
		return
	}
	failed := reply.Base().Error != nil
	recorded := (failed || !r.unaudited) && r.endpoint.flags&unrecorded == 0
	body, err := json.Marshal(reply)
	if err != nil { // no type of a reply can fail to marshal
		r.account.engine.event(ErrorEvent{"encoding the reply to " + r.subject + ": " + err.Error()})
		return
	}
	if recorded {
		r.account.apiTotal.Add(1)
		if failed {
			r.account.apiErrors.Add(1)
		}
	}
	if len(r.reply) > 0 {
		r.account.publish(r.reply, nil, r.replyHeaders, body)
	}
	if recorded {
		r.audit(body)
	}
	if r.after != nil {
		r.after()
	}
}

func (r *request) audit(response []byte) {
	const subject = "$JS.EVENT.ADVISORY.API"
	a := r.account
	if !a.bus.Interest(subject, "") {
		return
	}
	a.advise(subject, &jsapi.APIAudit{
		Event: newEvent(jsapi.AdvisoryPrefix + "api_audit"), Server: a.engine.opts.ServerName,
		Client: clientOrNull(r.client), Subject: r.subject, Request: string(r.body), Response: string(response),
		Domain: a.engine.opts.Domain,
	})
}

func clientOrNull(c json.RawMessage) json.RawMessage {
	if len(c) == 0 {
		return json.RawMessage("null")
	}
	return c
}

// anyArgs as endpoint.args: a subject with two or more tokens; what is behind
// the first two is the third argument.
const anyArgs = -1

// endpoints by verb. A verb may have several lines that differ in the number of
// arguments.
var endpoints = func() map[string][]*endpoint {
	m := make(map[string][]*endpoint)
	for _, list := range [][]*endpoint{accountEndpoints, streamEndpoints, messageEndpoints, consumerEndpoints, clusterEndpoints} {
		for _, ep := range list {
			m[ep.verb] = append(m[ep.verb], ep)
		}
	}
	return m
}()

// findEndpoint looks up what follows "$JS.API.".
func findEndpoint(tail string) (*endpoint, []string) {
	// Verbs have one to three tokens: the longest that exists wins.
	cut := [4]int{}
	n := 0
	for i := 0; i <= len(tail) && n < 3; i++ {
		if i == len(tail) || tail[i] == '.' {
			n++
			cut[n] = i
		}
	}
	for ; n > 0; n-- {
		list := endpoints[tail[:cut[n]]]
		if list == nil {
			continue
		}
		var args []string
		if cut[n] < len(tail) {
			args = strings.Split(tail[cut[n]+1:], ".")
		}
		for _, ep := range list {
			if ep.args == len(args) {
				return ep, args
			}
			if ep.args == anyArgs && len(args) > 2 {
				return ep, append(args[:2:2], strings.Join(args[2:], "."))
			}
		}
	}
	return nil, nil
}

// apiPool is the two queues of requests and the workers that serve them.
type apiPool struct {
	engine *Engine
	opts   *Options

	mu      sync.Mutex // leaf lock
	wake    sync.Cond
	queues  [2]requestQueue // requests, info requests
	idle    int
	started int // and not blocked
	blocked int // wait for the disk (blocking)
	closed  bool
	sharing map[string]*request // execution under way by account, subject and body
	sharers int                 // that wait for one of somebody else

	inflight atomic.Int64 // queued and running
	held     atomic.Int64 // bytes of all requests without an answer
	warned   atomic.Int64 // when a request's unknown members were last logged, ns
	workers  sync.WaitGroup
}

type requestQueue struct {
	list     []*request
	limit    int
	dropped  int64     // since the last report
	reported time.Time // when that was
}

const (
	reqQueue = iota
	infQueue
)

// maxHeld bounds the bytes of the requests that wait: as many as the queues take
// could be of a megabyte each. One that is larger by itself is taken alone.
const maxHeld = 64 << 20

// size is about what a request takes while it waits.
func (r *request) size() int64 {
	const fixed = 512 // the struct, its entry in a queue
	return int64(fixed + len(r.subject) + len(r.reply) + len(r.header) + len(r.body) + len(r.client))
}

func (p *apiPool) init(o *Options, e *Engine) {
	p.engine, p.opts = e, o
	p.wake.L = &p.mu
	p.queues[reqQueue].limit, p.queues[infQueue].limit = o.RequestQueueLimit, o.InfoQueueLimit
	p.sharing = make(map[string]*request)
}

// mayWarn lets one warning a second through.
func (p *apiPool) mayWarn() bool {
	now, last := time.Now().UnixNano(), p.warned.Load()
	return now-last >= int64(time.Second) && p.warned.CompareAndSwap(last, now)
}

func (p *apiPool) close() {
	p.mu.Lock()
	p.closed = true
	p.wake.Broadcast()
	p.mu.Unlock()
	p.workers.Wait()
}

// submit queues a request, or refuses it at once if its queue is full.
func (p *apiPool) submit(r *request) {
	which := reqQueue
	if r.endpoint.flags&infoQueue != 0 {
		which = infQueue
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	q := &p.queues[which]
	waiting := len(q.list)
	if r.endpoint.flags&shared != 0 {
		waiting += p.sharers
	}
	r.held = r.size()
	if held := p.held.Load(); waiting >= q.limit || held > 0 && held+r.held > maxHeld {
		q.dropped++
		now := time.Now()
		var dropped int64
		if now.Sub(q.reported) >= time.Second {
			dropped, q.dropped, q.reported = q.dropped, 0, now
		} else if q.dropped == 1 {
			time.AfterFunc(time.Second-now.Sub(q.reported), func() { p.reportDropped(which) })
		}
		p.mu.Unlock()
		if dropped > 0 {
			p.engine.limitReached(which == infQueue, dropped)
		}
		if len(r.reply) > 0 {
			r.respond(r.endpoint.failure(jsapi.ErrStreamTooManyRequests))
		}
		return
	}
	p.held.Add(r.held)
	if r.endpoint.flags&shared != 0 {
		key := r.shareKey()
		if first := p.sharing[key]; first != nil {
			r.next, first.next = first.next, r
			p.sharers++
			p.mu.Unlock()
			return
		}
		p.sharing[key] = r
	}
	p.inflight.Add(1)
	q.list = append(q.list, r)
	if p.idle > 0 {
		p.wake.Signal()
	} else if p.started < p.opts.Workers {
		p.startWorker()
	}
	p.mu.Unlock()
}

// reportDropped reports refusals that came within a second of the last report.
func (p *apiPool) reportDropped(which int) {
	p.mu.Lock()
	q := &p.queues[which]
	dropped := q.dropped
	if dropped > 0 {
		q.dropped, q.reported = 0, time.Now()
	}
	p.mu.Unlock()
	if dropped > 0 {
		p.engine.limitReached(which == infQueue, dropped)
	}
}

func (r *request) shareKey() string {
	return r.account.name + "\x00" + r.subject + "\x00" + string(r.header) + "\x00" + string(r.body)
}

// finishShared ends the sharing of r's execution and returns all that shared it,
// in the order of their arrival.
func (p *apiPool) finishShared(r *request) *request {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sharing, r.shareKey())
	var others *request
	for w := r.next; w != nil; {
		w.next, others, w = others, w, w.next
		p.sharers--
	}
	r.next = others
	return r
}

// workerIdle is how long a worker waits for a request before it ends, so that a
// quiet server has none.
const workerIdle = 5 * time.Second

func (p *apiPool) work() {
	defer p.workers.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		r := p.next()
		if r == nil {
			if p.closed || !p.waitForWork() {
				p.started--
				return
			}
			continue
		}
		p.mu.Unlock()
		r.execute()
		p.inflight.Add(-1)
		p.mu.Lock()
		if p.started > p.opts.Workers { // one that was blocked came back
			p.started--
			return
		}
	}
}

// maxBlocked bounds the workers that wait for the disk while others work.
const maxBlocked = 256

// blocking calls f on a worker, which waits for the disk there: another one serves
// requests meanwhile, so that what can share a sync does.
func (p *apiPool) blocking(f func()) {
	p.mu.Lock()
	if p.blocked == maxBlocked {
		p.mu.Unlock()
		f()
		return
	}
	p.blocked++
	p.started--
	if len(p.queues[reqQueue].list)+len(p.queues[infQueue].list) > 0 && p.idle == 0 {
		p.startWorker()
	}
	p.mu.Unlock()
	f()
	p.mu.Lock()
	p.blocked--
	p.started++
	p.mu.Unlock()
}

// startWorker is called under mu.
func (p *apiPool) startWorker() {
	p.started++
	p.workers.Add(1)
	go p.work()
}

// waitForWork waits until there is a request, and reports false when none came
// in time. Under mu.
func (p *apiPool) waitForWork() bool {
	expired := false
	t := time.AfterFunc(workerIdle, func() {
		p.mu.Lock()
		expired = true
		p.wake.Broadcast()
		p.mu.Unlock()
	})
	defer t.Stop()
	p.idle++
	defer func() { p.idle-- }()
	for !p.closed && !expired && len(p.queues[reqQueue].list)+len(p.queues[infQueue].list) == 0 {
		p.wake.Wait()
	}
	return len(p.queues[reqQueue].list)+len(p.queues[infQueue].list) > 0
}

// next takes the next request; info requests run when there are no others.
// Under mu.
func (p *apiPool) next() *request {
	for i := range p.queues {
		q := &p.queues[i]
		if len(q.list) > 0 && !p.closed {
			r := q.list[0]
			q.list[0] = nil
			if q.list = q.list[1:]; len(q.list) == 0 {
				q.list = nil
			}
			return r
		}
	}
	return nil
}

// limitReached tells that requests were refused.
func (e *Engine) limitReached(info bool, dropped int64) {
	e.event(APILimitEvent{Info: info, Dropped: dropped})
	const subject = "$JS.EVENT.ADVISORY.API.LIMIT_REACHED"
	if bus := e.systemBus(); bus != nil && bus.Interest(subject, "") {
		publishJSON(bus, subject, &jsapi.APILimitReached{
			Event: newEvent(jsapi.AdvisoryPrefix + "api_limit_reached"), Server: e.opts.ServerName,
			Domain: e.opts.Domain, Dropped: dropped,
		})
	}
}
