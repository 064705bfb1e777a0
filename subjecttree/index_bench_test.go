package subjecttree

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// state is as large as what a stream store keeps for a subject.
type state struct {
	total, last uint64
	_           [16]byte
}

func weighState(s *state) (count, bytes uint64) { return s.total, 0 }

var indexShapes = []struct {
	name string
	make func(i int) string
}{
	{"numbers", func(i int) string { return fmt.Sprintf("orders.%d", i) }},
	{"tokens", func(i int) string { return fmt.Sprintf("orders.%d.%d.x%d", i%100, i/100%100, i/10000) }},
	{"pairs", func(i int) string {
		return fmt.Sprintf("orders.%d.%s", i/2, []string{"created", "shipped"}[i%2])
	}},
	{"random", func(i int) string {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		b := []byte("_INBOX.")
		for range 22 {
			b = append(b, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[rng.IntN(62)])
		}
		return string(b)
	}},
	{"uuid", func(i int) string {
		rng := rand.New(rand.NewPCG(uint64(i), 2))
		return fmt.Sprintf("device.%08x-%04x-%04x.temp", rng.Uint32(), rng.Uint32()&0xffff, rng.Uint32()&0xffff)
	}},
}

func millionIndex(shape func(int) string) (*Index[state], [][]byte) {
	subjects := make([][]byte, million)
	for i := range subjects {
		subjects[i] = []byte(shape(i))
	}
	x := NewIndex(weighState)
	for _, s := range subjects {
		x.Insert(s, state{total: 1})
	}
	return x, subjects
}

// BenchmarkIndexMemory reports what an index of a million subjects weighs: all
// of it, and what that is beyond the bytes of the subjects.
func BenchmarkIndexMemory(b *testing.B) {
	for _, shape := range indexShapes {
		b.Run(shape.name, func(b *testing.B) {
			for b.Loop() {
				subjects := make([][]byte, million)
				text := 0
				for i := range subjects {
					subjects[i] = []byte(shape.make(i))
					text += len(subjects[i])
				}
				before := heap()
				x := NewIndex(weighState)
				for _, s := range subjects {
					x.Insert(s, state{total: 1})
				}
				grown := float64(heap() - before)
				b.ReportMetric(grown/float64(x.Len()), "B/subject")
				b.ReportMetric((grown-float64(text))/float64(x.Len()), "B-beyond-text")
				runtime.KeepAlive(subjects)
			}
		})
	}
}

func BenchmarkIndex(b *testing.B) {
	for _, shape := range indexShapes {
		x, subjects := millionIndex(shape.make)
		random := make([][]byte, 1<<16)
		for i := range random {
			random[i] = subjects[rand.IntN(len(subjects))]
		}
		b.Run(shape.name+"/find", func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if x.Find(random[i%len(random)]) == nil {
					b.Fatal("lost")
				}
				i++
			}
		})
		b.Run(shape.name+"/update", func(b *testing.B) {
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				x.Upsert(random[i%uint64(len(random))], func(v *state, _ bool) { v.total++; v.last = i })
				i++
			}
		})
		b.Run(shape.name+"/delete and insert", func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s := random[i%len(random)]
				v, _ := x.Delete(s)
				x.Insert(s, v)
				i++
			}
		})
		b.Run(shape.name+"/iterate", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				x.Iterate(func([]byte, *state) bool { n++; return true })
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/million, "ns/subject")
		})
	}
}

// The queries behind pending counts and next-message searches.
func BenchmarkIndexQuery(b *testing.B) {
	// 10,000 devices of 100 sensors each.
	x := NewIndex(weighState)
	for i := range million {
		x.Insert(fmt.Appendf(nil, "a.%d.s%d", i/100, i%100), state{total: 1})
	}
	for _, q := range []struct {
		filter string
		want   uint64
	}{
		{"a.>", million}, {"a.*.s42", 10_000}, {"a.123.*", 100}, {"a.77.>", 100}, {"a.*.nope", 0},
	} {
		f := []byte(q.filter)
		b.Run("sum "+q.filter, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s := x.SumMatch(f); s.Count != q.want {
					b.Fatal(s)
				}
			}
		})
		if q.want > 10_000 {
			continue
		}
		b.Run("match "+q.filter, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n := uint64(0)
				x.Match(f, func([]byte, *state) { n++ })
				if n != q.want {
					b.Fatal(n)
				}
			}
		})
	}
	// 1,000 of 1,000,000 subjects, below one token.
	y := NewIndex(weighState)
	for i := range million {
		y.Insert(fmt.Appendf(nil, "t%d.%d", i%1000, i), state{total: 1})
	}
	f := []byte("t500.*")
	b.Run("match 1 in 1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			y.Match(f, func([]byte, *state) { n++ })
			if n != 1000 {
				b.Fatal(n)
			}
		}
	})
	b.Run("sum 1 in 1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if y.SumMatch(f).Count != 1000 {
				b.Fatal("wrong")
			}
		}
	})
}
