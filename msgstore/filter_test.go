package msgstore

import (
	"slices"
	"strings"
	"testing"
)

// TestFilter: a token is a wildcard only if it is one character, and ">" only at
// the end.
func TestFilter(t *testing.T) {
	subjects := strings.Fields("foo foo.bar foo.bar.A foo.bar.B foo.bar.baz.A foo.baz foo.baz.A foobar bar a.b.c a.*.c a.> * foo.bar* foo.>.A >.foo")
	for filter, want := range map[string]string{
		"foo":         "foo",
		"*":           "foo foobar bar *",
		"*.*":         "foo.bar foo.baz a.> foo.bar* >.foo",
		"foo.*":       "foo.bar foo.baz foo.bar*",
		"foo.bar.>":   "foo.bar.A foo.bar.B foo.bar.baz.A",
		"foo.*.A":     "foo.bar.A foo.baz.A foo.>.A",
		"*.bar.*":     "foo.bar.A foo.bar.B",
		"foo.*.>":     "foo.bar.A foo.bar.B foo.bar.baz.A foo.baz.A foo.>.A",
		"foo.*.*.*":   "foo.bar.baz.A",
		"a.*.c":       "a.b.c a.*.c",
		"a.>":         "a.b.c a.*.c a.>",
		"foo.bar*":    "foo.bar*",
		"foo.>.A":     "foo.>.A",
		">.foo":       ">.foo",
		"foo.*.>.A":   "",
		"foo.>.*":     "foo.>.A",
		">.>":         ">.foo",
		"foo.ba":      "",
		"**":          "",
		"foo.>.":      "",
		".":           "",
		"foo.>.A.B.>": "",
	} {
		f := NewFilter(filter)
		var got []string
		for _, s := range subjects {
			if f.Match(s) {
				got = append(got, s)
			}
		}
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: got %v, want %s", filter, got, want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"a.*.c", "a.>", "a.>.b", ">.a", ".", "a..b", "*a.b*"} {
		f.Add(s, "a.b.c")
	}
	f.Fuzz(func(t *testing.T, filter, subject string) {
		if matchesAll(filter) || slices.Contains(strings.Split(subject, "."), "") {
			return // nothing says what an empty token matches
		}
		if got, want := NewFilter(filter).Match(subject), matchTokens(filter, subject); got != want {
			t.Errorf("%q matches %q: %v, want %v", filter, subject, got, want)
		}
	})
}

// matchTokens is Match as the words say it.
func matchTokens(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range f {
		switch {
		case token == ">" && i == len(f)-1:
			return len(s) > i
		case i == len(s) || token != "*" && token != s[i]:
			return false
		}
	}
	return len(f) == len(s)
}
