package server

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// users of the three accounts of a chain, who may share subjects as the body of
// each test says.
func chain(a, b, c string) string {
	return fmt.Sprintf(`accounts {
		A { users: [{user: a, password: p}], %s }
		B { users: [{user: b, password: p}], %s }
		C { users: [{user: c, password: p}], %s }
	}`, a, b, c)
}

func login(t testing.TB, s *Server, user string) *raw {
	t.Helper()
	return dial(t, s, fmt.Sprintf(`{"verbose":false,"headers":true,"no_responders":true,"user":%q,"pass":"p"}`, user))
}

// skipHeader reads a message with headers and returns its line and body, header
// block left out.
func (c *raw) message() (line, body string) {
	c.t.Helper()
	line = c.line()
	f := strings.Fields(line)
	if f[0] == "HMSG" {
		for c.line() != "" {
		}
		line = strings.Join(f[:len(f)-2], " ")
	} else {
		line = strings.Join(f[:len(f)-1], " ")
	}
	return line, c.line()
}

// TestServiceChain: a request through two imports and its answer back; the
// service never sees the requester's inbox, nor a second answer its way.
func TestServiceChain(t *testing.T) {
	s := startConf(t, chain(
		`exports: [{service: "svc.*"}]`,
		`imports: [{service: {account: A, subject: "svc.*"}, to: "mid.$1"}], exports: [{service: "mid.*"}]`,
		`imports: [{service: {account: B, subject: "mid.x"}, to: "local"}]`))
	a, c := login(t, s, "a"), login(t, s, "c")
	a.send("SUB svc.> 1\r\nPING\r\n")
	a.expect("PONG")
	c.send("SUB in 7\r\nPUB local in 5\r\nhello\r\n")
	line, body := a.message()
	var reply string
	if n, _ := fmt.Sscanf(line, "HMSG svc.x 1 %s", &reply); n != 1 || !strings.HasPrefix(reply, "_R_.") || body != "hello" {
		t.Fatalf("service got %q %q", line, body)
	}
	a.send("PUB %s 2\r\nhi\r\nPUB %s 2\r\nno\r\nPING\r\n", reply, reply)
	a.expect("PONG")
	c.send("PING\r\n")
	c.expect("MSG in 7 2", "hi", "PONG")
	// Nobody there: the requester learns it at once, through both imports.
	a.send("UNSUB 1\r\nPING\r\n")
	a.expect("PONG")
	c.send("PUB local in 0\r\n\r\n")
	c.expect("HMSG in 7 37 37", "NATS/1.0 503", "Nats-Subject: local", "", "")
}

// TestChainShares: what the last service of a chain is told about the requester is
// up to the import that the request came in by.
func TestChainShares(t *testing.T) {
	for _, tt := range []struct {
		first, second string
		shared        bool
	}{{"false", "true", false}, {"true", "false", true}} {
		s := startConf(t, chain(
			`exports: [{service: svc}]`,
			fmt.Sprintf(`imports: [{service: {account: A, subject: svc}, to: mid, share: %s}], exports: [{service: mid}]`, tt.second),
			fmt.Sprintf(`imports: [{service: {account: B, subject: mid}, share: %s}]`, tt.first)))
		a, c := login(t, s, "a"), login(t, s, "c")
		a.send("SUB svc 1\r\nPING\r\n")
		a.expect("PONG")
		c.send("PUB mid in 0\r\n\r\n")
		a.line()
		a.expect("NATS/1.0")
		info := a.line()
		if !strings.Contains(info, `"acc":"C"`) || !strings.Contains(info, `"svc":"B"`) || strings.Contains(info, `"user":"c"`) != tt.shared {
			t.Errorf("first %s, second %s: %s", tt.first, tt.second, info)
		}
	}
}

// TestForgedRequestInfo: what a requester says about itself does not reach the service, whatever its headers end in.
func TestForgedRequestInfo(t *testing.T) {
	s := startConf(t, chain(`exports: [{service: svc}]`, `imports: [{service: {account: A, subject: svc}}]`, ``))
	a, b := login(t, s, "a"), login(t, s, "b")
	a.send("SUB svc 1\r\nPING\r\n")
	a.expect("PONG")
	const forged = `Nats-Request-Info: {"acc":"C"}`
	for _, hdr := range []string{
		"NATS/1.0\r\n" + forged + "\r\n\r\n", "NATS/1.0\r\n" + forged + "\r\n", "NATS/1.0\r\n" + forged + "ab", "NATS/1.0\r\n" + forged,
		"NATS/1.0\r\n\r\n" + forged, "NATS/1.0\r\n\r\n" + forged + "\r\n\r\n",
	} {
		b.send("HPUB svc in %d %[1]d\r\n%s\r\nPING\r\n", len(hdr), hdr)
		b.expect("PONG")
		var size int
		if n, _ := fmt.Sscanf(a.line(), "HMSG svc 1 _R_.%13s %d %d", new(string), &size, new(int)); n != 3 {
			t.Fatal("no message")
		}
		got := make([]byte, size+2)
		if _, err := io.ReadFull(a.r, got); err != nil {
			t.Fatal(err)
		}
		if text := string(got); strings.Count(text, "Nats-Request-Info") != 1 || !strings.Contains(text, "\r\nNats-Request-Info: {\"acc\":\"B\"") {
			t.Errorf("%q arrives as %q", hdr, text)
		}
	}
}

// TestServiceResponses: how many answers each type of response lets through.
func TestServiceResponses(t *testing.T) {
	s := startConf(t, chain(
		`exports: [{service: one}, {service: many, response_type: stream}]`,
		`imports: [{service: {account: A, subject: one}}, {service: {account: A, subject: many}}]`, ``))
	a, b := login(t, s, "a"), login(t, s, "b")
	a.send("SUB * 1\r\nPING\r\n")
	a.expect("PONG")
	for _, tt := range []struct {
		subject string
		want    []string
	}{
		{"one", []string{"MSG in 1 1", "1", "PONG"}},
		{"many", []string{"MSG in 1 1", "1", "HMSG in 1 12 12", "NATS/1.0", "", "", "MSG in 1 1", "2", "MSG in 1 0", "", "PONG"}},
	} {
		b.send("SUB in 1\r\nPUB %s in 0\r\n\r\nPING\r\n", tt.subject)
		b.expect("PONG")
		line, _ := a.message()
		reply := strings.Fields(line)[3]
		// Headers without a payload are no end.
		a.send("PUB %[1]s 1\r\n1\r\nHPUB %[1]s 12 12\r\nNATS/1.0\r\n\r\n\r\nPUB %[1]s 1\r\n2\r\nPUB %[1]s 0\r\n\r\nPUB %[1]s 1\r\n3\r\nPING\r\n", reply)
		a.expect("PONG")
		b.send("PING\r\n")
		b.expect(tt.want...)
		b.send("UNSUB 1\r\n")
	}
}

// TestStreamChain: messages through two stream imports, subscriptions of every
// relation to the local subjects, and an automatic end that counts all of them.
func TestStreamChain(t *testing.T) {
	s := startConf(t, chain(
		`exports: [{stream: "ev.>"}]`,
		`imports: [{stream: {account: A, subject: "ev.*.>"}, to: "b.$1.>"}], exports: [{stream: "b.>"}]`,
		`imports: [{stream: {account: B, subject: "b.>"}, prefix: "c"}]`))
	a, c := login(t, s, "a"), login(t, s, "c")
	for _, sub := range []string{"> 1", "c.b.x.y 2", "c.b.*.y 3", "c.*.x.> q 4", "c.b.z.> 5", "*.b.x.y 6"} {
		c.send("SUB %s\r\n", sub)
	}
	c.send("PING\r\n")
	c.expect("PONG")
	publish := func() (got map[string]int) {
		a.send("PUB ev.x.y 2\r\nhi\r\nPING\r\n")
		a.expect("PONG")
		c.send("PING\r\n")
		got = map[string]int{}
		for {
			l := c.line()
			if l == "PONG" {
				return got
			}
			var sid string
			if n, _ := fmt.Sscanf(l, "MSG c.b.x.y %s 2", &sid); n != 1 {
				t.Fatalf("got %q", l)
			}
			got[sid]++
			c.expect("hi")
		}
	}
	got := publish()
	for _, sid := range []string{"1", "2", "3", "4", "6"} {
		if got[sid] != 1 {
			t.Errorf("subscription %s got %d", sid, got[sid])
		}
	}
	if got["5"] != 0 {
		t.Error("a subscription elsewhere got the message")
	}
	for _, sid := range []string{"2", "3", "4", "6"} {
		c.send("UNSUB %s\r\n", sid)
	}
	c.send("UNSUB 1 3\r\nPING\r\n")
	c.expect("PONG")
	total := 1
	for range 4 {
		total += publish()["1"]
	}
	if total != 3 {
		t.Errorf("subscription with a limit of 3 got %d", total)
	}
}

// TestAccountsAreApart: the same subjects in two accounts.
func TestAccountsAreApart(t *testing.T) {
	s := startConf(t, chain(``, ``, ``))
	a, b := login(t, s, "a"), login(t, s, "b")
	a.send("SUB > 1\r\nPING\r\n")
	a.expect("PONG")
	b.send("SUB > 1\r\nPUB x 1\r\nb\r\nPING\r\n")
	b.expect("MSG x 1 1", "b", "PONG")
	a.send("PING\r\n")
	a.expect("PONG")
}

// TestFastBatchThroughImports: the control data of a fast-ingest batch are in its
// reply subjects, which come through two imports. Answers go to the reply subject
// of the message that caused them, and the batch needs one way back, however many
// messages it has: these are more than there may be.
func TestFastBatchThroughImports(t *testing.T) {
	s := startConf(t, fmt.Sprintf("jetstream { store_dir: %q }\n", t.TempDir())+chain(
		`jetstream: enabled, exports: [{service: "in.*"}, {service: "$JS.API.>"}]`,
		`imports: [{service: {account: A, subject: "in.*"}, to: "mid.$1"}], exports: [{service: "mid.*"}]`,
		`imports: [{service: {account: B, subject: "mid.x"}, to: "local"}]`))
	a, c := login(t, s, "a"), login(t, s, "c")
	const config = `{"name":"FB","subjects":["in.*"],"storage":"memory","allow_batched":true}`
	a.send("SUB r 1\r\nPUB $JS.API.STREAM.CREATE.FB r %d\r\n%s\r\n", len(config), config)
	if line, body := a.message(); strings.Contains(body, `"error"`) {
		t.Fatal(line, body)
	}
	c.send("SUB i.> 1\r\n")
	for _, m := range []string{"1.0", "2.1", "3.1", "4.1", "5.2"} {
		c.send("PUB local i.b.a.2.fail.%s.$FI 1\r\nx\r\n", m)
	}
	for _, want := range [][2]string{
		{"1.0", `{"type":"ack","seq":0,"msgs":2}`},
		{"2.1", `{"type":"ack","seq":2,"msgs":2}`},
		{"4.1", `{"type":"ack","seq":4,"msgs":2}`},
		{"5.2", `{"stream":"FB","seq":5,"batch":"a","count":5}`},
	} {
		line, body := c.message()
		if subject := "i.b.a.2.fail." + want[0] + ".$FI"; line != "MSG "+subject+" 1" || body != want[1] {
			t.Errorf("got %q %q, wanted %s on %s", line, body, want[1], subject)
		}
	}
	const many = 140_000
	c.SetDeadline(time.Now().Add(10 * time.Minute)) // the race detector beside other work takes minutes
	go func() {
		var out strings.Builder
		for i := range many {
			op := min(i, 1)
			if i == many-1 {
				op = 2
			}
			fmt.Fprintf(&out, "PUB local i.b.many.65535.fail.%d.%d.$FI 0\r\n\r\n", i+1, op)
		}
		io.WriteString(c, out.String()) // the reader notices if it fails
	}()
	for {
		line, body := c.message()
		if strings.HasPrefix(body, `{"type":"ack"`) {
			continue
		}
		if want := fmt.Sprintf(`{"stream":"FB","seq":%d,"batch":"many","count":%d}`, many+5, many); body != want {
			t.Errorf("the end of the batch is %q %q, wanted %s", line, body, want)
		}
		break
	}
}

// TestUnwantedAnswers: a request is forgotten as soon as nobody subscribes to where its answer would go, whatever answers
// it may have, and however the subscription ends; another subscription to the same subject gets nothing of it.
func TestUnwantedAnswers(t *testing.T) {
	s := startConf(t, chain(
		`exports: [{service: one}, {service: many, response: stream}]`,
		`imports: [{service: {account: A, subject: one}}, {service: {account: A, subject: many}}]`, ``))
	a, b := login(t, s, "a"), login(t, s, "b")
	a.send("SUB * 1\r\nPING\r\n")
	a.expect("PONG")
	for _, tt := range []struct{ service, sub, end string }{
		{"one", "in", "UNSUB 1"}, {"many", "in", "UNSUB 1"}, {"many", "in.*", "UNSUB 1"}, {"one", "x.in.*", "UNSUB 1"}, {"one", "x.in.>", "UNSUB 1"},
		{"one", "*.in.*", "UNSUB 1"}, {"one", ">", "UNSUB 1"}, {"one", "x.in.7", "UNSUB 1 1\r\nPUB x.in.7 0\r\n"},
	} {
		reply := strings.NewReplacer("x.in.*", "x.in.7", "x.in.>", "x.in.7", "*.in.*", "x.in.7", "in.*", "in.7").Replace(tt.sub)
		if reply == ">" {
			reply = "x.in.7"
		}
		b.send("SUB %s 1\r\nPUB %s %s 0\r\n\r\n%s\r\nSUB %s 2\r\nPING\r\n", tt.sub, tt.service, reply, tt.end, tt.sub)
		for l := b.line(); l != "PONG"; l = b.line() {
			if l != "" && !strings.HasPrefix(l, "MSG ") {
				t.Fatalf("%v: got %q", tt, l)
			}
		}
		line, _ := a.message()
		a.send("PUB %s 2\r\nhi\r\nPING\r\n", strings.Fields(line)[3])
		a.expect("PONG")
		b.send("UNSUB 2\r\nPING\r\n")
		if l := b.line(); l != "PONG" {
			t.Errorf("%v: got %q", tt, l)
			b.line()
			b.line()
		}
	}
	if n := len(s.accounts.Get("A").Responses(100)); n != 0 {
		t.Errorf("%d requests wait", n)
	}
	// Another subscription that is left keeps it.
	b.send("SUB in.* 1\r\nSUB in.7 2\r\nPUB one in.7 0\r\n\r\nUNSUB 1\r\nPING\r\n")
	b.expect("PONG")
	line, _ := a.message()
	a.send("PUB %s 2\r\nhi\r\nPING\r\n", strings.Fields(line)[3])
	a.expect("PONG")
	b.send("PING\r\n")
	b.expect("MSG in.7 2 2", "hi", "PONG")
}

// TestJetStreamOfAnother: requests about another account's stream and consumer, imported
// under their own subjects, are not answered for the account's own JetStream as well,
// which does not know them.
func TestJetStreamOfAnother(t *testing.T) {
	for _, own := range []string{"enabled", "disabled"} {
		t.Run(own, func(t *testing.T) {
			s := startConf(t, fmt.Sprintf(`
				jetstream { store_dir: %q }
				accounts {
					A { jetstream: enabled, users: [{user: a, password: a}], exports: [
						{service: "$JS.API.DIRECT.GET.S"}, {service: "$JS.API.CONSUMER.MSG.NEXT.S.C", response: stream}, {service: "$JS.ACK.S.C.>"} ] }
					B { jetstream: %s, users: [{user: b, password: b}], imports: [
						{service: {account: A, subject: "$JS.API.DIRECT.GET.S"}},
						{service: {account: A, subject: "$JS.API.CONSUMER.MSG.NEXT.S.C"}},
						{service: {account: A, subject: "$JS.ACK.S.C.>"}} ] }
				}`, t.TempDir(), own))
			js, err := connect(t, s, nats.UserInfo("a", "a")).JetStream()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s"}, AllowDirect: true}); err != nil {
				t.Fatal(err)
			}
			if _, err := js.AddConsumer("S", &nats.ConsumerConfig{Durable: "C", AckPolicy: nats.AckExplicitPolicy}); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish("s", []byte("payload")); err != nil {
				t.Fatal(err)
			}
			b := connect(t, s, nats.UserInfo("b", "b"))
			for _, r := range []struct{ subject, body, want string }{
				{"$JS.API.DIRECT.GET.S", `{"seq":1}`, "payload"},
				{"$JS.API.CONSUMER.MSG.NEXT.S.C", `{"batch":1,"expires":20000000000}`, "payload"},
				{"$JS.ACK.S.C.1.1.1.1.0", "", ""},
			} {
				m, err := b.Request(r.subject, []byte(r.body), 20*time.Second)
				if err != nil || string(m.Data) != r.want {
					t.Errorf("%s: %v, %v", r.subject, m, err)
				}
			}
			// What nobody knows still has no responders.
			if _, err := b.Request("$JS.API.DIRECT.GET.NONE", []byte(`{"seq":1}`), 20*time.Second); err != nats.ErrNoResponders {
				t.Errorf("a stream that is not there: %v", err)
			}
		})
	}
}
