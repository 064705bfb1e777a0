package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestOS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := MkdirAllSynced(OS, dir, 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "f")
	f, err := OS.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("hello"), 3); err != nil {
		t.Fatal(err)
	}
	if err := f.Preallocate(4); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Size(); n != 8 || err != nil {
		t.Fatalf("size %d, %v: preallocation shrank the file", n, err)
	}
	if err := f.Preallocate(10000); err != nil {
		t.Fatal(err)
	}
	if n, _ := f.Size(); n != 10000 {
		t.Fatalf("size %d after preallocation of 10000", n)
	}
	if err := f.SyncData(); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(8); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.SyncData(); err == nil {
		t.Fatal("sync of a closed file succeeded")
	}
	if b, err := ReadFile(OS, name, 8); string(b) != "\x00\x00\x00hello" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := ReadFile(OS, name, 7); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if err := ReplaceFile(OS, name, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(OS, name, 8); string(b) != "new" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	if n, err := OS.Available(dir); n <= 0 || err != nil {
		t.Fatalf("available: %d, %v", n, err)
	}
	if err := OS.SyncDir(filepath.Join(dir, "no")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestOSLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "natsd.lock")
	l, err := OS.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(name); string(b) != strconv.Itoa(os.Getpid()) {
		t.Fatalf("lock file holds %q", b)
	}
	_, err = OS.Lock(name)
	var locked *LockedError
	if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Fatalf("second lock: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = OS.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	ro := ReadOnly(OS)
	if b, err := ReadFile(ro, name, 1); string(b) != "x" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	f, err := ro.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, writeErr := f.WriteAt([]byte("y"), 0)
	_, openErr := ro.OpenFile(name, os.O_RDWR, 0)
	_, lockErr := ro.Lock(name)
	for i, err := range []error{writeErr, openErr, lockErr, f.Truncate(0), f.Sync(), f.SyncData(), f.Preallocate(5),
		ro.Rename(name, name+"2"), ro.Link(name, name+"2"), ro.Remove(name), ro.RemoveAll(name), ro.MkdirAll(name+"d", 0), ro.SyncDir(dir)} {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestExchange(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, name := range []string{a, b} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(name, "x"), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := Exchange(OS, a, b)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Log("not on this system")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(a, "x")); string(got) != b || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if err := Exchange(OS, a, filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := Exchange(ReadOnly(OS), a, b); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("read-only: %v", err)
	}
}
