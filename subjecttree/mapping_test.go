package subjecttree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

func mustMap(t testing.TB, source string, dests ...Destination) *Mapping {
	t.Helper()
	m, err := NewMapping(source, dests...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// to is one destination that takes everything.
func to(subject string) Destination { return Destination{Subject: subject, Weight: 100} }

func apply(a *Mappings, subject string, pick uint32) string {
	got, mapped := a.Apply(nil, []byte(subject), func(uint32) uint32 { return pick })
	switch {
	case !mapped:
		return subject
	case got == nil:
		return "dropped"
	}
	return string(got)
}

func TestMappingsOrder(t *testing.T) {
	a := NewMappings("",
		mustMap(t, "a.>", to("full.>")),
		mustMap(t, "a.*", to("star.$1")),
		mustMap(t, "*.b", to("second.$1")),
		mustMap(t, "a.b", to("lit")),
		mustMap(t, "x.*.*", to("two.$1.$2")),
		mustMap(t, "x.y.*", to("one.$1")),
		mustMap(t, "x.*.z", to("never")),
		mustMap(t, "r", to("first")),
		mustMap(t, "r", to("replaced")),
		mustMap(t, "loop.a", to("loop.b")),
		mustMap(t, "loop.b", to("loop.c")),
	)
	for subject, want := range map[string]string{
		"a.b":    "lit",
		"a.c":    "star.c",
		"a.c.d":  "full.c.d",
		"q.b":    "second.q",
		"x.y.z":  "one.z",
		"x.q.y":  "two.q.y",
		"x.q.z":  "never",
		"r":      "replaced",
		"loop.a": "loop.b",
		"none":   "none",
		"a..b":   "a..b",
		"a":      "a",
		"":       "",
	} {
		if got := apply(a, subject, 0); got != want {
			t.Errorf("%q goes to %q, want %q", subject, got, want)
		}
	}
	if got, mapped := (*Mappings)(nil).Apply(nil, []byte("a"), nil); got != nil || mapped {
		t.Error("nil maps")
	}
	if NewMappings("X") != nil {
		t.Error("nothing to map")
	}
}

func TestMappingWeights(t *testing.T) {
	d := func(subject string, weight uint8, cluster ...string) Destination {
		return Destination{subject, weight, append(cluster, "")[0]}
	}
	for _, c := range []struct {
		name    string
		mapping *Mapping
		cluster string
		subject string
		want    map[uint32]string // by random number
	}{
		{"all", mustMap(t, "all", d("all.b", 100)), "", "all", map[uint32]string{0: "all.b", 99: "all.b"}},
		{"two", mustMap(t, "wt", d("wt.a", 20), d("wt.b", 80)), "", "wt", map[uint32]string{0: "wt.a", 19: "wt.a", 20: "wt.b", 99: "wt.b"}},
		{"remainder stays", mustMap(t, "half", d("half.b", 50)), "", "half", map[uint32]string{0: "half.b", 49: "half.b", 50: "half", 99: "half"}},
		{"remainder is lost", mustMap(t, "drop", d("drop", 50)), "", "drop", map[uint32]string{0: "drop", 49: "drop", 50: "dropped", 99: "dropped"}},
		{"all is lost", mustMap(t, "drop", d("drop", 0)), "", "drop", map[uint32]string{0: "dropped", 99: "dropped"}},
		{"none", mustMap(t, "none", d("none.b", 0)), "", "none", map[uint32]string{0: "none", 99: "none"}},
		{"a star is never listed", mustMap(t, "svc.*", d("svc.$1", 0)), "", "svc.q", map[uint32]string{0: "svc.q", 99: "svc.q"}},
		{"a tail can be listed", mustMap(t, "foo.>", d("foo.>", 0)), "", "foo.a.b", map[uint32]string{0: "dropped", 99: "dropped"}},
		{"other cluster", mustMap(t, "cl", d("cl.other", 100, "other"), d("cl.def", 100)), "C1", "cl", map[uint32]string{0: "cl.def"}},
		{"this cluster", mustMap(t, "me", d("me.c1", 100, "C1"), d("me.def", 100)), "C1", "me", map[uint32]string{0: "me.c1"}},
		{"only other clusters", mustMap(t, "only", d("only.other", 100, "other")), "C1", "only", map[uint32]string{0: "only", 99: "only"}},
		{"listed for another cluster", mustMap(t, "l", d("l", 0, "other")), "C1", "l", map[uint32]string{0: "l", 99: "l"}},
		{"listed in any scope", mustMap(t, "l", d("l", 0, "other"), d("l.b", 10)), "C1", "l", map[uint32]string{0: "l.b", 10: "dropped"}},
		{"same in two scopes", mustMap(t, "s", d("s.b", 10, "C1"), d("s.b", 20)), "C1", "s", map[uint32]string{9: "s.b", 10: "s"}},
	} {
		a := NewMappings(c.cluster, c.mapping)
		for pick, want := range c.want {
			if got := apply(a, c.subject, pick); got != want {
				t.Errorf("%s: %d goes to %q, want %q", c.name, pick, got, want)
			}
		}
	}
}

func TestMappingErrors(t *testing.T) {
	for _, c := range []struct {
		source string
		dests  []Destination
		want   string
	}{
		{"foo", []Destination{{"a", 60, ""}, {"b", 60, ""}}, "total weight needs to be <= 100"},
		{"foo", []Destination{{"a", 60, "X"}, {"b", 60, "X"}}, "total weight needs to be <= 100"},
		{"foo", []Destination{{"a", 10, ""}, {"a", 10, ""}}, `duplicate entry for "a"`},
		{"foo", []Destination{{"a", 110, ""}}, "individual weights need to be <= 100"},
		{"foo", []Destination{{"", 50, ""}}, "invalid mapping destination: invalid transform"},
		{"foo.*", []Destination{{"bar.{{partition(10,2)}}", 100, ""}}, "invalid mapping destination: wildcard index out of range in {{partition(10,2)}}: [2]"},
	} {
		if _, err := NewMapping(c.source, c.dests...); err == nil || err.Error() != c.want {
			t.Errorf("%v: %v, want %s", c.dests, err, c.want)
		}
	}
	_, err := NewMapping("foo", Destination{"a", 60, ""}, Destination{"b", 60, "X"})
	if err != nil {
		t.Errorf("weights count per cluster: %v", err)
	}
	var bad *DestinationError
	if _, err := NewMapping("foo", to("bar baz")); !errors.As(err, &bad) || !errors.Is(err, ErrBadTransform) {
		t.Errorf("%v", err)
	}
}

// The share of each destination is its weight (ten standard deviations around).
func TestMappingShares(t *testing.T) {
	a := NewMappings("", mustMap(t, "a", Destination{"a.1", 20, ""}, Destination{"a.2", 30, ""}))
	rng := rand.New(rand.NewPCG(1, 2))
	got := map[string]int{}
	const n = 10_000
	for range n {
		result, mapped := a.Apply(nil, []byte("a"), rng.Uint32N)
		if !mapped {
			result = []byte("a")
		}
		got[string(result)]++
	}
	for subject, percent := range map[string]int{"a.1": 20, "a.2": 30, "a": 50} {
		if diff := got[subject] - n*percent/100; diff < -500 || diff > 500 {
			t.Errorf("%s: %d of %d", subject, got[subject], n)
		}
	}
}

func BenchmarkMappings(b *testing.B) {
	var list []*Mapping
	for i := range 1000 {
		list = append(list, mustMap(b, fmt.Sprintf("svc%d.*", i), to(fmt.Sprintf("new%d.$1", i))))
	}
	a := NewMappings("", list...)
	out := make([]byte, 0, 64)
	for _, s := range []string{"svc500.x", "other.x"} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			subject := []byte(s)
			for b.Loop() {
				a.Apply(out[:0], subject, rand.Uint32N)
			}
		})
	}
}
