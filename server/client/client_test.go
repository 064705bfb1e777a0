package client

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/auth"
)

func TestRedact(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"user":"u","pass":"s3"}`, `{"user":"u","pass":"[REDACTED]"}`},
		{`{"pass": "s3", "sig":"x" ,"nkey":"U"}`, `{"pass": "[REDACTED]", "sig":"[REDACTED]" ,"nkey":"[REDACTED]"}`},
		{`{"PASS":"a\"b","Auth_Token":"t","auth_token_2":1}`, `{"PASS":"[REDACTED]","Auth_Token":"[REDACTED]","auth_token_2":"[REDACTED]"}`},
		{`{"p\u0061ss":"s3","verbose":true}`, `{"p\u0061ss":"[REDACTED]","verbose":true}`},
		{`{"user":"u","pass":"s3`, `{"user":"u""[REDACTED]"`},
		{`"s3"`, `"[REDACTED]"`},
		{`{}`, `{}`},
	} {
		if got := string(redact([]byte(tt.in))); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, got, tt.want)
		}
	}
}

// FuzzRedact: whatever is read as the password of a CONNECT is not in the log.
func FuzzRedact(f *testing.F) {
	f.Add([]byte(`{"user":"u","pass":"s3cret-value"}`))
	f.Add([]byte(`{"pass":"first-secret","PASS":"second-secret","x":{"pass":1}}`))
	f.Add([]byte(`{"p\u0061ss":"s3cret-value"`))
	f.Fuzz(func(t *testing.T, in []byte) {
		out := redact(in)
		var c struct{ Pass string }
		if json.Unmarshal(in, &c) != nil || len(c.Pass) < 8 || bytes.Count(in, []byte(c.Pass)) != 1 {
			return
		}
		if bytes.Contains(out, []byte(c.Pass)) {
			t.Errorf("%q shows %q", out, c.Pass)
		}
	})
}

// TestGrants: how often and how long a reply subject may be answered.
func TestGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &auth.Responses{Max: 2, Expires: time.Minute}
		var g grants
		a := []byte("a")
		use := func(want ...bool) {
			t.Helper()
			for i, w := range want {
				if got := g.use(r, a); got != w {
					t.Errorf("use %d: %v", i, got)
				}
			}
		}
		use(false)
		g.add(r, a)
		use(true, true, false, false)
		// Another request with the same reply renews the grant and takes nothing.
		g.add(r, a)
		g.add(r, a)
		g.add(r, a)
		use(true, true, false)
		g.add(r, a)
		time.Sleep(time.Minute)
		use(true)
		g.add(r, a)
		time.Sleep(time.Minute + 1)
		use(false)
		// Grants that nobody uses do not pile up: they go after some time, and the oldest when there are too many.
		reply := func(i int) []byte { return []byte{byte(i), byte(i >> 8), byte(i >> 16)} }
		for i := range 1000 {
			g.add(r, reply(i))
		}
		for range 2 {
			time.Sleep(2 * time.Minute)
			g.add(r, a)
		}
		if n := len(g.young) + len(g.old); n != 1 {
			t.Errorf("%d grants kept", n)
		}
		long := make([]byte, 1<<10, 2<<10)
		for i := range 3 * maxGrantBytes >> 10 {
			g.add(r, append(long, reply(i)...))
		}
		if n := len(g.young) + len(g.old); n > 2*maxGrantBytes>>10 {
			t.Errorf("%d grants of long subjects kept", n)
		}
		for i := range 3 * maxGrants {
			g.add(r, reply(i))
		}
		if n := len(g.young) + len(g.old); n > 2*maxGrants {
			t.Errorf("%d grants kept", n)
		}
		for i, want := range map[int]bool{0: false, 2*maxGrants + 1: true, 3*maxGrants - 1: true} {
			if got := g.use(r, reply(i)); got != want {
				t.Errorf("grant %d: %v", i, got)
			}
		}
		g.add(r, a)
		unlimited := &auth.Responses{Max: -1, Expires: -1}
		time.Sleep(time.Hour)
		for range 1000 {
			if !g.use(unlimited, a) {
				t.Fatal("an unlimited grant ended")
			}
		}
	})
}

func TestReservedReply(t *testing.T) {
	for reply, want := range map[string]bool{
		"": false, "in": false, "_R_.": true, "_R_.x": true, "_R_": false, "$JS.ACK.": false, "$JS.ACK.x": true,
		"_GR_.": false, "_GR_.x": true, "_INBOX.x": false, "$JS.API": false,
	} {
		if got := reservedReply([]byte(reply)); got != want {
			t.Errorf("%q: %v", reply, got)
		}
	}
}

func TestTraceHeaders(t *testing.T) {
	for v, want := range map[string]bool{
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": true,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03": true,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7":    false,
		"00-x-y-1": false, "00-x-y-zz": false, "": false,
	} {
		for _, name := range []string{"traceparent", "TraceParent"} {
			if got := traceParent(map[string][]string{name: {v}}); got != want {
				t.Errorf("%s: %q: %v", name, v, got)
			}
		}
	}
	for v, want := range map[string]string{
		"": "", "gzip": "gzip", "gzip, Snappy": "snappy", "deflate": "identity", "s2": "snappy",
	} {
		if got := traceEncoding(v); got != want {
			t.Errorf("%q: %q", v, got)
		}
	}
	for v, want := range map[string]bool{"1": true, "TRUE": true, "On": true, "0": false, "yes": false, "": false} {
		if got := traceOnly(v); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}

// TestReasons: every reason has a text, and no two the same.
func TestReasons(t *testing.T) {
	seen := map[string]Reason{}
	for r := ClientClosed; r <= ProxyRequired; r++ {
		text := r.String()
		if other, ok := seen[text]; ok || text == "Unknown State" || strings.TrimSpace(text) != text {
			t.Errorf("reason %d: %q, as %d", r, text, other)
		}
		seen[text] = r
	}
	if Reason(0).String() != "Unknown State" || Reason(200).String() != "Unknown State" {
		t.Error("numbers that are no reasons have a text")
	}
}

func TestDigits(t *testing.T) {
	for n, want := range map[int]int{0: 1, 9: 1, 10: 2, 99: 2, 100: 3, 1048576: 7} {
		if got := digits(n); got != want {
			t.Errorf("%d: %d", n, got)
		}
	}
}

// TestStuckTurn: a receiver is waited for each time until it is stuck, and now and
// then after that.
func TestStuckTurn(t *testing.T) {
	var s stuckTurn
	begin := time.Unix(1000, 0)
	for _, tt := range []struct {
		at, still time.Duration
		want      bool
	}{
		{0, 0, true},
		{time.Millisecond, stuckAfter, true},
		{2 * time.Millisecond, stuckAfter + 1, true},
		{3 * time.Millisecond, stuckAfter + time.Millisecond, false},
		{2*time.Millisecond + stuckStall - 1, stuckAfter + stuckStall, false},
		{2*time.Millisecond + stuckStall, stuckAfter + stuckStall, true},
		{3*time.Millisecond + stuckStall, stuckAfter + stuckStall, false},
		{4*time.Millisecond + stuckStall, 0, true}, // it read something
		{5*time.Millisecond + stuckStall, time.Millisecond, true},
	} {
		if got := s.turn(tt.still, begin.Add(tt.at)); got != tt.want {
			t.Errorf("at %v, still for %v: %v", tt.at, tt.still, got)
		}
	}
}

// TestClaimed: the log names who failed to log in, and no secret.
func TestClaimed(t *testing.T) {
	for _, tt := range []struct {
		opts natsproto.Connect
		want string
	}{
		{natsproto.Connect{Token: "t", Pass: "p"}, ""},
		{natsproto.Connect{User: "a\n", Pass: "p"}, ` - User "a\n"`},
		{natsproto.Connect{User: "a", NKey: "UK", Sig: "s"}, ` - Nkey "UK"`},
	} {
		if got := claimed(&tt.opts); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.opts, got, tt.want)
		}
	}
}
