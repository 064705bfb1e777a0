// Package msgtrace is message path tracing (NATS ADR-41): for a message that
// asks for it, every server on its way publishes one event that tells what it
// did with the message.
package msgtrace

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"
)

// Headers of traced messages.
const (
	DestHeader   = "Nats-Trace-Dest"
	OnlyHeader   = "Nats-Trace-Only"
	HopHeader    = "Nats-Trace-Hop"
	OriginHeader = "Nats-Trace-Origin-Account"

	// Disabled is a destination that turns tracing off.
	Disabled = "trace disabled"
)

// Types of events.
const (
	Ingress       = "in"
	Mapping       = "sm"
	StreamExport  = "se"
	ServiceImport = "si"
	Stream        = "js"
	Egress        = "eg"
)

// Reasons why a message was not delivered.
const (
	NoSupport          = "Not delivered because remote does not support message tracing"
	NoSupportDelivered = "Message delivered but remote does not support message tracing so no trace event generated from there"
	NoEcho             = "Not delivered because of no echo"
	PublishDenied      = "Not delivered because publish denied for this subject"
	SubscriptionDenies = "Not delivered because subscription denies this subject"
	SubscriptionClosed = "Not delivered because subscription is closed"
	ClientClosed       = "Not delivered because client is closed"
	AutoUnsubscribe    = "Not delivered because auto-unsubscribe exceeded"
	ProducerNotStalled = "Not delivered because fast producer not stalled and consumer is slow"
)

// Event is one thing that happened to a message; which members it has depends on
// its type.
type Event struct {
	Type       string    `json:"type"`
	Time       time.Time `json:"ts"`
	Kind       *int      `json:"kind,omitempty"`
	CID        uint64    `json:"cid,omitempty"`
	Name       string    `json:"name,omitempty"`
	Hop        string    `json:"hop,omitempty"`
	Account    string    `json:"acc,omitempty"`
	Subject    string    `json:"subj,omitempty"`
	From       string    `json:"from,omitempty"`
	To         string    `json:"to,omitempty"`
	Sub        string    `json:"sub,omitempty"`
	Queue      string    `json:"queue,omitempty"`
	Stream     string    `json:"stream,omitempty"`
	StreamSubj string    `json:"subject,omitempty"`
	NoInterest bool      `json:"nointerest,omitempty"`
	Error      string    `json:"error,omitempty"`
}

// Report is what is published at the end.
type Report struct {
	Server  json.RawMessage `json:"server"`
	Request Request         `json:"request"`
	Hops    int             `json:"hops,omitempty"`
	Events  []Event         `json:"events"`
}

// Request is the message as it came in.
type Request struct {
	Header  map[string][]string `json:"header,omitempty"`
	MsgSize int                 `json:"msgsize,omitempty"`
}

// Trace collects the events of one message on this server. Add may be called
// from any goroutine; the other fields belong to the goroutine that routes.
type Trace struct {
	// Dest is where the report goes, in Account.
	Dest    string
	Account string
	// Only: the message is not delivered to its last hop.
	Only bool
	// Encoding of the report: "", "identity", "gzip" or "snappy".
	Encoding string
	// Hop is the value of HopHeader that a server sent with the message.
	Hop string
	// Shadow is the subject of the shadow subscription that is being delivered
	// to, if it is one.
	Shadow string

	mu     sync.Mutex
	report Report
	holds  atomic.Int32
	send   func(*Trace, *Report)
}

// New opens a trace with its ingress event; send publishes the report when all
// holds are released. The caller has one.
func New(req Request, ingress Event, send func(*Trace, *Report)) *Trace {
	t := &Trace{report: Report{Request: req}, send: send}
	ingress.Type = Ingress
	t.holds.Store(1)
	t.Add(ingress)
	return t
}

// Kind gives Event.Kind.
func Kind[K ~uint8](k K) *int { n := int(k); return &n }

// Add appends an event.
func (t *Trace) Add(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Events = append(t.report.Events, e)
}

// Fail sets the error of the ingress event.
func (t *Trace) Fail(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Events[0].Error = text
}

// Hold keeps the report back until Release, for parts that go on after the
// message was routed.
func (t *Trace) Hold() { t.holds.Add(1) }

// Release gives back a hold; the last one publishes.
func (t *Trace) Release() {
	if t.holds.Add(-1) == 0 {
		t.mu.Lock()
		r := t.report
		t.mu.Unlock()
		t.send(t, &r)
	}
}
