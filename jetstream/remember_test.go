package jetstream

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/msgstore/seqset"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// readDisk counts the bytes that are read from blocks.
type readDisk struct {
	vfs.FS
	read atomic.Int64
}

type readFile struct {
	vfs.File
	d *readDisk
}

func (d *readDisk) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".blk") {
		return f, err
	}
	return readFile{f, d}, nil
}

func (f readFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.read.Add(int64(len(p)))
	return f.File.ReadAt(p, off)
}

const idsPath = "/store/jetstream/A/streams/S/" + idsFile

// A stream without ids that was stopped in order starts without reading its messages.
func TestStartReadsNoMessages(t *testing.T) {
	disk := &readDisk{FS: crashfs.New(1)}
	o := Options{FS: disk, StoreDir: "/store"}
	e, _, client := newTestEngine(t, o)
	if r := client.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"],"allow_atomic":true}`); strings.Contains(r.data, `"error"`) {
		t.Fatal(r.data)
	}
	for range 1000 {
		client.publish("s", "", strings.Repeat("x", 100))
	}
	client.wantReply(`{"stream":"S","seq":1001}`, "s", "x")
	for _, c := range []struct {
		name   string
		change func()
		least  int64
		most   int64
	}{
		{"as it was", func() {}, 0, 16 << 10},
		{"ids.db removed", func() { disk.Remove(idsPath) }, 100_000, 1 << 20},
	} {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		c.change()
		disk.read.Store(0)
		e, _, _ = newTestEngine(t, o)
		if n := disk.read.Load(); n < c.least || n > c.most {
			t.Errorf("%s: %d bytes of the blocks were read by the start, wanted %d to %d", c.name, n, c.least, c.most)
		}
	}
}

// After a restart the ids are known: from ids.db, or from the messages when that is not
// there, or broken.
func TestIDsAfterRestart(t *testing.T) {
	const others = 2000 // messages without an id
	flip := func(t *testing.T, d vfs.FS) {
		b, err := vfs.ReadFile(d, idsPath, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := vfs.ReplaceFile(d, idsPath, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		key    string
		change func(t *testing.T, d vfs.FS)
	}{
		{"as it was", "", func(*testing.T, vfs.FS) {}},
		{"encrypted", "key", func(*testing.T, vfs.FS) {}},
		{"removed", "", func(t *testing.T, d vfs.FS) { d.Remove(idsPath) }},
		{"a flipped bit", "", flip},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := crashfs.New(1)
			o := Options{FS: disk, StoreDir: "/store"}
			o.Encryption.Key = c.key
			e, _, client := newTestEngine(t, o)
			config := `{"name":"S","subjects":["s"],"duplicate_window":3600000000000,"allow_atomic":true}`
			if r := client.request("$JS.API.STREAM.CREATE.S", config); strings.Contains(r.data, `"error"`) {
				t.Fatal(r.data)
			}
			client.wantReply(`{"stream":"S","seq":1}`, "s", "x", "Nats-Msg-Id: first")
			for i := range others - 1 {
				client.publish("s", "", strings.Repeat("x", 100))
				if i == others/2 {
					client.wantReply(fmt.Sprintf(`{"stream":"S","seq":%d}`, i+3), "s", "x", "Nats-Msg-Id: middle")
				}
			}
			client.wantReply(fmt.Sprintf(`{"stream":"S","seq":%d}`, others+2), "s", "x", "Nats-Msg-Id: last")
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			c.change(t, disk)
			_, _, client = newTestEngine(t, o)
			client.wantReply(`{"stream":"S","seq":1,"duplicate": true}`, "s", "x", "Nats-Msg-Id: first")
			client.wantReply(fmt.Sprintf(`{"stream":"S","seq":%d,"duplicate": true}`, others/2+3), "s", "x", "Nats-Msg-Id: middle")
			client.wantReply(fmt.Sprintf(`{"stream":"S","seq":%d,"duplicate": true}`, others+2), "s", "x", "Nats-Msg-Id: last")
			client.wantReply(fmt.Sprintf(`{"stream":"S","seq":%d}`, others+3), "s", "x", "Nats-Expected-Last-Msg-Id: last")
		})
	}
}

// An ids.db of an earlier stop says nothing of what came since.
func TestIDsOfAnEarlierStop(t *testing.T) {
	disk := crashfs.New(1)
	o := Options{FS: disk, StoreDir: "/store"}
	e, _, client := newTestEngine(t, o)
	if r := client.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`); strings.Contains(r.data, `"error"`) {
		t.Fatal(r.data)
	}
	client.wantReply(`{"stream":"S","seq":1}`, "s", "x", "Nats-Msg-Id: 1")
	stop := func() []byte {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := vfs.ReadFile(disk, idsPath, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	old := stop()
	e, _, client = newTestEngine(t, o)
	client.wantReply(`{"stream":"S","seq":2}`, "s", "x", "Nats-Msg-Id: 2")
	stop()
	if err := vfs.ReplaceFile(disk, idsPath, old, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, client = newTestEngine(t, o)
	client.wantReply(`{"stream":"S","seq":2,"duplicate": true}`, "s", "x", "Nats-Msg-Id: 2")
	client.wantReply(`{"stream":"S","seq":1,"duplicate": true}`, "s", "x", "Nats-Msg-Id: 1")
	client.wantReply(`{"stream":"S","seq":3}`, "s", "x", "Nats-Expected-Last-Msg-Id: 2")
}

func someRemembered() *remembered {
	ids := new(seqset.Set)
	ids.InsertRange(5, 7)
	ids.Insert(1 << 40)
	return &remembered{lastSeq: 1<<40 + 1, lastTime: 77, window: time.Minute, newest: 66, ids: ids, lastID: []byte("id")}
}

func TestRememberedFile(t *testing.T) {
	want := someRemembered()
	b := want.append(nil)
	got, ok := decodeRemembered(b)
	if !ok || got.lastSeq != want.lastSeq || got.lastTime != want.lastTime || got.window != want.window || got.newest != want.newest ||
		got.hidden || string(got.lastID) != "id" || !got.ids.Equal(want.ids) {
		t.Errorf("%+v", got)
	}
	for n := range b {
		if _, ok := decodeRemembered(b[:n]); ok {
			t.Errorf("%d of %d bytes were taken", n, len(b))
		}
		x := bytes.Clone(b)
		x[n] ^= 0x40
		if _, ok := decodeRemembered(x); ok {
			t.Errorf("taken with byte %d changed", n)
		}
	}
}

func FuzzRemembered(f *testing.F) {
	f.Add(someRemembered().append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := decodeRemembered(sealed(b)); ok {
			again, ok := decodeRemembered(r.append(nil))
			if !ok || !again.ids.Equal(r.ids) || !bytes.Equal(again.lastID, r.lastID) {
				t.Errorf("%x is not the same when it was written again", b)
			}
		}
	})
}

// sealed is b with the right checksum at its end.
func sealed(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	b = b[:len(b)-4]
	return appendSum(bytes.Clone(b), 0)
}

// Ids that a start has found are let go of when their time is over, though nobody
// publishes.
func TestIDsEndAfterStart(t *testing.T) {
	o := Options{FS: crashfs.New(1), StoreDir: "/store", MaxDedupIDs: 4}
	publish := func(c *client, id, want string) { c.want(want, "s", "x", "Nats-Msg-Id: "+id) }
	inMemory(t, o, func(t *testing.T, a *Account, c *client) {
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"],"duplicate_window":10000000000}`)
		publish(c, "a", `"seq":1}`)
		publish(c, "b", `"seq":2}`)
	})
	inMemory(t, o, func(t *testing.T, a *Account, c *client) {
		publish(c, "c", `"err_code":10167`)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if n := a.engine.DedupIDs(); n != 0 {
			t.Errorf("%d ids are remembered", n)
		}
		publish(c, "c", `"seq":3}`)
	})
}
