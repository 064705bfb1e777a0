package transport

import (
	"io"
	"syscall"
	"testing"
	"time"
)

// TestStride: a peer that writes in bulk makes the socket wait for more, and what
// comes behind arrives nevertheless, however little it is; so does the end.
func TestStride(t *testing.T) {
	c, far, done := pair(t, true, Config{})
	defer done()
	type read struct {
		n    int
		long bool // the socket waits for more from then on
	}
	reads := make(chan read)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Read(func(b []byte) error {
			reads <- read{len(b), c.raw.stride.long}
			return nil
		})
	}()
	long := false
	write := func(n int) {
		t.Helper()
		if _, err := far.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		for n > 0 {
			select {
			case r := <-reads:
				n -= r.n
				long = r.long
			case <-time.After(time.Minute):
				t.Fatalf("%d bytes did not come", n)
			}
		}
	}
	bulk := func() {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !long; write(2 * strideFrom) {
			if time.Now().After(deadline) {
				t.Fatal("no stride")
			}
		}
	}
	for range 3 {
		bulk()
		write(1)
		write(1)
		if long {
			t.Error("a stride of a peer that writes little")
		}
	}
	bulk()
	far.Close()
	select {
	case err := <-ended:
		if err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the end is not noticed")
	}
}

// TestNoStride: a peer that gets answers does not wait for more than itself.
func TestNoStride(t *testing.T) {
	c, far, done := pair(t, true, Config{})
	defer done()
	go io.Copy(io.Discard, far)
	reads := make(chan bool, 20*strideAfter)
	go c.Read(func([]byte) error {
		c.Send([]byte("+OK\r\n"))
		select {
		case reads <- c.raw.stride.long:
		default: // enough
		}
		return nil
	})
	go func() {
		for piece := make([]byte, 256<<10); ; {
			if _, err := far.Write(piece); err != nil {
				return
			}
		}
	}()
	for range cap(reads) {
		if <-reads {
			t.Fatal("a stride of a peer that gets answers")
		}
	}
}

func TestSignalsLowered(t *testing.T) {
	for release, want := range map[string]bool{
		"4.17.19": false, "4.18.0-rc1": true, "4.4.0": false, "3.10.0-1160.el7": false, "5.0": true, "6.18.44-x": true, "": false, "x.y": false,
	} {
		if got := signalsLowered(release); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}

// TestLateLapse: the function of the timer of one stride may come to its end after
// the next one has begun. The socket is not left waiting for more than comes.
func TestLateLapse(t *testing.T) {
	c, _, done := pair(t, true, Config{})
	defer done()
	low := func() (n int) {
		err := c.raw.rc.Control(func(fd uintptr) { n, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT) })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	s := &c.raw.stride
	for range strideAfter {
		s.read(c.raw, 2*strideFrom)
	}
	if !s.long || low() < strideBytes {
		t.Fatalf("no stride: the socket waits for %d", low())
	}
	s.lapsed.Store(true) // in the stride before
	s.wait()
	s.writes.Add(1)
	s.read(c.raw, strideBytes)
	if s.long || low() != 1 {
		t.Errorf("stride %v; the socket waits for %d bytes", s.long, low())
	}
}
