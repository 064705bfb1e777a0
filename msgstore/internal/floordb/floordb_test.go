package floordb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/highway"
	"github.com/natsd/natsd/msgstore/internal/sidecar"
)

func TestRoundTrip(t *testing.T) {
	for _, m := range []Mark{{}, {Block: 3, Offset: 4096, Sum: [8]byte{1, 2, 3}, Seq: 99, Gone: []uint32{1, 2}}} {
		b := m.Append([]byte("x"), "S")[1:]
		got, err := Decode(b, "S")
		if err != nil || !reflect.DeepEqual(*got, m) {
			t.Errorf("%+v, want %+v: %v", got, m, err)
		}
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 0x10
			if _, err := Decode(bad, "S"); err == nil {
				t.Errorf("byte %d changed unnoticed", i)
			}
			if _, err := Decode(b[:i], "S"); !errors.Is(err, ErrCorrupt) {
				t.Errorf("cut at %d: %v", i, err)
			}
		}
		if _, err := Decode(b, "T"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("another stream's: %v", err)
		}
		newer := bytes.Clone(b)
		newer[8]++
		newer = highway.Append("S", newer[:len(newer)-8])
		var ne *sidecar.NewerError
		if _, err := Decode(newer, "S"); !errors.As(err, &ne) || ne.Found != Version+1 {
			t.Errorf("newer: %v", err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add((&Mark{Block: 3, Seq: 99, Gone: []uint32{1, 2}}).Append(nil, "S"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(b) - highway.Size; n >= 0 && b[0]&0x80 == 0 {
			// No fuzzer finds a checksum.
			b = binary.LittleEndian.AppendUint64(b[:n:n], highway.Sum64("S", b[:n]))
		}
		m, err := Decode(b, "S")
		if err == nil && len(m.Append(nil, "S")) != len(b) {
			t.Fatalf("%+v", m)
		}
	})
}
