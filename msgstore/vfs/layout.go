package vfs

import (
	"encoding/hex"
	"errors"
	"hash/fnv"
	"io/fs"
	"os"
	"path"
	"sync"
	"sync/atomic"
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
	return errors.Join(together(syncs)...)
}

// maxTogether bounds the syncs of a call of together that are under way at a time, and
// so the threads that wait for the disk.
const maxTogether = 16

// together syncs at the same time and returns the errors, in the order of syncs.
func together(syncs []func() error) []error {
	errs := make([]error, len(syncs))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(len(syncs), maxTogether) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(syncs); i = int(next.Add(1)) - 1 {
				errs[i] = syncs[i]()
			}
		})
	}
	wg.Wait()
	return errs
}
