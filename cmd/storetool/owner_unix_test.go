//go:build unix

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What root writes belongs to the owner of the directory, whose server has to open it.
func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root, who alone can give files away")
		return
	}
	const uid, gid, other = 12345, 12346, 12347
	dir, key := makeStore(t, 50), file(t, "key")
	give := func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	}
	if err := filepath.WalkDir(dir, give); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(foreign, other, other); err != nil {
		t.Fatal(err)
	}
	stream, to := filepath.Join(dir, "jetstream", "A", "streams", "S"), filepath.Join(t.TempDir(), "new")
	for _, args := range [][]string{
		{"recover", dir, "--to", to},
		{"convert-cipher", stream, "--to", "aes", "--new-key-file", key},
		{"replay", dir},
	} {
		if r := storetool("", args...); r.code != exitClean {
			t.Fatalf("%q: %+v", args, r)
		}
		for _, root := range []string{dir, to} {
			err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := d.Info()
				if err != nil {
					return err
				}
				st := info.Sys().(*syscall.Stat_t)
				if want := map[bool]uint32{true: other, false: uid}[path == foreign]; st.Uid != want {
					t.Errorf("%q: %s belongs to %d", args, path, st.Uid)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "natsd.lock")); err != nil {
		t.Error(err)
	}
}
