package nanos

import (
	"math"
	"testing"
	"time"
)

func TestOf(t *testing.T) {
	for text, want := range map[string]int64{
		"0000-01-01T00:00:00Z":           math.MinInt64,
		"1677-09-21T00:12:43.145224191Z": math.MinInt64,
		"1677-09-21T00:12:43.145224193Z": math.MinInt64 + 1,
		"1970-01-01T01:00:00.000000001Z": int64(time.Hour) + 1,
		"2262-04-11T23:47:16.854775806Z": math.MaxInt64 - 1,
		"2262-04-11T23:47:16.854775808Z": math.MaxInt64,
		"9999-12-31T23:59:59Z":           math.MaxInt64,
	} {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		if got := Of(at); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

func TestAfter(t *testing.T) {
	for _, tc := range []struct{ t, d, want int64 }{
		{1, 2, 3},
		{-5, 5, 0},
		{math.MinInt64, math.MaxInt64, -1},
		{math.MaxInt64 - 1, 1, math.MaxInt64},
		{math.MaxInt64, 1, math.MaxInt64},
		{1, math.MaxInt64, math.MaxInt64},
		{1, -2, -1},
		{math.MinInt64 + 1, -1, math.MinInt64},
		{math.MinInt64, -1, math.MinInt64},
	} {
		if got := After(tc.t, tc.d); got != tc.want {
			t.Errorf("%d after %d: %d, want %d", tc.d, tc.t, got, tc.want)
		}
	}
}
