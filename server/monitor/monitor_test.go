package monitor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/operator"
	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/subjecttree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is a server with given connections.
type source struct {
	options  options.Options
	accounts *account.Set
	open     []Conn
	closed   []client.Snapshot
	warnings []string
}

func newSource() *source {
	s := &source{options: *options.Default(), accounts: account.NewSet()}
	s.accounts.GetOrAdd(options.GlobalAccount, subjecttree.ListOptions{})
	s.accounts.GetOrAdd("A", subjecttree.ListOptions{})
	return s
}

var started = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func (s *source) ID() string                      { return "NID" }
func (s *source) Name() string                    { return "name" }
func (s *source) ClusterName() string             { return "" }
func (s *source) StartTime() time.Time            { return started }
func (s *source) ConfigTime() time.Time           { return started }
func (s *source) InUse() *options.Options         { return &s.options }
func (s *source) AuthRequired() bool              { return false }
func (s *source) Advertised() (string, int)       { return s.options.Host, s.options.Port }
func (s *source) FeatureFlags() map[string]bool   { return nil }
func (s *source) Accounts() *account.Set          { return s.accounts }
func (s *source) SystemAccount() *account.Account { return nil }
func (s *source) Tag(a *account.Account) string   { return a.Name() }
func (s *source) Conns() []Conn                   { return slices.Clone(s.open) }
func (s *source) Leafs() []Conn                   { return nil }
func (s *source) Closed() []client.Snapshot       { return slices.Clone(s.closed) }
func (s *source) Counters() Counters              { return Counters{} }
func (s *source) JetStream() *jetstream.Engine    { return nil }
func (s *source) OCSPPeerCache() *OCSPCacheVarz   { return nil }
func (s *source) NotReady() error                 { return nil }
func (s *source) Ending() <-chan struct{}         { return nil }
func (s *source) Queues() map[string]Queue        { return map[string]Queue{"a": {}, "b": {Pending: 2}} }
func (s *source) Warnf(format string, v ...any) {
	s.warnings = append(s.warnings, fmt.Sprintf(format, v...))
}

func (s *source) AccountClaims(string) (claims *operator.Account, complete, expired bool) {
	return nil, true, false
}

// conn is a connection that does nothing.
type conn struct {
	snap     client.Snapshot
	measured int
}

func (c *conn) ID() uint64                         { return c.snap.Info.ID }
func (c *conn) Account() *account.Account          { return c.snap.Account }
func (c *conn) Snapshot(subs bool) client.Snapshot { return c.snap }
func (c *conn) MeasureRTT()                        { c.measured++ }

func (s *source) snapshot(id uint64, user, acc string, change func(*client.Snapshot)) client.Snapshot {
	now := time.Now()
	snap := client.Snapshot{
		Info: client.RequestInfo{ID: id, User: user, Account: acc, Host: "127.0.0.1", Kind: "Client", ClientType: "nats"},
		Port: 1000 + int(id), Account: s.accounts.Get(acc), Start: now, LastActivity: now, RTT: time.Millisecond,
	}
	if change != nil {
		change(&snap)
	}
	return snap
}

// connected returns a source with three open and two closed connections, in no order.
func connected() *source {
	s := newSource()
	add := func(id uint64, user, acc string, change func(*client.Snapshot)) {
		s.open = append(s.open, &conn{snap: s.snapshot(id, user, acc, change)})
	}
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	add(3, "u3", "$G", func(c *client.Snapshot) {
		c.NumSubs, c.Pending, c.OutMsgs, c.InMsgs, c.OutBytes, c.InBytes, c.RTT = 1, 30, 5, 9, 10, 90, 3*time.Millisecond
		c.Start, c.LastActivity = ago(time.Minute), ago(30*time.Second)
	})
	add(1, "u1", "A", func(c *client.Snapshot) {
		c.NumSubs, c.Pending, c.OutMsgs, c.InMsgs, c.OutBytes, c.InBytes, c.RTT = 3, 10, 7, 7, 30, 70, 2*time.Millisecond
		c.Start, c.LastActivity = ago(3*time.Minute), ago(2*time.Minute)
	})
	add(2, "u2", "A", func(c *client.Snapshot) {
		c.NumSubs, c.Pending, c.OutMsgs, c.InMsgs, c.OutBytes, c.InBytes, c.RTT = 2, 20, 9, 5, 20, 50, time.Millisecond
		c.Start, c.LastActivity = ago(2*time.Minute), ago(time.Minute)
	})
	s.closed = append(s.closed,
		s.snapshot(4, "u4", "A", func(c *client.Snapshot) { c.Reason, c.Stop = client.StaleConnection, ago(2*time.Second) }),
		s.snapshot(5, "u5", "$G", func(c *client.Snapshot) { c.Reason, c.Stop = client.ClientClosed, ago(time.Second) }))
	return s
}

func fetch(m *Monitor, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	m.Handler("").ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w
}

// TestConnz: which connections, in which order.
func TestConnz(t *testing.T) {
	m := New(connected())
	for _, test := range []struct {
		query string
		ids   []uint64
		total int
	}{
		{"", []uint64{1, 2, 3}, 3},
		{"sort=start", []uint64{1, 2, 3}, 3},
		{"sort=subs", []uint64{1, 2, 3}, 3},
		{"sort=pending", []uint64{3, 2, 1}, 3},
		{"sort=msgs_to", []uint64{2, 1, 3}, 3},
		{"sort=msgs_from", []uint64{3, 1, 2}, 3},
		{"sort=bytes_to", []uint64{1, 2, 3}, 3},
		{"sort=bytes_from", []uint64{3, 1, 2}, 3},
		{"sort=last", []uint64{3, 2, 1}, 3},
		{"sort=idle", []uint64{1, 2, 3}, 3},
		{"sort=uptime", []uint64{3, 2, 1}, 3},
		{"sort=rtt", []uint64{3, 1, 2}, 3},
		{"state=closed", []uint64{4, 5}, 2},
		{"state=closed&sort=stop", []uint64{5, 4}, 2},
		{"state=closed&sort=reason", []uint64{5, 4}, 2},
		{"state=closed&acc=$G", []uint64{5}, 1},
		{"state=all", []uint64{1, 2, 3, 4, 5}, 5},
		{"state=ALL&limit=2&offset=3", []uint64{4, 5}, 5},
		{"limit=2", []uint64{1, 2}, 3},
		{"limit=-1&offset=-5", []uint64{1, 2, 3}, 3},
		{"offset=9", nil, 3},
		{"acc=A", []uint64{1, 2}, 2},
		{"acc=NOPE", nil, 0},
		{"user=u2", []uint64{2}, 3},
		{"user=u2&acc=$G", nil, 1},
		{"cid=3", []uint64{3}, 3},
		{"cid=4", nil, 3},
		{"cid=4&state=any", []uint64{4}, 5},
	} {
		w := fetch(m, "/connz?"+test.query)
		var doc struct {
			NumConns int `json:"num_connections"`
			Total    int
			Conns    []struct{ CID uint64 } `json:"connections"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Conns == nil {
			t.Errorf("%s: %v in %s", test.query, err, w.Body)
			continue
		}
		var ids []uint64
		for _, c := range doc.Conns {
			ids = append(ids, c.CID)
		}
		if !slices.Equal(ids, test.ids) || doc.Total != test.total || doc.NumConns != len(ids) {
			t.Errorf("%s: %v of %d (%d), want %v of %d", test.query, ids, doc.Total, doc.NumConns, test.ids, test.total)
		}
	}
}

// TestUnknownRTTIsMeasured: who asks for a connection whose round trip time is not known makes it measure.
func TestUnknownRTTIsMeasured(t *testing.T) {
	s := newSource()
	unknown := &conn{snap: s.snapshot(1, "", "$G", func(c *client.Snapshot) { c.RTT = 0 })}
	known := &conn{snap: s.snapshot(2, "", "$G", nil)}
	s.open = []Conn{unknown, known}
	fetch(New(s), "/connz")
	if unknown.measured != 1 || known.measured != 0 {
		t.Errorf("measured %d and %d times, want 1 and 0", unknown.measured, known.measured)
	}
}

// TestRefusals: texts and statuses of what cannot be answered.
func TestRefusals(t *testing.T) {
	m := New(connected())
	for _, test := range []struct {
		target, body string
		code         int
	}{
		{"/connz?auth=foo", `Error decoding boolean for 'auth': strconv.ParseBool: parsing "foo": invalid syntax`, 400},
		{"/connz?subs=foo", `Error decoding boolean for 'subs': strconv.ParseBool: parsing "foo": invalid syntax`, 400},
		{"/connz?limit=foo", `Error decoding int for 'limit': strconv.Atoi: parsing "foo": invalid syntax`, 400},
		{"/connz?cid=-1", `Error decoding uint64 for 'cid': strconv.ParseUint: parsing "-1": invalid syntax`, 400},
		{"/connz?state=foo", "Error decoding state for foo", 400},
		{"/connz?sort=foo", "invalid sorting option: foo", 400},
		{"/connz?sort=stop", "sort by stop only valid on closed connections", 400},
		{"/connz?sort=reason&state=all", "sort by reason only valid on closed connections", 400},
		{"/subsz?test=a.*", "invalid test subject, must be valid publish subject: a.*", 400},
		{"/accountz?acc=NOPE", "Account NOPE does not exist", 400},
		{"/jsz?leader-only=1", "filtered response: not leader", 400},
		{"/raftz", "No Raft nodes registered", 404},
		{"/nope", "404 page not found\n", 404},
		{"/varz/", "404 page not found\n", 404},
	} {
		w := fetch(m, test.target)
		if w.Code != test.code || w.Body.String() != test.body {
			t.Errorf("%s: %d %q, want %d %q", test.target, w.Code, w.Body, test.code, test.body)
		}
		if h := w.Header(); h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: headers %v", test.target, h)
		}
	}
}

// TestHealth: codes and texts without JetStream.
func TestHealth(t *testing.T) {
	s := newSource()
	m := New(s)
	for _, test := range []struct {
		query, body string
		code        int
	}{
		{"", `{"status":"ok"}`, 200},
		{"?details=1", `{"status":"ok"}`, 200},
		{"?stream=S", `{"status":"error","error":"\"account\" must not be empty when checking stream health"}`, 400},
		{"?account=A&consumer=C", `{"status":"error","error":"\"stream\" must not be empty when checking consumer health"}`, 400},
		{"?stream=S&details=1", `{"status":"error","errors":[{"type":"BAD_REQUEST","error":"\"account\" must not be empty when checking stream health"}]}`, 400},
	} {
		if w := fetch(m, "/healthz"+test.query); w.Code != test.code || w.Body.String() != test.body {
			t.Errorf("%s: %d %s, want %d %s", test.query, w.Code, w.Body, test.code, test.body)
		}
	}
	s.options.JetStream.Enabled = true
	if w := fetch(m, "/healthz"); w.Code != 503 || w.Body.String() != `{"status":"unavailable","error":"JetStream not enabled"}` {
		t.Errorf("JetStream down: %d %s", w.Code, w.Body)
	}
	want := []string{
		`Healthcheck failed: "\"account\" must not be empty when checking stream health"`,
		`Healthcheck failed: "\"stream\" must not be empty when checking consumer health"`,
		`Healthcheck failed: "\"account\" must not be empty when checking stream health"`,
		`Healthcheck failed: "JetStream not enabled"`,
	}
	if !slices.Equal(s.warnings, want) {
		t.Errorf("warnings %q, want %q", s.warnings, want)
	}
}

// TestBasePath: a prefix for all paths, with or without slashes.
func TestBasePath(t *testing.T) {
	for _, base := range []string{"mon", "/mon", "/mon/"} {
		h := New(newSource()).Handler(base)
		for path, want := range map[string]int{"/mon": 200, "/mon/varz": 200, "/varz": 404, "/": 404, "/mon/": 404} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != want {
				t.Errorf("base %q: %s is %d, want %d", base, path, w.Code, want)
			}
		}
	}
}

func TestFormats(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 9 * time.Second: "9s", 65 * time.Second: "1m5s", time.Hour + 3*time.Second: "1h0m3s",
		48*time.Hour + time.Second: "2d0h0m1s", (365*24 + 24) * time.Hour: "1y1d0h0m0s", -time.Second: "0s", 1999 * time.Millisecond: "1s",
	} {
		if got := uptime(d); got != want {
			t.Errorf("uptime %v: %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 176543: "176µs", 1078000: "1.078ms", 999: "999ns", 1234567: "1.234567ms"} {
		if got := roundTrip(d); got != want {
			t.Errorf("roundTrip %v: %q, want %q", d, got, want)
		}
	}
	for s, want := range map[string]string{"a.$1.b": "a.*.b", "$12": "*", "$SYS.x": "$SYS.x", "$": "$", "a.>": "a.>"} {
		if got := wildcards(s); got != want {
			t.Errorf("wildcards %q: %q, want %q", s, got, want)
		}
	}
}

func TestDestinations(t *testing.T) {
	for _, test := range []struct {
		in   []options.MappingDestination
		want []MappingDestination
	}{
		{[]options.MappingDestination{{Subject: "x", Weight: 100}}, []MappingDestination{{"x", 100, ""}}},
		{[]options.MappingDestination{{Subject: "x", Weight: 80}, {Subject: "y", Weight: 20}}, []MappingDestination{{"y", 20, ""}, {"x", 100, ""}}},
		{[]options.MappingDestination{{Subject: "x", Weight: 10}}, []MappingDestination{{"x", 10, ""}, {"m", 100, ""}}},
		{[]options.MappingDestination{{Subject: "x", Weight: 10}, {Subject: "m", Weight: 20}}, []MappingDestination{{"x", 10, ""}, {"m", 30, ""}}},
		{[]options.MappingDestination{{Subject: "x", Weight: 100}, {Subject: "y", Weight: 100, Cluster: "c"}}, []MappingDestination{{"x", 100, ""}, {"y", 100, "c"}}},
	} {
		if got := destinations(&options.Mapping{Subject: "m", Destinations: test.in}); !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.in, got, test.want)
		}
	}
}

// FuzzQuery asks for every document with any query string: the answer is a document or a refusal.
func FuzzQuery(f *testing.F) {
	var paths []string
	for _, e := range Endpoints {
		paths = append(paths, e.Paths...)
	}
	for n, path := range paths {
		f.Add(uint8(n), "subs=detail&auth=1&state=any&sort=idle&limit=2&offset=1&acc=A")
		f.Add(uint8(n), "unused=1&accounts=t&streams=T&consumers=true&config=0&raft=F&cid=1&test=a.b&queues=a&all=1")
		switch path {
		case "connz", "subsz":
			f.Add(uint8(n), "limit=9223372036854775807&offset=9223372036854775807&subs=1")
		case "healthz":
			f.Add(uint8(n), "js-enabled=1&account=A&stream=S&consumer=C&details=1")
		}
	}
	m := New(connected())
	h := m.Handler("")
	f.Fuzz(func(t *testing.T, n uint8, query string) {
		path := "/" + paths[int(n)%len(paths)]
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path, RawQuery: query}})
		switch w.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable:
		default:
			t.Fatalf("%s: status %d: %s", path, w.Code, w.Body)
		}
		if w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s: no JSON: %s", path, w.Body)
		}
	})
}

// FuzzRequest does the same with the bodies of requests.
func FuzzRequest(f *testing.F) {
	f.Add(1, []byte(`{"sort":"idle","limit":-1,"offset":9223372036854775807,"state":2,"acc":"A","filter_subject":"a.>"}`), "A")
	f.Add(5, []byte(`{"subscriptions":true,"test":"a.b","limit":9223372036854775807,"offset":9223372036854775807}`), "")
	f.Add(9, []byte(`{"account":"A","stream":"S"}`), "")
	m := New(connected())
	all := slices.Concat(Endpoints, AccountEndpoints)
	f.Fuzz(func(t *testing.T, n int, body []byte, account string) {
		e := all[uint(n)%uint(len(all))]
		o, err := e.Decode(body, account)
		if err != nil {
			return
		}
		if p, ok := o.(*ProfilezOptions); ok && (p.Slow() || strings.Contains(p.Name, "trace")) {
			return
		}
		doc, err := e.Answer(m, o)
		if err != nil {
			return
		}
		b, err := json.Marshal(doc)
		if err != nil || bytes.Equal(b, []byte("null")) {
			t.Fatalf("%s: %s, %v", e.Name, b, err)
		}
	})
}

// BenchmarkConnz: a page of 1,024 of 10,000 connections.
func BenchmarkConnz(b *testing.B) {
	s := newSource()
	for id := range uint64(10_000) {
		s.open = append(s.open, &conn{snap: s.snapshot(id+1, "u", "A", nil)})
	}
	m := New(s)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.connz(&ConnzOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
