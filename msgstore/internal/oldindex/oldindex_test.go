package oldindex

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/natsd/natsd/msgstore/seqset"
)

// A file that nats-server 2.9.10 has written of ten messages, of which it removed
// 3, 7 and 8.
const written = "160107fc01018abe9ece85c4a9ea310ab2ada4cf85c4a9ea3103a5df16884d715ecd020607"

func TestDecode(t *testing.T) {
	b, err := hex.DecodeString(written)
	if err != nil {
		t.Fatal(err)
	}
	x, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if x.Msgs != 7 || x.FirstSeq != 1 || x.LastSeq != 10 || x.FirstTime != 1795338730398273413 || x.LastTime != 1795338730399370073 {
		t.Errorf("%+v", x)
	}
	for seq := range uint64(12) {
		if want := 1 <= seq && seq <= 10 && seq != 3 && seq != 7 && seq != 8; x.Has(seq) != want {
			t.Errorf("%d: %v", seq, !want)
		}
	}
	sum := x.LastSum
	if hex.EncodeToString(sum[:]) != "a5df16884d715ecd" || !x.Describes(252, sum) || x.Describes(0, sum) {
		t.Errorf("of a block that ends with %x", sum)
	}
	if sum[0]++; x.Describes(252, sum) {
		t.Error("of another block, too")
	}
	for i := range b {
		if _, err := Decode(b[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}

	// Version 2 differs in how it tells what is deleted.
	var set seqset.Set
	for _, seq := range []uint64{3, 7, 8} {
		set.Insert(seq)
	}
	b = set.AppendTo(b[:len(b)-3])
	b[1] = 2
	if y, err := Decode(b); err != nil || !y.deleted.Equal(x.deleted) {
		t.Errorf("version 2: %+v, %v", y, err)
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := hex.DecodeString(written)
	f.Add(b)
	f.Add([]byte("\x16\x01\x00\x00\x0b\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := Decode(b)
		if err != nil {
			return
		}
		if x.Has(x.LastSeq+1) || x.FirstSeq > 0 && x.Has(x.FirstSeq-1) {
			t.Fatalf("%+v", x)
		}
	})
}
