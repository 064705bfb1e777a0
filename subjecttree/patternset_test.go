package subjecttree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func setOf(t testing.TB, patterns ...string) *PatternSet[int] {
	s := new(PatternSet[int])
	for i, p := range patterns {
		if err := s.Insert(p, i); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestPatternSet(t *testing.T) {
	s := setOf(t, "foo.*", "foo.bar", "*.bar", "a.>", "a.*.c")
	for subject, want := range map[string][]int{
		"foo.bar":  {0, 1, 2},
		"foo.x":    {0},
		"a.b.c":    {3, 4},
		"a":        nil,
		"foo..bar": nil,
		"":         nil,
	} {
		var got []int
		s.Match([]byte(subject), func(v int) { got = append(got, v) })
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("Match(%q) = %v, want %v", subject, got, want)
		}
		if s.HasInterest([]byte(subject)) != (len(want) > 0) {
			t.Errorf("HasInterest(%q)", subject)
		}
	}
	if s.Len() != 5 || s.MatchesAll() {
		t.Errorf("%d values, all: %v", s.Len(), s.MatchesAll())
	}
	if err := s.Insert("foo.*", 0); err != nil || s.Len() != 5 {
		t.Errorf("the same again: %v, %d", err, s.Len())
	}
	if err := s.Insert("foo.*", 9); err != nil || s.Len() != 6 {
		t.Errorf("another value: %v, %d", err, s.Len())
	}
	if err := s.Insert(">", 9); err != nil || !s.MatchesAll() {
		t.Errorf("insert >: %v, %v", err, s.MatchesAll())
	}
}

func TestPatternSetColliding(t *testing.T) {
	s := setOf(t, "foo.*", "foo.bar", "*.bar", "a.>", "a.*.c", "b")
	for pattern, want := range map[string][]int{
		"foo.bar": {0, 1, 2},
		"foo.>":   {0, 1, 2},
		"*.*":     {0, 1, 2, 3},
		"a.b.*":   {3, 4},
		"*":       {5},
		">":       {0, 1, 2, 3, 4, 5},
		"b.c":     nil,
		"a..b":    nil,
		"":        nil,
	} {
		var got []int
		s.Colliding(pattern, func(p string, v int) bool {
			if !Collide(p, pattern) {
				t.Errorf("%q does not collide with %q", p, pattern)
			}
			got = append(got, v)
			return true
		})
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("Colliding(%q) = %v, want %v", pattern, got, want)
		}
	}
	calls := 0
	s.Colliding(">", func(string, int) bool { calls++; return false })
	if calls != 1 {
		t.Errorf("%d calls after the one that returned false", calls-1)
	}
	(*PatternSet[int])(nil).Colliding(">", func(string, int) bool { t.Error("an empty set"); return true })
}

func TestPatternSetErrors(t *testing.T) {
	s := setOf(t, "a b", "x.*")
	for _, p := range []string{"", "a..b", ".", "a.>.b"} {
		if err := s.Insert(p, 1); !errors.Is(err, ErrInvalidPattern) {
			t.Errorf("Insert(%q): %v", p, err)
		}
		if err := s.Remove(p, 1); !errors.Is(err, ErrInvalidPattern) {
			t.Errorf("Remove(%q): %v", p, err)
		}
	}
	for _, p := range []string{"a b", "x", "x.y", "x.>", "q"} {
		if err := s.Remove(p, 7); !errors.Is(err, ErrPatternNotFound) {
			t.Errorf("Remove(%q): %v", p, err)
		}
	}
	if ErrInvalidPattern.Error() != "gsl: invalid subject" || ErrPatternNotFound.Error() != "gsl: no matches found" {
		t.Error("texts")
	}
}

func TestPatternSetSingle(t *testing.T) {
	s := new(PatternSet[string])
	single := func(want string) {
		t.Helper()
		if got, ok := s.Single(); got != want || ok != (want != "") {
			t.Errorf("single %q, %v, want %q", got, ok, want)
		}
	}
	single("")
	for _, v := range []string{"1", "2"} {
		if err := s.Insert("a.*.b", v); err != nil {
			t.Fatal(err)
		}
		single("a.*.b")
	}
	if err := s.Insert("a.>", "1"); err != nil {
		t.Fatal(err)
	}
	single("")
	for _, v := range []string{"1", "2"} {
		if err := s.Remove("a.*.b", v); err != nil {
			t.Fatal(err)
		}
	}
	single("a.>")
	if err := s.Remove("a.>", "1"); err != nil {
		t.Fatal(err)
	}
	single("")
	if !s.root.empty() || s.Len() != 0 {
		t.Errorf("an empty set keeps %+v", s.root)
	}
}

func TestPatternSetStartingIn(t *testing.T) {
	s := setOf(t, "a.*.c", "b.c.d")
	for prefix, want := range map[string]bool{
		"": true, "a": true, "a.x": true, "a.x.c": true, "b": true, "b.c": true, "b.c.d": true,
		"a.x.d": false, "b.x": false, "b.c.d.e": false, "c": false, "a.x.c.d": false,
	} {
		if got := s.HasInterestStartingIn([]byte(prefix)); got != want {
			t.Errorf("starting in %q: %v", prefix, got)
		}
	}
	s = setOf(t, "a.b.>")
	for prefix, want := range map[string]bool{"a": true, "a.b": true, "a.b.c": true, "a.b.c.d": true, "a.c": false, "b": false} {
		if got := s.HasInterestStartingIn([]byte(prefix)); got != want {
			t.Errorf("starting in %q: %v", prefix, got)
		}
	}
	if !setOf(t, ">").HasInterestStartingIn([]byte("x.y")) || new(PatternSet[int]).HasInterestStartingIn(nil) {
		t.Error("everything, nothing")
	}
}

func TestPatternSetNil(t *testing.T) {
	var s *PatternSet[int]
	s.Match([]byte("a"), func(int) { t.Error("called") })
	if _, ok := s.Single(); ok || s.Len() != 0 || s.HasInterest([]byte("a")) || s.HasInterestStartingIn(nil) || s.MatchesAll() {
		t.Error("nil is not empty")
	}
	Intersect(indexOf("a"), s, func([]byte, *int) { t.Error("called") })
	Intersect(nil, setOf(t, ">"), func([]byte, *int) { t.Error("called") })
	if SumIntersect[int](nil, s) != (Sum{}) {
		t.Error("sum")
	}
}

func TestIntersect(t *testing.T) {
	x := indexOf("a.b.c", "a.x.c", "a.x.d", "b.c.d", "c")
	s := setOf(t, "a.*.c", "b.c.d")
	var got []string
	Intersect(x, s, func(subject []byte, v *int) {
		if *v != *x.Find(subject) {
			t.Errorf("value of %s", subject)
		}
		got = append(got, string(subject))
	})
	slices.Sort(got)
	if !slices.Equal(got, []string{"a.b.c", "a.x.c", "b.c.d"}) {
		t.Errorf("got %v", got)
	}
	if sum := SumIntersect(x, s); sum != (Sum{3, 4, 40}) {
		t.Errorf("sum %v", sum)
	}
}

func TestIntersectModel(t *testing.T) {
	subjects := []string{"a", "b", "c"}
	for range 3 {
		for _, s := range subjects[len(subjects)-3*len(subjects)/4:] {
			for _, more := range []string{".a", ".b", ".*"} {
				if n := s + more; !slices.Contains(subjects, n) {
					subjects = append(subjects, n)
				}
			}
		}
	}
	x := indexOf(subjects...)
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var patterns []string
		for range 1 + rng.IntN(6) {
			var p []string
			for range 1 + rng.IntN(4) {
				p = append(p, []string{"a", "b", "c", "*", "*"}[rng.IntN(5)])
			}
			if rng.IntN(3) == 0 {
				p = append(p, ">")
			}
			patterns = append(patterns, strings.Join(p, "."))
		}
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := setOf(t, patterns...)
			var want, got []string
			var sum Sum
			for v, subject := range subjects {
				if slices.ContainsFunc(patterns, func(p string) bool { return naiveMatches(subject, p) }) {
					want = append(want, subject)
					sum.add(Sum{1, uint64(v), uint64(v) * 10})
				}
			}
			Intersect(x, s, func(subject []byte, _ *int) { got = append(got, string(subject)) })
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%v: %v, want %v", patterns, got, want)
			}
			if g := SumIntersect(x, s); g != sum {
				t.Errorf("%v: %v, want %v", patterns, g, sum)
			}
		})
	}
}

func BenchmarkPatternSet(b *testing.B) {
	s := new(PatternSet[int])
	for i := range 1000 {
		if err := s.Insert(fmt.Sprintf("orders.%d.*", i), i); err != nil {
			b.Fatal(err)
		}
	}
	subject := []byte("orders.500.created")
	b.Run("match", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Match(subject, func(int) {})
		}
	})
	x := NewIndex(weighState)
	for i := range million {
		x.Insert(fmt.Appendf(nil, "orders.%d.%d", i%10_000, i), state{total: 1})
	}
	b.Run("sum of 100,000 in 1,000 patterns", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if got := SumIntersect(x, s).Count; got != 100_000 {
				b.Fatal(got)
			}
		}
	})
}
