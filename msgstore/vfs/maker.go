package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
)

// Maker makes directories with their first files, durably and whole or not at all:
// they are written under a hidden name and synced; then they get their names, and the
// directory that they are in is synced. Those that are made at the same time share
// their syncs, so that many take hardly longer than one. The zero value is not ready:
// see [NewMaker]. Its methods may be called from several goroutines at a time.
type Maker struct {
	fs FS

	mu      sync.Mutex
	waiting []*making // written, and not synced
	busy    bool      // somebody syncs
}

// making is one directory under way.
type making struct {
	dir, hidden string
	files       []File
	err         error
	lead        bool          // the caller is to sync what waits
	woken       chan struct{} // it is made, or is to lead
}

// maxMade bounds the directories that share their syncs: each has up to four files
// open.
const maxMade = 64

// NewMaker returns a Maker of directories in fsys.
func NewMaker(fsys FS) *Maker { return &Maker{fs: fsys} }

// Make makes dir, with files whose names are relative to it. What is there under
// that name is removed. At most one call for a directory may be under way. After an
// error the directory is not there, or may be gone after a power cut; the error of
// the sync that made this unknown is returned.
func (m *Maker) Make(dir string, perm fs.FileMode, files []NewFile) error {
	if err := MkdirAllSynced(m.fs, path.Dir(dir), perm); err != nil {
		return fmt.Errorf("making %s: %w", path.Dir(dir), err)
	}
	if err := m.fs.RemoveAll(dir); err != nil {
		return fmt.Errorf("clearing %s: %w", dir, err)
	}
	d, err := m.write(dir, perm, files)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.waiting = append(m.waiting, d)
	lead := !m.busy
	d.lead, m.busy = lead, true
	m.mu.Unlock()
	if !lead {
		<-d.woken
	}
	if d.lead {
		m.sync()
	}
	return d.err
}

// write writes the files under a hidden name.
func (m *Maker) write(dir string, perm fs.FileMode, files []NewFile) (*making, error) {
	d := &making{dir: dir, hidden: Hidden(dir, ".new."), woken: make(chan struct{})}
	if err := m.fs.RemoveAll(d.hidden); err != nil {
		return nil, fmt.Errorf("clearing %s: %w", d.hidden, err)
	}
	if err := m.fs.MkdirAll(d.hidden, perm); err != nil {
		return nil, fmt.Errorf("making %s: %w", d.hidden, err)
	}
	for i := range files {
		f, err := m.fs.OpenFile(path.Join(d.hidden, files[i].Name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, files[i].Perm)
		if err == nil {
			d.files = append(d.files, f)
			_, err = f.WriteAt(files[i].Data, 0)
		}
		if err != nil {
			d.close()
			m.fs.RemoveAll(d.hidden)
			return nil, err
		}
	}
	return d, nil
}

func (d *making) close() {
	for _, f := range d.files {
		if err := f.Close(); d.err == nil {
			d.err = err
		}
	}
	d.files = nil
}

// sync makes what waits durable, the caller's own directory included, and has one of
// those that have come meanwhile do the same for them.
func (m *Maker) sync() {
	m.mu.Lock()
	n := min(len(m.waiting), maxMade)
	group := append([]*making(nil), m.waiting[:n]...)
	m.waiting = append(m.waiting[:0], m.waiting[n:]...)
	m.mu.Unlock()

	m.syncContents(group)
	parents := make(map[string]error)
	for _, d := range group {
		d.close()
		if d.err == nil {
			d.err = m.fs.Rename(d.hidden, d.dir)
		}
		if d.err != nil {
			m.fs.RemoveAll(d.hidden)
			continue
		}
		parents[path.Dir(d.dir)] = nil
	}
	for parent := range parents {
		parents[parent] = m.fs.SyncDir(parent)
	}
	for _, d := range group {
		if err := parents[path.Dir(d.dir)]; d.err == nil && err != nil {
			// Whether the name will be there after a power cut is not known.
			d.err = errors.Join(err, m.fs.Rename(d.dir, d.hidden))
		}
	}

	m.mu.Lock()
	var next *making
	if m.busy = len(m.waiting) > 0; m.busy {
		next = m.waiting[0]
		next.lead = true
	}
	m.mu.Unlock()
	for _, d := range group {
		if !d.lead {
			close(d.woken)
		}
	}
	if next != nil {
		close(next.woken)
	}
}

// syncContents syncs the files of the group, and their directories, at the same time.
func (m *Maker) syncContents(group []*making) {
	var syncs []func() error
	var whose []*making
	for _, d := range group {
		for _, f := range d.files {
			syncs, whose = append(syncs, f.Sync), append(whose, d)
		}
		syncs, whose = append(syncs, func() error { return m.fs.SyncDir(d.hidden) }), append(whose, d)
	}
	for i, err := range together(syncs) {
		whose[i].err = errors.Join(whose[i].err, err)
	}
}
