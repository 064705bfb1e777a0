package commit

import (
	"bytes"
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

	"github.com/natsd/natsd/msgstore/internal/mutation"
	"github.com/natsd/natsd/msgstore/vfs"
)

// carriedName is the file of the consumer runs that were found at an open: one
// segment header and one frame. It is replaced as a whole.
const carriedName = "runs"

// journalDir is the directory of the journal in the store directory.
const journalDir = "natsd"

// maxSegment bounds what is read of one journal file.
const maxSegment = 1 << 30

// history is what the journal says about one path.
type history struct {
	appends []record
	runs    [][]byte
}

// reader reads the journal that an earlier use of a store directory left.
type reader struct {
	fs        vfs.FS
	dir       string // the store directory
	event     func(Event)
	mutations mutation.Set
}

// oldSegment is a file of the journal as found.
type oldSegment struct {
	name    string
	carried bool
	frames  []frame
	ids     map[uint64]string
}

// read returns the files of the journal, in the order of their use, and what they
// say about each path.
func (r *reader) read() ([]*oldSegment, map[string]*history, error) {
	segments, err := r.segments()
	if err != nil {
		return nil, nil, err
	}
	paths := map[string]*history{}
	for _, s := range segments {
		for _, f := range s.frames {
			r.collect(paths, s, f)
		}
	}
	return segments, paths, nil
}

func (r *reader) segments() ([]*oldSegment, error) {
	dir := path.Join(r.dir, journalDir)
	entries, err := r.fs.ReadDir(dir)
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
		b, err := vfs.ReadFile(r.fs, s.name, maxSegment)
		if err != nil {
			return nil, err
		}
		if s.frames, err = r.readSegment(s.name, b); err != nil {
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
func (r *reader) readSegment(name string, b []byte) ([]frame, error) {
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
				r.event(JournalDamaged{Path: name, From: 0, To: int64(len(b))})
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
			r.event(JournalDamaged{Path: name, From: bad, To: at})
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
func (r *reader) collect(paths map[string]*history, s *oldSegment, f frame) {
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
		rec, rest, err := parseRecord(b)
		if err != nil {
			r.event(JournalDamaged{Path: s.name, From: f.next - int64(len(b)), To: f.next})
			return
		}
		b = rest
		switch rec.kind {
		case recDefine:
			if filepath.IsLocal(rec.path) {
				s.ids[rec.id] = rec.path
			}
		case recAppend:
			if h := at(rec.id); h != nil {
				h.appends = append(h.appends, rec)
			}
		case recRun:
			if h := at(rec.id); h != nil {
				h.runs = append(h.runs, bytes.Clone(rec.data)) // they outlive the segment
			}
		case recForget:
			if r.mutations.IgnoreForget {
				continue
			}
			for name, h := range paths {
				if within(name, rec.path) {
					h.appends, h.runs = nil, nil
				}
			}
		}
	}
}

// repair brings a file to the state that the journal proves, and syncs it.
func (r *reader) repair(name string, records []record, report *JournalReplayed) error {
	f, err := r.fs.OpenFile(path.Join(r.dir, name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		report.Dropped += len(records)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := r.reapply(f, records, report); err != nil {
		return fmt.Errorf("replay of %s: %w", name, err)
	}
	// What is present may be so in the page cache alone.
	return f.Sync()
}

// reapply writes the records that a file lacks. One is written only where the bytes
// before it are those that were there when it was appended, and where nothing else
// was written since.
func (r *reader) reapply(f vfs.File, records []record, report *JournalReplayed) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	for i, rec := range records {
		state, err := r.compare(f, size, rec)
		if err != nil {
			return err
		}
		switch state {
		case foreign:
			report.Dropped += len(records) - i
		case present:
			report.Present++
			continue
		case missing:
			if _, err := f.WriteAt(rec.data, rec.offset); err != nil {
				return err
			}
			size = max(size, rec.offset+int64(len(rec.data)))
			report.Applied++
			report.Bytes += int64(len(rec.data))
			continue
		}
		break
	}
	return nil
}

type presence uint8

const (
	present presence = iota
	missing
	foreign
)

// compare says how a record relates to what its file holds.
func (r *reader) compare(f vfs.File, size int64, rec record) (presence, error) {
	if r.mutations.SkipChainCheck {
		return missing, nil
	}
	if rec.offset > size {
		return foreign, nil
	}
	if rec.offset > 0 {
		n := min(8, rec.offset)
		var before [8]byte
		if _, err := f.ReadAt(before[8-n:], rec.offset-n); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if before != rec.prev {
			return foreign, nil
		}
	} else if rec.prev != [8]byte{} {
		return foreign, nil
	}
	have := make([]byte, min(size-rec.offset, int64(len(rec.data))))
	if n, err := f.ReadAt(have, rec.offset); n < len(have) && err != nil {
		return 0, err
	}
	state := present
	if len(have) < len(rec.data) {
		state = missing
	}
	// A power cut leaves of the plain write that followed the journal's, or of an
	// earlier replay, any subset of sectors, and a failed write may end inside one. The
	// others are zeros, since the file ended here before.
	for at := 0; at < len(have); {
		end := min(len(have), at+frameAlign-int((rec.offset+int64(at))%frameAlign))
		same := at
		for same < end && have[same] == rec.data[same] {
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
