package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unpack makes a copy of the store directory of a fixture, and a file with its key
// ("" if there is none). Without the golden data, which is not part of the
// repository, there is nothing to do.
func unpack(t *testing.T, from string) (dir, key string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(from, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var expected struct{ Encryption struct{ Key string } }
	if err := json.Unmarshal(text, &expected); err != nil {
		t.Fatal(err)
	}
	if expected.Encryption.Key != "" {
		key = file(t, expected.Encryption.Key)
	}
	f, err := os.Open(filepath.Join(from, "store.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "store")
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir, key
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(name, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := io.ReadAll(r)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(name), 0o700)
		}
		if err == nil {
			err = os.WriteFile(name, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Of the damaged fixtures, lossless are those whose messages are all there, and
// unharmed those that verify calls clean.
var (
	lossless = []string{"dmg-consumer-state", "dmg-meta-sum", "dmg-truncated-tombstone"}
	unharmed = []string{"dmg-corrupt-index", "dmg-leftover-temp", "dmg-missing-index", "dmg-partial-purge", "dmg-truncated-tail-noindex", "dmg-zero-tail"}
)

// Every command on every fixture, as text and as JSON: what is said is said on the
// right stream, JSON is JSON, and the exit code is the one of the manual.
func TestEveryCommandOnEveryFixture(t *testing.T) {
	cases, err := filepath.Glob(filepath.Join(fixtures(t), "*", "store.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(fixtures(t)); err == nil && len(cases) != 49 {
		t.Errorf("%d fixtures, want 49", len(cases))
	}
	for _, archive := range cases {
		name := filepath.Base(filepath.Dir(archive))
		damaged := strings.HasPrefix(name, "dmg-") && !slices.Contains(unharmed, name)
		loses := damaged && !slices.Contains(lossless, name)
		code := func(bad bool) int {
			if bad {
				return exitDamage
			}
			return exitClean
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, key := unpack(t, filepath.Dir(archive))
			newKey := file(t, "a new key")
			tmp := t.TempDir()
			at := func(s string) string { return filepath.Join(tmp, s) }
			for _, c := range []struct {
				args []string
				code int
			}{
				{[]string{"verify", dir}, code(damaged)},
				{[]string{"inspect", dir, "--blocks", "--records", "--subjects", "--consumers"}, exitClean},
				{[]string{"stats", dir}, exitClean},
				{[]string{"diff", dir, dir}, exitClean},
				{[]string{"export", dir, "--to", at("lines")}, code(loses)},
				{[]string{"export", dir, "--format", "snapshot", "--to", at("backups")}, code(damaged)},
				{[]string{"replay", dir}, exitClean},
				{[]string{"recover", dir, "--to", at("new")}, code(loses)},
				{[]string{"convert-compression", dir, "--to", "s2"}, code(damaged)},
				{[]string{"convert-cipher", dir, "--to", "aes", "--new-key-file", newKey}, code(damaged)},
			} {
				if strings.HasPrefix(c.args[0], "convert") && name == "dmg-partial-purge" {
					c.code = exitRead // a server completes the purge first
				}
				for _, asJSON := range []bool{false, true} {
					args := slices.Clone(c.args)
					if key != "" {
						args = append(args, "--key-file", key)
					}
					if c.args[0] == "convert-cipher" && asJSON && c.code == exitClean {
						args = append(c.args[:len(c.args):len(c.args)], "--key-file", newKey) // it is converted
					}
					if asJSON {
						args = append(args, "--json")
						for i, a := range args { // a new place for the second time
							if strings.HasPrefix(a, tmp) {
								args[i] = a + ".json"
							}
						}
					}
					r := storetool("", args...)
					if r.code != c.code {
						t.Errorf("%q: exit code %d, want %d: %s%s", args, r.code, c.code, r.out, r.err)
					}
					failed := r.err != "" && r.out == ""
					switch {
					case r.out == "" && r.err == "":
						t.Errorf("%q says nothing", args)
					case asJSON && !failed && !json.Valid([]byte(r.out)):
						t.Errorf("%q: no JSON: %s", args, r.out)
					case failed && !strings.HasPrefix(r.err, "storetool: ") && c.args[0] != "export":
						t.Errorf("%q: %s", args, r.err)
					}
				}
			}
			if key == "" {
				return
			}
			for _, c := range []struct {
				args []string
				want string
			}{
				{[]string{"stats", at("new")}, "no key was given: use --key-file or NATSD_STORE_KEY"},
				{[]string{"stats", at("new"), "--key-file", file(t, "wrong")}, "goes with --prev-key-file"},
			} {
				if r := storetool("", c.args...); r.code != exitRead || !strings.Contains(r.err, c.want) {
					t.Errorf("%q: %+v", c.args, r)
				}
			}
		})
	}
}

// fixtures is the directory of the golden data, beside the repository.
func fixtures(t *testing.T) string {
	t.Helper()
	root := os.Getenv("NATSD_FIXTURES")
	if root == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		root = filepath.Join(dir, "..", "..", "..", "shared", "fixtures")
	}
	return filepath.Join(root, "filestore")
}
