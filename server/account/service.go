package account

import (
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/msgtrace"
	"github.com/natsd/natsd/subjecttree"
)

const (
	// DefaultThreshold is how long an answer may take.
	DefaultThreshold = 2 * time.Minute

	// maxResponses bounds the requests of one exporting account that wait for
	// answers: some 30 MiB. A request beyond it is not delivered, which the
	// requester sees as no responders.
	maxResponses = 1 << 17

	// RequestInfo is the header that tells a service who asks.
	RequestInfo = "Nats-Request-Info"
)

// ResponseType says how many messages answer a request.
type ResponseType uint8

const (
	Singleton ResponseType = iota
	Streamed
	Chunked
)

// Export is a stream or service that an account offers.
type Export struct {
	Service       bool
	Subject       string
	Accounts      map[string]bool // nil: everybody
	TokenPosition int

	Response   ResponseType
	Threshold  time.Duration // 0: the default
	Latency    *Latency
	AllowTrace bool
}

func (e *Export) threshold() time.Duration {
	if e == nil || e.Threshold <= 0 {
		return DefaultThreshold
	}
	return e.Threshold
}

// ServiceImport is the receiver in an importing account that carries requests
// into the exporting one.
type ServiceImport struct {
	Importer, Exporter *Account
	Subject            string // in the exporting account
	Local              string // in the importing account
	Export             *Export
	Share              bool // tell the service all about who asks

	toSubject *subjecttree.Transform // nil: the same subject
}

// NewServiceImport returns an import of subject under the local template to
// (empty: the same subject).
func NewServiceImport(importer, exporter *Account, subject, to string, export *Export, share bool) (*ServiceImport, error) {
	toLocal, toSubject, err := importTransforms(subject, to)
	if err != nil {
		return nil, err
	}
	imp := &ServiceImport{Importer: importer, Exporter: exporter, Subject: subject, Local: toLocal.Pattern(), Export: export, Share: share}
	if imp.Local != subject || toLocal.Destination() != subjecttree.Placeholders(subject) {
		imp.toSubject = toSubject
	}
	return imp, nil
}

// equal tells whether both do the same.
func (imp *ServiceImport) equal(o *ServiceImport) bool {
	return imp.Importer == o.Importer && imp.Exporter == o.Exporter && imp.Subject == o.Subject && imp.Local == o.Local &&
		imp.Share == o.Share && sameTransform(imp.toSubject, o.toSubject) && reflect.DeepEqual(imp.Export, o.Export)
}

// Kind is Internal.
func (*ServiceImport) Kind() Kind { return Internal }

// Deliver publishes the request in the exporting account, with a reply subject
// that leads back.
func (imp *ServiceImport) Deliver(p *Producer, _ *Sub, m *Msg) bool {
	if m.via.through(imp) {
		return false // a loop of imports
	}
	f := p.frame()
	f.pass = passage{imp, m.via}
	f.msg = Msg{Subject: m.Subject, Reply: m.Reply, Show: m.Show, Header: m.Header, Payload: m.Payload, From: m.From, Trace: m.Trace, shared: m.shared, via: &f.pass}
	req := &f.msg
	if imp.toSubject != nil {
		req.Subject = p.Build(len(imp.Subject)+len(m.Subject), func(dst []byte) []byte {
			return imp.toSubject.Apply(dst, m.Subject, nil)
		})
	}
	if mapped, ok := p.Map(imp.Exporter, req.Subject); !ok {
		return false
	} else if mapped != nil {
		req.Subject = mapped
	}
	if m.From != nil {
		req.Header = p.requestInfo(imp, m)
	}
	if req.Trace != nil && !p.traceImport(imp, m, req) {
		return true
	}
	if isAck(m.Reply) {
		return p.Route(imp.Exporter, req)
	}
	probe := imp.sample(m)
	if len(m.Reply) == 0 {
		if probe != nil {
			p.report(probe, latencyBadRequest, nil)
		}
		return p.Route(imp.Exporter, req)
	}
	r := imp.Exporter.responses.add(imp, string(m.Reply), probe)
	if r == nil {
		return false
	}
	req.Reply = p.Build(2*replyLen, r.appendReply)
	if p.Route(imp.Exporter, req) {
		if probe != nil {
			imp.Exporter.responses.routed(r)
		}
		return true
	}
	if imp.Exporter.responses.drop(r) && probe != nil {
		p.report(probe, latencyUnavailable, nil)
	}
	return false
}

// traceImport notes the passage of a traced message through imp. It returns
// false if the message stops here.
func (p *Producer) traceImport(imp *ServiceImport, m, req *Msg) bool {
	req.Trace.Add(msgtrace.Event{Type: msgtrace.ServiceImport, Account: imp.Exporter.name, From: string(m.Subject), To: string(req.Subject)})
	if imp.Export == nil || !imp.Export.AllowTrace {
		if req.Trace.Only {
			return false
		}
		req.Trace = nil
		if natsproto.HeaderValue(req.Header, msgtrace.DestHeader) != nil {
			req.Header = natsproto.SetHeader(req.Header, msgtrace.DestHeader, msgtrace.Disabled)
		}
		return true
	}
	// Servers behind the boundary report to a subject that leads back.
	if r := imp.Exporter.responses.add(imp, req.Trace.Dest, nil); r != nil {
		req.Header = natsproto.SetHeader(req.Header, msgtrace.DestHeader, r.appendReply(nil))
	}
	return true
}

// requestInfo is the header of m with the information about the requester.
func (p *Producer) requestInfo(imp *ServiceImport, m *Msg) []byte {
	svc := ""
	if m.via != nil {
		svc = imp.Importer.name
	}
	hdr := m.Header
	if len(hdr) > 0 && natsproto.HeaderValue(hdr, RequestInfo) != nil {
		hdr = natsproto.RemoveHeader(hdr, RequestInfo)
	}
	return p.Build(len(hdr)+256, func(dst []byte) []byte {
		if len(hdr) >= 2 {
			dst = append(dst, hdr[:len(hdr)-2]...)
		} else {
			dst = append(dst, natsproto.HeaderLine...)
		}
		dst = append(dst, RequestInfo+": "...)
		dst = m.From.AppendRequestInfo(dst, imp.Share, svc, imp.Exporter)
		return append(dst, "\r\n\r\n"...)
	})
}

const (
	replyPrefix = "_R_."
	ackPrefix   = "$JS.ACK"
	// The part of a reply subject behind replyPrefix: six characters that stand
	// for the exporting account, a dot, six for the request.
	replyToken = 6
	replyLen   = len(replyPrefix) + 2*replyToken + 1
)

func isServiceReply(subject []byte) bool {
	return len(subject) >= replyLen && string(subject[:len(replyPrefix)]) == replyPrefix
}

func isAck(reply []byte) bool {
	return len(reply) > len(ackPrefix) && string(reply[:len(ackPrefix)]) == ackPrefix
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func randomToken() (t [replyToken]byte) {
	n := rand.Uint64()
	for i := range t {
		t[i] = base62[n%62]
		n /= 62
	}
	return t
}

// responses are the requests to services of an account that wait for answers.
type responses struct {
	prefix [len(replyPrefix) + replyToken + 1]byte // constant

	mu      sync.Mutex // guards the rest, and the fields of each response
	waiting map[[replyToken]byte]*response
	timer   *time.Timer // of expire; nil until the first request
	due     time.Time   // of the timer; zero while it does not run
	stopped bool
}

// response is the way back of one request.
type response struct {
	imp   *ServiceImport
	key   [replyToken]byte
	reply string
	probe *probe    // nil: not measured
	used  time.Time // of the request, or of the last answer
}

func (r *response) appendReply(dst []byte) []byte {
	dst = append(dst, r.imp.Exporter.responses.prefix[:]...)
	dst = append(dst, r.key[:]...)
	if r.probe != nil {
		dst = r.probe.appendSuffix(dst)
	}
	return dst
}

func (rs *responses) init() {
	t := randomToken()
	n := copy(rs.prefix[:], replyPrefix)
	n += copy(rs.prefix[n:], t[:])
	rs.prefix[n] = '.'
}

// add notes a request; nil means that there are too many.
func (rs *responses) add(imp *ServiceImport, reply string, probe *probe) *response {
	r := &response{imp: imp, reply: reply, probe: probe, used: time.Now()}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.waiting) >= maxResponses || rs.stopped {
		return nil
	}
	if rs.waiting == nil {
		rs.waiting = map[[replyToken]byte]*response{}
	}
	for {
		r.key = randomToken()
		if rs.waiting[r.key] == nil {
			break
		}
	}
	rs.waiting[r.key] = r
	if probe != nil {
		imp.Importer.probes.add(r)
	}
	rs.expireIn(imp.Export.threshold())
	return r
}

// expireIn lets expire run in d, or earlier if that is due already; mu is held.
func (rs *responses) expireIn(d time.Duration) {
	at := time.Now().Add(d)
	if !rs.due.IsZero() && !at.Before(rs.due) {
		return
	}
	rs.due = at
	if rs.timer == nil {
		rs.timer = time.AfterFunc(d, rs.expire)
	} else {
		rs.timer.Reset(d)
	}
}

// drop forgets a request and tells whether it was still waiting.
func (rs *responses) drop(r *response) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.waiting[r.key] != r {
		return false
	}
	rs.remove(r)
	return true
}

// remove takes r out; mu is held.
func (rs *responses) remove(r *response) {
	delete(rs.waiting, r.key)
	if r.probe != nil {
		r.imp.Importer.probes.remove(r)
	}
}

// routed notes how long the routing of a measured request took.
func (rs *responses) routed(r *response) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.probe.system = time.Since(r.probe.arrived)
}

// take finds the request that an answer belongs to. A request that wants one
// answer, or whose stream of answers ends with this one, is done.
func (rs *responses) take(subject []byte, empty bool) *response {
	if string(subject[:len(rs.prefix)]) != string(rs.prefix[:]) {
		return nil
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.waiting[[replyToken]byte(subject[len(rs.prefix):])]
	if r == nil {
		return nil
	}
	if r.imp.Export == nil || r.imp.Export.Response == Singleton || empty {
		rs.remove(r)
	} else {
		r.used = time.Now()
	}
	return r
}

// wanted reports whether an answer on subject would reach anyone.
func (rs *responses) wanted(subject []byte) bool {
	if string(subject[:len(rs.prefix)]) != string(rs.prefix[:]) {
		return false
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.waiting[[replyToken]byte(subject[len(rs.prefix):])]
	return r != nil && (isServiceReply([]byte(r.reply)) || r.imp.Importer.list.HasInterest([]byte(r.reply)))
}

// expire removes requests whose answers are late or that nobody waits for, and
// comes again while there are any.
func (rs *responses) expire() {
	var late []*response
	rs.mu.Lock()
	next := DefaultThreshold
	for _, r := range rs.waiting {
		threshold := r.imp.Export.threshold()
		switch {
		case time.Since(r.used) >= threshold:
			if r.probe != nil {
				late = append(late, r)
			}
			rs.remove(r)
		case !isServiceReply([]byte(r.reply)) && !r.imp.Importer.list.HasInterest([]byte(r.reply)):
			rs.remove(r)
		default:
			next = min(next, threshold)
		}
	}
	rs.due = time.Time{}
	if len(rs.waiting) > 0 && !rs.stopped {
		rs.expireIn(next)
	}
	rs.mu.Unlock()
	for _, r := range late {
		r.probe.reportAlone(latencyTimeout)
	}
}

func (rs *responses) stop() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.stopped = true
	if rs.timer != nil {
		rs.timer.Stop()
	}
	clear(rs.waiting)
}

// respond carries an answer back to the account that the request came from.
func (p *Producer) respond(a *Account, m *Msg) bool {
	r := a.responses.take(m.Subject, len(m.Payload) == 0)
	if r == nil {
		return false
	}
	p.depth++
	defer func() { p.depth-- }()
	back := &p.frame().msg
	*back = *m
	back.Subject = p.Keep([]byte(r.reply))
	back.via = nil
	ok := p.Route(r.imp.Importer, back)
	if r.probe != nil {
		p.report(r.probe, latencyOK, m.From)
	}
	return ok
}

// FindExport finds the export that lets importer import subject: one that is
// equal, else any that contains it. nil means that there is none, or that the
// importer may not.
func FindExport(exports []*Export, service bool, subject, importer string) *Export {
	allowed := func(e *Export) bool {
		if e.Accounts != nil && !e.Accounts[importer] {
			return false
		}
		return e.TokenPosition == 0 || subjecttree.Token(subject, e.TokenPosition-1) == importer
	}
	for _, e := range exports {
		if e.Service == service && e.Subject == subject {
			if allowed(e) {
				return e
			}
			return nil
		}
	}
	for _, e := range exports {
		if e.Service == service && subjecttree.Subset(subject, e.Subject) && allowed(e) {
			return e
		}
	}
	return nil
}
