package commit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/natsd/natsd/msgstore/vfs"
)

// Unreplayed is the journal that an earlier use of a store directory left, and
// what the directory would be after its replay. Nothing is changed: it is for
// those who only look. Its methods may be called from several goroutines.
type Unreplayed struct {
	// Report is what [Open] would say: Applied counts the records that their files
	// lack, and is 0 after a server was killed, but not the machine.
	Report JournalReplayed
	Damage []JournalDamaged

	view view
	runs map[string][][]byte
}

// ReadJournal reads the journal of a store directory. Without one, or with an
// empty one, the result is empty. A journal of a newer server gives a
// [*VersionError]. The caller sees to it that no server works with the directory.
func ReadJournal(fsys vfs.FS, dir string) (*Unreplayed, error) {
	u := &Unreplayed{view: view{FS: vfs.ReadOnly(fsys)}, runs: map[string][][]byte{}}
	r := reader{fs: u.view.FS, dir: dir, event: func(e Event) {
		if d, ok := e.(JournalDamaged); ok {
			u.Damage = append(u.Damage, d)
		}
	}}
	segments, paths, err := r.read()
	if err != nil {
		return nil, fmt.Errorf("read commit journal: %w", err)
	}
	for _, s := range segments {
		if len(s.frames) > 0 {
			u.Report.Segments++
		}
	}
	u.view.files = make(map[string]*patch)
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		h := paths[name]
		full := path.Join(dir, name)
		if _, err := r.fs.Stat(full); errors.Is(err, fs.ErrNotExist) {
			u.Report.Dropped += len(h.appends) // as its runs: the consumer is gone
			continue
		} else if err != nil {
			return nil, err
		}
		if len(h.runs) > 0 {
			u.runs[name] = h.runs
			u.Report.Runs += len(h.runs)
		}
		if len(h.appends) == 0 {
			continue
		}
		u.Report.Files++
		if err := u.view.patch(&r, full, h.appends, &u.Report); err != nil {
			return nil, fmt.Errorf("compare %s with the commit journal: %w", full, err)
		}
	}
	return u, nil
}

// FS is the file system as it would be after the replay, read-only.
func (u *Unreplayed) FS() vfs.FS { return &u.view }

// Runs are the runs of the consumer whose directory, relative to the store
// directory, is path: oldest first, those since its last checkpoint and possibly
// earlier ones.
func (u *Unreplayed) Runs(path string) [][]byte { return u.runs[path] }

// view is a read-only file system with other bytes in some files.
type view struct {
	vfs.FS
	files map[string]*patch // immutable after ReadJournal
}

// patch is what a file lacks, in the order in which it is to be written.
type patch struct {
	parts []part
	size  int64 // of the file with them
}

type part struct {
	offset int64
	data   []byte
}

// patch finds out what the records change in a file.
func (v *view) patch(r *reader, name string, records []record, report *JournalReplayed) error {
	f, err := v.FS.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	p := &patch{}
	if p.size, err = f.Size(); err != nil {
		return err
	}
	if err := r.reapply(&patched{File: f, patch: p}, records, report); err != nil {
		return err
	}
	if len(p.parts) > 0 {
		v.files[name] = p
	}
	return nil
}

func (v *view) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := v.FS.OpenFile(name, flag, perm)
	p := v.files[path.Clean(name)]
	if err != nil || p == nil {
		return f, err
	}
	return readPatched{f, &patched{f, p}}, nil
}

func (v *view) Stat(name string) (fs.FileInfo, error) {
	info, err := v.FS.Stat(name)
	return v.info(name, info), err
}

func (v *view) ReadDir(dir string) ([]fs.DirEntry, error) {
	list, err := v.FS.ReadDir(dir)
	for i, e := range list {
		if name := path.Join(dir, e.Name()); v.files[name] != nil {
			list[i] = patchedEntry{e, v, name}
		}
	}
	return list, err
}

func (v *view) info(name string, info fs.FileInfo) fs.FileInfo {
	if p := v.files[path.Clean(name)]; p != nil && info != nil {
		return patchedInfo{info, p.size}
	}
	return info
}

type patchedInfo struct {
	fs.FileInfo
	size int64
}

func (i patchedInfo) Size() int64 { return i.size }

type patchedEntry struct {
	fs.DirEntry
	v    *view
	name string
}

func (e patchedEntry) Info() (fs.FileInfo, error) {
	info, err := e.DirEntry.Info()
	return e.v.info(e.name, info), err
}

// patched reads a file with a patch, and writes into the patch.
type patched struct {
	vfs.File
	patch *patch
}

func (f *patched) Size() (int64, error) { return f.patch.size, nil }

func (f *patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	end := min(off+int64(len(b)), f.patch.size)
	if end <= off {
		return 0, io.EOF
	}
	clear(b[n:])
	for _, p := range f.patch.parts {
		from, to := max(off, p.offset), min(end, p.offset+int64(len(p.data)))
		if from < to {
			copy(b[from-off:to-off], p.data[from-p.offset:])
		}
	}
	if n = int(end - off); n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *patched) WriteAt(b []byte, off int64) (int, error) {
	f.patch.parts = append(f.patch.parts, part{off, b})
	f.patch.size = max(f.patch.size, off+int64(len(b)))
	return len(b), nil
}

// readPatched is a patched file that refuses to be written, as the file below does.
type readPatched struct {
	vfs.File
	patched *patched
}

func (f readPatched) Size() (int64, error)                    { return f.patched.Size() }
func (f readPatched) ReadAt(b []byte, off int64) (int, error) { return f.patched.ReadAt(b, off) }
