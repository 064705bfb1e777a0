package msgstore

import (
	"testing"
	"testing/synctest"
	"time"

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
