package client

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/msgtrace"
	"github.com/natsd/natsd/subjecttree"
)

// startTrace opens a trace if the headers of m ask for one. It returns false if
// the message is not to be processed.
func (c *Client) startTrace(b *binding, conf *account.Config, m *account.Msg, op *natsproto.Op) bool {
	if conf.Trace == nil && !bytes.Contains(m.Header, []byte(msgtrace.DestHeader)) {
		return true
	}
	if !bytes.HasPrefix(m.Header, []byte(natsproto.HeaderLine)) {
		return true
	}
	header := map[string][]string{}
	for k, v := range natsproto.Headers(m.Header) {
		key, value := strings.TrimSpace(string(k)), strings.TrimSpace(string(v))
		if key != "" && value != "" {
			header[key] = append(header[key], value)
		}
	}
	first := func(name string) string {
		if v := header[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	dest, adHoc := first(msgtrace.DestHeader), true
	if dest == msgtrace.Disabled {
		return true
	}
	if dest == "" {
		if conf.Trace == nil || !traceParent(header) {
			return true
		}
		if rand.IntN(100) >= conf.Trace.Sampling {
			m.Header = natsproto.SetHeader(m.Header, msgtrace.DestHeader, msgtrace.Disabled)
			return true
		}
		dest, adHoc = conf.Trace.Destination, false
	}
	only := adHoc && traceOnly(first(msgtrace.OnlyHeader))
	if first(msgtrace.OriginHeader) != "" {
		c.host.Errorf("%s - Message with header %q, won't be able to trace events", c.Label(), msgtrace.OriginHeader)
		m.Header = natsproto.SetHeader(m.Header, msgtrace.DestHeader, msgtrace.Disabled)
		return !only
	}
	if !subjecttree.ValidPublish(dest) {
		c.host.Errorf("%s - Destination %q is not valid, won't be able to trace events", c.Label(), dest)
		return !only
	}
	if !c.mayTraceTo(b, dest) {
		text := "Permissions Violation for Publish to " + strconv.Quote(dest)
		c.host.Errorf("%s - %s", c.Label(), text)
		c.errLine(text)
		return false
	}
	c.openTrace(b, m, header, dest, only, string(op.Subject), op.Size)
	return true
}

func (c *Client) openTrace(b *binding, m *account.Msg, header map[string][]string, dest string, only bool, subject string, size int) {
	id, name, _ := c.TraceID()
	t := msgtrace.New(msgtrace.Request{Header: header, MsgSize: size},
		msgtrace.Event{Kind: msgtrace.Kind(account.Client), CID: id, Name: name, Account: b.acc.Name(), Subject: subject},
		c.host.SendTrace)
	t.Dest, t.Account, t.Only = dest, b.acc.Name(), only
	if v := header["Accept-Encoding"]; len(v) > 0 {
		t.Encoding = traceEncoding(v[0])
	}
	m.Trace = t
}

// mayTraceTo checks the destination of a trace: publish permissions without
// response grants.
func (c *Client) mayTraceTo(b *binding, dest string) bool {
	if strings.HasPrefix(dest, gatewayReply) || (strings.HasPrefix(dest, raftGroups) && !b.system) {
		return false
	}
	return b.perms.Publish([]byte(dest))
}

func traceOnly(v string) bool {
	switch strings.ToLower(v) {
	case "1", "true", "on":
		return true
	}
	return false
}

func traceEncoding(accept string) string {
	accept = strings.ToLower(accept)
	switch {
	case strings.Contains(accept, "snappy"), strings.Contains(accept, "s2"):
		return "snappy"
	case strings.Contains(accept, "gzip"):
		return "gzip"
	case accept != "":
		return "identity"
	}
	return ""
}

// traceParent tells whether a W3C trace context asks for a trace.
func traceParent(header map[string][]string) bool {
	for k, v := range header {
		if !strings.EqualFold(k, "traceparent") {
			continue
		}
		parts := strings.Split(v[0], "-")
		if len(parts) != 4 || len(parts[3]) != 2 {
			return false
		}
		flags, err := strconv.ParseUint(parts[3], 16, 8)
		return err == nil && flags&1 == 1
	}
	return false
}

// tooLarge reports a message over the limit to its trace, if its headers came
// with the line.
func (c *Client) tooLarge(op *natsproto.Op) {
	if op.HdrLen == 0 {
		return
	}
	b := c.bound.Load()
	m := &account.Msg{Subject: op.Subject, Header: op.Body[:op.HdrLen]}
	if c.startTrace(b, b.acc.Config(), m, op); m.Trace != nil {
		m.Trace.Fail("maximum payload exceeded")
		m.Trace.Release()
	}
}
