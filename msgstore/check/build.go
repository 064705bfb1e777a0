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

// Apart makes sure that what is written to the path to does not end up in the store
// directory of path.
func Apart(path, to string, opts Options) error {
	_, from, err := rootOf(path, opts)
	if err != nil {
		return err
	}
	target := resolve(to)
	if rel, err := filepath.Rel(resolve(from), target); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("%s is a part of %s: choose a place elsewhere", to, from)
	}
	return nil
}

// resolve is the absolute path behind all symbolic links of a path, the end of which
// may not exist.
func resolve(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	for rest := ""; ; {
		if real, err := filepath.EvalSymlinks(abs); err == nil {
			return filepath.Join(real, rest)
		}
		parent := filepath.Dir(abs)
		if parent == abs {
			return filepath.Join(abs, rest)
		}
		rest = filepath.Join(filepath.Base(abs), rest)
		abs = parent
	}
}
