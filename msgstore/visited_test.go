package msgstore

import (
	"os"
	"path"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// visit is another server that opens the plain directory of a stopped stream S: it
// keeps the first n records of a block and stores one more message behind them.
func visit(t *testing.T, disk *crashfs.FS, msgs string, block uint32, n int, seq uint64, ts int64, subject string) {
	t.Helper()
	name := path.Join(msgs, blockName(block))
	content, err := vfs.ReadFile(disk, name, maxBlockFile)
	if err != nil {
		t.Fatal(err)
	}
	key := record.NewKey("S", block)
	at := 0
	for range n {
		r, err := record.Decode(content[at:], &key)
		if err != nil {
			t.Fatal(err)
		}
		at += r.Size
	}
	content = record.AppendMessage(content[:at:at], &key, seq, ts, subject, nil, nil)
	if err := vfs.WriteSynced(disk, name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := disk.Remove(path.Join(msgs, indexFile)); err != nil {
		t.Fatal(err)
	}
	if err := disk.SyncDir(msgs); err != nil {
		t.Fatal(err)
	}
}

// stopAll stops a store and its host.
func stopAll(t *testing.T, s *FileStore) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.disk.host.Close(); err != nil {
		t.Fatal(err)
	}
}

// A manifest that is older than what another server has written says nothing about
// the sequences that were used again since: also not later, when the block is gone by
// which one can see that it is older.
func TestStaleManifest(t *testing.T) {
	disk := crashfs.New(1)
	cfg := Config{Name: "S", Subjects: []string{">"}}
	opts := FileOptions{BlockSize: 100}
	s := openOn(t, disk, cfg, opts)
	put(t, s, "a", 1, "")
	put(t, s, "a", 2, "")
	if err := s.SkipMsgs(3, 5); err != nil {
		t.Fatal(err)
	}
	msgs := s.disk.msgs
	stopAll(t, s)
	visit(t, disk, msgs, 1, 1, 2, 10, "b")
	s = openOn(t, disk, cfg, opts)
	for seq := int64(3); seq <= 5; seq++ {
		put(t, s, "b", 10+seq, "")
	}
	if n, err := s.Compact(4); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := disk.Stat(path.Join(msgs, blockName(1))); err == nil {
		t.Fatal("block 1 is still there")
	}
	s = openOn(t, disk.Kill(), cfg, opts)
	if st := s.State(); st.Msgs != 2 || st.FirstSeq != 4 || st.LastSeq != 5 || st.Lost != nil {
		t.Errorf("state %+v, want the messages 4 and 5", st)
	}
}

// What floor.db says about deleted blocks explains why their messages are not there,
// also when another server has taken the tombstones away that came with it.
func TestVisitedRemoval(t *testing.T) {
	disk := crashfs.New(1)
	cfg := Config{Name: "S", Subjects: []string{">"}}
	opts := FileOptions{BlockSize: 130}
	s := openOn(t, disk, cfg, opts)
	for seq := int64(1); seq <= 9; seq++ {
		put(t, s, "a", seq, "")
	}
	stopAll(t, s)
	s = openOn(t, disk, cfg, opts)
	msgs := s.disk.msgs
	for seq := uint64(5); seq <= 8; seq++ {
		if ok, err := s.RemoveMsg(seq); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	disk = disk.Kill()
	if _, err := disk.Stat(path.Join(msgs, blockName(2))); !os.IsNotExist(err) {
		t.Fatalf("block 2 is still there: %v", err)
	}
	visit(t, disk, msgs, 4, 0, 10, 10, "b") // in the place of the tombstone for 8
	s = openOn(t, disk, cfg, opts)
	if st := s.State(); st.Msgs != 6 || st.LastSeq != 10 || st.Lost != nil {
		t.Errorf("state %+v, want 1 to 4, 9 and 10", st)
	}
	// The next floor.db replaces the one that says so.
	if ok, err := s.RemoveMsg(9); !ok || err != nil {
		t.Fatal(ok, err)
	}
	disk = disk.Kill()
	if _, err := disk.Stat(path.Join(msgs, blockName(3))); !os.IsNotExist(err) {
		t.Fatalf("block 3 is still there: %v", err)
	}
	s = openOn(t, disk, cfg, opts)
	if st := s.State(); st.Msgs != 5 || st.LastSeq != 10 || st.Lost != nil {
		t.Errorf("state %+v, want 1 to 4 and 10", st)
	}
}

// A compaction that a power cut has interrupted is there as a whole or not at all for
// a server, too, that knows nothing but the blocks, once ours has opened the directory.
func TestOwedTombstones(t *testing.T) {
	cfg := Config{Name: "S", Subjects: []string{">"}}
	opts := FileOptions{BlockSize: 200}
	removed := 0
	for n := int64(1); ; n++ {
		disk := crashfs.New(uint64(n))
		s := openOn(t, disk, cfg, opts)
		msgs := s.disk.msgs
		for seq := int64(1); seq <= 15; seq++ {
			put(t, s, "a", seq, "")
		}
		disk.CutAt(n)
		_, err := s.Compact(10)
		done := err == nil && !disk.IsCut()
		s = openOn(t, disk.Crash(), cfg, opts)
		want := s.State()
		if want.FirstSeq == 10 {
			removed++
		} else if want.FirstSeq != 1 || done {
			t.Fatalf("cut at %d: %+v", n, want)
		}
		disk = s.disk.fs.(*crashfs.FS).Kill()
		for _, name := range []string{floorFile, indexFile, manifestFile} {
			disk.Remove(path.Join(msgs, name))
		}
		s = openOn(t, disk, cfg, opts)
		if st := s.State(); st.FirstSeq != want.FirstSeq || st.Msgs != want.Msgs || st.LastSeq != want.LastSeq {
			t.Errorf("cut at %d: others see %+v, ours %+v", n, st, want)
		}
		if done {
			break
		}
	}
	if removed < 2 {
		t.Errorf("%d times there as a whole", removed)
	}
}
