package msgstore

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/msgstore/archive"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// Waits for a place in front of the disk are counted and timed.
func TestDiskWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := NewHost("/store", HostOptions{FS: crashfs.New(1), Manual: true, DiskOps: minDiskOps})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		for range minDiskOps {
			h.enter()
		}
		if w := h.DiskWaits(); w != (DiskWaits{}) {
			t.Errorf("without a wait: %+v", w)
		}
		go h.enter()
		go h.enter()
		synctest.Wait()
		if w := h.DiskWaits(); w != (DiskWaits{Waiters: 2}) {
			t.Errorf("while two wait: %+v", w)
		}
		time.Sleep(time.Second)
		h.leave()
		synctest.Wait()
		time.Sleep(time.Second)
		h.leave()
		synctest.Wait()
		if w := h.DiskWaits(); w != (DiskWaits{Waits: 2, Total: 3 * time.Second, Longest: 2 * time.Second}) {
			t.Errorf("afterwards: %+v", w)
		}
	})
}

// A snapshot of an earlier state leaves out what came later, and ends also when
// all of it is gone.
func TestSnapshotOfEarlierState(t *testing.T) {
	m, err := NewMemStore(Config{Name: "S", Storage: MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	store := func(n int) {
		for range n {
			if _, _, err := m.StoreMsg("s", nil, []byte("x"), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func(at *State) (msgs int) {
		var b bytes.Buffer
		if err := m.Snapshot(&b, SnapshotOptions{Version: 2, At: at}); err != nil {
			t.Fatal(err)
		}
		r, err := archive.NewReader(&b)
		if err != nil {
			t.Fatal(err)
		}
		for {
			e, err := r.Next()
			if err == io.EOF {
				return msgs
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == archive.Message {
				msgs++
			}
		}
	}
	store(3)
	var at State
	m.FastState(&at)
	store(2)
	if n := count(&at); n != 3 {
		t.Errorf("%d messages, want 3", n)
	}
	if n := count(nil); n != 5 {
		t.Errorf("%d messages, want 5", n)
	}
	if _, err := m.Purge(); err != nil {
		t.Fatal(err)
	}
	if n := count(&at); n != 0 {
		t.Errorf("%d messages of a purged stream", n)
	}
}
