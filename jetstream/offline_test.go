package jetstream

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
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

// A stream that could not be recovered is shown, keeps its name, and can be deleted.
func TestDeleteUnrecovered(t *testing.T) {
	disk := crashfs.New(1)
	o := Options{FS: disk, StoreDir: "/store"}
	var dir string
	inMemory(t, o, func(t *testing.T, a *Account, c *client) {
		dir = a.engine.disk.streamDir("A", "S")
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
		c.want(`"seq":1}`, "s", "x")
	})
	f, err := disk.OpenFile(filepath.Join(dir, "meta.inf"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("x"), 5); err != nil {
		t.Fatal(err)
	}
	f.Close()
	inMemory(t, o, func(t *testing.T, a *Account, c *client) {
		if f := a.Failures(); len(f) != 1 || f[0].Stream != "S" || f[0].Err == nil || !f[0].Recovering {
			t.Fatalf("%+v", f)
		}
		c.want(`"total":1,"offset":0,"limit":1024,"streams":["S"]}`, "$JS.API.STREAM.NAMES", "")
		c.want(`"streams":[],"missing":["S"],"offline":{"S":"could not be recovered"}}`, "$JS.API.STREAM.LIST", "")
		c.want(`"error":{"code":500,"err_code":10194,"description":"stream is offline: could not be recovered"}`, "$JS.API.STREAM.INFO.S", "")
		c.want(`"err_code":10058`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
		c.want(`"err_code":10130`, "$JS.API.STREAM.RESTORE.S", `{"config":{"name":"S","subjects":["s"]}}`)
		c.want(`"success":true`, "$JS.API.STREAM.DELETE.S", "")
		c.want(`"err_code":10059`, "$JS.API.STREAM.DELETE.S", "")
		if _, err := disk.Stat(dir); !os.IsNotExist(err) || a.Failures() != nil {
			t.Errorf("%v, %v", err, a.Failures())
		}
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
		c.want(`"seq":1}`, "s", "y")
	})
	inMemory(t, o, func(t *testing.T, a *Account, c *client) {
		c.want(`"messages":1,`, "$JS.API.STREAM.INFO.S", "")
	})
}
