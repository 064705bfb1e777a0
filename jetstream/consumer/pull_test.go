package consumer

import (
	"encoding/json"
	"testing"
)

var pullBodies = []string{
	`{}`, ` { } `, `{"batch":1}`, `{"batch":0}`, `{"batch":01}`, `{"batch":-1}`, `{"batch":1.5}`, `{"batch":1e3}`, `{"batch":"1"}`,
	`{"expires":30000000000,"batch":500,"idle_heartbeat":5000000000}`, `{"batch":2,"no_wait":true}`, `{"no_wait":false,"batch":7}`, `{"no_wait":trueish}`,
	`{"group":"A","id":"BZ19gTpKNin4P9gWO6ZAbC","priority":3,"min_pending":4,"min_ack_pending":5,"max_bytes":9}`, `{"group":"\u0041"}`, `{"group":"é"}`,
	`{"Batch":3}`, `{"unknown":1}`, `{"batch":1,}`, `{"batch":1}x`, `{"batch":99999999999999999999}`, `{"batch":1,"batch":2}`, `{"batch":null}`, `{`, `{"`, `{"batch"`, `{"batch":`, `[]`,
}

// FuzzPullBody compares the quick reader of pull requests with encoding/json:
// what it takes means the same.
func FuzzPullBody(f *testing.F) {
	for _, b := range pullBodies {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var quick, want requestBody
		if !quick.scan(body) {
			return
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q was taken; encoding/json says %v", body, err)
		}
		if quick != want {
			t.Fatalf("%q: got %+v, want %+v", body, quick, want)
		}
	})
}

// FuzzAckSubject: no subject makes the parser fail, and the numbers are those of
// the tokens.
func FuzzAckSubject(f *testing.F) {
	for _, s := range []string{"$JS.ACK.S.C.1.2.3.4.5", "$JS.ACK._.szMpdrwD.S.C.1.2.3.4.5", "$JS.ACK.d.h.S.C.1.2.3.4.5.6.7", "$JS.ACK.S.C.x.2.3.4.5", "$JS.ACK.", "$JS.ACK.S.C.1.18446744073709551615.18446744073709551616.4.5"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, subject []byte) {
		a, routed, numeric := ParseAckSubject(subject)
		if !routed || !numeric {
			return
		}
		back := new(replyText).append(nil, "", uint32(a.Deliveries), a.Seq, a.ConsumerSeq, 0, 0)
		if len(back) > len(subject)+len(".0.0.") {
			t.Fatalf("%q: %+v", subject, a)
		}
	})
}

func TestParseAckSubject(t *testing.T) {
	type want struct {
		stream, consumer, domain string
		deliveries, seq, cseq    uint64
		routed, numeric          bool
	}
	for subject, w := range map[string]want{
		"$JS.ACK.S.C.1.2.3.4.5":                         {"S", "C", "", 1, 2, 3, true, true},
		"$JS.ACK._.szMpdrwD.S.C.1.2.3.4.5":              {"S", "C", "_", 1, 2, 3, true, true},
		"$JS.ACK.hub.szMpdrwD.S.C.1.2.3.4.5.more.still": {"S", "C", "hub", 1, 2, 3, true, true},
		"$JS.ACK.S.C.1.x.3.4.5":                         {"S", "C", "", 1, 0, 3, true, false},
		"$JS.ACK.S.C.1..3.4.5":                          {"S", "C", "", 1, 0, 3, true, false},
		"$JS.ACK.S.C.1.2.3.4":                           {},
		"$JS.ACK.S.C.1.2.3.4.5.6":                       {},
		"$JS.ACK.S.C.1.18446744073709551616.3.4.5":      {"S", "C", "", 1, 0, 3, true, false},
		"other": {},
	} {
		a, routed, numeric := ParseAckSubject([]byte(subject))
		got := want{string(a.Stream), string(a.Consumer), string(a.Domain), a.Deliveries, a.Seq, a.ConsumerSeq, routed, numeric}
		if got != w {
			t.Errorf("%s: got %+v, want %+v", subject, got, w)
		}
	}
}

func BenchmarkParseRequest(b *testing.B) {
	body := []byte(`{"expires":30000000000,"batch":500,"idle_heartbeat":5000000000}`)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := ParseRequest(body); err != nil || r.Batch != 500 {
			b.Fatal(r, err)
		}
	}
}
