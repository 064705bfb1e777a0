package jetstream

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
	"github.com/natsd/natsd/natsproto"
)

// A consumer that the user made for a mirror or a source has delivered to
// somebody else before. Only what it delivers from its reset on counts, and of
// that everything. The test is the origin.
func TestOriginWithUsedConsumer(t *testing.T) {
	for _, kind := range []string{`"mirror":%s`, `"sources":[%s]`} {
		t.Run(kind[1:7], func(t *testing.T) {
			inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
				source := strings.HasPrefix(kind, `"sources`)
				deliver := func(seq, delivery int) {
					c.publish("d", fmt.Sprintf("$JS.ACK.O.c.1.%d.%d.946684800000000000.0", seq, delivery), fmt.Sprint(seq))
					synctest.Wait()
				}
				// reset takes the request for one, and answers it.
				requests := c.subscribe("X.CONSUMER.RESET.O.c")
				reset := func(identity, want string, during func()) {
					t.Helper()
					r := next(t, requests)
					if r.header != want {
						t.Fatalf("the request has the headers %q, want %q", r.header, want)
					}
					during()
					c.publish(r.reply, "", `{"type":"io.nats.jetstream.api.v1.consumer_reset_response","name":"c","config":{"ack_policy":"flow_control","deliver_subject":"d"},"num_pending":3,"reset_seq":1}`,
						"Nats-Stream-Identity: "+identity)
					synctest.Wait()
				}
				level := func(identity string) string {
					if source {
						return "NATS/1.0\r\nNats-Required-Api-Level: 5\r\nNats-Stream-Identity: " + identity + "\r\n\r\n"
					}
					return "NATS/1.0\r\nNats-Required-Api-Level: 4\r\n\r\n"
				}
				state := func(msgs, last uint64) {
					t.Helper()
					if s := a.Stream("S").state(false); s.Msgs != msgs || s.LastSeq != last {
						t.Fatalf("%d messages up to %d, want %d up to %d", s.Msgs, s.LastSeq, msgs, last)
					}
				}
				c.create("S", fmt.Sprintf(kind, `{"name":"O","external":{"api":"X","deliver":""},"consumer":{"name":"c","deliver_subject":"d"}}`))
				// Deliveries of before, behind three messages that nobody has acknowledged.
				reset("one", level(""), func() { deliver(4, 7) })
				deliver(5, 8)
				for i := 1; i <= 8; i++ {
					deliver(i, i)
				}
				state(8, 8)
				c.want(`"lag":0`, "$JS.API.STREAM.INFO.S", "")
				if source {
					sm, err := a.Stream("S").store.LoadMsg(1, nil)
					if err != nil {
						t.Fatal(err)
					}
					if got := string(natsproto.HeaderValue(sm.Header, hdrStreamSource)); got != "O:"+shortHash("X")+" 1 > > d one" {
						t.Errorf("source %q", got)
					}
				}
				// A lost delivery: it starts over, and knows what it has.
				deliver(10, 10)
				time.Sleep(3 * time.Second)
				reset("one", level("one"), func() { deliver(11, 11) })
				deliver(9, 1)
				deliver(10, 2)
				state(10, 10)
				if !source {
					return // a mirror waits for sequences above its own
				}
				// The origin is made anew, its sequences begin again.
				deliver(12, 4)
				time.Sleep(3 * time.Second)
				reset("two", level("one"), func() {})
				deliver(1, 1)
				deliver(2, 2)
				state(12, 12)
			})
		})
	}
}

// How far a source has come counts with the messages that are not stored, too:
// after a restart they are not asked for again.
func TestPassedMessagesOfSource(t *testing.T) {
	for _, tc := range []struct {
		name, config string
		msgs, last   uint64
	}{
		{"duplicate", `"duplicate_window":60000000000`, 1, 1},
		{"nobody wants it", `"retention":"interest"`, 0, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := Options{FS: crashfs.New(1), StoreDir: "/store"}
			inMemory(t, o, func(t *testing.T, a *Account, c *client) {
				origin := c.externalOrigin("S", `"storage":"file","sources":[{"name":"O","external":{"api":"X","deliver":""}}],`+tc.config)
				origin.sendMsg(1, "NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n", "x")
				origin.sendMsg(2, "NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n", "x")
				time.Sleep(time.Second)
				if s := a.Stream("S").state(false); s.Msgs != tc.msgs || s.LastSeq != tc.last {
					t.Fatalf("%d messages up to %d, want %d up to %d", s.Msgs, s.LastSeq, tc.msgs, tc.last)
				}
			})
			inMemory(t, o, func(t *testing.T, a *Account, c *client) {
				if r := next(t, c.subscribe("X.CONSUMER.CREATE.O")); !strings.Contains(r.data, `"deliver_policy":"by_start_sequence","opt_start_seq":3`) {
					t.Errorf("asks for %s", r.data)
				}
			})
		})
	}
}

// A consumer that the user made for a mirror or a source, and that does not
// acknowledge by flow control, is refused in the stream's info.
func TestOriginConsumerWithoutFlowControl(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("O", `"subjects":["o"]`)
		c.want(`"name":"c"`, "$JS.API.CONSUMER.CREATE.O.c", `{"stream_name":"O","config":{"durable_name":"c","ack_policy":"explicit","deliver_subject":"d"}}`)
		c.create("S", `"sources":[{"name":"O","consumer":{"name":"c","deliver_subject":"d"}}]`)
		c.create("M", `"mirror":{"name":"O","consumer":{"name":"c","deliver_subject":"d"}}`)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		c.want(`"error":{"code":400,"err_code":10217,"description":"stream source consumer requires flow control ack policy"}`, "$JS.API.STREAM.INFO.S", "")
		c.want(`"error":{"code":400,"err_code":10214,"description":"stream mirror consumer requires flow control ack policy"}`, "$JS.API.STREAM.INFO.M", "")
	})
}

// A stream has at most 50 atomic batches open at a time.
func TestTooManyAtomicBatches(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s"],"allow_atomic":true`)
		for i := range 50 {
			c.wantReply("", "s", "x", fmt.Sprintf("Nats-Batch-Id: %d", i), "Nats-Batch-Sequence: 1")
		}
		const refused = `{"error":{"code":429,"err_code":10210,"description":"atomic publish too many inflight"},"stream":"S","seq":0}`
		c.wantReply(refused, "s", "x", "Nats-Batch-Id: more", "Nats-Batch-Sequence: 1")
		c.wantReply(`{"stream":"S","seq":2,"batch":"7","count":2}`, "s", "x", "Nats-Batch-Id: 7", "Nats-Batch-Sequence: 2", "Nats-Batch-Commit: 1")
		c.wantReply("", "s", "x", "Nats-Batch-Id: more", "Nats-Batch-Sequence: 1")
	})
}
