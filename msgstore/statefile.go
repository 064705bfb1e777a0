package msgstore

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"

	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/manifest"
	"github.com/natsd/natsd/msgstore/internal/scheddb"
	"github.com/natsd/natsd/msgstore/internal/sidecar"
	"github.com/natsd/natsd/msgstore/internal/sources"
	"github.com/natsd/natsd/msgstore/internal/wheel"
	"github.com/natsd/natsd/msgstore/vfs"
)

// maxStateFile bounds the state files that are read: some 40 million subjects.
const maxStateFile = 2 << 30

const (
	indexFile  = "index.db"
	ttlFile    = "thw.db"
	schedFile  = "sched.db"
	sourceFile = "sources.db"
	floorFile  = "floor.db"

	manifestFile   = "manifest.db"
	truncationFile = "truncate.db"
)

// indexLimit is the number of subjects, and of interior deletes, above which
// index.db is written on an orderly stop only.
const indexLimit = 1_000_000

// encodeIndex returns the content of index.db and of the manifest. The caller
// holds store.mu for reading.
func (s *store) encodeIndex(key *keys.Key) (index, evidence []byte, err error) {
	x := indexdb.Index{
		Msgs: s.msgs, Bytes: s.bytes,
		FirstSeq: s.first.seq, FirstTime: s.first.ts,
		LastSeq: s.last.seq, LastTime: s.last.ts,
		LastChecksum: s.disk.tailSum,
	}
	size := 64
	for i, b := range s.blocks {
		if b.msgs == 0 && i < len(s.blocks)-1 {
			// Empty blocks are kept for their tombstones only; readers drop them.
			continue
		}
		e := indexdb.Block{
			Number: uint64(b.num), Bytes: b.bytes,
			FirstSeq: b.first.seq, FirstTime: b.first.ts,
			LastSeq: b.last.seq, LastTime: b.last.ts,
			TTLs: b.ttls, Schedules: b.schedules,
			TopTime: b.latest, Dated: !b.undated,
		}
		if b.msgs == 0 {
			e.FirstTime = 0
		}
		if b.deleted.Len() > 0 {
			e.Deleted = &b.deleted
			size += b.deleted.EncodedLen()
		}
		x.Blocks = append(x.Blocks, e)
		x.LastBlock = uint64(b.num)
		size += 64
	}
	if s.index != nil {
		x.NumSubjects = s.index.len()
		size += 32 * x.NumSubjects
	}
	plain := x.Append(make([]byte, 0, size), func(yield func(indexdb.Subject) bool) {
		if s.index == nil {
			return
		}
		s.index.matchAny(nil, func(subject []byte, i *subjectInfo) bool {
			return yield(indexdb.Subject{
				Name: subject, Total: i.total,
				FirstBlock: s.blockNumber(i.lower()), LastBlock: s.blockNumber(i.upper()),
			})
		})
	})
	index, err = indexdb.Seal(plain, s.cfg.Name, key)
	return index, manifest.Append(nil, &x, s.cfg.Name), err
}

// blockNumber is the number of the block for a sequence.
func (s *store) blockNumber(seq uint64) uint64 {
	return uint64(s.blocks[min(s.blockOf(seq), len(s.blocks)-1)].num)
}

// state is the content of the state files at one moment.
type state struct {
	index, manifest    []byte
	ttl, sched, source []byte
	stamp              uint64 // the last sequence plus one
	changes            uint64
	gone               int // blocks deleted before
	found              []uint64
}

// stateOf returns the content of index.db and its companions. Called without
// store.mu and cleaning.
func (d *disk) stateOf() (*state, error) {
	s := d.s
	d.cleaning.Lock()
	defer d.cleaning.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed || d.broken {
		return nil, ErrStoreClosed
	}
	return d.stateLocked()
}

// stateLocked is stateOf for a caller that holds cleaning and store.mu.
func (d *disk) stateLocked() (x *state, err error) {
	s := d.s
	x = &state{gone: len(d.gone), changes: d.changes, found: slices.Clone(d.found)}
	if x.index, x.manifest, err = s.encodeIndex(d.key); err != nil {
		return nil, err
	}
	x.stamp = s.last.seq + 1
	if s.due.ttl != nil {
		x.ttl = s.due.ttl.AppendTo(nil, x.stamp)
	}
	if s.due.sched != nil {
		x.sched = s.due.sched.AppendTo(nil, x.stamp)
	}
	x.source = s.encodeSources(x.stamp)
	return x, nil
}

// saveState writes index.db and its companions. What they tell is durable, and
// nobody else writes them. Called without store.mu.
func (d *disk) saveState(x *state) error {
	// What floor.db says is in the new index.db; the files that it is about must
	// be gone before it loses its meaning.
	d.cleaning.Lock()
	defer d.cleaning.Unlock()
	if x.gone > 0 {
		if err := d.fs.SyncDir(d.msgs); err != nil {
			return err
		}
		for _, n := range d.gone[:x.gone] { // a key goes after its block
			if !slices.Contains(d.stuck, n) {
				d.fs.Remove(d.keyPath(n))
			}
		}
	}
	if len(x.found) > 0 { // with this index.db nobody sees their tombstones
		d.editNotes(func(seq uint64) bool { return slices.Contains(x.found, seq) })
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{manifestFile, x.manifest}, {indexFile, x.index}} {
		if err := d.replace(path.Join(d.msgs, f.name), f.data); err != nil {
			return err
		}
	}
	if len(x.found) > 0 {
		d.s.mu.Lock()
		d.found = d.found[len(x.found):]
		d.s.mu.Unlock()
	}
	d.gone = slices.Clone(d.gone[x.gone:])
	d.marked = 0 // a block may be compacted now
	for _, f := range []struct {
		name string
		data []byte
	}{
		{path.Join(d.msgs, ttlFile), x.ttl},
		{path.Join(d.msgs, schedFile), x.sched},
	} {
		if f.data == nil {
			continue
		}
		if err := d.replace(f.name, f.data); err != nil {
			return err
		}
	}
	if err := d.writeSources(x.source, x.stamp); err != nil {
		return err
	}
	d.saved = x.changes
	return nil
}

// writeSources replaces sources.db, unless a later one is there. The caller holds
// cleaning.
func (d *disk) writeSources(b []byte, stamp uint64) error {
	if stamp < d.sourced {
		return nil
	}
	name := path.Join(d.dir, sourceFile)
	if b != nil {
		if err := d.replace(name, b); err != nil {
			return err
		}
	} else if d.sourcesOnDisk {
		d.fs.Remove(name)
	}
	d.sourcesOnDisk, d.sourced = b != nil, stamp
	return nil
}

// keepSources writes down how far the sources have come: the messages that tell it
// are about to be deleted. The caller holds cleaning.
func (d *disk) keepSources() error {
	s := d.s
	s.mu.RLock()
	stamp := s.last.seq + 1
	var b []byte
	if stamp != d.sourced {
		b = s.encodeSources(stamp)
	}
	s.mu.RUnlock()
	if b == nil {
		return nil
	}
	return d.writeSources(b, stamp)
}

func (d *disk) replace(name string, data []byte) error {
	err := vfs.ReplaceFile(d.fs, name, data, 0o600)
	if err != nil {
		d.host.event(StateFailed{Account: d.account, Stream: d.name, File: name, Err: err})
	}
	return err
}

func (s *store) encodeSources(stamp uint64) []byte {
	var list []sources.Progress
	for name, p := range s.source {
		if p.Seq > 0 {
			list = append(list, sources.Progress{Name: name, Seq: p.Seq, Identity: p.Identity})
		}
	}
	if len(list) == 0 {
		return nil
	}
	return sources.Append(nil, list, stamp)
}

// readIndex returns index.db if it is valid in itself, or nil and why not.
func (d *disk) readIndex() (*indexdb.Index, string) {
	name := path.Join(d.msgs, indexFile)
	file, err := vfs.ReadFile(d.fs, name, maxStateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ""
	}
	if err != nil {
		return nil, err.Error()
	}
	plain, err := indexdb.Unseal(file, d.name, d.key)
	if err == nil {
		var x *indexdb.Index
		if x, err = indexdb.Decode(plain); err == nil {
			if err = x.CheckTotals(); err == nil {
				return x, ""
			}
		}
	}
	if errors.Is(err, indexdb.ErrCorrupt) {
		d.fs.Remove(name)
		return nil, "checksum did not match: " + err.Error()
	}
	return nil, err.Error()
}

// readManifest returns the manifest, or nil.
func (d *disk) readManifest() *indexdb.Index {
	b := d.readState(path.Join(d.msgs, manifestFile))
	if b == nil {
		return nil
	}
	x, err := manifest.Decode(b, d.name)
	if err != nil {
		d.host.event(IndexIgnored{Account: d.account, Stream: d.name, Reason: err.Error()})
		return nil
	}
	return x
}

// readDue loads thw.db, sched.db and sources.db, and returns for each the first
// sequence that it does not cover (0: it was not usable).
func (d *disk) readDue() (ttl, sched, source uint64) {
	s := d.s
	if s.due.ttl != nil {
		if b := d.readState(path.Join(d.msgs, ttlFile)); b != nil {
			if w, stamp, err := wheel.Decode(b); err == nil {
				s.due.ttl, ttl = w, stamp
			} else {
				d.fs.Remove(path.Join(d.msgs, ttlFile))
			}
		}
	}
	if s.due.sched != nil {
		if b := d.readState(path.Join(d.msgs, schedFile)); b != nil {
			if t, stamp, err := scheddb.Decode(b); err == nil {
				s.due.sched, sched = t, stamp
			} else {
				d.fs.Remove(path.Join(d.msgs, schedFile))
			}
		}
	}
	name := path.Join(d.dir, sourceFile)
	if b := d.readState(name); b != nil {
		d.sourcesOnDisk = true
		list, stamp, err := sources.Decode(b)
		if err != nil {
			d.fs.Remove(name)
			return ttl, sched, 0
		}
		source = stamp
		for _, p := range list {
			for _, name := range s.cfg.Sources {
				if p.Name == name {
					s.source[name] = sourced{SourceProgress{Seq: p.Seq, Identity: p.Identity}, max(stamp, 1) - 1}
				}
			}
		}
	}
	return ttl, sched, source
}

func (d *disk) readState(name string) []byte {
	b, err := vfs.ReadFile(d.fs, name, maxStateFile)
	if err != nil {
		return nil
	}
	return b
}

// VersionError says that a file was written by a newer version, which alone can
// open what depends on it.
type VersionError struct {
	File         string
	Found, Known uint16
}

// newerVersion is err as a *VersionError about a file, nil if it is another one.
func newerVersion(file string, err error) error {
	var newer *sidecar.NewerError
	if !errors.As(err, &newer) {
		return nil
	}
	return &VersionError{File: file, Found: newer.Found, Known: newer.Known}
}

func (e *VersionError) Error() string {
	return "file " + e.File + " has format version " + strconv.Itoa(int(e.Found)) + ", this version knows up to " + strconv.Itoa(int(e.Known))
}
