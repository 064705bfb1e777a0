package jetstream

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// usageOf compares what an account and its server say that they use and have reserved
// with what the streams hold.
func usageOf(a *Account) error {
	var stored, reserved [2]int64
	streams, consumers := 0, 0
	for _, st := range a.Streams() {
		cfg := st.Config()
		stored[cfg.Storage] += int64(st.storedBytes())
		reserved[cfg.Storage] += max(cfg.MaxBytes, 0)
		streams++
		consumers += st.consumers.count(true)
	}
	file, mem := jsapi.FileStorage, jsapi.MemoryStorage
	want := fmt.Sprint(stored[mem], stored[file], reserved[mem], reserved[file])
	s := a.Stats()
	if got := fmt.Sprint(s.Memory, s.Store, s.ReservedMemory, s.ReservedStorage); got != want || s.Streams != streams || s.Consumers != consumers {
		return fmt.Errorf("the account says %s, %d, %d; its streams %s, %d, %d", got, s.Streams, s.Consumers, want, streams, consumers)
	}
	u := a.engine.Usage()
	if got := fmt.Sprint(u.Memory, u.Store, u.ReservedMemory, u.ReservedStore); got != want {
		return fmt.Errorf("the server says %s, its streams %s", got, want)
	}
	return nil
}

// What is used and reserved is told as it is, whatever was done before, and after a
// power cut as well.
func TestUsageAgrees(t *testing.T) {
	for seed := uint64(1); seed <= 8; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			disk := crashfs.New(seed)
			for range 3 {
				inMemory(t, Options{FS: disk, StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
					check := func(after string) {
						t.Helper()
						synctest.Wait()
						if err := usageOf(a); err != nil {
							t.Fatalf("after %s: %v", after, err)
						}
					}
					check("the start")
					for range 60 {
						what := randomUse(c, r)
						check(what)
					}
					disk.Cut()
				})
				disk = disk.Crash()
			}
		})
	}
}

// randomUse does something that changes what an account uses, and says what.
func randomUse(c *client, r *rand.Rand) string {
	n := r.IntN(4)
	name, subject := fmt.Sprint("S", n), fmt.Sprintf("s%d.%d", n, r.IntN(3))
	config := func() string {
		return fmt.Sprintf(`{"name":%q,"subjects":["s%d.*"],"storage":%q,"max_bytes":%d,"max_msgs_per_subject":%d,"max_age":%d,"retention":%q,"allow_rollup_hdrs":true,"allow_atomic":true}`,
			name, n, [...]string{"file", "memory"}[n%2], 1000*r.IntN(4), r.IntN(3), int64(r.IntN(3))*int64(time.Minute), [...]string{"limits", "interest"}[r.IntN(2)])
	}
	body := fmt.Sprintf("%*d", 1+r.IntN(300), 0)
	switch r.IntN(16) {
	case 0, 1:
		cfg := config()
		c.request("$JS.API.STREAM.CREATE."+name, cfg)
		return "create " + cfg
	case 2:
		cfg := config()
		c.request("$JS.API.STREAM.UPDATE."+name, cfg)
		return "update " + cfg
	case 3:
		if r.IntN(3) == 0 {
			c.request("$JS.API.STREAM.DELETE."+name, "")
		}
		return "delete"
	case 4:
		c.request("$JS.API.STREAM.PURGE."+name, fmt.Sprintf(`{"filter":%q,"keep":%d}`, subject, r.IntN(2)))
		return "purge"
	case 5:
		c.request("$JS.API.STREAM.MSG.DELETE."+name, fmt.Sprintf(`{"seq":%d}`, 1+r.IntN(30)))
		return "delete a message"
	case 6:
		c.request("$JS.API.CONSUMER.CREATE."+name+".k", `{"stream_name":"`+name+`","config":{"name":"k","durable_name":"k","ack_policy":"explicit"}}`)
		return "create a consumer"
	case 7:
		c.request("$JS.API.CONSUMER.DELETE."+name+".k", "")
		return "delete a consumer"
	case 8:
		in := c.subscribe("in")
		c.publish("$JS.API.CONSUMER.MSG.NEXT."+name+".k", "in", `{"batch":5,"no_wait":true}`)
		synctest.Wait()
		for len(in) > 0 {
			if m := <-in; m.reply != "" {
				c.publish(m.reply, "", "+ACK")
			}
		}
		return "acknowledge"
	case 9:
		time.Sleep(time.Duration(r.IntN(90)) * time.Second)
		return "wait"
	case 10:
		for i := 1; i <= 3; i++ {
			commit := "X: y"
			if i == 3 {
				commit = "Nats-Batch-Commit: 1"
			}
			c.publish(subject, "", body, "Nats-Batch-Id: b", fmt.Sprint("Nats-Batch-Sequence: ", i), commit)
		}
		return "publish a batch"
	case 11:
		c.publish(subject, "", body, "Nats-Rollup: "+[...]string{"sub", "all"}[r.IntN(2)])
		return "roll up"
	}
	c.publish(subject, "", body)
	return "publish"
}
