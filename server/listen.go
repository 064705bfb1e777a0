package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/options"
)

const (
	// Pauses of the accept loop after a temporary error.
	minAcceptPause = 10 * time.Millisecond
	maxAcceptPause = time.Second
)

// listen opens the client port and accepts; mu is held.
func (s *Server) listen(o *options.Options) error {
	addr := net.JoinHostPort(o.Host, strconv.Itoa(max(o.Port, 0)))
	// Idle connections are watched by the protocol's own PINGs.
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("Error listening on port: %s, %q", addr, err)
	}
	s.listener = l
	s.log.Noticef("Listening for client connections on %s", listening(o.Host, l))
	if o.TLS != nil {
		s.log.Noticef("TLS required for client connections")
	}
	s.tasks.start(func() { s.accept(l, client.NATS) })
	return nil
}

// listening is where a listener is, with its host as it is configured.
func listening(host string, l net.Listener) string {
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return l.Addr().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(a.Port))
}

// Addr is the address of the client port, nil before Start.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

func (s *Server) accept(l net.Listener, typ client.Type) {
	pause := minAcceptPause
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.log.Errorf("Temporary Client Accept Error (%v), sleeping %dms", err, pause.Milliseconds())
			select {
			case <-time.After(pause):
			case <-s.ending:
				return
			}
			pause = min(2*pause, maxAcceptPause)
			continue
		}
		pause = minAcceptPause
		if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok && s.offenders.full(sourceOf(a.AddrPort().Addr())) {
			nc.Close()
			time.Sleep(refusedPause)
			continue
		}
		s.serve(nc, typ)
		// The connections that are there go first, and so does what the new one
		// begins with: in a storm of connections the queue stays in the kernel.
		runtime.Gosched()
	}
}

func (s *Server) serve(nc net.Conn, typ client.Type) {
	c := client.New((*host)(s), s.nextID.Add(1), typ, nc)
	s.tasks.start(c.Serve)
}

// InProcessConn returns the client's end of a connection that needs no port.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	state := s.state
	s.mu.Unlock()
	if state != running {
		return nil, errors.New("server: not running")
	}
	near, far := net.Pipe()
	s.serve(near, client.InProcess)
	return far, nil
}

// rateLimit lets a number of handshakes through in a second.
type rateLimit struct {
	mu      sync.Mutex
	until   time.Time
	n       int64
	refused int64
}

// allow returns whether one more may pass, and how many were refused in the
// window before if this call opened a new one.
func (r *rateLimit) allow(limit int64) (ok bool, refused int64) {
	if limit <= 0 {
		return true, 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.After(r.until) {
		r.until = now.Add(time.Second)
		refused, r.refused, r.n = r.refused, 0, 0
	}
	if r.n++; r.n > limit {
		r.refused++
		return false, refused
	}
	return true, refused
}
