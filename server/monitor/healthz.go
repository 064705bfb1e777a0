package monitor

import (
	"fmt"
	"net/http"

	"github.com/natsd/natsd/jetstream"
)

// HealthzOptions say what is checked.
type HealthzOptions struct {
	JSEnabledOnly bool   `json:"js-enabled-only"`
	JSServerOnly  bool   `json:"js-server-only"`
	JSMetaOnly    bool   `json:"js-meta-only"`
	Account       string `json:"account"`
	Stream        string `json:"stream"`
	Consumer      string `json:"consumer"`
	Details       bool   `json:"details"` // all errors instead of the first

	JSEnabled bool `json:"js-enabled"` // old name of JSEnabledOnly
}

func healthzQuery(q *query) HealthzOptions {
	return HealthzOptions{
		JSEnabledOnly: q.bool("js-enabled-only"), JSServerOnly: q.bool("js-server-only"), JSMetaOnly: q.bool("js-meta-only"), JSEnabled: q.bool("js-enabled"),
		Account: q.string("account"), Stream: q.string("stream"), Consumer: q.string("consumer"), Details: q.bool("details"),
	}
}

// Healthz is the document about the server's health.
type Healthz struct {
	Status     string        `json:"status"`
	StatusCode int           `json:"status_code,omitempty"` // not over HTTP
	Error      string        `json:"error,omitempty"`
	Errors     []HealthError `json:"errors,omitempty"`
}

// HealthError is one thing that is wrong.
type HealthError struct {
	Type     string `json:"type"`
	Account  string `json:"account,omitempty"`
	Stream   string `json:"stream,omitempty"`
	Consumer string `json:"consumer,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Values of HealthError.Type.
const (
	healthConnection = "CONNECTION"
	healthBadRequest = "BAD_REQUEST"
	healthJetStream  = "JETSTREAM"
	healthAccount    = "ACCOUNT"
	healthStream     = "STREAM"
	healthConsumer   = "CONSUMER"
)

func (h *Healthz) overHTTP() (int, any) {
	shown := *h
	shown.StatusCode = 0
	return h.StatusCode, &shown
}

// healthCheck is a check under way.
type healthCheck struct {
	m   *Monitor
	o   *HealthzOptions
	doc *Healthz
}

// fail notes an error and tells whether the check is over, which it is unless all errors are wanted.
func (c *healthCheck) fail(code int, e HealthError) (over bool) {
	c.m.src.Warnf("Healthcheck failed: %q", e.Error)
	if c.doc.StatusCode == http.StatusOK {
		c.doc.StatusCode = code
	}
	if c.o.Details {
		c.doc.Status = "error"
		c.doc.Errors = append(c.doc.Errors, e)
		return false
	}
	c.doc.Status, c.doc.Error = "unavailable", e.Error
	if code == http.StatusBadRequest || code == http.StatusInternalServerError {
		c.doc.Status = "error"
	}
	return true
}

func (m *Monitor) healthz(o *HealthzOptions) (any, error) {
	doc := &Healthz{Status: "ok", StatusCode: http.StatusOK}
	(&healthCheck{m, o, doc}).run()
	return doc, nil
}

func (c *healthCheck) run() {
	o := c.o
	if o.JSEnabled {
		c.m.src.Warnf("Healthcheck: js-enabled deprecated, use js-enabled-only instead")
	}
	switch {
	case o.Stream != "" && o.Account == "":
		c.fail(http.StatusBadRequest, HealthError{Type: healthBadRequest, Error: `"account" must not be empty when checking stream health`})
		return
	case o.Consumer != "" && o.Stream == "":
		c.fail(http.StatusBadRequest, HealthError{Type: healthBadRequest, Error: `"stream" must not be empty when checking consumer health`})
		return
	}
	if err := c.m.src.NotReady(); err != nil {
		if c.fail(http.StatusInternalServerError, HealthError{Type: healthConnection, Error: "failed to be ready for connections after 1ms: " + err.Error()}) {
			return
		}
	}
	if o.JSServerOnly || !c.m.src.InUse().JetStream.Enabled {
		return
	}
	js := c.m.src.JetStream()
	if js == nil {
		c.fail(http.StatusServiceUnavailable, HealthError{Type: healthJetStream, Error: "JetStream not enabled"})
		return
	}
	if o.JSEnabledOnly || o.JSEnabled || o.JSMetaOnly {
		return
	}
	c.assets(js)
}

// assets checks the accounts that use JetStream and their streams.
func (c *healthCheck) assets(js *jetstream.Engine) {
	if c.o.Account == "" {
		for _, a := range js.Accounts() {
			if a.Enabled() && c.account(a) {
				return
			}
		}
		return
	}
	name := c.o.Account
	claims, _, expired := c.m.src.AccountClaims(name)
	a := js.Account(name)
	switch {
	case a == nil && claims == nil && len(c.m.src.InUse().Operators) > 0 && js.Stores(name):
		c.fail(http.StatusServiceUnavailable, HealthError{Type: healthAccount, Account: name, Error: fmt.Sprintf("JetStream account '%s' could not be resolved", name)})
		return
	case a == nil || !a.Enabled():
		c.fail(http.StatusNotFound, HealthError{Type: healthAccount, Account: name, Error: fmt.Sprintf("JetStream account %q not found", name)})
		return
	case c.o.Stream != "":
		c.stream(a, c.o.Stream)
	default:
		c.account(a)
	}
	if expired && (c.o.Details || c.doc.StatusCode == http.StatusOK) {
		c.fail(http.StatusServiceUnavailable, HealthError{Type: healthAccount, Account: name, Error: fmt.Sprintf("JetStream account '%s' is expired", name)})
	}
}

func (c *healthCheck) account(a *jetstream.Account) (over bool) {
	for _, f := range a.Failures() {
		if c.fail(http.StatusServiceUnavailable, failure(a, f)) {
			return true
		}
	}
	return false
}

// failure says what is wrong with a stream.
func failure(a *jetstream.Account, f jetstream.Failure) HealthError {
	text := fmt.Sprintf("JetStream stream '%s > %s' ", a.Name(), f.Stream)
	switch {
	case f.Recovering:
		text += "could not be recovered"
	case f.Lost != nil:
		text += fmt.Sprintf("has lost %d messages, %d bytes", len(f.Lost.Msgs), f.Lost.Bytes)
	default:
		text += fmt.Sprintf("write error: %v", f.Err)
	}
	return HealthError{Type: healthStream, Account: a.Name(), Stream: f.Stream, Error: text}
}

func (c *healthCheck) stream(a *jetstream.Account, name string) {
	for _, f := range a.Failures() {
		if f.Stream == name && c.fail(http.StatusServiceUnavailable, failure(a, f)) {
			return
		}
	}
	st := a.Stream(name)
	if st == nil {
		c.fail(http.StatusNotFound, HealthError{
			Type: healthStream, Account: a.Name(), Stream: name,
			Error: fmt.Sprintf("JetStream stream %q not found on account %q", name, a.Name()),
		})
		return
	}
	if c.o.Consumer == "" {
		return
	}
	for _, o := range st.Consumers() {
		if o.Name() == c.o.Consumer {
			return
		}
	}
	c.fail(http.StatusNotFound, HealthError{
		Type: healthConsumer, Account: a.Name(), Stream: name, Consumer: c.o.Consumer,
		Error: fmt.Sprintf("JetStream consumer %q not found for stream %q on account %q", c.o.Consumer, name, a.Name()),
	})
}
