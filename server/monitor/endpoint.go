package monitor

import (
	"encoding/json"
	"net/http"
)

// Error is a refusal with an HTTP status of its own. Other errors are bad requests.
type Error struct {
	Status int
	Text   string
	// OverNATS is what is answered to a request instead; nil: nothing at all.
	OverNATS any
}

func (e *Error) Error() string { return e.Text }

// Endpoint is one document and how it is asked for.
type Endpoint struct {
	// Name is the last token of the subjects, empty if there are none; Paths are those over HTTP below the base path,
	// the first being the one that is counted.
	Name  string
	Paths []string
	// EveryAccount: of the requests about an account, those about "PING" mean all.
	EveryAccount bool

	indent    string // of the JSON over HTTP; empty: two spaces
	counted   bool   // in http_req_stats
	countsBad bool   // also requests with bad parameters
	small     bool   // it does not wait for those that are large

	read   func(*query) any
	decode func([]byte) (any, error)
	answer func(*Monitor, any) (any, error)
	limit  func(options any, account string)
}

// endpoint makes an endpoint whose options are an O.
func endpoint[O any](name string, read func(*query) O, answer func(*Monitor, *O) (any, error)) *Endpoint {
	return &Endpoint{
		Name:   name,
		read:   func(q *query) any { o := read(q); return &o },
		decode: func(b []byte) (any, error) { o := new(O); return o, decodeOptions(b, o) },
		answer: func(m *Monitor, o any) (any, error) { return answer(m, o.(*O)) },
		limit:  func(any, string) {},
	}
}

// none are the options of documents without any.
type none struct{}

func noOptions(*query) none { return none{} }

func (e *Endpoint) at(paths ...string) *Endpoint {
	e.Paths, e.counted = paths, true
	return e
}

func (e *Endpoint) notCounted() *Endpoint            { e.counted = false; return e }
func (e *Endpoint) quick() *Endpoint                 { e.small = true; return e }
func (e *Endpoint) bad() *Endpoint                   { e.countsBad = true; return e }
func (e *Endpoint) indented(indent string) *Endpoint { e.indent = indent; return e }

// limited says how the options are restricted to one account.
func limited[O any](e *Endpoint, limit func(*O, string)) *Endpoint {
	e.limit = func(o any, account string) { limit(o.(*O), account) }
	return e
}

// decodeOptions reads the body of a request; an empty one leaves the defaults.
func decodeOptions(b []byte, v any) error {
	if len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, v)
}

// Decode reads the options from the body of a request. account, if not empty, is the only one that the document may be
// about.
func (e *Endpoint) Decode(body []byte, account string) (options any, err error) {
	if options, err = e.decode(body); err != nil {
		return nil, err
	}
	if account != "" {
		e.limit(options, account)
	}
	return options, nil
}

// Answer makes the document.
func (e *Endpoint) Answer(m *Monitor, options any) (any, error) { return e.answer(m, options) }

// exactJSON is a document that is not indented over HTTP, and has a status of its own.
type exactJSON interface {
	overHTTP() (status int, document any)
}

// Endpoints are the documents about a server.
var Endpoints = []*Endpoint{
	endpoint("VARZ", noOptions, (*Monitor).varz).at("varz").quick(),
	endpoint("CONNZ", connzQuery, (*Monitor).connz).at("connz"),
	endpoint("ROUTEZ", routezQuery, (*Monitor).routez).at("routez"),
	endpoint("GATEWAYZ", gatewayzQuery, (*Monitor).gatewayz).at("gatewayz").bad(),
	endpoint("LEAFZ", leafzQuery, (*Monitor).leafz).at("leafz").bad(),
	endpoint("SUBSZ", subszQuery, (*Monitor).subsz).at("subsz", "subscriptionsz").bad(),
	endpoint("ACCOUNTZ", accountzQuery, (*Monitor).accountz).at("accountz").bad(),
	endpoint("", accstatzQuery, (*Monitor).accstatz).at("accstatz").bad(),
	endpoint("JSZ", jszQuery, (*Monitor).jsz).at("jsz").bad(),
	endpoint("HEALTHZ", healthzQuery, (*Monitor).healthz).at("healthz").bad().quick(),
	endpoint("RAFTZ", raftzQuery, (*Monitor).raftz).at("raftz").notCounted().indented("   "),
	endpoint("IPQUEUESZ", ipqueueszQuery, (*Monitor).ipqueuesz).at("ipqueuesz").notCounted().indented("   "),
	endpoint("EXPVARZ", noOptions, (*Monitor).expvarz),
	endpoint("PROFILEZ", noProfile, (*Monitor).profilez),
}

// AccountEndpoints are the documents about one account.
var AccountEndpoints = []*Endpoint{
	limited(endpoint("CONNZ", connzQuery, (*Monitor).connz), (*ConnzOptions).limit),
	limited(endpoint("SUBSZ", subszQuery, (*Monitor).subsz), (*SubszOptions).limit),
	limited(endpoint("LEAFZ", leafzQuery, (*Monitor).leafz), (*LeafzOptions).limit),
	limited(endpoint("JSZ", jszQuery, (*Monitor).accountJsz), (*JszOptions).limit),
	limited(endpoint("INFO", accountzQuery, (*Monitor).accountInfo), (*AccountzOptions).limit),
	everyAccount(limited(endpoint("STATZ", accstatzQuery, (*Monitor).accstatz), (*AccstatzOptions).limit)),
}

func everyAccount(e *Endpoint) *Endpoint { e.EveryAccount = true; return e }

// status is the HTTP status of an error.
func status(err error) int {
	if e, ok := err.(*Error); ok && e.Status != 0 {
		return e.Status
	}
	return http.StatusBadRequest
}
