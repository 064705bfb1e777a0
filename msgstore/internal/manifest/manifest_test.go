package manifest

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/highway"
	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/seqset"
)

func example() *indexdb.Index {
	deleted := new(seqset.Set)
	deleted.Insert(3)
	return &indexdb.Index{
		Msgs: 4, Bytes: 200, FirstSeq: 2, LastSeq: 6, LastTime: 9, NumSubjects: 3,
		Blocks: []indexdb.Block{
			{Number: 1, Bytes: 150, FirstSeq: 2, LastSeq: 5, Deleted: deleted},
			{Number: 4, Bytes: 50, FirstSeq: 6, LastSeq: 6},
		},
		LastBlock: 4, LastChecksum: [8]byte{1, 2, 3, 4, 5, 6, 7, 8},
	}
}

func TestRoundTrip(t *testing.T) {
	want := example()
	b := Append([]byte("x"), want, "S")[1:]
	got, err := Decode(b, "S")
	if err != nil {
		t.Fatal(err)
	}
	if got.NumSubjects != 0 || got.Msgs != 4 || got.LastBlock != 4 || got.LastChecksum != want.LastChecksum || len(got.Blocks) != 2 ||
		!got.Blocks[0].Deleted.Equal(want.Blocks[0].Deleted) || !reflect.DeepEqual(got.Blocks[1], want.Blocks[1]) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := Decode(b, "T"); err == nil {
		t.Error("the manifest of another stream was taken")
	}
	for i := range b {
		b[i] ^= 1
		if _, err := Decode(b, "S"); err == nil {
			t.Errorf("byte %d is not covered", i)
		}
		b[i] ^= 1
	}
	newer := append([]byte(nil), b[:len(b)-highway.Size]...)
	newer[8] = Version + 1
	newer = binary.LittleEndian.AppendUint64(newer, highway.Sum64("S", newer))
	if _, err := Decode(newer, "S"); err == nil {
		t.Error("a newer version was taken")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Append(nil, example(), "S"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := Decode(b, "S"); err == nil && x == nil {
			t.Error("nothing")
		}
		// Behind the checksum, too.
		if len(b) > highway.Size {
			c := append([]byte(nil), b[:len(b)-highway.Size]...)
			Decode(binary.LittleEndian.AppendUint64(c, highway.Sum64("S", c)), "S")
		}
	})
}
