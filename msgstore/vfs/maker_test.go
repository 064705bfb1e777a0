package vfs_test

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

func contentOf(name string) []vfs.NewFile {
	return []vfs.NewFile{{Name: "a", Data: []byte(name), Perm: 0o640}, {Name: "b", Data: []byte("b of " + name), Perm: 0o640}}
}

// makeMany makes directories 0 ... n-1 in /d at the same time.
func makeMany(m *vfs.Maker, n int) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			name := fmt.Sprint(i)
			errs[i] = m.Make(path.Join("/d", name), 0o750, contentOf(name))
		})
	}
	wg.Wait()
	return errs
}

// whole reports whether a directory is there, and fails if it is there in part.
func whole(t *testing.T, fsys vfs.FS, name string) bool {
	t.Helper()
	if _, err := fsys.Stat(path.Join("/d", name)); err != nil {
		return false
	}
	for _, f := range contentOf(name) {
		got, err := vfs.ReadFile(fsys, path.Join("/d", name, f.Name), 100)
		if err != nil || string(got) != string(f.Data) {
			t.Errorf("%s/%s holds %q, %v", name, f.Name, got, err)
		}
	}
	return true
}

// What comes while the first one is synced shares the next syncs of its parent.
func TestMakerSharesSyncs(t *testing.T) {
	const n = 20
	disk := crashfs.New(1)
	if err := vfs.MkdirAllSynced(disk, "/d", 0o750); err != nil {
		t.Fatal(err)
	}
	m := vfs.NewMaker(disk)
	written := make(chan struct{}, n)
	var first sync.Once
	parents := 0
	disk.Inject(func(c crashfs.Call) error {
		switch {
		case c.Kind == crashfs.Write && path.Base(c.Name) == "b":
			written <- struct{}{}
		case c.Kind == crashfs.SyncDir && c.Name == "/d":
			first.Do(func() {
				for range n { // each has written its last file
					<-written
				}
			})
			parents++
		}
		return nil
	})
	for i, err := range makeMany(m, n) {
		if err != nil || !whole(t, disk, fmt.Sprint(i)) {
			t.Errorf("directory %d: %v", i, err)
		}
	}
	if parents >= n/2 {
		t.Errorf("%d syncs of the directory for %d creations", parents, n)
	}
}

// An error concerns only the directory that it came from.
func TestMakerFails(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.Create, crashfs.Write, crashfs.Sync, crashfs.Rename} {
		disk := crashfs.New(1)
		if err := vfs.MkdirAllSynced(disk, "/d", 0o750); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		var once sync.Once
		disk.Inject(func(c crashfs.Call) (err error) {
			if c.Kind == kind {
				once.Do(func() { err = broken })
			}
			return err
		})
		failed := 0
		for i, err := range makeMany(vfs.NewMaker(disk), 10) {
			if err != nil {
				failed++
				if !errors.Is(err, broken) {
					t.Error(err)
				}
			}
			if there := whole(t, disk, fmt.Sprint(i)); there != (err == nil) {
				t.Errorf("directory %d is there: %v, with error %v", i, there, err)
			}
		}
		if failed != 1 {
			t.Errorf("%d failed for one fault", failed)
		}
		entries, err := disk.ReadDir("/d")
		if err != nil || len(entries) != 9 {
			t.Errorf("%d entries left, %v", len(entries), err)
		}
	}
}

// A failed sync of the parent leaves nobody's name: it could come back, or not.
func TestMakerParentFails(t *testing.T) {
	disk := crashfs.New(1)
	if err := vfs.MkdirAllSynced(disk, "/d", 0o750); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	disk.Inject(func(c crashfs.Call) error {
		if c.Kind == crashfs.SyncDir && c.Name == "/d" {
			return broken
		}
		return nil
	})
	for i, err := range makeMany(vfs.NewMaker(disk), 10) {
		if !errors.Is(err, broken) || whole(t, disk, fmt.Sprint(i)) {
			t.Errorf("directory %d: %v", i, err)
		}
	}
}

// A power cut at any call leaves each directory whole or not at all, and those that
// were reported whole.
func TestMakerPowerCut(t *testing.T) {
	for n, all := int64(1), false; !all; n++ {
		disk := crashfs.New(uint64(n))
		if err := vfs.MkdirAllSynced(disk, "/d", 0o750); err != nil {
			t.Fatal(err)
		}
		disk.CutAt(n)
		errs := makeMany(vfs.NewMaker(disk), 5)
		disk = disk.Crash()
		all = true
		for i, err := range errs {
			all = all && err == nil
			if !whole(t, disk, fmt.Sprint(i)) && err == nil {
				t.Errorf("cut at %d: directory %d is gone", n, i)
			}
		}
		entries, err := disk.ReadDir("/d")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if _, err := fmt.Sscan(e.Name(), new(int)); err != nil && !strings.HasPrefix(e.Name(), ".") {
				t.Errorf("cut at %d: %s is left", n, e.Name())
			}
		}
	}
}
