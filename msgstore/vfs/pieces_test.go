package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// plainFile is a File that writes one piece at a time.
type plainFile struct{ File }

// TestWritePieces writes pieces, empty ones among them, and more than one call takes,
// behind what is in the file.
func TestWritePieces(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pieces int
		plain  bool
	}{
		{"none", 0, false},
		{"one", 1, false},
		{"few", 5, false},
		{"more than a call takes", 200, false},
		{"one at a time", 5, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "f")
			f, err := OS.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if tc.plain {
				f = plainFile{f}
			}
			want := []byte("in front")
			if _, err := f.WriteAt(want, 0); err != nil {
				t.Fatal(err)
			}
			var pieces [][]byte
			for i := range tc.pieces {
				p := bytes.Repeat([]byte{byte(i)}, i%7*100)
				pieces = append(pieces, p)
				want = append(want, p...)
			}
			if err := WritePieces(f, pieces, 8); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if got, err := ReadFile(OS, name, 1<<20); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, %v; want %d", len(got), err, len(want))
			}
			if tc.pieces < 2 {
				return
			}
			if err := WritePieces(f, pieces, 8); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("a closed file: %v", err)
			}
			r, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if path := (*fs.PathError)(nil); !errors.As(WritePieces(osFile{r}, pieces, 8), &path) {
				t.Error("a file that is open for reading was written")
			}
		})
	}
}
