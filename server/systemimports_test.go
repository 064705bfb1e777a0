package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"github.com/natsd/natsd/server/monitor"
)

// What the administrator exports from the system account decides who may use it.
func TestSystemExports(t *testing.T) {
	s := startConf(t, `accounts {
		$SYS { users: [{user: sys, password: p}], exports: [{service: "$SYS.REQ.ACCOUNT.*.CONNZ", accounts: [A], response_type: stream}] }
		A { users: [{user: a, password: p}] }
		B { users: [{user: b, password: p}] }
	}`)
	for _, c := range []struct {
		user, subject string
		ok            bool
	}{
		{"a", "$SYS.REQ.ACCOUNT.PING.CONNZ", true}, {"b", "$SYS.REQ.ACCOUNT.PING.CONNZ", false},
		{"a", "$SYS.REQ.ACCOUNT.PING.STATZ", true}, {"b", "$SYS.REQ.ACCOUNT.PING.STATZ", true}, {"b", "$SYS.REQ.USER.INFO", true},
	} {
		_, err := connect(t, s, nats.UserInfo(c.user, "p")).Request(c.subject, nil, patience)
		if (err == nil) != c.ok {
			t.Errorf("%s %s: %v", c.user, c.subject, err)
		}
	}
}

// detail is what /accountz tells about an account.
func detail(t *testing.T, s *Server, account string) *monitor.AccountDetail {
	t.Helper()
	w := get(s, "/accountz?acc="+account)
	var doc monitor.Accountz
	if err := json.Unmarshal(w.Body.Bytes(), &doc); w.Code != http.StatusOK || err != nil {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	return doc.Detail
}

// exportLines are the exports of an account, in the order of their text.
func exportLines(t *testing.T, s *Server, account string) []string {
	t.Helper()
	lines := []string{}
	for _, e := range detail(t, s, account).Exports {
		lines = append(lines, fmt.Sprint(e.Subject, " ", e.Type, " ", e.Response, " ", e.TokenPosition, " ", e.ApprovedAccounts))
	}
	slices.Sort(lines)
	return lines
}

// The services that the system account offers by itself are among its exports, but for those that its administrator
// exports.
func TestBuiltInExports(t *testing.T) {
	const (
		connz = "$SYS.REQ.ACCOUNT.*.CONNZ service Streamed 4 []"
		statz = "$SYS.REQ.ACCOUNT.*.STATZ service Streamed 4 []"
		subs  = "$SYS.DEBUG.SUBSCRIBERS service Singleton 0 []"
		info  = "$SYS.REQ.USER.*.INFO service Singleton 0 []"
	)
	for _, c := range []struct {
		conf, system string
		want         []string
	}{
		{"", "$SYS", []string{subs, connz, statz, info}},
		{`accounts { SYS { users: [{user: sys, password: p}] } }, system_account: SYS`, "SYS", []string{subs, connz, statz, info}},
		{
			`accounts { A {}, SYS { exports: [{service: "$SYS.DEBUG.SUBSCRIBERS"}, {service: "$SYS.REQ.ACCOUNT.*.CONNZ", accounts: [A]}, {stream: "$SYS.>"}] } }, system_account: SYS`, "SYS",
			[]string{subs, "$SYS.REQ.ACCOUNT.*.CONNZ service Singleton 0 [A]", statz, info, "$SYS.> stream  0 []"},
		},
		{`accounts { SYS { exports: [{service: "$SYS.>"}] } }, system_account: SYS`, "SYS", []string{"$SYS.> service Singleton 0 []"}},
	} {
		s := startFile(t, c.conf)
		want := slices.Sorted(slices.Values(c.want))
		for range 2 { // at the start, and after a reload
			if got := exportLines(t, s.Server, c.system); !slices.Equal(got, want) {
				t.Errorf("%s: exports %q, want %q", c.conf, got, want)
			}
			s.mustReload(c.conf)
		}
	}
}

// In operator mode other accounts may import what the system account offers by itself, as far as it is about them.
func TestOperatorImportsFromSystem(t *testing.T) {
	o := newTestOperator(t)
	service := func(subject, local string) *jwt.Import {
		return &jwt.Import{Subject: jwt.Subject(subject), LocalSubject: jwt.RenamingSubject(local), Account: o.pub("SYS"), Type: jwt.Service}
	}
	connz := func(of string) string { return "$SYS.REQ.ACCOUNT." + o.pub(of) + ".CONNZ" }
	tokens := map[string]string{
		"SYS": o.account("SYS", nil),
		"A": o.account("A", func(c *jwt.AccountClaims) {
			c.Imports.Add(service("$SYS.DEBUG.SUBSCRIBERS", "count"), service(connz("A"), "mine"))
		}),
		"B": o.account("B", func(c *jwt.AccountClaims) { c.Imports.Add(service(connz("A"), "theirs")) }),
	}
	s := startFile(t, o.line+"resolver: MEMORY\n"+o.preload(tokens))
	if got := exportLines(t, s.Server, o.pub("SYS")); len(got) != 4 {
		t.Errorf("exports of the system account: %q", got)
	}
	a := connect(t, s.Server, o.login("A"))
	for range 3 {
		if _, err := a.SubscribeSync("x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	if m, err := a.Request("count", []byte("x"), patience); err != nil || string(m.Data) != "3" {
		t.Errorf("subscribers: %v, %v", m, err)
	}
	if m, err := a.Request("mine", nil, patience); err != nil || !strings.Contains(string(m.Data), `"num_connections":1`) {
		t.Errorf("connections: %v, %v", m, err)
	}
	if _, err := connect(t, s.Server, o.login("B")).Request("theirs", nil, patience); err != nats.ErrNoResponders {
		t.Errorf("connections of another account: %v", err)
	}
	for name, complete := range map[string]bool{"A": true, "B": false} {
		if d := detail(t, s.Server, o.pub(name)); d.Complete != complete {
			t.Errorf("%s: complete %v, want %v", name, d.Complete, complete)
		}
	}
	// The administrator takes it back.
	tokens["SYS"] = o.account("SYS", func(c *jwt.AccountClaims) {
		c.Exports.Add(&jwt.Export{Subject: "$SYS.DEBUG.SUBSCRIBERS", Type: jwt.Service, TokenReq: true})
	})
	s.mustReload(o.line + "resolver: MEMORY\n" + o.preload(tokens))
	if _, err := a.Request("count", []byte("x"), patience); err != nats.ErrNoResponders {
		t.Errorf("subscribers, which needs an activation: %v", err)
	}
}

// What an account's claims say about exports and mappings is in its details.
func TestDetailsOfClaims(t *testing.T) {
	o := newTestOperator(t)
	revoked := time.Unix(1700000000, 0).UTC()
	s := startFile(t, o.line+"resolver: MEMORY\n"+o.preload(map[string]string{
		"SYS": o.account("SYS", nil),
		"A": o.account("A", func(c *jwt.AccountClaims) {
			c.Exports.Add(&jwt.Export{Subject: "ev.>", Type: jwt.Stream, TokenReq: true, Revocations: jwt.RevocationList{"*": revoked.Unix()}})
			c.Exports.Add(&jwt.Export{Subject: "svc.*", Type: jwt.Service, AccountTokenPosition: 2, ResponseType: jwt.ResponseTypeChunked, ResponseThreshold: time.Second})
			c.AddMapping("m.*", jwt.WeightedMapping{Subject: "n.$1", Weight: 80}, jwt.WeightedMapping{Subject: "o.$1", Weight: 20})
			c.Revocations = jwt.RevocationList{"*": revoked.Unix()}
		}),
	}))
	before := time.Now()
	if nc, err := nats.Connect("nats://"+s.Addr().String(), nats.Timeout(patience), o.login("A")); err != nil {
		t.Fatal(err)
	} else {
		nc.Close()
	}
	d := detail(t, s.Server, o.pub("A"))
	if d.Updated.Before(before) {
		t.Errorf("updated %v, before its claims were used (%v)", d.Updated, before)
	}
	got, err := json.Marshal(map[string]any{"exports": d.Exports, "mappings": d.Mappings, "revoked": d.RevokedUsers})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"exports":[` +
		`{"subject":"ev.\u003e","type":"stream","token_req":true,"revoked_activations":{"*":"2023-11-14T22:13:20Z"}},` +
		`{"subject":"svc.*","type":"service","response_type":"Chunked","response_threshold":1000000000,"account_token_position":2}],` +
		`"mappings":{"m.*":[{"subject":"o.$1","weight":20},{"subject":"n.$1","weight":100}]},` +
		`"revoked":{"*":"2023-11-14T22:13:20Z"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
