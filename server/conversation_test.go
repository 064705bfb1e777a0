package server

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/server/options"
)

// Conversations of one client: what it sends (>) and what it gets before it sends
// on (<). "< EOF" is the end. A line that is sent without its CR LF ends in a
// backslash, one of which only the beginning is known in an asterisk.
var conversations = []struct{ name, conf, text string }{
	{"a pedantic client is warned before the payload comes", "", `
> CONNECT {"headers":true}
< +OK
> PUB a..b 5
< -ERR 'Invalid Publish Subject'
> hel\
> lo
< +OK
> HPUB a.* 5 7
< -ERR 'Invalid Publish Subject'
> abcdexy
< +OK
> PUB *.a 0
< -ERR 'Invalid Publish Subject'
>
< +OK
`},
	{"a full connection refuses a known SID, too", "max_subscriptions: 1", `
> SUB a 1
< +OK
> SUB a 1
< -ERR 'maximum subscriptions exceeded'
> UNSUB 1
< +OK
> SUB a 1
< +OK
`},
	{"nothing allows a subject with an empty token", `
authorization { users: [ {user: a, password: p, permissions: { subscribe: ">" }}, {user: b, password: p, permissions: { subscribe: {deny: ">"} }} ] }`, `
> CONNECT {"user":"a","pass":"p","verbose":false}
> SUB a..b 1
< -ERR 'Permissions Violation for Subscription to "a..b"'
> SUB a.>.b 1
< -ERR 'Invalid Subject'
> SUB a.* 1
> PING
< PONG
> CONNECT {"user":"b"}
> SUB a..b 1
< -ERR 'Invalid Subject'
`},
	{"a guest that logs in loses what it had subscribed to", `
no_auth_user: guest
authorization { users: [ {user: guest, password: p}, {user: a, password: p, permissions: { subscribe: {deny: x} }} ] }`, `
> SUB > 1
< +OK
> CONNECT {"user":"a","pass":"p","verbose":false}
> PUB x 1
> y
> PING
< PONG
> SUB > 1
> PUB x 1
> y
> PUB z 1
> y
< MSG z 1 1
< y
`},
	{"members of CONNECT that only servers use", "", `
> CONNECT {"import":{"allow":["a"]},"export":null,"remote_account":"x","verbose":false}
> PING
< PONG
> CONNECT {"import":5}
< EOF
`},
	{"only the first PING behind a CONNECT is answered with INFO", "", `
> PING
< PONG
> CONNECT {"protocol":0,"verbose":false}
> PING
< PONG
> CONNECT {"protocol":1}
> PING
< PONG
> PING
< PONG
`},
	{"old servers' traces end here", "", `
> CONNECT {"headers":true,"verbose":false}
> SUB > 1
> HPUB a 63 64
> NATS/1.0
> Nats-Trace-Dest: tr
> Nats-Trace-Origin-Account: A
>
> x
< HMSG a 1 75 76
< NATS/1.0
< Nats-Trace-Origin-Account: A
< Nats-Trace-Dest: trace disabled
<
< x
> HPUB a 86 87
> NATS/1.0
> Nats-Trace-Dest: tr
> Nats-Trace-Origin-Account: A
> Nats-Trace-Only: true
>
> x
> PING
< PONG
`},
	{"a trace's report comes behind what it tells of", `
authorization { users: [ {user: a, password: p, permissions: { publish: ["a", "tr"] }} ] }`, `
> CONNECT {"user":"a","pass":"p","headers":true,"verbose":false}
> SUB > 1
> HPUB a 33 34
> NATS/1.0
> Nats-Trace-Dest: tr
>
> x
< HMSG a 1 33 34
< NATS/1.0
< Nats-Trace-Dest: tr
<
< x
< MSG tr 1 *
< {"server":*
> HPUB b 33 34
> NATS/1.0
> Nats-Trace-Dest: tr
>
> x
< -ERR 'Permissions Violation for Publish to "b"'
< MSG tr 1 *
< {"server":*
`},
	{"a guest whose account is full is told just that", `
no_auth_user: guest
accounts { A { users: [ {user: guest, password: p} ], limits { max_connections: 0 } } }`, `
> PING
< -ERR 'maximum account active connections exceeded'
< EOF
`},
	{"what one login may answer to another may not", `
authorization { users: [
	{user: a, password: p, permissions: { publish: [q, r], allow_responses: { max: 9 } }},
	{user: b, password: p, permissions: { publish: r, allow_responses: { max: 9 } }} ] }`, `
> CONNECT {"user":"a","pass":"p","verbose":false}
> SUB q 1
> PUB q x 2
> hi
< MSG q 1 x 2
< hi
> PUB x 0
>
> CONNECT {"user":"b","pass":"p"}
> PUB x 0
>
< -ERR 'Permissions Violation for Publish to "x"'
`},
	{"a PING before CONNECT does not count", "", `
> PING
< PONG
> CONNECT {"protocol":1,"verbose":false}
> PING
< PONG
< INFO
> PING
< PONG
`},
}

func TestConversations(t *testing.T) {
	for _, tt := range conversations {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, startConf(t, tt.conf), "")
			for line := range strings.Lines(strings.TrimSpace(tt.text)) {
				line = strings.TrimRight(line, "\n")
				text := strings.TrimPrefix(line[1:], " ")
				half := strings.HasSuffix(text, `\`)
				switch {
				case line[0] == '>' && half:
					c.send("%s", strings.TrimSuffix(text, `\`))
				case line[0] == '>':
					c.send("%s\r\n", text)
				case text == "EOF":
					if got, err := io.ReadAll(c.r); len(got) > 0 || err != nil {
						t.Fatalf("got %q, %v, want the end", got, err)
					}
				case text == "INFO":
					if got := c.line(); !strings.HasPrefix(got, "INFO {") {
						t.Fatalf("got %q, want INFO", got)
					}
				case strings.HasSuffix(text, "*"):
					if got := c.line(); !strings.HasPrefix(got, strings.TrimSuffix(text, "*")) {
						t.Fatalf("got %q, want %s", got, text)
					}
				default:
					c.expect(text)
				}
			}
		})
	}
}

// traceLog keeps the protocol log too.
type traceLog struct{ testLog }

func (l *traceLog) Tracef(f string, v ...any) { l.add("TRC ", f, v...) }

// TestTraceOfRefusedLines: the protocol log has the line that ended a connection.
func TestTraceOfRefusedLines(t *testing.T) {
	log := new(traceLog)
	s := startLogged(t, log, func(o *options.Options) { o.Trace = true })
	for _, line := range []string{"PUB a", "SUB a b c d", "UNSUB 1 2 3", "PUB a 999999999", "HPUB a 1 1", "INFO x"} {
		c := dial(t, s, "")
		c.send("%s\r\n", line)
		if _, err := io.ReadAll(c.r); err != nil {
			t.Fatal(err)
		}
		if want := "<<- [" + line + "]"; !log.contains(want) {
			t.Errorf("no %s in the log", want)
		}
	}
}

// TestFullConnectionsAreLoggedSeldom: whoever subscribes on at its limit does not fill the log.
func TestFullConnectionsAreLoggedSeldom(t *testing.T) {
	log := new(testLog)
	s := startLogged(t, log, func(o *options.Options) { o.MaxSubscriptions = 1 })
	began := time.Now()
	for range 2 { // the limit is a connection's, the log line its account's
		c := dial(t, s, `{"verbose":false}`)
		c.send("SUB a 1\r\n")
		for range 50 {
			c.send("SUB a 2\r\n")
			c.expect("-ERR 'maximum subscriptions exceeded'")
		}
	}
	most := 1 + int(time.Since(began)/(2*time.Second))
	log.mu.Lock()
	defer log.mu.Unlock()
	lines := 0
	for _, l := range log.lines {
		if strings.HasSuffix(l, "maximum subscriptions exceeded") {
			lines++
		}
	}
	if lines == 0 || lines > most {
		t.Errorf("%d lines in the log, want 1 to %d", lines, most)
	}
}

// TestNamesInTheLog: a client's name is one word of a line, whatever is in it.
func TestNamesInTheLog(t *testing.T) {
	log := &testLog{}
	s := startLogged(t, log, nil)
	c := dial(t, s, `{"verbose":false,"name":"me\n[1] [INF] Server Exiting..","version":"1","lang":"x"}`)
	c.send("SUB a _sys_ 1\r\n")
	c.expect(`-ERR 'Permissions Violation for Subscription to "a" using queue "_sys_"'`)
	if want := ` - "v1:x:me\n[1] [INF] Server Exiting.." - Permissions Violation`; !log.contains(want) {
		t.Errorf("no line with %s in %q", want, log.lines)
	}
}
