package transport

import (
	"errors"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"
)

// lending is a connection whose handler offers work for each byte that it reads.
type lending struct {
	t    *testing.T
	c    *Conn
	far  net.Conn
	done func()

	offered chan bool // what became of each offer
	called  chan bool // here, of each call
	err     error     // of the handler
	ended   chan error
}

func newLending(t *testing.T) *lending {
	l := &lending{t: t, offered: make(chan bool, 1000), called: make(chan bool, 1000), ended: make(chan error, 1)}
	l.c, l.far, l.done = pair(t, true, Config{})
	return l
}

func (l *lending) read(work func(here bool)) {
	l.ended <- l.c.Read(func(b []byte) error {
		for range b {
			l.offered <- l.c.BeforeRest(work)
		}
		return l.err
	})
}

func (l *lending) call(here bool) { l.called <- here }

// send writes b and waits for what becomes of each of its bytes.
func (l *lending) send(b string) (offers []bool) {
	if _, err := l.far.Write([]byte(b)); err != nil {
		l.t.Fatal(err)
	}
	for range b {
		offers = append(offers, receive(l.t, l.offered))
	}
	return offers
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing comes")
	}
	panic("unreachable")
}

// calm sends single bytes until an offer is taken, and returns how many were not.
func (l *lending) calm() (refused int) {
	for !l.send("x")[0] {
		refused++
	}
	if !receive(l.t, l.called) {
		l.t.Fatal("work was left to others although nothing had come")
	}
	return refused
}

// A reader lends itself when single requests came from it alone for a while.
func TestRest(t *testing.T) {
	l := newLending(t)
	go l.read(l.call)
	if n := l.calm(); n != calmReads+1 { // the first read is one behind somebody else's
		t.Fatalf("%d refused", n)
	}
	if n := l.calm(); n != 0 {
		t.Fatalf("%d refused of one who is calm", n)
	}
	if got := l.send("xx"); !slices.Equal(got, []bool{true, false}) {
		t.Fatalf("two at a time: %v", got)
	}
	receive(t, l.called)
	if n := l.calm(); n != calmReads {
		t.Fatalf("%d refused after two came at a time", n)
	}
	reading.last.Store(0) // somebody else is read from
	if got := l.send("x"); !got[0] {
		t.Fatal("refused before it is known that there is somebody else")
	}
	receive(t, l.called)
	if n := l.calm(); n != calmReads {
		t.Fatalf("%d refused after somebody else was read from", n)
	}
	l.done()
	receive(t, l.ended)
}

// What has come when the reader would rest is served first, the work by others.
func TestRestNot(t *testing.T) {
	l := newLending(t)
	handled := make(chan bool)
	go func() {
		l.ended <- l.c.Read(func([]byte) error {
			l.offered <- l.c.BeforeRest(l.call)
			<-handled
			return nil
		})
	}()
	for !l.send("x")[0] {
		handled <- true
	}
	if _, err := l.far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	l.arrived()
	handled <- true
	if receive(t, l.called) {
		t.Fatal("called as if the reader rested")
	}
	receive(t, l.offered)
	handled <- true
	l.done()
	receive(t, l.ended)
}

// arrived waits until there is something to read.
func (l *lending) arrived() {
	rc, err := l.c.NetConn().(*net.TCPConn).SyscallConn()
	if err != nil {
		l.t.Fatal(err)
	}
	for n := 0; n <= 0; {
		// Not Read: the reader is in it, or about to be.
		err = rc.Control(func(fd uintptr) {
			n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		})
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

// Work is called when the connection ends, too.
func TestRestEnds(t *testing.T) {
	l := newLending(t)
	failure := errors.New("enough")
	go l.read(func(here bool) {
		if here {
			l.err = failure // of the next read
		}
		l.call(here)
	})
	l.calm()
	if got := l.send("x"); !got[0] {
		t.Fatal("refused")
	}
	if receive(t, l.called) {
		t.Fatal("called as if the reader rested")
	}
	if err := receive(t, l.ended); err != failure {
		t.Fatal(err)
	}
	l.done()
}

// A socket with a buffer of its own has no use for it.
func TestRestOfOthers(t *testing.T) {
	c, far, done := pair(t, false, Config{})
	defer done()
	offered := make(chan bool, 1)
	go c.Read(func([]byte) error {
		offered <- c.BeforeRest(func(bool) {})
		return nil
	})
	for range 2 * calmReads {
		if _, err := far.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if receive(t, offered) {
			t.Fatal("taken")
		}
	}
}
