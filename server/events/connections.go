package events

import (
	"time"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/monitor"
	"github.com/natsd/natsd/server/options"
)

// Types of events.
const (
	connectType    = "io.nats.server.advisory.v1.client_connect"
	disconnectType = "io.nats.server.advisory.v1.client_disconnect"
	countsType     = "io.nats.server.advisory.v1.account_connections"
)

// Typed is how events begin.
type Typed struct {
	Type string    `json:"type"`
	ID   string    `json:"id"`
	Time time.Time `json:"timestamp"`
}

func typed(kind string) Typed {
	return Typed{Type: kind, ID: account.UniqueID(), Time: time.Now().UTC()}
}

// Connect is the event of a connection that logged in.
type Connect struct {
	Typed
	Server ServerInfo         `json:"server"`
	Client client.RequestInfo `json:"client"`
}

// Disconnect is the event of a connection that is gone, or could not log in. Sent is what the client sent.
type Disconnect struct {
	Typed
	Server   ServerInfo         `json:"server"`
	Client   client.RequestInfo `json:"client"`
	Sent     monitor.DataStats  `json:"sent"`
	Received monitor.DataStats  `json:"received"`
	Reason   string             `json:"reason"`
}

// Connected tells that a connection logged in.
func (s *Service) Connected(c client.Snapshot) {
	s.event(func() {
		s.send("$SYS.ACCOUNT."+c.Account.Name()+".CONNECT", func(server ServerInfo) any {
			info := s.clientInfo(&c)
			info.RTT = 0
			return Connect{typed(connectType), server, info}
		})
	})
}

// Disconnected tells that a connection is gone.
func (s *Service) Disconnected(c client.Snapshot) {
	s.event(func() {
		s.send("$SYS.ACCOUNT."+c.Account.Name()+".DISCONNECT", func(server ServerInfo) any {
			return s.disconnect(server, &c, c.Reason)
		})
	})
}

// LoginFailed tells that a connection could not log in, also those in the account that it wanted.
func (s *Service) LoginFailed(c client.Snapshot, why client.Reason) {
	now := time.Now().UTC()
	c.Info.Stop = &now
	s.event(func() {
		message := func(server ServerInfo) any { return s.disconnect(server, &c, why) }
		s.send("$SYS.SERVER."+s.id+".CLIENT.AUTH.ERR", message)
		s.sendIn(c.Account, "$SYS.ACCOUNT.CLIENT.AUTH.ERR", message)
	})
}

func (s *Service) disconnect(server ServerInfo, c *client.Snapshot, why client.Reason) Disconnect {
	return Disconnect{
		Typed: typed(disconnectType), Server: server, Client: s.clientInfo(c),
		Sent: monitor.DataStats{Msgs: c.InMsgs, Bytes: c.InBytes}, Received: monitor.DataStats{Msgs: c.OutMsgs, Bytes: c.OutBytes},
		Reason: why.String(),
	}
}

func (s *Service) clientInfo(c *client.Snapshot) client.RequestInfo {
	info := c.Info
	info.NameTag = s.host.Tag(c.Account)
	return info
}

// countsInterval is how often the number of connections of an account is published while it has any.
const countsInterval = 30 * time.Second

// leastSweep bounds how often accounts are looked through for those whose time has come.
const leastSweep = time.Second

// connectionCounts is when the connections of accounts were published last; Service.mu guards it.
type connectionCounts struct {
	sent    map[*account.Account]time.Time // of accounts with connections
	pending map[*account.Account]bool      // an event is in the queue
	timer   *time.Timer
	due     time.Time // of the timer; zero: it does not run
}

func (c *connectionCounts) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// AccountConnections is the event with the connections of an account.
type AccountConnections struct {
	Typed
	Server ServerInfo `json:"server"`
	monitor.AccountStat
}

// ConnectionsChanged tells that the number of connections of an account changed. Changes that come faster than events go
// out share one.
func (s *Service) ConnectionsChanged(a *account.Account) {
	if a.Name() == options.GlobalAccount {
		return
	}
	s.mu.Lock()
	queued := s.stopped || s.counts.pending[a]
	if !queued {
		s.counts.pending[a] = true
	}
	s.mu.Unlock()
	if !queued && !s.event(func() { s.sendCounts(a) }) {
		s.mu.Lock()
		delete(s.counts.pending, a)
		s.mu.Unlock()
	}
}

func (s *Service) sendCounts(a *account.Account) {
	s.mu.Lock()
	delete(s.counts.pending, a)
	s.mu.Unlock()
	stat := s.mon.AccountStat(a)
	for _, subject := range []string{"$SYS.ACCOUNT." + a.Name() + ".SERVER.CONNS", "$SYS.SERVER.ACCOUNT." + a.Name() + ".CONNS"} {
		s.send(subject, func(server ServerInfo) any { return AccountConnections{typed(countsType), server, stat} })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if stat.TotalConns == 0 {
		delete(s.counts.sent, a)
		return
	}
	now := time.Now()
	s.counts.sent[a] = now
	s.sweepAt(now.Add(countsInterval))
}

// sweepAt lets the timer fire at a time, or earlier if it does already; mu is held.
func (s *Service) sweepAt(at time.Time) {
	c := &s.counts
	if s.stopped || (!c.due.IsZero() && !at.Before(c.due)) {
		return
	}
	c.due = at
	if c.timer == nil {
		c.timer = time.AfterFunc(time.Until(at), s.sweep)
	} else {
		c.timer.Reset(time.Until(at))
	}
}

// sweep publishes the connections of the accounts whose time has come.
func (s *Service) sweep() {
	s.mu.Lock()
	s.counts.due = time.Time{}
	now := time.Now()
	var due []*account.Account
	next := time.Time{}
	for a, sent := range s.counts.sent {
		at := sent.Add(countsInterval)
		if !at.After(now) {
			due = append(due, a)
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if least := now.Add(leastSweep); !next.IsZero() {
		if next.Before(least) {
			next = least
		}
		s.sweepAt(next)
	}
	s.mu.Unlock()
	for _, a := range due {
		s.ConnectionsChanged(a)
	}
}
