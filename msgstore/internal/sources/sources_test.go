package sources

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/fixture"
)

// The format document, section 19.5.
const golden = "0102000000000000001f00000000000000064f31203e203e140832746e67396b6f77094f32206f322e61203e130873797a3746756e59"

func TestGolden(t *testing.T) {
	b, _ := hex.DecodeString(golden)
	want := []Progress{{"O1 > >", 20, "2tng9kow"}, {"O2 o2.a >", 19, "syz7FunY"}}
	list, stamp, err := Decode(b)
	if err != nil || stamp != 31 || !reflect.DeepEqual(list, want) {
		t.Fatalf("%v, stamp %d, %v", list, stamp, err)
	}
	if got := Append(nil, append(want, Progress{Name: "O3 > >"}), 31); !bytes.Equal(got, b) {
		t.Errorf("%x, want %s", got, golden)
	}
	for i := range b {
		if _, _, err := Decode(b[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if _, _, err := Decode(append(b, 0)); !errors.Is(err, ErrCorrupt) {
		t.Error("bytes behind the entries")
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := hex.DecodeString(golden)
	f.Add(b)
	seeds, _ := fixture.Contents(f, "sources.db")
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, stamp, err := Decode(b)
		if err != nil {
			return
		}
		kept := list[:0]
		for _, p := range list {
			if p.Seq > 0 {
				kept = append(kept, p)
			}
		}
		again, s2, err := Decode(Append(nil, kept, stamp))
		if err != nil || s2 != stamp || len(again) != len(kept) {
			t.Fatalf("%v, want %v: %v", again, kept, err)
		}
	})
}
