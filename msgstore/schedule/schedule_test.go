package schedule

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func at(t testing.TB, s string) time.Time {
	t.Helper()
	if s == "" {
		return time.Time{}
	}
	v, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNext(t *testing.T) {
	for _, tc := range []struct{ pattern, zone, prev, now, want string }{
		{"@at 2030-01-02T03:04:05Z", "", "2026-01-01T00:00:00Z", "", "2030-01-02T03:04:05Z"},
		{"@at 2030-01-02T03:04:05+02:00", "", "2026-01-01T00:00:00Z", "", "2030-01-02T01:04:05Z"},
		{"@at 2020-01-02T03:04:05Z", "", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2020-01-02T03:04:05Z"},

		{"@every 5m", "", "2026-01-01T00:00:00.4Z", "", "2026-01-01T00:05:00Z"},
		{"@every 5m", "", "2026-01-01T00:00:00.5Z", "", "2026-01-01T00:05:01Z"},
		{"@every 1s", "", "2026-01-01T00:00:00Z", "", "2026-01-01T00:00:01Z"},
		{"@every 1m30s", "", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-01T00:01:30Z"},
		{"@every 1m30s", "", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z", "2026-01-01T00:03:00Z"},
		{"@every 1m30s", "", "2026-01-01T00:00:00Z", "2026-01-01T01:00:01Z", "2026-01-01T01:01:30Z"},

		{"*/2 * * * * *", "", "2026-11-21T23:21:16.3Z", "", "2026-11-21T23:21:18Z"},
		{"* * * * * *", "", "2026-01-01T00:00:59Z", "", "2026-01-01T00:01:00Z"},
		{"0 30 9 * * mon-fri", "", "2026-11-20T09:30:00Z", "", "2026-11-23T09:30:00Z"}, // Friday to Monday
		{"0 30 9 * * MON-Fri", "", "2026-11-20T09:29:59Z", "", "2026-11-20T09:30:00Z"},
		{"0 0 0 29 2 *", "", "2026-01-01T00:00:00Z", "", "2028-02-29T00:00:00Z"},
		{"0 0 0 31 * *", "", "2026-01-31T00:00:00Z", "", "2026-03-31T00:00:00Z"},
		{"0 0 12 1 jan,jul ?", "", "2026-01-01T12:00:00Z", "", "2026-07-01T12:00:00Z"},
		{"15/20 10-12/2 6 * * *", "", "2026-01-01T00:00:00Z", "", "2026-01-01T06:10:15Z"},
		{"15/20 10-12/2 6 * * *", "", "2026-01-01T06:10:55Z", "", "2026-01-01T06:12:15Z"},
		{"0 0 0 13 * fri", "", "2026-11-01T00:00:00Z", "", "2026-11-06T00:00:00Z"}, // either day field
		{"0 0 0 */2 * fri", "", "2026-11-02T00:00:00Z", "", "2026-11-03T00:00:00Z"},
		{"0 0 0 13 * *", "", "2026-11-01T00:00:00Z", "", "2026-11-13T00:00:00Z"},
		{"0 0 0 ? * 0", "", "2026-11-20T00:00:00Z", "", "2026-11-22T00:00:00Z"},
		{"0 0 * * * *", "", "2026-01-01T00:30:00Z", "2026-01-01T05:10:00Z", "2026-01-01T06:00:00Z"},

		{"@yearly", "", "2026-01-01T00:00:00Z", "", "2027-01-01T00:00:00Z"},
		{"@annually", "", "2026-01-01T00:00:00Z", "", "2027-01-01T00:00:00Z"},
		{"@monthly", "", "2026-01-01T00:00:00Z", "", "2026-02-01T00:00:00Z"},
		{"@weekly", "", "2026-11-20T00:00:00Z", "", "2026-11-22T00:00:00Z"},
		{"@daily", "", "2026-11-20T00:00:00Z", "", "2026-11-21T00:00:00Z"},
		{"@midnight", "", "2026-11-20T00:00:00Z", "", "2026-11-21T00:00:00Z"},
		{"@hourly", "", "2026-11-20T00:00:00Z", "", "2026-11-20T01:00:00Z"},

		{"0 0 12 * * *", "America/New_York", "2026-01-01T00:00:00Z", "", "2026-01-01T17:00:00Z"},
		{"0 0 12 * * *", "America/New_York", "2026-07-01T00:00:00Z", "", "2026-07-01T16:00:00Z"},
		// 2026-03-08 02:30 does not exist in New York.
		{"0 30 2 * * *", "America/New_York", "2026-03-08T00:00:00Z", "", "2026-03-09T06:30:00Z"},
		// 2026-11-01 01:30 exists twice there.
		{"0 30 1 * * *", "America/New_York", "2026-11-01T00:00:00Z", "", "2026-11-01T05:30:00Z"},
		{"0 30 1 * * *", "America/New_York", "2026-11-01T05:30:00Z", "", "2026-11-01T06:30:00Z"},
		// Midnight of 2018-11-04 does not exist in Sao Paulo.
		{"0 0 * 4 11 *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", "", "2018-11-04T03:00:00Z"},
		{"0 15 12 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z", "", "2026-01-01T06:30:00Z"},
	} {
		p, err := Parse(tc.pattern, tc.zone)
		if err != nil {
			t.Errorf("%s: %v", tc.pattern, err)
			continue
		}
		got, ok := p.Next(at(t, tc.prev), at(t, tc.now))
		if !ok || !got.Equal(at(t, tc.want)) {
			t.Errorf("%s %s after %s, now %s: %s, want %s", tc.pattern, tc.zone, tc.prev, tc.now, got.Format(time.RFC3339Nano), tc.want)
		}
		if p.Once() != strings.HasPrefix(tc.pattern, "@at") {
			t.Errorf("%s: Once is %v", tc.pattern, p.Once())
		}
	}
}

func TestRefused(t *testing.T) {
	for _, p := range []string{
		"", "@", "@at", "@at ", "@at tomorrow", "@at 2030-01-02 03:04:05", "@every", "@every 999ms", "@every 5", "@every -5s", "@never",
		"* * * * *", "* * * * * * *", "60 * * * * *", "* 60 * * * *", "* * 24 * * *", "* * * 0 * *", "* * * 32 * *", "* * * * 0 *",
		"* * * * 13 *", "* * * * * 7", "5-1 * * * * *", "*/0 * * * * *", "1,, * * * * *", "a * * * * *", "* * * * sun *", "0 0 0 30 2 *",
		"-1 * * * * *", "1/x * * * * *", strings.Repeat("1,", 3000) + "1 * * * * *",
	} {
		if _, err := Parse(p, ""); !errors.Is(err, ErrPattern) {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"@at 2030-01-02T03:04:05Z", "@every 5s"} {
		if _, err := Parse(p, "UTC"); !errors.Is(err, ErrPattern) {
			t.Errorf("%q with a zone: %v", p, err)
		}
	}
	for _, zone := range []string{"Mars/Olympus", "Local", "../etc/passwd"} {
		if _, err := Parse("* * * * * *", zone); !errors.Is(err, ErrTimeZone) {
			t.Errorf("zone %q: %v", zone, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0 30 9 * * mon-fri", "America/New_York")
	f.Add("@every 5m", "")
	f.Add("@at 2030-01-02T03:04:05Z", "")
	f.Add("15/20 10-12/2 6 1,3,? * 0", "")
	f.Fuzz(func(t *testing.T, pattern, zone string) {
		p, err := Parse(pattern, zone)
		if err != nil {
			return
		}
		prev := time.Date(2026, 11, 21, 23, 0, 0, 0, time.UTC)
		next, ok := p.Next(prev, time.Time{})
		if ok && !p.Once() && !next.After(prev) {
			t.Fatalf("%q: %v is not after %v", pattern, next, prev)
		}
	})
}

func BenchmarkNext(b *testing.B) {
	p, err := Parse("0 30 9 29 2 *", "America/New_York")
	if err != nil {
		b.Fatal(err)
	}
	prev := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for b.Loop() {
		p.Next(prev, time.Time{})
	}
}
