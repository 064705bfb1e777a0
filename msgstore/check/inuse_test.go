package check

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs"
)

func TestInUse(t *testing.T) {
	dir := made(t, Keys{}, "", some(t, 3))
	stream := filepath.Join(dir, "jetstream", "A", "streams", "S")
	c, err := Acquire(false, Options{}, stream)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := os.Stat(filepath.Join(dir, "natsd.lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("looking made a lock file")
	}
	// natsd, which locks.
	lock, err := vfs.OS.Lock(filepath.Join(dir, "natsd.lock"))
	if err != nil {
		t.Fatal(err)
	}
	for _, write := range []bool{false, true} {
		var in *InUseError
		if _, err := Acquire(write, Options{}, stream); !errors.As(err, &in) || in.PID != os.Getpid() || !strings.Contains(err.Error(), "natsd.lock") {
			t.Errorf("locked: %v", err)
		}
	}
	lock.Close()
	c, err = Acquire(true, Options{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.OS.Lock(filepath.Join(dir, "natsd.lock")); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("natsd could start: %v", err)
	}
	c.Close()
	// nats-server, which only has files open.
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Log("no /proc: open files of other processes cannot be seen here")
		return
	}
	block, err := os.Open(filepath.Join(stream, "msgs", "1.blk"))
	if err != nil {
		t.Fatal(err)
	}
	defer block.Close()
	if c, err = Acquire(false, Options{}, dir); err != nil {
		t.Fatalf("our own open file: %v", err)
	}
	c.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	cmd := exec.Command("cat")
	cmd.Stdin = reader // it waits here, with the block open as its third file
	cmd.ExtraFiles = []*os.File{block}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var in *InUseError
	if _, err := Acquire(false, Options{}, dir); !errors.As(err, &in) || in.PID != cmd.Process.Pid || in.Command != "cat" || filepath.Base(in.File) != "1.blk" {
		t.Errorf("a file is open: %v", err)
	}
	writer.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// An idle nats-server has no file of its directory open: its arguments tell.
func TestIdleServer(t *testing.T) {
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		t.Log("no /proc: other processes cannot be seen here")
		return
	}
	dir := made(t, Keys{}, "", some(t, 3))
	conf := filepath.Join(t.TempDir(), "server.conf")
	if err := os.WriteFile(conf, []byte("port: 1\njetstream { store_dir: \""+dir+"/\" }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.conf")
	if err := os.WriteFile(other, []byte("store_dir: "+dir+"2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want bool
	}{
		{[]string{"nats-server", "-js", "-sd", dir}, true},
		{[]string{"nats-server", "-js", "-sd=" + dir}, true},
		{[]string{"nats-server", "-js", "-sd", filepath.Base(dir)}, true},
		{[]string{"/usr/bin/natsd", "-c", conf}, true},
		{[]string{"nats-server", "-c", other}, false},
		{[]string{"nats-server", "-js", "-sd", filepath.Dir(dir)}, false},
		{[]string{"vi", conf}, false},
	} {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		// A shell that waits for its input, under the name of a server.
		cmd := exec.Command("/bin/sh", "-c", "echo; read x")
		cmd.Args = append(tc.args[:1:1], append([]string{"-c", "echo; read x"}, tc.args[1:]...)...)
		cmd.Dir = filepath.Dir(dir)
		cmd.Stdin = reader
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.Read(make([]byte, 1)) // it runs under its name now
		_, err = Acquire(false, Options{}, dir)
		var in *InUseError
		if errors.As(err, &in) != tc.want || tc.want && in.PID != cmd.Process.Pid {
			t.Errorf("%q: %v", tc.args, err)
		}
		writer.Close()
		cmd.Wait()
		reader.Close()
	}
}
