package msgstore

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// An encrypted block whose file could not be replaced, more than once, still opens.
func TestKeyOfFailedRewrites(t *testing.T) {
	disk := crashfs.New(1)
	cfg := Config{Name: "S", Subjects: []string{">"}}
	keys := FileOptions{Keys: KeyRing{Key: []byte("k")}}
	s := openOn(t, disk, cfg, keys)
	for range 3 {
		put(t, s, "a", 1, "")
	}
	failing := func(when func(crashfs.Call) bool) {
		disk.Inject(func(c crashfs.Call) error {
			if when(c) {
				return syscall.EIO
			}
			return nil
		})
	}
	failing(func(c crashfs.Call) bool { return c.Kind == crashfs.Write && strings.HasSuffix(c.Name, ".blk") })
	if err := s.StoreRawMsg("a", nil, nil, 0, 1, 0, false); err == nil {
		t.Fatal("a failed write was not reported")
	}
	failing(func(c crashfs.Call) bool { return c.Kind == crashfs.Rename && strings.HasSuffix(c.Name, ".blk") })
	for range 3 {
		s.disk.host.Maintain(1) // tries to write the block anew
	}
	disk.Inject(nil)
	s = openOn(t, disk.Kill(), cfg, keys)
	if st := s.State(); st.Msgs != 3 || st.Lost != nil {
		t.Errorf("%+v", st)
	}
}

// What only the journal holds stays there when a store is stopped whose file cannot
// be synced.
func TestStopKeepsJournal(t *testing.T) {
	disk := crashfs.New(1)
	h, err := NewHost("/store", HostOptions{FS: disk, Manual: true, Commit: commit.Options{JournalFiles: 1, SyncsAlone: 1}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenFileStore(h, Config{Name: "S", Subjects: []string{">"}}, FileOptions{Account: "$G"})
	if err != nil {
		t.Fatal(err)
	}
	for h.commit.Busy() || disk.Calls(crashfs.Preallocate) == 0 {
		put(t, s, "a", 1, "")
	}
	const more = 20
	for range more {
		put(t, s, "a", 1, "")
	}
	stored := s.State().LastSeq
	disk.Inject(func(c crashfs.Call) error {
		if c.Kind == crashfs.Sync && strings.HasSuffix(c.Name, ".blk") {
			return syscall.EIO
		}
		return nil
	})
	if err := s.Stop(); !errors.Is(err, syscall.EIO) {
		t.Errorf("stopped with %v", err)
	}
	h.Close()
	disk.Inject(nil)
	s = openOn(t, disk.Crash(), Config{Name: "S", Subjects: []string{">"}}, FileOptions{})
	if st := s.State(); st.Msgs != stored || st.LastSeq != stored {
		t.Errorf("%d messages were stored; after the cut there are %d up to %d", stored, st.Msgs, st.LastSeq)
	}
}

// Operations and a stop at the same time: each operation ends, in order or with
// ErrStoreClosed.
func TestStopMeanwhile(t *testing.T) {
	for _, kind := range []StorageType{MemoryStorage, FileStorage} {
		t.Run(kind.String(), func(t *testing.T) {
			for round := range 200 {
				var s Store
				var err error
				cfg := Config{Name: "S", Subjects: []string{">"}, Storage: kind}
				if kind == MemoryStorage {
					s, err = NewMemStore(cfg)
				} else {
					s = openOn(t, crashfs.New(uint64(round)), cfg, FileOptions{})
				}
				if err != nil {
					t.Fatal(err)
				}
				put(t, s, "a", 1, "")
				var wg sync.WaitGroup
				for _, do := range []func() error{
					func() error { _, _, err := s.StoreMsg("a", nil, nil, 0); return err },
					func() error { _, err := s.Purge(); return err },
					func() error { _, err := s.RemoveMsg(1); return err },
					func() error { _, err := s.PurgeEx("a", 0, 1); return err },
				} {
					wg.Go(func() {
						for {
							if err := do(); errors.Is(err, ErrStoreClosed) {
								return
							}
						}
					})
				}
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
				wg.Wait()
			}
		})
	}
}

// A damaged message that was removed is not looked for any more.
func TestRemovedDamage(t *testing.T) {
	disk := crashfs.New(1)
	s := openOn(t, disk, Config{Name: "S", Subjects: []string{">"}, MaxMsgsPerSubject: 2}, FileOptions{BlockSize: 60})
	for _, subject := range []string{"a", "b", "b", "c", "c"} {
		put(t, s, subject, 1, "")
	}
	for _, name := range []string{"1.blk", "2.blk", "5.blk"} { // a, the first b, the last c
		flipOn(t, disk, "/store/jetstream/$G/streams/S/msgs/"+name, 15)
	}
	put(t, s, "d", 1, "")
	s.disk.host.Maintain(2 * cacheIdle)
	for _, seq := range []uint64{1, 2, 5} {
		if _, err := s.LoadMsg(seq, nil); !errors.As(err, new(*BadRecordError)) {
			t.Fatalf("message %d: %v", seq, err)
		}
		if ok, err := s.RemoveMsg(seq); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	var seqs []uint64
	if _, _, err := s.MultiLastMsgs([]string{"a", "b", "c"}, 0, 0, 0, 0, func(m *StoredMsg, _ int) bool {
		seqs = append(seqs, m.Seq)
		return true
	}); err != nil || !slices.Equal(seqs, []uint64{3, 4}) {
		t.Errorf("last messages %v, %v", seqs, err)
	}
	for range 3 {
		put(t, s, "b", 1, "")
	}
	if n := s.SubjectsTotals("b")["b"]; n != 2 {
		t.Errorf("%d messages of b", n)
	}
	if st := s.State(); st.NumSubjects != 3 {
		t.Errorf("%d subjects", st.NumSubjects)
	}
}

// flipOn changes a byte of a file.
func flipOn(t *testing.T, fsys vfs.FS, name string, off int64) {
	t.Helper()
	f, err := fsys.OpenFile(name, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Of a stream that begins far behind sequence 1 nothing below that counts as lost.
func TestDamagedBeginning(t *testing.T) {
	const first = 1 << 50
	disk := crashfs.New(1)
	cfg := Config{Name: "S", Subjects: []string{">"}, FirstSeq: first}
	s := openOn(t, disk, cfg, FileOptions{})
	for range 3 {
		put(t, s, "a", 1, "")
	}
	disk = disk.Kill()
	msgs := "/store/jetstream/$G/streams/S/msgs/"
	flipOn(t, disk, msgs+"1.blk", 30+15)
	for _, gone := range []string{"none", "index.db", "manifest.db"} {
		disk.Remove(msgs + gone)
		s = openOn(t, disk, cfg, FileOptions{})
		st := s.State()
		if st.Msgs != 2 || st.LastSeq != first+2 || st.Lost == nil || len(st.Lost.Msgs) != 1 || st.Lost.Msgs[0] != first {
			t.Errorf("without %q: %d messages up to %d, lost %v", gone, st.Msgs, st.LastSeq, st.Lost)
		}
		disk = disk.Kill()
	}
}

// The longest age is longer than any time.
func TestLongestAge(t *testing.T) {
	both(t, Config{MaxAge: math.MaxInt64}, func(t *testing.T, s Store) {
		now := time.Now().UnixNano()
		put(t, s, "a", now, "")
		if due := s.Due(now+1, 10, nil); len(due) > 0 {
			t.Errorf("%+v", due)
		}
		if next := s.NextDue(); next < now {
			t.Errorf("due at %d", next)
		}
	})
}

// Blocks are loaded while the configuration changes: for the race detector.
func TestLoadsDuringUpdate(t *testing.T) {
	cfg := Config{Name: "S", Subjects: []string{">"}}
	s := openOn(t, crashfs.New(1), cfg, FileOptions{BlockSize: 100})
	const n = 50
	for range n {
		put(t, s, "a", 1, "")
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for i := range int64(50) {
			cfg.MaxMsgs = n + i
			if err := s.UpdateConfig(cfg); err != nil {
				t.Error(err)
			}
			s.disk.host.Maintain(2 * cacheIdle)
		}
	})
	for seq := uint64(1); ; seq++ {
		select {
		case <-stop:
			wg.Wait()
			return
		default:
		}
		if _, err := s.LoadMsg(1+seq%n, nil); err != nil {
			t.Error(err)
		}
	}
}

// A block that has skipped many sequences takes no more gaps.
func TestSkipsBeginBlocks(t *testing.T) {
	disk := crashfs.New(1)
	s := openOn(t, disk, Config{Name: "S", Subjects: []string{">"}}, FileOptions{})
	for range 4 {
		put(t, s, "a", 1, "")
		if err := s.SkipMsgs(s.State().LastSeq+1, skipLimit-1); err != nil {
			t.Fatal(err)
		}
	}
	list, err := disk.ReadDir("/store/jetstream/$G/streams/S/msgs")
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, e := range list {
		if blockNumber(e.Name()) > 0 {
			blocks++
		}
	}
	if blocks != 3 {
		t.Errorf("%d blocks", blocks)
	}
	for _, b := range s.blocks {
		if n := b.deleted.Len(); n > skipLimit {
			t.Errorf("%d deleted sequences in block %d", n, b.num)
		}
	}
}

// A block that cannot be synced when it is full leaves nothing in the journal once it
// is repaired.
func TestFailedRotationIsRepaired(t *testing.T) {
	disk := crashfs.New(1)
	h, err := NewHost("/store", HostOptions{FS: disk, Manual: true, Commit: commit.Options{JournalFiles: 1, SyncsAlone: 1}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenFileStore(h, Config{Name: "S", Subjects: []string{">"}}, FileOptions{Account: "$G", BlockSize: 4000})
	if err != nil {
		t.Fatal(err)
	}
	for disk.Calls(crashfs.Preallocate) == 0 {
		put(t, s, "a", 1, "")
	}
	disk.Inject(func(c crashfs.Call) error {
		if c.Kind == crashfs.Sync && strings.HasSuffix(c.Name, ".blk") {
			return syscall.EIO
		}
		return nil
	})
	for err = nil; err == nil; { // until the block is full, and is to be synced
		err = s.StoreRawMsg("a", nil, nil, 0, 1, 0, false)
	}
	disk.Inject(nil)
	h.Maintain(1)
	put(t, s, "a", 1, "")
	if err := errors.Join(s.Stop(), h.Close()); err != nil {
		t.Fatal(err)
	}
	if list, err := disk.ReadDir("/store/natsd"); err == nil && len(list) > 0 {
		t.Errorf("%d files of the journal are left", len(list))
	}
}

// The last messages of subjects are loaded as far as they are wanted.
func TestMultiLastMsgsUpToBytes(t *testing.T) {
	s, err := NewMemStore(Config{Name: "S", Subjects: []string{">"}, Storage: MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	for i := range 10 {
		if _, _, err := s.StoreMsg(fmt.Sprintf("a.%d", i), nil, make([]byte, 100), 0); err != nil {
			t.Fatal(err)
		}
	}
	for maxBytes, want := range map[int]int{0: 10, 1: 1, 300: 3, 1 << 20: 10} {
		seen := 0
		total, remaining, err := s.MultiLastMsgs([]string{"a.*"}, 1, 0, 0, maxBytes, func(sm *StoredMsg, left int) bool {
			seen++
			if int(sm.Seq) != seen || left != 10-seen {
				t.Errorf("message %d with %d behind it", sm.Seq, left)
			}
			return true
		})
		if total != 10 || seen != want || remaining != 10-want || err != nil {
			t.Errorf("up to %d bytes: %d of %d, %d behind them, %v; want %d", maxBytes, seen, total, remaining, err, want)
		}
	}
}
