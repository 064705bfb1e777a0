package client

import (
	"bytes"
	"regexp"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
)

// The protocol log. Callers on the message path ask host.Tracing first, so that
// arguments are not boxed for nothing.

func (c *Client) traceIn(format string, v ...any)   { c.trace("<<- ", format, v) }
func (c *Client) traceOut(format string, v ...any)  { c.trace("->> ", format, v) }
func (c *Client) traceBoth(format string, v ...any) { c.trace("<-> ", format, v) }

func (c *Client) trace(direction, format string, v []any) {
	if !c.host.Tracing() {
		return
	}
	c.host.Tracef("%s - "+direction+format, append([]any{c.Label()}, v...)...)
}

func (c *Client) tracePub(op *natsproto.Op) {
	c.traceIn("[%s %s]", op.Verb, op.Arg)
	c.tracePayload("<<- ", op.Header(), op.Payload())
}

func (c *Client) traceMsg(s *account.Sub, m *account.Msg, hdr, size int) {
	line := appendHead(nil, s, m, hdr, size)
	var header []byte
	if hdr > 0 {
		header = m.Header
		line = line[:len(line)-hdr]
	}
	c.trace("->> ", "[%s]", []any{bytes.TrimSuffix(line, []byte(natsproto.CRLF))})
	c.tracePayload("->> ", header, m.Payload)
}

func (c *Client) tracePayload(direction string, header, payload []byte) {
	o := c.host.Options()
	b := payload
	if o.TraceHeaders {
		b = bytes.TrimSuffix(header, []byte("\r\n\r\n"))
	} else if len(header) > 0 {
		b = append(append([]byte(nil), header...), payload...)
	}
	if len(b) == 0 {
		return
	}
	if n := int(o.MaxTracedMsgLen); n > 0 && len(b) > n {
		c.trace(direction, "MSG_PAYLOAD: [\"%s...\"]", []any{quoted(b[:n])})
		return
	}
	c.trace(direction, "MSG_PAYLOAD: [\"%s\"]", []any{quoted(b)})
}

func quoted(b []byte) string {
	q := appendQuoted(nil, b)
	return string(q[1 : len(q)-1])
}

var secrets = regexp.MustCompile(`(?i)("(?:auth_token[^"]*|pass[^"]*|sig|proxy_sig|nkey|jwt)"\s*:\s*)"(?:[^"\\]|\\.)*"?`)

// redact hides the secrets of a CONNECT.
func redact(arg []byte) []byte {
	return secrets.ReplaceAll(arg, []byte(`$1"[REDACTED]"`))
}
