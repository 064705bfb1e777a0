package tablefile

import (
	"errors"
	"slices"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/binread"
)

func TestDecode(t *testing.T) {
	good := append(AppendHead(nil, 2, 7), 5, 6)
	edit := func(at int, v byte) []byte {
		b := slices.Clone(good)
		b[at] = v
		return b
	}
	errEntry := errors.New("entry")
	for name, tc := range map[string]struct {
		b    []byte
		want []byte
		err  error
	}{
		"good":            {good, []byte{5, 6}, nil},
		"empty table":     {AppendHead(nil, 0, 7), nil, nil},
		"no byte":         {nil, nil, errCount},
		"head cut":        {good[:16], nil, errCount},
		"version":         {edit(0, 2), nil, errVersion},
		"too many":        {edit(1, 3), nil, errCount},
		"count overflows": {edit(8, 0x80), nil, errCount},
		"too few":         {edit(1, 1), []byte{5}, errLength},
		"bad entry":       {edit(18, 0xff), []byte{5}, errEntry},
	} {
		var got []byte
		stamp, err := Decode(tc.b, 1, func(r *binread.Reader) error {
			if v := r.Byte(); v != 0xff {
				got = append(got, v)
				return nil
			}
			return errEntry
		})
		if !errors.Is(err, tc.err) || !slices.Equal(got, tc.want) || err == nil && stamp != 7 {
			t.Errorf("%s: %v, stamp %d, %v", name, got, stamp, err)
		}
	}
	if _, err := Decode(good, 1, func(r *binread.Reader) error { r.Bytes(3); return nil }); !errors.Is(err, errLength) {
		t.Errorf("an entry beyond the end: %v", err)
	}
}
