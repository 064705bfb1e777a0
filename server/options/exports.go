package options

import (
	"fmt"
	"strings"
	"time"

	"github.com/natsd/natsd/server/conf"
)

// exportBlock is an export while it is read.
type exportBlock struct {
	Export
	kind     string // "stream" or "service", once it is known
	response bool
	latency  bool
	trace    bool
}

// exportSubject reads the key stream or service.
func exportSubject(kind string) *row[exportBlock] {
	return custom(kind, "string", func(_ *reader, e *conf.Entry, x *exportBlock) error {
		if e.Value.Kind != conf.String {
			return fmt.Errorf("Expected %s name to be string, got %s", kind, e.Value.Kind)
		}
		if x.kind != "" && x.kind != kind {
			service := e.Value.Str
			if x.Service {
				service = x.Subject
			}
			// The same text in whatever order the two stand.
			return fmt.Errorf("Detected service %q but already saw a stream", service)
		}
		x.kind, x.Service, x.Subject = kind, kind == "service", e.Value.Str
		return nil
	}).doc("subject of the " + kind)
}

var exportTable = newTable("exports",
	exportSubject("stream"),
	exportSubject("service"),
	custom("accounts", "list", func(_ *reader, e *conf.Entry, x *exportBlock) error {
		list, err := elements(e.Value)
		x.Accounts = list
		return err
	}).doc("accounts that may import it").def("all"),
	custom("response", "string", func(_ *reader, e *conf.Entry, x *exportBlock) error {
		if e.Value.Kind != conf.String {
			return fmt.Errorf("Expected response type to be string, got %s", e.Value.Kind)
		}
		if x.response {
			return errorText("Duplicate response type definition")
		}
		x.response = true
		switch s := e.Value.Str; strings.ToLower(s) {
		case "single", "singleton":
			x.Response = ResponseSingleton
		case "stream":
			x.Response = ResponseStream
		case "chunk", "chunked":
			x.Response = ResponseChunked
		default:
			return fmt.Errorf("Unknown response type: %q", s)
		}
		return nil
	}).alias("response_type").doc("responses to a request: `single`, `stream` or `chunked`").def(`"single"`),
	custom("threshold", "duration text", func(_ *reader, e *conf.Entry, x *exportBlock) error {
		if e.Value.Kind != conf.String {
			return fmt.Errorf("Expected response threshold to be a parseable time duration, got %s", e.Value.Kind)
		}
		d, err := time.ParseDuration(e.Value.Str)
		if err != nil {
			return fmt.Errorf("Expected response threshold to be a parseable time duration, got %q", e.Value.Str)
		}
		x.Threshold = d
		return nil
	}).alias("response_threshold", "response_max_time", "response_time").doc("time for a response").def("2m"),
	custom("latency", "string or block", readLatency).of(latencyTable).doc("subject for measurements"),
	integer("account_token_position", func(x *exportBlock) *int { return &x.TokenPosition }).
		doc("token of the subject, from 1, that must be the name of the importing account"),
	boolean("allow_trace", func(x *exportBlock) *bool { return &x.AllowTrace }).
		doc("message traces may follow a request into the service").
		check(func(_ string, x *exportBlock) error { x.trace = true; return nil }),
)

var latencyTable = func() *table[Latency] {
	t := newTable("latency",
		custom("sampling", "percentage or headers", func(_ *reader, e *conf.Entry, l *Latency) error {
			if e.Value.Kind == conf.String && strings.EqualFold(strings.TrimSpace(e.Value.Str), "headers") {
				l.Sampling = 0
				return nil
			}
			if e.Value.Kind != conf.Int && e.Value.Kind != conf.String {
				return fmt.Errorf("Expected latency sample to be a string or map/struct, got %s", e.Value.Kind)
			}
			n, _, err := percent(e.Value)
			if err != nil {
				return fmt.Errorf("Failed to parse latency sample: %w", err)
			}
			if n < 1 || n > 100 {
				return errorText("bad sampling percentage, should be 1-100")
			}
			l.Sampling = int(n)
			return nil
		}).doc("share of requests, or `headers`: those with trace headers").limits("1..100").def("100"),
		str("subject", func(l *Latency) *string { return &l.Subject }).doc("subject"),
	)
	t.lax = true
	t.caseSensitive = true
	return t
}()

func readLatency(r *reader, e *conf.Entry, x *exportBlock) error {
	x.latency = true
	l := &Latency{Sampling: 100}
	switch e.Value.Kind {
	case conf.String:
		l.Subject = e.Value.Str
	case conf.Map:
		before := len(r.errors)
		latencyTable.read(r, e, l)
		if l.Subject == "" && len(r.errors) == before {
			return errorText("Latency subject required, but missing")
		}
	default:
		return fmt.Errorf("Expected latency entry to be a map/struct or string, got %s", e.Value.Kind)
	}
	x.Latency = l
	return nil
}

// exports reads the exports of an account.
func (r *reader) exports(e *conf.Entry) ([]Export, error) {
	if e.Value.Kind != conf.Array {
		return nil, fmt.Errorf("Exports should be an array, got %s", e.Value.Kind)
	}
	var list []Export
	for _, v := range e.Value.Elems {
		if v.Kind != conf.Map {
			r.errorf(v.Pos, "Export Items should be a map with type entry, got %s", v.Kind)
			continue
		}
		x, before := &exportBlock{}, len(r.errors)
		exportTable.read(r, &conf.Entry{Key: e.Key, Pos: e.Pos, Value: v}, x)
		if x.kind == "stream" {
			for _, d := range []struct {
				name string
				used bool
			}{{"response", x.response}, {"latency", x.latency}, {"allow_trace", x.trace}} {
				if d.used {
					r.errorf(lastKey(v), "Detected %s directive on non-service", d.name)
				}
			}
		}
		if len(r.errors) == before && x.kind != "" {
			list = append(list, x.Export)
		}
	}
	return list, nil
}

// importBlock is an import while it is read.
type importBlock struct {
	Import
	kind  string
	trace bool
}

// importSource reads the key stream or service.
func importSource(kind, title string) *row[importBlock] {
	return custom(kind, "block", func(r *reader, e *conf.Entry, m *importBlock) error {
		if m.kind != "" && m.kind != kind {
			return fmt.Errorf("Detected %s but already saw a %s", kind, m.kind)
		}
		if e.Value.Kind != conf.Map {
			return fmt.Errorf("%s entry should be an account map, got %s", title, e.Value.Kind)
		}
		m.kind, m.Service = kind, kind == "service"
		m.Account, m.Subject = "", ""
		importSourceTable.read(r, e, &m.Import)
		if m.Account == "" || m.Subject == "" {
			return errorText("Expect an account name and a subject")
		}
		return nil
	}).of(importSourceTable).doc("account and subject of the " + kind)
}

var importSourceTable = newTable("stream",
	str("account", func(m *Import) *string { return &m.Account }).doc("exporting account"),
	str("subject", func(m *Import) *string { return &m.Subject }).doc("subject there"),
)

var importTable = newTable("imports",
	importSource("stream", "Stream"),
	importSource("service", "Service"),
	str("prefix", func(m *importBlock) *string { return &m.Prefix }).doc("of a stream: begins the subject here"),
	str("to", func(m *importBlock) *string { return &m.To }).doc("subject here").def("the same"),
	boolean("share", func(m *importBlock) *bool { return &m.Share }).doc("of a service: tell it who asks"),
	boolean("allow_trace", func(m *importBlock) *bool { return &m.AllowTrace }).doc("of a stream: message traces may follow").
		check(func(_ string, m *importBlock) error { m.trace = true; return nil }),
)

// imports reads the imports of an account.
func (r *reader) imports(e *conf.Entry) ([]Import, error) {
	if e.Value.Kind != conf.Array {
		return nil, fmt.Errorf("Imports should be an array, got %s", e.Value.Kind)
	}
	var list []Import
	services := make(map[string]*Import)
	for _, v := range e.Value.Elems {
		if v.Kind != conf.Map {
			r.errorf(v.Pos, "Import Items should be a map with type entry, got %s", v.Kind)
			continue
		}
		m, before := &importBlock{}, len(r.errors)
		importTable.read(r, &conf.Entry{Key: e.Key, Pos: e.Pos, Value: v}, m)
		if len(r.errors) > before {
			continue
		}
		pos := lastKey(v)
		switch {
		case m.kind == "":
		case !m.Service && m.Prefix != "" && m.To != "":
			r.errorf(pos, "Stream import can not have a 'prefix' and a 'to' property")
		case m.Service && m.trace:
			r.errorf(pos, "Detected allow_trace directive on a non-stream")
		default:
			if m.Service {
				local := m.LocalSubject()
				id := m.Account + " " + local // several exporters may answer on one subject
				if first := services[id]; first != nil {
					r.errorf(v.Pos, "Duplicate service import subject %q, previously used in import for account %q, subject %q", local, first.Account, first.Subject)
					continue
				}
				services[id] = &m.Import
			}
			list = append(list, m.Import)
		}
	}
	return list, nil
}
