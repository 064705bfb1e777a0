package client

import (
	"net"
	"runtime"
)

// handshakeTurns is how many connections at a time may work on the answer to a
// ClientHello: half of the processors. That is the expensive part of a handshake, as
// expensive as some thousand messages, and when many clients connect at once those
// who are connected shall not wait for it.
var handshakeTurns = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// handshaking is the socket below TLS. From the first bytes that come until the
// server has answered it has a turn, except while it waits for more bytes. The check
// of a client's certificate comes later: it may ask others, and takes no turn.
type handshaking struct {
	net.Conn
	head     []byte // read already
	turn     bool   // held
	answered bool
}

func (h *handshaking) Read(b []byte) (n int, err error) {
	if h.answered {
		return h.Conn.Read(b)
	}
	if len(h.head) > 0 {
		n = copy(b, h.head)
		if h.head = h.head[n:]; len(h.head) == 0 {
			h.head = nil
		}
	} else {
		h.rest()
		n, err = h.Conn.Read(b)
	}
	if !h.turn && err == nil {
		handshakeTurns <- struct{}{}
		h.turn = true
	}
	return n, err
}

func (h *handshaking) Write(b []byte) (int, error) {
	if !h.answered { // set before anybody reads and writes at the same time
		h.answered = true
		h.rest() // the work is done; the peer may be slow to take it
	}
	return h.Conn.Write(b)
}

// rest gives the turn back.
func (h *handshaking) rest() {
	if h.turn {
		<-handshakeTurns
		h.turn = false
	}
}
