package msgstore

import (
	"testing"
	"testing/synctest"
)

// TestNotified: who waits for the callbacks of removals goes on when they have
// returned, and does not wait for those of other changes.
func TestNotified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewMemStore(Config{Name: "S", Storage: MemoryStorage})
		if err != nil {
			t.Fatal(err)
		}
		enter, leave := make(chan int64), make(chan struct{})
		s.RegisterStorageUpdates(func(msgs, _ int64, _ uint64, _ string) {
			enter <- msgs
			<-leave
		})
		go s.StoreMsg("a", nil, nil, 0)
		if n := <-enter; n != 1 {
			t.Fatal(n)
		}
		s.Notified() // although the callback of the message has not returned
		leave <- struct{}{}
		synctest.Wait()
		go s.RemoveMsg(1)
		if n := <-enter; n != -1 {
			t.Fatal(n)
		}
		waited := false
		go func() {
			s.Notified()
			waited = true
		}()
		synctest.Wait()
		if waited {
			t.Error("did not wait")
		}
		leave <- struct{}{}
		synctest.Wait()
		if !waited {
			t.Error("waits although the callback has returned")
		}
		if s.Has(1) {
			t.Error("the message is still there")
		}
	})
}
