package jetstream

import (
	"fmt"
	"strings"
	"testing"
)

// TestPurgeUnderManyConsumers: after a purge every consumer's numbers are exact at
// once, whether its turn to be counted has come or not, nothing is advised, and
// what is left is delivered.
func TestPurgeUnderManyConsumers(t *testing.T) {
	_, a, c := newTestEngine(t, Options{})
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory"}`)
	const consumers = 1500
	for range 4 {
		for i := range consumers {
			c.p.Publish(fmt.Appendf(nil, "s.%d", i), nil, nil, []byte("x"))
		}
		c.p.Flush()
	}
	store := a.Stream("S").Store()
	waitFor(t, func() bool { return store.Positions().Visible == 4*consumers })
	advised := c.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>")
	in := c.subscribe("in")
	for i := range consumers {
		c.publish(fmt.Sprintf("$JS.API.CONSUMER.CREATE.S.C%d", i), "", fmt.Sprintf(`{"stream_name":"S","config":{"durable_name":"C%d","ack_policy":"explicit","filter_subject":"s.%d"}}`, i, i))
	}
	waitFor(t, func() bool { return a.Stream("S").consumers.count(true) == consumers })
	for i := range consumers {
		c.publish(fmt.Sprintf("$JS.API.CONSUMER.MSG.NEXT.S.C%d", i), "in", "2")
	}
	for range 2 * consumers {
		next(t, in)
	}
	// The first message of each subject goes, which is pending.
	r := c.request("$JS.API.STREAM.PURGE.S", fmt.Sprintf(`{"seq":%d}`, consumers+1))
	if !strings.Contains(r.data, fmt.Sprintf(`"purged":%d`, consumers)) {
		t.Fatal(r.data)
	}
	for i := consumers - 1; i >= 0; i -= 7 { // the last ones are counted last
		info := c.request(fmt.Sprintf("$JS.API.CONSUMER.INFO.S.C%d", i), "").data
		if want := `"num_ack_pending":1,"num_redelivered":0,"num_waiting":0,"num_pending":2`; !strings.Contains(info, want) {
			t.Fatalf("want %s in %s", want, info)
		}
	}
	r = c.request("$JS.API.STREAM.PURGE.S", `{"keep":1000}`)
	if !strings.Contains(r.data, fmt.Sprintf(`"purged":%d`, 3*consumers-1000)) {
		t.Fatal(r.data)
	}
	for _, i := range []int{consumers - 1, 0, consumers - 1000, consumers - 1001} {
		left := 1
		if i < consumers-1000 {
			left = 0
		}
		info := c.request(fmt.Sprintf("$JS.API.CONSUMER.INFO.S.C%d", i), "").data
		if want := fmt.Sprintf(`"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":%d`, left); !strings.Contains(info, want) {
			t.Fatalf("want %s in %s", want, info)
		}
	}
	c.publish(fmt.Sprintf("$JS.API.CONSUMER.MSG.NEXT.S.C%d", consumers-1), "in", "1")
	wantNext(t, in, fmt.Sprintf("s.%d", consumers-1), fmt.Sprintf("$JS.ACK.S.C%d.1.%d.3.", consumers-1, 4*consumers), "x")
	select {
	case m := <-advised:
		t.Fatalf("advised: %v", m)
	default:
	}
}
