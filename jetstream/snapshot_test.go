package jetstream

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A snapshot that ends early leaves no goroutine behind, which the end of the test
// would find.
func TestSnapshotGivenUp(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s"]`)
		random := make([]byte, 1<<20) // takes several blocks, however it is compressed
		rand.NewChaCha8([32]byte{}).Read(random)
		for range 10 {
			c.want(`"seq":`, "s", string(random))
		}
		const request = `{"deliver_subject":"in","chunk_size":1024,"window_size":1024}`
		in := c.subscribe("in")
		c.want(`"state":{"messages":10,`, "$JS.API.STREAM.SNAPSHOT.S", request)
		if m := next(t, in); len(m.data) != 1024 {
			t.Fatal(m.header)
		}
		time.Sleep(transferStall)
		if m := next(t, in); m.header != "NATS/1.0 408 No Flow Response\r\n\r\n" {
			t.Errorf("%+v", m)
		}
		c.want(`"state":{"messages":10,`, "$JS.API.STREAM.SNAPSHOT.S", request)
		m := next(t, in)
		c.want(`"success":true`, "$JS.API.STREAM.DELETE.S", "")
		c.publish(m.reply, "", "")
		synctest.Wait()
		for !strings.HasPrefix(m.header, "NATS/1.0 500 ") {
			m = next(t, in)
		}
		synctest.Wait()
		if n := a.engine.transfers.Load(); n != 0 {
			t.Errorf("%d transfers", n)
		}
	})
}
