package check

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/natsd/natsd/msgstore/vfs"
)

// ErrExists says that a target is not empty.
var ErrExists = errors.New("exists and is not empty")

// partialName is where the content of a new directory is until it is complete.
const partialName = ".partial"

// build fills the new directory to, which must be empty or not exist. What fill
// writes appears in it when it is complete: stopped before, there is nothing but
// a leftover that the next attempt removes. If fill fails, it is as it was.
func build(fsys vfs.FS, to string, fill func(dir string) error) error {
	partial := filepath.Join(to, partialName)
	list, err := fsys.ReadDir(to)
	made := errors.Is(err, fs.ErrNotExist)
	if err != nil && !made {
		return err
	}
	for _, e := range list {
		if e.Name() != partialName {
			return fmt.Errorf("%s %w", to, ErrExists)
		}
	}
	if err := fsys.RemoveAll(partial); err != nil {
		return err
	}
	if err := vfs.MkdirAllSynced(fsys, partial, 0o700); err != nil {
		return err
	}
	if err := fill(partial); err != nil {
		err = errors.Join(err, fsys.RemoveAll(partial))
		if made {
			fsys.Remove(to) // it is empty
		}
		return err
	}
	if list, err = fsys.ReadDir(partial); err != nil {
		return err
	}
	for _, e := range list {
		if err := fsys.Rename(filepath.Join(partial, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	if err := fsys.SyncDir(to); err != nil {
		return err
	}
	if err := fsys.RemoveAll(partial); err != nil {
		return err
	}
	return fsys.SyncDir(to)
}

// apart makes sure that what is written to the directory to does not end up in the
// directory that is read.
func apart(path, to string) error {
	from, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	target, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(from, target); err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("%s lies inside of %s: choose a directory elsewhere", to, path)
	}
	return nil
}
