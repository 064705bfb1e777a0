package jetstream

import (
	"strings"
	"testing"
)

// wantNext checks the next message: subject, reply, payload or status line.
func wantNext(t *testing.T, ch <-chan received, subject, reply, text string) received {
	t.Helper()
	m := next(t, ch)
	got := m.data
	if m.data == "" && m.header != "" {
		got, _, _ = strings.Cut(strings.TrimPrefix(m.header, "NATS/1.0 "), "\r\n")
	}
	if m.subject != subject || !strings.HasPrefix(m.reply, reply) || got != text {
		t.Fatalf("got %q %q %q, want %q %q %q", m.subject, m.reply, got, subject, reply, text)
	}
	return m
}

func TestPullConsumerInMemory(t *testing.T) {
	_, _, c := newTestEngine(t, Options{})
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory"}`)
	for _, m := range []string{"one", "two", "three"} {
		c.request("s.a", m)
	}
	r := c.request("$JS.API.CONSUMER.CREATE.S.C", `{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}`)
	if !strings.Contains(r.data, `"num_pending":3`) {
		t.Fatal(r.data)
	}
	in := c.subscribe("inbox")
	c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "inbox", `{"batch":2}`)
	one := wantNext(t, in, "s.a", "$JS.ACK.S.C.1.1.1.", "one")
	two := wantNext(t, in, "s.a", "$JS.ACK.S.C.1.2.2.", "two")
	if r := c.request(one.reply, "+ACK"); r.data != "" {
		t.Fatal(r)
	}
	c.publish(two.reply, "", "-NAK")
	c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "inbox", `{"batch":9,"no_wait":true}`)
	wantNext(t, in, "s.a", "$JS.ACK.S.C.2.2.3.", "two")
	wantNext(t, in, "s.a", "$JS.ACK.S.C.1.3.4.", "three")
	wantNext(t, in, "inbox", "", "404 No Messages")
	r = c.request("$JS.API.CONSUMER.INFO.S.C", "")
	if !strings.Contains(r.data, `"ack_floor":{"consumer_seq":1,"stream_seq":1,`) || !strings.Contains(r.data, `"num_ack_pending":2,"num_redelivered":1`) {
		t.Fatal(r.data)
	}
}
