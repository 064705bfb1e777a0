package account

import (
	"encoding/json"
	"math/rand/v2"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/natsd/natsd/natsproto"
)

// Latency asks for measurements of a service.
type Latency struct {
	Subject  string // of the results, in the exporting account
	Sampling int    // percent; 0: decided by the headers of a request
}

// latencyType names the event.
const latencyType = "io.nats.server.metric.v1.service_latency"

// Results of a measured request, after HTTP.
const (
	latencyOK          = 200
	latencyBadRequest  = 400
	latencyNoInterest  = 408
	latencyUnavailable = 503
	latencyTimeout     = 504
)

var latencyTexts = map[int]string{
	latencyBadRequest:  "Bad Request",
	latencyNoInterest:  "Request Timeout",
	latencyUnavailable: "Service Unavailable",
	latencyTimeout:     "Service Timeout",
}

// latencyEvent is what is published; durations in nanoseconds.
type latencyEvent struct {
	Type        string              `json:"type"`
	ID          string              `json:"id"`
	Timestamp   time.Time           `json:"timestamp"`
	Status      int                 `json:"status"`
	Description string              `json:"description,omitempty"`
	Requestor   json.RawMessage     `json:"requestor,omitempty"`
	Responder   json.RawMessage     `json:"responder,omitempty"`
	Header      map[string][]string `json:"header,omitempty"`
	Start       time.Time           `json:"start"`
	Service     time.Duration       `json:"service"`
	System      time.Duration       `json:"system"`
	Total       time.Duration       `json:"total"`
}

// probe measures one request. It does not change after its request was routed.
type probe struct {
	imp       *ServiceImport
	requestor json.RawMessage
	rtt       time.Duration
	arrived   time.Time
	system    time.Duration // that routing took
	header    map[string][]string
}

// sample returns a probe if m is to be measured.
func (imp *ServiceImport) sample(m *Msg) *probe {
	if imp.Export == nil || imp.Export.Latency == nil || m.From == nil {
		return nil
	}
	var header map[string][]string
	if n := imp.Export.Latency.Sampling; n < 100 && (n <= 0 || rand.IntN(100) >= n) {
		if header = sampledHeader(m.Header); header == nil {
			return nil
		}
	}
	return &probe{
		imp:       imp,
		requestor: m.From.AppendRequestInfo(nil, imp.Share, "", imp.Importer),
		rtt:       m.From.RTT(),
		arrived:   time.Now(),
		header:    header,
	}
}

// appendSuffix marks a reply subject as measured by this server.
func (b *probe) appendSuffix(dst []byte) []byte {
	dst = append(dst, '.')
	dst = append(dst, b.imp.Exporter.set.NameHash...)
	return append(dst, ".T"...)
}

func (b *probe) event(status int, responder Requester) []byte {
	e := latencyEvent{
		Type: latencyType, ID: UniqueID(), Timestamp: time.Now().UTC(), Status: status, Description: latencyTexts[status],
		Requestor: b.requestor, Header: b.header, Start: b.arrived.Add(-b.rtt).UTC(),
	}
	switch status {
	case latencyOK:
		took := time.Since(b.arrived)
		e.System = max(b.system, 0)
		e.Service = took
		if responder != nil {
			e.Responder = responder.AppendRequestInfo(nil, true, "", b.imp.Exporter)
			e.Service = max(took-responder.RTT(), 0)
		}
		e.Total = b.rtt + took
	case latencyNoInterest, latencyTimeout:
		e.Total = b.rtt + time.Since(b.arrived)
	}
	out, err := json.Marshal(e)
	if err != nil {
		return nil // numbers, strings and what was JSON before
	}
	return out
}

// report publishes a result on the producer that brought it about.
func (p *Producer) report(b *probe, status int, responder Requester) {
	p.depth++
	defer func() { p.depth-- }()
	p.Route(b.imp.Exporter, &Msg{Subject: []byte(b.imp.Export.Latency.Subject), Payload: p.Keep(b.event(status, responder))})
}

// reportAlone publishes a result outside of a batch.
func (b *probe) reportAlone(status int) {
	pub := NewPublisher(b.imp.Exporter, System)
	pub.Publish([]byte(b.imp.Export.Latency.Subject), nil, nil, b.event(status, nil))
	pub.Flush()
}

// sampledHeader returns the trace headers of a request whose trace context asks
// for a sample: the first that is there of Jaeger's, Zipkin's in several headers
// and in one, and the W3C's decides.
func sampledHeader(hdr []byte) map[string][]string {
	if len(hdr) == 0 {
		return nil
	}
	h := map[string][]string{}
	for k, v := range natsproto.Headers(hdr) {
		key := textproto.CanonicalMIMEHeaderKey(string(k))
		h[key] = append(h[key], string(v))
	}
	first := func(name string) string {
		if v := h[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	keep := func(wanted func(name string) bool) map[string][]string {
		out := map[string][]string{}
		for k, v := range h {
			if wanted(k) {
				out[k] = v
			}
		}
		return out
	}
	odd := func(hex string) bool {
		n, err := strconv.ParseUint(hex, 16, 8)
		return err == nil && n&1 == 1
	}
	if v := first("Uber-Trace-Id"); v != "" {
		f := strings.Split(v, ":")
		if len(f) != 4 || !odd(f[3]) {
			return nil
		}
		return keep(func(k string) bool { return k == "Uber-Trace-Id" || strings.HasPrefix(k, "Uberctx-") })
	}
	zipkin := func(k string) bool { return strings.HasPrefix(k, "X-B3-") }
	switch v := first("X-B3-Sampled"); {
	case v == "1":
		return keep(zipkin)
	case v == "0":
		return nil
	}
	if first("X-B3-Traceid") != "" {
		return keep(zipkin)
	}
	if v := first("B3"); v != "" {
		f := strings.Split(v, "-")
		if v == "0" || (len(f) >= 3 && f[2] == "0") {
			return nil
		}
		return keep(func(k string) bool { return k == "B3" })
	}
	if v := first("Traceparent"); v != "" {
		f := strings.Split(v, "-")
		if len(f) != 4 || !odd(f[3]) {
			return nil
		}
		return keep(func(k string) bool { return k == "Traceparent" || k == "Tracestate" })
	}
	return nil
}

// UniqueID returns 22 random characters.
func UniqueID() string {
	var b [22]byte
	for i := range b {
		b[i] = base62[rand.IntN(len(base62))]
	}
	return string(b[:])
}
