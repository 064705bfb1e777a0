package client

import (
	"math/rand/v2"
	"time"

	"github.com/natsd/natsd/natsproto"
)

const (
	// firstPing is when a client is first pinged after CONNECT, to measure its
	// round trip time.
	firstPing = 2 * time.Second
	// rttInterval is how old a measurement may get.
	rttInterval = time.Hour
)

// pinger watches over a silent peer. The client's mutex guards it.
type pinger struct {
	timer    *time.Timer
	out      int // unanswered
	sent     time.Time
	rtt      time.Duration
	measured time.Time
}

// start begins with the full interval; mu is held.
func (p *pinger) start(c *Client, d time.Duration) {
	p.timer = time.AfterFunc(d, c.pingDue)
}

// first shortens the first interval after CONNECT; mu is held.
func (p *pinger) first(c *Client) {
	if p.timer == nil {
		return
	}
	d := min(c.host.Options().PingInterval, firstPing)
	p.timer.Reset(d + time.Duration(rand.Int64N(int64(d)/5+1)))
}

// guess takes the time from accept to CONNECT for the round trip time until that is measured; mu is held.
func (p *pinger) guess(start time.Time) {
	if p.rtt == 0 {
		p.rtt = max(time.Since(start), 1)
	}
}

func (p *pinger) stop() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

func (c *Client) pingDue() {
	o := c.host.Options()
	c.mu.Lock()
	if c.ping.timer == nil || c.closed.Load() {
		c.mu.Unlock()
		return
	}
	now := time.Now()
	measured := !c.ping.measured.IsZero() && now.Sub(c.ping.measured) < rttInterval
	active := now.UnixNano()-c.lastActivity.Load() < int64(o.PingInterval)
	stale, send := false, false
	if !measured || !active {
		if int64(c.ping.out+1) > o.PingMax {
			stale = true
		} else {
			send = true
			c.ping.out++
			c.ping.sent = now
		}
	}
	if !stale {
		c.ping.timer.Reset(o.PingInterval)
	}
	conn := c.conn
	c.mu.Unlock()
	switch {
	case stale:
		c.Debugf("Stale Client Connection - Closing")
		c.host.Stale()
		c.CloseErr("Stale Connection", StaleConnection)
	case send:
		c.traceOut("[PING]")
		conn.Send([]byte(natsproto.Ping))
	}
}

// gotPing handles PING.
func (c *Client) gotPing() {
	c.traceIn("[PING]")
	c.traceOut("[PONG]")
	c.line(natsproto.Pong)
	if c.state.pinged || !c.state.connected {
		return
	}
	c.mu.Lock()
	c.state.pinged = true
	info := c.async()
	c.mu.Unlock()
	if info {
		i := c.host.Info(c)
		a := c.Account()
		i.ConnectInfo = true
		i.RemoteAccount = a.Name()
		i.IsSystemAccount = a == c.host.SystemAccount()
		c.line(string(i.Append(nil)))
	}
}

// gotPong handles PONG.
func (c *Client) gotPong() {
	c.traceIn("[PONG]")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ping.out = 0
	if !c.ping.sent.IsZero() {
		c.ping.measured = time.Now()
		c.ping.rtt = max(c.ping.measured.Sub(c.ping.sent), 1)
	}
}

// RTT is the measured round trip time; before the first measurement the time
// from accept to CONNECT.
func (c *Client) RTT() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ping.rtt
}

// MeasureRTT pings the client if its round trip time is not known and no PING is under way.
func (c *Client) MeasureRTT() {
	c.mu.Lock()
	conn := c.conn
	send := conn != nil && c.ping.rtt == 0 && c.ping.out == 0 && c.ping.timer != nil
	if send {
		c.ping.out++
		c.ping.sent = time.Now()
	}
	c.mu.Unlock()
	if send {
		c.traceOut("[PING]")
		conn.Send([]byte(natsproto.Ping))
	}
}

// async tells whether INFO may be sent at any time; mu is held.
func (c *Client) async() bool { return c.state.pinged && c.opts.Protocol >= 1 }

// SendInfo sends an INFO outside of the read loop, to clients that may get it at
// any time; change edits it. It returns false for other clients.
func (c *Client) SendInfo(change func(*natsproto.Info)) bool {
	c.mu.Lock()
	async, conn := c.async(), c.conn
	c.mu.Unlock()
	if !async || c.closed.Load() {
		return false
	}
	i := c.host.Info(c)
	change(&i)
	conn.Send(i.Append(nil))
	return true
}
