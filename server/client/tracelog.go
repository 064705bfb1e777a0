package client

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/options"
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

func (c *Client) traceLine(op *natsproto.Op) { c.traceIn("[%s %s]", op.Verb, op.Arg) }

func (c *Client) tracePub(op *natsproto.Op) {
	c.traceLine(op)
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
	if line := payloadLine(c.host.Options(), header, payload); line != "" {
		c.trace(direction, "%s", []any{line})
	}
}

// payloadLine is what is logged of a message besides its first line; empty: nothing.
func payloadLine(o *options.Options, header, payload []byte) string {
	b := payload
	if o.TraceHeaders {
		b = bytes.TrimSuffix(header, []byte("\r\n\r\n"))
	} else if len(header) > 0 {
		b = append(append([]byte(nil), header...), payload...)
	}
	if len(b) == 0 {
		return ""
	}
	if n := int(o.MaxTracedMsgLen); n > 0 && len(b) > n {
		return `MSG_PAYLOAD: ["` + quoted(b[:n]) + `..."]`
	}
	return `MSG_PAYLOAD: ["` + quoted(b) + `"]`
}

// TraceSystem logs a message that the server publishes itself, if the options want that.
func TraceSystem(log Logger, o *options.Options, subject string, header, payload []byte) {
	if !o.Trace || !o.TraceVerbose {
		return
	}
	log.Tracef("SYSTEM - <<- [PUB %s  %d]", subject, len(header)+len(payload))
	if line := payloadLine(o, header, payload); line != "" {
		log.Tracef("SYSTEM - <<- %s", line)
	}
}

func quoted(b []byte) string {
	q := appendQuoted(nil, b)
	return string(q[1 : len(q)-1])
}

const redacted = `"[REDACTED]"`

// redact hides the secrets of a CONNECT. What is no JSON object is hidden from
// the first byte on that does not fit: a secret may follow.
func redact(arg []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(arg))
	var out []byte
	done := 0 // of arg
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return []byte(redacted)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			break
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			break
		}
		end := int(dec.InputOffset())
		if name, ok := key.(string); ok && secret(name) {
			out = append(append(out, arg[done:end-len(value)]...), redacted...)
		} else {
			out = append(out, arg[done:end]...)
		}
		done = end
	}
	if _, err := dec.Token(); err != nil {
		return append(out, redacted...)
	}
	return append(out, arg[done:dec.InputOffset()]...)
}

// secret tells whether the value of a CONNECT's member must not be logged. Names
// match in any case, as they do when they are read.
func secret(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "sig", "proxy_sig", "nkey", "jwt":
		return true
	}
	return strings.HasPrefix(name, "auth_token") || strings.HasPrefix(name, "pass")
}
