package vfs

import (
	"encoding/hex"
	"errors"
	"hash/fnv"
	"io/fs"
	"os"
	"path"
	"sync"
)

// NewFile is a file with its content that is to be made.
type NewFile struct {
	Name string
	Data []byte
	Perm fs.FileMode
}

// Hidden is the name beside dir that starts with prefix, under which it is made or
// removed. A hash stands for the name, which may be as long as a file name can be.
func Hidden(dir, prefix string) string {
	h := fnv.New64a()
	h.Write([]byte(path.Base(dir)))
	return path.Join(path.Dir(dir), prefix+hex.EncodeToString(h.Sum(nil)))
}

// maxLayouts bounds the calls of WriteNew that sync at a time: each has up to six
// syncs, and so threads, under way.
const maxLayouts = 4

var layouts = make(chan struct{}, maxLayouts)

// WriteNew writes files that did not exist and syncs them and directories, all at the
// same time: that takes as long as one sync, where one after the other takes as many.
// With inTurn it is one after the other, so that a test meets the same order again.
func WriteNew(fsys FS, inTurn bool, files []NewFile, dirs ...string) error {
	var syncs []func() error
	for i := range files {
		f := &files[i]
		syncs = append(syncs, func() error { return WriteSynced(fsys, f.Name, f.Data, f.Perm) })
	}
	for _, dir := range dirs {
		syncs = append(syncs, func() error { return fsys.SyncDir(dir) })
	}
	if inTurn {
		for _, sync := range syncs {
			if err := sync(); err != nil {
				return err
			}
		}
		return nil
	}
	// The names come first, so that the directories' syncs cover them.
	for i := range files {
		f, err := fsys.OpenFile(files[i].Name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, files[i].Perm)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	layouts <- struct{}{}
	defer func() { <-layouts }()
	errs := make([]error, len(syncs))
	var wg sync.WaitGroup
	for i, sync := range syncs {
		wg.Go(func() { errs[i] = sync() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
