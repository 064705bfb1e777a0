package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Latencies of requests that end badly, and of those that a trace header chose.
func TestRecordedLatencies(t *testing.T) {
	const conf = `accounts {
		A {
			users: [{user: a, password: p}]
			exports: [
				{service: plain, latency: lat.plain}
				{service: late, threshold: "100ms", latency: lat.late}
				{service: traced, latency: {subject: lat.traced, sampling: headers}}
			]
		}
		B {
			users: [{user: b, password: p}]
			imports: [
				{service: {account: A, subject: plain}, to: shared, share: true}
				{service: {account: A, subject: plain}}
				{service: {account: A, subject: late}, share: true}
				{service: {account: A, subject: traced}}
			]
		}
		SYS {}
	}, system_account: SYS, server_name: V1`
	s := startConf(t, conf)
	a := connect(t, s, nats.UserInfo("a", "p"), nats.Name("svc-a"))
	b := connect(t, s, nats.UserInfo("b", "p"), nats.Name("req-b"))
	results, err := a.SubscribeSync("lat.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	requests := make(chan *nats.Msg, 10)
	serve := func(subject string) *nats.Subscription {
		t.Helper()
		sub, err := a.ChanSubscribe(subject, requests)
		if err == nil {
			err = a.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	ask := func(subject string, headers ...string) *nats.Subscription {
		t.Helper()
		inbox, err := b.SubscribeSync(nats.NewInbox())
		if err != nil {
			t.Fatal(err)
		}
		m := &nats.Msg{Subject: subject, Reply: inbox.Subject, Header: nats.Header{}}
		for i := 0; i < len(headers); i += 2 {
			m.Header[headers[i]] = headers[i+1 : i+2]
		}
		if err := errors.Join(b.PublishMsg(m), b.Flush()); err != nil {
			t.Fatal(err)
		}
		return inbox
	}
	expect := func(name string) {
		t.Helper()
		m, err := results.NextMsg(patience)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		compareRecorded(t, name, m.Data)
		var want, got struct {
			Status      int
			Description string
			Header      map[string][]string
		}
		if err := json.Unmarshal(recorded(t, name), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(m.Data, &got); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v: %s", name, got, want, m.Data)
		}
	}
	ask("shared")
	expect("event-service_latency-503_unavailable")
	plain := serve("plain")
	inbox := ask("shared")
	if err := inbox.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	expect("event-service_latency-408_interest_lost")
	if m, ok := <-requests; !ok || m.Subject != "plain" {
		t.Fatalf("request %v", m)
	}
	if err := plain.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	serve("late")
	ask("late")
	expect("event-service_latency-504_timeout")

	if _, err := a.Subscribe("traced", func(m *nats.Msg) { m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Subscribe("plain", func(m *nats.Msg) { m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	ask("traced")
	ask("traced", "Traceparent", parent)
	expect("event-service_latency-hdr_Traceparent")
	ask("traced", "traceparent", parent)
	expect("event-service_latency-hdr_traceparent_lower")
	ask("traced", "X-B3-Sampled", "1", "X-B3-TraceId", "80f198ee56343ba864fe8b2a57d3eff7")
	expect("event-service_latency-hdr_b3")
	ask("traced", "Uber-Trace-Id", "479fefe9525eddb:5adb976bfc1f95c1:479fefe9525eddb:1")
	expect("event-service_latency-hdr_uber")
	ask("plain")
	expect("event-service_latency")
}

// What is asked about account JWTs.
func TestRecordedClaims(t *testing.T) {
	s := startFixture(t, "operator-full.conf", "")
	sys, ok := fixtureUser(t, s, "sys-user")
	if !ok {
		t.Fatal("refused")
	}
	for _, c := range []struct{ name, subject, body string }{
		{"req-CLAIMS.LIST", "$SYS.REQ.CLAIMS.LIST", ""},
		{"req-CLAIMS.UPDATE-A", "$SYS.REQ.CLAIMS.UPDATE", authFixture(t, "account-A.jwt")},
		{"req-CLAIMS.UPDATE-bad", "$SYS.REQ.CLAIMS.UPDATE", "garbage"},
	} {
		m, err := sys.Request(c.subject, []byte(c.body), patience)
		if err != nil {
			t.Fatal(err)
		}
		compareRecorded(t, c.name, m.Data)
		values := func(b []byte) string {
			var r struct{ Data, Error any }
			if err := json.Unmarshal(b, &r); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(r)
		}
		if got, want := values(m.Data), values(recorded(t, c.name)); got != want {
			t.Errorf("%s: %s, want %s", c.name, got, want)
		}
	}
}

// Requests whose answers are about the server itself.
func TestRecordedRequests(t *testing.T) {
	f := startFile(t, fmt.Sprintf(recordedConf, t.TempDir()))
	s := f.Server
	sys := connect(t, s, nats.UserInfo("sys", "p"), nats.Name("sysmon"))
	for name, subject := range map[string]string{
		"req-RELOAD":            "$SYS.REQ.SERVER." + s.ID() + ".RELOAD",
		"req-USER.INFO":         "$SYS.REQ.USER.INFO",
		"req-DEBUG.SUBSCRIBERS": "$SYS.DEBUG.SUBSCRIBERS",
	} {
		m, err := sys.Request(subject, nil, patience)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		compareRecorded(t, name, m.Data)
	}
	js, err := connect(t, s, nats.UserInfo("a", "p")).JetStream(nats.MaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "ORD"}); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"ipqueuesz": "/ipqueuesz?all=1", "ipqueuesz-empty": "/ipqueuesz"} {
		var body []byte
		asRecorded := func() bool { // when nothing is in the queues
			body = get(s, path).Body.Bytes()
			return slices.Equal(differences(shapeOf(t, recorded(t, name)), shapeOf(t, body)), slices.Sorted(slices.Values(intended[name])))
		}
		for deadline := time.Now().Add(patience); !asRecorded() && time.Now().Before(deadline); {
			runtime.Gosched()
		}
		compareRecorded(t, name, body)
	}
}

// What a server publishes about its accounts.
func TestRecordedAccountEvents(t *testing.T) {
	s, sys, _ := recordedSituation(t)
	subscribed := map[string]*nats.Subscription{}
	for _, subject := range []string{
		"$SYS.ACCOUNT.B.CONNECT", "$SYS.ACCOUNT.B.DISCONNECT", "$SYS.ACCOUNT.B.SERVER.CONNS", "$SYS.SERVER.ACCOUNT.B.CONNS", "$SYS.SERVER.ACCOUNT.A.CONNS",
		"$SYS.ACCOUNT.$G.DISCONNECT", "$SYS.ACCOUNT.SYS.CONNECT", "$SYS.ACCOUNT.SYS.SERVER.CONNS", "$SYS.SERVER.ACCOUNT.SYS.CONNS",
	} {
		sub, err := sys.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		subscribed[subject] = sub
	}
	if err := sys.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"a", "sys", "b"} {
		nc := connect(t, s, nats.UserInfo(user, "p"), nats.Name("x"))
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if user == "b" {
			nc.Close()
		}
	}
	if nc, err := nats.Connect("nats://"+s.Addr().String(), nats.UserInfo("a", "wrong"), nats.Timeout(patience)); err == nil {
		nc.Close()
		t.Error("logged in with a wrong password")
	}
	for subject, sub := range subscribed {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		compareRecorded(t, "event-"+strings.ReplaceAll(subject, "$", ""), m.Data)
	}
}
