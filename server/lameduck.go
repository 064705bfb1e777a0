package server

import (
	"math/rand/v2"
	"time"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/client"
)

// maxLameDuckPause is the longest pause between two closes of clients.
const maxLameDuckPause = time.Second

// LameDuck stops accepting clients, tells those that are there, closes them one
// by one over the configured time, and shuts the server down. It returns when
// that is done; a Shutdown meanwhile ends it.
func (s *Server) LameDuck() {
	s.mu.Lock()
	if s.state != running {
		s.mu.Unlock()
		return
	}
	s.state = lameDuck
	if s.listener != nil {
		s.listener.Close()
	}
	n := len(s.clients)
	s.mu.Unlock()
	s.log.Noticef("Entering lame duck mode, stop accepting new clients")
	if s.events != nil {
		s.events.LameDuck()
	}
	s.stopJetStream()
	if n > 0 {
		s.drainClients()
	}
	s.Shutdown()
}

func (s *Server) drainClients() {
	o := s.Options()
	for _, c := range s.Clients() {
		c.SendInfo(func(i *natsproto.Info) { i.LameDuck = true })
	}
	if !s.pause(o.LameDuckGracePeriod) {
		return
	}
	s.log.Noticef("Closing existing clients")
	clients := s.Clients()
	if len(clients) == 0 {
		return
	}
	total := o.LameDuckDuration - o.LameDuckGracePeriod
	if total <= 0 {
		total = time.Second
	}
	batch := 1
	interval := total / time.Duration(len(clients))
	if interval < 1 {
		interval = 1
		batch = len(clients)/int(total) + 1
	}
	interval = min(interval, maxLameDuckPause)
	for i, c := range clients {
		c.Close(client.ServerShutdown)
		if i == len(clients)-1 || (i+1)%batch != 0 {
			continue
		}
		if !s.pause(interval/2 + time.Duration(rand.Int64N(int64(interval)/2+1))) {
			return
		}
	}
}

// pause waits; false means that the server is being shut down.
func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ending:
		return false
	}
}

// LameDucking tells whether the lame duck mode runs.
func (s *Server) LameDucking() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == lameDuck
}
