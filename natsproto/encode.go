package natsproto

import "strconv"

// Fixed lines.
const (
	CRLF = "\r\n"
	Ping = "PING\r\n"
	Pong = "PONG\r\n"
	OK   = "+OK\r\n"
)

// AppendErr appends -ERR '<text>'.
func AppendErr(dst []byte, text string) []byte {
	dst = append(dst, "-ERR '"...)
	dst = append(dst, text...)
	return append(dst, "'\r\n"...)
}

// AppendMsg appends the line of a message without headers for a client; the
// payload and CR LF follow it. An empty reply leaves the field out.
func AppendMsg[S, R, I ~string | ~[]byte](dst []byte, subject S, sid I, reply R, size int) []byte {
	dst = append(dst, "MSG "...)
	dst = appendAddress(dst, subject, sid, reply)
	dst = strconv.AppendUint(dst, uint64(size), 10)
	return append(dst, CRLF...)
}

// AppendHMsg appends the line of a message with a header block of hdr bytes;
// total counts headers and payload.
func AppendHMsg[S, R, I ~string | ~[]byte](dst []byte, subject S, sid I, reply R, hdr, total int) []byte {
	dst = append(dst, "HMSG "...)
	dst = appendAddress(dst, subject, sid, reply)
	dst = strconv.AppendUint(dst, uint64(hdr), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(total), 10)
	return append(dst, CRLF...)
}

func appendAddress[S, R, I ~string | ~[]byte](dst []byte, subject S, sid I, reply R) []byte {
	dst = append(dst, subject...)
	dst = append(dst, ' ')
	dst = append(dst, sid...)
	dst = append(dst, ' ')
	if len(reply) > 0 {
		dst = append(dst, reply...)
		dst = append(dst, ' ')
	}
	return dst
}

// AppendNoResponders appends the whole 503 message that a requester gets when
// nobody took its request on subject.
func AppendNoResponders[S, R, I ~string | ~[]byte](dst []byte, reply R, sid I, subject S) []byte {
	const fixed = len("NATS/1.0 503\r\nNats-Subject: \r\n\r\n")
	n := fixed + len(subject)
	dst = AppendHMsg(dst, reply, sid, "", n, n)
	dst = append(dst, "NATS/1.0 503\r\nNats-Subject: "...)
	dst = append(dst, subject...)
	return append(dst, "\r\n\r\n\r\n"...)
}

// LinkMsg is the line of a message between servers.
type LinkMsg struct {
	// Origin is the leaf cluster of the message; set, it makes the origin form
	// of a route (LMSG with a header length).
	Origin string
	// Account is left out where the link is bound to one account.
	Account string
	Subject []byte
	Reply   []byte
	Queues  []string
	HdrLen  int
	// Size counts headers and payload.
	Size int
}

// AppendRoute appends the line as routes and gateways read it; body and CR LF
// follow it.
func (m *LinkMsg) AppendRoute(dst []byte) []byte {
	hdr := m.HdrLen > 0
	switch {
	case m.Origin != "":
		dst = append(dst, "LMSG "...)
		dst = append(dst, m.Origin...)
		dst = append(dst, ' ')
		hdr = true
	case hdr:
		dst = append(dst, "HMSG "...)
	default:
		dst = append(dst, "RMSG "...)
	}
	if m.Account != "" {
		dst = append(dst, m.Account...)
		dst = append(dst, ' ')
	}
	return m.appendRest(dst, hdr)
}

// AppendLeaf appends the line as leaf links read it.
func (m *LinkMsg) AppendLeaf(dst []byte) []byte {
	if m.HdrLen > 0 {
		return m.appendRest(append(dst, "HMSG "...), true)
	}
	return m.appendRest(append(dst, "LMSG "...), false)
}

func (m *LinkMsg) appendRest(dst []byte, hdr bool) []byte {
	dst = append(dst, m.Subject...)
	dst = append(dst, ' ')
	switch {
	case len(m.Queues) > 0:
		if len(m.Reply) > 0 {
			dst = append(dst, "+ "...)
			dst = append(dst, m.Reply...)
			dst = append(dst, ' ')
		} else {
			dst = append(dst, "| "...)
		}
		for _, q := range m.Queues {
			dst = append(dst, q...)
			dst = append(dst, ' ')
		}
	case len(m.Reply) > 0:
		dst = append(dst, m.Reply...)
		dst = append(dst, ' ')
	}
	if hdr {
		dst = strconv.AppendUint(dst, uint64(m.HdrLen), 10)
		dst = append(dst, ' ')
	}
	dst = strconv.AppendUint(dst, uint64(m.Size), 10)
	return append(dst, CRLF...)
}

// LinkSub is an interest line between servers.
type LinkSub struct {
	Origin  string // routes only: LS+ and LS- instead of RS+ and RS-
	Account string // left out where the link is bound to one account
	Subject string
	Queue   string
	Weight  int32 // with Queue, of a subscription
}

// AppendRoute appends the line as routes and gateways read it; add tells a
// subscription from its end.
func (s *LinkSub) AppendRoute(dst []byte, add bool) []byte {
	kind := "RS"
	if s.Origin != "" {
		kind = "LS"
	}
	dst = appendSign(append(dst, kind...), add)
	if s.Origin != "" {
		dst = append(dst, s.Origin...)
		dst = append(dst, ' ')
	}
	if s.Account != "" {
		dst = append(dst, s.Account...)
		dst = append(dst, ' ')
	}
	return s.appendRest(dst, add)
}

// AppendLeaf appends the line as leaf links read it.
func (s *LinkSub) AppendLeaf(dst []byte, add bool) []byte {
	return s.appendRest(appendSign(append(dst, "LS"...), add), add)
}

func (s *LinkSub) appendRest(dst []byte, add bool) []byte {
	dst = append(dst, s.Subject...)
	if s.Queue != "" {
		dst = append(dst, ' ')
		dst = append(dst, s.Queue...)
		if add {
			dst = append(dst, ' ')
			dst = strconv.AppendInt(dst, int64(s.Weight), 10)
		}
	}
	return append(dst, CRLF...)
}

// AppendAccount appends A+ or A- of a gateway.
func AppendAccount(dst []byte, account string, add bool) []byte {
	dst = appendSign(append(dst, 'A'), add)
	dst = append(dst, account...)
	return append(dst, CRLF...)
}

func appendSign(dst []byte, add bool) []byte {
	if add {
		return append(dst, "+ "...)
	}
	return append(dst, "- "...)
}
