package check

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/vfs"
)

// location is the directory of a stream or of a Raft group.
type location struct {
	account, stream, dir string
	onlyBlock            uint64 // 0: all
	group                bool
}

// owner is the name that goes into the derivation of keys besides the stream's.
func (l *location) owner() string {
	if l.group {
		return l.stream
	}
	return l.account
}

// tree is what a path given by the user holds.
type tree struct {
	fs      vfs.FS
	store   string // the store directory that it belongs to, "" if unknown
	journal *commit.Unreplayed
	streams []location
}

const (
	jetstreamDir = "jetstream"
	streamsDir   = "streams"
)

// openTree finds the streams at or below a store directory, a jetstream
// directory, an account, a stream or a block file.
func openTree(fsys vfs.FS, path string) (*tree, error) {
	// The store directory of "streams/S" is above the working directory.
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := fsys.Stat(path)
	if err != nil {
		return nil, err
	}
	t := &tree{fs: fsys}
	if !info.IsDir() {
		n, ok := blockNumber(filepath.Base(path), ".blk")
		if !ok {
			return nil, fmt.Errorf("%s: %w", path, ErrNoStore)
		}
		t.add(filepath.Dir(filepath.Dir(path)), n)
		t.store = storeOf(filepath.Dir(filepath.Dir(path)))
		return t, nil
	}
	switch {
	case t.isDir(path, jetstreamDir):
		t.store = path
		err = t.accounts(filepath.Join(path, jetstreamDir))
	case t.isDir(path, "msgs"), t.isFile(path, "meta.inf"):
		t.store = storeOf(path)
		t.add(path, 0)
	case t.isDir(path, streamsDir), t.isDir(path, raftDir):
		t.store = filepath.Dir(filepath.Dir(path))
		err = t.account(path)
	default:
		t.store = filepath.Dir(path)
		if err = t.accounts(path); err == nil && len(t.streams) == 0 && filepath.Base(path) != jetstreamDir {
			err = fmt.Errorf("%s: %w", path, ErrNoStore)
		}
	}
	return t, err
}

// storeOf is the store directory of .../jetstream/<account>/streams/<stream>.
func storeOf(stream string) string {
	js := filepath.Dir(filepath.Dir(filepath.Dir(stream)))
	if filepath.Base(js) != jetstreamDir {
		return ""
	}
	return filepath.Dir(js)
}

func (t *tree) isDir(parts ...string) bool {
	info, err := t.fs.Stat(filepath.Join(parts...))
	return err == nil && info.IsDir()
}

func (t *tree) isFile(parts ...string) bool {
	info, err := t.fs.Stat(filepath.Join(parts...))
	return err == nil && info.Mode().IsRegular()
}

func (t *tree) accounts(dir string) error {
	list, err := t.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			if err := t.account(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tree) account(dir string) error {
	for _, sub := range []string{streamsDir, raftDir} {
		list, err := t.fs.ReadDir(filepath.Join(dir, sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				t.add(filepath.Join(dir, sub, e.Name()), 0)
			}
		}
	}
	return nil
}

func (t *tree) add(dir string, block uint64) {
	loc := location{account: "$G", stream: filepath.Base(dir), dir: dir, onlyBlock: block, group: isGroup(dir)}
	if parent := filepath.Base(filepath.Dir(dir)); parent == streamsDir || loc.group {
		loc.account = filepath.Base(filepath.Dir(filepath.Dir(dir)))
	}
	t.streams = append(t.streams, loc)
}

// blockNumber reads the number in "<N><ext>".
func blockNumber(name, ext string) (uint64, bool) {
	base, ok := strings.CutSuffix(name, ext)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(base, 10, 32)
	return n, err == nil && n > 0 && strconv.FormatUint(n, 10) == base
}
