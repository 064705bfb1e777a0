package indexdb

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/seqset"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The format document, section 19.4.
const (
	purgeall = "0b 04 00 00 29 00 28 eca1e7bbcdc099ea31 00 01 02 00 29 00 28 eca1e7bbcdc099ea31 00 00 00 02 2795bee65eee3795 244312de5c7f6a9d"
	fs1      = "0b 04 07 c003 8827 e0f686b398c199ea31 8e27 bcb5b9b498c199ea31 01 04 66312e78 07 02 02 01 02 c003 8827 00 8e27 dcbeb201 00 00 00 02 ae041349e631aecc b3174265a16fae8c"
)

func TestVectors(t *testing.T) {
	plain, err := Unseal(unhex(t, purgeall), "PURGEALL", nil)
	if err != nil {
		t.Fatal(err)
	}
	x, err := Decode(plain)
	if err != nil {
		t.Fatal(err)
	}
	if x.Msgs != 0 || x.FirstSeq != 41 || x.FirstTime != 0 || x.LastSeq != 40 || x.LastTime != 1795303486951057526 || x.NumSubjects != 0 ||
		len(x.Blocks) != 1 || x.LastBlock != 2 || hex.EncodeToString(x.LastChecksum[:]) != "2795bee65eee3795" {
		t.Errorf("%+v", x)
	}
	if b := x.Blocks[0]; b.Number != 2 || b.FirstSeq != 41 || b.FirstTime != 0 || b.LastSeq != 40 || b.LastTime != 1795303486951057526 || b.Msgs() != 0 {
		t.Errorf("%+v", b)
	}
	if err := x.CheckTotals(); err != nil {
		t.Error(err)
	}

	plain, err = Unseal(unhex(t, fs1), "FS1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if x, err = Decode(plain); err != nil {
		t.Fatal(err)
	}
	subjects := slices.Collect(x.Subjects())
	if x.Msgs != 7 || x.Bytes != 448 || x.FirstSeq != 5000 || x.LastSeq != 5006 || len(subjects) != 1 || string(subjects[0].Name) != "f1.x" || subjects[0].Total != 7 {
		t.Errorf("%+v %+v", x, subjects)
	}
	if b := x.Blocks[0]; b.FirstTime != x.FirstTime || b.LastTime != x.LastTime || b.Msgs() != 7 {
		t.Errorf("%+v", b)
	}
	for _, file := range []string{purgeall, fs1} {
		name := "PURGEALL"
		if file == fs1 {
			name = "FS1"
		}
		plain, _ := Unseal(unhex(t, file), name, nil)
		x, _ := Decode(plain)
		again, err := Seal(x.Append(nil, x.Subjects()), name, nil)
		if err != nil || hex.EncodeToString(again) != strings.ReplaceAll(file, " ", "") {
			t.Errorf("%s: encoded again: %x", name, again)
		}
	}
}

// Every index.db of the undamaged fixtures decodes to the state that the
// fixture names, and encodes to the same bytes again.
func TestFixtures(t *testing.T) {
	for _, name := range fixture.Names(t) {
		dir, c := fixture.Unpack(t, name)
		for _, s := range c.Streams {
			stream := filepath.Join(dir, "jetstream", s.Account, "streams", s.Name)
			file, err := os.ReadFile(filepath.Join(stream, "msgs", "index.db"))
			if err != nil {
				if !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				continue
			}
			var key *keys.Key
			if c.Encryption != nil {
				cipher, err := keys.ParseCipher(c.Encryption.Cipher)
				if err != nil {
					t.Fatal(err)
				}
				kf, err := os.ReadFile(filepath.Join(stream, "meta.key"))
				if err != nil {
					t.Fatal(err)
				}
				ring := keys.Ring{Key: []byte(c.Encryption.Key), Cipher: cipher}
				if key, _, err = ring.Open(keys.OfStream(s.Account, s.Name), kf); err != nil {
					t.Fatalf("%s/%s: %v", name, s.Name, err)
				}
			}
			plain, err := Unseal(file, s.Name, key)
			if err != nil {
				t.Fatalf("%s/%s: %v", name, s.Name, err)
			}
			x, err := Decode(plain)
			if err != nil {
				t.Fatalf("%s/%s: %v", name, s.Name, err)
			}
			if err := x.CheckTotals(); err != nil {
				t.Errorf("%s/%s: %v", name, s.Name, err)
			}
			if x.Msgs != s.State.Messages || x.Bytes != s.State.Bytes || x.FirstSeq != s.State.FirstSeq || x.LastSeq != s.State.LastSeq || x.NumSubjects != s.State.NumSubjects {
				t.Errorf("%s/%s: %d messages of %d bytes in %d..%d, %d subjects; want %+v", name, s.Name, x.Msgs, x.Bytes, x.FirstSeq, x.LastSeq, x.NumSubjects, s.State)
			}
			var deleted []uint64
			for i := range x.Blocks {
				if d := x.Blocks[i].Deleted; d != nil {
					deleted = slices.AppendSeq(deleted, d.All())
				}
			}
			for _, seq := range deleted {
				if x.Msgs > 0 && !slices.Contains(s.State.Deleted, seq) {
					t.Errorf("%s/%s: %d is deleted in a block but not in the state", name, s.Name, seq)
				}
			}
			for sub := range x.Subjects() {
				if s.State.Subjects != nil && s.State.Subjects[string(sub.Name)] != sub.Total {
					t.Errorf("%s/%s: subject %s has %d messages, want %d", name, s.Name, sub.Name, sub.Total, s.State.Subjects[string(sub.Name)])
				}
			}
			if again := x.Append(nil, x.Subjects()); !bytes.Equal(again, plain) && !normalised(x, plain) {
				t.Errorf("%s/%s: encoded again:\n%x\nwas\n%x", name, s.Name, again, plain)
			}
		}
	}
}

// normalised says that the bytes had to change: the reference wrote its year-1
// time, which we write as 0.
func normalised(x *Index, plain []byte) bool {
	return bytes.Contains(plain, binary.AppendVarint(nil, noTime))
}

func TestRefused(t *testing.T) {
	file := unhex(t, fs1)
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 4
		if _, err := Unseal(bad, "FS1", nil); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	if _, err := Unseal(file[:31], "FS1", nil); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	plain, _ := Unseal(file, "FS1", nil)
	for i := range plain {
		if _, err := Decode(plain[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	for name, edit := range map[string]func([]byte){
		"magic":     func(b []byte) { b[0] = 12 },
		"version 0": func(b []byte) { b[1] = 0 },
		"version 5": func(b []byte) { b[1] = 5 },
		"subject":   func(b []byte) { b[bytes.Index(b, []byte("f1.x"))+3] = '\n' },
	} {
		bad := bytes.Clone(plain)
		edit(bad)
		if _, err := Decode(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	x, _ := Decode(plain)
	for name, edit := range map[string]func(*Index){
		"messages": func(x *Index) { x.Msgs++ },
		"bytes":    func(x *Index) { x.Bytes-- },
		"last":     func(x *Index) { x.LastSeq++ },
		"first":    func(x *Index) { x.FirstSeq++ },
	} {
		y := *x
		edit(&y)
		if err := y.CheckTotals(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSealed(t *testing.T) {
	key, _, err := keys.Ring{Key: []byte("k")}.New(keys.OfStream("A", "S"))
	if err != nil {
		t.Fatal(err)
	}
	other, _, _ := keys.Ring{Key: []byte("k")}.New(keys.OfStream("A", "S"))
	file, err := Seal([]byte("content"), "S", key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Unseal(file, "S", key); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Unseal(file, "S", other); !errors.Is(err, ErrSealed) {
		t.Error(err)
	}
}

// Versions before 4 leave fields out.
func TestOldVersions(t *testing.T) {
	var set seqset.Set
	set.Insert(6)
	head := "02 5a 05 02 07 04 01 01 61 02 01" // 2 messages, 90 bytes, 5 from time 1 to 7 at time 2; subject a, 2, block 1
	tail := "01 01 5a 05 00 07 02 01"          // one block: number 1, 90 bytes, 5.., one deleted
	end := hex.EncodeToString(set.AppendTo(nil)) + "01 1122334455667788"
	for version, text := range map[byte]string{
		1: "0b01" + head + "01" + tail + end,
		2: "0b02" + head + "01" + tail + "03" + end,
		3: "0b03" + head + "01" + tail + "0302" + end,
	} {
		x, err := Decode(unhex(t, text))
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		s := slices.Collect(x.Subjects())
		b := x.Blocks[0]
		ttls, schedules := uint64(3), uint64(2)
		if version < 3 {
			schedules = 0
		}
		if version < 2 {
			ttls = 0
		}
		if len(s) != 1 || s[0].Total != 2 || s[0].FirstBlock != 1 || s[0].LastBlock != 1 || b.TTLs != ttls || b.Schedules != schedules || b.Msgs() != 2 || b.LastTime != 2 || x.CheckTotals() != nil {
			t.Errorf("version %d: %+v %+v", version, s, b)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{purgeall, fs1} {
		b := unhex(f, s)
		f.Add(b[:len(b)-8])
	}
	seeds, _ := fixture.Contents(f, "index.db")
	for _, b := range seeds {
		f.Add(b[:max(len(b)-8, 0)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := Decode(b)
		if err != nil {
			return
		}
		_ = x.CheckTotals()
		again, err := Decode(x.Append(nil, x.Subjects()))
		if err != nil || again.NumSubjects != x.NumSubjects || len(again.Blocks) != len(x.Blocks) || again.LastSeq != x.LastSeq {
			t.Fatalf("does not survive: %+v, %v", again, err)
		}
	})
}
