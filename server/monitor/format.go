package monitor

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"time"
)

// uptime is a duration in whole seconds as 1y2d3h4m5s, without leading zero units.
func uptime(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	units := []struct {
		name string
		size int64
	}{{"y", 365 * 86400}, {"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}}
	var out []byte
	for _, u := range units {
		n := s / u.size
		s %= u.size
		if n > 0 || len(out) > 0 || u.size == 1 {
			out = strconv.AppendInt(out, n, 10)
			out = append(out, u.name...)
		}
	}
	return string(out)
}

// roundTrip is a round trip time; below a millisecond without fractions of microseconds.
func roundTrip(d time.Duration) string {
	if d > time.Microsecond && d < time.Millisecond {
		d = d.Truncate(time.Microsecond)
	}
	return d.String()
}

func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS10:
		return "1.0"
	case tls.VersionTLS11:
		return "1.1"
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS13:
		return "1.3"
	}
	return fmt.Sprintf("Unknown [0x%x]", v)
}
