package transport

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A client that publishes as fast as it can writes some 32 KiB at a time. A server
// that is faster reads each of them at once and goes to sleep, and the client pays for
// waking it each time: more than for the write itself, and where the two share a
// processor it is interrupted as well. The socket of such a client therefore tells of
// what has come only when there is a good stride of it (SO_RCVLOWAT), or after a
// moment. Only of a client that is sent nothing meanwhile: who waits for answers does
// not write in bulk, and is not to wait longer.
const (
	// strideBytes is what a socket waits for, and strideWait how long at most.
	strideBytes = 128 << 10
	strideWait  = 200 * time.Microsecond
	// strideFrom is the size of the reads, in bytes, that show a client that writes in
	// bulk.
	strideFrom = 16 << 10
	// strideAfter is how many such reads in a row begin it. Each wait that came to
	// nothing doubles the number, up to strideRarely.
	strideAfter  = 8
	strideRarely = 1 << 14
)

// stride makes a connection's reads longer. Its fields belong to the goroutine that
// reads, except those of other types.
type stride struct {
	bulk   int  // reads in a row of a client that writes in bulk
	after  int  // reads that begin it, at least strideAfter
	long   bool // the socket may wait for strideBytes
	timer  *time.Timer
	lapsed atomic.Bool   // the timer has ended the wait
	writes atomic.Uint32 // to the peer
	seen   uint32        // of writes
}

// read is told of each read.
func (s *stride) read(r *rawConn, n int) {
	if s.long {
		s.timer.Stop()
		switch {
		case !s.lapsed.Load():
			s.after = max(s.after/2, strideAfter)
		case n < strideFrom:
			s.after = min(2*s.after, strideRarely)
			fallthrough
		default:
			s.lapsed.Store(false)
			s.end(r) // it may have lapsed in a stride before, too late to be seen then
		}
	}
	if w := s.writes.Load(); n < strideFrom || w != s.seen {
		s.seen, s.bulk = w, 0
		if s.long {
			s.end(r)
		}
		return
	}
	s.bulk++
	if !s.long && s.bulk >= max(s.after, strideAfter) && strides() {
		s.long = r.setLow(strideBytes)
		if s.timer == nil {
			s.timer = time.AfterFunc(strideWait, func() {
				r.setLow(1)
				s.lapsed.Store(true)
			})
			s.timer.Stop()
		}
	}
}

// wait is called before the connection waits for the socket.
func (s *stride) wait() {
	if s.long {
		s.timer.Reset(strideWait)
	}
}

// end has the socket tell of each byte again. Nothing else ends a stride, so that a
// socket that waits for more always has a timer that runs; its function may lower the
// number besides.
func (s *stride) end(r *rawConn) {
	s.long = false
	r.setLow(1)
}

// setLow sets how many bytes a socket waits for until it can be read. Lowering it
// makes a socket readable that has as much.
func (r *rawConn) setLow(n int) bool {
	var err error
	if r.rc.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n)
	}) != nil {
		return false
	}
	return err == nil
}

// strides tells whether the kernel looks at a socket again when the number is
// lowered: Linux does from 4.18 on.
var strides = sync.OnceValue(func() bool {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return false
	}
	var release []byte
	for _, c := range u.Release {
		release = append(release, byte(c))
	}
	return signalsLowered(string(release))
})

func signalsLowered(release string) bool {
	major, rest, _ := strings.Cut(release, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (a > 4 || a == 4 && b >= 18)
}
