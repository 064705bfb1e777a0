package msgstore

import (
	"errors"
	"io"

	"github.com/natsd/natsd/msgstore/internal/record"
)

// MemStore keeps a stream in memory.
type MemStore struct{ store }

var _ Store = (*MemStore)(nil)

// memBlockSize is the size of the pieces in which a memory store keeps records.
// Removals in a piece cost a copy of what remains of it now and then.
const memBlockSize = 1 << 20

// NewMemStore returns an empty store.
func NewMemStore(cfg Config) (*MemStore, error) {
	if cfg.Storage != MemoryStorage {
		return nil, ErrNotMemConfig
	}
	if cfg.Name == "" {
		return nil, ErrNameRequired
	}
	if cfg.FirstSeq > record.MaxSeq {
		return nil, ErrSequenceMismatch
	}
	m := new(MemStore)
	s := &m.store
	s.kind = MemoryStorage
	s.init(cfg.normal())
	s.tail.max = memBlockSize
	var last seqTime
	if f := s.cfg.FirstSeq; f > 0 {
		last.seq = f - 1
	}
	s.last, s.end = last, last
	s.appended.Store(last.seq)
	if f := s.cfg.FirstSeq; f > 0 {
		s.first.seq = f
	}
	s.setTail(newBlock(1, last))
	s.blocks = []*block{s.tail.b}
	return m, nil
}

// FlushAllPending implements Store.
func (m *MemStore) FlushAllPending() (uint64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return 0, ErrStoreClosed
	}
	return m.last.seq, nil
}

// Stop implements Store.
func (m *MemStore) Stop() error {
	m.wmu.Lock()
	defer m.wmu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrStoreClosed
	}
	m.closed = true
	m.blocks, m.index = nil, nil
	return nil
}

// Delete implements Store.
func (m *MemStore) Delete(bool) error {
	m.mu.RLock()
	fn, msgs, bytes := m.updates, m.msgs, m.bytes
	m.mu.RUnlock()
	err := m.Stop()
	if err == nil && fn != nil && msgs > 0 {
		fn(-int64(msgs), -int64(bytes), 0, "")
	}
	return err
}

// Snapshot implements Store. Version 1 needs files.
func (m *MemStore) Snapshot(w io.Writer, opts SnapshotOptions) error {
	if opts.Version == 1 {
		return errNoImpl
	}
	return m.snapshot2(w, opts)
}

var errNoImpl = errors.New("no impl")

// Truncate implements Store.
func (m *MemStore) Truncate(seq uint64) error {
	m.wmu.Lock()
	defer m.wmu.Unlock()
	if err := m.writable(); err != nil {
		return err
	}
	if seq > m.end.seq {
		return ErrStoreEOF
	}
	o := newOp()
	m.mu.Lock()
	err := m.truncate(o, seq)
	m.notify.add(o)
	m.mu.Unlock()
	defer m.runCallbacks()
	return err
}

// eraseAfter submits an op that removes messages and overwrites their bytes.
func (s *store) eraseAfter(o *op) {
	if s.disk != nil {
		s.disk.erase(o) // unlocks
		return
	}
	s.mu.Lock()
	for _, seq := range o.acts[0].seqs {
		b, _ := s.blockFor(seq)
		if b == nil {
			continue
		}
		c := b.cache.Load()
		if n, ok := c.at(seq); ok {
			// The subject stays for the index, which the removal updates.
			_, header, data := c.parts(&c.ents[n])
			o.wipe = append(o.wipe, header, data)
		}
	}
	s.apply(o)
	for _, b := range o.wipe {
		clear(b)
	}
	s.notify.add(o)
	s.mu.Unlock()
	s.wmu.Unlock()
}

// squeeze drops dead records of a memory block when they are more than half.
// The caller holds mu.
func (s *store) squeeze(b *block) {
	c := b.cache.Load()
	if s.disk != nil || len(c.buf) < 4<<10 || 2*int(b.bytes) >= len(c.buf) && 2*int(b.msgs) >= len(c.ents) {
		return
	}
	fresh := &cache{buf: make([]byte, 0, len(c.buf)/2), ents: make([]ent, 0, b.msgs)}
	for i := range c.ents {
		e := &c.ents[i]
		if b.live(e.seq) {
			r := record.Record{Kind: record.Message, Seq: e.seq, Size: int(e.size)}
			fresh.append(&r, c.buf[e.off:e.off+e.size])
		}
	}
	b.cache.Store(fresh)
	b.size = int64(len(fresh.buf))
}
