package schedule

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// cron is a cron expression: for each field the set of values that match, as a
// bit mask.
type cron struct {
	second, minute, hour, dom, month, dow uint64
	anyDom, anyDow                        bool // the day field does not restrict
	loc                                   *time.Location
}

var names = map[string]string{
	"@yearly":   "0 0 0 1 1 *",
	"@annually": "0 0 0 1 1 *",
	"@monthly":  "0 0 0 1 * *",
	"@weekly":   "0 0 0 * * 0",
	"@daily":    "0 0 0 * * *",
	"@midnight": "0 0 0 * * *",
	"@hourly":   "0 0 * * * *",
}

var (
	monthNames = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	dayNames   = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
)

var (
	errFields = errors.New("six fields are needed")
	errField  = errors.New("bad field")
	errNever  = errors.New("no match within five years")
)

// probe is where the search for a first match begins when a pattern is parsed.
// Any start does: the window of five years has a leap day wherever it begins
// in this century.
var probe = time.Date(2024, time.March, 1, 0, 0, 0, 0, time.UTC)

func parseCron(pattern string, loc *time.Location) (*cron, error) {
	if p, ok := names[pattern]; ok {
		pattern = p
	}
	f := strings.Fields(pattern)
	if len(f) != 6 {
		return nil, errFields
	}
	c := &cron{loc: loc}
	for i, field := range []struct {
		mask     *uint64
		any      *bool
		min, max uint
		names    []string
	}{
		{&c.second, nil, 0, 59, nil},
		{&c.minute, nil, 0, 59, nil},
		{&c.hour, nil, 0, 23, nil},
		{&c.dom, &c.anyDom, 1, 31, nil},
		{&c.month, nil, 1, 12, monthNames},
		{&c.dow, &c.anyDow, 0, 6, dayNames},
	} {
		for part := range strings.SplitSeq(f[i], ",") {
			mask, all, err := parsePart(part, field.min, field.max, field.names)
			if err != nil {
				return nil, err
			}
			*field.mask |= mask
			if field.any != nil && all {
				*field.any = true
			}
		}
	}
	if _, ok := c.next(probe); !ok {
		return nil, errNever
	}
	return c, nil
}

// parsePart reads one element of a field's list. all says that it is "*" or "?"
// without a step.
func parsePart(part string, lo, hi uint, names []string) (mask uint64, all bool, err error) {
	span, stepText, stepped := strings.Cut(part, "/")
	step := uint64(1)
	if stepped {
		if step, err = strconv.ParseUint(stepText, 10, 32); err != nil || step == 0 {
			return 0, false, errField
		}
	}
	first, last := lo, hi
	if span == "*" || span == "?" {
		all = step == 1
	} else {
		a, b, ranged := strings.Cut(span, "-")
		if first, err = parseValue(a, lo, hi, names); err != nil {
			return 0, false, err
		}
		switch {
		case ranged:
			if last, err = parseValue(b, lo, hi, names); err != nil {
				return 0, false, err
			}
		case !stepped:
			last = first
		}
		if first > last {
			return 0, false, errField
		}
	}
	for v := uint64(first); v <= uint64(last); v += step {
		mask |= 1 << v
	}
	return mask, all, nil
}

func parseValue(s string, lo, hi uint, names []string) (uint, error) {
	for i, n := range names {
		if strings.EqualFold(s, n) {
			return lo + uint(i), nil
		}
	}
	v, err := strconv.ParseUint(s, 10, 8)
	if err != nil || uint(v) < lo || uint(v) > hi {
		return 0, errField
	}
	return uint(v), nil
}

func (c *cron) day(t time.Time) bool {
	dom := c.dom&(1<<t.Day()) != 0
	dow := c.dow&(1<<t.Weekday()) != 0
	if c.anyDom || c.anyDow {
		return dom && dow
	}
	return dom || dow
}

// next returns the first match after t, in UTC. It narrows from the month down:
// at each level that does not match it moves to the next unit and starts the
// smaller ones at their beginning. Times that a clock change skips do not exist
// and do not match; of times that it repeats, both match.
func (c *cron) next(t time.Time) (time.Time, bool) {
	t = t.In(c.loc).Truncate(time.Second).Add(time.Second)
	limit := t.AddDate(5, 0, 0)
	for !t.After(limit) {
		y, m, d := t.Date()
		var up time.Time
		switch {
		case c.month&(1<<m) == 0:
			up = time.Date(y, m+1, 1, 0, 0, 0, 0, c.loc)
		case !c.day(t):
			up = time.Date(y, m, d+1, 0, 0, 0, 0, c.loc)
		case c.hour&(1<<t.Hour()) == 0:
			up = t.Add(time.Hour - time.Duration(t.Minute())*time.Minute - time.Duration(t.Second())*time.Second)
		case c.minute&(1<<t.Minute()) == 0:
			up = t.Add(time.Minute - time.Duration(t.Second())*time.Second)
		case c.second&(1<<t.Second()) == 0:
			up = t.Add(time.Second)
		default:
			return t.UTC(), true
		}
		if !up.After(t) { // midnight does not exist on this day in this zone
			up = t.Add(time.Hour)
		}
		t = up
	}
	return time.Time{}, false
}
