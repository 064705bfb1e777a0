package natsproto

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// show writes an op as a line that does not depend on how the input was split.
func show(o *Op) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", o.Verb)
	for _, f := range []struct {
		name string
		v    []byte
	}{{"origin", o.Origin}, {"acc", o.Account}, {"subj", o.Subject}, {"reply", o.Reply}, {"queue", o.Queue}, {"sid", o.SID}} {
		if f.v != nil {
			fmt.Fprintf(&b, " %s=%q", f.name, f.v)
		}
	}
	for _, q := range o.Queues {
		fmt.Fprintf(&b, " group=%q", q)
	}
	if o.Weight != 0 {
		fmt.Fprintf(&b, " weight=%d", o.Weight)
	}
	if o.Max != 0 {
		fmt.Fprintf(&b, " max=%d", o.Max)
	}
	switch o.Kind {
	case OpPub, OpRouteMsg:
		fmt.Fprintf(&b, " hdr=%q data=%q", o.Header(), o.Payload())
	case OpConnect, OpInfo, OpErr:
		fmt.Fprintf(&b, " arg=%q", o.Arg)
	}
	return b.String()
}

func errName(err error) string {
	var a *ArgError
	switch {
	case errors.As(err, &a):
		return "ARG"
	case err == ErrUnknownOp:
		return "UNKNOWN"
	case err == ErrControlLine:
		return "CONTROL"
	case err == ErrMaxPayload:
		return "PAYLOAD"
	case err == ErrNotConnect:
		return "NOTCONNECT"
	}
	return err.Error()
}

// parseAll gives input to a parser in chunks whose sizes next decides.
func parseAll(p *Parser, input []byte, next func(left int) int) []string {
	var out []string
	for len(input) > 0 {
		n := next(len(input))
		// A private copy of exactly the chunk: whatever the parser keeps
		// without copying is overwritten.
		chunk := append([]byte(nil), input[:n]...)
		input = input[n:]
		rest := chunk
		for len(rest) > 0 {
			op, n, err := p.Next(rest)
			if err != nil {
				return append(out, errName(err))
			}
			rest = rest[n:]
			if op == nil {
				if len(rest) != 0 {
					return append(out, "BYTES LEFT")
				}
				break
			}
			out = append(out, show(op))
		}
		for i := range chunk {
			chunk[i] = 0xEE
		}
	}
	return out
}

var whole = func(left int) int { return left }
var single = func(int) int { return 1 }

var parseTests = []struct {
	link  Link
	in    string
	want  string // lines joined by " | "
	setup func(*Parser)
}{
	{in: "SUB\tfoo\t1\r\nPUB \t foo \t 2\t\r\nhi\r\n", want: `SUB subj="foo" sid="1" | PUB subj="foo" hdr="" data="hi"`},
	{in: "SUB foo 1\nPUB foo 2\nhi\r\n", want: `SUB subj="foo" sid="1" | PUB subj="foo" hdr="" data="hi"`},
	{in: "PUB foo 2\nhi\n", want: "UNKNOWN"},
	{in: "PUB foo r 12\r\nhello world!\r\nPUB f\x00o\xff 0\r\n\r\n", want: `PUB subj="foo" reply="r" hdr="" data="hello world!" | PUB subj="f\x00o\xff" hdr="" data=""`},
	{in: "PUB foo 1r 1\r\nx\r\nPUB foo  1 \r\nx\r\nPUB 1 1 1\r\nx\r\n", want: `PUB subj="foo" reply="1r" hdr="" data="x" | PUB subj="foo" hdr="" data="x" | PUB subj="1" reply="1" hdr="" data="x"`},
	{in: "PUB foo 1\rx\r\nPUB foo 1\r\nx\r\n", want: "ARG"},
	{in: "PUB foo 0000000001\r\nx\r\n", want: "ARG"},
	{in: "PUB  1\r\nx\r\n", want: "ARG"},
	{in: "PUB foo 2\r\nhello\r\n", want: "UNKNOWN"},
	{in: "PUB foo 2\r\nhi\rX", want: "UNKNOWN"},
	{in: "\r\n", want: "UNKNOWN"},
	{in: " PING\r\n", want: "UNKNOWN"},
	{in: "PUB foo abc\r\n", want: "ARG"},
	{in: "PUB foo a b 2\r\n", want: "ARG"},
	{in: "PUB foo\r\n", want: "ARG"},
	{in: "PUB\r\n", want: "UNKNOWN"},
	{in: "SUB\r\n", want: "UNKNOWN"},
	{in: "UNSUB\r\n", want: "UNKNOWN"},
	{in: "HPUB\n", want: "UNKNOWN"},
	{in: "PUB foo -1\r\n", want: "ARG"},
	{in: "PUB foo 1234567890\r\n", want: "ARG"},
	{in: "PUB foo 000000002\r\nhi\r\n", want: `PUB subj="foo" hdr="" data="hi"`},
	{in: "PUB foo r 0\r\n\r\n", want: `PUB subj="foo" reply="r" hdr="" data=""`},
	{in: "SUB foo a b c\r\n", want: "ARG"},
	{in: "SUB foo\r\n", want: "ARG"},
	{in: "SUB fo\ro 1\r\n", want: `SUB subj="fo" queue="o" sid="1"`},
	{in: "UNSUB 1 2 3\r\n", want: "ARG"},
	{in: "UNSUB 1 5\r\nUNSUB 1 abc\r\nUNSUB x 1234567890\r\nunsub 1\r\n", want: `UNSUB sid="1" max=5 | UNSUB sid="1" | UNSUB sid="x" | UNSUB sid="1"`},
	{in: "INFO {}\r\nPINGgarbage\r\n+OK\r\nPoNg\n-ERR 'x'\r\n", want: `INFO arg="{}" | PING | +OK | PONG | -ERR arg="'x'"`},
	{in: "CONNECT{\"verbose\":true}\r\n", want: `CONNECT arg="{\"verbose\":true}"`},
	{in: "connect   {} \r\n", want: `CONNECT arg="{}"`},
	{in: "CONNECX {}\r\n", want: "UNKNOWN"},
	{in: "CONNECT\r\n", want: `CONNECT arg=""`},
	{in: "HPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", want: `HPUB subj="foo" hdr="NATS/1.0\r\n\r\n" data="hi"`},
	{in: "HPUB foo r 12 12\r\nNATS/1.0\r\n\r\n\r\n", want: `HPUB subj="foo" reply="r" hdr="NATS/1.0\r\n\r\n" data=""`},
	{in: "HPUB foo 0 2\r\nhi\r\n", want: `HPUB subj="foo" hdr="" data="hi"`},
	{in: "HPUB foo 5 4\r\n", want: "ARG"},
	{in: "HPUB foo 5\r\n", want: "ARG"},
	{in: "HPUB foo 1 2\r\n", want: "ARG", setup: func(p *Parser) { p.NoHeaders = true }},
	{in: "MSG foo 1 2\r\n", want: "UNKNOWN"},
	{in: "RMSG foo 1 2\r\n", want: "UNKNOWN"},
	{in: "HMSG foo 1 2 2\r\n", want: "UNKNOWN"},
	{in: "A+ foo\r\n", want: "UNKNOWN"},
	{in: "PUB foo 9\r\nhello", want: "PAYLOAD", setup: func(p *Parser) { p.MaxPayload = 8 }},
	{in: "PUB foo 8\r\nhellohey\r\n", want: `PUB subj="foo" hdr="" data="hellohey"`, setup: func(p *Parser) { p.MaxPayload = 8 }},
	{in: "PUB foo 0\r\n\r\nPUB foo 1\r\n", want: `PUB subj="foo" hdr="" data="" | PAYLOAD`, setup: func(p *Parser) { p.MaxPayload = 0 }},
	{in: "PING\r\n", want: "NOTCONNECT", setup: func(p *Parser) { p.RequireConnect = true }},
	{in: "cONNECT {}\r\n", want: `CONNECT arg="{}"`, setup: func(p *Parser) { p.RequireConnect = true }},
	{in: "SUB " + strings.Repeat("a", 14) + " 1\r\n", want: `SUB subj="aaaaaaaaaaaaaa" sid="1"`, setup: func(p *Parser) { p.MaxControlLine = 16 }},
	{in: "SUB " + strings.Repeat("a", 15) + " 1\r\n", want: "CONTROL", setup: func(p *Parser) { p.MaxControlLine = 16 }},
	{in: "SUB " + strings.Repeat("a", 18), want: "CONTROL", setup: func(p *Parser) { p.MaxControlLine = 16 }},
	{in: "CONNECT " + strings.Repeat(" ", 64) + "{", want: "CONTROL", setup: func(p *Parser) { p.MaxControlLine = 16 }},

	{link: LinkRoute, in: "RS+ $G foo\r\nRS+ $G foo q1 2\r\nRS- $G foo q1\r\nLS+ SC X fq q 1\r\nLS- SC X foo\r\n",
		want: `RS+ acc="$G" subj="foo" | RS+ acc="$G" subj="foo" queue="q1" weight=2 | RS- acc="$G" subj="foo" queue="q1" | LS+ origin="SC" acc="X" subj="fq" queue="q" weight=1 | LS- origin="SC" acc="X" subj="foo"`},
	{link: LinkRoute, in: "RMSG $G foo | q1 2\r\nhi\r\nRMSG $G foo + r.1 q1 q2 2\r\nhi\r\nHMSG $G foo + r.2 q1 22 24\r\nNATS/1.0\r\nBar: Baz\r\n\r\nhi\r\n",
		want: `RMSG acc="$G" subj="foo" group="q1" hdr="" data="hi" | RMSG acc="$G" subj="foo" reply="r.1" group="q1" group="q2" hdr="" data="hi" | HMSG acc="$G" subj="foo" reply="r.2" group="q1" hdr="NATS/1.0\r\nBar: Baz\r\n\r\n" data="hi"`},
	{link: LinkRoute, in: "LMSG SC X bar 0 1\r\n1\r\nLMSG SC X bq + rr q 22 23\r\nNATS/1.0\r\nBar: Baz\r\n\r\nh\r\n",
		want: `LMSG origin="SC" acc="X" subj="bar" hdr="" data="1" | LMSG origin="SC" acc="X" subj="bq" reply="rr" group="q" hdr="NATS/1.0\r\nBar: Baz\r\n\r\n" data="h"`},
	{link: LinkRoute, in: "RMSG X foo r 3\r\nabc\r\n", want: `RMSG acc="X" subj="foo" reply="r" hdr="" data="abc"`},
	{link: LinkRoute, in: "RMSG X foo x r q 3\r\nabc\r\n", want: "ARG"},
	{link: LinkRoute, in: "RMSG X 3\r\n", want: "ARG"},
	{link: LinkRoute, in: "RMSG X foo -3\r\n", want: "ARG"},
	{link: LinkRoute, in: "HMSG X foo 5 3\r\n", want: "ARG"},
	{link: LinkRoute, in: "RS+ X foo q\r\n", want: "ARG"},
	{link: LinkRoute, in: "RS+ X foo q zero\r\n", want: `RS+ acc="X" subj="foo" queue="q"`},
	{link: LinkRoute, in: "SUB foo 1\r\n", want: "UNKNOWN"},
	{link: LinkAccountRoute, in: "RS+ foo\r\nRMSG foo 1\r\nx\r\nHMSG foo r 12 12\r\nNATS/1.0\r\n\r\n\r\nLMSG SC foo 0 1\r\ny\r\n",
		want: `RS+ subj="foo" | RMSG subj="foo" hdr="" data="x" | HMSG subj="foo" reply="r" hdr="NATS/1.0\r\n\r\n" data="" | LMSG origin="SC" subj="foo" hdr="" data="y"`},
	{link: LinkGateway, in: "A+ X\r\nA- X\r\nRS+ X foo\r\nRMSG X foo _GR_.F2cAWZ.zmATa9.inbox.1 2\r\nrq\r\n",
		want: `A+ acc="X" | A- acc="X" | RS+ acc="X" subj="foo" | RMSG acc="X" subj="foo" reply="_GR_.F2cAWZ.zmATa9.inbox.1" hdr="" data="rq"`},
	{link: LinkGateway, in: "LS+ foo\r\n", want: "UNKNOWN"},
	{link: LinkGateway, in: "A+ X Y\r\n", want: "ARG"},
	{link: LinkLeaf, in: "LS+ foo\r\nLS+ foo q 3\r\nLS- foo q\r\nLMSG foo 2\r\nhi\r\nLMSG foo + r q 2\r\nhi\r\nHMSG foo | q 12 13\r\nNATS/1.0\r\n\r\nx\r\n",
		want: `LS+ subj="foo" | LS+ subj="foo" queue="q" weight=3 | LS- subj="foo" queue="q" | LMSG subj="foo" hdr="" data="hi" | LMSG subj="foo" reply="r" group="q" hdr="" data="hi" | HMSG subj="foo" group="q" hdr="NATS/1.0\r\n\r\n" data="x"`},
	{link: LinkLeaf, in: "LS+ foo q\r\n", want: "ARG"},
	{link: LinkLeaf, in: "LS- foo q 1\r\n", want: "ARG"},
	{link: LinkLeaf, in: "HMSG foo 2\r\n", want: "ARG"},
	{link: LinkLeaf, in: "LMSG foo x r q 2\r\n", want: "ARG"},
	{link: LinkLeaf, in: "RS+ X foo\r\n", want: "UNKNOWN"},
	{link: LinkLeaf, in: "RS- X foo\r\n", want: "UNKNOWN"},
	{link: LinkLeaf, in: "RMSG X foo 2\r\n", want: "UNKNOWN"},
	{link: LinkLeaf, in: "A+ X\r\n", want: "UNKNOWN"},
	{link: LinkLeaf, in: "PUB foo 1\r\n", want: "UNKNOWN"},
	{link: LinkRoute, in: "A- X\r\n", want: "UNKNOWN"},
	{link: LinkAccountRoute, in: "A+ X\r\n", want: "UNKNOWN"},
	{link: LinkRoute, in: "MSG foo 1 2\r\n", want: "UNKNOWN"},
	{link: LinkRoute, in: "rs+ \tX\tfoo\nRs+\tX \t bar q1  2\r\nrmsg X out 2\nhi\r\n",
		want: `RS+ acc="X" subj="foo" | RS+ acc="X" subj="bar" queue="q1" weight=2 | RMSG acc="X" subj="out" hdr="" data="hi"`},
	{link: LinkRoute, in: "RMSG X foo + 1\r\nx\r\nRMSG X foo | 1\r\nx\r\nRMSG X foo + r 1\r\nx\r\n",
		want: `RMSG acc="X" subj="foo" reply="+" hdr="" data="x" | RMSG acc="X" subj="foo" reply="|" hdr="" data="x" | RMSG acc="X" subj="foo" reply="r" hdr="" data="x"`},
	{link: LinkRoute, in: "HMSG X foo x r q 1 3\r\n", want: "ARG"},
	{link: LinkRoute, in: "HMSG X foo 3\r\n", want: "ARG"},
	{link: LinkRoute, in: "LMSG SC X foo 3\r\n", want: "ARG"},
	{link: LinkRoute, in: "LMSG SC X foo r 0 3\r\nabc\r\n", want: `LMSG origin="SC" acc="X" subj="foo" reply="r" hdr="" data="abc"`},
	{link: LinkRoute, in: "LMSG SC X foo y r 0 3\r\n", want: "ARG"},
	{link: LinkRoute, in: "RS- X foo q 1\r\n", want: "ARG"},
	{link: LinkRoute, in: "RS+ X foo q 1 2\r\n", want: "ARG"},
	{link: LinkRoute, in: "RS+ X\r\n", want: "ARG"},
	{link: LinkRoute, in: "RS+ X foo q 0\r\nRS+ X foo q -4\r\n", want: `RS+ acc="X" subj="foo" queue="q" | RS+ acc="X" subj="foo" queue="q"`},
	{link: LinkGateway, in: "LMSG SC X foo 0 1\r\n", want: "UNKNOWN"},
	{link: LinkGateway, in: "RS+ X foo q\r\n", want: "ARG"},
	{link: LinkGateway, in: "RS- X foo q 1\r\n", want: "ARG"},
	{link: LinkGateway, in: "A-\r\n", want: "UNKNOWN"},
}

func TestParse(t *testing.T) {
	for _, tt := range parseTests {
		for _, split := range []struct {
			name string
			next func(int) int
		}{{"whole", whole}, {"single bytes", single}} {
			p := &Parser{Link: tt.link, MaxPayload: -1}
			if tt.setup != nil {
				tt.setup(p)
			}
			got := strings.Join(parseAll(p, []byte(tt.in), split.next), " | ")
			if got != tt.want {
				t.Errorf("%q in %s:\n got %s\nwant %s", tt.in, split.name, got, tt.want)
			}
		}
	}
}

// Errors must come as soon as they are certain, not at the end of the line.
func TestParseEarlyErrors(t *testing.T) {
	for _, in := range []string{"X", "PUX", "CONNECX", "SUBx", "PUB foo 2\r\nhiX", "\n"} {
		p := &Parser{MaxPayload: -1}
		got := parseAll(p, []byte(in), single)
		if len(got) != 1 || got[0] != "UNKNOWN" {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestMaxPayloadOpHoldsHeader(t *testing.T) {
	p := &Parser{MaxPayload: 20}
	op, _, err := p.Next([]byte("HPUB foo 12 24\r\nNATS/1.0\r\n\r\nrest"))
	if err != ErrMaxPayload || string(op.Subject) != "foo" || string(op.Header()) != "NATS/1.0\r\n\r\n" {
		t.Fatalf("op %v err %v", op, err)
	}
}

func TestParserMemory(t *testing.T) {
	p := &Parser{MaxPayload: -1}
	msg := []byte("PUB foo 1000000\r\n" + strings.Repeat("x", 1000000) + "\r\nPING\r\n")
	got := parseAll(p, msg, func(left int) int { return min(left, 32<<10) })
	if len(got) != 2 || got[1] != "PING" {
		t.Fatalf("%d ops", len(got))
	}
	if op, _, err := p.Next([]byte("PING\r\n")); op == nil || err != nil {
		t.Fatal(err)
	}
	if cap(p.body) > maxKeptBody {
		t.Errorf("keeps %d bytes", cap(p.body))
	}
}

// A body that does not end in CR LF comes with what its line says, however it
// was split.
func TestBadBodyHasItsLine(t *testing.T) {
	for _, in := range []string{"PUB foo.* bar 2\r\nhi!!", "PUB foo.* bar 2\r\nhi\r!", "HPUB foo.* bar 1 2\r\nhi!!"} {
		for _, size := range []int{1, 5, len(in)} {
			p := &Parser{MaxPayload: -1}
			rest := []byte(in)
			var op *Op
			var err error
			for err == nil && len(rest) > 0 {
				n := min(size, len(rest))
				op, _, err = p.Next(rest[:n])
				rest = rest[n:]
			}
			if err != ErrUnknownOp || op == nil || string(op.Subject) != "foo.*" || string(op.Reply) != "bar" {
				t.Errorf("%q in pieces of %d: %v, %v", in, size, op, err)
			}
		}
	}
}

func FuzzParserClient(f *testing.F)       { fuzzParser(f, LinkClient) }
func FuzzParserRoute(f *testing.F)        { fuzzParser(f, LinkRoute) }
func FuzzParserAccountRoute(f *testing.F) { fuzzParser(f, LinkAccountRoute) }
func FuzzParserGateway(f *testing.F)      { fuzzParser(f, LinkGateway) }
func FuzzParserLeaf(f *testing.F)         { fuzzParser(f, LinkLeaf) }

// Any split of the input gives the same operations.
func fuzzParser(f *testing.F, link Link) {
	for _, tt := range parseTests {
		f.Add(uint64(1), []byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, seed uint64, in []byte) {
		mk := func() *Parser { return &Parser{Link: link, MaxControlLine: 64, MaxPayload: 1 << 10} }
		want := parseAll(mk(), in, whole)
		rng := rand.New(rand.NewPCG(seed, 0))
		// Single bytes never take the short way of whole messages.
		for _, pieces := range []func(int) int{single, func(left int) int { return 1 + rng.IntN(left) }} {
			if got := parseAll(mk(), in, pieces); !slices.Equal(got, want) {
				t.Fatalf("split: %q\nwhole: %q", got, want)
			}
		}
	})
}

// What the JSON of CONNECT and INFO says does not change when it is written again.
func FuzzConnectInfo(f *testing.F) {
	f.Add([]byte(`{"verbose":true,"USER":"u","pass":"p","protocol":1}`))
	f.Add([]byte(`{"server_id":"N","max_payload":-1,"connect_urls":["a:1"],"import":{"allow":["x"]}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		again := func(line []byte, decode func([]byte) error) {
			arg := bytes.TrimSpace(line[bytes.IndexByte(line, '{'):])
			if err := decode(arg); err != nil {
				t.Fatalf("%q: %v", arg, err)
			}
		}
		c, c2 := DefaultConnect(), Connect{}
		if c.Decode(in) == nil {
			if again(c.Append(nil), c2.Decode); !bytes.Equal(c.Append(nil), c2.Append(nil)) {
				t.Fatalf("%+v became %+v", c, c2)
			}
		}
		var i, i2 Info
		if i.Decode(in) == nil {
			if again(i.Append(nil), i2.Decode); !bytes.Equal(i.Append(nil), i2.Append(nil)) {
				t.Fatalf("%+v became %+v", i, i2)
			}
		}
	})
}

func BenchmarkParsePub(b *testing.B) {
	for _, size := range []int{16, 128, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			one := []byte(fmt.Sprintf("PUB bench.subject %d\r\n%s\r\n", size, strings.Repeat("x", size)))
			buf := bytes.Repeat(one, 64<<10/len(one))
			p := &Parser{MaxPayload: 1 << 20}
			b.SetBytes(int64(len(one)))
			b.ReportAllocs()
			for i := 0; i < b.N; {
				for rest := buf; len(rest) > 0; i++ {
					_, n, err := p.Next(rest)
					if err != nil {
						b.Fatal(err)
					}
					rest = rest[n:]
				}
			}
		})
	}
}

func BenchmarkParseRMsg(b *testing.B) {
	one := []byte("RMSG $G bench.subject + reply.to q1 q2 16\r\n" + strings.Repeat("x", 16) + "\r\n")
	buf := bytes.Repeat(one, 1000)
	p := &Parser{Link: LinkRoute, MaxPayload: -1}
	b.ReportAllocs()
	for i := 0; i < b.N; {
		for rest := buf; len(rest) > 0; i++ {
			_, n, err := p.Next(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}
