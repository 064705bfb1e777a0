package jetstream

import (
	"bytes"
	"strconv"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/natsproto"
)

// parseTTL reads the value of Nats-TTL: whole seconds, -1 for "never", 0 for an
// empty value.
func parseTTL(v []byte) (seconds int64, ok bool) {
	if len(v) == 0 {
		return 0, true
	}
	if bytes.EqualFold(v, []byte("never")) {
		return -1, true
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return min(n, maxTTL), n >= 1
	}
	d, err := time.ParseDuration(string(v))
	if err != nil || d < time.Second {
		return 0, false
	}
	return min(int64(d/time.Second), maxTTL), true
}

// maxTTL is the longest TTL in seconds, 136 years, which keeps stored time + TTL
// within an int64 of nanoseconds. A longer one counts as this.
const maxTTL = 1 << 32

// setTTL takes the TTL of a message over. Where subjects leave delete markers,
// a message lives at least as long as a marker.
func (st *Stream) setTTL(p *proposal, cfg *jsapi.StreamConfig, m *publish) error {
	ttl, ok := parseTTL(m.h.ttl)
	if !ok {
		return jsapi.ErrMessageTTLInvalid
	}
	if least := int64(cfg.SubjectDeleteMarkerTTL / time.Second); ttl > 0 && ttl < least && cfg.MaxMsgsPerSubject != 1 {
		ttl = least
		m.header = natsproto.SetHeader(m.header, hdrTTL, strconv.FormatInt(least, 10))
		m.h.parse(m.header)
	}
	m.ttl = ttl
	return nil
}
