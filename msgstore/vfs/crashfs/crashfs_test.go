package crashfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs"
)

func create(t *testing.T, f *FS, name string) vfs.File {
	t.Helper()
	file, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, f vfs.File, off int64, p []byte) {
	t.Helper()
	if _, err := f.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, f *FS, name string) []byte {
	t.Helper()
	b, err := vfs.ReadFile(f, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func exists(f *FS, name string) bool {
	_, err := f.Stat(name)
	return err == nil
}

// What was synced, with its directory, is there after a cut; what was written
// later may be there, page by page, and all outcomes occur.
func TestCrashKeepsSynced(t *testing.T) {
	outcomes := map[string]int{}
	for seed := range uint64(300) {
		f := New(seed)
		must(t, f.MkdirAll("/d", 0o700))
		must(t, f.SyncDir("/"))
		file := create(t, f, "/d/a")
		synced := bytes.Repeat([]byte{1}, 2*pageSize)
		write(t, file, 0, synced)
		must(t, file.SyncData())
		must(t, f.SyncDir("/d"))
		write(t, file, 2*pageSize, bytes.Repeat([]byte{2}, 2*pageSize))
		create(t, f, "/d/b")

		after := f.Crash()
		got := read(t, after, "/d/a")
		if len(got) < len(synced) || !bytes.Equal(got[:len(synced)], synced) {
			t.Fatalf("seed %d: synced bytes lost", seed)
		}
		key := ""
		for at := 2 * pageSize; at < 4*pageSize; at += pageSize {
			switch {
			case at >= len(got):
				key += "-"
			case bytes.Count(got[at:at+pageSize], []byte{2}) == pageSize:
				key += "2"
			case bytes.Count(got[at:at+pageSize], []byte{0}) == pageSize:
				key += "0"
			default:
				key += "t"
			}
		}
		if exists(after, "/d/b") {
			key += "b"
		}
		outcomes[key]++
		if _, err := file.WriteAt([]byte{1}, 0); !errors.Is(err, ErrPowerCut) {
			t.Fatalf("write after the cut: %v", err)
		}
	}
	for _, want := range []string{"--", "--b", "22", "22b", "00", "20", "02"} {
		if outcomes[want] == 0 {
			t.Errorf("outcome %q never occurs: %v", want, outcomes)
		}
	}
}

func TestTornPage(t *testing.T) {
	torn := 0
	for seed := range uint64(300) {
		f := New(seed)
		file := create(t, f, "a")
		write(t, file, 0, make([]byte, pageSize))
		must(t, file.Sync())
		must(t, f.SyncDir("/"))
		write(t, file, 0, bytes.Repeat([]byte{7}, pageSize))
		got := read(t, f.Crash(), "a")
		n := bytes.Count(got, []byte{7})
		if n%sectorSize != 0 {
			t.Fatalf("seed %d: sector torn", seed)
		}
		if n != 0 && n != pageSize {
			torn++
		}
	}
	if torn == 0 {
		t.Fatal("no page was ever torn")
	}
}

func TestSameSeedSameDisk(t *testing.T) {
	run := func() []byte {
		f := New(42)
		file := create(t, f, "a")
		must(t, f.SyncDir("/"))
		for i := range 20 {
			write(t, file, int64(i)*1000, bytes.Repeat([]byte{byte(i + 1)}, 1000))
		}
		return read(t, f.Crash(), "a")
	}
	if !bytes.Equal(run(), run()) {
		t.Fatal("two disks of one seed differ")
	}
}

// A rename happens as a whole or not at all, and not before what it rests on.
func TestRenameIsAtomic(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(200) {
		f := New(seed)
		old := create(t, f, "state")
		write(t, old, 0, []byte("old"))
		must(t, old.Sync())
		must(t, f.SyncDir("/"))
		tmp := create(t, f, "state.tmp")
		write(t, tmp, 0, []byte("new"))
		must(t, tmp.Sync())
		must(t, f.Rename("state.tmp", "state"))
		after := f.Crash()
		got := string(read(t, after, "state"))
		if exists(after, "state.tmp") {
			got += "+tmp"
		}
		seen[got]++
	}
	for _, want := range []string{"old", "old+tmp", "new"} {
		if seen[want] == 0 {
			t.Errorf("%q never occurs: %v", want, seen)
		}
		delete(seen, want)
	}
	if len(seen) > 0 {
		t.Errorf("impossible outcomes: %v", seen)
	}
}

func TestSyncDirAcrossDirectories(t *testing.T) {
	for seed := range uint64(50) {
		f := New(seed)
		must(t, f.MkdirAll("/a", 0))
		must(t, f.MkdirAll("/b", 0))
		must(t, f.SyncDir("/"))
		file := create(t, f, "/a/x")
		write(t, file, 0, []byte("x"))
		must(t, file.Sync())
		must(t, f.Rename("/a/x", "/b/y"))
		must(t, f.SyncDir("/b"))
		after := f.Crash()
		if string(read(t, after, "/b/y")) != "x" || exists(after, "/a/x") {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestRemovedFileMayComeBack(t *testing.T) {
	back := 0
	for seed := range uint64(50) {
		f := New(seed)
		create(t, f, "a")
		must(t, f.SyncDir("/"))
		must(t, f.Remove("a"))
		if exists(f, "a") {
			t.Fatal("still seen")
		}
		if exists(f.Crash(), "a") {
			back++
		}
	}
	if back == 0 || back == 50 {
		t.Fatalf("came back %d times of 50", back)
	}
}

// A truncation that survives leaves no byte of what was behind it.
func TestTruncateForgets(t *testing.T) {
	for seed := range uint64(300) {
		f := New(seed)
		file := create(t, f, "a")
		must(t, f.SyncDir("/"))
		write(t, file, 0, bytes.Repeat([]byte{1}, 3*pageSize))
		if seed%2 == 0 {
			must(t, file.Sync())
		}
		must(t, file.Truncate(100))
		write(t, file, 5000, []byte{2})
		want := bytes.Repeat([]byte{0}, 4900)
		b := make([]byte, 4900)
		if _, err := file.ReadAt(b, 100); err != nil || !bytes.Equal(b, want) {
			t.Fatalf("seed %d: old bytes seen again: %v", seed, err)
		}
		if got := read(t, f.Crash(), "a"); len(got) == 5001 && !bytes.Equal(got[100:5000], want) {
			t.Fatalf("seed %d: old bytes after the cut", seed)
		}
	}
}

func TestCutAt(t *testing.T) {
	survived := 0
	for seed := range uint64(60) {
		f := New(seed)
		f.CutAt(3)
		file := create(t, f, "a") // 1
		must(t, f.SyncDir("/"))   // 2
		if _, err := file.WriteAt([]byte("abc"), 0); !errors.Is(err, ErrPowerCut) {
			t.Fatal(err)
		}
		<-f.Done()
		if err := file.Sync(); !errors.Is(err, ErrPowerCut) {
			t.Fatal(err)
		}
		if got := read(t, f.Crash(), "a"); bytes.HasPrefix(got, []byte("a")) {
			survived++
		}
	}
	if survived == 0 || survived == 60 {
		t.Fatalf("the write of the cut survived %d times of 60", survived)
	}
}

// A failed sync loses pages that nobody writes again, though they are still seen.
func TestFailedSync(t *testing.T) {
	lost := 0
	for seed := range uint64(60) {
		f := New(seed)
		file := create(t, f, "a")
		must(t, f.SyncDir("/"))
		write(t, file, 0, bytes.Repeat([]byte{1}, pageSize))
		f.Inject(func(c Call) error {
			if c.Kind == Sync {
				return syscall.EIO
			}
			return nil
		})
		if err := file.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		f.Inject(nil)
		must(t, file.Sync())
		if !bytes.Equal(read(t, f, "a"), bytes.Repeat([]byte{1}, pageSize)) {
			t.Fatal("page cache lost")
		}
		if bytes.Count(read(t, f.Crash(), "a"), []byte{1}) < pageSize {
			lost++
		}
	}
	if lost == 0 || lost == 60 {
		t.Fatalf("lost %d times of 60", lost)
	}
}

// A sync covers what was written before it began.
func TestSlowSync(t *testing.T) {
	lost := 0
	for seed := range uint64(60) {
		f := New(seed)
		file := create(t, f, "a")
		must(t, f.SyncDir("/"))
		write(t, file, 0, []byte("before"))
		in, out := make(chan bool), make(chan bool)
		f.Inject(func(c Call) error {
			if c.Kind == Sync {
				in <- true
				<-out
			}
			return nil
		})
		done := make(chan error)
		go func() { done <- file.Sync() }()
		<-in
		write(t, file, pageSize, []byte("during"))
		out <- true
		must(t, <-done)
		got := read(t, f.Crash(), "a")
		if !bytes.HasPrefix(got, []byte("before")) {
			t.Fatalf("seed %d: synced bytes lost", seed)
		}
		if !bytes.HasSuffix(got, []byte("during")) {
			lost++
		}
	}
	if lost == 0 {
		t.Fatal("a write during a sync always survives")
	}
}

func TestErrorsAndLock(t *testing.T) {
	f := New(1)
	if _, err := f.OpenFile("/no/file", os.O_RDONLY, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	must(t, f.MkdirAll("/d/e", 0))
	if err := f.Remove("/d"); err == nil {
		t.Error("removed a directory that is not empty")
	}
	must(t, f.RemoveAll("/d"))
	if exists(f, "/d") {
		t.Error("still there")
	}
	l, err := f.Lock("/lock")
	must(t, err)
	var locked *vfs.LockedError
	if _, err := f.Lock("/lock"); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Error(err)
	}
	must(t, l.Close())
	l, err = f.Lock("/lock")
	must(t, err)
	if _, err := f.Crash().Lock("/lock"); err != nil {
		t.Error("a lock survived the cut:", err)
	}
	l.Close()
}

func TestConcurrentUse(t *testing.T) {
	f := New(9)
	f.CutAt(500)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			name := string(rune('a' + g))
			file, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE, 0)
			for i := int64(0); err == nil; i++ {
				if _, err = file.WriteAt([]byte("xyz"), i*3); err == nil && i%4 == 0 {
					err = file.SyncData()
				}
				if err == nil && i%16 == 0 {
					err = f.SyncDir("/")
				}
			}
			if !errors.Is(err, ErrPowerCut) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.Crash()
}
