package msgstore

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"

	"github.com/natsd/natsd/msgstore/internal/floordb"
	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scheddb"
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
)

// indexLimit is the number of subjects, and of interior deletes, above which
// index.db is written on an orderly stop only.
const indexLimit = 1_000_000

// encodeIndex returns the content of index.db. The caller holds store.mu for
// reading, and everything visible is durable.
func (s *store) encodeIndex(key *keys.Key) ([]byte, error) {
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
	return indexdb.Seal(plain, s.cfg.Name, key)
}

// blockNumber is the number of the block for a sequence.
func (s *store) blockNumber(seq uint64) uint64 {
	return uint64(s.blocks[min(s.blockOf(seq), len(s.blocks)-1)].num)
}

// saveState writes index.db and its companions. Everything visible must be
// durable, and nobody else writes them. Called without store.mu.
func (d *disk) saveState() error {
	s := d.s
	s.mu.RLock()
	index, err := s.encodeIndex(d.key)
	var ttl, sched, source []byte
	stamp := s.last.seq + 1
	if s.due.ttl != nil {
		ttl = s.due.ttl.AppendTo(nil, stamp)
	}
	if s.due.sched != nil {
		sched = s.due.sched.AppendTo(nil, stamp)
	}
	source = s.encodeSources(stamp)
	changes := d.changes
	s.mu.RUnlock()
	// What floor.db says is in the new index.db; the files that it is about must
	// be gone before it loses its meaning.
	d.cleaning.Lock()
	defer d.cleaning.Unlock()
	if err == nil && len(d.gone) > 0 {
		if err = d.fs.SyncDir(d.msgs); err == nil {
			for _, n := range d.gone { // a key goes after its block
				d.fs.Remove(d.keyPath(n))
			}
		}
	}
	if err == nil {
		err = d.replace(path.Join(d.msgs, indexFile), index)
	}
	if err == nil && ttl != nil {
		err = d.replace(path.Join(d.msgs, ttlFile), ttl)
	}
	if err == nil && sched != nil {
		err = d.replace(path.Join(d.msgs, schedFile), sched)
	}
	if err == nil && (source != nil || d.sourcesOnDisk) {
		if source != nil {
			err = d.replace(path.Join(d.dir, sourceFile), source)
			d.sourcesOnDisk = true
		} else {
			d.fs.Remove(path.Join(d.dir, sourceFile))
			d.sourcesOnDisk = false
		}
	}
	if err == nil {
		d.saved = changes
		d.gone = nil
	}
	return err
}

func (d *disk) replace(name string, data []byte) error {
	err := vfs.ReplaceFile(d.fs, name, data, 0o600)
	if err != nil {
		d.host.event(StateFailed{Account: d.account, Stream: d.s.cfg.Name, File: name, Err: err})
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
	plain, err := indexdb.Unseal(file, d.s.cfg.Name, d.key)
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
					s.source[name] = SourceProgress{Seq: p.Seq, Identity: p.Identity}
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

// floorMark is the content of floor.db: what has left the stream since index.db
// was written (package floordb). It is written before the files of blocks are
// deleted, so that a purge is there as a whole or not at all, and a deleted file
// is not taken for a lost one.
type floorMark struct {
	block uint32
	off   int64
	sum   [8]byte
	seq   uint64
	gone  []uint32
}

func (f *floorMark) encode(stream string) []byte {
	m := floordb.Mark{Block: f.block, Offset: f.off, Sum: f.sum, Seq: f.seq, Gone: f.gone}
	return m.Append(nil, stream)
}

// has says whether floor.db says that the messages of a block are gone.
func (f *floorMark) has(num uint32, last uint64) bool {
	return f != nil && (slices.Contains(f.gone, num) || last < f.seq)
}

// VersionError says that a file was written by a newer version, which alone can
// open what depends on it.
type VersionError struct {
	File         string
	Found, Known uint16
}

func (e *VersionError) Error() string {
	return "file " + e.File + " has format version " + strconv.Itoa(int(e.Found)) + ", this version knows up to " + strconv.Itoa(int(e.Known))
}

func decodeFloor(stream string, b []byte) (*floorMark, error) {
	m, err := floordb.Decode(b, stream)
	var newer *floordb.NewerError
	if errors.As(err, &newer) {
		return nil, &VersionError{File: floorFile, Found: newer.Found, Known: floordb.Version}
	}
	if err != nil {
		return nil, err
	}
	return &floorMark{block: m.Block, off: m.Offset, sum: m.Sum, seq: m.Seq, gone: m.Gone}, nil
}

// placeFloor adds to o what makes the removal of everything below seq durable:
// tombstones in the block that holds seq, and floor.db for the blocks below. The
// caller holds wmu.
func (s *store) placeFloor(o *op, seq uint64) error {
	if s.end.seq == 0 {
		if seq <= 1 {
			return nil // a new store has nothing to remember
		}
	}
	if seq > s.end.seq {
		// Everything goes: a new block holds the last sequence.
		if s.tail.size > 0 {
			if err := s.rotate(o); err != nil {
				return err
			}
		}
		if err := s.placeTombstone(o, max(seq-1, s.end.seq), s.end.ts); err != nil {
			return err
		}
	} else {
		gone, err := s.belowInBlock(o, seq)
		if err != nil {
			return err
		}
		for _, g := range gone {
			if err := s.placeTombstone(o, g.seq, g.ts); err != nil {
				return err
			}
		}
	}
	o.disk.floor = seq
	return nil
}

// belowInBlock returns the messages below seq in the block that holds it. The
// caller holds wmu. For a rollup seq is in o itself, and the first of its block.
func (s *store) belowInBlock(o *op, seq uint64) ([]removal, error) {
	if o.firstSeq != 0 && seq >= o.firstSeq {
		return nil, nil
	}
	s.mu.RLock()
	from := seq
	var holder *block
	if i := s.blockOf(seq); i < len(s.blocks) {
		from = s.blocks[i].first.seq
	} else {
		for _, f := range s.flight {
			f.each(func(sg *segment, r *record.Record, _ []byte) {
				if r.Kind == record.Message && r.Seq == seq {
					holder = sg.b
				}
			})
		}
		for _, f := range s.flight {
			f.each(func(sg *segment, r *record.Record, _ []byte) {
				if sg.b == holder && r.Kind == record.Message {
					from = min(from, r.Seq)
				}
			})
		}
		if n := len(s.blocks); n > 0 && s.blocks[n-1] == holder {
			from = s.blocks[n-1].first.seq
		}
	}
	s.mu.RUnlock()
	if from >= seq {
		return nil, nil
	}
	found, err := s.matching(nil, seq)
	if err != nil {
		return nil, err
	}
	for len(found) > 0 && found[0].seq < from {
		found = found[1:]
	}
	return found, nil
}
