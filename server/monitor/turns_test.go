package monitor

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns: no more than turnsAtATime documents are made at a time; who waits for too
// long is told so, and small ones do not wait for large ones.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(nil)
		making, end := 0, make(chan struct{})
		slow := m.inTurn(m.large, func(w http.ResponseWriter, _ *http.Request) {
			making++
			<-end
			w.Write([]byte("done"))
		})
		codes := make(chan int, 100)
		ask := func() {
			w := httptest.NewRecorder()
			slow(w, httptest.NewRequest(http.MethodGet, "/", nil))
			codes <- w.Code
		}
		for range turnsAtATime + 3 {
			go ask()
			synctest.Wait()
		}
		if making != turnsAtATime {
			t.Errorf("%d documents are made at a time, want %d", making, turnsAtATime)
		}
		w := httptest.NewRecorder()
		m.inTurn(m.small, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusTeapot {
			t.Errorf("a small document: status %d", w.Code)
		}
		time.Sleep(turnWait)
		for range 3 {
			if code := <-codes; code != http.StatusServiceUnavailable {
				t.Errorf("who waited for too long: status %d", code)
			}
		}
		close(end)
		for range turnsAtATime {
			if code := <-codes; code != http.StatusOK {
				t.Errorf("status %d", code)
			}
		}
	})
}

// TestUnread: replies that nobody takes are bounded; one may be larger.
func TestUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u unread
		late, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if !u.take(late, 2*maxUnread) {
			t.Error("one large reply is refused")
		}
		if u.take(late, 1) {
			t.Error("a second one is not")
		}
		took := make(chan bool)
		for range 2 {
			go func() { took <- u.take(context.Background(), maxUnread/2) }()
		}
		synctest.Wait()
		u.leave(2 * maxUnread)
		for range 2 {
			if !<-took {
				t.Error("there is room, and a reply is refused")
			}
		}
		if u.bytes != maxUnread {
			t.Errorf("%d bytes are unread", u.bytes)
		}
	})
}

// TestPanicLeavesTurn: a turn ends also with a panic, which net/http outlives.
func TestPanicLeavesTurn(t *testing.T) {
	m := New(nil)
	serve := m.inTurn(m.small, func(http.ResponseWriter, *http.Request) { panic("in a document") })
	for range turnsAtATime + 1 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			serve(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader("body")))
		}()
	}
}
