package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/natsd/natsd/server/client"
)

// What a client sends and what it gets, to the byte. A reason other than 0 says
// that the server closes the connection, and what for; otherwise the client ends
// it after the last expected byte.
var transcripts = []struct {
	name     string
	in, want string
	reason   client.Reason
}{
	{"tabs and blanks", "SUB\tfoo\t1\r\nPUB \t foo \t 2\t\r\nhi\r\n", "MSG foo 1 2\r\nhi\r\n", 0},
	{"LF ends lines", "SUB foo 1\nPUB foo 2\nhi\r\n", "MSG foo 1 2\r\nhi\r\n", 0},
	{"LF does not end payloads", "PUB foo 2\nhi\n", "-ERR 'Unknown Protocol Operation'\r\n", client.ProtocolViolation},
	{"payload too long", "PUB foo 2\r\nhello\r\n", "-ERR 'Unknown Protocol Operation'\r\n", client.ProtocolViolation},
	{"empty line", "\r\n", "-ERR 'Unknown Protocol Operation'\r\n", client.ProtocolViolation},
	{"no size", "PUB foo abc\r\n", "", client.ProtocolViolation},
	{"too many arguments", "SUB foo a b c\r\n", "", client.ProtocolViolation},
	{"INFO is ignored", "INFO {}\r\nPING\r\n", "PONG\r\n", 0},
	{"INFO without JSON", "PING\r\nINFO x\r\nPING\r\n", "PONG\r\n", client.ProtocolViolation},
	{"INFO without anything", "INFO\r\n", "", client.ProtocolViolation},
	{"+OK is ignored", "+OK\r\nPING\r\n", "PONG\r\n", 0},
	{"-ERR ends it", "-ERR 'x'\r\nPING\r\n", "", client.ParseError},
	{"output before -ERR", "PING\r\n-ERR 'x'\r\nPING\r\n", "PONG\r\n", client.ParseError},
	{"max_payload", "PUB foo 1048577\r\n", "-ERR 'Maximum Payload Violation'\r\n", client.MaxPayloadExceeded},
	{"malformed subject", "SUB foo..bar 1\r\nPING\r\n", "-ERR 'Invalid Subject'\r\nPONG\r\n", 0},
	{"a known SID hides a malformed subject", "SUB foo 1\r\nSUB foo..bar 1\r\nPING\r\n", "PONG\r\n", 0},
	{"malformed subjects match nothing", "SUB > 1\r\nPUB foo..bar 1\r\na\r\nPING\r\n", "PONG\r\n", 0},
	{"headers", "SUB foo 1\r\nHPUB foo r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "HMSG foo 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", 0},
	{"headers are not looked at", "SUB foo 1\r\nHPUB foo 5 7\r\nabcdehi\r\n", "HMSG foo 1 5 7\r\nabcdehi\r\n", 0},
	{"UNSUB without a number", "SUB foo 1\r\nUNSUB 1 abc\r\nPUB foo 1\r\nx\r\nPING\r\n", "PONG\r\n", 0},
	{"UNSUB counts from SUB", "SUB foo 1\r\nPUB foo 1\r\na\r\nUNSUB 1 2\r\nPUB foo 1\r\nb\r\nPUB foo 1\r\nc\r\nPING\r\n", "MSG foo 1 1\r\na\r\nMSG foo 1 1\r\nb\r\nPONG\r\n", 0},
	{"subjects of servers", "PUB $NRG.foo 1\r\nx\r\nPUB $NRG. 0\r\n\r\nPUB _GR_. 0\r\n\r\nPUB _GR_.x 0\r\n\r\nPING\r\n",
		"-ERR 'Permissions Violation for Publish to \"$NRG.foo\"'\r\n-ERR 'Permissions Violation for Publish to \"$NRG.\"'\r\n-ERR 'Permissions Violation for Publish to \"_GR_.x\"'\r\nPONG\r\n", 0},
	{"replies of servers", "PUB foo _R_.abc 1\r\nx\r\nPUB foo $JS.ACK. 0\r\n\r\nPUB foo $JS.ACK.x 0\r\n\r\nPING\r\n",
		"-ERR 'Permissions Violation for Publish with Reply of \"_R_.abc\"'\r\n-ERR 'Permissions Violation for Publish with Reply of \"$JS.ACK.x\"'\r\nPONG\r\n", 0},
	{"queue of servers", "SUB foo _sys_ 1\r\n", "-ERR 'Permissions Violation for Subscription to \"foo\" using queue \"_sys_\"'\r\n", 0},
	{"no responders", "SUB inbox 9\r\nPUB nobody inbox 1\r\nx\r\n", "HMSG inbox 9 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n", 0},
	{"second CONNECT", "SUB s 1\r\nCONNECT {\"verbose\":true}\r\nPUB s 0\r\n\r\nSUB s 1\r\nPING\r\n", "+OK\r\n+OK\r\n+OK\r\nPONG\r\n", 0},
	{"bad protocol", "CONNECT {\"protocol\":2}\r\n", "-ERR 'invalid client protocol'\r\n", client.BadClientProtocolVersion},
	{"CONNECT without JSON", "CONNECT {\r\n", "", client.ProtocolViolation},
	{"headers wanted", "CONNECT {\"headers\":false}\r\n", "-ERR 'no responders requires headers support'\r\n", client.NoRespondersRequiresHeaders},
	{"pedantic", "CONNECT {\"verbose\":true,\"pedantic\":true}\r\nSUB foo.* 1\r\nPUB foo.* 1\r\nx\r\n", "+OK\r\n+OK\r\n-ERR 'Invalid Publish Subject'\r\n+OK\r\nMSG foo.* 1 1\r\nx\r\n", 0},
	{"pedantic comes before the payload", "CONNECT {\"verbose\":true,\"pedantic\":true}\r\nPUB foo.* 1\r\nxyz\r\n", "+OK\r\n-ERR 'Invalid Publish Subject'\r\n-ERR 'Unknown Protocol Operation'\r\n", client.ProtocolViolation},
}

func TestTranscripts(t *testing.T) {
	s := start(t, nil)
	info := regexp.MustCompile(`INFO \{[^\n]*"client_id":(\d+)[^\n]*\n`)
	for _, tt := range transcripts {
		t.Run(tt.name, func(t *testing.T) {
			nc, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			// The subscriptions of one transcript must not answer in the next.
			defer waitFor(t, func() bool { return len(s.Clients()) == 0 })
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(patience))
			const hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n"
			if _, err := io.WriteString(nc, hello+tt.in); err != nil {
				t.Fatal(err)
			}
			var got []byte
			var id uint64
			buf := make([]byte, 4096)
			for tt.reason != 0 || len(got) < len(tt.want) {
				n, err := nc.Read(buf)
				got = bytes.ReplaceAll(append(got, buf[:n]...), []byte(ping), nil) // which may come at any time
				if m := info.FindSubmatch(got); m != nil {
					id, _ = strconv.ParseUint(string(m[1]), 10, 64)
					got = info.ReplaceAll(got, nil)
				}
				if errors.Is(err, io.EOF) && tt.reason != 0 {
					break
				}
				if err != nil {
					t.Fatalf("%v after %q", err, got)
				}
			}
			if !bytes.Equal(got, []byte(tt.want)) {
				t.Errorf("got %q\nwant %q", got, tt.want)
			}
			if tt.reason == 0 {
				return
			}
			var reason client.Reason
			waitFor(t, func() bool {
				conns, _ := s.ClosedClients()
				i := slices.IndexFunc(conns, func(c client.Snapshot) bool { return c.Info.ID == id })
				if i >= 0 {
					reason = conns[i].Reason
				}
				return i >= 0
			})
			if reason != tt.reason {
				t.Errorf("closed for %v, want %v", reason, tt.reason)
			}
		})
	}
}
