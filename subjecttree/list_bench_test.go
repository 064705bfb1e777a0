package subjecttree

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

const million = 1_000_000

func literalSubjects(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("sensor.%d.%c.%d", i%1000, 'a'+i%7, i)
	}
	return all
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkListInsertRemoveMillion(b *testing.B) {
	subjects := literalSubjects(million)
	v := new(int)
	b.ReportAllocs()
	for b.Loop() {
		l := NewList[*int](ListOptions{})
		b.StopTimer()
		before := heap()
		b.StartTimer()
		for _, s := range subjects {
			if err := l.Insert(s, "", v); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		b.ReportMetric(float64(heap()-before)/million, "B/sub")
		b.StartTimer()
		for _, s := range subjects {
			if err := l.Remove(s, "", v); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		b.ReportMetric(float64(heap()-before), "B-left")
		b.StartTimer()
		runtime.KeepAlive(l)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(2*million), "ns/change")
}

func BenchmarkListMatch(b *testing.B) {
	subjects := literalSubjects(million)
	l := NewList[*int](ListOptions{})
	v := new(int)
	for _, s := range append(subjects, "a.b.c") {
		if err := l.Insert(s, "", v); err != nil {
			b.Fatal(err)
		}
	}
	var r Result[*int]
	one := []byte("a.b.c")
	b.Run("one of a million", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.MatchInto(&r, one)
		}
	})
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.Match(one)
		}
	})
	random := make([][]byte, 1<<16)
	for i := range random {
		random[i] = []byte(subjects[rand.IntN(len(subjects))])
	}
	b.Run("any of a million", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			l.MatchInto(&r, random[i%len(random)])
			i++
		}
	})
	for i := range 10_000 {
		if err := l.Insert(fmt.Sprintf("_INBOX.%022d.*", i), "", v); err != nil {
			b.Fatal(err)
		}
	}
	inbox := []byte("_INBOX.0000000000000000000042.abcdefgh")
	b.Run("inbox", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.MatchInto(&r, inbox)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var r Result[*int]
			for pb.Next() {
				l.MatchInto(&r, inbox)
			}
		})
	})
	for i := range 5 {
		if err := l.Insert([]string{">", "a.>", "a.*.c", "*.b.*", "*.*.c"}[i], fmt.Sprint("q", i%2), v); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("patterns and groups", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.MatchInto(&r, one)
		}
	})
}
