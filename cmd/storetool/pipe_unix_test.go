//go:build unix

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A pipe, or a device, is written to: no file takes its place.
func TestExportToPipe(t *testing.T) {
	dir := makeStore(t, 3)
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		b, err := os.ReadFile(name)
		if err != nil {
			got <- err.Error()
			return
		}
		got <- string(b)
	}()
	if r := storetool("", "export", dir, "--to", name); r.code != exitClean {
		t.Errorf("%+v", r)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	if s := <-got; s != lines(3) {
		t.Errorf("%q", s)
	}
}
