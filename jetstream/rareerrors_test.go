package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// Errors that a client sees only when something below the API fails.

// failing makes calls to a disk fail, of files whose names hold a text.
type failing struct {
	on   atomic.Bool
	hits atomic.Int64
}

func fail(disk *crashfs.FS, err error, kind crashfs.Kind, in string) *failing {
	f := &failing{}
	f.on.Store(true)
	disk.Inject(func(call crashfs.Call) error {
		if f.on.Load() && call.Kind == kind && strings.Contains(call.Name, in) {
			f.hits.Add(1)
			return err
		}
		return nil
	})
	return f
}

func (f *failing) end(t *testing.T) {
	t.Helper()
	if f.on.Store(false); f.hits.Load() == 0 {
		t.Error("nothing failed")
	}
}

// A restore whose subject cannot be subscribed: 10042. The server's own router takes
// every subject that a stream's name can make, so that only another bus refuses.
func TestRestoreSubscribeFails(t *testing.T) {
	_, a, c := newTestEngine(t, Options{})
	bus := a.bus.(*testBus)
	bus.refuse.Store("$JS.SNAPSHOT.RESTORE.")
	r := c.request("$JS.API.STREAM.RESTORE.S", `{"config":{"name":"S","storage":"memory"},"state":{}}`)
	prefix, suffix := `"error":{"code":500,"err_code":10042,"description":"JetStream unable to subscribe to restore snapshot $JS.SNAPSHOT.RESTORE.S.`, `: refused"}`
	if !strings.Contains(r.data, prefix) || !strings.Contains(r.data, suffix) {
		t.Error(r.data)
	}
	bus.refuse.Store("")
	c.want(`"deliver_subject":"$JS.SNAPSHOT.RESTORE.S.`, "$JS.API.STREAM.RESTORE.S", `{"config":{"name":"S","storage":"memory"},"state":{}}`)
}

// A deletion that the disk refuses: 10050. The stream is there again at the next start,
// and until then the name can be deleted again, and is not free before.
func TestDeleteFails(t *testing.T) {
	for _, again := range []bool{true, false} {
		t.Run(fmt.Sprintf("again=%v", again), func(t *testing.T) {
			disk := crashfs.New(1)
			e, _, c := newTestEngine(t, Options{FS: disk, StoreDir: "/store", Events: func(Event) {}})
			c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S"}`)
			c.wantReply(`{"stream":"S","seq":1}`, "S", "x")
			f := fail(disk, syscall.EIO, crashfs.Rename, "/streams/")
			c.want(`"error":{"code":500,"err_code":10050,"description":"`, "$JS.API.STREAM.DELETE.S", "")
			c.want(`"err_code":10058`, "$JS.API.STREAM.CREATE.S", `{"name":"S"}`)
			c.want(`"err_code":10194`, "$JS.API.STREAM.INFO.S", "")
			c.want(`"err_code":10050`, "$JS.API.STREAM.DELETE.S", "")
			f.end(t)
			if again {
				c.want(`"success":true`, "$JS.API.STREAM.DELETE.S", "")
				c.want(`"err_code":10059`, "$JS.API.STREAM.INFO.S", "")
				c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S"}`)
				c.wantReply(`{"stream":"S","seq":1}`, "S", "x")
			}
			e.Close()
			_, _, c = newTestEngine(t, Options{FS: disk, StoreDir: "/store"})
			c.want(`"messages":1,`, "$JS.API.STREAM.INFO.S", "")
		})
	}
}

// A consumer whose files cannot be written: 10104. It is not there then.
func TestConsumerStoreFails(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.Create, crashfs.Write, crashfs.Sync, crashfs.Rename} {
		disk := crashfs.New(1)
		_, _, c := newTestEngine(t, Options{FS: disk, StoreDir: "/store", Events: func(Event) {}})
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S"}`)
		f := fail(disk, syscall.EIO, kind, "/obs/")
		const create = `{"stream_name":"S","config":{"durable_name":"c"}}`
		c.want(`"error":{"code":500,"err_code":10104,"description":"error creating store for consumer: `, "$JS.API.CONSUMER.CREATE.S.c", create)
		c.want(`"err_code":10014`, "$JS.API.CONSUMER.INFO.S.c", "")
		f.end(t)
		c.want(`"num_pending":0`, "$JS.API.CONSUMER.CREATE.S.c", create)
	}
}

// A consumer that needs a later server: 10195, late, so that a server that can use it
// answers first; what cannot be answered stays silent; it can be deleted.
func TestOfflineConsumer(t *testing.T) {
	disk := crashfs.New(1)
	e, _, c := newTestEngine(t, Options{FS: disk, StoreDir: "/store"})
	c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S"}`)
	c.want(`"num_pending":0`, "$JS.API.CONSUMER.CREATE.S.ok", `{"stream_name":"S","config":{"durable_name":"ok"}}`)
	e.Close()
	for name, extra := range map[string]string{"later": `"metadata":{"_nats.req.level":"6"}`, "odd": `"later":1`, "both": `"later":1,"metadata":{"_nats.req.level":"x"}`} {
		meta := fmt.Sprintf(`{"created":"2026-01-02T03:04:05Z","name":%q,"durable_name":%q,"ack_policy":"explicit",%s}`, name, name, extra)
		if !json.Valid([]byte(meta)) {
			t.Fatal(meta)
		}
		if _, err := consumerstate.CreateFiles(consumerstate.FilesOptions{
			FS: disk, Dir: path.Join("/store/jetstream/A/streams/S/obs", name), Account: "A", Stream: "S", Consumer: name,
		}, []byte(meta), &consumerstate.State{}, consumerstate.Checkpoint{}, time.Now().UnixNano()); err != nil {
			t.Fatal(err)
		}
	}
	_, _, c = newTestEngine(t, Options{FS: disk, StoreDir: "/store", Events: func(Event) {}})
	for name, why := range map[string]string{
		"later": "unsupported - required API level: 6, current API level: 5",
		"odd":   `decoding error: json: unknown field \"later\"`,
		"both":  `unsupported - config error: unknown field \"later\"`,
	} {
		for _, r := range [][2]string{
			{"CONSUMER.INFO.S." + name, ""},
			{"CONSUMER.CREATE.S." + name, `{"stream_name":"S","config":{"name":"` + name + `","durable_name":"` + name + `"}}`},
			{"CONSUMER.DURABLE.CREATE.S." + name, `{"stream_name":"S","config":{"durable_name":"` + name + `"}}`},
		} {
			began := time.Now()
			c.want(`"error":{"code":500,"err_code":10195,"description":"consumer is offline: `+why+`"}`, "$JS.API."+r[0], r[1])
			if took := time.Since(began); took < delayedReply {
				t.Errorf("%s: answered after %v", r[0], took)
			}
		}
		c.want(`"`+name+`":"`+why+`"`, "$JS.API.CONSUMER.LIST.S", "")
	}
	c.want(`"missing":["both","later","odd"]`, "$JS.API.CONSUMER.LIST.S", "")
	c.want(`"consumers":["ok"]`, "$JS.API.CONSUMER.NAMES.S", "")
	in := c.subscribe("in")
	c.publish("$JS.API.CONSUMER.PAUSE.S.later", "in", "")
	c.publish("$JS.API.CONSUMER.UNPIN.S.later", "in", `{"group":"g"}`)
	c.want(`"success":true`, "$JS.API.CONSUMER.DELETE.S.later", "")
	c.want(`"err_code":10014`, "$JS.API.CONSUMER.INFO.S.later", "")
	if _, err := disk.Stat("/store/jetstream/A/streams/S/obs/later"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the deleted consumer's directory: %v", err)
	}
	c.want(`"err_code":10195`, "$JS.API.CONSUMER.INFO.S.odd", "") // as late as an answer to the above would be
	if len(in) > 0 {
		t.Errorf("%s", next(t, in).data)
	}
}
