package msgstore

import (
	"encoding/hex"
	"errors"
	"hash/fnv"
	"os"
	"path"
	"sync"

	"github.com/natsd/natsd/msgstore/internal/meta"
	"github.com/natsd/natsd/msgstore/vfs"
)

// hiddenDir is the name beside a stream's directory under which that is made
// (".new.") and removed (".old."). Names with a dot are no streams, and a start
// removes what is left under them. A hash stands for the stream's name, which
// may be as long as a file name can be.
func hiddenDir(dir, prefix string) string {
	h := fnv.New64a()
	h.Write([]byte(path.Base(dir)))
	return path.Join(path.Dir(dir), prefix+hex.EncodeToString(h.Sum(nil)))
}

// layOut makes the directory of a new stream with its first block. All of it is
// written under a hidden name and synced together; then the directory gets its
// name, and that is synced. So a power cut leaves the whole of a new stream or
// nothing, and a creation takes the time of two syncs.
func (d *disk) layOut() (err error) {
	final := d.dir
	if err := vfs.MkdirAllSynced(d.fs, path.Dir(final), 0o700); err != nil {
		return noStorageDir(err)
	}
	d.dir = hiddenDir(final, ".new.")
	d.msgs = path.Join(d.dir, "msgs")
	defer func() {
		if err != nil {
			d.closeFiles()
			d.fs.RemoveAll(d.dir)
		}
		d.dir, d.msgs = final, path.Join(final, "msgs")
	}()
	if err := d.fs.RemoveAll(d.dir); err != nil {
		return noStorageDir(err)
	}
	for _, dir := range []string{d.msgs, path.Join(d.dir, "obs")} {
		if err := d.fs.MkdirAll(dir, 0o700); err != nil {
			return noStorageDir(err)
		}
	}
	var files []newFile
	stored := d.s.cfg.metaJSON()
	if d.ring.Enabled() {
		key, file, err := d.ring.New(d.object())
		if err != nil {
			return err
		}
		if stored, err = key.Seal(stored); err != nil {
			return err
		}
		d.key, files = key, append(files, newFile{path.Join(d.dir, metaKey), file})
	}
	files = append(files, newFile{path.Join(d.dir, metaInf), stored},
		newFile{path.Join(d.dir, metaSum), meta.Sum(meta.StreamName(path.Base(final)), stored)})
	b := newBlock(1, seqTime{})
	b.file.owner = d.s
	out, file, keyFile, err := d.create(b)
	if err != nil {
		return err
	}
	d.out, d.outFile = out, file
	if keyFile != nil {
		files = append(files, newFile{d.keyPath(b.num), keyFile})
	}
	if err := d.syncNew(files, d.msgs, d.dir); err != nil {
		return err
	}
	if err := d.fs.Rename(d.dir, final); err != nil {
		return err
	}
	if err := d.fs.SyncDir(path.Dir(final)); err != nil {
		// Whether the name will be there after a power cut is not known.
		return errors.Join(err, d.fs.Rename(final, d.dir))
	}
	d.s.setTail(b)
	d.s.blocks = []*block{b}
	return nil
}

type newFile struct {
	name string
	data []byte
}

// maxLayouts bounds the creations that sync at a time: each has up to six syncs
// under way, and the committer up to 16.
const maxLayouts = 4

// syncNew writes new files and syncs them and directories, all at the same time.
func (d *disk) syncNew(files []newFile, dirs ...string) error {
	var syncs []func() error
	for i := range files {
		syncs = append(syncs, func() error { return vfs.WriteSynced(d.fs, files[i].name, files[i].data, 0o600) })
	}
	if !d.host.manual {
		// The names come first, so that the directories' syncs cover them.
		for i := range files {
			f, err := d.fs.OpenFile(files[i].name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
	}
	for _, dir := range dirs {
		syncs = append(syncs, func() error { return d.fs.SyncDir(dir) })
	}
	if d.host.manual { // one after the other, so that a test meets the same order again
		for _, sync := range syncs {
			if err := sync(); err != nil {
				return err
			}
		}
		return nil
	}
	d.host.layouts <- struct{}{}
	defer func() { <-d.host.layouts }()
	errs := make([]error, len(syncs))
	var wg sync.WaitGroup
	for i, sync := range syncs {
		wg.Go(func() { errs[i] = sync() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
