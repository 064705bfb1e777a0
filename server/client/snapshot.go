package client

import (
	"crypto/tls"
	"slices"
	"strings"
	"time"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/auth"
)

// Snapshot is what monitoring shows of a connection, open or closed.
type Snapshot struct {
	Info         RequestInfo
	Port         int
	Account      *account.Account
	Identity     auth.Identity
	Start        time.Time
	LastActivity time.Time
	Stop         time.Time // zero while open
	Reason       Reason    // 0 while open
	RTT          time.Duration
	Pending      int64

	InMsgs, InBytes, OutMsgs, OutBytes int64
	Stalls                             int64

	// NumSubs counts the subscriptions; Subs lists them, sorted by SID, if that
	// was asked for.
	NumSubs int
	Subs    []Subscription

	TLS      *tls.ConnectionState // nil: none
	TLSFirst bool
	Nonce    string
}

// Subscription is one of a snapshot.
type Subscription struct {
	Subject, Queue, SID string
	Delivered, Max      int64
}

// Snapshot describes the connection now, with its subscriptions if subs is set.
func (c *Client) Snapshot(subs bool) Snapshot {
	s := Snapshot{
		Info:    c.Info(),
		Account: c.Account(),
		Reason:  c.Reason(),
		InMsgs:  c.inMsgs.Load(), InBytes: c.inBytes.Load(),
		Stalls: c.stalls.Load(),
		Start:  c.start, LastActivity: time.Unix(0, c.lastActivity.Load()),
		Nonce: c.nonce,
	}
	c.mu.Lock()
	s.Identity = c.ident
	s.Stop = c.stop
	s.RTT = c.ping.rtt
	_, s.Port = peerAddr(c.addr)
	s.TLS, s.TLSFirst = c.tlsConn.state, c.tlsConn.first
	if c.conn != nil {
		s.OutMsgs, s.OutBytes = c.conn.Sent()
		s.Pending = c.conn.Pending()
	}
	s.NumSubs = len(c.subs)
	if subs {
		s.Subs = make([]Subscription, 0, len(c.subs))
		for _, sub := range c.subs {
			s.Subs = append(s.Subs, Subscription{sub.Subject, sub.Queue, sub.SID, sub.Delivered(), sub.Max()})
		}
	}
	c.mu.Unlock() // there may be millions to sort
	slices.SortFunc(s.Subs, func(a, b Subscription) int {
		if len(a.SID) != len(b.SID) {
			return len(a.SID) - len(b.SID) // numbers, mostly
		}
		return strings.Compare(a.SID, b.SID)
	})
	return s
}
