package client

import (
	"strconv"
	"time"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/subjecttree"
)

// systemQueue is a queue group name that clients may not use.
const systemQueue = "_sys_"

// fullSubsLogged is how often an account's full connections are logged at most.
const fullSubsLogged = 2 * time.Second

// subscribe handles SUB.
func (c *Client) subscribe(op *natsproto.Op) {
	if c.host.Tracing() {
		c.traceIn("[SUB %s]", op.Arg)
	}
	b := c.bound.Load()
	// One string for all three.
	all := string(op.Subject) + string(op.Queue) + string(op.SID)
	s := b.acc.NewSub(all[:len(op.Subject)], all[len(op.Subject):len(all)-len(op.SID)], all[len(all)-len(op.SID):], c)
	if s.Queue == systemQueue || !b.perms.Subscribe(s.Subject, s.Queue) {
		c.refuseSubscribe(subscribeError(s))
		return
	}
	o := c.host.Options()
	if n := o.MaxSubTokens; n > 0 && int64(subjecttree.NumTokens(s.Subject)) > n {
		c.refuseSubscribe("Permissions Violation for Subscription to " + strconv.Quote(s.Subject) + ", too many tokens")
		return
	}
	c.mu.Lock()
	if c.subs == nil {
		c.subs = make(map[string]*account.Sub, 1)
	}
	_, exists := c.subs[s.SID]
	over := c.maxSubs >= 0 && int64(len(c.subs)) >= c.maxSubs
	// The number of a subscription that exists hides what is wrong with the new one.
	valid := exists || subjecttree.Insertable(s.Subject)
	if !exists && !over && valid {
		c.subs[s.SID] = s
	}
	c.mu.Unlock()
	switch {
	case over:
		if b.acc.FullSubs.Due(fullSubsLogged) {
			c.host.Errorf("%s - maximum subscriptions exceeded", c.Label())
		}
		c.errLine("maximum subscriptions exceeded")
		return
	case !valid:
		c.errLine("Invalid Subject")
		return
	case !exists:
		if b.perms.Filters(s.Subject, s.Queue) {
			c.filter.Store(true)
		}
		b.acc.Subscribe(s)
		if c.bound.Load() != b && !c.allowedStill(s) {
			c.remove(s)
			c.refuseSubscribe(subscribeError(s))
			return
		}
	}
	if b.verbose {
		c.ok()
	}
}

// allowedStill judges a subscription by permissions that were replaced while it
// was made: who replaced them may not have seen it.
func (c *Client) allowedStill(s *account.Sub) bool {
	c.login.Lock() // waits until they count
	defer c.login.Unlock()
	perms := c.bound.Load().perms
	if perms.Filters(s.Subject, s.Queue) {
		c.filter.Store(true)
	}
	return perms.Subscribe(s.Subject, s.Queue)
}

func subscribeError(s *account.Sub) string {
	text := "Permissions Violation for Subscription to " + strconv.Quote(s.Subject)
	if s.Queue != "" {
		text += " using queue " + strconv.Quote(s.Queue)
	}
	return text
}

func (c *Client) refuseSubscribe(text string) {
	c.host.Errorf("%s - %s", c.Label(), text)
	c.errLine(text)
}

// unsubscribe handles UNSUB.
func (c *Client) unsubscribe(op *natsproto.Op) {
	if c.host.Tracing() {
		c.traceIn("[UNSUB %s]", op.Arg)
	}
	c.mu.Lock()
	s := c.subs[string(op.SID)]
	c.mu.Unlock()
	if s != nil && (op.Max == 0 || !s.SetMax(int64(op.Max))) {
		c.remove(s)
	}
	if c.bound.Load().verbose {
		c.ok()
	}
}

// remove ends a subscription; also called by deliveries that were its last.
func (c *Client) remove(s *account.Sub) {
	c.mu.Lock()
	if c.subs[s.SID] == s {
		delete(c.subs, s.SID)
	}
	c.mu.Unlock()
	if c.host.Tracing() {
		c.traceBoth("[DELSUB %s]", s.SID)
	}
	s.Account().Unsubscribe(s)
}
