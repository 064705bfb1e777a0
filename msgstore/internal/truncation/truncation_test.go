package truncation

import (
	"errors"
	"reflect"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/highway"
	"github.com/natsd/natsd/msgstore/internal/sidecar"
)

func TestRoundTrip(t *testing.T) {
	want := &Plan{Seq: 1 << 40, Keep: 7, Next: 9, Records: []byte("records"), Index: []byte("index")}
	b := want.Append([]byte("x"), "S")[1:]
	got, err := Decode(b, "S")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := Decode(b, "T"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("for another stream: %v", err)
	}
	for n := range b {
		if _, err := Decode(b[:n], "S"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	b[8]++
	if _, err := Decode(b, "S"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged version: %v", err)
	}
	b = highway.Append("S", b[:len(b)-highway.Size])
	var newer *sidecar.NewerError
	if _, err := Decode(b, "S"); !errors.As(err, &newer) || newer.Found != Version+1 {
		t.Errorf("newer version: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add((&Plan{Seq: 5, Records: []byte("r")}).Append(nil, "S"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(b, "S")
		if err == nil && string(p.Append(nil, "S")) != string(b) {
			t.Error("what was read is written otherwise")
		}
	})
}
