package check

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/internal/independent"
	"github.com/natsd/natsd/msgstore/vfs"
)

// stopFS fails every change after the first n, as if the process had been killed
// there: what was done stays, nothing else is.
type stopFS struct {
	vfs.FS
	left int
}

var errStopped = errors.New("stopped here")

func (f *stopFS) step() error {
	if f.left == 0 {
		return errStopped
	}
	f.left--
	return nil
}

func (f *stopFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		if err := f.step(); err != nil {
			return nil, err
		}
	}
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &stopFile{file, f}, nil
}

type stopFile struct {
	vfs.File
	fs *stopFS
}

func (f *stopFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.step(); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off) // a torn write
		return n, err
	}
	return f.File.WriteAt(p, off)
}

// Killing a process loses nothing that was written, so syncing is left out.
func (f *stopFS) SyncDir(string) error { return nil }
func (f *stopFile) Sync() error        { return nil }
func (f *stopFile) SyncData() error    { return nil }

func (f *stopFS) Rename(a, b string) error { return f.do(func() error { return f.FS.Rename(a, b) }) }
func (f *stopFS) Link(a, b string) error   { return f.do(func() error { return f.FS.Link(a, b) }) }
func (f *stopFS) Remove(a string) error    { return f.do(func() error { return f.FS.Remove(a) }) }
func (f *stopFS) RemoveAll(a string) error { return f.do(func() error { return f.FS.RemoveAll(a) }) }
func (f *stopFS) MkdirAll(a string, p fs.FileMode) error {
	return f.do(func() error { return f.FS.MkdirAll(a, p) })
}
func (f *stopFS) Lock(string) (io.Closer, error) { return locks{}, nil }

func (f *stopFS) do(op func() error) error {
	if err := f.step(); err != nil {
		return err
	}
	return op()
}

// exchangeFS is a stopFS that can exchange names.
type exchangeFS struct{ stopFS }

func (f *exchangeFS) Exchange(a, b string) error {
	return f.do(func() error { return vfs.Exchange(f.FS, a, b) })
}

type conversionCase struct {
	fixture string
	to      Keys  // with recode
	s2      *bool // compression
}

func (c conversionCase) run(dir string, o Options) error {
	if c.s2 != nil {
		_, err := ConvertCompression(dir, *c.s2, o)
		return err
	}
	_, err := ConvertCipher(dir, c.to, o)
	return err
}

// Every conversion, stopped at every single change it makes: at any point the
// directory is clean and holds the same messages, and running it again finishes.
func TestConversionsStoppedAnywhere(t *testing.T) {
	aes := "fixture-key-aes-0123456789"
	yes, no := true, false
	for _, c := range []conversionCase{
		{"enc-aes", Keys{Key: []byte(aes), Cipher: ChaCha}, nil},
		{"enc-chacha-s2", Keys{Key: []byte("another"), Cipher: AES}, nil},
		{"enc-chacha", Keys{}, nil},
		{"s2", Keys{Key: []byte("new"), Cipher: AES}, nil},
		{"consumers", Keys{Key: []byte("new"), Cipher: ChaCha}, nil},
		{"s2", Keys{}, &no},
		{"multiblock", Keys{}, &yes},
		{"enc-aes-s2", Keys{}, &no},
	} {
		name := fmt.Sprintf("%s to %v", c.fixture, c.to.Cipher)
		if c.s2 != nil {
			name = fmt.Sprintf("%s s2 %v", c.fixture, *c.s2)
		}
		t.Run(name, func(t *testing.T) {
			original, fx := fixture.Unpack(t, c.fixture)
			before := optionsFor(t, fx)
			before.FS = &stopFS{vfs.OS, -1} // never stops
			for stop, finished := 0, false; !finished; stop += 1 + stop/8 {
				dir, _ := fixture.Unpack(t, c.fixture)
				o := before
				o.FS = &stopFS{vfs.OS, stop}
				err := c.run(dir, o)
				finished = err == nil
				if err != nil && !errors.Is(err, errStopped) {
					t.Fatalf("stopped at %d: %v", stop, err)
				}
				both := before.Keys
				if c.s2 == nil && c.to.Enabled() {
					both = Keys{Key: c.to.Key, PrevKey: before.Keys.Key, Cipher: c.to.Cipher}
				}
				same(t, stop, original, dir, before, Options{Keys: both})
				if err := c.run(dir, before); err != nil {
					t.Fatalf("stopped at %d, resumed: %v", stop, err)
				}
				after := Options{Keys: c.to}
				if c.s2 != nil {
					after = before
				}
				same(t, stop, original, dir, before, after)
				judge(t, stop, dir, fx, string(after.Keys.Key))
				noLeftovers(t, stop, dir)
				if stop > 1000 {
					t.Fatal("does not finish")
				}
			}
		})
	}
}

func same(t *testing.T, stop int, a, b string, oa, ob Options) {
	t.Helper()
	rep, err := Verify(b, ob)
	if err != nil {
		t.Fatalf("stopped at %d: %v", stop, err)
	}
	for _, f := range rep.Findings {
		if f.Severity == Damage || f.Kind == KindIndexMissing || f.Kind == KindIndexStale {
			t.Fatalf("stopped at %d: %v", stop, f)
		}
	}
	d, err := Compare(a, b, oa, ob)
	if err != nil {
		t.Fatalf("stopped at %d: %v", stop, err)
	}
	for _, x := range d.Differences {
		if x.Kind != "config" {
			t.Fatalf("stopped at %d: %v", stop, x)
		}
	}
}

func judge(t *testing.T, stop int, dir string, fx *fixture.Case, key string) {
	t.Helper()
	for _, truth := range fx.Streams {
		s, err := independent.Read(filepath.Join(dir, "jetstream", truth.Account, "streams", truth.Name), key)
		if err != nil {
			t.Fatalf("stopped at %d: %v", stop, err)
		}
		if len(s.Problems) > 0 || len(s.Messages) != len(truth.Messages) {
			t.Fatalf("stopped at %d: %d messages of %d, %v", stop, len(s.Messages), len(truth.Messages), s.Problems)
		}
	}
}

func noLeftovers(t *testing.T, stop int, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch filepath.Ext(path) {
		case ".tmp", ".old", ".new":
			t.Fatalf("stopped at %d: %s is left over", stop, path)
		}
		return err
	})
}

func TestConversionOfDamagedIsRefused(t *testing.T) {
	dir, fx := fixture.Unpack(t, "dmg-bitflip-middle-block")
	before := fingerprint(t, dir)
	if _, err := ConvertCipher(dir, Keys{Key: []byte("k")}, optionsFor(t, fx)); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if fingerprint(t, dir) != before {
		t.Error("the directory was changed")
	}
}

func TestEditMember(t *testing.T) {
	for _, tc := range []struct{ in, member, value, want string }{
		{`{"a":1,"compression":"none","b":2}`, "compression", `"s2"`, `{"a":1,"compression":"s2","b":2}`},
		{`{"a":{"compression":"x"}}`, "compression", `"s2"`, `{"compression":"s2","a":{"compression":"x"}}`},
		{`{}`, "c", `1`, `{"c":1}`},
		{`{"Created":"x", "a":1}`, "Created", ``, `{ "a":1}`},
		{`{"a":1,"Created":"x"}`, "Created", ``, `{"a":1}`},
		{`{"a":1,"Created":"x","b":2}`, "Created", ``, `{"a":1,"b":2}`},
		{`{"Created":"x"}`, "Created", ``, `{}`},
		{`{"a":"<>"}`, "b", ``, `{"a":"<>"}`},
	} {
		var value []byte
		if tc.value != "" {
			value = []byte(tc.value)
		}
		got, err := editMember([]byte(tc.in), tc.member, value)
		if err != nil || string(got) != tc.want {
			t.Errorf("%s %s: %s, %v", tc.in, tc.member, got, err)
		}
	}
	if _, err := editMember([]byte(`[1]`), "a", nil); err == nil {
		t.Error("an array was edited")
	}
}

// A batch that was in flight is sealed with keys that a conversion does not change: it
// would be lost.
func TestConvertWithStagedBatch(t *testing.T) {
	ring := Keys{Key: []byte("k"), Cipher: AES}
	dir := made(t, ring, "", some(t, 3))
	batches := filepath.Join(dir, "jetstream", "A", "streams", "S", "batches")
	staged := filepath.Join(batches, "JQL8L3GA")
	if err := os.MkdirAll(staged, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(staged, "meta.key"), []byte("its own"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, to := range []Keys{{}, {Key: []byte("new"), Cipher: AES}, {Key: []byte("k"), Cipher: ChaCha}} {
		if _, err := ConvertCipher(dir, to, Options{Keys: ring}); err == nil || !strings.Contains(err.Error(), "start a server once") {
			t.Errorf("%v: %v", to.Cipher, err)
		}
	}
	if _, err := ConvertCompression(dir, true, Options{Keys: ring}); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(staged, "meta.key")); err != nil { // it is plain
		t.Fatal(err)
	}
	if _, err := ConvertCipher(dir, Keys{}, Options{Keys: ring}); err != nil {
		t.Error(err)
	}
}
