package commit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// The bytes of a segment, written out. A change here is a change of the format.
func TestSegmentBytes(t *testing.T) {
	header := appendHeader(nil, 7)
	if got, want := hex.EncodeToString(header[:24]), "6e617473646a6e6c"+"0100"+"000000000000"+"0700000000000000"; got != want {
		t.Errorf("header\n %s\nwant\n %s", got, want)
	}
	b := make([]byte, frameHeader)
	b = appendDefine(b, 0, "s/1.blk")
	b = appendAppend(b, 0, 300, [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, 3)
	b = append(b, "abc"...)
	b = appendDefine(b, 1, "s/obs/c")
	b = appendRun(b, 1, []byte("run"))
	b = appendForget(b, "x")
	sealFrame(b, 7, 9, 512)
	want := "4e46524d" + "2d000000" + "0700000000000000" + "0900000000000000"
	if got := hex.EncodeToString(b[:24]); got != want {
		t.Errorf("frame header\n %s\nwant\n %s", got, want)
	}
	want = "010007732f312e626c6b" + "0200ac02" + "0102030405060708" + "03616263" + "010107732f6f62732f63" + "03010372756e" + "040178"
	if got := hex.EncodeToString(b[frameHeader:]); got != want {
		t.Errorf("records\n %s\nwant\n %s", got, want)
	}
}

func makeSegment(seq uint64, frames ...[]byte) []byte {
	b := appendHeader(nil, seq)
	for i, f := range frames {
		b = append(b, make([]byte, alignFrame(int64(len(b)))-int64(len(b)))...)
		f = append(make([]byte, frameHeader), f...)
		sealFrame(f, seq, uint64(i), int64(len(b)))
		b = append(b, f...)
	}
	return append(b, make([]byte, 4096)...)
}

func appendRecord(path string, offset int64, prev [8]byte, data string) []byte {
	b := appendDefine(nil, 0, path)
	b = appendAppend(b, 0, offset, prev, len(data))
	return append(b, data...)
}

// What replay makes of a file, for each relation between the two.
func TestReplayOfOneRecord(t *testing.T) {
	const name = "jetstream/A/streams/S/msgs/1.blk"
	prev := [8]byte([]byte("23456789"))
	cases := []struct {
		what, have, want string
		frames           [][]byte
	}{
		{"nothing written", "0123456789", "0123456789abcdef", nil},
		{"all written", "0123456789abcdef", "0123456789abcdef", nil},
		{"written and more behind", "0123456789abcdefghi", "0123456789abcdefghi", nil},
		{"torn: zeros", "0123456789\x00\x00\x00", "0123456789abcdef", nil},
		{"torn: a part, then zeros", "0123456789abc\x00\x00\x00", "0123456789abcdef", nil},
		{"torn: a part", "0123456789abc", "0123456789abcdef", nil},
		{"another record there", "0123456789xyzxyz", "0123456789xyzxyz", nil},
		{"another record before it", "012345678X", "012345678X", nil},
		{"shorter", "01234567", "01234567", nil},
		{"two records", "0123456789", "0123456789abcdefGHI", [][]byte{appendRecord(name, 16, [8]byte([]byte("89abcdef")), "GHI")}},
		{"a hole before the second", "0123456789", "0123456789abcdef", [][]byte{appendRecord(name, 17, [8]byte([]byte("9abcdefg")), "HI")}},
		{"forgotten", "0123456789", "0123456789", [][]byte{appendForget(nil, "jetstream/A/streams/S")}},
		{"a neighbour forgotten", "0123456789", "0123456789abcdef", [][]byte{appendForget(nil, "jetstream/A/streams/S2")}},
		{"forgotten and written anew", "0123456789", "0123456789uvw", [][]byte{appendForget(nil, name), appendRecord(name, 10, prev, "uvw")}},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			fsys := crashfs.New(1)
			file := path.Join("/d", name)
			write := func(name string, b []byte) {
				t.Helper()
				if err := vfs.MkdirAllSynced(fsys, path.Dir(name), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := vfs.ReplaceFile(fsys, name, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(file, []byte(c.have))
			write("/d/natsd/journal-1", makeSegment(3, append([][]byte{appendRecord(name, 10, prev, "abcdef")}, c.frames...)...))
			if got := viewOf(t, fsys, "/d", name); string(got) != c.want {
				t.Errorf("the view is %q, want %q", got, c.want)
			}
			committer, err := Open("/d", Options{FS: fsys})
			if err != nil {
				t.Fatal(err)
			}
			got, err := vfs.ReadFile(fsys, file, 100)
			if err != nil || string(got) != c.want {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
			if list, _ := fsys.ReadDir("/d/natsd"); len(list) > 0 {
				t.Errorf("%s is left", list[0].Name())
			}
			if err := committer.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// viewOf is what ReadJournal says that a file holds, by every way of asking.
// Looking changes nothing.
func viewOf(t *testing.T, fsys *crashfs.FS, dir, name string) []byte {
	t.Helper()
	file := path.Join(dir, name)
	before, err := vfs.ReadFile(fsys, file, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	u, err := ReadJournal(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := vfs.ReadFile(u.FS(), file, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	info, err := u.FS().Stat(file)
	if err != nil || info.Size() != int64(len(seen)) {
		t.Errorf("%v, %v of %d bytes", info, err, len(seen))
	}
	list, err := u.FS().ReadDir(path.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if info, err := e.Info(); e.Name() == path.Base(file) && (err != nil || info.Size() != int64(len(seen))) {
			t.Errorf("%v, %v of %d bytes", info, err, len(seen))
		}
	}
	if f, err := u.FS().OpenFile(file, os.O_RDWR, 0); err == nil {
		t.Error("opened for writing:", f)
	}
	if after, err := vfs.ReadFile(fsys, file, 1<<20); err != nil || !bytes.Equal(after, before) {
		t.Errorf("looking changed %q to %q, %v", before, after, err)
	}
	// A byte at a time is the same as all at once.
	f, err := u.FS().OpenFile(file, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("written")
	}
	for i := range seen {
		var one [1]byte
		if n, err := f.ReadAt(one[:], int64(i)); n != 1 || err != nil || one[0] != seen[i] {
			t.Fatalf("byte %d: %q, %v", i, one, err)
		}
	}
	return seen
}

// Damage in the middle of a segment costs its frame and is reported; the frames
// behind it count.
func TestDamagedSegment(t *testing.T) {
	fsys := crashfs.New(1)
	if err := vfs.MkdirAllSynced(fsys, "/d/natsd", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := vfs.ReplaceFile(fsys, "/d/"+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := makeSegment(3, appendRecord("a", 0, [8]byte{}, "A"), appendRecord("b", 0, [8]byte{}, "B"), appendRecord("c", 0, [8]byte{}, "C"))
	b[2*frameAlign+frameHeader+3] ^= 1 // in the second frame
	b[10] ^= 1                         // and in the header
	if err := vfs.ReplaceFile(fsys, "/d/natsd/journal-1", b, 0o600); err != nil {
		t.Fatal(err)
	}
	var damage []JournalDamaged
	c, err := Open("/d", Options{FS: fsys, Listener: func(e Event) {
		if d, ok := e.(JournalDamaged); ok {
			damage = append(damage, d)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, want := range map[string]string{"a": "A", "b": "", "c": "C"} {
		if got, err := vfs.ReadFile(fsys, "/d/"+name, 10); string(got) != want || err != nil {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if len(damage) != 1 || damage[0] != (JournalDamaged{"/d/natsd/journal-1", 1024, 1536}) {
		t.Errorf("damage reported: %v", damage)
	}
}

// A newer server's journal is refused unless it is empty.
func TestNewerVersion(t *testing.T) {
	for _, empty := range []bool{false, true} {
		fsys := crashfs.New(1)
		if err := vfs.MkdirAllSynced(fsys, "/d/natsd", 0o700); err != nil {
			t.Fatal(err)
		}
		b := appendHeader(nil, 1)
		b[8] = 9
		b = append(b[:24], make([]byte, 8)...)
		h := journalHash(b[:24])
		for i := range 8 {
			b[24+i] = byte(h >> (8 * i))
		}
		b = append(b, make([]byte, 4096)...)
		if !empty {
			b[2000] = 1
		}
		if err := vfs.ReplaceFile(fsys, "/d/natsd/journal-1", b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Open("/d", Options{FS: fsys})
		if empty {
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			continue
		}
		var v *VersionError
		if !errors.As(err, &v) || v.Found != 9 || v.Known != 1 || !strings.Contains(err.Error(), "version 9") || !strings.Contains(err.Error(), "version 1:") {
			t.Fatal(err)
		}
		if _, err := fsys.Lock("/d/natsd.lock"); err != nil {
			t.Error("the lock was kept:", err)
		}
	}
}

// FuzzJournal opens a directory with arbitrary bytes as journal: no panic, no file
// outside of the directory, and a block changes only behind its own end.
func FuzzJournal(f *testing.F) {
	prev := [8]byte([]byte("23456789"))
	good := makeSegment(3, appendRecord("s/1.blk", 10, prev, "abcdef"), appendRun(appendDefine(nil, 1, "s/obs"), 1, []byte("run")), appendForget(nil, "s/obs"))
	f.Add(good)
	f.Add(good[:700])
	f.Add(makeSegment(1, appendRecord("../evil", 0, [8]byte{}, "x"), appendRecord("/etc/evil", 0, [8]byte{}, "x")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		// The frames are made valid, so that the fuzzer reaches the records.
		for at := int64(frameAlign); at+frameHeader <= int64(len(b)); at += frameAlign {
			if n := int64(b[at+4]) | int64(b[at+5])<<8; at+frameHeader+n <= int64(len(b)) && b[at] == 0x4e {
				sealFrame(b[at:at+frameHeader+n], 3, uint64(at), at)
			}
		}
		fsys := crashfs.New(1)
		for _, dir := range []string{"/d/natsd", "/d/s/obs", "/etc"} {
			if err := vfs.MkdirAllSynced(fsys, dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		for name, content := range map[string][]byte{"/d/s/1.blk": []byte("0123456789"), "/evil": nil, "/etc/evil": nil, "/d/natsd/journal-1": b} {
			if err := vfs.ReplaceFile(fsys, name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		u, uerr := ReadJournal(fsys, "/d")
		var view []byte
		if uerr == nil {
			var err error
			if view, err = vfs.ReadFile(u.FS(), "/d/s/1.blk", 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		c, err := Open("/d", Options{FS: fsys})
		if (err == nil) != (uerr == nil) {
			t.Fatalf("looking says %v, replaying %v", uerr, err)
		}
		if err != nil {
			return
		}
		got, err := vfs.ReadFile(fsys, "/d/s/1.blk", 1<<20)
		if err != nil || !bytes.HasPrefix(got, []byte("0123456789")) {
			t.Errorf("the block holds %q, %v", got, err)
		}
		if !bytes.Equal(got, view) {
			t.Errorf("the view was %q, the block holds %q", view, got)
		}
		for _, name := range []string{"/evil", "/etc/evil"} {
			if got, err := vfs.ReadFile(fsys, name, 1<<20); len(got) > 0 || err != nil {
				t.Errorf("%s holds %q, %v", name, got, err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		c, err = Open("/d", Options{FS: fsys})
		if err != nil {
			t.Fatal("second open:", err)
		}
		c.Close()
	})
}
