package client

import (
	"strconv"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/msgtrace"
	"github.com/natsd/natsd/subjecttree"
)

// Subjects that belong to servers.
const (
	gatewayReply = "_GR_."
	serviceReply = "_R_."
	raftGroups   = "$NRG."
	jsAck        = "$JS.ACK."
)

// publish handles PUB and HPUB.
func (c *Client) publish(op *natsproto.Op) {
	if c.host.Tracing() {
		c.tracePub(op)
	}
	c.in.msgs++
	c.in.bytes += int64(op.Size)
	b := c.bound.Load()
	if b.pedantic || c.judged {
		c.checkPedantic(op.Subject)
	}
	m := &c.msg
	m.Set(op.Subject, op.Reply, op.Header(), op.Payload())
	conf := b.acc.Config()
	if op.HdrLen == 0 || c.startTrace(b, conf, m, op) {
		c.route(b, conf, m)
	}
	if m.Trace != nil {
		c.prod.Flush() // the report comes behind what it tells of
		m.Trace.Release()
	}
}

// route maps a message, judges it and gives it to its receivers.
func (c *Client) route(b *binding, conf *account.Config, m *account.Msg) {
	p := &c.prod
	if conf.Mappings != nil {
		mapped, ok := p.Map(b.acc, m.Subject)
		if mapped != nil {
			if c.host.Tracing() {
				c.traceIn("[MAPPING %s -> %s]", m.Subject, mapped)
			}
			if m.Trace != nil && ok {
				m.Trace.Add(msgtrace.Event{Type: msgtrace.Mapping, To: string(mapped)})
			}
			m.Subject = mapped
		} else if !ok {
			m.Subject = nil
		}
	}
	if !c.mayPublish(b, m.Subject) {
		c.refusePublish(m, "Permissions Violation for Publish to "+strconv.Quote(string(m.Subject)))
		return
	}
	if reservedReply(m.Reply) {
		c.refusePublish(m, "Permissions Violation for Publish with Reply of "+strconv.Quote(string(m.Reply)))
		return
	}
	if b.verbose {
		c.ok()
	}
	if !p.Route(b.acc, m) && b.noResponders && len(m.Reply) > 0 {
		c.noResponders(b, m)
	}
}

// checkPedantic tells a pedantic client of a subject that matches nothing, before
// the payload has come. The message is taken all the same.
func (c *Client) checkPedantic(subject []byte) {
	if c.judged {
		c.judged = false
		return
	}
	if c.bound.Load().pedantic && !subjecttree.PedanticLiteral(subject) {
		c.errLine("Invalid Publish Subject")
	}
}

// refusePublish answers a message that may not be published.
func (c *Client) refusePublish(m *account.Msg, text string) {
	if m.Trace != nil {
		m.Trace.Fail(text)
	}
	c.host.Errorf("%s - %s", c.Label(), text)
	c.errLine(text)
}

// mayPublish checks a subject against what is reserved and what the user is
// allowed.
func (c *Client) mayPublish(b *binding, subject []byte) bool {
	if len(subject) >= len(raftGroups) {
		switch subject[0] {
		case '_':
			if longer(subject, gatewayReply) {
				return false
			}
		case '$':
			if string(subject[:len(raftGroups)]) == raftGroups && !b.system {
				return false
			}
		}
	}
	if !b.perms.LimitsPublish() {
		return true
	}
	return c.perms.publish(b.perms, subject) || (b.perms.Responses != nil && b.grants.use(b.perms.Responses, subject))
}

func reservedReply(reply []byte) bool {
	if len(reply) < len(serviceReply) || (reply[0] != '_' && reply[0] != '$') {
		return false
	}
	return string(reply[:len(serviceReply)]) == serviceReply ||
		longer(reply, jsAck) || longer(reply, gatewayReply)
}

func longer(b []byte, prefix string) bool {
	return len(b) > len(prefix) && string(b[:len(prefix)]) == prefix
}

// noResponders tells the client that nobody took its request.
func (c *Client) noResponders(b *binding, m *account.Msg) {
	var r subjecttree.Result[*account.Sub]
	b.acc.List().MatchInto(&r, m.Reply)
	for _, s := range r.Plain {
		if _, root := s.Shadow(); s.To != c || root != s || s.Closed() {
			continue
		}
		// Staged like a delivery, and not counted as one.
		line := natsproto.AppendNoResponders(c.prod.Out.Scratch(), m.Reply, s.SID, m.Subject)
		if c.host.Tracing() {
			c.traceOut("[HMSG %s %s]", m.Reply, s.SID)
		}
		if c.reserve(len(line)) {
			c.prod.Out.Stage(c.conn).Append(line)
		}
		c.prod.Out.KeepScratch(line)
		return
	}
}

func (c *Client) ok() {
	c.traceOut("[OK]")
	c.line(natsproto.OK)
}
