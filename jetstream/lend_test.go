package jetstream

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// lender is a client that keeps the work that it is given until it is told.
type lender struct {
	unwilling bool
	offers    []bool // whether there was work
	work      func(here bool)
}

func (l *lender) ClientInfo() json.RawMessage { return json.RawMessage(`{}`) }

func (l *lender) BeforeRest(work func(here bool)) bool {
	l.offers = append(l.offers, work != nil)
	if work == nil || l.unwilling {
		return false
	}
	l.work = work
	return true
}

func (l *lender) rest(here bool) {
	work := l.work
	l.work = nil
	work(here)
}

// A stream that is idle is run on the goroutine that a single message came on, if it is
// lent, or on another one.
func TestLentTurn(t *testing.T) {
	_, a, c := newTestEngine(t, Options{FS: crashfs.New(1), StoreDir: "/store"})
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
	st := a.Stream("S")
	acks := c.subscribe("acks")
	l := new(lender)
	seq := 0
	send := func(n int) {
		msgs := make([]Msg, n)
		for i := range msgs {
			msgs[i] = Msg{Subject: []byte("s"), Reply: []byte("acks"), From: l}
		}
		st.receive(msgs)
	}
	acked := func(n int) {
		t.Helper()
		for range n {
			seq++
			if got, want := next(t, acks).data, fmt.Sprintf(`{"stream":"S","seq":%d}`, seq); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
	}
	idle := func() {
		waitFor(t, func() bool { msgs, running := st.Queue(); return msgs == 0 && !running })
	}
	idle()
	send(1)
	l.rest(true)
	if len(acks) != 1 {
		t.Fatal("the lent goroutine did not do it all")
	}
	acked(1)
	idle()

	send(1) // comes again before the reader rests
	l.rest(false)
	acked(1)
	idle()

	send(2) // is not alone
	acked(2)
	idle()

	send(1) // others send meanwhile: their messages are not for the reader
	send(1)
	send(3)
	l.rest(true)
	acked(5)
	idle()

	l.unwilling = true
	send(1)
	acked(1)
	idle()
	if got, want := fmt.Sprint(l.offers), "[true true true false true]"; got != want {
		t.Fatalf("work was offered %s, want %s", got, want)
	}
}

// A stream that is closed while a goroutine is lent to it does nothing there.
func TestLentTurnOfClosed(t *testing.T) {
	_, a, c := newTestEngine(t, Options{FS: crashfs.New(1), StoreDir: "/store"})
	c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
	st := a.Stream("S")
	waitFor(t, func() bool { _, running := st.Queue(); return !running })
	acks := c.subscribe("acks")
	l := new(lender)
	st.receive([]Msg{{Subject: []byte("s"), Reply: []byte("acks"), From: l}})
	deleted := make(chan string)
	go func() { deleted <- c.request("$JS.API.STREAM.DELETE.S", "").data }()
	waitFor(t, func() bool { st.in.mu.Lock(); defer st.in.mu.Unlock(); return len(st.in.work) > 0 })
	l.rest(true)
	if got := <-deleted; !strings.Contains(got, `"success":true`) {
		t.Fatal(got)
	}
	if got := next(t, acks).data; got != `{"stream":"S","seq":1}` {
		t.Fatal(got)
	}
}

// On a disk that is slow for long nobody is asked to lend a goroutine.
func TestLentForLong(t *testing.T) {
	var in inbox
	in.init(func() {}, func(bool) {}, 1, 1)
	for _, s := range []struct {
		took   time.Duration
		times  int
		strict int
	}{
		{longLoan / 4, 20, 0},
		{time.Hour, 1, 0}, // one hiccup
		{longLoan, 100, 0},
		{5 * longLoan, 3, strictFor},
	} {
		for range s.times {
			in.lent(s.took)
		}
		if in.strict != s.strict {
			t.Fatalf("%d times %v: strict for %d, want %d", s.times, s.took, in.strict, s.strict)
		}
	}
	in.maxMsgs, in.maxSize = 1<<10, 1<<20
	l := &lender{unwilling: true}
	for range strictFor + 1 {
		in.put([]Msg{{Subject: []byte("s")}}, nil, l)
		in.running = false
	}
	for i, work := range l.offers {
		if work != (i == strictFor) {
			t.Fatalf("message %d: work was offered %v", i, work)
		}
	}
}
