package subjecttree

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

func indexOf(subjects ...string) *Index[int] {
	x := NewIndex(func(v *int) (uint64, uint64) { return uint64(*v), uint64(*v) * 10 })
	for i, s := range subjects {
		x.Insert([]byte(s), i)
	}
	return x
}

func matchAll[V any](x *Index[V], filter string) []string {
	var got []string
	x.Match([]byte(filter), func(s []byte, _ *V) { got = append(got, string(s)) })
	return got
}

var indexVector = []string{"foo", "foo.bar", "foo.bar.A", "foo.bar.B", "foo.bar.baz.A", "foo.baz", "foo.baz.A",
	"foobar", "bar", "a.b.c", "a.*.c", "a.>", "*", "foo.bar*"}

func TestIndexMatch(t *testing.T) {
	x := indexOf(indexVector...)
	for filter, want := range map[string]string{
		"foo":       "foo",
		"*":         "* bar foo foobar",
		"*.*":       "a.> foo.bar foo.bar* foo.baz",
		"foo.*":     "foo.bar foo.bar* foo.baz",
		"foo.>":     "foo.bar foo.bar* foo.bar.A foo.bar.B foo.bar.baz.A foo.baz foo.baz.A",
		"foo.bar.>": "foo.bar.A foo.bar.B foo.bar.baz.A",
		"foo.*.A":   "foo.bar.A foo.baz.A",
		"*.bar.*":   "foo.bar.A foo.bar.B",
		"foo.*.>":   "foo.bar.A foo.bar.B foo.bar.baz.A foo.baz.A",
		"foo.*.*.*": "foo.bar.baz.A",
		"*.*.*":     "a.*.c a.b.c foo.bar.A foo.bar.B foo.baz.A",
		"a.*.c":     "a.*.c a.b.c",
		"a.>":       "a.*.c a.> a.b.c",
		"a.b.*":     "a.b.c",
		"foo.bar*":  "foo.bar*",
		"foo.ba":    "",
		">.foo":     "",
		"foo.>.A":   "",
		"**":        "",
		"":          "",
		">": "* a.*.c a.> a.b.c bar foo foo.bar foo.bar* foo.bar.A foo.bar.B foo.bar.baz.A foo.baz foo.baz.A " +
			"foobar",
	} {
		got := matchAll(x, filter)
		if g := strings.Join(got, " "); g != want {
			t.Errorf("Match(%q) = %q, want %q", filter, g, want)
		}
		var sum Sum
		for _, s := range got {
			v := *x.Find([]byte(s))
			sum.add(Sum{1, uint64(v), uint64(v) * 10})
		}
		if s := x.SumMatch([]byte(filter)); s != sum {
			t.Errorf("SumMatch(%q) = %v, want %v", filter, s, sum)
		}
		// Stop after the first.
		n := 0
		ran := x.MatchUntil([]byte(filter), func([]byte, *int) bool { n++; return false })
		if n != min(1, len(got)) || ran != (len(got) == 0) {
			t.Errorf("MatchUntil(%q): %d calls, %v", filter, n, ran)
		}
	}
	if got := x.Total(); got.Subjects != 14 || got.Count != 91 || got.Bytes != 910 {
		t.Errorf("total %v", got)
	}
}

func TestIndexPlainData(t *testing.T) {
	// Every byte value, the empty subject, empty tokens, prefixes of others.
	x := NewIndex[string](nil)
	var all []string
	for i := range 256 {
		all = append(all, string([]byte{byte(i)}), "a."+string([]byte{byte(i)})+".b")
	}
	all = append(all, "", "a", "a.", "a..", ".", "..", "a..b", ">.foo", "foo.>.A", strings.Repeat("x", 5000),
		strings.Repeat("x", 100_000), strings.Repeat("x", 100_000)+"y", strings.Repeat("x", 70_000))
	want := map[string]bool{}
	for _, s := range all {
		x.Insert([]byte(s), s)
		want[s] = true
	}
	if x.Len() != len(want) {
		t.Errorf("%d subjects, want %d", x.Len(), len(want))
	}
	sorted := slices.Sorted(maps.Keys(want))
	var got []string
	x.Iterate(func(s []byte, v *string) bool {
		if *v != string(s) {
			t.Errorf("value of %q is %q", s, *v)
		}
		got = append(got, string(s))
		return true
	})
	if !slices.Equal(got, sorted) {
		t.Errorf("order: got %d subjects, want %d", len(got), len(sorted))
	}
	for _, s := range []string{">.foo", "foo.>.A", "a..b", ".", "a.*.b"} {
		if !slices.Contains(matchAll(x, s), s) {
			t.Errorf("%q does not find itself", s)
		}
	}
	for s := range want {
		if v, ok := x.Delete([]byte(s)); !ok || v != s {
			t.Errorf("delete %q: %q, %v", s, v, ok)
		}
	}
	if x.Len() != 0 || x.root != 0 {
		t.Errorf("%d left", x.Len())
	}
}

func TestIndexNil(t *testing.T) {
	var x *Index[int]
	never := func([]byte, *int) bool { t.Error("called"); return true }
	for _, x := range []*Index[int]{x, NewIndex[int](nil)} {
		if x.Len() != 0 || x.Find([]byte("a")) != nil || x.Total() != (Sum{}) || x.SumMatch([]byte(">")) != (Sum{}) ||
			!x.Iterate(never) || !x.MatchUntil([]byte(">"), never) || x.Update([]byte("a"), func(*int) { t.Error("called") }) {
			t.Error("an empty index is not empty")
		}
		if _, ok := x.Delete([]byte("a")); ok {
			t.Error("deleted something")
		}
		IntersectIndexes(x, indexOf("a"), func([]byte, *int, *int) { t.Error("called") })
		IntersectIndexes(indexOf("a"), x, func([]byte, *int, *int) { t.Error("called") })
	}
}

func TestIndexIntersect(t *testing.T) {
	a, b := indexOf("a", "b.c", "b.d", "x", "foo"), indexOf("zoo", "foo", "b.d", "a.b", "b", "q", "r")
	for range 2 {
		var got []string
		IntersectIndexes(a, b, func(s []byte, va, vb *int) {
			if *va != *a.Find(s) || *vb != *b.Find(s) {
				t.Errorf("values of %s: %d, %d", s, *va, *vb)
			}
			got = append(got, string(s))
		})
		if !slices.Equal(got, []string{"b.d", "foo"}) {
			t.Errorf("got %v", got)
		}
		a, b = b, a
	}
}

func TestIndexUpsert(t *testing.T) {
	x := indexOf("a", "b")
	old, updated := x.Insert([]byte("b"), 7)
	if old != 1 || !updated {
		t.Errorf("insert: %d, %v", old, updated)
	}
	x.Upsert([]byte("c"), func(v *int, found bool) {
		if *v != 0 || found {
			t.Errorf("c: %d, %v", *v, found)
		}
		*v = 3
	})
	x.Upsert([]byte("c"), func(v *int, found bool) {
		if *v != 3 || !found {
			t.Errorf("c: %d, %v", *v, found)
		}
		*v = 5
	})
	if !x.Update([]byte("a"), func(v *int) { *v = 100 }) {
		t.Error("a is not there")
	}
	if got := x.Total(); got != (Sum{3, 112, 1120}) {
		t.Errorf("total %v", got)
	}
}

// checkNodes verifies what the tree promises about itself, and returns the sum.
func checkNodes[V any](t *testing.T, x *Index[V], r ref) Sum {
	t.Helper()
	if r.kind() == kindLeaf {
		return x.sum(r)
	}
	h := x.head(r)
	var sum Sum
	n, last := 0, -1
	x.each(r, func(b byte, kid ref) bool {
		if int(b) <= last {
			t.Fatal("keys are not in order")
		}
		last = int(b)
		n++
		sum.add(checkNodes(t, x, kid))
		if c := x.child(r, b); c == nil || *c != kid {
			t.Fatal("child is not found")
		}
		return true
	})
	if n != h.len() || n > capacity(r.kind()) || r.kind() > kind4 && n <= capacity(r.kind()-1)*3/4 {
		t.Fatalf("kind %d: %d children, head says %d", r.kind(), n, h.len())
	}
	if h.term != 0 {
		if x.leaves.at(h.term.place()).rest.len() != 0 {
			t.Fatal("text in a term")
		}
		sum.add(x.sum(h.term))
		n++
	}
	if n < 2 {
		t.Fatal("needless node")
	}
	if got := x.sum(r); got != sum {
		t.Fatalf("sum %v, want %v", got, sum)
	}
	return sum
}

// checkIndex drives an index and a map with the same operations.
func checkIndex(t *testing.T, steps int, next func(n int) int) {
	tokens := []string{"a", "b", "ab", "*", ">", "a*", "1", "22", "333", "a-long-token-that-is-shared"}
	subject := func() []byte {
		if next(8) == 0 { // wide nodes
			return []byte{'w', byte(next(256)), byte(next(3))}
		}
		var s []string
		for range 1 + next(4) {
			s = append(s, tokens[next(len(tokens))])
		}
		return []byte(strings.Join(s, "."))
	}
	x, m := indexOf(), map[string]int{}
	for step := range steps {
		s := subject()
		old, has := m[string(s)]
		switch op := next(8); {
		case op < 4:
			v, updated := x.Insert(s, step)
			if v != old || updated != has {
				t.Fatalf("insert %q: %d, %v, want %d, %v", s, v, updated, old, has)
			}
			m[string(s)] = step
		case op < 5:
			if x.Update(s, func(v *int) { *v += step }) != has {
				t.Fatalf("update %q", s)
			}
			if has {
				m[string(s)] += step
			}
		default:
			v, found := x.Delete(s)
			if v != old || found != has {
				t.Fatalf("delete %q: %d, %v, want %d, %v", s, v, found, old, has)
			}
			delete(m, string(s))
		}
		if x.Len() != len(m) {
			t.Fatalf("%d subjects, want %d", x.Len(), len(m))
		}
		s = subject()
		if v, has := m[string(s)]; has != (x.Find(s) != nil) || has && *x.Find(s) != v {
			t.Fatalf("find %q", s)
		}
		if step%16 != 0 {
			continue
		}
		if x.root != 0 {
			checkNodes(t, x, x.root)
		}
		filter := subject()
		wild := Insertable(filter)
		var want []string
		var sum Sum
		for s, v := range m {
			if wild && naiveMatches(s, string(filter)) || s == string(filter) {
				want = append(want, s)
				sum.add(Sum{1, uint64(v), uint64(v) * 10})
			}
		}
		slices.Sort(want)
		if got := matchAll(x, string(filter)); !slices.Equal(got, want) {
			t.Fatalf("match %q: %q, want %q", filter, got, want)
		}
		if got := x.SumMatch(filter); got != sum {
			t.Fatalf("sum of %q: %v, want %v", filter, got, sum)
		}
	}
	var got []string
	x.Iterate(func(s []byte, v *int) bool {
		if m[string(s)] != *v {
			t.Fatalf("%q is %d", s, *v)
		}
		got = append(got, string(s))
		return true
	})
	if want := slices.Sorted(maps.Keys(m)); !slices.Equal(got, want) {
		t.Fatalf("iterate: %q, want %q", got, want)
	}
}

func TestIndexModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			checkIndex(t, 4000, rng.IntN)
		})
	}
}

// An index that shrinks gives memory back and keeps its contents.
func TestIndexRebuild(t *testing.T) {
	x := indexOf()
	key := func(i int) []byte { return fmt.Appendf(nil, "orders.%d.%d.created", i%37, i) }
	const n = 20_000
	for i := range n {
		x.Insert(key(i), i)
	}
	full := len(x.leaves.chunks)
	for i := range n - 100 {
		x.Delete(key(i))
	}
	if now := len(x.leaves.chunks); now > full/4 {
		t.Errorf("%d of %d chunks", now, full)
	}
	checkNodes(t, x, x.root)
	for i := range n {
		v := x.Find(key(i))
		if i < n-100 && v != nil || i >= n-100 && (v == nil || *v != i) {
			t.Fatalf("%s: %v", key(i), v)
		}
	}
}

// A chain of subjects each of which begins the next is as deep as it is long.
func TestIndexDeep(t *testing.T) {
	x := indexOf()
	deep := []byte(strings.Repeat("ab", 1000))
	for i := range deep {
		x.Insert(deep[:i+1], i)
	}
	checkNodes(t, x, x.root)
	if got := x.SumMatch([]byte("*")).Subjects; got != uint64(len(deep)) {
		t.Errorf("%d subjects", got)
	}
	for i := range deep {
		if v, ok := x.Delete(deep[:i+1]); !ok || v != i {
			t.Fatalf("delete %d: %d, %v", i, v, ok)
		}
	}
}

// Many may read at once.
func TestIndexReaders(t *testing.T) {
	x := indexOf(indexVector...)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 200 {
				if got := len(matchAll(x, "foo.>")); got != 7 {
					t.Errorf("%d subjects", got)
				}
				n := 0
				x.Iterate(func(s []byte, v *int) bool { n++; return x.Find(s) == v })
				if n != len(indexVector) || x.SumMatch([]byte("*.*")).Subjects != 4 {
					t.Errorf("%d subjects", n)
				}
			}
		})
	}
	readers.Wait()
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("some bytes that choose the operations"))
	f.Fuzz(func(t *testing.T, script []byte) {
		i := 0
		checkIndex(t, min(len(script)/4, 200), func(n int) int {
			if i == len(script) {
				return 0
			}
			i++
			return int(script[i-1]) % n
		})
	})
}

// FuzzIndexBytes stores arbitrary subjects, cut from one text.
func FuzzIndexBytes(f *testing.F) {
	f.Add([]byte("a.b|a.bc||a|ab|a.b.c|\x7f|\xff.\x00"), []byte("a.*"))
	f.Fuzz(func(t *testing.T, text, filter []byte) {
		x, m := indexOf(), map[string]int{}
		for i, s := range bytes.Split(text, []byte("|")) {
			x.Insert(s, i)
			m[string(s)] = i
		}
		for s, v := range m {
			if got := x.Find([]byte(s)); got == nil || *got != v {
				t.Fatalf("find %q", s)
			}
		}
		if x.root != 0 {
			checkNodes(t, x, x.root)
		}
		found := map[string]bool{}
		x.Match(filter, func(s []byte, _ *int) { found[string(s)] = true })
		for s := range m {
			if hasEmptyToken(s) && s != string(filter) {
				continue
			}
			if want := Insertable(filter) && Matches(s, filter) || s == string(filter) && s != ""; found[s] != want {
				t.Fatalf("filter %q, subject %q: %v", filter, s, found[s])
			}
		}
		i := 0
		for s := range m {
			if i++; i%2 == 0 {
				x.Delete([]byte(s))
				delete(m, s)
			}
		}
		if x.root != 0 {
			checkNodes(t, x, x.root)
		}
		var got []string
		x.Iterate(func(s []byte, v *int) bool { got = append(got, string(s)); return true })
		if want := slices.Sorted(maps.Keys(m)); !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
