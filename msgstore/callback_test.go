package msgstore

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// A callback may call the store while an operation that needs the store for itself
// waits for the committer, which has no other thread.
func TestCallbackDuringExclusiveWork(t *testing.T) {
	for _, tc := range []struct {
		name string
		work func(s *FileStore) error
	}{
		{"truncate", func(s *FileStore) error { return s.Truncate(2) }},
		{"erase", func(s *FileStore) error { _, err := s.EraseMsg(1); return err }},
	} {
		for _, mode := range []Durability{Always, Interval} {
			t.Run(fmt.Sprint(tc.name, mode), func(t *testing.T) {
				h, err := NewHost("/store", HostOptions{FS: crashfs.New(1), Manual: true, Commit: commit.Options{SyncThreads: 1}})
				if err != nil {
					t.Fatal(err)
				}
				s, err := OpenFileStore(h, Config{Name: "S", Storage: FileStorage, Subjects: []string{">"}}, FileOptions{Account: "A", Durability: mode})
				if err != nil {
					t.Fatal(err)
				}
				put(t, s, "a", 1, "")
				put(t, s, "a", 2, "")
				called, stored, done := make(chan struct{}), make(chan error, 1), make(chan error, 1)
				go s.StoreRawMsgs([]RawMsg{{Subject: "a"}}, func(error) {
					close(called)
					// Until the other has it. What follows this callback (the erasure,
					// which waits for its own) does not get it before the end of it.
					for n := 0; n < 100_000 && s.wmu.TryLock(); n++ {
						s.wmu.Unlock()
						runtime.Gosched()
					}
					s.StoreRawMsgs([]RawMsg{{Subject: "a"}}, func(err error) { stored <- err })
				})
				<-called
				go func() { done <- tc.work(s) }()
				if err := <-stored; err != nil {
					t.Error(err)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				stopAll(t, s)
			})
		}
	}
}
