package jetstream

import (
	"strconv"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/natsproto"
)

// parseTTL reads the value of Nats-TTL: whole seconds, -1 for "never", 0 for an
// empty value.
func parseTTL(v []byte) (seconds int64, ok bool) {
	if len(v) == 0 {
		return 0, true
	}
	return msgstore.ParseTTL(v)
}

// setTTL takes the TTL of a message over. Where subjects leave delete markers,
// a message lives at least as long as a marker.
func setTTL(cfg *jsapi.StreamConfig, m *publish) error {
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
