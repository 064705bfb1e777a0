package streamstate

import (
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/sources"
	"github.com/natsd/natsd/msgstore/seqset"
)

func setOf(seqs ...uint64) *seqset.Set {
	s := new(seqset.Set)
	for _, q := range seqs {
		s.Insert(q)
	}
	return s
}

// The format document, section 13.
var golden = "2a0107980202" + "0a0702" + "1602" + "01000000" + "02000000" + "0000000000000000" + "2004000000000000" + strings.Repeat("0000000000000000", 31) + "0100"

func TestGolden(t *testing.T) {
	s := &State{Msgs: 7, Bytes: 280, FirstSeq: 2, LastSeq: 10, Failed: 7, Deleted: []DeleteBlock{{Set: setOf(5, 10)}}}
	b := s.AppendTo(nil)
	if got := hex.EncodeToString(b); got != golden {
		t.Fatalf("%s\nwant %s", got, golden)
	}
	back, err := Decode(b)
	if err != nil || back.Msgs != 7 || back.Bytes != 280 || back.FirstSeq != 2 || back.LastSeq != 10 || back.Failed != 7 || len(back.Deleted) != 1 || !back.Deleted[0].Set.Equal(setOf(5, 10)) {
		t.Fatalf("%+v, %v", back, err)
	}
	first, last, num := back.Deleted[0].Bounds()
	if first != 5 || last != 10 || num != 2 || back.NumDeleted() != 2 {
		t.Errorf("%d..%d, %d", first, last, num)
	}
}

func TestMixtureAndSources(t *testing.T) {
	s := &State{
		Msgs: 5, Bytes: 150, FirstSeq: 1, LastSeq: 200,
		Sources: []sources.Progress{{Name: "O1 > >", Seq: 20, Identity: "id"}},
		Deleted: []DeleteBlock{{First: 2, Num: 100}, {Set: setOf(110, 120)}, {First: 130, Num: 60}},
	}
	b := s.AppendTo(nil)
	back, err := Decode(b)
	if err != nil || !reflect.DeepEqual(back.Sources, s.Sources) || len(back.Deleted) != 3 || back.Deleted[0] != s.Deleted[0] || !back.Deleted[1].Set.Equal(s.Deleted[1].Set) || back.Deleted[2] != s.Deleted[2] {
		t.Fatalf("%+v, %v", back, err)
	}
	if first, last, num := back.Deleted[0].Bounds(); first != 2 || last != 101 || num != 100 {
		t.Errorf("%d..%d, %d", first, last, num)
	}
	empty := (&State{FirstSeq: 1}).AppendTo(nil)
	if got := hex.EncodeToString(empty); got != "2a01000001000000" {
		t.Errorf("empty: %s", got)
	}
}

func TestRefused(t *testing.T) {
	good, _ := hex.DecodeString(golden)
	for name, b := range map[string][]byte{"empty": nil, "short": good[:1], "magic": append([]byte{43}, good[1:]...), "version": append([]byte{42, 3}, good[2:]...)} {
		if _, err := Decode(b); !errors.Is(err, ErrHeader) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := map[string][]byte{
		"cut in the totals": good[:5],
		"cut in the set":    good[:len(good)-1],
		"unknown block":     append([]byte{42, 1, 1, 1, 1, 9, 0, 3}, 34),
		"run of nothing":    {42, 1, 1, 1, 1, 9, 0, 3, 33, 5, 0},
		"sources":           {42, 2, 1, 1, 1, 9, 0, 200, 1},
	}
	over := append([]byte{42, 1, 1, 1, 1, 9, 0, 3, 33, 5}, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1)
	bad["run over the end"] = over
	for name, b := range bad {
		if _, err := Decode(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := (&State{Msgs: math.MaxUint64, FirstSeq: 1, LastSeq: 9}).NumDeleted(); n != 0 {
		t.Errorf("%d deleted", n)
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := hex.DecodeString(golden)
	f.Add(b)
	f.Add((&State{Msgs: 5, FirstSeq: 1, LastSeq: 9, Sources: []sources.Progress{{Name: "O", Seq: 1}}, Deleted: []DeleteBlock{{First: 2, Num: 3}}}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(s.AppendTo(nil))
		if err != nil || len(again.Deleted) != len(s.Deleted) || again.LastSeq != s.LastSeq {
			t.Fatalf("does not survive: %+v, %v", again, err)
		}
	})
}
