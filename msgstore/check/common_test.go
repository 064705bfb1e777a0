package check

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/fixture"
)

func optionsFor(t testing.TB, c *fixture.Case) Options {
	var o Options
	if c.Encryption != nil {
		o.Keys.Key = []byte(c.Encryption.Key) // the cipher is found by itself
	}
	return o
}

// summary is a finding in short.
func summary(f Finding) string {
	s := fmt.Sprintf("%s %s", f.Severity, f.Kind)
	if f.LastSeq > 0 {
		s += fmt.Sprintf(" %d-%d", f.FirstSeq, f.LastSeq)
	}
	return s
}

// fingerprint is a hash over names and contents of a directory.
func fingerprint(t testing.TB, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(b), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
