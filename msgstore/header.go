package msgstore

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/natsd/natsd/msgstore/internal/record"
)

// The headers that a store obeys.
const (
	hdrTTL          = "Nats-TTL"
	hdrRollup       = "Nats-Rollup"
	hdrMarkerReason = "Nats-Marker-Reason"
	hdrKVOperation  = "KV-Operation"
	hdrSchedule     = "Nats-Schedule"
	hdrSource       = "Nats-Stream-Source"
)

// headerValue returns the value of the first header with the exact name, without
// leading and trailing blanks.
func headerValue(h []byte, name string) ([]byte, bool) {
	for at := 0; ; {
		i := bytes.Index(h[at:], []byte(name))
		if i < 0 {
			return nil, false
		}
		i += at
		end := i + len(name)
		if i < 2 || h[i-1] != '\n' || h[i-2] != '\r' || end >= len(h) || h[end] != ':' {
			at = end
			continue
		}
		v := h[end+1:]
		if n := bytes.Index(v, []byte("\r\n")); n >= 0 {
			v = v[:n]
		}
		return bytes.TrimSpace(v), true
	}
}

// Storable says why no store of a stream takes a message, whatever its limits are:
// ErrBadSubject, ErrBadHeader, ErrMsgTooLarge or nil. What clients call headers is
// taken as it comes, unless that, with the payload, looks like headers whose length
// was damaged.
func Storable(subject string, header, data []byte) error {
	switch {
	case len(subject) > maxSubject || !record.ValidSubject(subject):
		return ErrBadSubject
	case !record.Storable(subject, header, data):
		return ErrBadHeader
	case record.Size(len(subject), len(header), len(data)) > record.MaxSize:
		return ErrMsgTooLarge
	}
	return nil
}

// ttlNever is the TTL in seconds of a message that never expires.
const ttlNever = -1

// maxTTL is the largest TTL in seconds, 136 years; 300 would overflow the expiry
// time. A longer one counts as this.
const maxTTL = 1 << 32

// ParseTTL reads the value of a Nats-TTL header: whole seconds, a duration of a
// second at least, or "never", which is -1. Nothing is longer than 136 years. ok
// is false for everything else.
func ParseTTL(v []byte) (seconds int64, ok bool) {
	s := string(v)
	if strings.EqualFold(s, "never") {
		return ttlNever, true
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return min(n, maxTTL), n > 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return 0, false
	}
	return min(int64(d/time.Second), maxTTL), true
}

// isMarker says whether a message stands for the end of its subject, so that
// its own end leaves no marker.
func isMarker(h []byte) bool {
	if _, ok := headerValue(h, hdrMarkerReason); ok {
		return true
	}
	v, _ := headerValue(h, hdrKVOperation)
	return string(v) == "PURGE"
}
