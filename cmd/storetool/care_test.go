package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// full is where nothing more can be written.
type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

// A result that could not be written is no success.
func TestOutputIsFull(t *testing.T) {
	dir := makeStore(t, 3)
	for _, args := range [][]string{
		{"verify", dir}, {"verify", dir, "--json"}, {"inspect", dir, "--records"}, {"inspect", dir, "--json"}, {"stats", dir},
		{"diff", dir, dir}, {"replay", dir}, {"export", dir}, {"recover", dir, "--to", filepath.Join(t.TempDir(), "new")}, {"--help"},
	} {
		var errOut bytes.Buffer
		code := run(context.Background(), args, nil, full{}, &errOut)
		if code != exitRead || strings.Count(errOut.String(), errFull.Error()) != 1 {
			t.Errorf("%q: exit code %d, %s", args, code, errOut.String())
		}
	}
}

// Two streams of one store directory, which has one lock, can be compared.
func TestDiffWithinAStore(t *testing.T) {
	dir := makeStore(t, 3)
	if err := os.WriteFile(filepath.Join(dir, "natsd.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stream := filepath.Join(dir, "jetstream", "A", "streams", "S")
	for _, args := range [][]string{{"diff", dir, dir}, {"diff", dir, stream}, {"diff", stream, filepath.Join(dir, "jetstream")}} {
		if r := storetool("", args...); r.code != exitClean || r.out != "identical: 3 messages\n" {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// What is written does not end up in the directory that is read, nor in the place of
// anything else than a file.
func TestWhereToWrite(t *testing.T) {
	dir := makeStore(t, 3)
	stream := filepath.Join(dir, "jetstream", "A", "streams", "S")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "natsd.lock"), nil, 0o600); err != nil { // of those that write
		t.Fatal(err)
	}
	before := tree(t, dir)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"recover", dir, "--to", filepath.Join(dir, "new")}, exitRead, "choose a place elsewhere"},
		{[]string{"recover", stream, "--to", filepath.Join(dir, "new")}, exitRead, "choose a place elsewhere"},
		{[]string{"recover", dir, "--to", filepath.Join(link, "new")}, exitRead, "choose a place elsewhere"},
		{[]string{"recover", dir, "--in-place", "--backup", dir}, exitRead, "choose a place elsewhere"},
		{[]string{"recover", stream, "--in-place", "--backup", filepath.Join(stream, "backup")}, exitRead, "choose a place elsewhere"},
		{[]string{"export", stream, "--to", filepath.Join(stream, "msgs", "1.blk")}, exitRead, "choose a place elsewhere"},
		{[]string{"export", dir, "--format", "snapshot", "--to", filepath.Join(dir, "b")}, exitRead, "choose a place elsewhere"},
		{[]string{"export", dir, "--to", t.TempDir()}, exitUsage, "is a directory"},
		{[]string{"export", dir, "--to", filepath.Join(t.TempDir(), "x", "y")}, exitRead, "no such file or directory"},
		{[]string{"verify", dir, "--key-file", dir}, exitRead, "key file " + dir + ": is a directory"},
		{[]string{"convert-cipher", dir}, exitUsage, "--to chacha, aes or none"},
		{[]string{"convert-cipher", dir, "--to", "aes"}, exitUsage, "a key is needed"},
		{[]string{"help", "verfy"}, exitUsage, "did you mean verify?"},
	} {
		if r := storetool("", c.args...); r.code != c.code || !strings.Contains(r.err, c.want) || r.out != "" {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	if after := tree(t, dir); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

// tree lists a directory.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			b.WriteString(path + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What an export that was killed has left is gone after the next.
func TestExportAfterKill(t *testing.T) {
	dir := makeStore(t, 3)
	to := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(to+".partial", []byte(strings.Repeat("x", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := storetool("", "export", dir, "--to", to); r.code != exitClean {
		t.Fatalf("%+v", r)
	}
	if b, err := os.ReadFile(to); err != nil || string(b) != lines(3) {
		t.Errorf("%s, %v", b, err)
	}
	if got, want := tree(t, filepath.Dir(to)), filepath.Dir(to)+"\n"+to+"\n"; got != want {
		t.Errorf("left over:\n%s", got)
	}
}

// An interruption ends an import that waits for somebody who types.
func TestInterruptedWait(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	stdin, typed := io.Pipe()
	defer typed.Close()
	to := filepath.Join(t.TempDir(), "new")
	ended := make(chan result, 1)
	go func() {
		var out, errOut bytes.Buffer
		code := run(ctx, []string{"import", "-", "--to", to}, stdin, &out, &errOut)
		ended <- result{code, out.String(), errOut.String()}
	}()
	if _, err := io.WriteString(typed, lines(1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case r := <-ended:
		if r.code != exitRead || !strings.Contains(r.err, "interrupted; nothing was changed") {
			t.Errorf("%+v", r)
		}
	case <-time.After(time.Minute):
		t.Fatal("it still waits")
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", to, err)
	}
}
