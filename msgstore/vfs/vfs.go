// Package vfs is the only door through which natsd's storage touches a disk.
//
// Everything that msgstore reads or writes goes through [FS], so that a test
// can replace the disk by a simulated one that loses unsynced writes, tears the
// last one, or fails the n-th call ([github.com/natsd/natsd/msgstore/vfs/crashfs]),
// and the offline checker can be handed a file system that cannot write.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// ErrLocked is matched by the error of [FS.Lock] when another process, or
// another part of this one, holds the lock.
var ErrLocked = errors.New("locked")

// LockedError says which lock is held, and by whom if that is known.
type LockedError struct {
	Name string // the lock file
	PID  int    // process that wrote its id into it; 0 if unknown
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Name)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Name, e.PID)
}

// Is makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// FS is a file system. Names are slash-separated operating system paths.
// Errors satisfy errors.Is with the io/fs sentinel errors (fs.ErrNotExist, ...).
// All methods may be called from several goroutines at a time.
type FS interface {
	// OpenFile opens a file with os.O_* flags. O_CREATE makes the directory
	// entry, which is durable only after SyncDir of the parent directory.
	// Flags may include [Direct].
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename replaces newname atomically. Durable after SyncDir of the parents.
	Rename(oldname, newname string) error
	// Link makes newname a second name of the file oldname.
	Link(oldname, newname string) error
	Remove(name string) error
	RemoveAll(name string) error
	MkdirAll(dir string, perm fs.FileMode) error
	// ReadDir lists a directory in ascending order of names.
	ReadDir(dir string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the entries of a directory durable.
	SyncDir(dir string) error
	// Lock takes an exclusive advisory lock on the file name, creating it if
	// need be, and does not wait. Closing the result releases it. A lock held
	// by another process, or by this one, gives a [*LockedError]. The file
	// holds the process id of the owner as text.
	Lock(name string) (io.Closer, error)
	// Available is the number of bytes that can still be written under dir.
	Available(dir string) (int64, error)
}

// File is an open file. ReadAt and WriteAt may run concurrently; the caller
// sees to it that writes do not overlap.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size is the current length in bytes.
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes content and metadata durable (fsync).
	Sync() error
	// SyncData makes the content, and what is needed to read it back, durable
	// (fdatasync).
	SyncData() error
	// Preallocate makes the file at least size bytes long and reserves the
	// space; the new part reads as zeros. Where the file system cannot reserve,
	// the file only becomes longer.
	Preallocate(size int64) error
}
