package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
)

// ReadFile returns the content of a file. A file larger than limit bytes is
// refused with an error that matches ErrTooLarge.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: ErrTooLarge}
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

// ErrTooLarge is matched by the error of [ReadFile] for a file above its limit.
var ErrTooLarge = errors.New("file too large")

// ReplaceFile makes name hold exactly data, atomically and durably: it writes
// name+".tmp", syncs it, renames it over name and syncs the directory. After an
// error name holds either its old content or data. One writer per name at a time.
func ReplaceFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	tmp := name + ".tmp"
	if err := WriteSynced(fsys, tmp, data, perm); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// WriteSynced writes a file anew and syncs it, but not its directory.
func WriteSynced(fsys FS, name string, data []byte, perm fs.FileMode) error {
	return CopySynced(fsys, name, bytes.NewReader(data), perm)
}

// CopySynced is WriteSynced of what it reads, of which little is in memory at a time.
func CopySynced(fsys FS, name string, from io.Reader, perm fs.FileMode) error {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	if _, err = io.Copy(io.NewOffsetWriter(f, 0), from); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// MkdirAllSynced makes a directory with its missing parents and makes their
// entries durable.
func MkdirAllSynced(fsys FS, dir string, perm fs.FileMode) error {
	if _, err := fsys.Stat(dir); err == nil {
		return nil
	}
	parent := path.Dir(dir)
	if parent != dir {
		if err := MkdirAllSynced(fsys, parent, perm); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir, perm); err != nil {
		return err
	}
	return fsys.SyncDir(parent)
}
