package wheel

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/fixture"
)

func TestOrder(t *testing.T) {
	var w Wheel
	if _, ok := w.Next(); ok || w.Len() != 0 || w.Remove(Entry{1, 1}) || w.Due(nil, 100, Entry{}, 9) != nil {
		t.Error("an empty wheel holds something")
	}
	for _, e := range []Entry{{30, 1}, {10, 5}, {20, 3}, {10, 2}, {10, 2}} {
		w.Add(e)
	}
	if next, ok := w.Next(); !ok || next != (Entry{10, 2}) || w.Len() != 4 {
		t.Errorf("next %v of %d", next, w.Len())
	}
	first := w.Due(nil, 20, Entry{}, 2)
	second := w.Due(nil, 20, first[1], 2)
	if !slices.Equal(first, []Entry{{10, 2}, {10, 5}}) || !slices.Equal(second, []Entry{{20, 3}}) {
		t.Errorf("due %v, then %v", first, second)
	}
	if !w.Remove(Entry{10, 2}) || w.Remove(Entry{10, 2}) || w.Remove(Entry{10, 3}) {
		t.Error("removal")
	}
	if next, _ := w.Next(); next != (Entry{10, 5}) {
		t.Errorf("next %v", next)
	}
}

func TestAgainstModel(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	var w Wheel
	model := map[Entry]bool{}
	for step := range 5000 {
		e := Entry{rng.Int64N(50) - 10, rng.Uint64N(40) + 1}
		if rng.IntN(2) == 0 {
			w.Add(e)
			model[e] = true
		} else if w.Remove(e) != model[e] {
			t.Fatalf("step %d: Remove(%v)", step, e)
		} else {
			delete(model, e)
		}
		if step%100 > 0 {
			continue
		}
		var want []Entry
		for e := range model {
			if e.At <= 20 {
				want = append(want, e)
			}
		}
		slices.SortFunc(want, compare)
		var got []Entry
		last := Entry{At: -1 << 62}
		for {
			n := len(got)
			if got = w.Due(got, 20, last, 7); len(got) == n {
				break
			}
			last = got[len(got)-1]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("step %d: due %v, want %v", step, got, want)
		}
	}
}

// The format document, section 19.5, and the fixture that it comes from.
func TestFixture(t *testing.T) {
	dir, _ := fixture.Unpack(t, "msg-ttl")
	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "thw.db"))
	if err != nil || len(files) == 0 {
		t.Fatal("no thw.db", err)
	}
	found := false
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		w, stamp, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(b, unhex("010c000000000000001f00000000000000b29dcc82aec7ab8c850118")) {
			found = true
			if w.Len() != 12 || stamp != 31 {
				t.Errorf("%d entries, stamp %d", w.Len(), stamp)
			}
			if !slices.ContainsFunc(w.Due(nil, math.MaxInt64, Entry{}, 100), func(e Entry) bool { return e.Seq == 24 }) {
				t.Error("sequence 24 is missing")
			}
		}
		again := w.AppendTo(nil, stamp)
		if len(again) != len(b) {
			t.Errorf("encoded again into %d bytes, was %d", len(again), len(b))
		}
	}
	if !found {
		t.Error("the documented file is not there")
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func TestCodec(t *testing.T) {
	var w Wheel
	w.Add(Entry{1e9, 300})
	b := w.AppendTo(nil, 301)
	if got, want := hex.EncodeToString(b), "0101000000000000002d0100000000000080a8d6b907ac02"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "version": unhex("02" + hex.EncodeToString(b[1:])), "cut": b[:len(b)-1], "long": append(bytes.Clone(b), 0),
		"count": unhex("01ffffffffffffffff0000000000000000"),
	} {
		if _, _, err := Decode(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	var w Wheel
	w.Add(Entry{1e9, 300})
	w.Add(Entry{-5, 1})
	f.Add(w.AppendTo(nil, 301))
	seeds, _ := fixture.Contents(f, "thw.db")
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w, stamp, err := Decode(b)
		if err != nil {
			return
		}
		again, s2, err := Decode(w.AppendTo(nil, stamp))
		if err != nil || s2 != stamp || again.Len() != w.Len() {
			t.Fatalf("does not survive: %v", err)
		}
	})
}

func BenchmarkAddRemove(b *testing.B) {
	var w Wheel
	for i := range int64(1_000_000) {
		w.Add(Entry{i * 7919 % 1_000_003, uint64(i)})
	}
	i := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		e := Entry{i % 1_000_003, uint64(i) + 2_000_000}
		w.Add(e)
		w.Remove(e)
		i++
	}
}
