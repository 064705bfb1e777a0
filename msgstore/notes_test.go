package msgstore

import (
	"bytes"
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// What is lost is counted and noted once, however often the damage is found: while
// nothing has saved what the first start has found out, while a block cannot be
// decrypted, and when a damaged message is removed.
func TestLostOnce(t *testing.T) {
	cfg := Config{Name: "S", Subjects: []string{">"}}
	for _, tc := range []struct {
		name   string
		keys   KeyRing
		damage func(disk *crashfs.FS, msgs string) error
		lost   []uint64
		bytes  uint64
		live   bool // found while the store runs
	}{
		{"missing", KeyRing{}, func(disk *crashfs.FS, msgs string) error {
			return disk.Remove(path.Join(msgs, blockName(2)))
		}, []uint64{5, 6, 7, 8}, 124, false},
		{"locked", KeyRing{Key: []byte("secret"), Cipher: ChaCha}, func(disk *crashfs.FS, msgs string) error {
			disk.Remove(path.Join(msgs, indexFile))
			return flip(disk, path.Join(msgs, "2.key"), 40, 1)
		}, []uint64{5, 6, 7, 8}, 124, false},
		{"found by a read", KeyRing{}, func(disk *crashfs.FS, msgs string) error {
			return flip(disk, path.Join(msgs, blockName(2)), 31+25, 1)
		}, []uint64{6}, 31, true},
	} {
		disk := crashfs.New(1)
		opts := FileOptions{BlockSize: 130, Keys: tc.keys}
		s := openOn(t, disk, cfg, opts)
		for seq := int64(1); seq <= 9; seq++ {
			put(t, s, "a", seq, "")
		}
		msgs := s.disk.msgs
		stopAll(t, s)
		if err := tc.damage(disk, msgs); err != nil {
			t.Fatal(err)
		}
		for start := 1; start <= 3; start++ {
			s = openOn(t, disk, cfg, opts)
			for seq := uint64(1); seq <= 9; seq++ {
				if _, err := s.LoadMsg(seq, nil); slices.Contains(tc.lost, seq) == (err == nil) {
					t.Errorf("%s, start %d: load %d: %v", tc.name, start, seq, err)
				}
			}
			st := s.State()
			want := tc.lost
			if tc.live && start > 1 {
				want = nil // it was removed
			}
			if st.Lost == nil || !slices.Equal(st.Lost.Msgs, want) || st.Lost.Bytes != tc.bytes {
				t.Errorf("%s, start %d: lost %+v, want %d and %d bytes", tc.name, start, st.Lost, want, tc.bytes)
			}
			if tc.live && start == 1 {
				if ok, err := s.RemoveMsg(6); !ok || err != nil {
					t.Fatal(ok, err)
				}
				stopAll(t, s)
			} else {
				disk = disk.Kill()
			}
			notes := 0
			entries, err := disk.ReadDir(path.Join(path.Dir(msgs), quarantineDir))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if strings.HasSuffix(e.Name(), ".json") {
					notes++
				}
			}
			if notes != 1 {
				t.Errorf("%s, start %d: %d notes", tc.name, start, notes)
			}
		}
	}
}

// A message can be erased beside a damaged one, which stays what it is. The damaged
// one itself cannot: nobody knows where its bytes are.
func TestEraseBesideDamage(t *testing.T) {
	for _, keys := range []KeyRing{{}, {Key: []byte("secret"), Cipher: AES}} {
		disk := crashfs.New(1)
		cfg := Config{Name: "S", Subjects: []string{">"}}
		opts := FileOptions{BlockSize: 200, Keys: keys}
		s := openOn(t, disk, cfg, opts)
		for seq := uint64(1); seq <= 6; seq++ {
			if err := s.StoreRawMsg("a", nil, []byte("payload"), seq, int64(seq), 0, false); err != nil {
				t.Fatal(err)
			}
		}
		name := path.Join(s.disk.msgs, blockName(1))
		stopAll(t, s)
		if err := flip(disk, name, 38+25, 1); err != nil {
			t.Fatal(err)
		}
		for start := range 2 {
			s = openOn(t, disk, cfg, opts)
			bad := new(BadRecordError)
			if start == 0 {
				if ok, err := s.EraseMsg(3); !ok || err != nil {
					t.Fatal(ok, err)
				}
				raw, err := vfs.ReadFile(disk, name, maxBlockFile)
				if err != nil {
					t.Fatal(err)
				}
				if n := bytes.Count(raw, []byte("payload")); !keys.Enabled() && n != 3 {
					t.Errorf("the payload is there %d times", n)
				}
			}
			for seq := uint64(1); seq <= 6; seq++ {
				_, err := s.LoadMsg(seq, nil)
				if seq == 2 && !errors.As(err, &bad) || seq == 3 && (err == nil || errors.As(err, &bad)) || seq != 2 && seq != 3 && err != nil {
					t.Errorf("start %d: load %d: %v", start, seq, err)
				}
			}
			if st := s.State(); st.Lost == nil || !slices.Equal(st.Lost.Msgs, []uint64{2}) || st.Lost.Bytes != 38 {
				t.Errorf("start %d: lost %+v", start, st.Lost)
			}
			if start == 1 {
				if _, err := s.EraseMsg(2); !errors.As(err, &bad) {
					t.Errorf("the damaged message: %v", err)
				}
			}
			stopAll(t, s)
		}
	}
}
