package subjecttree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// flat writes a result so that it can be compared: plain values, then groups,
// all sorted.
func flat(r *Result[string]) string {
	plain := slices.Sorted(slices.Values(r.Plain))
	out := strings.Join(plain, " ")
	var groups []string
	for _, g := range r.Groups {
		groups = append(groups, g.Queue+"["+strings.Join(slices.Sorted(slices.Values(g.Members)), " ")+"]")
	}
	slices.Sort(groups)
	return strings.TrimSpace(out + " " + strings.Join(groups, " "))
}

func listOf(t testing.TB, subjects ...string) *List[string] {
	l := NewList[string](ListOptions{})
	for _, s := range subjects {
		if err := l.Insert(s, "", s); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func TestListMatch(t *testing.T) {
	l := listOf(t, "foo.*", "foo.bar", ">", "*.bar", "a.>", "a.*.c", "foo*.x")
	var into Result[string]
	for subject, want := range map[string]string{
		"foo.bar":  "*.bar > foo.* foo.bar",
		"foo.*":    "> foo.*",
		"foo.>":    "> foo.*",
		"a.b.c":    "> a.*.c a.>",
		"a":        ">",
		"foo*.x":   "> foo*.x",
		"a.*.c":    "> a.*.c a.>",
		"foo..bar": "",
		"foo.":     "",
		".":        "",
		"":         "",
	} {
		for range 2 { // the second comes from the cache
			if got := flat(l.Match([]byte(subject))); got != want {
				t.Errorf("Match(%q) = %q, want %q", subject, got, want)
			}
		}
		l.MatchInto(&into, []byte(subject))
		if got := flat(&into); got != want {
			t.Errorf("MatchInto(%q) = %q, want %q", subject, got, want)
		}
		if got := l.HasInterest([]byte(subject)); got != (want != "") {
			t.Errorf("HasInterest(%q) = %v", subject, got)
		}
		if plain, queues := l.NumInterest([]byte(subject)); plain != len(strings.Fields(want)) || queues != 0 {
			t.Errorf("NumInterest(%q) = %d, %d", subject, plain, queues)
		}
	}
}

func TestListGroups(t *testing.T) {
	l := NewList[string](ListOptions{})
	for _, s := range []Sub[string]{
		{"foo", "q", "1"}, {"foo", "q", "2"}, {"foo", "p", "3"}, {"foo", "", "4"},
		{"*", "q", "5"}, {">", "Q", "6"}, {"foo", "q", "1"},
	} {
		if err := l.Insert(s.Subject, s.Queue, s.Value); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want string) {
		t.Helper()
		if got := flat(l.Match([]byte("foo"))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	check("4 Q[6] p[3] q[1 2 5]")
	if plain, queues := l.NumInterest([]byte("foo")); plain != 1 || queues != 5 {
		t.Errorf("interest %d, %d", plain, queues)
	}
	var held Result[string]
	var ticket Ticket
	l.MatchHeld(&held, &ticket, []byte("foo"))
	if err := l.SetWeight("foo", "q", "2", 3); err != nil {
		t.Fatal(err)
	}
	if ticket.Valid() {
		t.Error("a weight is a change")
	}
	check("4 Q[6] p[3] q[1 2 2 2 5]")
	if plain, queues := l.NumInterest([]byte("foo")); plain != 1 || queues != 5 {
		t.Errorf("interest %d, %d", plain, queues)
	}
	if err := l.SetWeight("*", "q", "5", 2); err != nil {
		t.Fatal(err)
	}
	if err := l.SetWeight("foo", "q", "2", -1); err != nil {
		t.Fatal(err)
	}
	check("4 Q[6] p[3] q[1 2 5 5]")
	for _, s := range []Sub[string]{{"foo", "q", "9"}, {"foo", "x", "1"}, {"bar", "q", "1"}, {"foo", "", "4"}} {
		if err := l.SetWeight(s.Subject, s.Queue, s.Value, 2); !errors.Is(err, ErrNotFound) {
			t.Errorf("SetWeight(%v): %v", s, err)
		}
	}
	if err := l.SetWeight("foo", "q", "2", 1<<30); err != nil {
		t.Fatal(err)
	}
	if got := len(l.Match([]byte("foo")).Groups); got != 3 {
		t.Fatalf("%d groups", got)
	}
	for _, g := range l.Match([]byte("foo")).Groups {
		if g.Queue == "q" && len(g.Members) != MaxWeight+3 {
			t.Errorf("%d members", len(g.Members))
		}
	}
	// A weight goes with its member.
	if err := l.Remove("foo", "q", "2"); err != nil {
		t.Fatal(err)
	}
	if err := l.Insert("foo", "q", "2"); err != nil {
		t.Fatal(err)
	}
	check("4 Q[6] p[3] q[1 2 5 5]")
}

// Groups of many names come from several subjects: each name stays one group.
func TestListManyGroups(t *testing.T) {
	l := NewList[int](ListOptions{})
	subjects := []string{"a.b", "a.*", "*.b", "a.>", ">"}
	for i, s := range subjects {
		for q := i; q < 60; q += i + 1 {
			if err := l.Insert(s, "q"+strconv.Itoa(q), i); err != nil {
				t.Fatal(err)
			}
		}
	}
	var r Result[int]
	for range 3 {
		l.MatchInto(&r, []byte("a.b"))
		seen := map[string]bool{}
		for _, g := range r.Groups {
			if seen[g.Queue] {
				t.Fatalf("group %s twice", g.Queue)
			}
			seen[g.Queue] = true
			q, _ := strconv.Atoi(g.Queue[1:])
			var want []int
			for i := range subjects {
				if q >= i && (q-i)%(i+1) == 0 {
					want = append(want, i)
				}
			}
			if got := slices.Sorted(slices.Values(g.Members)); !slices.Equal(got, want) {
				t.Errorf("group %s: %v, want %v", g.Queue, got, want)
			}
		}
		if len(seen) != 60 {
			t.Errorf("%d groups", len(seen))
		}
	}
}

func TestListErrors(t *testing.T) {
	l := listOf(t, "foo")
	for _, s := range []string{"", ".", "a.", ".a", "a..b", "a.>.b", ">."} {
		if err := l.Insert(s, "", "x"); !errors.Is(err, ErrInvalidSubject) {
			t.Errorf("Insert(%q): %v", s, err)
		}
		if err := l.Remove(s, "", "x"); !errors.Is(err, ErrInvalidSubject) {
			t.Errorf("Remove(%q): %v", s, err)
		}
		if err := l.SetWeight(s, "q", "x", 1); !errors.Is(err, ErrInvalidSubject) {
			t.Errorf("SetWeight(%q): %v", s, err)
		}
		if got := l.ReverseMatch(s); got != nil {
			t.Errorf("ReverseMatch(%q) = %v", s, got)
		}
	}
	for _, s := range []Sub[string]{{"foo", "", "x"}, {"foo", "q", "foo"}, {"bar", "", "foo"}, {"foo.*", "", "foo"}, {">", "", "foo"}} {
		if err := l.Remove(s.Subject, s.Queue, s.Value); !errors.Is(err, ErrNotFound) {
			t.Errorf("Remove(%v): %v", s, err)
		}
	}
	err := l.RemoveBatch([]Sub[string]{{"nope", "", "x"}, {"foo", "", "foo"}, {"a..b", "", "x"}})
	if !errors.Is(err, ErrNotFound) || l.Len() != 0 {
		t.Errorf("RemoveBatch: %v, %d left", err, l.Len())
	}
	for err, want := range map[error]string{
		ErrInvalidSubject:    "sublist: invalid subject",
		ErrNotFound:          "sublist: no matches found",
		ErrNilChannel:        "sublist: nil channel",
		ErrAlreadyRegistered: "sublist: notification already registered",
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}

// A result that someone keeps does not change.
func TestListSnapshot(t *testing.T) {
	l := listOf(t, "a", "b", "*", ">")
	if err := l.Insert("a", "q", "1"); err != nil {
		t.Fatal(err)
	}
	kept := l.Match([]byte("a"))
	want := flat(kept)
	for _, s := range []string{"*", "a", ">"} {
		if err := l.Remove(s, "", s); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		if err := l.Insert("a", "q", strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := flat(kept); got != want {
		t.Errorf("%s became %s", want, got)
	}
}

// Only results that a change touches leave the cache.
func TestListCacheKeepsUnrelated(t *testing.T) {
	l := listOf(t, ">")
	subjects := []string{"a.b", "a.c", "x.y", "z"}
	kept := map[string]*Result[string]{}
	for _, s := range subjects {
		kept[s] = l.Match([]byte(s))
	}
	check := func(change, gone string) {
		t.Helper()
		if err := l.Insert(change, "", change); err != nil {
			t.Fatal(err)
		}
		for _, s := range subjects {
			r := l.Match([]byte(s))
			if same := r == kept[s]; same == slices.Contains(strings.Fields(gone), s) {
				t.Errorf("insert of %s: result of %s kept: %v", change, s, same)
			}
			kept[s] = r
		}
	}
	check("a.b", "a.b")
	check("a.*", "a.b a.c")
	check("q.*", "")
	check("*", "z")
	check("*.>", "a.b a.c x.y")
	if s := l.Stats(); s.NumCache != 4 || s.NumMatches != 24 || s.hits != 13 {
		t.Errorf("%+v", s)
	}
}

func TestListStats(t *testing.T) {
	l := listOf(t, "a", "*", ">")
	for range 3 {
		l.Match([]byte("a"))
	}
	l.Match([]byte("b"))
	l.Match([]byte("b.c"))
	if err := l.Remove("b.c", "", ""); err == nil {
		t.Fatal("removed nothing")
	}
	if err := l.Remove("a", "", "a"); err != nil {
		t.Fatal(err)
	}
	got := l.Stats()
	want := Stats{NumSubs: 2, NumCache: 2, NumInserts: 3, NumRemoves: 1, NumMatches: 5, CacheHitRate: 0.4, MaxFanout: 2, AvgFanout: 1.5, hits: 2, fanout: 3}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got.Add(Stats{NumSubs: 1, NumCache: 2, NumInserts: 1, NumMatches: 5, MaxFanout: 7, hits: 3, fanout: 9})
	want = Stats{NumSubs: 3, NumCache: 4, NumInserts: 4, NumRemoves: 1, NumMatches: 10, CacheHitRate: 0.5, MaxFanout: 7, AvgFanout: 3, hits: 5, fanout: 12}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestListWatch(t *testing.T) {
	l := listOf(t, ">", "a.*")
	ch, qch := make(chan bool, 4), make(chan bool, 4)
	expect := func(ch chan bool, want ...bool) {
		t.Helper()
		var got []bool
		for len(ch) > 0 {
			got = append(got, <-ch)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{"a.*", ">", "", "a..b"} {
		if err := l.Watch(s, "", ch); !errors.Is(err, ErrInvalidSubject) {
			t.Errorf("Watch(%q): %v", s, err)
		}
	}
	if err := l.Watch("a.b", "", nil); !errors.Is(err, ErrNilChannel) {
		t.Error(err)
	}
	do(l.Watch("a.b", "", ch))
	do(l.Watch("a.b", "q", qch))
	if err := l.Watch("a.b", "", ch); !errors.Is(err, ErrAlreadyRegistered) {
		t.Error(err)
	}
	expect(ch, false)
	expect(qch, false)
	do(l.Insert("a.b", "", "1"))
	do(l.Insert("a.b", "", "2"))
	expect(ch, true)
	expect(qch)
	do(l.Insert("a.b", "q", "3"))
	do(l.Insert("a.b", "p", "4"))
	do(l.Insert("*.b", "q", "4"))
	expect(qch, true)
	do(l.Remove("a.b", "", "1"))
	expect(ch)
	do(l.Remove("a.b", "", "2"))
	do(l.Remove("a.b", "q", "3"))
	expect(ch, false)
	expect(qch, false)
	// Nobody takes a value: nothing blocks, the rest is dropped.
	for i := range 10 {
		do(l.Insert("a.b", "", strconv.Itoa(i)))
		do(l.Remove("a.b", "", strconv.Itoa(i)))
	}
	expect(ch, true, false, true, false)
	do(l.Insert("a.b", "", "1"))
	expect(ch, true)
	late := make(chan bool, 1)
	do(l.Watch("a.b", "", late))
	expect(late, true)
	if !l.Unwatch("a.b", "", ch) || l.Unwatch("a.b", "", ch) || l.Unwatch("a.c", "", ch) {
		t.Error("Unwatch")
	}
	do(l.Remove("a.b", "", "1"))
	expect(ch)
	expect(late, false)
	if !l.Unwatch("a.b", "", late) || !l.Unwatch("a.b", "q", qch) || l.watches != nil {
		t.Error("watches left")
	}
}

func TestListReverseMatch(t *testing.T) {
	subjects := []string{"foo.bar", "foo.bar.baz", "foo.baz", "foo.*", "*.x", "a.>", "foo*.y", "a.*.c", "z"}
	l := listOf(t, subjects...)
	for _, q := range []string{"foo.*", "foo.>", "foo.bar", ">", "*", "*.*", "a", "a.b", "a.b.*", "a.>", "foo*.*", "*.y", "*.*.>", "nope"} {
		var want []string
		for _, s := range subjects {
			if Collide(s, q) {
				want = append(want, s)
			}
		}
		var got []string
		for _, s := range l.ReverseMatch(q) {
			if s.Subject != s.Value {
				t.Errorf("subject %s of %s", s.Subject, s.Value)
			}
			got = append(got, s.Value)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("ReverseMatch(%q) = %v, want %v", q, got, want)
		}
	}
}

// model is a list written down plainly.
type model map[Sub[int]]int32 // weight

func (m model) match(subject string) string {
	var plain []int
	groups := map[string][]int{}
	for s, w := range m {
		if !naiveMatches(subject, s.Subject) {
			continue
		}
		if s.Queue == "" {
			plain = append(plain, s.Value)
			continue
		}
		for range w {
			groups[s.Queue] = append(groups[s.Queue], s.Value)
		}
	}
	return canon(plain, groups)
}

func canon(plain []int, groups map[string][]int) string {
	slices.Sort(plain)
	for _, g := range groups {
		slices.Sort(g)
	}
	return fmt.Sprint(plain, groups) // a map prints sorted
}

func canonResult(r *Result[int]) string {
	groups := map[string][]int{}
	for _, g := range r.Groups {
		if groups[g.Queue] != nil {
			return "group twice: " + g.Queue
		}
		groups[g.Queue] = slices.Clone(g.Members)
	}
	return canon(slices.Clone(r.Plain), groups)
}

// checkList drives a list and the model with the same operations, which next
// chooses, and compares what they say.
func checkList(t *testing.T, steps int, next func(n int) int) {
	tokens := []string{"a", "b", "c", "*", ">", "a*", ""}
	subject := func() string {
		var s []string
		for range 1 + next(4) {
			s = append(s, tokens[next(len(tokens))])
		}
		return strings.Join(s, ".")
	}
	l, m := NewList[int](ListOptions{}), model{}
	var into Result[int]
	type heldResult struct {
		result Result[int]
		ticket Ticket
	}
	held := map[string]*heldResult{}
	for range steps {
		s := Sub[int]{subject(), []string{"", "", "q", "r"}[next(4)], next(4)}
		switch next(8) {
		case 0, 1, 2, 3:
			err := l.Insert(s.Subject, s.Queue, s.Value)
			if (err == nil) != Insertable(s.Subject) {
				t.Fatalf("insert %v: %v", s, err)
			}
			if err == nil && m[s] == 0 {
				m[s] = 1
			}
		case 4, 5:
			err := l.RemoveBatch([]Sub[int]{s})
			if (err == nil) != (m[s] > 0) {
				t.Fatalf("remove %v: %v", s, err)
			}
			delete(m, s)
		case 6:
			w := int32(1 + next(3))
			if err := l.SetWeight(s.Subject, s.Queue, s.Value, w); (err == nil) != (m[s] > 0 && s.Queue != "") {
				t.Fatalf("weight %v: %v", s, err)
			} else if err == nil {
				m[s] = w
			}
		case 7:
			if !Insertable(s.Subject) {
				break
			}
			got := map[Sub[int]]bool{}
			for _, s := range l.ReverseMatch(s.Subject) {
				got[s] = true
			}
			for o := range m {
				if got[o] != Collide(o.Subject, s.Subject) {
					t.Fatalf("reverse match of %s: %v is %v", s.Subject, o, got[o])
				}
				delete(got, o)
			}
			if len(got) > 0 {
				t.Fatalf("reverse match of %s: %v not there", s.Subject, got)
			}
		}
		q := subject()
		want := m.match(q)
		if got := canonResult(l.Match([]byte(q))); got != want {
			t.Fatalf("match %q: %s, want %s", q, got, want)
		}
		l.MatchInto(&into, []byte(q))
		if got := canonResult(&into); got != want {
			t.Fatalf("match %q: %s, want %s", q, got, want)
		}
		h := held[q]
		if h == nil {
			h = new(heldResult)
			held[q] = h
		}
		if !h.ticket.Valid() {
			l.MatchHeld(&h.result, &h.ticket, []byte(q))
		}
		if got := canonResult(&h.result); got != want {
			t.Fatalf("held match %q: %s, want %s", q, got, want)
		}
		if got := l.HasInterest([]byte(q)); got == into.Empty() {
			t.Fatalf("interest in %q: %v", q, got)
		}
		if l.Len() != len(m) {
			t.Fatalf("%d subscriptions, want %d", l.Len(), len(m))
		}
	}
	for s := range m {
		if err := l.Remove(s.Subject, s.Queue, s.Value); err != nil {
			t.Fatalf("remove %v: %v", s, err)
		}
	}
	if !l.patterns.empty() || l.literals.m != nil || l.count != 0 || l.wild != 0 {
		t.Fatalf("an empty list keeps something: %+v", &l.patterns)
	}
}

func TestListModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			checkList(t, 500, rng.IntN)
		})
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte("some bytes that choose the operations"))
	f.Fuzz(func(t *testing.T, script []byte) {
		i := 0
		checkList(t, min(len(script)/6, 60), func(n int) int {
			if i == len(script) {
				return 0
			}
			i++
			return int(script[i-1]) % n
		})
	})
}

// What a list of many subscriptions needed goes when they go: no map, slice or
// level stays behind, and those that shrink are copied.
func TestListShrinks(t *testing.T) {
	l := NewList[int](ListOptions{})
	const n = 5000
	insert := func(i int) []Sub[int] {
		subs := []Sub[int]{
			{Subject: "a." + strconv.Itoa(i), Value: i},
			{Subject: "a." + strconv.Itoa(i) + ".*", Value: i},
			{Subject: "same", Value: i},
			{Subject: "same", Queue: "q" + strconv.Itoa(i%50), Value: i},
		}
		for _, s := range subs {
			if err := l.Insert(s.Subject, s.Queue, s.Value); err != nil {
				t.Fatal(err)
			}
		}
		return subs
	}
	var all []Sub[int]
	for i := range n {
		all = append(all, insert(i)...)
	}
	if plain, queues := l.NumInterest([]byte("same")); plain != n || queues != n || len(l.Match([]byte("same")).Groups) != 50 {
		t.Fatalf("%d, %d", plain, queues)
	}
	const keep = 80
	if err := l.RemoveBatch(all[keep:]); err != nil {
		t.Fatal(err)
	}
	kids := l.patterns.kids.get("a").kids
	same := l.literals.get("same")
	if l.Len() != keep || l.literals.peak > 8*keep || kids.many.peak > 8*keep || cap(same.plain.list) > 8*keep {
		t.Errorf("%d subscriptions: peak %d literals, %d levels, %d on one subject", l.Len(), l.literals.peak, kids.many.peak, cap(same.plain.list))
	}
	for _, s := range all[:keep] {
		if !l.HasInterest([]byte(strings.ReplaceAll(s.Subject, "*", "x"))) {
			t.Errorf("%v is lost", s)
		}
	}
	if err := l.RemoveBatch(all[:keep]); err != nil {
		t.Fatal(err)
	}
	if l.literals.m != nil || !l.patterns.empty() || l.Len() != 0 {
		t.Errorf("left: %+v %+v", l.literals, l.patterns)
	}
}
