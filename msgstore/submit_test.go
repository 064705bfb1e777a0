package msgstore

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// Who stores much does not wait for the disk, and what is stored during a sync is covered
// by the next one, however many operations it is. Who stores little does the work, so
// that nobody is woken for it.
func TestWhoSyncs(t *testing.T) {
	disk := crashfs.New(1)
	s := openOn(t, disk, Config{Name: "S", Storage: FileStorage, Subjects: []string{">"}}, FileOptions{})
	var held atomic.Bool
	var syncs atomic.Int32
	began, letGo := make(chan struct{}, 1), make(chan struct{})
	disk.Inject(func(c crashfs.Call) error {
		if c.Kind == crashfs.Sync && held.Load() {
			if syncs.Add(1) == 1 {
				began <- struct{}{}
				<-letGo
			}
		}
		return nil
	})
	held.Store(true)
	large := []RawMsg{{Subject: "a", Data: make([]byte, lendMost)}}
	const ops = 5
	done := make(chan error, ops)
	store := func() { s.StoreRawMsgs(large, func(err error) { done <- err }) }
	store() // comes back, though the disk does not answer
	<-began
	for range ops - 1 {
		store()
	}
	close(letGo)
	for range ops {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d operations took %d syncs, want 2", ops, n)
	}
	held.Store(false)

	for s.disk.host.commit.Busy() { // until the worker is gone: else it would take what follows
		runtime.Gosched()
	}
	stored := false // without a lock: it is the same goroutine
	s.StoreRawMsgs([]RawMsg{{Subject: "a"}}, func(error) { stored = true })
	if !stored {
		t.Error("a small operation was left to others")
	}
	stopAll(t, s)
}
