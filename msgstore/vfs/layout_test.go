package vfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWriteNew(t *testing.T) {
	for _, inTurn := range []bool{false, true} {
		dir := t.TempDir()
		files := []NewFile{{filepath.Join(dir, "a"), []byte("one"), 0o600}, {filepath.Join(dir, "b"), nil, 0o640}}
		if err := WriteNew(OS, inTurn, files, dir); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			got, err := os.ReadFile(f.Name)
			if err != nil || string(got) != string(f.Data) {
				t.Errorf("%s holds %q, %v; wanted %q", f.Name, got, err, f.Data)
			}
		}
		if err := WriteNew(OS, inTurn, []NewFile{{filepath.Join(dir, "no", "a"), nil, 0o600}}); err == nil {
			t.Error("no error for a directory that is not there")
		}
	}
}

func TestHidden(t *testing.T) {
	long := strings.Repeat("n", 255)
	got := Hidden("/d/"+long, ".new.")
	if filepath.Dir(got) != "/d" || !strings.HasPrefix(filepath.Base(got), ".new.") || len(filepath.Base(got)) > 255 {
		t.Errorf("hidden name of a long one: %s", got)
	}
	if Hidden("/d/a", ".new.") == Hidden("/d/b", ".new.") {
		t.Error("two names share a hidden one")
	}
}
