package subjecttree

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestTransform(t *testing.T) {
	zero := func(uint32) uint32 { return 0 }
	for _, c := range []struct{ source, dest, in, out string }{
		{"lit.a", "lit.b", "lit.a", "lit.b"},
		{"lit.a", "lit.b", "lit.a.b", "!"},
		{"n.*.*", "n.{{partition(3,2)}}.{{wildcard(2)}}.{{wildcard(1)}}", "n.a.b", "n.1.b.a"},
		{"n.*.*", "n.{{partition(3,2)}}.{{wildcard(2)}}.{{wildcard(1)}}", "n.a.c", "n.2.c.a"},
		{"A.*.>", "B.>", "A.1.2.3", "B.2.3"},
		{"w.*.*", "x.$2.$1", "w.1.2", "x.2.1"},
		{"tw.*", "tx.{{wildcard(1)}}", "tw.z", "tx.z"},
		{"tw.*", "tx.{{wildcard(1)}}", "tw.z.y", "!"},
		{"p1.*", "pp.{{partition(10,1)}}", "p1.foo", "pp.3"},
		{"p1.*", "pp.{{partition(10,1)}}", "p1.bar", "pp.2"},
		{"p2.*.*", "pq.{{partition(10,1,2)}}.{{wildcard(1)}}", "p2.foo.bar", "pq.0.foo"},
		{"p2.*.*", "pq.{{partition(10,1,2)}}.{{wildcard(1)}}", "p2.foob.ar", "pq.0.foob"},
		{"pall.*.*", "pr.{{partition(10)}}", "pall.foo.bar", "pr.5"},
		{"plit", "pl.{{partition(10)}}", "plit", "pl.6"},
		{"plit", "pl.{{partition(10,5)}}", "plit", "pl.6"},
		{"sfl.*", "o.{{SplitFromLeft(1,3)}}", "sfl.12345", "o.123.45"},
		{"sfl.*", "o.{{SplitFromLeft(1,3)}}", "sfl.1234", "o.123.4"},
		{"sfl.*", "o.{{SplitFromLeft(1,3)}}", "sfl.123", "o.123"},
		{"sfr.*", "o.{{splitfromright(1,3)}}", "sfr.12345", "o.12.345"},
		{"sfr.*", "o.{{splitfromright(1,3)}}", "sfr.123", "o.123"},
		{"slfl.*", "o.{{SliceFromLeft(1,3)}}", "slfl.1234567890", "o.123.456.789.0"},
		{"slfl.*", "o.{{SliceFromLeft(1,3)}}", "slfl.123456", "o.123.456"},
		{"slfl.*", "o.{{SliceFromLeft(1,3)}}", "slfl.12", "o.12"},
		{"slfr.*", "o.{{sliceFromRight(1,3)}}", "slfr.1234567890", "o.1.234.567.890"},
		{"slfr.*", "o.{{sliceFromRight(1,3)}}", "slfr.123456", "o.123.456"},
		{"slfr.*", "o.{{sliceFromRight(1,3)}}", "slfr.12", "o.12"},
		{"spl.*", "o.{{split(1,-)}}", "spl.-a-b--c-", "o.a.b.c"},
		{"spl.*", "o.{{split(1,-)}}", "spl.a-b", "o.a.b"},
		{"spl.*", "o.{{split(1,-)}}", "spl.abc", "o.abc"},
		{"spl.*", "o.{{split(1,-)}}", "spl.--", "o."},
		{"spl.*", "o.{{split(1, -)}}", "spl.a-b", "o.a.b"},
		{"spl.*", "o.{{split(1,ab)}}", "spl.xabyabz", "o.x.y.z"},
		{"spl.*", "o.{{split(1,))}}", "spl.x)y", "o.x.y"},
		{"sc.*", "o.{{split(1,)}}", "sc.abc", "o.a.b.c"},
		{"sc.*", "o.{{split(1,)}}", "sc.aü\xff", "o.a.ü.\xff"},
		{"fw.*.>", "gw.$1.>", "fw.1.2.3", "gw.1.2.3"},
		{"fw.*.>", "gw.$1.>", "fw.1", "!"},
		{"mid.*", "o.pre{{wildcard(1)}}.x", "mid.zz", "o.pre{{wildcard(1)}}.x"},
		{"sp.*", "o.{{ wildcard( 1 ) }}.{{ Partition (5,  1) }}", "sp.abc", "o.abc.1"},
		{"z", "q.{{random(0)}}.{{partition(0)}}", "z", "q.0.0"},
		{"z", "q.{{random(7)}}", "z", "q.0"},
		{"z", "q.{{random(-7)}}", "z", "q.0"},
		{"rp.*", "out.{{left(1,2)}}.{{right(1,2)}}", "rp.abcd", "out.ab.cd"},
		{"rp.*", "out.{{left(1,2)}}.{{right(1,2)}}", "rp.abc", "out.ab.bc"},
		{"rp.*", "out.{{left(1,2)}}.{{right(1,2)}}", "rp.ab", "out.ab.ab"},
		{"rp.*", "out.{{left(1,2)}}.{{right(1,2)}}", "rp.a", "out.a.a"},
		{"", "pre.>", "a.b.c", "pre.a.b.c"},
		{">", ">", "a.b.c", "a.b.c"},
		{"x.y", "", "a.b.c", "a.b.c"},
		{"a.>", "pre.{{partition(10)}}.>", "a.b.c", "pre.1.b.c"},
		{"foo.*", "x.{{slicefromleft(1,-1)}}.{{left(1,0)}}", "foo.abc", "x.abc.abc"},
		{"foo.*", "bar.{{wildcard(1)}}", "zoo.a", "!"},
		{"foo.*", "bar.{{wildcard(1)}}", "foo.*", "?"},
		{"foo.*", "bar.{{wildcard(1)}}", "foo.", "?"},
		{"foo.*", "bar.{{}}", "foo.a", "bar.{{}}"},
		{"foo.*", "bar", "foo.a", "bar"},
		{"dup.*", "d.$1.$1.{{Wildcard(1)}}", "dup.q", "d.q.q.q"},
		{"str", "st$r.$", "str", "st$r.$"},
		{"e.*", "f.$0", "e.x", "f.e"},
		{"*.*", "f.$-1.{{wildcard(-3)}}", "e.x", "f.e.e"},
		{"p.*", "q.{{partition(-1,1)}}", "p.foo", "q.2851307223"},
		{"c.*", "{{Split(1,-)}}.{{sliceFromleft(1,2)}}.{{SplitfromRight(1,1)}}", "c.a-bc", "a.bc.a-.bc.a-b.c"},
	} {
		tr, err := NewTransform(c.source, c.dest)
		if err != nil {
			t.Errorf("%q -> %q: %v", c.source, c.dest, err)
			continue
		}
		got, err := tr.Match(c.in, zero)
		switch c.out {
		case "!":
			if !errors.Is(err, ErrNoTransform) {
				t.Errorf("%q -> %q: %q becomes %q, %v", c.source, c.dest, c.in, got, err)
			}
		case "?":
			if !errors.Is(err, ErrBadSubject) {
				t.Errorf("%q -> %q: %q becomes %q, %v", c.source, c.dest, c.in, got, err)
			}
		default:
			if err != nil || got != c.out {
				t.Errorf("%q -> %q: %q becomes %q, %v, want %q", c.source, c.dest, c.in, got, err, c.out)
			}
		}
	}
	if ErrBadSubject.Error() != "invalid subject" || ErrNoTransform.Error() != "no matching transforms available" {
		t.Error("texts")
	}
}

func TestTransformErrors(t *testing.T) {
	const prefix = "invalid mapping destination: "
	for _, c := range []struct{ source, dest, want string }{
		{"a.*", "b.{{unknown(1)}}", prefix + "unknown function in {{unknown(1)}}"},
		{"a", "b.{{unknown(1)}}", prefix + "unknown function in {{unknown(1)}}"},
		{"a.*", "b.{{ }}", prefix + "unknown function in {{ }}"},
		{"a.*", "b.{{wildcard}}", prefix + "unknown function in {{wildcard}}"},
		{"a.*", "b.{{wildcard(1}}", prefix + "unknown function in {{wildcard(1}}"},
		{"a.*", "b.{{wildcard(1)x}}", prefix + "unknown function in {{wildcard(1)x}}"},
		{"a.*", "b.{{WILDCARD(1)}}", prefix + "unknown function in {{WILDCARD(1)}}"},
		{"a.*", "b.{{wildCard(1)}}", prefix + "unknown function in {{wildCard(1)}}"},
		{"a.*", "b.{{wildcard(2)}}", prefix + "wildcard index out of range in {{wildcard(2)}}: [2]"},
		{"a.*", "b.$2", prefix + "wildcard index out of range in $2: [2]"},
		{"a.*", "b.$+2", prefix + "wildcard index out of range in $+2: [2]"},
		{"a.>", "b.$1.>", prefix + "wildcard index out of range in $1: [1]"},
		{"a.*", "b.{{wildcard(99999999999)}}", prefix + "wildcard index out of range in {{wildcard(99999999999)}}: [99999999999]"},
		{"a.*", "b.{{partition(10,2)}}", prefix + "wildcard index out of range in {{partition(10,2)}}: [2]"},
		{"a.*", "b.{{partition(10,1,5)}}", prefix + "wildcard index out of range in {{partition(10,1,5)}}: [5]"},
		{"a.*", "b.{{partition(10,7,5)}}", prefix + "wildcard index out of range in {{partition(10,7,5)}}: [7]"},
		{"a.*", "b.{{split(7,-)}}", prefix + "wildcard index out of range in {{split(7,-)}}: [7]"},
		{"a.*", "b.{{left(7,1)}}", prefix + "wildcard index out of range in {{left(7,1)}}: [7]"},
		{"a", "b.$1", prefix + "wildcard index out of range in $1"},
		{"a", "b.{{wildcard(1)}}", prefix + "wildcard index out of range in {{wildcard(1)}}"},
		{"a", "b.{{left(1,2)}}", prefix + "wildcard index out of range in {{left(1,2)}}"},
		{"a.*", "b.{{wildcard()}}", prefix + "not enough arguments passed to the function in {{wildcard()}}"},
		{"a.*", "b.{{split(1)}}", prefix + "not enough arguments passed to the function in {{split(1)}}"},
		{"a.*", "b.{{split()}}", prefix + "not enough arguments passed to the function in {{split()}}"},
		{"a.*", "b.{{random(1,2)}}", prefix + "not enough arguments passed to the function in {{random(1,2)}}"},
		{"a.*", "b.{{wildcard(1,2)}}", prefix + "too many arguments passed to the function in {{wildcard(1,2)}}"},
		{"a.*", "b.{{split(1,,)}}", prefix + "too many arguments passed to the function in {{split(1,,)}}"},
		{"a.*", "b.{{right(1,2,3)}}", prefix + "too many arguments passed to the function in {{right(1,2,3)}}"},
		{"a.*", "b.{{wildcard(a)}}", prefix + "function argument is invalid or in the wrong format in {{wildcard(a)}}"},
		{"a.*", "b.{{wildcard( )}}", prefix + "function argument is invalid or in the wrong format in {{wildcard( )}}"},
		{"a.*", "b.{{partition()}}", prefix + "function argument is invalid or in the wrong format in {{partition()}}"},
		{"a.*", "b.{{partition(10,x)}}", prefix + "function argument is invalid or in the wrong format in {{partition(10,x)}}"},
		{"a.*", "b.{{partition(2147483648,1)}}", prefix + "function argument is invalid or in the wrong format in {{partition(2147483648,1)}}"},
		{"a.*", "b.{{random()}}", prefix + "function argument is invalid or in the wrong format in {{random()}}"},
		{"a.*", "b.{{left(1,x)}}", prefix + "function argument is invalid or in the wrong format in {{left(1,x)}}"},
		{"a.*", "b.{{split(1,- )}}", prefix + "function argument is invalid or in the wrong format in {{split(1,- )}}"},
		{"a.*", "b.{{split(1,a b)}}", prefix + "function argument is invalid or in the wrong format in {{split(1,a b)}}"},
		{"a", "b.>.c", prefix + "invalid transform in c"},
		{"a", "a.>.b", prefix + "invalid transform in b"},
		{"a", "b..c", prefix + "invalid transform"},
		{"a", "b.", prefix + "invalid transform"},
		{"a", ".b", prefix + "invalid transform"},
		{"a", "b c", prefix + "invalid transform"},
		{"a.*", "{{unknown(1)}}..b", prefix + "unknown function in {{unknown(1)}}"},
		{"a.*", "b..{{unknown(1)}}", prefix + "invalid transform"},
		{"a.*", "{{wildcard(7)}}..b", prefix + "invalid transform"},
		{"a.*", "b.*", "invalid subject"},
		{"a.*", "{{wildcard(7)}}.*", "invalid subject"},
		{"a.>", "b", "invalid subject"},
		{"a.*", "b.>", "invalid subject"},
		{"", "foo", "invalid subject"},
		{"a..b", "foo", "invalid subject"},
	} {
		_, err := NewTransform(c.source, c.dest)
		if err == nil || err.Error() != c.want {
			t.Errorf("%q -> %q: %v\nwant %s", c.source, c.dest, err, c.want)
		}
	}
}

func TestStrictTransform(t *testing.T) {
	for _, c := range []struct{ source, dest, in, out, back string }{
		{"foo.*.*", "bar.$2.$1", "foo.1.2", "bar.2.1", "bar.*.* foo.$2.$1"},
		{"foo.*.*", "bar.{{wildcard(2)}}.x.$1", "foo.1.2", "bar.2.x.1", "bar.*.x.* foo.$2.$1"},
		{"foo", "bar", "foo", "bar", "bar foo"},
		{"foo.*.>", "$1.q.>", "foo.a.b.c", "a.q.b.c", "*.q.> foo.$1.>"},
		{"$1.{{split(1,-)}}.*", "b.$1", "$1.{{split(1,-)}}.x", "b.x", "b.* $1.{{split(1,-)}}.$1"},
		{">", ">", "a.b", "a.b", "> >"},
		{"a.*", "b.$1.$1", "a.x", "b.x.x", "b.*.* a.$1"},
	} {
		tr, err := NewStrictTransform(c.source, c.dest)
		if err != nil {
			t.Errorf("%q -> %q: %v", c.source, c.dest, err)
			continue
		}
		got, err := tr.Match(c.in, nil)
		if err != nil || got != c.out {
			t.Errorf("%q -> %q: %q becomes %q, %v", c.source, c.dest, c.in, got, err)
		}
		back, err := tr.Reverse()
		if err != nil || back.Source()+" "+back.Destination() != c.back {
			t.Errorf("%q -> %q: reverse %+v, %v, want %s", c.source, c.dest, back, err, c.back)
			continue
		}
		if in, err := back.Match(got, nil); err != nil || in != c.in {
			t.Errorf("%q -> %q: %q goes back to %q, %v", c.source, c.dest, got, in, err)
		}
	}
	for _, c := range []struct{ source, dest, want string }{
		{"foo.*.*", "bar.$2", "invalid mapping destination: not using all of the token wildcard(s) in bar.$2"},
		{"a.*.*", "x.$1", "invalid mapping destination: not using all of the token wildcard(s) in x.$1"},
		{"foo.*", "bar.{{partition(2,1)}}", "invalid mapping destination: the only mapping function allowed for import transforms is {{Wildcard()}} in {{partition(2,1)}}"},
		{"foo.*", "bar.*", "invalid subject"},
		{"foo.*", "bar..a", "invalid subject"},
		{"foo.>", "bar", "invalid subject"},
	} {
		if _, err := NewStrictTransform(c.source, c.dest); err == nil || err.Error() != c.want {
			t.Errorf("%q -> %q: %v\nwant %s", c.source, c.dest, err, c.want)
		}
	}
	twice, err := NewStrictTransform("a.*.*", "b.$1.$1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := twice.Reverse(); !errors.Is(err, ErrUnusedWildcard) {
		t.Errorf("reverse: %v", err)
	}
	hashed, err := NewTransform("a.*", "b.{{partition(3,1)}}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hashed.Reverse(); !errors.Is(err, ErrOnlyWildcard) {
		t.Errorf("reverse: %v", err)
	}
	for in, want := range map[string]string{"foo.*.*": "foo.$1.$2", "foo": "foo", "*.>": "$1.>", "a*": "a*"} {
		if got := Placeholders(in); got != want {
			t.Errorf("Placeholders(%q) = %q", in, got)
		}
	}
}

func TestPartitionHash(t *testing.T) {
	for key, want := range map[string]hash{
		"": 0x811c9dc5, "a": 0xe40c292c, "foo": 0xa9f37ed7, "bar": 0x76b77d1a, "baz": 0x6eb77082, "foobar": 0xbf9cf968,
		"abc": 0x1a47e90b, "pall.foo.bar": 0xe4003f77, "plit": 0xbdb6b5cc, "customer-42": 0xfe68adbe,
	} {
		h := newHash()
		h.add(key)
		if h != want {
			t.Errorf("hash of %q: %x, want %x", key, h, want)
		}
	}
	h := newHash()
	h.add("a")
	if h.partition(3) != 1 || h.partition(10) != 0 || h.partition(100) != 20 || h.partition(0) != 0 {
		t.Error("partitions of a")
	}
}

// naiveTransform evaluates the functions that can be written in one line.
func naiveTransform(source, dest, subject string) (string, bool) {
	in := strings.Split(subject, ".")
	var stars []string
	tail := ""
	for i, token := range strings.Split(source, ".") {
		switch token {
		case "*":
			stars = append(stars, in[i])
		case ">":
			tail = strings.Join(in[i:], ".")
		}
	}
	out := strings.Split(dest, ".")
	for i, token := range out {
		switch {
		case token == ">":
			out[i] = tail
		case token == "$1" || token == "{{wildcard(1)}}":
			out[i] = stars[0]
		case token == "$2" || token == "{{wildcard(2)}}":
			out[i] = stars[1]
		case token == "{{left(1,3)}}":
			out[i] = stars[0][:min(3, len(stars[0]))]
		case token == "{{split(1,-)}}":
			out[i] = strings.Join(strings.FieldsFunc(stars[0], func(r rune) bool { return r == '-' }), ".")
		case strings.HasPrefix(token, "$"), strings.HasPrefix(token, "{{"):
			return "", false
		}
	}
	return strings.Join(out, "."), true
}

func FuzzTransform(f *testing.F) {
	f.Add("a.*.*", "b.$2.$1", "a.x-y.z")
	f.Add("a.*.>", "{{split(1,-)}}.{{left(1,3)}}.>", "a.x-y.z")
	f.Add("a.*", "{{slicefromright(1,3)}}.{{splitfromleft(1,2)}}.{{partition(10,1)}}.{{random(4)}}", "a.12345678")
	f.Add("", "{{ Right( 1 , 2 ) }}", "a")
	f.Fuzz(func(t *testing.T, source, dest, subject string) {
		tr, err := NewTransform(source, dest)
		if err != nil {
			return
		}
		out, err := tr.Match(subject, rand.Uint32N)
		if err == nil && !tr.identity {
			if !naiveMatches(subject, tr.Source()) {
				t.Fatalf("%q -> %q: %q does not match", source, dest, subject)
			}
			if want, ok := naiveTransform(tr.Source(), dest, subject); ok && out != want {
				t.Fatalf("%q -> %q: %q becomes %q, want %q", source, dest, subject, out, want)
			}
		}
		strict, err := NewStrictTransform(source, dest)
		if err != nil {
			return
		}
		back, err := strict.Reverse()
		if err != nil {
			return
		}
		out, err = strict.Match(subject, nil)
		if err != nil || !PedanticLiteral(out) || strings.Contains(dest, "$0") || strings.Contains(dest, "-") {
			return
		}
		if again, err := back.Match(out, nil); err != nil || again != subject {
			t.Fatalf("%q -> %q: %q becomes %q and goes back to %q, %v", source, dest, subject, out, again, err)
		}
	})
}

func BenchmarkTransform(b *testing.B) {
	for _, c := range []struct{ source, dest string }{
		{"orders.*.*", "o.$2.$1"},
		{"orders.>", "o.{{partition(16)}}.>"},
		{"orders.*.*", "o.{{slicefromleft(2,2)}}"},
	} {
		tr, err := NewTransform(c.source, c.dest)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.dest, func(b *testing.B) {
			b.ReportAllocs()
			subject, to := []byte("orders.berlin.12345678"), make([]byte, 0, 64)
			for b.Loop() {
				to = tr.Apply(to[:0], subject, nil)
			}
		})
	}
}
