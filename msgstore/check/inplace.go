package check

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/natsd/natsd/msgstore/vfs"
)

// RecoverInPlace repairs the streams at or below path that are damaged. Each is
// first copied to backup, as <account>/<stream>, byte for byte; then what is
// readable is written beside it and takes its place by renames. Streams without
// damage are not touched.
//
// Stopped at any point, the directory holds the original or the result of each
// stream, and running it again does the rest. If it stops between the two
// renames the stream's directory is missing until then, and the backup and
// .<stream>.recover hold it: no server must be started in between.
func RecoverInPlace(path, backup string, opts Options) (*Recovered, error) {
	if err := needReplay(&opts, path); err != nil {
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
		// The findings of the consumers were made twice by now; only the first
		// matter, and nobody prints them here.
		saved := filepath.Join(backup, s.account, s.stream)
		if err := mustBeEmpty(fsys, saved); err != nil {
			return fmt.Errorf("the backup of %s: %w", s.stream, err)
		}
		if err := copyTree(fsys, s.dir, saved); err != nil {
			return fmt.Errorf("make the backup: %w", err)
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

func (s *stream) damaged() bool {
	for _, f := range s.findings {
		if f.Severity == Damage {
			return true
		}
	}
	return false
}

// swapNames are the directories of a repair under way. A server that finds them
// removes them, since they begin with a dot.
func swapNames(dir string) (next, old string) {
	parent, name := filepath.Split(dir)
	return filepath.Join(parent, "."+name+".recover"), filepath.Join(parent, "."+name+".damaged")
}

func swap(fsys vfs.FS, dir, next, old string) error {
	parent := filepath.Dir(dir)
	if err := fsys.SyncDir(parent); err != nil {
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
			name := e.Name()
			const suffix = ".damaged"
			if len(name) <= len(suffix)+1 || name[0] != '.' || name[len(name)-len(suffix):] != suffix {
				continue
			}
			dir := filepath.Join(parent, name[1:len(name)-len(suffix)])
			next, old := swapNames(dir)
			if _, err := fsys.Stat(dir); err == nil {
				continue // swapped; what is left is removed with the next repair
			}
			if _, err := fsys.Stat(next); err != nil {
				next = old
			}
			if err := fsys.Rename(next, dir); err != nil {
				return err
			}
			if err := fsys.SyncDir(parent); err != nil {
				return err
			}
			if err := fsys.RemoveAll(old); err != nil {
				return err
			}
		}
	}
	return nil
}
