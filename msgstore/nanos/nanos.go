// Package nanos is times in nanoseconds since the epoch, as records hold them. They
// tell the years 1677 to 2262. What lies outside becomes the nearest that they can
// tell: a request, or an origin, may name any time, and an age limit may be 292 years.
package nanos

import (
	"math"
	"time"
)

// Of is t.
func Of(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// After is the time d, in nanoseconds, after t.
func After[D ~int64](t int64, d D) int64 {
	at := t + int64(d)
	switch {
	case d > 0 && at < t:
		return math.MaxInt64
	case d < 0 && at > t:
		return math.MinInt64
	}
	return at
}
