package client

import (
	"crypto/tls"
	"reflect"
	"strconv"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/auth"
	"github.com/natsd/natsd/server/options"
)

// Revise judges the login of the connection again, with users that replaced those it logged in with. The connection is
// closed if its user is gone or belongs to another account, and refused if its credentials do not hold any more.
// Otherwise it gets its new permissions and limits, and loses the subscriptions that they do not allow. Any goroutine
// may call it.
func (c *Client) Revise(users *auth.Table) {
	c.login.Lock()
	defer c.login.Unlock()
	c.mu.Lock()
	opts, before, conn := c.opts, c.ident, c.conn
	c.mu.Unlock()
	if conn != nil {
		conn.SetWriteDeadline(c.host.Options().WriteDeadline)
	}
	if before.Account == "" || c.Reason() != 0 {
		return // It has yet to log in, or is gone.
	}
	if before.ProxyKey != "" && !users.TrustsProxy(before.ProxyKey) {
		c.refuseRevised(auth.ProxyNotTrusted, before)
		return
	}
	if u := before.User; u != nil {
		if now := users.Current(u); now == nil || now.Account != u.Account {
			c.Close(ClientClosed)
			return
		}
	}
	var id auth.Identity
	var failure auth.Failure
	if before.Claims != nil {
		id, failure = c.host.JudgeClaims(before)
	} else {
		req := c.request(&opts)
		req.Before = &before
		id, failure = c.host.Judge(req)
		anonymous := opts.User == "" && opts.Pass == "" && opts.Token == ""
		if failure == auth.Accepted && anonymous && before.User != nil && !before.User.SameSecret(id.User) {
			failure = auth.Refused // It holds the old secret.
		}
	}
	if failure != auth.Accepted {
		c.refuseRevised(failure, before)
		return
	}
	a := c.host.Account(id.Account)
	if a == nil || a != c.Account() {
		c.Close(ClientClosed)
		return
	}
	if samePermissions(id.Permissions, before.Permissions) {
		id.Permissions = before.Permissions
	}
	c.mu.Lock()
	c.ident = id
	if c.state.connected {
		c.label = c.fullLabel()
	}
	c.mu.Unlock()
	c.bound.Store(c.binding(a))
	c.revised.Store(true)
	c.checkLimits(a, false)
	if id.Permissions != before.Permissions {
		c.dropForbidden(id)
	}
}

// refuseRevised closes a connection whose login does not hold any more.
func (c *Client) refuseRevised(failure auth.Failure, before auth.Identity) {
	r := AuthenticationViolation
	switch failure {
	case auth.ProxyNotTrusted:
		r = ProxyNotTrusted
	case auth.ProxyRequired:
		r = ProxyRequired
	}
	c.host.Errorf("%s - authentication error - User %q", c.Label(), before.Label)
	c.CloseErr("Authorization Violation", r)
}

// samePermissions tells whether permissions were made of the same lists.
func samePermissions(a, b *auth.Permissions) bool {
	source := func(p *auth.Permissions) *options.Permissions {
		if p == nil {
			return nil
		}
		return p.Source()
	}
	return reflect.DeepEqual(source(a), source(b))
}

// Claimed is what an account's new claims mean for one of its connections.
type Claimed struct {
	// Close the connection for this reason, with this error line if it is not empty.
	Close Reason
	Error string
	// Permissions are what the connection may do.
	Permissions *auth.Permissions
}

// Reconsider makes new claims of its account count for a connection that logged in with a user JWT. judge decides by
// who it was before. Any goroutine may call it.
func (c *Client) Reconsider(judge func(auth.Identity) Claimed) {
	c.login.Lock()
	defer c.login.Unlock()
	c.mu.Lock()
	before := c.ident
	c.mu.Unlock()
	if before.Claims == nil || c.Reason() != 0 {
		return
	}
	v := judge(before)
	if v.Close != 0 {
		if v.Error == "" {
			c.Close(v.Close)
		} else {
			c.CloseErr(v.Error, v.Close)
		}
		return
	}
	id := before
	if !samePermissions(v.Permissions, before.Permissions) {
		id.Permissions = v.Permissions
	}
	c.mu.Lock()
	c.ident = id
	c.mu.Unlock()
	a := c.Account()
	c.bound.Store(c.binding(a))
	c.revised.Store(true)
	c.checkLimits(a, true)
	if id.Permissions != before.Permissions {
		c.dropForbidden(id)
	}
}

// checkLimits takes over the account's limit of subscriptions, and closes a connection that has more. Where new claims have
// lowered it, it also closes one that has just as many. The limits of the parser are taken over by the read loop.
func (c *Client) checkLimits(a *account.Account, claims bool) {
	limit := minLimit(unlimitedIfZero(c.host.Options().MaxSubscriptions), a.Config().Limits.MaxSubscriptions)
	limit = minLimit(limit, c.bound.Load().user.Subscriptions)
	c.mu.Lock()
	have, before := int64(len(c.subs)), c.maxSubs
	c.maxSubs = limit
	over := limit >= 0 && (have > limit || claims && have == limit && (before < 0 || limit < before))
	c.mu.Unlock()
	if over {
		c.host.Errorf("%s - maximum subscriptions exceeded", c.Label())
		c.CloseErr("maximum subscriptions exceeded", MaxSubscriptionsExceeded)
	}
}

func unlimitedIfZero(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// dropForbidden ends subscriptions that the permissions do not allow, and tells the client.
func (c *Client) dropForbidden(id auth.Identity) {
	c.mu.Lock()
	subs := make([]*account.Sub, 0, len(c.subs))
	for _, s := range c.subs {
		subs = append(subs, s)
	}
	c.mu.Unlock()
	filter := false
	conn := c.transport()
	for _, s := range subs {
		if conn.Pending() > c.host.Options().MaxPending {
			c.slowPending() // so many lines that it does not read
			return
		}
		if id.Permissions.Subscribe(s.Subject, s.Queue) {
			filter = filter || id.Permissions.Filters(s.Subject, s.Queue)
			continue
		}
		c.remove(s)
		c.SendErr(subscribeError(s) + " (sid " + strconv.Quote(s.SID) + ")")
		queue := ""
		if s.Queue != "" {
			queue = " using queue " + strconv.Quote(s.Queue)
		}
		c.host.Noticef("Removed sub %q%s (sid %q) for User %q - not authorized", s.Subject, queue, s.SID, id.Label)
	}
	c.filter.Store(filter)
}

// takeRevision makes the read loop forget what it remembers about permissions and limits.
func (c *Client) takeRevision() {
	if c.revised.Load() && c.revised.Swap(false) {
		c.perms.reset()
		c.applyLimits()
	}
}

// TLSState is that of the connection, nil if it has no TLS.
func (c *Client) TLSState() *tls.ConnectionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tlsConn.state
}
