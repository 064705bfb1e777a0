package commit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/natsd/natsd/msgstore/vfs"
)

// carriedName is the file of the consumer runs that were found at an open: one
// segment header and one frame. It is replaced as a whole.
const carriedName = "runs"

// maxSegment bounds what is read of one journal file.
const maxSegment = 1 << 30

// history is what the journal says about one path.
type history struct {
	appends []record
	runs    [][]byte
}

// replay applies the journal that an earlier use of the directory left, and empties
// it. Consumer runs are carried over into a file of their own.
func (c *Committer) replay() error {
	start := time.Now()
	segments, err := c.readJournal()
	if err != nil || len(segments) == 0 {
		return err
	}
	paths := map[string]*history{}
	for _, s := range segments {
		for _, f := range s.frames {
			c.collect(paths, s, f)
		}
	}
	report := JournalReplayed{Segments: len(segments)}
	names := make([]string, 0, len(paths))
	for name := range paths {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		h := paths[name]
		if len(h.appends) > 0 {
			report.Files++
			if err := c.reapply(name, h.appends, &report); err != nil {
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

// oldSegment is a file of the journal as found.
type oldSegment struct {
	name    string
	carried bool
	frames  []frame
	ids     map[uint64]string
}

// readJournal reads the files of the journal, in the order of their use.
func (c *Committer) readJournal() ([]*oldSegment, error) {
	dir := c.journal.dir
	entries, err := c.opts.FS.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var segments []*oldSegment
	for _, e := range entries {
		carried := e.Name() == carriedName
		if !carried && !strings.HasPrefix(e.Name(), "journal-") {
			continue
		}
		s := &oldSegment{name: path.Join(dir, e.Name()), carried: carried, ids: map[uint64]string{}}
		b, err := vfs.ReadFile(c.opts.FS, s.name, maxSegment)
		if err != nil {
			return nil, err
		}
		if s.frames, err = c.readSegment(s.name, b); err != nil {
			return nil, err
		}
		segments = append(segments, s)
	}
	order := func(s *oldSegment) uint64 {
		switch {
		case s.carried || len(s.frames) == 0:
			return 0
		default:
			return s.frames[0].number + 1
		}
	}
	sort.SliceStable(segments, func(a, b int) bool { return order(segments[a]) < order(segments[b]) })
	return segments, nil
}

// readSegment returns the valid frames of a segment.
func (c *Committer) readSegment(name string, b []byte) ([]frame, error) {
	version, seq, err := parseHeader(b)
	rest := b[min(len(b), frameAlign):]
	if err == nil && version > journalVersion && !allZero(rest) {
		return nil, &VersionError{Path: name, Found: version, Known: journalVersion}
	}
	if err != nil {
		// A new or recycled segment whose header was being written, or damage. Frames
		// know the number of their use, and replaying those of an earlier use again
		// changes nothing.
		var ok bool
		if seq, ok = firstSeq(b); !ok {
			if !allZero(rest) {
				c.event(JournalDamaged{Path: name, From: 0, To: int64(len(b))})
			}
			return nil, nil
		}
	}
	var frames []frame
	bad := int64(-1)
	for at := int64(frameAlign); at < int64(len(b)); {
		f, ok := parseFrame(b, seq, at)
		if !ok {
			// Behind the last frame, unless more valid ones follow.
			if bad < 0 {
				bad = at
			}
			at += frameAlign
			continue
		}
		if bad >= 0 {
			c.event(JournalDamaged{Path: name, From: bad, To: at})
			bad = -1
		}
		frames = append(frames, f)
		at = f.next
	}
	return frames, nil
}

// firstSeq finds the segment number of the newest valid frame.
func firstSeq(b []byte) (seq uint64, ok bool) {
	for at := int64(frameAlign); at+frameHeader <= int64(len(b)); at += frameAlign {
		s := binary.LittleEndian.Uint64(b[at+8:])
		if s < seq && ok {
			continue
		}
		if _, valid := parseFrame(b, s, at); valid {
			seq, ok = s, true
		}
	}
	return seq, ok
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// collect adds the records of a frame to the histories.
func (c *Committer) collect(paths map[string]*history, s *oldSegment, f frame) {
	at := func(id uint64) *history {
		name, ok := s.ids[id]
		if !ok {
			return nil // its definition was damaged
		}
		h := paths[name]
		if h == nil {
			h = &history{}
			paths[name] = h
		}
		return h
	}
	for b := f.records; len(b) > 0; {
		r, rest, err := parseRecord(b)
		if err != nil {
			c.event(JournalDamaged{Path: s.name, From: f.next - int64(len(b)), To: f.next})
			return
		}
		b = rest
		switch r.kind {
		case recDefine:
			if filepath.IsLocal(r.path) {
				s.ids[r.id] = r.path
			}
		case recAppend:
			if h := at(r.id); h != nil {
				h.appends = append(h.appends, r)
			}
		case recRun:
			if h := at(r.id); h != nil {
				h.runs = append(h.runs, r.data)
			}
		case recForget:
			if c.opts.Mutations.IgnoreForget {
				continue
			}
			for name, h := range paths {
				if within(name, r.path) {
					h.appends, h.runs = nil, nil
				}
			}
		}
	}
}

// reapply brings a file to the state that the journal proves, and syncs it. A record
// is written only where the bytes before it are those that were there when it was
// appended, and where nothing else was written since.
func (c *Committer) reapply(name string, records []record, report *JournalReplayed) error {
	f, err := c.opts.FS.OpenFile(path.Join(c.dir, name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		report.Dropped += len(records)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	for i, r := range records {
		state, err := c.compare(f, size, r)
		if err != nil {
			return fmt.Errorf("replay of %s: %w", name, err)
		}
		switch state {
		case foreign:
			report.Dropped += len(records) - i
		case present:
			report.Present++
			continue
		case missing:
			if _, err := f.WriteAt(r.data, r.offset); err != nil {
				return err
			}
			size = max(size, r.offset+int64(len(r.data)))
			report.Applied++
			report.Bytes += int64(len(r.data))
			continue
		}
		break
	}
	// What is present may be so in the page cache alone.
	return f.Sync()
}

type presence uint8

const (
	present presence = iota
	missing
	foreign
)

// compare says how a record relates to what its file holds.
func (c *Committer) compare(f vfs.File, size int64, r record) (presence, error) {
	if c.opts.Mutations.SkipChainCheck {
		return missing, nil
	}
	if r.offset > size {
		return foreign, nil
	}
	if r.offset > 0 {
		n := min(8, r.offset)
		var before [8]byte
		if _, err := f.ReadAt(before[8-n:], r.offset-n); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if before != r.prev {
			return foreign, nil
		}
	} else if r.prev != [8]byte{} {
		return foreign, nil
	}
	have := make([]byte, min(size-r.offset, int64(len(r.data))))
	if n, err := f.ReadAt(have, r.offset); n < len(have) && err != nil {
		return 0, err
	}
	state := present
	if len(have) < len(r.data) {
		state = missing
	}
	// A power cut leaves of the plain write that followed the journal's, or of an
	// earlier replay, any subset of sectors, and a failed write may end inside one. The
	// others are zeros, since the file ended here before.
	for at := 0; at < len(have); {
		end := min(len(have), at+frameAlign-int((r.offset+int64(at))%frameAlign))
		same := at
		for same < end && have[same] == r.data[same] {
			same++
		}
		if same < end {
			if !allZero(have[same:end]) {
				return foreign, nil
			}
			state = missing
		}
		at = end
	}
	return state, nil
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
	if errors.Is(err, errForget) {
		return nil // runs without a checkpoint: the next Open keeps them
	}
	return err
}
