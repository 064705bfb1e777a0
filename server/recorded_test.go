package server

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
)

// compareRecorded compares the members of a document with those of a recorded one.
func compareRecorded(t *testing.T, name string, got []byte) {
	t.Helper()
	if d := differences(shapeOf(t, recorded(t, name)), shapeOf(t, got)); !slices.Equal(d, slices.Sorted(slices.Values(intended[name]))) {
		t.Errorf("%s: differences %q, intended %q\nours: %s", name, d, intended[name], got)
	}
}

// Refusals are those that were recorded, to the byte.
func TestRecordedRefusals(t *testing.T) {
	s, _, _ := recordedSituation(t)
	for name, path := range map[string]string{
		"connz-all":                     "/connz?state=all&sort=stop",
		"raftz":                         "/raftz",
		"err-accountz":                  "/accountz?acc=NOPE",
		"err-connz-bool":                "/connz?auth=foo",
		"err-connz-cid":                 "/connz?cid=-1",
		"err-connz-int":                 "/connz?limit=foo",
		"err-connz-reason-open":         "/connz?sort=reason",
		"err-connz-sort":                "/connz?sort=foo",
		"err-connz-state":               "/connz?state=foo",
		"err-connz-stop-open":           "/connz?sort=stop",
		"err-healthz-badacct":           "/healthz?account=NOPE",
		"err-healthz-badconsumer":       "/healthz?account=A&stream=ORD&consumer=NOPE",
		"err-healthz-badstream":         "/healthz?account=A&stream=NOPE",
		"err-healthz-badstream-details": "/healthz?account=A&stream=NOPE&details=1",
		"err-healthz-noacct":            "/healthz?stream=ORD",
		"err-healthz-noacct-details":    "/healthz?stream=ORD&details=1",
		"err-healthz-nostream":          "/healthz?account=A&consumer=C1",
		"err-subsz-test":                "/subsz?subs=1&test=svc.*",
	} {
		want, err := os.ReadFile(filepath.Join("testdata", "monitoring", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		w := get(s, path)
		if got := fmt.Sprintf("%d\n%s", w.Code, w.Body); got != strings.TrimRight(string(want), "\n") && got != string(want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestRecordedSelections(t *testing.T) {
	s, sys, a := recordedSituation(t)
	closed := connect(t, s, nats.UserInfo("a", "p"))
	if _, err := closed.SubscribeSync("x"); err != nil {
		t.Fatal(err)
	}
	if err := closed.Flush(); err != nil {
		t.Fatal(err)
	}
	closed.Close()
	waitUntil(t, func() bool { _, n := s.ClosedClients(); return n == 1 })
	for name, path := range map[string]string{
		"accstatz-unused":          "/accstatz?unused=1",
		"connz-acc":                "/connz?acc=A&auth=1",
		"connz-acc-missing":        "/connz?acc=NOPE",
		"connz-cid":                "/connz?cid=99999",
		"connz-user":               "/connz?user=a&auth=1",
		"connz-closed-sort-reason": "/connz?state=closed&sort=reason",
		"healthz-consumer":         "/healthz?account=A&stream=ORD&consumer=C1",
		"healthz-jsenabled":        "/healthz?js-enabled-only=1",
		"jsz-acc":                  "/jsz?acc=A&consumers=1",
		"subsz-test":               "/subsz?subs=1&test=svc.one&acc=A",
	} {
		w := get(s, path)
		if w.Code != http.StatusOK {
			t.Errorf("%s: status %d: %s", path, w.Code, w.Body)
			continue
		}
		compareRecorded(t, name, w.Body.Bytes())
	}
	for name, q := range map[string][2]string{
		"req-ACCOUNT.PING.STATZ":     {"$SYS.REQ.ACCOUNT.PING.STATZ", `{"accounts":["A","B"]}`},
		"req-CONNZ-closed":           {"$SYS.REQ.SERVER.PING.CONNZ", `{"state":1,"auth":true}`},
		"req-CONNZ-filter":           {"$SYS.REQ.SERVER.PING.CONNZ", `{"acc":"A","filter_subject":"svc.>","auth":true,"subscriptions_detail":true}`},
		"req-PING.ACCOUNTZ":          {"$SYS.REQ.SERVER.PING.ACCOUNTZ", ""},
		"req-PING.CONNZ":             {"$SYS.REQ.SERVER.PING.CONNZ", ""},
		"req-PING.EXPVARZ":           {"$SYS.REQ.SERVER.PING.EXPVARZ", ""},
		"req-PING.GATEWAYZ":          {"$SYS.REQ.SERVER.PING.GATEWAYZ", ""},
		"req-PING.LEAFZ":             {"$SYS.REQ.SERVER.PING.LEAFZ", ""},
		"req-PING.ROUTEZ":            {"$SYS.REQ.SERVER.PING.ROUTEZ", ""},
		"req-PING.STATSZ":            {"$SYS.REQ.SERVER.PING.STATSZ", ""},
		"req-PING.SUBSZ":             {"$SYS.REQ.SERVER.PING.SUBSZ", ""},
		"req-PROFILEZ-cpu-err":       {"$SYS.REQ.SERVER.PING.PROFILEZ", `{"name":"cpu"}`},
		"req-PROFILEZ-err":           {"$SYS.REQ.SERVER.PING.PROFILEZ", `{"name":"nope"}`},
		"req-err-ACCOUNT.INFO":       {"$SYS.REQ.ACCOUNT.NOPE.INFO", ""},
		"req-err-ACCOUNT.JSZ":        {"$SYS.REQ.ACCOUNT.B.JSZ", ""},
		"req-err-connz-filter":       {"$SYS.REQ.SERVER.PING.CONNZ", `{"filter_subject":"x"}`},
		"req-err-connz-sort":         {"$SYS.REQ.SERVER.PING.CONNZ", `{"sort":"foo"}`},
		"req-err-connz-state-string": {"$SYS.REQ.SERVER.PING.CONNZ", `{"state":"closed"}`},
		"req-err-statsz-badjson":     {"$SYS.REQ.SERVER.PING.STATSZ", `{bad`},
	} {
		m, err := sys.Request(q[0], []byte(q[1]), patience)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		compareRecorded(t, name, m.Data)
		var want, got struct{ Error *struct{ Code int } }
		if json.Unmarshal(recorded(t, name), &want) != nil || json.Unmarshal(m.Data, &got) != nil || (want.Error == nil) != (got.Error == nil) ||
			want.Error != nil && want.Error.Code != got.Error.Code {
			t.Errorf("%s: another error: %s", name, m.Data)
		}
	}
	m, err := a.Request("$SYS.REQ.SERVER.PING.CONNZ", []byte(`{"auth":true}`), patience)
	if err != nil {
		t.Fatal(err)
	}
	compareRecorded(t, "req-A-SERVER.PING.CONNZ", m.Data)
}

// Answers to requests about what is not there, or is not said.
func TestOddRequests(t *testing.T) {
	s, sys, _ := recordedSituation(t)
	for _, c := range []struct{ subject, body, want string }{
		{"$SYS.REQ.ACCOUNT.A.CONNS", `{}`, `"acc":"A"`},
		{"$SYS.REQ.ACCOUNT.A.CONNS", `{"acc":"A"}`, `"acc":"A"`},
		{"$SYS.REQ.ACCOUNT.NOPE.STATZ", `{"include_unused":true}`, `"account_statz":[]`},
		{"$SYS.REQ.ACCOUNT.PING.STATZ", `{"accounts":["NOPE"],"include_unused":true}`, `"account_statz":[]`},
		{"$SYS.DEBUG.SUBSCRIBERS", "", "0"},
		{"$SYS.DEBUG.SUBSCRIBERS", "a b c", "0"},
		{"$SYS.DEBUG.SUBSCRIBERS", "a..b", "0"},
	} {
		m, err := sys.Request(c.subject, []byte(c.body), patience)
		if err != nil || !strings.Contains(string(m.Data), c.want) {
			t.Errorf("%s %s: %v, want %s", c.subject, c.body, m, c.want)
		}
	}
	// An account that is not there selects nothing.
	for _, c := range []struct{ with, without string }{
		{"/jsz?acc=NOPE", "/jsz"},
		{"/jsz?acc=NOPE&accounts=1", "/jsz?accounts=1"},
		{"/jsz?acc=NOPE&consumers=1", "/jsz?consumers=1"},
	} {
		got, want := shapeOf(t, get(s, c.with).Body.Bytes()), shapeOf(t, get(s, c.without).Body.Bytes())
		if d := differences(want, got); len(d) > 0 {
			t.Errorf("%s is not as %s: %q", c.with, c.without, d)
		}
	}
}

// Compressed replies are of the recorded formats: what reads those reads ours.
func TestRecordedCompression(t *testing.T) {
	_, sys, _ := recordedSituation(t)
	for name, open := range map[string]func(io.Reader) (io.Reader, error){
		"gzip":   func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"snappy": func(r io.Reader) (io.Reader, error) { return s2.NewReader(r), nil },
	} {
		theirs, err := os.ReadFile(filepath.Join("testdata", "monitoring", "req-VARZ."+name+".bin"))
		if err != nil {
			t.Fatal(err)
		}
		q := nats.NewMsg("$SYS.REQ.SERVER.PING.VARZ")
		q.Header["Accept-Encoding"] = []string{name}
		m, err := sys.RequestMsg(q, patience)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header["Content-Encoding"]; !slices.Equal(got, []string{name}) {
			t.Errorf("encoding %q, want %s", got, name)
		}
		if !bytes.Equal(m.Data[:2], theirs[:2]) {
			t.Errorf("%s begins with % x, theirs with % x", name, m.Data[:2], theirs[:2])
		}
		for _, b := range [][]byte{theirs, m.Data} {
			r, err := open(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil || !json.Valid(text) {
				t.Errorf("%s: %v in %.100s", name, err, text)
			}
		}
	}
}

// measuredSituation shares information about who asks.
func measuredSituation(t *testing.T) (s *Server, sys, a, b *nats.Conn) {
	conf := strings.Replace(fmt.Sprintf(recordedConf, t.TempDir()), `to: "one"}`, `to: "one", share: true}`, 1)
	s, sys, a = recordedSituationOf(t, conf)
	return s, sys, a, connect(t, s, nats.UserInfo("b", "p"), nats.Name("req-b"))
}

// Traces and latencies of one server.
func TestRecordedMeasurements(t *testing.T) {
	s, _, a, b := measuredSituation(t)
	results, err := a.SubscribeSync("lat.svc")
	if err != nil {
		t.Fatal(err)
	}
	traces, err := a.SubscribeSync("trace.me")
	if err != nil {
		t.Fatal(err)
	}
	nameless := connect(t, s, nats.UserInfo("b", "p"))
	over, err := b.SubscribeSync("tb")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*nats.Conn{a, b} {
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(name string, from *nats.Subscription) {
		t.Helper()
		m, err := from.NextMsg(patience)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		compareRecorded(t, name, m.Data)
	}
	if _, err := b.Request("one", nil, patience); err != nil {
		t.Fatal(err)
	}
	expect("event-service_latency-200_ok", results)
	if err := b.Publish("one", nil); err != nil {
		t.Fatal(err)
	}
	expect("event-service_latency-400_noreply", results)
	q := nats.NewMsg("ord.traced")
	q.Header["Nats-Trace-Dest"] = []string{"trace.me"}
	if err := a.PublishMsg(q); err != nil {
		t.Fatal(err)
	}
	expect("trace-js-0", traces)
	q = nats.NewMsg("one")
	q.Header["Nats-Trace-Dest"] = []string{"tb"}
	if _, err := nameless.RequestMsg(q, patience); err != nil {
		t.Fatal(err)
	}
	expect("trace-svcimport-0", over)
}
