package check

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs"
)

// badDisk cannot read some parts of files, or list some directories.
type badDisk struct {
	vfs.FS
	// bad says where the first byte of a file, of which only the base name counts,
	// is that cannot be read, and how many.
	bad    map[string][2]int64
	closed string // base name of the directory that may not be listed
	full   string // what begins so cannot be written
}

func (d *badDisk) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if d.full != "" && strings.HasPrefix(filepath.Base(name), d.full) && flag&os.O_TRUNC != 0 {
		return fullFile{f, name}, err
	}
	if r, ok := d.bad[filepath.Base(name)]; ok && err == nil {
		return badFile{f, name, r[0], r[0] + r[1]}, nil
	}
	return f, err
}

func (d *badDisk) ReadDir(name string) ([]fs.DirEntry, error) {
	if d.closed == filepath.Base(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return d.FS.ReadDir(name)
}

type badFile struct {
	vfs.File
	name       string
	start, end int64
}

type fullFile struct {
	vfs.File
	name string
}

func (f fullFile) WriteAt([]byte, int64) (int, error) {
	return 0, &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
}

func (f badFile) ReadAt(p []byte, off int64) (int, error) {
	if off < f.end && off+int64(len(p)) > f.start {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: syscall.EIO}
	}
	return f.File.ReadAt(p, off)
}

// Where the disk cannot read, the records there are lost, and nothing else: what is
// around them is saved.
func TestBadSectors(t *testing.T) {
	const whole = 1 << 30
	eio := syscall.EIO.Error()
	for _, tc := range []struct {
		name string
		ring Keys
		comp string
		bad  map[string][2]int64
		want string // finding
		lost string // by recover, and how many messages are saved
	}{
		{"in the middle", Keys{}, "", map[string][2]int64{"1.blk": {9000, 10}}, "damage bad-record 126-186", "126-186: 439"},
		{"two sectors", Keys{}, "", map[string][2]int64{"1.blk": {8190, 4}}, "damage bad-record 65-186", "65-186: 378"},
		{"the beginning", Keys{}, "", map[string][2]int64{"1.blk": {0, 1}}, "damage bad-record 1-65", "1-65: 435"},
		{"the end", Keys{}, "", map[string][2]int64{"1.blk": {33_400, 1}}, "damage bad-record 489-500", "489-500: 488"},
		{"a whole block", Keys{}, "", map[string][2]int64{"1.blk": {0, whole}}, "damage block-unreadable 1-500", "1-500: 0"},
		{"encrypted", Keys{Key: []byte("k"), Cipher: AES}, "", map[string][2]int64{"1.blk": {9000, 10}}, "damage bad-record 126-186", "126-186: 439"},
		{"the key of a block", Keys{Key: []byte("k"), Cipher: AES}, "", map[string][2]int64{"1.key": {0, 1}}, "damage block-key 1-500", "1-500: 0"},
		{"the configuration", Keys{}, "", map[string][2]int64{"meta.inf": {0, 1}}, "damage meta-unreadable", ": 500"},
		{"index.db", Keys{}, "", map[string][2]int64{"index.db": {0, 1}}, "repairable index-corrupt", ": 500"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := made(t, tc.ring, tc.comp, some(t, 500))
			opts := Options{FS: &badDisk{FS: vfs.OS, bad: tc.bad}, Keys: tc.ring}
			rep, err := Verify(dir, opts)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, f := range rep.Findings {
				found = found || summary(f) == tc.want && strings.Contains(f.String(), eio)
			}
			if !found {
				t.Errorf("%v, want %s", rep.Findings, tc.want)
			}
			res, err := Recover(dir, filepath.Join(t.TempDir(), "new"), opts)
			if err != nil {
				t.Fatal(err)
			}
			s, got := res.Streams[0], ""
			for _, l := range s.Lost {
				got += fmt.Sprintf("%d-%d", l.FirstSeq, l.LastSeq)
			}
			if got += fmt.Sprintf(": %d", s.Recovered); got != tc.lost {
				t.Errorf("%s, want %s", got, tc.lost)
			}
		})
	}
}

// Consumers that cannot be listed are not none.
func TestUnreadableDirectory(t *testing.T) {
	dir := made(t, Keys{}, "", some(t, 3))
	for _, name := range []string{"obs", "msgs", "streams"} {
		opts := Options{FS: &badDisk{FS: vfs.OS, closed: name}}
		if _, err := Verify(dir, opts); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("verify, %s: %v", name, err)
		}
		if _, err := Recover(dir, filepath.Join(t.TempDir(), "new"), opts); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("recover, %s: %v", name, err)
		}
		if _, err := ExportLines(dir, new(bytes.Buffer), opts); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("export, %s: %v", name, err)
		}
	}
}

// A conversion that finds the disk full leaves nothing that takes room, and goes on
// when there is some.
func TestConvertOnFullDisk(t *testing.T) {
	dir := made(t, Keys{}, "", some(t, 500))
	to := Keys{Key: []byte("k"), Cipher: AES}
	for _, name := range []string{"1.key.new", "1.blk.tmp", "meta.key.tmp", "index.db.tmp", "meta.inf.tmp", "meta.sum.tmp"} {
		_, err := ConvertCipher(dir, to, Options{FS: &badDisk{FS: vfs.OS, full: name}})
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%s: %v", name, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "*.blk.tmp")); len(left) > 0 {
			t.Errorf("%s: left over: %v", name, left)
		}
		rep, err := Verify(dir, Options{Keys: to})
		if err != nil || !rep.Clean || rep.Streams[0].Messages != 500 {
			t.Errorf("%s: %+v, %v", name, rep, err)
		}
	}
	if _, err := ConvertCipher(dir, to, Options{}); err != nil {
		t.Fatal(err)
	}
	rep, err := Verify(dir, Options{Keys: to})
	if err != nil || len(rep.Findings) > 0 || rep.Streams[0].Messages != 500 {
		t.Errorf("%+v, %v", rep, err)
	}
}
