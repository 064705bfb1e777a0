package server

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"testing"

	"github.com/natsd/natsd/server/options"
)

// BenchmarkDeliver measures parse, route and deliver over sockets; allocations
// are those of the whole process per published message.
func BenchmarkDeliver(b *testing.B) {
	users := func(o *options.Options) {
		o.Authorization.Users = []*options.User{{Username: "u", Password: "p", Permissions: &options.Permissions{
			Publish:   options.SubjectPermissions{Allow: []string{"s.>"}},
			Subscribe: options.SubjectPermissions{Allow: []string{"s.>"}, Deny: []string{"s.no"}},
		}}}
	}
	for _, bb := range []struct {
		name   string
		subs   int
		sub    string
		size   int
		opts   func(*options.Options)
		login  string
		wanted int // deliveries per message
	}{
		{"publish only", 0, "", 128, nil, "", 0},
		{"publish only 16 B", 0, "", 16, nil, "", 0},
		{"1:1", 1, "SUB s.1 1", 128, nil, "", 1},
		{"1:1 16 KiB", 1, "SUB s.1 1", 16 << 10, nil, "", 1},
		{"1:10", 10, "SUB s.* 1", 128, nil, "", 10},
		{"1:1000", 1000, "SUB s.* 1", 128, nil, "", 1000},
		{"queue of 10", 10, "SUB s.1 q 1", 128, nil, "", 1},
		{"permissions", 1, "SUB s.> 1", 128, users, `,"user":"u","pass":"p"`, 1},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := start(b, bb.opts)
			connect := `{"verbose":false,"pedantic":false` + bb.login + `}`
			total := make(chan int64, bb.subs)
			for range bb.subs {
				c := dial(b, s, connect)
				c.send("%s\r\nPING\r\n", bb.sub)
				c.expect("PONG")
				go func() {
					n, _ := io.Copy(io.Discard, c.r)
					total <- n
				}()
			}
			pub := dial(b, s, connect)
			msg := fmt.Appendf(nil, "PUB s.1 %d\r\n%s\r\n", bb.size, make([]byte, bb.size))
			block := bytes.Repeat(msg, max(1, 60000/len(msg)))
			per := len(block) / len(msg)
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			b.ResetTimer()
			sent := 0
			for ; sent < b.N; sent += per {
				if _, err := pub.Write(block); err != nil {
					b.Fatal(err)
				}
			}
			pub.send("PING\r\n")
			for l := pub.line(); l != "PONG"; l = pub.line() {
				pub.send("PONG\r\n") // the server's own PING
			}
			want := int64(sent * bb.wanted)
			waitFor(b, func() bool { return s.accounts.Total.OutMsgs.Load() == want })
			b.StopTimer()
		})
	}
}

// BenchmarkRequest is one request and its answer, on an inbox subject that is
// used once, inside an account and through a service import; allocations are
// those of the whole process.
func BenchmarkRequest(b *testing.B) {
	for _, bb := range []struct{ name, conf, requester, responder string }{
		{"one account", "", plain, plain},
		{"service import", chain(`exports: [{service: svc}]`, `imports: [{service: {account: A, subject: svc}}]`, ``),
			`{"verbose":false,"headers":true,"user":"b","pass":"p"}`, `{"verbose":false,"user":"a","pass":"p"}`},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := startConf(b, bb.conf)
			responder, requester := dial(b, s, bb.responder), dial(b, s, bb.requester)
			responder.send("SUB svc 1\r\nPING\r\n")
			responder.expect("PONG")
			requester.send("SUB _INBOX.x.* 1\r\nPING\r\n")
			requester.expect("PONG")
			go respond(responder)
			var out []byte
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				out = appendRequest(out[:0], i)
				requester.Write(out)
				readAnswer(b, requester)
			}
		})
	}
}

// BenchmarkRequestBurst is requests in bursts of 100, inside an account and through a service import: what the server
// itself costs, since system calls are shared.
func BenchmarkRequestBurst(b *testing.B) {
	const burst = 100
	for _, bb := range []struct{ name, conf, requester, responder string }{
		{"one account", "", plain, plain},
		{"service import", chain(`exports: [{service: svc}]`, `imports: [{service: {account: A, subject: svc}}]`, ``),
			`{"verbose":false,"headers":true,"user":"b","pass":"p"}`, `{"verbose":false,"user":"a","pass":"p"}`},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := startConf(b, bb.conf)
			responder, requester := dial(b, s, bb.responder), dial(b, s, bb.requester)
			responder.send("SUB svc 1\r\nPING\r\n")
			responder.expect("PONG")
			requester.send("SUB _INBOX.x.* 1\r\nPING\r\n")
			requester.expect("PONG")
			go respond(responder)
			var out []byte
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += burst {
				out = out[:0]
				for i := range burst {
					out = appendRequest(out, n+i)
				}
				requester.Write(out)
				for range burst {
					readAnswer(b, requester)
				}
			}
		})
	}
}

// appendRequest appends a request whose inbox is used once.
func appendRequest(dst []byte, n int) []byte {
	return append(strconv.AppendInt(append(dst, "PUB svc _INBOX.x."...), int64(n), 10), " 2\r\nhi\r\n"...)
}

// readAnswer reads one message of two bytes.
func readAnswer(b *testing.B, c *raw) {
	line, err := c.r.ReadSlice('\n')
	for err == nil && !bytes.HasPrefix(line, []byte("MSG ")) {
		line, err = c.r.ReadSlice('\n') // the server's PING
	}
	if err == nil {
		_, err = c.r.Discard(4)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// respond answers requests without allocating, those of a read together.
func respond(c *raw) {
	var out []byte
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return
		}
		if !bytes.HasPrefix(line, []byte("MSG ")) {
			continue // the server's PING
		}
		end := bytes.LastIndexByte(line, ' ')
		reply := line[bytes.LastIndexByte(line[:end], ' ')+1 : end]
		out = append(append(append(out, "PUB "...), reply...), " 2\r\nhi\r\n"...)
		c.r.Discard(4)
		if c.r.Buffered() == 0 {
			c.Write(out)
			out = out[:0]
		}
	}
}
