package msgstore

import (
	"errors"
	"path"

	"github.com/natsd/natsd/msgstore/internal/meta"
	"github.com/natsd/natsd/msgstore/vfs"
)

// layOut makes the directory of a new stream with its first block. All of it is
// written under a hidden name and synced together; then the directory gets its
// name, and that is synced. So a power cut leaves the whole of a new stream or
// nothing, and a creation takes the time of two syncs.
func (d *disk) layOut() (err error) {
	final := d.dir
	if err := vfs.MkdirAllSynced(d.fs, path.Dir(final), 0o700); err != nil {
		return noStorageDir(err)
	}
	d.dir = vfs.Hidden(final, ".new.")
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
	var files []vfs.NewFile
	stored := d.s.cfg.metaJSON()
	if d.ring.Enabled() {
		key, file, err := d.ring.New(d.object())
		if err != nil {
			return err
		}
		if stored, err = key.Seal(stored); err != nil {
			return err
		}
		d.key, files = key, append(files, vfs.NewFile{Name: path.Join(d.dir, metaKey), Data: file, Perm: 0o600})
	}
	files = append(files, vfs.NewFile{Name: path.Join(d.dir, metaInf), Data: stored, Perm: 0o600},
		vfs.NewFile{Name: path.Join(d.dir, metaSum), Data: meta.Sum(meta.StreamName(d.s.cfg.Name), stored), Perm: 0o600})
	b := newBlock(1, seqTime{})
	b.file.owner = d.s
	out, file, keyFile, err := d.create(b)
	if err != nil {
		return err
	}
	d.out, d.outFile = out, file
	if keyFile != nil {
		files = append(files, vfs.NewFile{Name: d.keyPath(b.num), Data: keyFile, Perm: 0o600})
	}
	if err := vfs.WriteNew(d.fs, d.host.manual, files, d.msgs, d.dir); err != nil {
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
