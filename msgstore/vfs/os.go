package vfs

import (
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// OS is the file system of the operating system.
var OS FS = osFS{}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(oldname, newname string) error        { return os.Rename(oldname, newname) }
func (osFS) Link(oldname, newname string) error          { return os.Link(oldname, newname) }
func (osFS) Remove(name string) error                    { return os.Remove(name) }
func (osFS) RemoveAll(name string) error                 { return os.RemoveAll(name) }
func (osFS) MkdirAll(dir string, perm fs.FileMode) error { return os.MkdirAll(dir, perm) }
func (osFS) ReadDir(dir string) ([]fs.DirEntry, error)   { return os.ReadDir(dir) }
func (osFS) Stat(name string) (fs.FileInfo, error)       { return os.Stat(name) }
func (osFS) Available(dir string) (int64, error)         { return available(dir) }
func (osFS) SyncDir(dir string) error                    { return syncDir(dir) }

// Lock holds the lock for as long as the file is open: the kernel releases it
// when the process ends, however it ends. The file itself stays, since removing
// it would let two processes lock two files of one name.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		if err == errWouldBlock {
			err = &LockedError{Name: name, PID: readPID(f)}
		} else {
			err = &fs.PathError{Op: "lock", Path: name, Err: err}
		}
		f.Close()
		return nil, err
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func readPID(r io.ReaderAt) int {
	b := make([]byte, 20)
	n, _ := r.ReadAt(b, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return pid
}

type osFile struct{ f *os.File }

func (f osFile) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f osFile) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f osFile) Close() error                             { return f.f.Close() }
func (f osFile) Truncate(size int64) error                { return f.f.Truncate(size) }
func (f osFile) Sync() error                              { return f.f.Sync() }
func (f osFile) SyncData() error                          { return syncData(f.f) }

func (f osFile) Size() (int64, error) {
	fi, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (f osFile) Preallocate(size int64) error {
	have, err := f.Size()
	if err != nil || size <= have {
		return err
	}
	if done, err := preallocate(f.f, have, size-have); done || err != nil {
		return err
	}
	return f.f.Truncate(size)
}
