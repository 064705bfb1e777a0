// Package schedule understands the patterns of message schedules: one fixed
// time, an interval, or a cron expression with seconds. All functions are pure;
// a clock is an argument.
package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	ErrPattern  = errors.New("invalid schedule pattern")
	ErrTimeZone = errors.New("invalid schedule time zone")
)

// MaxPattern bounds the text of a pattern: six fields that list every value
// they can have fit well into it.
const MaxPattern = 2048

// Pattern says when a schedule fires. It is a value and immutable.
type Pattern struct {
	at    time.Time     // @at
	every time.Duration // @every
	cron  *cron
}

// Once says that the schedule fires a single time.
func (p Pattern) Once() bool { return !p.at.IsZero() }

// Parse reads a pattern: "@at <RFC 3339>", "@every <duration of at least 1s>", a
// six-field cron expression or one of its names. zone is an IANA time zone for
// cron expressions, "" for UTC; with @at and @every it is an error. Errors wrap
// ErrPattern or ErrTimeZone.
func Parse(pattern, zone string) (Pattern, error) {
	loc := time.UTC
	if zone != "" {
		var err error
		if loc, err = time.LoadLocation(zone); err != nil || zone == "Local" {
			return Pattern{}, fmt.Errorf("%w: %q", ErrTimeZone, zone)
		}
	}
	if len(pattern) > MaxPattern {
		return Pattern{}, fmt.Errorf("%w: %d bytes", ErrPattern, len(pattern))
	}
	if text, ok := strings.CutPrefix(pattern, "@at "); ok {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || at.IsZero() || zone != "" {
			return Pattern{}, fmt.Errorf("%w: %q", ErrPattern, pattern)
		}
		return Pattern{at: at}, nil
	}
	if text, ok := strings.CutPrefix(pattern, "@every "); ok {
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Second || zone != "" {
			return Pattern{}, fmt.Errorf("%w: %q", ErrPattern, pattern)
		}
		return Pattern{every: d}, nil
	}
	c, err := parseCron(pattern, loc)
	if err != nil {
		return Pattern{}, fmt.Errorf("%w: %q: %w", ErrPattern, pattern, err)
	}
	return Pattern{cron: c}, nil
}

// Next returns when the schedule fires next.
//
// prev is the time of the schedule's message or of its last run, now the present
// or the zero time. A fixed time is itself, even in the past. An interval counts
// from prev rounded to the second, and a cron expression gives its first match
// after prev; if now is not zero, times at or before it are stepped over, so
// that runs missed in a downtime are not made up one by one. ok is false if
// nothing comes within five years.
func (p Pattern) Next(prev, now time.Time) (next time.Time, ok bool) {
	switch {
	case p.Once():
		return p.at, true
	case p.every > 0:
		next = prev.Round(time.Second).Add(p.every)
		if late := now.Sub(next); !now.IsZero() && late >= 0 {
			next = next.Add(late/p.every*p.every + p.every)
		}
		return next, true
	}
	if now.After(prev) {
		prev = now
	}
	return p.cron.next(prev)
}
