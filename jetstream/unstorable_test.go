package jetstream

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A message that no store could hold is refused alone: what came with it is stored,
// and the stream is not taken for one whose disk has failed.
func TestUnstorableAlone(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s.*"],"subject_transform":{"src":"s.*","dest":"t.{{split(1,-)}}"},"allow_atomic":true,"allow_batched":true`)
		long := strings.Repeat("x", 40_000)
		c.want(`"err_code":10156`, "$JS.API.STREAM.CREATE.T", `{"name":"T","subjects":["u.*"],"subject_transform":{"src":"u.*","dest":"`+strings.Repeat("a.", 40_000)+`$1"}}`)
		c.create("L", `"subjects":["l.*"],"subject_transform":{"src":"l.*","dest":"m.$1.$1"}`)
		for _, tc := range []struct{ stream, good, bad string }{
			{"S", "s.a", "s.-"},
			{"L", "l.a", "l." + long},
		} {
			st := a.Stream(tc.stream)
			good, bad := c.subscribe("good"), c.subscribe("bad")
			goOn := make(chan struct{})
			st.do(func() { <-goOn }) // the two come together
			c.publish(tc.good, "good", "")
			c.publish(tc.bad, "bad", "")
			close(goOn)
			if r := next(t, good); r.data != fmt.Sprintf(`{"stream":"%s","seq":1}`, tc.stream) {
				t.Error(r.data)
			}
			if r := next(t, bad); r.data != fmt.Sprintf(`{"error":{"code":503,"err_code":10077,"description":"invalid subject"},"stream":"%s","seq":0}`, tc.stream) {
				t.Error(r.data)
			}
			if failed := a.Failures(); failed != nil {
				t.Error(failed)
			}
		}
		const refused = `{"error":{"code":503,"err_code":10077,"description":"invalid subject"},"stream":"S","seq":0}`
		c.wantReply("", "s.a", "", "Nats-Batch-Id: 1", "Nats-Batch-Sequence: 1")
		c.wantReply(refused, "s.-", "", "Nats-Batch-Id: 1", "Nats-Batch-Sequence: 2", "Nats-Batch-Commit: 1")
		c.wantReply(`{"stream":"S","seq":2}`, "s.b", "")
	})
}

// What an origin sends and no store could hold is left out, and what is said to be
// beyond all sequences is not taken: neither keeps the stream's own messages out.
func TestUnstorableOrigin(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		origin := c.externalOrigin("S", `"subjects":["s"],"sources":[{"name":"O","external":{"api":"X","deliver":""}}]`)
		st := a.Stream("S")
		reply := c.subscribe("reply")
		for i, m := range []struct{ header, data string }{
			{"x", "NATS/1.0\r\n\r\n"}, {"x", ""}, {"NATS/1.0\r\nA: b", ""}, {"NATS/1.0\r\nA: b\r\n\r\n", ""},
		} {
			goOn := make(chan struct{})
			st.do(func() { <-goOn }) // the two come together
			c.publish("s", "reply", "")
			origin.stage(uint64(i+1), m.header, m.data)
			close(goOn)
			if r := next(t, reply); strings.Contains(r.data, "error") {
				t.Error(m, r.data)
			}
			synctest.Wait()
		}
		if s := st.state(false); s.Msgs != 7 || a.Failures() != nil || st.store.SourceProgress()["O:"+shortHash("X")+" > >"].Seq != 4 {
			t.Errorf("%d messages, %v, %v", s.Msgs, a.Failures(), st.store.SourceProgress())
		}
	})
	for _, kind := range []string{`"mirror":%s`, `"sources":[%s]`} {
		for _, seq := range []uint64{1 << 62, 1 << 63, 1<<64 - 1} {
			inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
				origin := c.externalOrigin("S", fmt.Sprintf(kind, `{"name":"O","external":{"api":"X","deliver":""}}`))
				intact := func() {
					t.Helper()
					if s := a.Stream("S").state(false); s.Msgs != 1 || s.LastSeq != 1 || a.Failures() != nil {
						t.Errorf("%d: %d messages to %d, %v", seq, s.Msgs, s.LastSeq, a.Failures())
					}
					c.want(`,"description":"the sequences of its messages are too large"}`, "$JS.API.STREAM.INFO.S", "")
				}
				origin.send(1, seq)
				intact()
				time.Sleep(20 * time.Second)
				origin.accept(fmt.Sprintf(`,"delivered":{"consumer_seq":0,"stream_seq":%d}`, seq))
				intact()
			})
		}
	}
}
