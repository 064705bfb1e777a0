package vfs

import (
	"io"
	"io/fs"
	"os"
)

// ReadOnly returns a view of fsys on which every call that could change
// something, Lock among them, fails with an error that matches fs.ErrPermission.
func ReadOnly(fsys FS) FS { return readOnly{fsys} }

type readOnly struct{ fsys FS }

func refuse(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrPermission}
}

func (r readOnly) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND) != 0 {
		return nil, refuse("open", name)
	}
	f, err := r.fsys.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{f, name}, nil
}

func (r readOnly) Rename(_, newname string) error            { return refuse("rename", newname) }
func (r readOnly) Link(_, newname string) error              { return refuse("link", newname) }
func (r readOnly) Remove(name string) error                  { return refuse("remove", name) }
func (r readOnly) RemoveAll(name string) error               { return refuse("remove", name) }
func (r readOnly) MkdirAll(dir string, _ fs.FileMode) error  { return refuse("mkdir", dir) }
func (r readOnly) SyncDir(dir string) error                  { return refuse("sync", dir) }
func (r readOnly) Lock(name string) (io.Closer, error)       { return nil, refuse("lock", name) }
func (r readOnly) ReadDir(dir string) ([]fs.DirEntry, error) { return r.fsys.ReadDir(dir) }
func (r readOnly) Stat(name string) (fs.FileInfo, error)     { return r.fsys.Stat(name) }
func (r readOnly) Available(dir string) (int64, error)       { return r.fsys.Available(dir) }

type readOnlyFile struct {
	f    File
	name string
}

func (f readOnlyFile) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }
func (f readOnlyFile) Close() error                            { return f.f.Close() }
func (f readOnlyFile) Size() (int64, error)                    { return f.f.Size() }
func (f readOnlyFile) WriteAt([]byte, int64) (int, error)      { return 0, refuse("write", f.name) }
func (f readOnlyFile) Truncate(int64) error                    { return refuse("truncate", f.name) }
func (f readOnlyFile) Sync() error                             { return refuse("sync", f.name) }
func (f readOnlyFile) SyncData() error                         { return refuse("sync", f.name) }
func (f readOnlyFile) Preallocate(int64) error                 { return refuse("preallocate", f.name) }
