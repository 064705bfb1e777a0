package client

import (
	"sync"
	"time"
)

// offers lets one part of the server at a time offer something to a connection: by the
// connection's id, so that others are seldom in the way.
var offers [16]sync.Mutex

// roomFor is what may be pending so that there is room for n bytes: the rest of the
// limit is for what does not wait. Whatever n is, there is room if nothing is pending.
func (c *Client) roomFor(n int) int64 { return max(c.host.Options().MaxPending/4*3-int64(n), 0) }

// Offer calls send, which is to publish and flush about n bytes for the client, and
// returns true, if they do not bring it near the limit of what may be pending. No other
// Offer adds to that meanwhile.
func (c *Client) Offer(n int, send func()) bool {
	turn := &offers[c.id%uint64(len(offers))]
	turn.Lock()
	defer turn.Unlock()
	if c.conn.Pending() > c.roomFor(n) && !c.closed.Load() {
		return false
	}
	send()
	return true
}

// AwaitRoom waits until n bytes may be offered, at most for a time, and reports whether
// that is so. It does not wait for a client that has gone.
func (c *Client) AwaitRoom(n int, most time.Duration) bool {
	room := func() bool { return c.conn.Pending() <= c.roomFor(n) || c.closed.Load() }
	if room() {
		return true
	}
	if most > 0 {
		c.conn.AwaitPending(max(c.roomFor(n), 1), most)
	}
	return room()
}
