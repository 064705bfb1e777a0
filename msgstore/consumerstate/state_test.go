package consumerstate

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/internal/keys"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The format document, section 12: consumer "ackall" of the fixture.
const ackall = "16 02 07 07 0c 0c 05 86a191b00d 01 01 02 03 03 02 02 02 02 04 04 02 05 05 02 00"

func TestGolden(t *testing.T) {
	s, err := Decode(unhex(t, ackall))
	if err != nil {
		t.Fatal(err)
	}
	want := State{Delivered: Pair{12, 12}, AckFloor: Pair{7, 7}, Pending: map[uint64]Pending{}}
	for seq := uint64(8); seq <= 12; seq++ {
		want.Pending[seq] = Pending{seq, 1795303490e9}
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("%+v", s)
	}
	// Ours are in order, otherwise the bytes are the same.
	sorted := "16 02 07 07 0c 0c 05 86a191b00d 01 01 02 02 02 02 03 03 02 04 04 02 05 05 02 00"
	if got := s.Append(nil, 1795303490_600000000); hex.EncodeToString(got) != strings.ReplaceAll(sorted, " ", "") {
		t.Errorf("%x", got)
	}
	none, err := Decode(nil)
	if err != nil || !reflect.DeepEqual(none, State{}) {
		t.Errorf("empty file: %+v, %v", none, err)
	}
}

// Every o.dat of the fixtures decodes to what the fixture says.
func TestFixtures(t *testing.T) {
	compared := 0
	for _, name := range fixture.Names(t) {
		dir, c := fixture.Unpack(t, name)
		for _, s := range c.Truth() {
			for _, con := range s.Consumers {
				obs := filepath.Join(dir, "jetstream", s.Account, "streams", s.Name, "obs", con.Name)
				b, err := os.ReadFile(filepath.Join(obs, "o.dat"))
				if err != nil || con.Stored == nil {
					continue
				}
				if c.Encryption != nil {
					file, err := os.ReadFile(filepath.Join(obs, "meta.key"))
					if err != nil {
						t.Fatal(err)
					}
					key, _, err := keys.Ring{Key: []byte(c.Encryption.Key)}.Open(keys.OfConsumer(s.Account, s.Name, con.Name), file)
					if err != nil {
						t.Fatal(err)
					}
					if b, err = key.Unseal(b); err != nil {
						t.Fatal(err)
					}
				}
				got, err := Decode(b)
				if err != nil {
					t.Errorf("%s %s: %v", name, con.Name, err)
					continue
				}
				want := State{Delivered: Pair(con.Stored.Delivered), AckFloor: Pair(con.Stored.AckFloor)}
				if len(con.Stored.Redelivered) > 0 {
					want.Redelivered = con.Stored.Redelivered
				}
				for seq, p := range con.Stored.Pending {
					if want.Pending == nil {
						want.Pending = map[uint64]Pending{}
					}
					want.Pending[seq] = Pending{p.Consumer, p.Seconds * second}
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s %s: %+v, want %+v", name, con.Name, got, want)
				}
				compared++
			}
		}
	}
	if compared < 8 {
		t.Errorf("%d compared", compared)
	}
	dir, _ := fixture.Unpack(t, "dmg-consumer-state")
	for name, want := range map[string]string{"good": "", "bad": "corrupt consumer state: unsupported version: 18"} {
		b, err := os.ReadFile(filepath.Join(dir, "jetstream", "$G", "streams", "CD", "obs", name, "o.dat"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(b); err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestVersion1(t *testing.T) {
	b := []byte{magic, version1, 3, 5, 4, 7, 2} // floor 3/5, delivered (3-1)+4 / (5-1)+7
	b = binary.AppendVarint(b, 1000)
	b = binary.AppendUvarint(b, 1)
	b = binary.AppendVarint(b, -2)
	b = binary.AppendUvarint(b, 6)
	b = binary.AppendVarint(b, 0)
	b = append(b, 1, 2, 9)
	s, err := Decode(b)
	want := State{Delivered: Pair{6, 11}, AckFloor: Pair{3, 5},
		Pending: map[uint64]Pending{6: {0, 998e9}, 11: {0, 1000e9}}, Redelivered: map[uint64]uint64{7: 9}}
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestRedeliveredBelowTheFloor(t *testing.T) {
	s := State{Delivered: Pair{9, 9}, AckFloor: Pair{9, 9}, Redelivered: map[uint64]uint64{4: 3}}
	back, err := Decode(s.Append(nil, 0))
	if err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestDecodeErrors(t *testing.T) {
	good := unhex(t, ackall)
	for i := 1; i < len(good); i++ {
		if _, err := Decode(good[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	for text, want := range map[string]string{
		"17 02 00 00 00 00 00 00":                         "magic 23",
		"16 12 00 00 00 00 00 00":                         "unsupported version: 18",
		"16 02 05 05 04 05 00 00":                         "bad ack floor for consumer",
		"16 02 05 06 05 05 00 00":                         "bad ack floor for stream",
		"16 02 05 05 09 09 01 02 09 01 02 00":             "bad pending entry, sequence [14] out of range",
		"16 02 05 05 09 09 00 00 00":                      "1 bytes too many",
		"16 02 00 00 09 09 01 02 00 01 02 00":             "pending sequence 0",
		"16 02 05 05 09 80808080808080808001 00 00":       "stream sequence",
		"16 02 05 05 09 09 ffffffffffffffff7f 02 00 00":   "pending",
		"16 02 05 05 09 09 00 ffffffffffffffff7f 01 01":   "redelivered",
		"16 02 ffffffffffffffffffffffffff 05 09 09 00 00": "short",
	} {
		if _, err := Decode(unhex(t, text)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestJSON(t *testing.T) {
	s := State{Delivered: Pair{2, 4}, AckFloor: Pair{1, 2}, Pending: map[uint64]Pending{4: {2, 77}}, Redelivered: map[uint64]uint64{4: 1}}
	b, err := json.Marshal(s)
	want := `{"delivered":{"consumer_seq":2,"stream_seq":4},"ack_floor":{"consumer_seq":1,"stream_seq":2},"pending":{"4":{"Sequence":2,"Timestamp":77}},"redelivered":{"4":1}}`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(unhex(f, ackall))
	f.Add(unhex(f, "1601030504070201d00f01030600010209"))
	seeds, _ := fixture.Contents(f, "o.dat")
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			return
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		again, err := Decode(s.Append(nil, 5e9))
		if err != nil || again.Delivered != s.Delivered || again.AckFloor != s.AckFloor || !maps.Equal(again.Redelivered, s.Redelivered) ||
			!slices.Equal(slices.Sorted(maps.Keys(again.Pending)), slices.Sorted(maps.Keys(s.Pending))) {
			t.Fatalf("%+v\n%+v\n%v", s, again, err)
		}
	})
}
