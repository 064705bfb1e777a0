package seqset

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// model is the obvious set.
type model map[uint64]bool

func (m model) sorted() []uint64 { return slices.Sorted(maps.Keys(m)) }

func compare(t *testing.T, s *Set, m model, span uint64) {
	t.Helper()
	want := m.sorted()
	if got := slices.Collect(s.All()); !slices.Equal(got, want) {
		t.Fatalf("sequences %v, want %v", got, want)
	}
	if s.Len() != len(want) {
		t.Fatalf("Len %d, want %d", s.Len(), len(want))
	}
	var runs []Run
	for _, seq := range want {
		if l := len(runs); l > 0 && runs[l-1].Last+1 == seq {
			runs[l-1].Last = seq
		} else {
			runs = append(runs, Run{seq, seq})
		}
	}
	if got := slices.Collect(s.Runs()); !slices.Equal(got, runs) {
		t.Fatalf("runs %v, want %v", got, runs)
	}
	if len(want) > 0 {
		if lo, ok := s.Min(); !ok || lo != want[0] {
			t.Fatalf("Min %d, want %d", lo, want[0])
		}
		if hi, ok := s.Max(); !ok || hi != want[len(want)-1] {
			t.Fatalf("Max %d, want %d", hi, want[len(want)-1])
		}
	}
	for probe := uint64(0); probe < span; probe += 97 {
		i, _ := slices.BinarySearch(want, probe)
		next, ok := s.Next(probe)
		if ok != (i < len(want)) || ok && next != want[i] {
			t.Fatalf("Next(%d) = %d, %v", probe, next, ok)
		}
		up := probe
		for m[up] {
			up++
		}
		if got := s.NextAbsent(probe); got != up {
			t.Fatalf("NextAbsent(%d) = %d, want %d", probe, got, up)
		}
		down, found := probe, true
		for m[down] {
			if down == 0 {
				found = false
				break
			}
			down--
		}
		if got, ok := s.PrevAbsent(probe); ok != found || ok && got != down {
			t.Fatalf("PrevAbsent(%d) = %d, %v, want %d, %v", probe, got, ok, down, found)
		}
		j, _ := slices.BinarySearch(want, probe+3000)
		if got := s.CountRange(probe, probe+2999); got != j-i {
			t.Fatalf("CountRange(%d, +2999) = %d, want %d", probe, got, j-i)
		}
	}
	enc := s.AppendTo([]byte("x"))[1:]
	if len(enc) != s.EncodedLen() {
		t.Fatalf("encoded into %d bytes, EncodedLen %d", len(enc), s.EncodedLen())
	}
	back, n, err := Decode(append(enc, "rest"...))
	if err != nil || n != len(enc) || !back.Equal(s) || !s.Equal(back) {
		t.Fatalf("decoded %d of %d bytes, %v", n, len(enc), err)
	}
}

func TestAgainstModel(t *testing.T) {
	const span = 20_000
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var s Set
		m := model{}
		for step := range 400 {
			seq := rng.Uint64N(span)
			last := seq + rng.Uint64N(5000)
			switch rng.IntN(8) {
			case 0:
				s.InsertRange(seq, last)
				for i := seq; i <= last; i++ {
					m[i] = true
				}
			case 1:
				s.DeleteRange(seq, last)
				for i := seq; i <= last; i++ {
					delete(m, i)
				}
			case 2, 3:
				if got := s.Delete(seq); got != m[seq] {
					t.Fatalf("seed %d step %d: Delete(%d) = %v", seed, step, seq, got)
				}
				delete(m, seq)
			default:
				if got := s.Insert(seq); got == m[seq] {
					t.Fatalf("seed %d step %d: Insert(%d) = %v", seed, step, seq, got)
				}
				m[seq] = true
			}
			if got := s.Contains(last); got != m[last] {
				t.Fatalf("seed %d step %d: Contains(%d) = %v", seed, step, last, got)
			}
			if step%40 == 0 {
				compare(t, &s, m, span+5000)
			}
		}
		c := s.Clone()
		c.Insert(1 << 40)
		if s.Contains(1<<40) || s.Equal(c) {
			t.Fatal("a clone shares its nodes")
		}
		s.Merge(c)
		if !s.Equal(c) {
			t.Fatal("merged sets differ")
		}
		s.DeleteRange(0, math.MaxUint64)
		compare(t, &s, model{}, 100)
	}
}

func TestEdges(t *testing.T) {
	var s Set
	s.InsertRange(math.MaxUint64-3000, math.MaxUint64)
	if got := slices.Collect(s.Runs()); !slices.Equal(got, []Run{{math.MaxUint64 - 3000, math.MaxUint64}}) || s.Len() != 3001 {
		t.Fatalf("%v, %d", got, s.Len())
	}
	if got := s.NextAbsent(math.MaxUint64 - 1); got != 0 {
		t.Errorf("NextAbsent at the end: %d", got)
	}
	if got, ok := s.PrevAbsent(math.MaxUint64); !ok || got != math.MaxUint64-3001 {
		t.Errorf("PrevAbsent at the end: %d, %v", got, ok)
	}
	s.InsertRange(5, 4)
	if s.Len() != 3001 {
		t.Error("an inverted range added sequences")
	}
}

// The format document, section 13: the set {5, 10}.
func TestGolden(t *testing.T) {
	var s Set
	s.Insert(5)
	s.Insert(10)
	want := "1602" + "01000000" + "02000000" + "0000000000000000" + "2004000000000000" + strings.Repeat("0000000000000000", 31) + "0100"
	if got := hex.EncodeToString(s.AppendTo(nil)); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := hex.EncodeToString(new(Set).AppendTo(nil)); got != "16020000000000000000" {
		t.Errorf("empty: %s", got)
	}
}

// Seven nodes: pre-order of the balanced tree, with true heights.
func TestTreeShape(t *testing.T) {
	var s Set
	for i := range uint64(7) {
		s.Insert(i * nodeBits)
	}
	enc := s.AppendTo(nil)
	type shape struct{ index, height uint64 }
	var got []shape
	for at := headerSize; at < len(enc); at += nodeSize2 {
		got = append(got, shape{binary.LittleEndian.Uint64(enc[at:]) / nodeBits, uint64(binary.LittleEndian.Uint16(enc[at+nodeSize2-2:]))})
	}
	if want := []shape{{3, 3}, {1, 2}, {0, 1}, {2, 1}, {5, 2}, {4, 1}, {6, 1}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func encodeV1(seqs ...uint64) []byte {
	b := []byte{magic, version1, 1, 0, 0, 0}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(seqs)))
	b = binary.LittleEndian.AppendUint64(b, seqs[0]&^4095)
	words := make([]uint64, 64)
	for _, s := range seqs {
		words[s%4096/64] |= 1 << (s % 64)
	}
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return append(b, 1, 0)
}

func TestVersion1(t *testing.T) {
	b := encodeV1(4096, 4099, 6144, 8191)
	s, n, err := Decode(b)
	if err != nil || n != 10+522 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if got := slices.Collect(s.All()); !slices.Equal(got, []uint64{4096, 4099, 6144, 8191}) {
		t.Errorf("%v", got)
	}
}

func TestDecodeErrors(t *testing.T) {
	var s Set
	s.InsertRange(1, 5000)
	good := s.AppendTo(nil)
	edit := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	twice := append(bytes.Clone(good[:10+266]), good[10:10+266]...)
	twice[2] = 2
	for name, tc := range map[string]struct {
		b    []byte
		want error
	}{
		"empty":      {nil, ErrEncoding},
		"short":      {good[:9], ErrEncoding},
		"cut":        {good[:len(good)-1], ErrEncoding},
		"magic":      {edit(0, 21), ErrEncoding},
		"version 0":  {edit(1, 0), ErrVersion},
		"version 3":  {edit(1, 3), ErrVersion},
		"node count": {edit(5, 0xff), ErrEncoding},
		"total":      {edit(6, 1), ErrEncoding},
		"base":       {edit(10, 1), ErrEncoding},
		"twice":      {twice, ErrEncoding},
	} {
		if _, _, err := Decode(tc.b); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A dense set of ten million sequences, inserted in random order, stays far
// below a byte for each.
func TestMemoryWhenDense(t *testing.T) {
	const n = 10_000_000
	order := rand.New(rand.NewPCG(3, 3)).Perm(n / 1000)
	heap := func() uint64 {
		runtime.GC()
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		return ms.HeapAlloc
	}
	before := heap()
	var s Set
	for _, block := range order {
		for i := range uint64(1000) {
			s.Insert(1 + uint64(block)*1000 + i)
		}
	}
	per := float64(heap()-before) / n
	if s.Len() != n || per > 0.5 {
		t.Errorf("%d sequences at %.2f bytes each", s.Len(), per)
	}
	runtime.KeepAlive(&s)
}

func FuzzDecode(f *testing.F) {
	var s Set
	s.Insert(5)
	s.InsertRange(4000, 9000)
	f.Add(s.AppendTo(nil))
	f.Add(encodeV1(4096, 5000))
	for _, shape := range [][2]uint64{{1, 1}, {2048, 1 << 16}, {1<<62 - 5000, 1<<62 - 1}} { // one, 32 nodes, the end of the range
		var s Set
		s.InsertRange(shape[0], shape[1])
		s.Delete(shape[0] + 3)
		f.Add(s.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, n, err := Decode(b)
		if err != nil {
			return
		}
		if n > len(b) {
			t.Fatalf("took %d of %d bytes", n, len(b))
		}
		again, _, err := Decode(s.AppendTo(nil))
		if err != nil || !again.Equal(s) {
			t.Fatalf("does not survive: %v", err)
		}
	})
}

func BenchmarkInsertRandom(b *testing.B) {
	const n = 10_000_000
	rng := rand.New(rand.NewPCG(1, 1))
	var s Set
	b.ReportAllocs()
	for b.Loop() {
		s.Insert(rng.Uint64N(n))
	}
}

func BenchmarkInsertInOrder(b *testing.B) {
	var s Set
	seq := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		s.Insert(seq)
		seq++
	}
}

func BenchmarkContains(b *testing.B) {
	const n = 10_000_000
	rng := rand.New(rand.NewPCG(1, 1))
	var s Set
	for range n / 2 {
		s.Insert(rng.Uint64N(n))
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Contains(rng.Uint64N(n))
	}
}
