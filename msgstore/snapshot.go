package msgstore

import (
	"encoding/json"
	"errors"
	"io"
	"path"
	"time"

	"github.com/natsd/natsd/msgstore/archive"
	"github.com/natsd/natsd/msgstore/internal/meta"
)

// stateJSON is the state of a stream as the API shows it.
type stateJSON struct {
	Msgs        uint64    `json:"messages"`
	Bytes       uint64    `json:"bytes"`
	FirstSeq    uint64    `json:"first_seq"`
	FirstTime   time.Time `json:"first_ts"`
	LastSeq     uint64    `json:"last_seq"`
	LastTime    time.Time `json:"last_ts"`
	NumSubjects int       `json:"num_subjects,omitempty"`
	NumDeleted  uint64    `json:"num_deleted,omitempty"`
	Consumers   int       `json:"consumer_count"`
}

func apiTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// snapshot2 writes a version 2 archive: the messages up to the last one at the
// beginning. It ends with an error at the first one that cannot be read.
func (s *store) snapshot2(w io.Writer, opts SnapshotOptions) error {
	var st State
	if s.FastState(&st); opts.At != nil {
		st = *opts.At
	}
	a := archive.NewWriter(w)
	defer a.Stop()
	state, err := json.Marshal(stateJSON{
		Msgs: st.Msgs, Bytes: st.Bytes, FirstSeq: st.FirstSeq, FirstTime: apiTime(st.FirstTime),
		LastSeq: st.LastSeq, LastTime: apiTime(st.LastTime), NumSubjects: st.NumSubjects,
		NumDeleted: st.NumDeleted, Consumers: len(opts.Consumers),
	})
	if err != nil {
		return err
	}
	if err := a.State(state); err != nil {
		return err
	}
	for _, c := range opts.Consumers {
		if err := a.Consumer(c.Name, c.State); err != nil {
			return err
		}
	}
	var b Batch
	limit := BatchLimit{Msgs: 1024, Bytes: 4 << 20, Through: st.LastSeq}
	for next := st.FirstSeq; next <= st.LastSeq && st.Msgs > 0; { // a limit of 0 would be none
		b.Reset()
		if next, err = s.LoadBatch(nil, next, limit, &b); err != nil {
			return err
		}
		for i := range b.Msgs {
			m := &b.Msgs[i]
			if err := a.Message(m.Subject, m.Time, m.Seq, m.Header, m.Data); err != nil {
				return err
			}
		}
	}
	return a.Close()
}

// Snapshot implements Store.
func (f *FileStore) Snapshot(w io.Writer, opts SnapshotOptions) error {
	if opts.Version != 1 {
		return f.snapshot2(w, opts)
	}
	d := f.disk
	if !d.snapshotting.TryLock() {
		return ErrStoreSnapshotInProg
	}
	defer d.snapshotting.Unlock()
	return f.snapshot1(w, opts)
}

// errSnapshotChanged ends a version 1 archive.
var errSnapshotChanged = errors.New("messages were removed during the snapshot")

// snapshot1 writes a version 1 archive: the blocks as they are, decrypted and
// decompressed, and an index.db for them.
func (f *FileStore) snapshot1(w io.Writer, opts SnapshotOptions) error {
	s := &f.store
	d := s.disk
	if err := d.flush(); err != nil {
		return err
	}
	// Blocks may neither be rewritten nor deleted meanwhile.
	d.maintaining.Lock()
	defer d.maintaining.Unlock()
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return ErrStoreClosed
	}
	blocks := append([]*block(nil), s.blocks...)
	size := blocks[len(blocks)-1].size
	index, _, err := s.encodeIndex(nil)
	s.mu.RUnlock()
	if err != nil {
		return err
	}
	t := archive.NewTarWriter(w)
	defer t.Stop()
	now := s.now()
	inf, err := d.readMeta()
	if err != nil {
		return err
	}
	if err := t.File(metaInf, now, inf); err != nil {
		return err
	}
	if err := t.File(metaSum, now, meta.Sum(meta.StreamName(d.name), inf)); err != nil {
		return err
	}
	for i, b := range blocks {
		var content []byte
		err := s.read(func() error {
			if s.blockIndex(b) < 0 {
				return errSnapshotChanged // the index lists it
			}
			c, err := s.cached(b)
			if err != nil {
				return err
			}
			if len(c.bad) > 0 {
				return c.damage(b, b.first.seq)
			}
			c.shared.Store(true) // it is looked at without the lock
			content = c.buf[:len(c.buf):len(c.buf)]
			return nil
		})
		if err != nil {
			return err
		}
		if i == len(blocks)-1 {
			content = content[:min(int64(len(content)), size)]
		}
		if err := t.File(path.Join("msgs", blockName(b.num)), now, content); err != nil {
			return err
		}
	}
	if err := t.File(path.Join("msgs", indexFile), now, index); err != nil {
		return err
	}
	for _, c := range opts.Consumers {
		dir := path.Join("obs", c.Name)
		if err := t.File(path.Join(dir, metaInf), now, c.Meta); err != nil {
			return err
		}
		if err := t.File(path.Join(dir, metaSum), now, meta.Sum(meta.ConsumerName(d.name, c.Name), c.Meta)); err != nil {
			return err
		}
		if err := t.File(path.Join(dir, "o.dat"), now, c.State); err != nil {
			return err
		}
	}
	return t.Close()
}
