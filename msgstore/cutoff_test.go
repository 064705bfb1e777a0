package msgstore

import (
	"errors"
	"os"
	"path"
	"slices"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// A block file that loses its end between two stops and starts: the messages that
// were there are errors and reported lost, as far as anything tells of them, and
// what was removed does not come back.
func TestCutOffFile(t *testing.T) {
	// Six messages of 33 bytes are a block; a tombstone has 30.
	const blockSize, size = 200, 33
	seqs := func(first, last uint64) (s []uint64) {
		for ; first <= last; first++ {
			s = append(s, first)
		}
		return s
	}
	for _, tc := range []struct {
		name    string
		removed map[uint64]uint64 // messages, each removed behind another one
		last    uint64
		block   uint32
		cut     int64
		without []string // files that are gone, too
		lost    []uint64
		back    uint64 // its tombstone alone told that it was removed
	}{
		{"between records of a sealed block", nil, 20, 2, 2 * size, nil, seqs(9, 12), 0},
		{"all of a sealed block", nil, 20, 2, 0, nil, seqs(7, 12), 0},
		{"all of a sealed block, manifest", nil, 20, 1, 0, []string{indexFile}, seqs(1, 6), 0},
		{"below the first message that is left, manifest", map[uint64]uint64{1: 8}, 20, 1, size, []string{indexFile}, seqs(2, 6), 0},
		{"the last tombstone, manifest", map[uint64]uint64{3: 20}, 20, 4, 2 * size, []string{indexFile}, nil, 0},
		{"messages and the last tombstone, manifest", map[uint64]uint64{3: 20}, 20, 4, size, []string{indexFile}, seqs(20, 20), 0},
		{"inside a tombstone, the next block tells", map[uint64]uint64{3: 8}, 20, 2, 2*size + 10, []string{indexFile, manifestFile}, seqs(9, 11), 3},
		{"the next block has a tombstone alone", map[uint64]uint64{12: 12}, 12, 2, 2*size + 10, []string{indexFile, manifestFile}, seqs(9, 11), 0},
		{"between records, nothing tells", nil, 20, 2, 2 * size, []string{indexFile, manifestFile}, nil, 0},
	} {
		disk := crashfs.New(1)
		cfg := Config{Name: "S", Subjects: []string{">"}}
		s := openOn(t, disk, cfg, FileOptions{BlockSize: blockSize})
		for seq := uint64(1); seq <= tc.last; seq++ {
			put(t, s, "abc", int64(seq), "")
			for gone, behind := range tc.removed {
				if behind == seq {
					if ok, err := s.RemoveMsg(gone); !ok || err != nil {
						t.Fatal(ok, err)
					}
				}
			}
		}
		msgs := s.disk.msgs
		s.Stop()
		s.disk.host.Close()
		f, err := disk.OpenFile(path.Join(msgs, blockName(tc.block)), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(tc.cut); err != nil {
			t.Fatal(err)
		}
		f.Close()
		for _, name := range tc.without {
			if err := disk.Remove(path.Join(msgs, name)); err != nil {
				t.Fatal(err)
			}
		}
		s = openOn(t, disk, cfg, FileOptions{BlockSize: blockSize})
		for seq := uint64(1); seq <= tc.last; seq++ {
			_, err := s.LoadMsg(seq, nil)
			bad := new(BadRecordError)
			_, removed := tc.removed[seq]
			removed = removed && seq != tc.back
			lost := slices.Contains(tc.lost, seq)
			if gone := removed || lost; gone && err == nil || !gone && len(tc.lost) > 0 && err != nil {
				t.Errorf("%s: load %d: %v", tc.name, seq, err)
			}
			if len(tc.without) == 0 && errors.As(err, &bad) != lost {
				t.Errorf("%s: load %d: %v", tc.name, seq, err)
			}
		}
		var reported []uint64
		if st := s.State(); st.Lost != nil {
			reported = st.Lost.Msgs
		}
		if !slices.Equal(reported, tc.lost) {
			t.Errorf("%s: %d are reported lost, want %d", tc.name, reported, tc.lost)
		}
	}
}

// A truncation gives sequences out again. What a reader gets for them is what was
// stored last, also where the block's window still had the messages before.
func TestTruncatedWindow(t *testing.T) {
	for _, to := range []uint64{3, 8} { // in a sealed block, in the last one
		s := openOn(t, crashfs.New(1), Config{Name: "S", Subjects: []string{">"}}, FileOptions{BlockSize: 200})
		for seq := uint64(1); seq <= 10; seq++ {
			put(t, s, "old", int64(seq), "")
			if _, err := s.LoadMsg(seq, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Truncate(to); err != nil {
			t.Fatal(err)
		}
		for seq := to + 1; seq <= 10; seq++ {
			put(t, s, "new", int64(100+seq), "")
			sm, err := s.LoadMsg(seq, nil)
			if err != nil || sm.Subject != "new" || sm.Time != int64(100+seq) {
				t.Errorf("to %d: message %d is %+v, %v", to, seq, sm, err)
			}
		}
	}
}
