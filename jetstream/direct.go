package jetstream

import "bytes"

// serveInline serves what must not wait in the queues, and reports whether it
// did: direct get, and what consumers serve themselves.
func (a *Account) serveInline(p *Publisher, tail []byte, m *Msg) bool {
	if rest, ok := bytes.CutPrefix(tail, []byte("CONSUMER.")); ok {
		return a.serveConsumerInline(p, rest, m)
	}
	return false
}

// cutToken splits a subject behind its first token.
func cutToken(subject []byte) (first, rest []byte, found bool) {
	return bytes.Cut(subject, []byte{'.'})
}
