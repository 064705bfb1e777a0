package jetstream

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// A full or broken disk is answered, keeps the server up, and does not stop the
// streams in memory; when there is room again the stream goes on.
func TestDiskFailure(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{syscall.ENOSPC, `{"error":{"code":503,"err_code":10023,"description":"insufficient resources"},"stream":"S","seq":0}`},
		{syscall.EIO, `{"error":{"code":503,"err_code":10077,`},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			disk := crashfs.New(1)
			_, _, client := newTestEngine(t, Options{FS: disk, StoreDir: "/store"})
			for _, cfg := range []string{`{"name":"S","subjects":["s"]}`, `{"name":"M","subjects":["m"],"storage":"memory"}`} {
				name := cfg[9:10]
				if r := client.request("$JS.API.STREAM.CREATE."+name, cfg); strings.Contains(r.data, `"error"`) {
					t.Fatal(r.data)
				}
			}
			client.wantReply(`{"stream":"S","seq":1}`, "s", "one", "Nats-Msg-Id: 1")
			var broken atomic.Bool
			broken.Store(true)
			disk.Inject(func(call crashfs.Call) error {
				if broken.Load() && (call.Kind == crashfs.Write || call.Kind == crashfs.Sync || call.Kind == crashfs.Create) {
					return c.err
				}
				return nil
			})
			for range 3 {
				if r := client.request("s", "lost", "Nats-Msg-Id: 2"); !strings.HasPrefix(r.data, c.want) {
					t.Errorf("%s, want %s", r.data, c.want)
				}
			}
			client.wantReply(`{"stream":"M","seq":1}`, "m", "x")
			if r := client.request("$JS.API.STREAM.INFO.S", ""); !strings.Contains(r.data, `"messages":1,`) {
				t.Errorf("shown while the disk is broken: %s", r.data)
			}
			broken.Store(false)
			// The id of the lost message is forgotten: it is stored now.
			var r received
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
				if r = client.request("s", "two", "Nats-Msg-Id: 2"); r.data == `{"stream":"S","seq":2}` {
					break
				}
				<-time.After(50 * time.Millisecond)
			}
			if r.data != `{"stream":"S","seq":2}` {
				t.Fatalf("after the disk has recovered: %s", r.data)
			}
			client.wantReply(`{"stream":"S","seq":1,"duplicate": true}`, "s", "one", "Nats-Msg-Id: 1")
		})
	}
}
