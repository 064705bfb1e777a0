package jetstream

import (
	"strings"
	"sync"
	"testing"
)

// TestWarnings: what clients do wrong with acknowledgements is logged.
func TestWarnings(t *testing.T) {
	for _, v := range []struct{ what, seq, body, want string }{
		{"a -NAK with a strange argument", "1", "-NAK tomorrow", `consumer 'A > S > C': -NAK without a delay, since its argument is neither a duration nor JSON: "tomorrow"`},
		{"a -NAK with a long one", "1", "-NAK " + strings.Repeat("x", 1000), `neither a duration nor JSON: "` + strings.Repeat("x", 64) + `"`},
		{"an ack beyond the stream", "3", "+ACK", "consumer 'A > S > C': acknowledgement of sequence 3, but its stream ends at 2"},
		{"an ack of what was not delivered", "2", "+ACK", ""},
		{"a -NAK with a delay", "1", "-NAK 1h", ""},
		{"a -NAK with a delay in JSON", "1", `-NAK {"delay":5}`, ""},
		{"a -NAK", "1", "-NAK", ""},
	} {
		t.Run(v.what, func(t *testing.T) {
			var mu sync.Mutex
			var lines []string
			_, _, c := newTestEngine(t, Options{Events: func(e Event) {
				if w, ok := e.(WarningEvent); ok {
					mu.Lock()
					lines = append(lines, w.Text)
					mu.Unlock()
				}
			}})
			c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory"}`)
			c.request("s.a", "one")
			c.request("s.a", "two")
			c.request("$JS.API.CONSUMER.CREATE.S.C", `{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}`)
			in := c.subscribe("inbox")
			c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "inbox", "1")
			wantNext(t, in, "s.a", "$JS.ACK.S.C.1.1.1.", "one")
			c.publish("$JS.ACK.S.C.1."+v.seq+"."+v.seq+".1.0", "", v.body)
			c.request("$JS.API.CONSUMER.INFO.S.C", "") // shows what the asker did before
			c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "inbox", `{"batch":9,"no_wait":true}`)
			next(t, in) // a turn went by
			mu.Lock()
			defer mu.Unlock()
			got := strings.Join(lines, "\n")
			if v.want == "" && got != "" || !strings.Contains(got, v.want) {
				t.Errorf("logged %q, wanted %q", got, v.want)
			}
		})
	}
}
