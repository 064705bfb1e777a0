package logging

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Whoever looks into the directory while a file is rotated finds as many backups as there should be:
// the kernel's list of changes says what there was to see behind each of them.
func TestBackupsWhileRotating(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	watch, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(watch)
	if _, err := syscall.InotifyAddWatch(watch, filepath.Dir(path), syscall.IN_MOVED_FROM|syscall.IN_MOVED_TO|syscall.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	l := open(t, Config{File: path, SizeLimit: 400, MaxFiles: 3})
	for range 100 {
		l.Noticef("a line of a log that is rotated")
	}

	backups, rotations := map[string]bool{}, 0
	buf := make([]byte, 64<<10)
	n, err := syscall.Read(watch, buf)
	if err != nil {
		t.Fatal(err)
	}
	for events := buf[:n]; len(events) > 0; {
		// struct inotify_event: wd, mask, cookie, len, name.
		mask, size := binary.NativeEndian.Uint32(events[4:]), binary.NativeEndian.Uint32(events[12:])
		name := string(bytes.TrimRight(events[syscall.SizeofInotifyEvent:][:size], "\x00"))
		events = events[syscall.SizeofInotifyEvent+size:]
		if !strings.HasPrefix(name, "log.") {
			continue
		}
		if mask&syscall.IN_MOVED_TO == 0 {
			delete(backups, name)
			if mask&syscall.IN_MOVED_FROM != 0 {
				continue // the half of a change
			}
		} else {
			backups[name] = true
			rotations++
		}
		if rotations >= 2 && len(backups) != 2 {
			t.Fatalf("%d backups after %d renames, want 2: %v", len(backups), rotations, backups)
		}
	}
	if rotations < 10 {
		t.Errorf("%d renames seen", rotations)
	}
}
