package account

import (
	"bytes"
	"reflect"
	"slices"
	"time"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/msgtrace"
	"github.com/natsd/natsd/subjecttree"
)

const (
	// DefaultThreshold is how long an answer may take.
	DefaultThreshold = 2 * time.Minute

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

	// What the claims of the exporter say about activations, which are judged
	// before there is an import: for those who look at the account.
	TokenRequired bool
	Revocations   map[string]time.Time // by the account that imports
}

// Admits tells whether an account may import a subject of the export.
func (e *Export) Admits(subject, importer string) bool {
	return (e.Accounts == nil || e.Accounts[importer]) && (e.TokenPosition == 0 || subjecttree.Token(subject, e.TokenPosition-1) == importer)
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
	f.pass = passage{imp, m.Reply, m.via}
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
	waiting := &imp.Exporter.responses
	if n := batchOf(m.Reply); n > 0 && probe == nil {
		key, ok := waiting.addBatch(p.now(), imp, m.Reply, n)
		if !ok {
			return false
		}
		req.Reply = p.Build(replyLen+len(m.Reply)-n, func(dst []byte) []byte {
			return append(waiting.appendReply(dst, key, nil), m.Reply[n:]...)
		})
		return p.Route(imp.Exporter, req)
	}
	key, ok := waiting.add(p.now(), imp, m.Reply, probe)
	if !ok {
		return false
	}
	req.Reply = p.Build(2*replyLen, func(dst []byte) []byte { return waiting.appendReply(dst, key, probe) })
	if p.Route(imp.Exporter, req) {
		if probe != nil {
			waiting.routed(probe)
		}
		return true
	}
	if waiting.drop(key) && probe != nil {
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
	waiting := &imp.Exporter.responses
	if key, ok := waiting.add(p.now(), imp, []byte(req.Trace.Dest), nil); ok {
		req.Header = natsproto.SetHeader(req.Header, msgtrace.DestHeader, waiting.appendReply(nil, key, nil))
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
	if len(hdr) > 0 && !bytes.HasSuffix(hdr, []byte("\r\n\r\n")) {
		hdr = append(slices.Clip(hdr), "\r\n\r\n"...) // what it ends in is not to stand in front of ours
	}
	if len(hdr) > 0 && natsproto.HeaderValue(hdr, RequestInfo) != nil {
		hdr = natsproto.RemoveHeader(hdr, RequestInfo)
	}
	return p.Build(len(hdr)+256, func(dst []byte) []byte {
		if len(hdr) > 0 {
			dst = append(dst, hdr[:len(hdr)-2]...)
		} else {
			dst = append(dst, natsproto.HeaderLine...)
		}
		dst = append(dst, RequestInfo+": "...)
		dst = m.From.AppendRequestInfo(dst, m.via.shares(imp), svc, imp.Exporter)
		return append(dst, "\r\n\r\n"...)
	})
}
