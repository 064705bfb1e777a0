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

// FuzzDecode reads files whose entries are a number and a text, as the longest of
// the three kinds have them: what is accepted is consumed whole, has as many
// entries as it says, and is what AppendHead and the entries make again.
func FuzzDecode(f *testing.F) {
	f.Add(append(AppendHead(nil, 2, 7), 5, 1, 'a', 6, 0))
	f.Add(AppendHead(nil, 0, 1<<63))
	f.Add(AppendHead(nil, 1<<62, 7))
	f.Add(append(AppendHead(nil, 1, 7), 0x80, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		const minEntry = 2
		var body []byte
		entries := 0
		stamp, err := Decode(b, minEntry, func(r *binread.Reader) error {
			entries++
			n := r.Byte()
			text := r.Bytes(uint64(r.Byte()))
			body = append(append(body, n, byte(len(text))), text...)
			return nil
		})
		if entries > len(b)/minEntry {
			t.Fatalf("%d entries of %d bytes", entries, len(b))
		}
		if err == nil && !slices.Equal(append(AppendHead(nil, entries, stamp), body...), b) {
			t.Fatalf("%d entries and stamp %d do not make the file again", entries, stamp)
		}
	})
}
