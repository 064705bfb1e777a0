package jetstream

import (
	"encoding/json"
	"testing"
	"testing/synctest"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// What is being made counts when a stream is made, too.
func TestCycleWithRestore(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.want(`"deliver_subject"`, "$JS.API.STREAM.RESTORE.A", `{"config":{"name":"A","storage":"memory","sources":[{"name":"B"}]}}`)
		const cycle = `"err_code":10052,"description":"detected cycle"`
		c.want(cycle, "$JS.API.STREAM.CREATE.B", `{"name":"B","storage":"memory","sources":[{"name":"A"}]}`)
		c.want(cycle, "$JS.API.STREAM.CREATE.B", `{"name":"B","storage":"memory","mirror":{"name":"A"}}`)
		c.create("B", `"subjects":["b"]`)
		c.want(cycle, "$JS.API.STREAM.UPDATE.B", `{"name":"B","storage":"memory","subjects":["b"],"sources":[{"name":"A"}]}`)
		c.want(cycle, "$JS.API.STREAM.RESTORE.C", `{"config":{"name":"C","storage":"memory","sources":[{"name":"A"},{"name":"C"}]}}`)
		c.want(`"did_create"`, "$JS.API.STREAM.CREATE.C", `{"name":"C","storage":"memory","sources":[{"name":"A"}]}`)
	})
}

// A purge of an account deletes the streams that there are, also those that are
// offline, and leaves alone what is being restored.
func TestPurgeAccountDuringRestore(t *testing.T) {
	o := Options{FS: crashfs.New(1), StoreDir: "/s"}
	inMemory(t, o, func(t *testing.T, a *Account, c *client) {
		system := newClient(t, &testBus{})
		if err := a.engine.SetSystem(system.bus); err != nil {
			t.Fatal(err)
		}
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
		c.want(`"seq":1}`, "s", "x")
		data := snapshots(t, a.Stream("S"))[2]
		r := c.request("$JS.API.STREAM.RESTORE.R", `{"config":{"name":"R","subjects":["r"]}}`)
		var reply jsapi.StreamRestoreResponse
		if err := json.Unmarshal([]byte(r.data), &reply); err != nil || reply.Error != nil {
			t.Fatal(r.data)
		}
		c.request(reply.DeliverSubject, string(data[:len(data)-1]))
		synctest.Wait()
		a.mu.Lock()
		a.offline["X"] = &offlineStream{reason: "why"}
		a.mu.Unlock()
		system.want(`"initiated":true`, "$JS.API.ACCOUNT.PURGE.A", "")
		synctest.Wait()
		c.want(`"streams":null`, "$JS.API.STREAM.NAMES", "")
		c.request(reply.DeliverSubject, string(data[len(data)-1:]))
		c.want(`"state":{"messages":1,`, reply.DeliverSubject, "")
	})
	inMemory(t, o, func(t *testing.T, a *Account, c *client) {
		c.want(`"streams":["R"]`, "$JS.API.STREAM.NAMES", "")
		c.want(`"messages":1,`, "$JS.API.STREAM.INFO.R", "")
	})
}
