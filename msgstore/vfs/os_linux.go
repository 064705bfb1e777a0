package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// Direct is a flag for OpenFile: reads and writes bypass the page cache. Offsets,
// lengths and the memory must be aligned to what the disk asks for, at most the page
// size, and some file systems refuse it: when the file is opened, or used. It is 0
// where there is no such thing.
const Direct = syscall.O_DIRECT

var errWouldBlock error = syscall.EWOULDBLOCK

// control runs a system call on the file's descriptor, which stays open for as
// long as the call runs, and repeats it while a signal interrupts it.
func control(f *os.File, op string, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = raw.Control(func(fd uintptr) {
		for {
			if callErr = call(int(fd)); callErr != syscall.EINTR {
				return
			}
		}
	})
	if err == nil {
		err = callErr
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}

func syncData(f *os.File) error { return control(f, "fdatasync", syscall.Fdatasync) }

func lockFile(f *os.File) error {
	err := control(f, "flock", func(fd int) error {
		return syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
	})
	if errors.Is(err, errWouldBlock) {
		return errWouldBlock
	}
	return err
}

// preallocate reports false where the file system has no fallocate.
func preallocate(f *os.File, off, n int64) (bool, error) {
	err := control(f, "fallocate", func(fd int) error { return syscall.Fallocate(fd, 0, off, n) })
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return false, nil
	}
	return true, err
}

func available(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
