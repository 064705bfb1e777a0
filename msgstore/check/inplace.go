package check

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/natsd/natsd/msgstore/vfs"
)

// RecoverInPlace repairs the streams at or below path that are damaged. Each is
// first copied to backup, as <account>/<stream>, byte for byte; then what is
// readable is written beside it, and the two directories change their names in one
// step. Streams without damage are not touched.
//
// Stopped at any point, the directory holds the original or the result of each
// stream, and running it again with the same backup does the rest. Only where the
// system cannot exchange names there are two renames, and a moment between them in
// which the stream's directory is missing; running it again puts it there.
func RecoverInPlace(path, backup string, opts Options) (*Recovered, error) {
	if err := Apart(path, backup, opts); err != nil {
		return nil, err
	}
	if err := mustBeReplayed(path, &opts); err != nil {
		return nil, err
	}
	res := &Recovered{Streams: []RecoveredStream{}}
	fsys := opts.fs()
	if err := finishSwaps(path, &opts); err != nil {
		return nil, err
	}
	err := examine(path, twoPasses, &opts, func(s *stream) error {
		s.consumers()
		if !s.damaged() {
			return nil
		}
		if s.onlyBlock != 0 {
			return fmt.Errorf("%s: a block cannot be repaired without its stream", path)
		}
		if err := save(fsys, s.dir, filepath.Join(backup, s.account), s.stream); err != nil {
			return fmt.Errorf("the backup of %s: %w", s.stream, err)
		}
		next, old := swapNames(s.dir)
		if err := fsys.RemoveAll(next); err != nil {
			return err
		}
		if err := fsys.RemoveAll(old); err != nil {
			return err
		}
		r, err := s.recoverTo(next)
		if err != nil {
			return err
		}
		res.Streams = append(res.Streams, r)
		return swap(fsys, s.dir, next, old)
	})
	return res, err
}

// save copies a directory to backup/name, which appears when it is complete. One
// that is there already must be such a copy, of a run that was interrupted.
func save(fsys vfs.FS, dir, backup, name string) error {
	saved, partial := filepath.Join(backup, name), filepath.Join(backup, "."+name+".partial")
	if _, err := fsys.Stat(saved); err == nil {
		same, err := sameTree(fsys, dir, saved)
		if err == nil && !same {
			err = fmt.Errorf("%s %w, and is no copy of the stream: choose another directory", saved, ErrExists)
		}
		return err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fsys.RemoveAll(partial); err != nil {
		return err
	}
	if err := copyTree(fsys, dir, partial); err != nil {
		return err
	}
	if err := fsys.Rename(partial, saved); err != nil {
		return err
	}
	return fsys.SyncDir(backup)
}

func (s *stream) damaged() bool {
	for _, f := range s.findings {
		if f.Severity == Damage {
			return true
		}
	}
	return false
}

// The names of the two directories of a repair, behind "." and the stream's.
const (
	repaired = ".recover"
	replaced = ".damaged"
)

// swapNames are the directories of a repair under way. A server that finds them
// removes them, since they begin with a dot.
func swapNames(dir string) (next, old string) {
	parent, name := filepath.Split(dir)
	return filepath.Join(parent, "."+name+repaired), filepath.Join(parent, "."+name+replaced)
}

func swap(fsys vfs.FS, dir, next, old string) error {
	parent := filepath.Dir(dir)
	if err := fsys.SyncDir(parent); err != nil {
		return err
	}
	switch err := vfs.Exchange(fsys, dir, next); {
	case err == nil:
		if err := fsys.SyncDir(parent); err != nil {
			return err
		}
		return fsys.RemoveAll(next)
	case !errors.Is(err, errors.ErrUnsupported):
		return err
	}
	if err := fsys.Rename(dir, old); err != nil {
		return err
	}
	if err := fsys.Rename(next, dir); err != nil {
		return errors.Join(err, fsys.Rename(old, dir))
	}
	if err := fsys.SyncDir(parent); err != nil {
		return err
	}
	return fsys.RemoveAll(old)
}

// finishSwaps completes repairs that were stopped between the renames.
func finishSwaps(path string, opts *Options) error {
	fsys := opts.fs()
	t, err := openTree(vfs.ReadOnly(fsys), path)
	if err != nil {
		return err
	}
	parents := map[string]bool{}
	for _, loc := range t.streams {
		parents[filepath.Dir(loc.dir)] = true
	}
	if t.store != "" {
		accounts, err := fsys.ReadDir(filepath.Join(t.store, jetstreamDir))
		if err == nil {
			for _, a := range accounts {
				parents[filepath.Join(t.store, jetstreamDir, a.Name(), streamsDir)] = true
			}
		}
	}
	for parent := range parents {
		list, err := fsys.ReadDir(parent)
		if err != nil {
			continue
		}
		for _, e := range list {
			for _, suffix := range []string{repaired, replaced} {
				name, ok := strings.CutSuffix(e.Name(), suffix)
				if !ok || len(name) < 2 || name[0] != '.' {
					continue
				}
				if err := finishSwap(fsys, filepath.Join(parent, name[1:])); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// finishSwap puts the directory of a stream where it belongs and removes what is
// left of the repair.
func finishSwap(fsys vfs.FS, dir string) error {
	next, old := swapNames(dir)
	if _, err := fsys.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		// Between two renames: both directories are complete.
		if _, err := fsys.Stat(next); err != nil {
			next = old
		}
		if err := fsys.Rename(next, dir); err != nil {
			return err
		}
		if err := fsys.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := fsys.RemoveAll(next); err != nil {
		return err
	}
	return fsys.RemoveAll(old)
}
