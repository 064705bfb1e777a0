package natsproto

import (
	"strings"
	"testing"
)

func TestHeaderValue(t *testing.T) {
	for _, tt := range []struct{ hdr, name, want string }{
		{"NATS/1.0\r\nA: 1\r\nB:  2 \r\n\r\n", "A", "1"},
		{"NATS/1.0\r\nA: 1\r\nB:  2 \r\n\r\n", "B", "2 "},
		{"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n", "A", "1"},
		{"NATS/1.0\r\na: 1\r\n\r\n", "A", "none"},
		{"NATS/1.0\r\nXA: 1\r\n\r\n", "A", "none"},
		{"NATS/1.0\r\nA:\r\n\r\n", "A", ""},
		{"A: 1\r\n\r\n", "A", "none"},
		{"NATS/1.0\r\nA: 1", "A", "none"},
		{"NATS/1.0\r\nAB: 1\r\nA: 2\r\n\r\n", "A", "2"},
		{"", "A", "none"},
	} {
		got := "none"
		if v := HeaderValue([]byte(tt.hdr), tt.name); v != nil {
			got = string(v)
		}
		if got != tt.want {
			t.Errorf("HeaderValue(%q, %q) = %q, want %q", tt.hdr, tt.name, got, tt.want)
		}
	}
}

func TestEditHeaders(t *testing.T) {
	h := []byte("NATS/1.0\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n")
	for _, tt := range []struct{ name, got, want string }{
		{"set new", string(SetHeader(nil, "A", "1")), "NATS/1.0\r\nA: 1\r\n\r\n"},
		{"set", string(SetHeader(h, "A", "x")), "NATS/1.0\r\nB: 2\r\nA: x\r\n\r\n"},
		{"remove", string(RemoveHeader(h, "A")), "NATS/1.0\r\nB: 2\r\n\r\n"},
		{"remove last", string(RemoveHeader([]byte("NATS/1.0\r\nB: 2\r\n\r\n"), "B")), ""},
		{"remove none", string(RemoveHeader(h, "C")), string(h)},
		{"remove keeps status", string(RemoveHeader([]byte("NATS/1.0 503\r\nB: 2\r\n\r\n"), "B")), "NATS/1.0 503\r\n\r\n"},
		{"status off", string(RemoveStatus([]byte("NATS/1.0 503 Foo\r\nB: 2\r\n\r\n"))), "NATS/1.0\r\nB: 2\r\n\r\n"},
		{"status only", string(RemoveStatus([]byte("NATS/1.0 503\r\n\r\n"))), ""},
		{"no status", string(RemoveStatus(h)), string(h)},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, tt.got, tt.want)
		}
	}
	code, desc := HeaderStatus([]byte("NATS/1.0 409 Message Size Exceeds MaxBytes\r\n\r\n"))
	if string(code) != "409" || string(desc) != "Message Size Exceeds MaxBytes" {
		t.Errorf("status %q %q", code, desc)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add([]byte("NATS/1.0\r\nA: 1\r\nB: 2\r\nA: 3\r\n\r\n"), "A", "x")
	f.Add([]byte("NATS/1.0 503\r\n\r\n"), "B", "")
	f.Fuzz(func(t *testing.T, hdr []byte, name, value string) {
		if name == "" || strings.ContainsAny(name, ":\r\n ") || strings.ContainsAny(value, "\r\n") {
			return
		}
		RemoveStatus(hdr)
		HeaderStatus(hdr)
		for range Headers(hdr) {
		}
		out := SetHeader(hdr, name, value)
		if v := HeaderValue(RemoveHeader(hdr, name), name); v != nil {
			t.Fatalf("%q removed from %q leaves %q", name, hdr, v)
		}
		if strings.HasPrefix(string(hdr), HeaderLine) && strings.HasSuffix(string(hdr), "\r\n\r\n") {
			if got := HeaderValue(out, name); strings.TrimLeft(value, " ") != string(got) {
				t.Fatalf("set %q=%q in %q gives %q: %q", name, value, hdr, out, got)
			}
		}
	})
}

func TestEncode(t *testing.T) {
	m := LinkMsg{Account: "X", Subject: []byte("foo"), Reply: []byte("r"), Queues: []string{"q1", "q2"}, Size: 2}
	hm := LinkMsg{Origin: "SC", Account: "X", Subject: []byte("bar"), Size: 1}
	leaf := LinkMsg{Subject: []byte("foo"), Queues: []string{"q"}, HdrLen: 12, Size: 14}
	for _, tt := range []struct{ got, want string }{
		{string(AppendMsg(nil, "foo", "1", "", 2)), "MSG foo 1 2\r\n"},
		{string(AppendMsg(nil, "foo", "1", "r", 2)), "MSG foo 1 r 2\r\n"},
		{string(AppendHMsg(nil, "foo", "1", "r", 12, 14)), "HMSG foo 1 r 12 14\r\n"},
		{string(AppendNoResponders(nil, "inbox", "9", "nobody")), "HMSG inbox 9 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n"},
		{string(AppendErr(nil, "Stale Connection")), "-ERR 'Stale Connection'\r\n"},
		{string(m.AppendRoute(nil)), "RMSG X foo + r q1 q2 2\r\n"},
		{string(hm.AppendRoute(nil)), "LMSG SC X bar 0 1\r\n"},
		{string(leaf.AppendLeaf(nil)), "HMSG foo | q 12 14\r\n"},
		{string((&LinkSub{Account: "X", Subject: "foo", Queue: "q", Weight: 3}).AppendRoute(nil, true)), "RS+ X foo q 3\r\n"},
		{string((&LinkSub{Origin: "SC", Account: "X", Subject: "foo", Queue: "q"}).AppendRoute(nil, false)), "LS- SC X foo q\r\n"},
		{string((&LinkSub{Subject: "foo"}).AppendLeaf(nil, true)), "LS+ foo\r\n"},
		{string(AppendAccount(nil, "X", false)), "A- X\r\n"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

func TestConnectKeepsWhatIsAbsent(t *testing.T) {
	c := DefaultConnect()
	if err := c.Decode([]byte(`{"VERBOSE":false,"user":"a","x":1}`)); err != nil {
		t.Fatal(err)
	}
	if c.Verbose || !c.Pedantic || !c.Echo || c.User != "a" {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{"", "{", `{"verbose":1}`} {
		if err := c.Decode([]byte(bad)); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
