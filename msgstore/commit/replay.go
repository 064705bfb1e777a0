package commit

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/natsd/natsd/msgstore/vfs"
)

// replay applies the journal that an earlier use of the directory left, and empties
// it. Consumer runs are carried over into a file of their own.
func (c *Committer) replay() error {
	start := time.Now()
	r := reader{fs: c.opts.FS, dir: c.dir, event: c.event, mutations: c.opts.Mutations}
	segments, paths, err := r.read()
	if err != nil || len(segments) == 0 {
		return err
	}
	report := JournalReplayed{Segments: len(segments)}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		h := paths[name]
		if len(h.appends) > 0 {
			report.Files++
			if err := r.repair(name, h.appends, &report); err != nil {
				return err
			}
		}
		if len(h.runs) == 0 {
			continue
		}
		if _, err := c.opts.FS.Stat(path.Join(c.dir, name)); errors.Is(err, fs.ErrNotExist) {
			continue // the consumer is gone
		} else if err != nil {
			return err
		}
		report.Runs += len(h.runs)
		r := &RunLog{replayed: h.runs, submitted: int64(len(h.runs))}
		r.f.path, r.f.kind, r.f.runs, r.f.end = name, kindRuns, r, r.submitted
		c.unclaimed[name] = r
		c.carried = append(c.carried, r)
	}
	if err := c.writeCarried(); err != nil {
		return err
	}
	for _, s := range segments {
		if s.carried {
			continue
		}
		if err := c.opts.FS.Remove(s.name); err != nil {
			return err
		}
		if err := c.opts.FS.SyncDir(c.journal.dir); err != nil {
			return err
		}
	}
	report.Duration = time.Since(start)
	c.event(report)
	return nil
}

// carry drops the replayed runs of paths that keep refuses, durably. Called by the
// worker that has the journal.
func (c *Committer) carry(keep func(path string) bool) error {
	c.mu.Lock()
	left := c.carried[:0:0]
	for _, r := range c.carried {
		if keep(r.f.path) && r.checkpointed.Load() < int64(len(r.replayed)) {
			left = append(left, r)
		} else {
			delete(c.unclaimed, r.f.path)
		}
	}
	same := len(left) == len(c.carried)
	c.carried = left
	c.mu.Unlock()
	if same {
		return nil
	}
	return c.writeCarried()
}

// writeCarried replaces the file of carried runs, or removes it if there are none.
func (c *Committer) writeCarried() error {
	name := path.Join(c.journal.dir, carriedName)
	if len(c.carried) == 0 {
		if _, err := c.opts.FS.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err := c.opts.FS.Remove(name); err != nil {
			return err
		}
		return c.opts.FS.SyncDir(c.journal.dir)
	}
	b := appendHeader(nil, 0)
	b = append(b, make([]byte, frameAlign-len(b)+frameHeader)...)
	for i, r := range c.carried {
		b = appendDefine(b, uint64(i), r.f.path)
		for _, run := range r.replayed {
			b = appendRun(b, uint64(i), run)
		}
	}
	sealFrame(b[frameAlign:], 0, 0, frameAlign)
	return vfs.ReplaceFile(c.opts.FS, name, b, 0o600)
}

// closeJournal empties the journal after the last use of the committer.
func (c *Committer) closeJournal() error {
	if err := c.carry(func(string) bool { return true }); err != nil {
		return err
	}
	err := c.removeSegments()
	if !errors.Is(err, errForget) {
		return err
	}
	// Runs without a checkpoint, or a file that could not be synced: the next Open
	// finds what the journal holds of them.
	j := &c.journal
	for _, s := range append(append(j.full, j.free...), j.cur) {
		if s != nil {
			s.file.Close()
		}
	}
	return nil
}
