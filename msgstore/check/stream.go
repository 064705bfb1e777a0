package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/internal/floordb"
	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/manifest"
	"github.com/natsd/natsd/msgstore/internal/meta"
	"github.com/natsd/natsd/msgstore/internal/scan"
	"github.com/natsd/natsd/msgstore/internal/scheddb"
	"github.com/natsd/natsd/msgstore/internal/sources"
	"github.com/natsd/natsd/msgstore/internal/truncation"
	"github.com/natsd/natsd/msgstore/internal/wheel"
	"github.com/natsd/natsd/msgstore/seqset"
	"github.com/natsd/natsd/msgstore/vfs"
)

// Bounds of small files: a configuration is at most 1 MiB in the protocol, and
// state files of some million subjects or entries stay below the other.
const (
	maxMeta  = 8 << 20
	maxState = 2 << 30
)

// config is the part of a stream's configuration that decides what is live.
type config struct {
	Created  time.Time       `json:"Created"`
	Name     string          `json:"name"`
	Subjects []string        `json:"subjects"`
	Sources  json.RawMessage `json:"sources"`
	Mirror   json.RawMessage `json:"mirror"`

	Retention   string `json:"retention"`
	Discard     string `json:"discard"`
	MaxMsgs     int64  `json:"max_msgs"`
	MaxBytes    int64  `json:"max_bytes"`
	MaxPer      int64  `json:"max_msgs_per_subject"`
	FirstSeq    uint64 `json:"first_seq"`
	Compression string `json:"compression"`
}

// stream is a stream directory that is being examined.
type stream struct {
	location
	opts    *Options
	fs      vfs.FS // as after a replay of the journal, read-only
	store   string // the store directory, "" if unknown
	journal *commit.Unreplayed

	metaRaw []byte // content of meta.inf, decrypted; nil if unreadable
	cfg     config
	keys    sealer

	msgs         string         // the directory of the blocks
	index        *indexdb.Index // index.db, or else the manifest; nil without either
	indexFile    bool           // there is an index.db
	manifest     bool           // index is the manifest
	exact, ahead bool           // it is as old as the blocks, or newer than them
	place        place          // which it describes, where it is older
	floor        *floordb.Mark
	told         *floordb.Mark    // floor.db, also where others have written since
	ours         bool             // natsd was here, which says in floor.db what goes
	plan         *truncation.Plan // of an interrupted truncation, or nil
	blocks       []*block
	missing      []uint64 // numbers of blocks that are gone

	tombstones bool // there are some in the blocks

	state    StreamState
	lastTime int64
	live     *seqset.Set
	lost     []Lost
	obs      []string    // the directories of the consumers
	list     []*consumer // nil: not read yet
	findings []Finding
	done     func(int64) error // progress
}

func (s *stream) find(sev Severity, kind, file, detail string) *Finding {
	s.findings = append(s.findings, Finding{
		Severity: sev, Kind: kind, Account: s.account, Stream: s.stream, File: file, Detail: detail,
	})
	return &s.findings[len(s.findings)-1]
}

// openStream reads everything about a stream but its records. An error says that
// the tool cannot go on, not that something is damaged.
func openStream(t *tree, loc location, opts *Options) (*stream, error) {
	s := &stream{
		location: loc, opts: opts, fs: t.fs, store: t.store, journal: t.journal,
		live: new(seqset.Set), done: func(int64) error { return nil },
	}
	s.state.Account, s.state.Stream = loc.account, loc.stream
	s.msgs = filepath.Join(loc.dir, "msgs")
	if err := s.readMeta(); err != nil {
		return nil, err
	}
	s.settlePurge()
	if err := s.listBlocks(); err != nil {
		return nil, err
	}
	if err := s.listConsumers(); err != nil {
		return nil, err
	}
	s.readTruncation()
	s.readIndex()
	if s.index == nil {
		s.readManifest()
	}
	s.readFloor()
	s.readDerived()
	if s.keys.pending && s.keys.sealed {
		s.find(Repairable, KindConversion, s.dir, "a conversion was interrupted: run it again")
	}
	return s, nil
}

// read returns the content of a file, nil if there is none.
func (s *stream) read(name string, limit int64) ([]byte, error) {
	b, err := vfs.ReadFile(s.fs, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if b == nil && err == nil {
		b = []byte{}
	}
	return b, err
}

func (s *stream) readMeta() error {
	var f meta.Files
	for name, into := range map[string]*[]byte{"meta.inf": &f.Inf, "meta.sum": &f.Sum, "meta.inf.tmp": &f.InfTmp, "meta.sum.tmp": &f.SumTmp} {
		b, err := s.read(filepath.Join(s.dir, name), maxMeta)
		if unreadable(err) {
			s.find(Damage, KindMetaUnreadable, filepath.Join(s.dir, name), plain(err).Error())
		} else if err != nil {
			return err
		}
		*into = b
	}
	var err error
	if s.keys, err = s.openKeys(s.dir, keys.OfStream(s.owner(), s.stream)); err != nil {
		return err
	}
	if s.keys.sealed && !s.opts.Keys.Enabled() && len(s.opts.Keys.PrevKey) == 0 {
		return fmt.Errorf("%s: %w", s.dir, ErrKeyNeeded)
	}
	if s.keys.err != nil {
		s.find(Damage, KindMetaKey, filepath.Join(s.dir, "meta.key"), s.keys.err.Error())
	}
	path := filepath.Join(s.dir, "meta.inf")
	inf := f.Inf
	switch meta.Judge(meta.StreamName(s.stream), f) {
	case meta.Absent:
		s.find(Damage, KindMetaMissing, path, "no meta.inf and meta.sum that belong together: a server does not recover the stream")
	case meta.Mismatch:
		s.find(Damage, KindMetaMismatch, path, fmt.Sprintf("checksums do not match %q vs %q: a server does not recover the stream", f.Sum, meta.Sum(meta.StreamName(s.stream), f.Inf)))
	case meta.TakeSum:
		s.keys.pending = true
		s.find(Repairable, KindMetaTorn, path, "the checksum of the new configuration is still in meta.sum.tmp")
	case meta.TakeInf:
		s.keys.pending = true
		inf = f.InfTmp
		s.find(Repairable, KindMetaTorn, path, "the new configuration is still in meta.inf.tmp")
	}
	if inf == nil {
		return nil
	}
	if inf, err = s.keys.open(inf, json.Valid); err != nil {
		s.find(Damage, KindMetaUnreadable, path, err.Error())
		return nil
	}
	if err := json.Unmarshal(inf, &s.cfg); err != nil {
		s.find(Damage, KindMetaUnreadable, path, err.Error())
		s.cfg = config{}
		return nil
	}
	s.metaRaw = inf
	return nil
}

// settlePurge finds out which directory holds the blocks after an interrupted
// purge.
func (s *stream) settlePurge() {
	next := filepath.Join(s.dir, "__new_msgs__")
	if list, err := s.fs.ReadDir(next); err == nil {
		committed := slices.ContainsFunc(list, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), ".blk") })
		if committed {
			s.msgs = next
			s.find(Repairable, KindPurge, next, "the purge had been committed: these blocks count, those in msgs do not")
		} else {
			s.find(Repairable, KindPurge, next, "the purge had not been committed: the blocks in msgs count")
		}
	}
	if old := filepath.Join(s.dir, "__msgs__"); s.exists(old) {
		s.find(Info, KindLeftover, old, "purged blocks that were not removed yet")
	}
	if q := filepath.Join(s.dir, "quarantine"); s.exists(q) {
		s.find(Info, KindQuarantine, q, "bytes that were damaged when a server or storetool repaired the stream")
	}
	if b := filepath.Join(s.dir, "batches"); s.exists(b) {
		s.find(Info, KindBatch, b, "an atomic batch was in flight; it is completed or dropped on start")
	}
}

func (s *stream) exists(name string) bool {
	_, err := s.fs.Stat(name)
	return err == nil
}

// listBlocks finds the block files and everything else in their directory.
func (s *stream) listBlocks() error {
	list, err := s.fs.ReadDir(s.msgs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var orphans []string
	for _, e := range list {
		name := e.Name()
		path := filepath.Join(s.msgs, name)
		if n, ok := blockNumber(name, ".blk"); ok {
			info, err := e.Info()
			if err != nil {
				return err
			}
			if s.onlyBlock == 0 || s.onlyBlock == n {
				s.blocks = append(s.blocks, &block{number: n, path: path, size: info.Size()})
			}
			continue
		}
		switch ext := filepath.Ext(name); {
		case name == "index.db", name == "thw.db", name == "sched.db", name == "floor.db", name == "manifest.db", name == "truncate.db":
		case ext == ".key":
			orphans = append(orphans, name)
		case ext == ".old", strings.HasSuffix(name, ".key.new"):
			s.find(Repairable, KindConversion, path, "a conversion or rewrite was interrupted")
		case ext == ".idx", ext == ".fss":
			s.find(Info, KindLeftover, path, "a file of a server before 2.10, which a server removes")
		default:
			s.find(Info, KindLeftover, path, "temporary or unknown file, ignored")
		}
	}
	slices.SortFunc(s.blocks, func(a, b *block) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	for _, name := range orphans {
		n, ok := blockNumber(name, ".key")
		if s.onlyBlock == 0 && (!ok || !slices.ContainsFunc(s.blocks, func(b *block) bool { return b.number == n })) {
			s.find(Info, KindLeftover, filepath.Join(s.msgs, name), "key file without a block")
		}
	}
	return nil
}

func (s *stream) readIndex() {
	path := filepath.Join(s.msgs, "index.db")
	file, err := s.read(path, maxState)
	if s.plan != nil {
		file, err = s.plan.Index, nil
	}
	if err != nil {
		s.find(Repairable, KindIndexCorrupt, path, err.Error())
		return
	}
	if file == nil {
		if len(s.blocks) > 0 && s.onlyBlock == 0 {
			s.find(Repairable, KindIndexMissing, path, "the state is rebuilt from the blocks")
		}
		return
	}
	s.indexFile = true
	content, err := indexdb.Unseal(file, s.stream, nil)
	if err == nil {
		content, err = s.keys.open(content, func(b []byte) bool { _, err := indexdb.Decode(b); return err == nil })
	}
	if err == nil {
		s.index, err = indexdb.Decode(content)
	}
	if err == nil {
		err = s.index.CheckTotals()
	}
	if err != nil {
		s.index = nil
		s.find(Repairable, KindIndexCorrupt, path, err.Error())
	}
}

// readManifest reads manifest.db, which only natsd writes: it says what index.db does,
// without the subjects.
func (s *stream) readManifest() {
	path := filepath.Join(s.msgs, "manifest.db")
	b, err := s.read(path, maxState)
	if s.plan != nil || b == nil && err == nil {
		return // a truncation replaces it
	}
	if err == nil {
		s.index, err = manifest.Decode(b, s.stream)
	}
	if err != nil {
		s.find(Repairable, KindDerived, path, err.Error())
		return
	}
	s.manifest = true
}

// evidencePath is the file that index was read from.
func (s *stream) evidencePath() string {
	if s.manifest {
		return filepath.Join(s.msgs, "manifest.db")
	}
	return filepath.Join(s.msgs, "index.db")
}

// readFloor reads floor.db, which only natsd writes.
func (s *stream) readFloor() {
	if s.plan != nil {
		return // a truncation removes it
	}
	path := filepath.Join(s.msgs, "floor.db")
	b, err := s.read(path, maxState)
	s.ours = b != nil || s.exists(filepath.Join(s.msgs, "manifest.db"))
	if err == nil && b != nil {
		s.floor, err = floordb.Decode(b, s.stream)
		s.told = s.floor
	}
	if err != nil {
		s.find(Repairable, KindDerived, path, err.Error())
	}
}

// readDerived checks the files that a server can make again.
func (s *stream) readDerived() {
	for _, f := range []struct {
		name   string
		decode func([]byte) error
	}{
		{filepath.Join(s.msgs, "thw.db"), func(b []byte) error { _, _, err := wheel.Decode(b); return err }},
		{filepath.Join(s.msgs, "sched.db"), func(b []byte) error { _, _, err := scheddb.Decode(b); return err }},
		{filepath.Join(s.dir, "sources.db"), func(b []byte) error { _, _, err := sources.Decode(b); return err }},
	} {
		b, err := s.read(f.name, maxState)
		if err == nil && b != nil {
			err = f.decode(b)
		}
		if err != nil {
			s.find(Repairable, KindDerived, f.name, err.Error()+": made again from the messages")
		}
	}
}

// evidence is what index.db says about a block.
func (s *stream) evidence(number uint64) scan.Evidence {
	return scan.FromIndex(s.index, number, !s.exact && !s.ahead)
}
