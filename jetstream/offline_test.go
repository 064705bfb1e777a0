package jetstream

import (
	"testing"
	"testing/synctest"
	"time"
)

// Requests about a stream that this server cannot open wait, so that one with
// more knowledge can answer first; some are left to that one altogether.
func TestOfflineStream(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		a.mu.Lock()
		a.offline["X"] = &offlineStream{reason: "why"}
		a.mu.Unlock()
		for _, r := range [][2]string{
			{"STREAM.INFO.X", ""}, {"STREAM.UPDATE.X", `{"name":"X"}`}, {"STREAM.PURGE.X", ""},
			{"STREAM.MSG.DELETE.X", `{"seq":1}`}, {"STREAM.SNAPSHOT.X", `{"deliver_subject":"d"}`},
			{"CONSUMER.CREATE.X.c", `{"stream_name":"X"}`}, {"CONSUMER.DURABLE.CREATE.X.c", `{"stream_name":"X","config":{"durable_name":"c"}}`},
			{"CONSUMER.NAMES.X", ""}, {"CONSUMER.LIST.X", ""}, {"CONSUMER.INFO.X.c", ""}, {"CONSUMER.DELETE.X.c", ""},
		} {
			began := time.Now()
			c.want(`"error":{"code":500,"err_code":10194,"description":"stream is offline: why"}`, "$JS.API."+r[0], r[1])
			if took := time.Since(began); took < delayedReply {
				t.Errorf("%s: answered after %v", r[0], took)
			}
		}
		in := c.subscribe("in")
		for _, r := range [][2]string{
			{"STREAM.MSG.GET.X", `{"seq":1}`}, {"CONSUMER.PAUSE.X.c", ""}, {"CONSUMER.UNPIN.X.c", `{"group":"g"}`},
		} {
			c.publish("$JS.API."+r[0], "in", r[1])
			time.Sleep(2 * delayedReply)
			synctest.Wait()
			if len(in) > 0 {
				t.Errorf("%s: %s", r[0], next(t, in).data)
			}
		}
	})
}
