package consumerstate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/highway"
)

// verified is the run of store-semantics.md 14.
func verified(t *testing.T) *Tracker {
	tr := NewTracker(Config{Policy: AckExplicit, MaxDeliver: 3})
	for i := uint64(1); i <= 5; i++ {
		deliver(t, tr, i, 2*i, 1, int64(i))
	}
	deliver(t, tr, 6, 4, 2, 6)
	deliver(t, tr, 7, 4, 4, 7)
	return tr
}

func deliver(t *testing.T, tr *Tracker, dseq, sseq, dc uint64, ts int64) {
	t.Helper()
	if err := tr.Deliver(dseq, sseq, dc, ts); err != nil {
		t.Fatal(err)
	}
}

func TestVerifiedRun(t *testing.T) {
	tr := verified(t)
	s := tr.State()
	if got := slices.Sorted(maps.Keys(s.Pending)); !slices.Equal(got, []uint64{2, 6, 8, 10}) {
		t.Errorf("pending %v", got)
	}
	if !maps.Equal(s.Redelivered, map[uint64]uint64{4: 3}) || s.Delivered != (Pair{7, 10}) || s.AckFloor != (Pair{}) {
		t.Errorf("%+v", s)
	}
	for _, step := range []struct {
		dseq, sseq uint64
		want       Pair
	}{{1, 2, Pair{2, 5}}, {3, 6, Pair{3, 7}}, {4, 8, Pair{4, 9}}, {5, 10, Pair{7, 10}}} {
		if err := tr.Ack(step.dseq, step.sseq); err != nil || tr.AckFloor() != step.want {
			t.Errorf("ack(%d,%d): floor %v, want %v, %v", step.dseq, step.sseq, tr.AckFloor(), step.want, err)
		}
	}
	if s := tr.State(); len(s.Pending) != 0 || !maps.Equal(s.Redelivered, map[uint64]uint64{4: 3}) {
		t.Errorf("%+v", s)
	}
}

func TestAckAll(t *testing.T) {
	tr := NewTracker(Config{Policy: AckAll})
	for i := uint64(1); i <= 5; i++ {
		deliver(t, tr, i, 2*i, 1, 0)
	}
	deliver(t, tr, 6, 4, 2, 0)
	if err := tr.Ack(3, 6); err != nil {
		t.Fatal(err)
	}
	s := tr.State()
	if s.Delivered != (Pair{6, 10}) || s.AckFloor != (Pair{3, 6}) || len(s.Pending) != 2 || len(s.Redelivered) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRedelivery(t *testing.T) {
	tr := NewTracker(Config{})
	deliver(t, tr, 1, 10, 1, 100)
	deliver(t, tr, 2, 10, 2, 200)
	if s := tr.State(); s.Pending[10] != (Pending{1, 200}) || s.Redelivered[10] != 1 || s.Delivered != (Pair{2, 10}) {
		t.Errorf("%+v", s)
	}
	if err := tr.Ack(2, 10); err != nil || tr.AckFloor() != (Pair{2, 10}) || len(tr.State().Redelivered) != 0 {
		t.Errorf("%v %v", tr.AckFloor(), err)
	}
	deliver(t, tr, 2, 10, 3, 300) // not above the floor: ignored
	if tr.NumPending() != 0 {
		t.Error("an old delivery became pending")
	}
	if err := tr.Ack(1, 10); err != nil {
		t.Errorf("ack below the floor: %v", err)
	}
	if err := tr.Ack(9, 10); !errors.Is(err, ErrNotPending) {
		t.Errorf("ack of nothing: %v", err)
	}
}

func TestAckNone(t *testing.T) {
	tr := NewTracker(Config{Policy: AckNone})
	deliver(t, tr, 3, 9, 1, 0)
	deliver(t, tr, 2, 8, 1, 0)
	if s := tr.State(); s.Delivered != (Pair{3, 9}) || s.AckFloor != (Pair{3, 9}) || s.Pending != nil {
		t.Errorf("%+v", s)
	}
	if err := tr.Deliver(4, 10, 2, 0); !errors.Is(err, ErrAckNone) {
		t.Error(err)
	}
	if err := tr.Ack(3, 9); !errors.Is(err, ErrAckNone) {
		t.Error(err)
	}
	tr.UpdateStarting(20)
	tr.UpdateStarting(5)
	if s := tr.State(); s.Delivered != (Pair{3, 20}) || s.AckFloor != (Pair{3, 20}) {
		t.Errorf("%+v", s)
	}
}

func TestStartingAndReset(t *testing.T) {
	tr := NewTracker(Config{})
	if tr.HasState() {
		t.Error("new, with state")
	}
	tr.SetStarting(99)
	if s := tr.State(); s.Delivered != (Pair{0, 99}) || s.AckFloor != (Pair{0, 99}) || !tr.HasState() {
		t.Errorf("%+v", s)
	}
	tr.UpdateStarting(150)
	if s := tr.State(); s.Delivered != (Pair{0, 150}) || s.AckFloor != (Pair{0, 99}) {
		t.Errorf("%+v", s)
	}
	deliver(t, tr, 1, 151, 2, 0)
	deliver(t, tr, 2, 153, 2, 0)
	tr.RemoveRedeliveredBelow(153)
	if s := tr.State(); !maps.Equal(s.Redelivered, map[uint64]uint64{153: 1}) {
		t.Errorf("%+v", s)
	}
	tr.Reset(7)
	if s := tr.State(); !reflect.DeepEqual(s, State{Delivered: Pair{0, 7}, AckFloor: Pair{0, 7}}) {
		t.Errorf("%+v", s)
	}
}

func TestUpdate(t *testing.T) {
	tr := verified(t)
	for text, s := range map[string]State{
		"bad ack floor for consumer":                       {Delivered: Pair{8, 10}, AckFloor: Pair{9, 5}},
		"bad ack floor for stream":                         {Delivered: Pair{8, 10}, AckFloor: Pair{5, 11}},
		"bad pending entry, sequence [5] out of range":     {Delivered: Pair{8, 10}, AckFloor: Pair{5, 5}, Pending: map[uint64]Pending{5: {}}},
		"bad pending entry, sequence [11] out of range":    {Delivered: Pair{8, 10}, AckFloor: Pair{5, 5}, Pending: map[uint64]Pending{11: {}}},
		"old update ignored":                               {Delivered: Pair{6, 10}},
		"bad ack floor for stream: checked before the age": {},
	} {
		if text[len(text)-3:] == "age" {
			s, text = State{Delivered: Pair{1, 1}, AckFloor: Pair{0, 2}}, "bad ack floor for stream"
		}
		if err := tr.Update(&s); err == nil || err.Error() != text {
			t.Errorf("%v, want %s", err, text)
		}
	}
	next := State{Delivered: Pair{9, 12}, AckFloor: Pair{5, 6}, Pending: map[uint64]Pending{8: {6, 1}}, Redelivered: map[uint64]uint64{8: 2}}
	if err := tr.Update(&next); err != nil || !reflect.DeepEqual(tr.State(), next) {
		t.Errorf("%+v, %v", tr.State(), err)
	}
	older := State{Delivered: Pair{1, 1}}
	if err := tr.ForceUpdate(&older); err != nil || !reflect.DeepEqual(tr.State(), older) {
		t.Errorf("%+v, %v", tr.State(), err)
	}
}

// Whatever happens, the state stays one that Check accepts, the floor never goes
// back, and it survives encoding.
func TestRandomOperations(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 5))
		tr := NewTracker(Config{Policy: []Policy{AckExplicit, AckAll}[seed%2], MaxDeliver: int(seed % 4)})
		dseq, sseq := uint64(0), uint64(0)
		for range 500 {
			floor := tr.AckFloor()
			switch rng.IntN(4) {
			case 0, 1:
				dseq++
				sseq += 1 + rng.Uint64N(3)
				deliver(t, tr, dseq, sseq, 1, int64(dseq))
			case 2:
				if sseq > 0 {
					dseq++
					deliver(t, tr, dseq, 1+rng.Uint64N(sseq), 2+rng.Uint64N(3), int64(dseq))
				}
			case 3:
				s := tr.State()
				if p := slices.Sorted(maps.Keys(s.Pending)); len(p) > 0 {
					seq := p[rng.IntN(len(p))]
					_ = tr.Ack(s.Pending[seq].Sequence+rng.Uint64N(3), seq)
				}
			}
			s := tr.State()
			if err := s.Check(); err != nil {
				t.Fatalf("seed %d: %v: %+v", seed, err, s)
			}
			if tr.AckFloor().Stream < floor.Stream || tr.AckFloor().Consumer < floor.Consumer {
				t.Fatalf("seed %d: the floor went from %v to %v", seed, floor, tr.AckFloor())
			}
		}
		s := tr.State()
		back, err := Decode(s.Append(nil, 0))
		if err != nil || back.Delivered != s.Delivered || len(back.Pending) != len(s.Pending) {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func someRun(rng *rand.Rand, op uint64, tr *Tracker) Run {
	r := Run{Epoch: 1, Op: op}
	d := tr.Delivered()
	n := 1 + rng.Uint64N(5)
	r.Steps = append(r.Steps, Step{Kind: StepDelivered, DSeq: d.Consumer + 1, SSeq: d.Stream + 1, Num: n, DC: 1, Time: int64(op) * 1e9})
	s := tr.State()
	for seq, p := range s.Pending {
		switch rng.IntN(4) {
		case 0:
			r.Steps = append(r.Steps, Step{Kind: StepAcked, DSeq: p.Sequence, SSeq: seq, Num: 1})
		case 1:
			n++
			r.Steps = append(r.Steps, Step{Kind: StepDelivered, DSeq: d.Consumer + n, SSeq: seq, Num: 1, DC: 2, Time: int64(op) * 1e9})
		}
	}
	if rng.IntN(5) == 0 {
		r.Steps = append(r.Steps, Step{Kind: StepScanned, SSeq: d.Stream + n + 50})
	}
	return r
}

// A checkpoint that is older than its operation number says, or whose number is
// lost, comes to the same state when the runs behind it are applied.
func TestRunsAreIdempotent(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 9))
		live := NewTracker(Config{})
		var log [][]byte
		var states []State
		for op := range uint64(60) {
			states = append(states, live.State())
			r := someRun(rng, op+1, live)
			b := r.AppendTo(nil)
			log = append(log, b)
			back, err := DecodeRun(b)
			if err != nil || !reflect.DeepEqual(back, r) {
				t.Fatalf("seed %d: %+v, want %+v: %v", seed, back, r, err)
			}
			if !live.Apply(&r) || live.Apply(&r) {
				t.Fatal("a run is applied once")
			}
		}
		want := live.State()
		for from := range len(log) {
			for back := range min(from, 3) + 1 {
				tr := NewTracker(Config{})
				if err := tr.ForceUpdate(&states[from]); err != nil {
					t.Fatal(err)
				}
				tr.Resume(1, uint64(from-back))
				for _, b := range log {
					r, err := DecodeRun(b)
					if err != nil {
						t.Fatal(err)
					}
					tr.Apply(&r)
				}
				if got := tr.State(); !reflect.DeepEqual(got, want) {
					t.Fatalf("seed %d: from checkpoint %d, runs from %d on:\n%+v\nwant\n%+v", seed, from, from-back, got, want)
				}
				if e, op := tr.Position(); e != 1 || op != 60 {
					t.Fatalf("position %d/%d", e, op)
				}
			}
		}
	}
}

func TestEpochs(t *testing.T) {
	tr := NewTracker(Config{})
	step := func(n uint64) []Step { return []Step{{Kind: StepDelivered, DSeq: n, SSeq: n, Num: 1, DC: 1}} }
	for _, tc := range []struct {
		epoch, op, seq uint64
		want           bool
	}{{1, 1, 1, true}, {1, 3, 2, true}, {1, 2, 9, false}, {3, 1, 3, true}, {2, 9, 9, false}, {3, 1, 9, false}, {3, 2, 4, true}} {
		r := Run{Epoch: tc.epoch, Op: tc.op, Steps: step(tc.seq)}
		if got := tr.Apply(&r); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
	if tr.Delivered() != (Pair{4, 4}) {
		t.Errorf("%v", tr.Delivered())
	}
}

func TestRunSteps(t *testing.T) {
	tr := NewTracker(Config{})
	r := Run{1, 1, []Step{{Kind: StepStarting, SSeq: 10}, {Kind: StepDelivered, DSeq: 1, SSeq: 11, Num: 3, DC: 1}, {Kind: StepDelivered, DSeq: 4, SSeq: 11, Num: 1, DC: 2}, {Kind: StepScanned, SSeq: 40}}}
	tr.Apply(&r)
	if tr.Scanned() != 40 || tr.NumPending() != 3 || tr.State().Redelivered[11] != 1 {
		t.Errorf("%+v", tr.State())
	}
	r = Run{1, 2, []Step{{Kind: StepForget, SSeq: 12}, {Kind: StepUpdateStarting, SSeq: 20}}}
	tr.Apply(&r)
	if s := tr.State(); len(s.Redelivered) != 0 || s.Delivered.Stream != 20 {
		t.Errorf("%+v", s)
	}
	r = Run{1, 3, []Step{{Kind: StepReset, SSeq: 5}}}
	tr.Apply(&r)
	if s := tr.State(); !reflect.DeepEqual(s, State{Delivered: Pair{0, 5}, AckFloor: Pair{0, 5}}) || tr.Scanned() != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRunRefused(t *testing.T) {
	good := (&Run{1, 1, []Step{{Kind: StepDelivered, DSeq: 1, SSeq: 1, Num: 3, DC: 1, Time: 5}}}).AppendTo(nil)
	for i := range good {
		if _, err := DecodeRun(good[:i]); !errors.Is(err, ErrRun) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if _, err := DecodeRun(append([]byte{runMagic, 2}, good[2:]...)); !errors.Is(err, ErrRunVersion) {
		t.Error(err)
	}
	for name, r := range map[string]Run{
		"too many":    {1, 1, []Step{{Kind: StepAcked, DSeq: 1, SSeq: 1, Num: MaxRunMessages}, {Kind: StepAcked, DSeq: 1, SSeq: 1, Num: 1}}},
		"none":        {1, 1, []Step{{Kind: StepAcked, DSeq: 1, SSeq: 1}}},
		"overflow":    {1, 1, []Step{{Kind: StepAcked, DSeq: 1, SSeq: 1<<64 - 1, Num: 2}}},
		"unknown":     {1, 1, []Step{{Kind: 99}}},
		"kind zero":   {1, 1, []Step{{}}},
		"bytes after": {},
	} {
		b := r.AppendTo(nil)
		if name == "bytes after" {
			b = append(b, 0)
		}
		if _, err := DecodeRun(b); !errors.Is(err, ErrRun) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckpoint(t *testing.T) {
	c := Checkpoint{Created: 5, Filters: FiltersHash([]string{"a", "b"}), Delivered: 10, Scanned: 90, Epoch: 2, Op: 7, StateSum: StateSum([]byte("x"))}
	b := c.Append([]byte("pre"), "S/C")[3:]
	got, err := DecodeCheckpoint(b, "S/C")
	if err != nil || got != c {
		t.Fatalf("%+v, %v", got, err)
	}
	if FiltersHash([]string{"b", "a"}) != c.Filters || FiltersHash([]string{"ab"}) == c.Filters || FiltersHash(nil) == c.Filters {
		t.Error("filters hash")
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := DecodeCheckpoint(bad, "S/C"); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	if _, err := DecodeCheckpoint(b, "S/D"); !errors.Is(err, ErrCheckpoint) {
		t.Error("another consumer's file")
	}
	for _, tc := range []struct {
		name                           string
		created                        int64
		filters, delivered, last, want uint64
	}{
		{"applies", 5, c.Filters, 10, 100, 90},
		{"delivered since", 5, c.Filters, 95, 100, 95},
		{"another consumer of the name", 6, c.Filters, 10, 100, 10},
		{"other filters", 5, 1, 10, 100, 10},
		{"state went back", 5, c.Filters, 9, 100, 9},
		{"stream went back", 5, c.Filters, 10, 89, 10},
	} {
		if got := c.ScannedFor(tc.created, tc.filters, tc.delivered, tc.last); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

func FuzzDecodeRun(f *testing.F) {
	f.Add((&Run{1, 1, []Step{{Kind: StepDelivered, DSeq: 1, SSeq: 1, Num: 3, DC: 1, Time: 5}, {Kind: StepAcked, DSeq: 1, SSeq: 1, Num: 2}, {Kind: StepScanned, SSeq: 9}}}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRun(b)
		if err != nil {
			return
		}
		again, err := DecodeRun(r.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v, want %+v: %v", again, r, err)
		}
		total := uint64(0)
		for _, s := range r.Steps {
			total += s.Num
		}
		if total > 10_000 {
			return // allowed, but too slow for a fuzzer
		}
		tr := NewTracker(Config{})
		tr.Apply(&r)
		tr.Apply(&r)
	})
}

func FuzzDecodeCheckpoint(f *testing.F) {
	f.Add((&Checkpoint{Created: 5}).Append(nil, "S/C"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(b) - highway.Size; n >= 0 && b[0]&0x80 == 0 {
			// No fuzzer finds a checksum.
			b = binary.LittleEndian.AppendUint64(b[:n:n], highway.Sum64("S/C", b[:n]))
		}
		c, err := DecodeCheckpoint(b, "S/C")
		if err == nil && !bytes.Equal(c.Append(nil, "S/C"), b) {
			t.Fatalf("%+v", c)
		}
	})
}

func BenchmarkDeliverAck(b *testing.B) {
	tr := NewTracker(Config{})
	const window = 1000
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		_ = tr.Deliver(n, n, 1, int64(n))
		if n > window {
			_ = tr.Ack(n-window, n-window)
		}
	}
}
