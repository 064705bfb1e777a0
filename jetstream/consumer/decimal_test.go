package consumer

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// TestDecimal walks up and down over every place where the number of digits
// changes, and jumps.
func TestDecimal(t *testing.T) {
	var d decimal
	check := func(n uint64) {
		t.Helper()
		if got, want := string(d.append([]byte("x"), n)), "x"+strconv.FormatUint(n, 10); got != want {
			t.Fatalf("got %s, wanted %s", got, want)
		}
	}
	for _, at := range []uint64{0, 9, 10, 99, 100, 999, 1000, 99_999, 1<<32 - 1, 9_999_999_999_999_999_999, math.MaxUint64} {
		for step := uint64(0); step < 25; step++ {
			check(at + step)
		}
		for step := uint64(25); step > 0; step-- {
			check(at + step)
			check(at + step)
		}
		for step := uint64(0); step < 25; step++ {
			check(at - step)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	n := r.Uint64()
	for range 100_000 {
		switch r.IntN(4) {
		case 0:
			n = r.Uint64() >> r.IntN(64)
		case 1:
			n--
		default:
			n++
		}
		check(n)
	}
}

func TestMoment(t *testing.T) {
	var m moment
	for _, n := range []int64{
		0, 1, -1, -5_000_000_000, math.MinInt64, 999_999_999, 1_000_000_000, 999_999_999_999_999_999, 1_000_000_000_000_000_000,
		1_000_000_000_000_000_001, 1_790_000_000_000_000_000, 1_790_000_000_123_456_789, 1_790_000_000_999_999_999,
		1_790_000_001_000_000_009, math.MaxInt64,
	} {
		for range 2 {
			if got, want := string(m.append([]byte("x"), n)), "x"+strconv.FormatInt(n, 10); got != want {
				t.Fatalf("got %s, wanted %s", got, want)
			}
		}
	}
}

func BenchmarkAckSubject(b *testing.B) {
	b.ReportAllocs()
	var text replyText
	dst := make([]byte, 0, 128)
	for i := 0; b.Loop(); i++ {
		n := uint64(i)
		dst = text.append(dst[:0], "$JS.ACK.ORDERS.worker.", 1, 5_000_000+n, 1_000_000+n, 1_790_000_000_123_456_789+int64(i)*700, 9_000_000-n%9_000_000)
	}
}
