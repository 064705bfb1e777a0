package scheddb

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/internal/fixture"
)

func TestTable(t *testing.T) {
	var tab Table
	if _, ok := tab.Next(); ok || tab.Cancel("a") || tab.Due(nil, 1<<60, 5) != nil {
		t.Error("an empty table holds something")
	}
	tab.Begin("a")
	tab.Set(Entry{30, 1, "a"})
	tab.Set(Entry{10, 2, "b"})
	tab.Set(Entry{20, 3, "c"})
	tab.Set(Entry{40, 4, "b"}) // replaces the one at 10
	due := func(now int64, limit int) (subjects []string) {
		for _, e := range tab.Due(nil, now, limit) {
			subjects = append(subjects, e.Subject)
		}
		return subjects
	}
	if got := due(100, 9); !slices.Equal(got, []string{"c", "a", "b"}) {
		t.Errorf("due %v", got)
	}
	if got := due(30, 9); !slices.Equal(got, []string{"c", "a"}) {
		t.Errorf("due at 30: %v", got)
	}
	if got := due(100, 1); !slices.Equal(got, []string{"c"}) {
		t.Errorf("one due: %v", got)
	}
	tab.Begin("c")
	if got := due(100, 9); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("due while c is in flight: %v", got)
	}
	if e, ok := tab.Next(); !ok || e != (Entry{30, 1, "a"}) {
		t.Errorf("next %v", e)
	}
	tab.Reset()
	if got := due(100, 9); !slices.Equal(got, []string{"c", "a", "b"}) {
		t.Errorf("due after a reset: %v", got)
	}
	tab.Begin("c")
	tab.Set(Entry{25, 3, "c"}) // its result was stored, the next run is set
	if got := due(100, 9); !slices.Equal(got, []string{"c", "a", "b"}) {
		t.Errorf("due after the next run was set: %v", got)
	}
	if tab.CancelSeq("c", 9) || !tab.CancelSeq("c", 3) || tab.Cancel("c") {
		t.Error("cancelling by sequence")
	}
	if _, ok := tab.Get("c"); ok || tab.Len() != 2 {
		t.Errorf("%d left", tab.Len())
	}
}

// The format document, section 19.5, and the fixture that it comes from.
func TestFixture(t *testing.T) {
	dir, _ := fixture.Unpack(t, "schedules")
	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "sched.db"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	tab, stamp, err := Decode(b)
	if err != nil || tab.Len() != 8 || stamp != 13 {
		t.Fatalf("%v, stamp %d, %v", tab, stamp, err)
	}
	e, ok := tab.Get("s.at.0")
	if want := time.Date(2070, 1, 2, 3, 4, 5, 0, time.UTC); !ok || e.Seq != 1 || !time.Unix(0, e.At).Equal(want) {
		t.Errorf("s.at.0: %+v", e)
	}
	if again := tab.AppendTo(nil, stamp); len(again) != len(b) {
		t.Errorf("%d bytes, was %d", len(again), len(b))
	}
}

func TestCodec(t *testing.T) {
	var tab Table
	tab.Set(Entry{1e9, 5, "s.a"})
	b := tab.AppendTo(nil, 6)
	if got, want := hex.EncodeToString(b), "01010000000000000006000000000000000300732e6180a8d6b90705"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	twice := append(bytes.Clone(b), b[17:]...)
	twice[1] = 2
	for name, bad := range map[string][]byte{
		"empty": nil, "version": append([]byte{2}, b[1:]...), "cut": b[:len(b)-1], "long": append(bytes.Clone(b), 0), "twice": twice,
		"count": append([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255}, b[9:]...),
	} {
		if _, _, err := Decode(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	var tab Table
	tab.Set(Entry{1e9, 5, "s.a"})
	f.Add(tab.AppendTo(nil, 6))
	seeds, _ := fixture.Contents(f, "sched.db")
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tab, stamp, err := Decode(b)
		if err != nil {
			return
		}
		again, s2, err := Decode(tab.AppendTo(nil, stamp))
		if err != nil || s2 != stamp || again.Len() != tab.Len() {
			t.Fatalf("does not survive: %v", err)
		}
	})
}
