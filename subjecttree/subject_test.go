package subjecttree

import (
	"strings"
	"testing"
)

func TestPredicates(t *testing.T) {
	const valid, strict, literal, insertable, pedantic = 1, 2, 4, 8, 16
	for _, c := range []struct {
		subject string
		want    int
	}{
		{"foo", valid | strict | literal | insertable | pedantic},
		{"foo.bar", valid | strict | literal | insertable | pedantic},
		{"$SYS.a._INBOX", valid | strict | literal | insertable | pedantic},
		{"foo.*", valid | strict | insertable},
		{"foo.*.bar", valid | strict | insertable},
		{"*", valid | strict | insertable},
		{">", valid | strict | insertable},
		{"foo.>", valid | strict | insertable},
		{"*.>", valid | strict | insertable},
		{"foo.>.bar", 0},
		{">.foo", 0},
		{">.", 0},
		{"", literal},
		{".", literal},
		{"foo.", literal},
		{".foo", literal},
		{"foo..bar", literal},
		{"foo bar", literal | insertable | pedantic},
		{"foo. bar", literal | insertable | pedantic},
		{"fo\to.bar", literal | insertable | pedantic},
		{"foo.bar\r\n", literal | insertable | pedantic},
		{"foo*.bar", valid | strict | literal | insertable | pedantic},
		{"*foo", valid | strict | literal | insertable | pedantic},
		{"foo>", valid | strict | literal | insertable | pedantic},
		{"f.>b", valid | strict | literal | insertable | pedantic},
		{"**", valid | strict | literal | insertable | pedantic},
		{"foo.\x00bar", valid | literal | insertable | pedantic},
		{"foo.\xff", valid | literal | insertable | pedantic},
		{"foo.\uFFFD", valid | literal | insertable | pedantic},
		{"foo.ü", valid | strict | literal | insertable | pedantic},
		{"a.\x0bb", valid | strict | literal | insertable | pedantic},
		{"a.b\x7f", valid | strict | literal | insertable | pedantic},
		{"a.\x0cb", literal | insertable | pedantic},
	} {
		check := func(name string, bit int, onString, onBytes bool) {
			t.Helper()
			if want := c.want&bit != 0; onString != want || onBytes != want {
				t.Errorf("%s(%q) = %v (bytes: %v), want %v", name, c.subject, onString, onBytes, want)
			}
		}
		b := []byte(c.subject)
		check("Valid", valid, Valid(c.subject), Valid(b))
		check("ValidStrict", strict, ValidStrict(c.subject), ValidStrict(b))
		check("Literal", literal, Literal(c.subject), Literal(b))
		check("Insertable", insertable, Insertable(c.subject), Insertable(b))
		check("PedanticLiteral", pedantic, PedanticLiteral(c.subject), PedanticLiteral(b))
		if got, want := ValidPublish(b), c.want&valid != 0 && c.want&literal != 0; got != want {
			t.Errorf("ValidPublish(%q) = %v, want %v", c.subject, got, want)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		literal, pattern string
		want             bool
	}{
		{"foo", "foo", true},
		{"foo", "foo.>", false},
		{"foo.bar", "foo.>", true},
		{"foo.bar.baz", "foo.>", true},
		{"foo.bar", ">", true},
		{"$SYS.a", "*.a", true},
		{"_INBOX.a", ">", true},
		{"foo.bar", "*", false},
		{"foo.bar", "foo.*", true},
		{"foo.bar", "foo.bar.*", false},
		{"foo", "Foo", false},
		{"foobar", "foo*", false},
		{"foo*", "foo*", true},
		{"foo..bar", ">", false},
		{"foo.", ">", false},
		{"", ">", false},
		{".", "*.*", false},
		{"foo.*", "foo.*", true},
		{"foo.>", "foo.*", true},
		{"foo.*", "foo.>", true},
		{"foo.*", "foo.bar", false},
		{"a.x.b", "a.>.b", false},
		{"a.>.b", "a.>.b", true},
	} {
		if got := Matches([]byte(c.literal), c.pattern); got != c.want {
			t.Errorf("Matches(%q, %q) = %v", c.literal, c.pattern, got)
		}
	}
}

func TestSubset(t *testing.T) {
	for _, c := range []struct {
		s    string
		yes  string
		no   string
		note string
	}{
		{s: "foo.bar", yes: "foo.bar foo.* *.bar *.* foo.> >", no: "foo * foo.bar.>"},
		{s: "foo.*", yes: "foo.* *.* foo.> >", no: "foo.bar foo *"},
		{s: "foo.>", yes: "foo.> *.> >", no: "foo.* foo.*.>"},
		{s: "foo", yes: "foo * >", no: "foo.>"},
		{s: ">", yes: ">", no: "*.> *"},
		{s: "foo.a", no: "foo.*foo foo.** foo.*a foo.>a", note: "partial stars are literals"},
		{s: "foo.*foo", yes: "foo.*foo foo.*", no: "foo.*bar"},
	} {
		for _, to := range strings.Fields(c.yes) {
			if !Subset(c.s, []byte(to)) {
				t.Errorf("Subset(%q, %q) = false", c.s, to)
			}
		}
		for _, to := range strings.Fields(c.no) {
			if Subset(c.s, []byte(to)) {
				t.Errorf("Subset(%q, %q) = true", c.s, to)
			}
		}
	}
}

func TestCollide(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"foo.*", "foo.*.bar.>", false},
		{"foo.*.bar.>", "foo.bar.*.>", true},
		{"foo.>", "*", false},
		{"foo.*.>", "foo.a", false},
		{"foo.*", "foo.>", true},
		{"foo.*.bar", "*.baz.bar", true},
		{"foo.a.*", "foo.b.*", false},
		{"a.*.c", "a.b.*", true},
		{"a.>", "b", false},
		{"x.>", "x.y", true},
		{"a.*.>", "a.*", false},
		{"a.*", "*.b", true},
		{">", "a", true},
		{">", "a.*.>", true},
		{"k", "k", true},
		{"k", "K", false},
		{"a.*", "b.*x", false},
		{"a.b", "a.*b", false},
		{"a.*c", "a.b*", false},
		{"a.>b", "a.c", false},
	} {
		if got := Collide(c.a, []byte(c.b)); got != c.want {
			t.Errorf("Collide(%q, %q) = %v", c.a, c.b, got)
		}
		if got := Collide(c.b, c.a); got != c.want {
			t.Errorf("Collide(%q, %q) = %v", c.b, c.a, got)
		}
	}
}

func TestTokens(t *testing.T) {
	for _, s := range []string{"", "a", ".", "a.", ".a", "a.b.c", "a..c", "foo.*.>"} {
		want := strings.Split(s, ".")
		if got := NumTokens([]byte(s)); got != len(want) {
			t.Errorf("NumTokens(%q) = %d", s, got)
		}
		for i := range want {
			if got := Token(s, i); got != want[i] {
				t.Errorf("Token(%q, %d) = %q", s, i, got)
			}
			if got := Token([]byte(s), i); string(got) != want[i] {
				t.Errorf("Token(%q, %d) = %q", s, i, got)
			}
		}
		if got := Token(s, len(want)); got != "" {
			t.Errorf("Token(%q, %d) = %q", s, len(want), got)
		}
		if got := Token(s, -1); got != "" {
			t.Errorf("Token(%q, -1) = %q", s, got)
		}
	}
}

// naive predicates: straight from the definitions, on split tokens.

func naiveWild(tokens []string, i int) (star, tail bool) {
	return tokens[i] == "*", tokens[i] == ">" && i == len(tokens)-1
}

func naiveMatches(literal, pattern string) bool {
	l, p := strings.Split(literal, "."), strings.Split(pattern, ".")
	for _, t := range l {
		if t == "" {
			return false
		}
	}
	for i := range p {
		star, tail := naiveWild(p, i)
		if tail {
			return i < len(l)
		}
		if i >= len(l) || !star && l[i] != p[i] {
			return false
		}
	}
	return len(l) == len(p)
}

// naiveLiterals gives all literals over an alphabet that separates the tokens of
// the two patterns, up to a length that separates their token counts.
func naiveLiterals(a, b string) []string {
	alphabet := map[string]bool{"\x00other": true, "\x00another": true}
	n := 0
	for _, s := range []string{a, b} {
		tokens := strings.Split(s, ".")
		n = max(n, len(tokens)+1)
		for _, t := range tokens {
			if t != "*" && t != ">" {
				alphabet[t] = true
			}
		}
	}
	all, last := []string(nil), []string{""}
	for range n {
		var next []string
		for _, prefix := range last {
			for t := range alphabet {
				next = append(next, strings.TrimPrefix(prefix+"."+t, "."))
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

func FuzzPredicates(f *testing.F) {
	for _, s := range []string{"foo", "a.*.b", "a.>", "*", "a..b", ">.a", "a.**"} {
		f.Add(s, "a.b.>")
		f.Add("*.b", s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{a, b} {
			tokens := strings.Split(s, ".")
			insert, literal, empty := true, true, false
			for i, token := range tokens {
				empty = empty || token == ""
				insert = insert && token != "" && (token != ">" || i == len(tokens)-1)
				literal = literal && token != "*" && token != ">"
			}
			if Insertable(s) != insert || Literal(s) != literal || PedanticLiteral(s) != (literal && !empty) {
				t.Fatalf("%q: insertable %v, literal %v, pedantic %v", s, Insertable(s), Literal(s), PedanticLiteral(s))
			}
			if valid := insert && !strings.ContainsAny(s, " \t\n\f\r"); Valid(s) != valid {
				t.Fatalf("Valid(%q) = %v", s, !valid)
			}
		}
		if got := Matches(a, b); got != naiveMatches(a, b) {
			t.Fatalf("Matches(%q, %q) = %v", a, b, got)
		}
		// The definitions of Subset and Collide, by enumeration.
		if !Insertable(a) || !Insertable(b) || NumTokens(a) > 3 || NumTokens(b) > 3 {
			return
		}
		sub, meet := true, false
		for _, l := range naiveLiterals(a, b) {
			inA, inB := naiveMatches(l, a), naiveMatches(l, b)
			sub = sub && (!inA || inB)
			meet = meet || inA && inB
		}
		if got := Subset(a, b); got != sub {
			t.Fatalf("Subset(%q, %q) = %v", a, b, got)
		}
		if got := Collide(a, b); got != meet || Collide(b, a) != meet {
			t.Fatalf("Collide(%q, %q) = %v", a, b, got)
		}
	})
}

func BenchmarkPredicates(b *testing.B) {
	subject, pattern := []byte("orders.eu.berlin.12345.created"), "orders.*.berlin.*.created"
	b.Run("Valid", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Valid(subject)
		}
	})
	b.Run("Literal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Literal(subject)
		}
	})
	b.Run("Matches", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Matches(subject, pattern)
		}
	})
	b.Run("Collide", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Collide(subject, pattern)
		}
	})
}
