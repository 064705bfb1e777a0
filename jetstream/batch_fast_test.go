package jetstream

import (
	"testing"
	"testing/synctest"

	"github.com/natsd/natsd/msgstore"
)

// What is answered to single messages of fast batches, in the order they come.
func TestFastBatchAnswers(t *testing.T) {
	inMemory(t, Options{Limits: Limits{BatchesPerStream: 2}}, func(t *testing.T, a *Account, c *client) {
		c.create("F", `"subjects":["f"],"allow_batched":true,"allow_msg_ttl":true`)
		in := c.subscribe("in.>")
		for _, step := range []struct {
			control string // of the reply subject
			header  string
			want    []string
		}{
			// A first message that is refused: with gap mode ok the batch has begun all the same.
			{"a.2.ok.1.0", "Nats-TTL: 0", []string{`{"type":"ack","seq":0,"msgs":2}`, `{"type":"err","seq":1,"error":{"code":400,"err_code":10165,"description":"invalid per-message TTL"}}`}},
			{"a.2.ok.2.2", "", []string{`{"stream":"F","seq":1,"batch":"a","count":2}`}},
			{"b.2.fail.1.0", "Nats-TTL: 0", []string{`{"error":{"code":400,"err_code":10165,"description":"invalid per-message TTL"},"stream":"F","seq":0}`}},
			{"b.2.fail.2.1", "", []string{`{"error":{"code":400,"err_code":10208,"description":"batch publish ID unknown"},"stream":"F","seq":0}`}},
			// Batches of one message, repeated: it is skipped, and told only where a gap ends a batch.
			{"c.2.ok.1.2", "Nats-Msg-Id: 1", []string{`{"stream":"F","seq":2,"batch":"c","count":1}`}},
			{"c.2.fail.1.2", "Nats-Msg-Id: 1", []string{`{"stream":"F","seq":2,"duplicate": true,"batch":"c","count":1}`}},
			{"c.2.ok.1.2", "Nats-Msg-Id: 1", []string{`{"stream":"F","seq":0,"batch":"c","count":1}`}},
			// The level is control data: it is not stored.
			{"d.2.ok.1.2", "Nats-Required-Api-Level: 4", []string{`{"stream":"F","seq":3,"batch":"d","count":1}`}},
			{"d.2.ok.1.2", "Nats-Required-Api-Level: 6", []string{`{"error":{"code":412,"err_code":10185,"description":"JetStream minimum api level required"},"stream":"F","seq":0}`}},
			// Sequences up to the largest.
			{"h.2.ok.1.0", "", []string{`{"type":"ack","seq":0,"msgs":2}`}},
			{"h.2.ok.18446744073709551614.2", "", []string{`{"type":"gap","last_seq":2,"seq":18446744073709551614}`, `{"stream":"F","seq":5,"batch":"h","count":18446744073709551614}`}},
			// Too many.
			{"e.2.ok.1.0", "", []string{`{"type":"ack","seq":0,"msgs":2}`}},
			{"f.2.ok.1.0", "", []string{`{"type":"ack","seq":0,"msgs":1}`, `{"type":"ack","seq":1,"msgs":2}`}},
			{"g.2.ok.1.0", "", []string{`{"error":{"code":429,"err_code":10211,"description":"batch publish too many inflight"},"stream":"F","seq":0}`}},
		} {
			var headers []string
			if step.header != "" {
				headers = []string{step.header}
			}
			c.publish("f", "in."+step.control+".$FI", "x", headers...)
			synctest.Wait()
			for _, want := range step.want {
				if got := next(t, in).data; got != want {
					t.Fatalf("%s %s:\n got %s\nwant %s", step.control, step.header, got, want)
				}
			}
			if len(in) > 0 {
				t.Fatalf("%s %s: and %s", step.control, step.header, next(t, in).data)
			}
		}
		sm, err := a.Stream("F").store.LoadMsg(3, new(msgstore.StoredMsg))
		if err != nil || len(sm.Header) > 0 {
			t.Errorf("stored with %q, %v", sm.Header, err)
		}
	})
}
