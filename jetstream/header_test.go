package jetstream

import (
	"bytes"
	"testing"

	"github.com/natsd/natsd/natsproto"
)

func TestParsePubHeader(t *testing.T) {
	var h pubHeader
	h.parse([]byte("NATS/1.0\r\nX: 1\r\nNats-Msg-Id:  a b \r\nNats-Msg-Id: second\r\nNats-Rollup:\r\nnats-ttl: 1s\r\nNats-Expected-Last-Sequence: 7\r\n\r\n"))
	if string(h.msgID) != "a b " {
		t.Errorf("msgID %q", h.msgID)
	}
	if h.rollup == nil || len(h.rollup) != 0 {
		t.Errorf("rollup %q: present and empty wanted", h.rollup)
	}
	if h.ttl != nil {
		t.Errorf("ttl %q: names are case-sensitive", h.ttl)
	}
	if string(h.expectedLastSeq) != "7" {
		t.Errorf("expectedLastSeq %q", h.expectedLastSeq)
	}
}

// FuzzPubHeader compares the one-pass parser with a look-up of each name.
func FuzzPubHeader(f *testing.F) {
	f.Add([]byte("NATS/1.0\r\nNats-Msg-Id: 1\r\nNats-TTL: 1s\r\n\r\n"))
	f.Add([]byte("NATS/1.0\r\nNats-Msg-Id:\r\n\r\n"))
	f.Fuzz(func(t *testing.T, block []byte) {
		// The parser of connections lets only such blocks through.
		if !bytes.HasPrefix(block, []byte("NATS/1.0\r\n")) || !bytes.HasSuffix(block, []byte("\r\n\r\n")) {
			return
		}
		if rest := bytes.ReplaceAll(block, []byte("\r\n"), nil); bytes.ContainsAny(rest, "\r\n") {
			return // a lone CR or LF: the two readings may differ, neither is wrong
		}
		var h pubHeader
		h.parse(block)
		for _, name := range []string{hdrMsgID, hdrTTL, hdrRollup, hdrIncr, hdrBatchID, hdrSchedule} {
			got, want := *h.field([]byte(name)), natsproto.HeaderValue(block, name)
			if !bytes.Equal(got, want) || (got == nil) != (want == nil) {
				t.Fatalf("%s: %q, want %q", name, got, want)
			}
		}
	})
}

func TestParseTTL(t *testing.T) {
	for _, c := range []struct {
		in      string
		seconds int64
		ok      bool
	}{
		{"", 0, true}, {"never", -1, true}, {"NEVER", -1, true}, {"1h", 3600, true}, {"1m30s", 90, true}, {"1.5s", 1, true},
		{"1", 1, true}, {"90", 90, true}, {"0", 0, false}, {"0s", 0, false}, {"999ms", 0, false}, {"-1", 0, false},
		{"-1s", 0, false}, {"1.5", 0, false}, {"1x", 0, false}, {"9223372036854775807", 1 << 32, true},
		{"2562047h", 1 << 32, true}, {"99999999999999999999", 0, false},
	} {
		seconds, ok := parseTTL([]byte(c.in))
		if ok != c.ok || ok && seconds != c.seconds {
			t.Errorf("%q: %d %v, want %d %v", c.in, seconds, ok, c.seconds, c.ok)
		}
	}
}

func TestParseFastReply(t *testing.T) {
	for _, c := range []struct {
		reply string
		valid bool
		want  fastReply
	}{
		{"in.b.10.fail.1.0.$FI", true, fastReply{[]byte("b"), 10, false, 1, fastStart}},
		{"a.in.b.70000.ok.5.1.$FI", true, fastReply{[]byte("b"), maxFastFlow, true, 5, fastAppend}},
		{"in.b.x.ok.1.2.$FI", true, fastReply{[]byte("b"), defaultFastFlow, true, 1, fastCommit}},
		{"in.b.10.maybe.1.0.$FI", false, fastReply{}}, {"in.b.10.ok.0.0.$FI", false, fastReply{}},
		{"in.b.10.ok.2.0.$FI", false, fastReply{}}, {"in.b.10.ok.1.1.$FI", false, fastReply{}},
		{"in.b.10.ok.1.9.$FI", false, fastReply{}}, {"b.10.ok.1.0.$FI", false, fastReply{}}, {".$FI", false, fastReply{}},
		{"in.b.10.ok.18446744073709551615.1.$FI", false, fastReply{}},
	} {
		f, valid := parseFastReply([]byte(c.reply))
		if valid != c.valid {
			t.Errorf("%s: valid %v", c.reply, valid)
		}
		if valid && (string(f.id) != string(c.want.id) || f.flow != c.want.flow || f.ok != c.want.ok || f.seq != c.want.seq || f.op != c.want.op) {
			t.Errorf("%s: %+v, want %+v", c.reply, f, c.want)
		}
	}
}

func FuzzReplySubjects(f *testing.F) {
	f.Add([]byte("in.b.10.fail.1.0.$FI"))
	f.Add([]byte("$JS.ACK.S.C.1.2.3.1795303552558627146.0"))
	f.Add([]byte("$JS.ACK.hub.szMpdrwD.A.d.1.2.2.1795303552558627146.0.x"))
	f.Fuzz(func(t *testing.T, reply []byte) {
		if isFastReply(reply) {
			if fr, ok := parseFastReply(reply); ok && (fr.seq == 0 || fr.flow < 1 || fr.flow > maxFastFlow || len(fr.id) == 0) {
				t.Fatalf("%q: %+v", reply, fr)
			}
		}
		parseAckReply(reply)
	})
}

func TestParseAckReply(t *testing.T) {
	want := ackReply{1, 2, 3, 1795303552558627146, 4}
	for _, reply := range []string{
		"$JS.ACK.S.C.1.2.3.1795303552558627146.4",
		"$JS.ACK.hub.szMpdrwD.S.C.1.2.3.1795303552558627146.4",
		"$JS.ACK._.szMpdrwD.S.C.1.2.3.1795303552558627146.4.more",
	} {
		if got, ok := parseAckReply([]byte(reply)); !ok || got != want {
			t.Errorf("%s: %+v %v", reply, got, ok)
		}
	}
	for _, reply := range []string{"", "$JS.ACK.S.C.1.2.3.4", "$JS.ACK.S.C.1.2.3.4.5.6", "$JS.ACK.S.C.x.2.3.4.5", "_INBOX.S.C.1.2.3.4.5.6"} {
		if got, ok := parseAckReply([]byte(reply)); ok {
			t.Errorf("%s: %+v", reply, got)
		}
	}
}

func TestPubAckJSON(t *testing.T) {
	for _, c := range []struct {
		domain string
		ack    pubAck
		want   string
	}{
		{"", pubAck{seq: 1}, `{"stream":"P","seq":1}`},
		{"hub", pubAck{seq: 2, duplicate: true}, `{"stream":"P","domain":"hub","seq":2,"duplicate": true}`},
		{"", pubAck{seq: 3, batch: "b1", count: 3}, `{"stream":"P","seq":3,"batch":"b1","count":3}`},
		{"", pubAck{seq: 2, value: "6"}, `{"stream":"P","seq":2,"val":"6"}`},
		{"", pubAck{seq: 22, duplicate: true, batch: "j3", count: 1}, `{"stream":"P","seq":22,"duplicate": true,"batch":"j3","count":1}`},
	} {
		if got := string(c.ack.appendTo(nil, ackPrefix("P", c.domain))); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	var buf []byte
	prefix := ackPrefix("P", "")
	ack := pubAck{seq: 123456789}
	if n := testing.AllocsPerRun(100, func() { buf = ack.appendTo(buf[:0], prefix) }); n != 0 {
		t.Errorf("%v allocations for an ack", n)
	}
}

func TestNamesOfOrigins(t *testing.T) {
	// The vector of the specification.
	if got := shortHash("MIR A"); got != "x4OWY7wN" {
		t.Errorf("hash %s", got)
	}
	if got := shortHash("$G"); got != "szMpdrwD" {
		t.Errorf("hash %s", got)
	}
	if n := len(newID()); n != 22 {
		t.Errorf("id of %d characters", n)
	}
}

func TestStripOriginHeaders(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "",
		"NATS/1.0\r\nK: v\r\n\r\n":             "NATS/1.0\r\nK: v\r\n\r\n",
		"NATS/1.0\r\nNats-Batch-Id: 1\r\n\r\n": "",
		"NATS/1.0\r\nK: v\r\nNats-Expected-Stream: O\r\nNats-Batch-Sequence: 2\r\nQ: r\r\n\r\n": "NATS/1.0\r\nK: v\r\nQ: r\r\n\r\n",
	} {
		if got := string(stripOriginHeaders([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
