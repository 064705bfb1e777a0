package client

import (
	"strconv"
	"time"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/auth"
)

// connect handles a CONNECT, the first or a later one.
func (c *Client) connect(op *natsproto.Op) error {
	if c.host.Tracing() {
		c.traceIn("[CONNECT %s]", redact(op.Arg))
	}
	c.login.Lock()
	defer c.login.Unlock()
	c.mu.Lock()
	if c.auth != nil {
		c.auth.Stop()
	}
	opts := c.opts
	// A guest's subscriptions, too, were made as somebody else.
	first := !c.state.connected && !c.state.guest
	c.mu.Unlock()
	if err := opts.Decode(op.Arg); err != nil {
		c.host.Errorf("%s - %v", c.Label(), err) // shows no value
		return c.end(ProtocolViolation)
	}
	if !first {
		c.dropSubscriptions()
	}
	c.mu.Lock()
	c.opts = opts
	c.ping.guess(c.start)
	c.mu.Unlock()
	if err := c.logIn(&opts); err != nil {
		return err
	}
	switch {
	case opts.Account != "" || opts.NewAccount:
		c.host.LoginFailed(c, c.Account(), AuthenticationViolation)
		return c.fail("Authorization Violation", AuthenticationViolation)
	case opts.Protocol < 0 || opts.Protocol > 1:
		return c.fail("invalid client protocol", BadClientProtocolVersion)
	}
	b := c.binding(c.Account())
	if opts.NoResponders && !b.headers {
		return c.fail("no responders requires headers support", NoRespondersRequiresHeaders)
	}
	c.bound.Store(b)
	c.parser.NoHeaders = !b.headers
	c.parser.RequireConnect = false
	c.mu.Lock()
	if !c.state.connected {
		c.ping.first(c)
	}
	c.state.connected = true
	c.label = c.fullLabel()
	c.mu.Unlock()
	c.host.LoggedIn(c, first)
	if b.verbose {
		c.ok()
	}
	return nil
}

// request is what the connection brings to a login.
func (c *Client) request(opts *natsproto.Connect) *auth.Request {
	r := &auth.Request{
		User: opts.User, Password: opts.Pass, Token: opts.Token, NKey: opts.NKey, Sig: opts.Sig, JWT: opts.JWT,
		ProxySig: opts.ProxySig, Nonce: c.nonce, Type: c.typ.connectionType(), TLS: c.tlsConn.state,
	}
	if t := c.host.ListenerTLS(); t != nil && t.VerifyAndMap && (c.tlsConn.state != nil || c.typ != InProcess) {
		r.MapCertificate = true
	}
	return r
}

func (c *Client) logIn(opts *natsproto.Connect) error {
	req := c.request(opts)
	id, failure := c.host.Login(c, req)
	if failure != auth.Accepted {
		r := AuthenticationViolation
		switch failure {
		case auth.ProxyNotTrusted:
			r = ProxyNotTrusted
		case auth.ProxyRequired:
			r = ProxyRequired
		}
		c.host.Errorf("%s - authentication error%s", c.Label(), claimed(opts))
		c.host.LoginFailed(c, c.Account(), r)
		return c.fail("Authorization Violation", r)
	}
	if req.MapCertificate && opts.User != "" && id.User != nil && opts.User != id.User.Name {
		c.host.Warnf("%s - User %q found in connect proto, but user required from cert", c.Label(), opts.User)
	}
	return c.bind(id)
}

// claimed names for the log who a connection says it is.
func claimed(opts *natsproto.Connect) string {
	switch {
	case opts.NKey != "":
		return " - Nkey " + strconv.Quote(opts.NKey)
	case opts.User != "":
		return " - User " + strconv.Quote(opts.User)
	}
	return ""
}

// bind moves the connection to the account of id.
func (c *Client) bind(id auth.Identity) error {
	a := c.host.Account(id.Account)
	if a == nil {
		c.host.LoginFailed(c, c.Account(), AuthenticationViolation)
		return c.fail("Authorization Violation", AuthenticationViolation)
	}
	old, bound := c.Account(), c.ident.Account != ""
	if !bound || old != a {
		if !a.Bind() {
			c.host.Errorf("%s - maximum account active connections exceeded", c.Label())
			if !bound {
				c.bound.Store(c.binding(a)) // where it is remembered
			}
			return c.fail("maximum account active connections exceeded", MaxAccountConnectionsExceeded)
		}
		if bound {
			old.Unbind()
		}
		c.prod.Forget()
	}
	c.grants = new(grants) // what somebody else may answer to says nothing about this one
	c.mu.Lock()
	c.ident = id
	c.expireAt(id.Expires)
	c.mu.Unlock()
	c.setPermissions(a)
	c.applyLimits()
	return nil
}

// expireAt ends the login at a time; zero is never. mu is held.
func (c *Client) expireAt(at time.Time) {
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	if !at.IsZero() {
		c.expiry = time.AfterFunc(time.Until(at), func() {
			c.host.Debugf("%s - Authentication expired", c.Label())
			c.CloseErr("User Authentication Expired", AuthenticationExpired)
		})
	}
}

// setPermissions makes the account and the permissions of the identity count.
func (c *Client) setPermissions(a *account.Account) {
	c.bound.Store(c.binding(a))
	c.perms.reset()
	c.filter.Store(false)
}

// loginByVerb logs a connection in whose first verb is not CONNECT, if there is
// a user for those who name none.
func (c *Client) loginByVerb() bool {
	users := c.host.Users()
	name := users.NoAuthUser()
	if !users.NoAuthNamed(name) {
		return false
	}
	c.login.Lock()
	defer c.login.Unlock()
	opts := natsproto.DefaultConnect()
	id, failure := c.host.Login(c, c.request(&opts))
	if failure != auth.Accepted || c.bind(id) != nil {
		return false
	}
	c.mu.Lock()
	if c.auth != nil {
		c.auth.Stop()
	}
	c.state.guest = true
	c.mu.Unlock()
	c.parser.RequireConnect = false
	c.host.LoggedIn(c, true)
	return true
}

func (c *Client) dropSubscriptions() {
	c.mu.Lock()
	subs := make([]*account.Sub, 0, len(c.subs))
	for _, s := range c.subs {
		subs = append(subs, s)
	}
	clear(c.subs)
	c.mu.Unlock()
	c.Account().UnsubscribeAll(subs)
}

// fullLabel extends the label by what CONNECT told; mu is held.
func (c *Client) fullLabel() string {
	l := c.makeLabel()
	s := ""
	if c.opts.Version != "" {
		s = "v" + c.opts.Version
	}
	for _, part := range []string{c.opts.Lang, c.opts.Name} {
		if part == "" {
			continue
		}
		if s != "" {
			s += ":"
		}
		s += part
	}
	if s != "" {
		l += " - " + strconv.Quote(s)
	}
	switch form := c.ident.Form; form {
	case "user", "nkey", "jwt":
		l += " - " + strconv.Quote(c.ident.Account+"/"+form+":"+c.ident.Label)
	case "token":
		l += " - " + strconv.Quote(c.ident.Account+"/token")
	}
	return l
}
