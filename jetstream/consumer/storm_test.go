package consumer

import (
	"testing"
	"time"
)

// stormed is a machine with n unacknowledged messages that expire together.
func stormed(n int) *sim {
	s := newSim()
	s.quiet = true
	s.cfg = parseConfig(`{"ack_policy":"explicit","ack_wait":1000000000,"max_ack_pending":-1}`)
	s.now = int64(time.Hour)
	for range n {
		s.last++
		s.msgs[s.last] = simMsg{"a", 10, s.now}
	}
	s.m = New(s.cfg, 1, s, s.options())
	s.recount()
	s.m.Pull(Request{Reply: "in", Batch: n}, s.now)
	s.turn()
	return s
}

// TestRedeliveryStorm: 100,000 messages that expire at once come again once each,
// in ascending order, in slices between which acks take effect.
func TestRedeliveryStorm(t *testing.T) {
	const n = 100_000
	s := stormed(n)
	s.now += int64(time.Second)
	slices, queued := 0, 0
	for d := s.m.NextDeadline(s.now); d != 0 && d <= s.now; d = s.m.NextDeadline(s.now) {
		s.m.Tick(s.now)
		slices++
		if k := s.m.Info(s.now).Queued; k-queued > expirySlice {
			t.Fatalf("%d at once", k-queued)
		} else {
			queued = k
		}
		if slices == 1 {
			s.m.Ack(Ack{Seq: 1, ConsumerSeq: 1}, s.now) // queued already
			s.m.Ack(Ack{Seq: n, ConsumerSeq: n}, s.now) // not yet
			queued--
		}
	}
	if want := (n + expirySlice - 1) / expirySlice; slices < want || queued != n-2 {
		t.Fatalf("%d slices, %d queued", slices, queued)
	}
	next := uint64(2)
	s.onSend = func(d *Delivery) {
		if d.Seq != next || d.Count != 2 {
			t.Fatalf("delivery %d of %d, want the second of %d", d.Count, d.Seq, next)
		}
		next++
	}
	s.m.Pull(Request{Reply: "in", Batch: n}, s.now)
	s.turn()
	if next != n {
		t.Fatalf("stopped before %d", next)
	}
}

// BenchmarkExpirySlice is the longest time for which a storm keeps other input
// waiting.
func BenchmarkExpirySlice(b *testing.B) {
	b.ReportAllocs()
	var worst time.Duration
	for range b.N {
		b.StopTimer()
		s := stormed(5 * expirySlice)
		s.now += int64(time.Second)
		b.StartTimer()
		for range 5 {
			began := time.Now()
			s.m.Tick(s.now)
			worst = max(worst, time.Since(began))
		}
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
}
