package meta

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/fixture"
)

func TestJudge(t *testing.T) {
	old, new := []byte("old"), []byte("new")
	oldSum, newSum := Sum("S", old), Sum("S", new)
	for name, tc := range map[string]struct {
		f    Files
		want Verdict
	}{
		"pair":                     {Files{Inf: old, Sum: oldSum}, Good},
		"pair, next one prepared":  {Files{Inf: old, Sum: oldSum, InfTmp: new, SumTmp: newSum}, Good},
		"configuration renamed":    {Files{Inf: new, Sum: oldSum, SumTmp: newSum}, TakeSum},
		"checksum renamed":         {Files{Inf: old, Sum: newSum, InfTmp: new}, TakeInf},
		"created, sum not renamed": {Files{Inf: new, SumTmp: newSum}, TakeSum},
		"created, none renamed":    {Files{InfTmp: new, SumTmp: newSum}, Absent},
		"only a configuration":     {Files{Inf: new}, Absent},
		"nothing":                  {Files{}, Absent},
		"damage":                   {Files{Inf: new, Sum: oldSum}, Mismatch},
		"short sum":                {Files{Inf: new, Sum: newSum[:15]}, Mismatch},
		"tmp of something else":    {Files{Inf: []byte("x"), Sum: oldSum, InfTmp: new, SumTmp: newSum}, Mismatch},
	} {
		if got := Judge("S", tc.f); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// Every meta.sum of the fixtures, streams and consumers, agrees, but for the one
// that was damaged.
func TestFixtures(t *testing.T) {
	checked, bad := 0, 0
	for _, name := range fixture.Names(t) {
		dir, _ := fixture.Unpack(t, name)
		streams, _ := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*"))
		consumers, _ := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "obs", "*"))
		for _, d := range append(streams, consumers...) {
			key := StreamName(filepath.Base(d))
			if filepath.Base(filepath.Dir(d)) == "obs" {
				key = ConsumerName(filepath.Base(filepath.Dir(filepath.Dir(d))), filepath.Base(d))
			}
			inf, err := os.ReadFile(filepath.Join(d, "meta.inf"))
			if err != nil {
				continue
			}
			sum, err := os.ReadFile(filepath.Join(d, "meta.sum"))
			if err != nil {
				t.Fatal(err)
			}
			checked++
			if Judge(key, Files{Inf: inf, Sum: sum}) != Good {
				bad++
				if !strings.HasSuffix(d, "METABAD") {
					t.Errorf("%s: %s: %s, computed %s", name, d, sum, Sum(key, inf))
				}
			}
		}
	}
	if checked < 50 || bad != 1 {
		t.Errorf("%d checked, %d bad", checked, bad)
	}
}

func FuzzJudge(f *testing.F) {
	f.Add([]byte("{}"), Sum("S", []byte("{}")), []byte(nil), []byte(nil), uint8(0))
	f.Add([]byte("{}"), []byte(nil), []byte("x"), []byte(nil), uint8(3))
	seeds, _ := fixture.Contents(f, "meta.inf")
	for i, b := range seeds {
		f.Add(b, Sum("S", b), b[:len(b)/2], Sum("S", b[:len(b)/2]), uint8(i))
	}
	f.Fuzz(func(t *testing.T, inf, sum, infTmp, sumTmp []byte, which uint8) {
		// No fuzzer finds a checksum: which says whose sums are made true.
		for i, b := range []*[]byte{&sum, &sum, &sumTmp, &sumTmp} {
			if which>>i&1 == 1 {
				*b = Sum("S", [][]byte{inf, infTmp}[i&1])
			}
		}
		files := Files{inf, sum, infTmp, sumTmp}
		pair := files
		switch Judge("S", files) {
		case TakeSum:
			pair.Sum = sumTmp
		case TakeInf:
			pair.Inf = infTmp
		case Absent, Mismatch:
			return
		}
		if string(Sum("S", pair.Inf)) != string(pair.Sum) {
			t.Fatalf("%q does not belong to %q", pair.Sum, pair.Inf)
		}
	})
}
