package check

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/natsd/natsd/msgstore/vfs"
)

// InUseError says that a server works with a directory.
type InUseError struct {
	File    string // that it holds open or has locked
	PID     int    // 0 if unknown
	Command string
}

func (e *InUseError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	if e.Command != "" {
		who += " (" + e.Command + ")"
	}
	return fmt.Sprintf("%s is in use by %s: stop it first", e.File, who)
}

// Acquire makes sure that no server works with the store directories of paths, and
// that none starts until the result is closed: natsd's lock is taken, and on
// Linux the open files of all processes are looked at, since nats-server takes
// no lock. With write the lock file is made if it does not exist; without it an
// absent one means that no natsd ever ran there. Paths may lie in the same store
// directory. Errors: *InUseError.
func Acquire(write bool, opts Options, paths ...string) (io.Closer, error) {
	var held locks
	seen := map[string]bool{}
	for _, path := range paths {
		t, root, err := rootOf(path, opts)
		if err != nil {
			return nil, errors.Join(err, held.Close())
		}
		if seen[root] {
			continue
		}
		seen[root] = true
		lock, err := acquire(root, write, write && t.store != "", opts.fs())
		if err != nil {
			return nil, errors.Join(err, held.Close())
		}
		held = append(held, lock)
	}
	return held, nil
}

// rootOf opens what path holds; root is the store directory that it belongs to, or
// path itself if it is none's.
func rootOf(path string, opts Options) (t *tree, root string, err error) {
	if t, err = openTree(vfs.ReadOnly(opts.fs()), path); err != nil {
		return nil, path, err
	}
	return t, cmp.Or(t.store, path), nil
}

// Root is the store directory that path belongs to, or path itself if it is a part of
// one that lies alone.
func Root(path string, opts Options) string {
	_, root, _ := rootOf(path, opts)
	return root
}

// acquire takes the lock of a store directory, and makes its file if create is set.
func acquire(root string, write, create bool, fsys vfs.FS) (io.Closer, error) {
	release := io.Closer(locks{})
	lock := filepath.Join(root, "natsd.lock")
	if _, err := fsys.Stat(lock); err == nil || create {
		held, err := fsys.Lock(lock)
		var locked *vfs.LockedError
		switch {
		case errors.As(err, &locked):
			return nil, &InUseError{File: lock, PID: locked.PID, Command: commandOf(locked.PID)}
		case err == nil:
			release = held
		case write || !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS):
			return nil, err // a reader may not be allowed to open it
		}
	}
	if e := openBy(root); e != nil {
		release.Close()
		return nil, e
	}
	return release, nil
}

// locks are released together.
type locks []io.Closer

func (l locks) Close() error {
	var err error
	for _, c := range l {
		err = errors.Join(err, c.Close())
	}
	return err
}

// openBy looks for another process that has a file below root open.
func openBy(root string) *InUseError {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	list, err := os.ReadDir("/proc")
	if err != nil {
		return nil // no such thing on this system
	}
	for _, e := range list {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", e.Name(), "fd")
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // of another user, or gone
		}
		if server := serves(pid, abs); server != nil {
			return server
		}
		for _, fd := range fds {
			target, err := os.Readlink(filepath.Join(dir, fd.Name()))
			if err != nil || !strings.HasPrefix(target, abs+string(filepath.Separator)) {
				continue
			}
			if info, err := os.Stat(target); err != nil || info.IsDir() {
				continue // a shell that stands in the directory does no harm
			}
			return &InUseError{File: target, PID: pid, Command: commandOf(pid)}
		}
	}
	return nil
}

// serves says whether a process is a server that was started on the directory
// root. An idle nats-server has no file open, so that only its arguments, or the
// configuration file that they name, tell.
func serves(pid int, root string) *InUseError {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	b, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil {
		return nil
	}
	args := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	name := filepath.Base(args[0])
	if name != "nats-server" && name != "natsd" {
		return nil
	}
	cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
	if err != nil {
		return nil
	}
	for _, a := range args[1:] {
		if _, value, ok := strings.Cut(a, "="); ok {
			a = value
		}
		if !filepath.IsAbs(a) {
			a = filepath.Join(cwd, a)
		}
		if real, err := filepath.EvalSymlinks(a); err == nil {
			a = real
		}
		if a == root || mentions(a, root) {
			return &InUseError{File: root, PID: pid, Command: name}
		}
	}
	return nil
}

// maxConfigFile bounds how much of a configuration file is looked at.
const maxConfigFile = 1 << 20

// mentions says whether a configuration file names the directory.
func mentions(file, root string) bool {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxConfigFile {
		return false
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for rest := string(b); ; {
		i := strings.Index(rest, root)
		if i < 0 {
			return false
		}
		rest = rest[i+len(root):]
		// Not a longer name that begins in the same way.
		if next := strings.TrimLeft(rest, "/"); next == "" || strings.ContainsAny(next[:1], "\"' \t\r\n;,}") {
			return true
		}
	}
}

func commandOf(pid int) string {
	if pid <= 0 {
		return ""
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
