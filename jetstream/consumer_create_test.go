package jetstream

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// slowObs is a disk whose syncs of files below obs/ wait, and fail the first time if
// that is wanted.
func slowObs(fail bool) (disk *crashfs.FS, waits <-chan struct{}, release func()) {
	disk = crashfs.New(1)
	hold, waiting := make(chan struct{}), make(chan struct{}, 100)
	var once sync.Once
	disk.Inject(func(c crashfs.Call) (err error) {
		if c.Kind != crashfs.Sync || !strings.Contains(c.Name, "/obs/") {
			return nil
		}
		waiting <- struct{}{}
		<-hold
		if fail && path.Base(c.Name) == "meta.inf" {
			once.Do(func() { err = errors.New("broken") })
		}
		return err
	})
	return disk, waiting, sync.OnceFunc(func() { close(hold) })
}

const createC = `{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}`

// TestCreationsShareTheDisk: while consumers wait for the disk their stream takes
// other requests, with a single worker, and none of them is confirmed.
func TestCreationsShareTheDisk(t *testing.T) {
	disk, waits, release := slowObs(false)
	defer release()
	_, _, c := newTestEngine(t, Options{FS: disk, StoreDir: "/store", Workers: 1})
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"]}`)
	replies := c.subscribe("reply.*")
	const n = 20
	for i := range n {
		c.publish(fmt.Sprintf("$JS.API.CONSUMER.CREATE.S.C%d", i), fmt.Sprintf("reply.%d", i), strings.ReplaceAll(createC, `"C"`, fmt.Sprintf(`"C%d"`, i)))
	}
	<-waits
	if r := c.request("$JS.API.STREAM.INFO.S", ""); strings.Contains(r.data, `"error"`) {
		t.Error(r.data)
	}
	if len(replies) > 0 {
		t.Errorf("confirmed before it was durable: %s", (<-replies).data)
	}
	release()
	for range n {
		if r := next(t, replies); !strings.Contains(r.data, `"config":{"durable_name":"C`) {
			t.Errorf("%s: %s", r.subject, r.data)
		}
	}
}

// underCreation is an engine with the stream S, whose consumer C waits for the disk:
// the answer goes to first.
func underCreation(t *testing.T, fail bool) (disk *crashfs.FS, a *Account, c *client, first <-chan received, release func()) {
	t.Helper()
	disk, waits, release := slowObs(fail)
	_, a, c = newTestEngine(t, Options{FS: disk, StoreDir: "/store"})
	t.Cleanup(release) // before the engine's end, which waits for the disk
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"]}`)
	first = c.subscribe("first")
	c.publish("$JS.API.CONSUMER.CREATE.S.C", "first", createC)
	<-waits
	return disk, a, c, first, release
}

// TestCreationTwice: who asks for a consumer that is being made waits until it is
// durable, and makes it if that failed.
func TestCreationTwice(t *testing.T) {
	for _, fail := range []bool{false, true} {
		_, a, c, first, release := underCreation(t, fail)
		second := c.subscribe("second")
		c.publish("$JS.API.CONSUMER.CREATE.S.C", "second", createC+" ")
		c.request("$JS.API.STREAM.INFO.S", "")
		if len(first)+len(second) > 0 {
			t.Error("confirmed before it was durable")
		}
		release()
		if r := next(t, first); strings.Contains(r.data, `"error"`) != fail {
			t.Errorf("first, the disk fails: %v: %s", fail, r.data)
		}
		if r := next(t, second); !strings.Contains(r.data, `"config":{"durable_name":"C"`) {
			t.Errorf("second, the disk fails: %v: %s", fail, r.data)
		}
		if n := a.Stream("S").consumers.count(true); n != 1 {
			t.Errorf("%d consumers", n)
		}
	}
}

// TestDeletedWhileItIsMade: the deletion waits, and nothing is left.
func TestDeletedWhileItIsMade(t *testing.T) {
	disk, a, c, created, release := underCreation(t, false)
	deleted := c.subscribe("deleted")
	c.publish("$JS.API.CONSUMER.DELETE.S.C", "deleted", "")
	c.request("$JS.API.STREAM.INFO.S", "")
	if len(deleted) > 0 {
		t.Error("deleted before it was made")
	}
	release()
	if r := next(t, deleted); !strings.Contains(r.data, `"success":true`) {
		t.Error(r.data)
	}
	next(t, created)
	if n := a.Stream("S").consumers.count(true); n != 0 {
		t.Errorf("%d consumers", n)
	}
	if entries, err := disk.ReadDir("/store/jetstream/A/streams/S/obs"); err != nil || len(entries) > 0 {
		t.Errorf("left on disk: %v, %v", entries, err)
	}
}
