package msgstore

import (
	"crypto/rand"
	"slices"

	"github.com/natsd/natsd/msgstore/internal/sources"
	"github.com/natsd/natsd/msgstore/internal/streamstate"
)

func contains(seqs []uint64, seq uint64) bool { return slices.Contains(seqs, seq) }

func randomBytes(b []byte) error {
	_, err := rand.Read(b)
	return err
}

// UpdateConfig implements Store.
func (s *store) UpdateConfig(cfg Config) error {
	if cfg.Name == "" {
		return ErrNameRequired
	}
	if cfg.Storage != s.kind {
		return ErrStoreWrongType
	}
	cfg = cfg.normal()
	if s.disk == nil {
		s.wmu.Lock()
		defer s.runCallbacks()
		defer s.wmu.Unlock()
		if err := s.writable(); err != nil {
			return err
		}
		s.replaceConfig(cfg.as(&s.cfg))
		return nil
	}
	d := s.disk
	d.maintaining.Lock()
	defer d.maintaining.Unlock()
	return d.alone(func() error {
		cfg := cfg.as(&s.cfg)
		if !s.cfg.sameLimits(&cfg) {
			// The replay applies the old limits up to the place that index.db
			// describes, and the new ones from there on.
			if err := d.saveAlone(); err != nil {
				return err
			}
		}
		if err := d.writeMeta(cfg.metaJSON()); err != nil {
			d.doubtful = true // a part of it may be there
			d.restoreMeta()
			return err
		}
		d.doubtful = false
		s.replaceConfig(cfg)
		return nil
	})
}

// as returns the configuration that takes the place of old, with what never changes.
func (c Config) as(old *Config) Config {
	c.Name, c.FirstSeq = old.Name, old.FirstSeq
	if c.Created.IsZero() {
		c.Created = old.Created
	}
	return c
}

// replaceConfig puts a configuration in force. The caller holds wmu, and nothing is
// in flight.
func (s *store) replaceConfig(cfg Config) {
	o := newOp()
	s.mu.Lock()
	old := s.cfg
	s.cfg = cfg
	hadTTL, hadSched := s.due.ttl != nil, s.due.sched != nil
	s.due.init(&s.cfg)
	var newSources []string
	for _, name := range cfg.Sources {
		if !slices.Contains(old.Sources, name) {
			newSources = append(newSources, name)
		}
	}
	for name := range s.source {
		if !slices.Contains(cfg.Sources, name) {
			delete(s.source, name)
		}
	}
	if !hadTTL && s.due.ttl != nil || !hadSched && s.due.sched != nil || len(newSources) > 0 {
		s.rescan(!hadTTL, !hadSched, newSources)
	}
	o.heard = s.updates
	s.mu.Unlock()
	if !old.sameLimits(&cfg) {
		s.enforce(o)
	}
	s.mu.Lock()
	if s.disk != nil {
		s.disk.changes++
	}
	s.notify.add(o)
	s.mu.Unlock()
}

// rescan registers what the headers of all messages ask for. The caller holds
// mu for writing.
func (s *store) rescan(ttl, sched bool, newSources []string) {
	const all, none = 0, ^uint64(0)
	from := func(on bool) uint64 {
		if on {
			return all
		}
		return none
	}
	for _, b := range s.blocks {
		if b.msgs == 0 || b.ttls == 0 && !s.scheduling(b, from(sched)) && len(newSources) == 0 {
			continue
		}
		c, err := s.content(b)
		if err != nil {
			continue
		}
		for i := range c.ents {
			if e := &c.ents[i]; b.live(e.seq) {
				s.retrack(b, c, e, from(ttl), from(sched), from(len(newSources) > 0))
			}
		}
	}
}

// SyncDeleted implements Store.
func (s *store) SyncDeleted(deleted []SeqRange) {
	o := newOp()
	s.wmu.Lock()
	if s.writable() != nil {
		s.wmu.Unlock()
		return
	}
	s.mu.Lock()
	o.heard = s.updates
	for _, r := range deleted {
		if r.First > s.last.seq {
			break
		}
		if r.Num == 0 {
			continue
		}
		end := r.First + min(r.Num-1, s.last.seq-r.First)
		for seq := max(r.First, s.first.seq); seq <= end; {
			i := s.blockOf(seq)
			if i == len(s.blocks) {
				break
			}
			b := s.blocks[i]
			at, ok := b.nextLive(seq)
			if !ok {
				seq = b.last.seq + 1
				continue
			}
			if at > end {
				break
			}
			s.drop(o, b, i, at, false)
			seq = at + 1
		}
	}
	if s.disk != nil {
		s.disk.changes++
	}
	s.notify.add(o)
	s.mu.Unlock()
	s.wmu.Unlock()
	s.runCallbacks()
}

// EncodedStreamState implements Store.
func (s *store) EncodedStreamState(failed uint64) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrStoreClosed
	}
	st := streamstate.State{Msgs: s.msgs, Bytes: s.bytes, FirstSeq: s.first.seq, LastSeq: s.last.seq, Failed: failed}
	next := s.first.seq
	gap := func(upTo uint64) {
		if upTo > next {
			st.Deleted = append(st.Deleted, streamstate.DeleteBlock{First: next, Num: upTo - next})
		}
	}
	for _, b := range s.blocks {
		if b.msgs == 0 {
			continue
		}
		gap(b.first.seq)
		if b.deleted.Len() > 0 {
			st.Deleted = append(st.Deleted, streamstate.DeleteBlock{Set: b.deleted.Clone()})
		}
		next = b.last.seq + 1
	}
	if s.msgs > 0 {
		gap(s.last.seq + 1)
	}
	return st.AppendTo(nil), nil
}

// StreamState is a decoded replication state.
type StreamState struct {
	Msgs, Bytes       uint64
	FirstSeq, LastSeq uint64
	Failed            uint64
	Sources           map[string]SourceProgress // nil: not included
	Deleted           []SeqRange                // ascending; what SyncDeleted takes
}

// DecodeStreamState reads what EncodedStreamState returns, or the reference
// server sends. Errors: ErrBadStreamStateEncoding, ErrCorruptStreamState.
func DecodeStreamState(b []byte) (*StreamState, error) {
	x, err := streamstate.Decode(b)
	if err != nil {
		return nil, err
	}
	st := &StreamState{Msgs: x.Msgs, Bytes: x.Bytes, FirstSeq: x.FirstSeq, LastSeq: x.LastSeq, Failed: x.Failed}
	if x.Sources != nil {
		st.Sources = sourceMap(x.Sources)
	}
	for _, d := range x.Deleted {
		if d.Set == nil {
			st.Deleted = append(st.Deleted, SeqRange{d.First, d.Num})
			continue
		}
		for r := range d.Set.Runs() {
			st.Deleted = append(st.Deleted, SeqRange{r.First, r.Last - r.First + 1})
		}
	}
	return st, nil
}

func sourceMap(list []sources.Progress) map[string]SourceProgress {
	m := make(map[string]SourceProgress, len(list))
	for _, p := range list {
		m[p.Name] = SourceProgress{Seq: p.Seq, Identity: p.Identity}
	}
	return m
}
