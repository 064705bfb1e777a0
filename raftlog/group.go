package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Group is the log of one Raft group; it implements raft.Storage. It shows what
// committed batches have saved, and is used by one goroutine at a time.
type Group struct {
	db *DB
	id uint64

	hard     *raftpb.HardState
	snapshot *raftpb.Snapshot
	start    position // of the entry before the first
	last     uint64   // index of the last entry; start.index if there is none
}

var _ raft.Storage = (*Group)(nil)

// position names an entry.
type position struct{ index, term uint64 }

func (p position) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, p.index), p.term)
}

// load reads what is on disk.
func (g *Group) load() error {
	g.hard = new(raftpb.HardState)
	g.snapshot = new(raftpb.Snapshot)
	if err := g.db.get(groupKey(prefixHardState, g.id), g.hard); err != nil {
		return fmt.Errorf("hard state: %w", err)
	}
	if err := g.db.get(groupKey(prefixSnapshot, g.id), g.snapshot); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	g.snapshot = raftpb.EnsureSnapshot(g.snapshot)
	v, closer, err := g.db.pebble.Get(groupKey(prefixStart, g.id))
	switch {
	case err == nil:
		if len(v) != 16 {
			closer.Close()
			return fmt.Errorf("start of the log: %d bytes", len(v))
		}
		g.start = position{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])}
		closer.Close()
	case !errors.Is(err, pebble.ErrNotFound):
		return err
	}
	it, err := g.db.pebble.NewIter(&pebble.IterOptions{LowerBound: entryKey(g.id, 0), UpperBound: entriesEnd(g.id)})
	if err != nil {
		return err
	}
	g.last = g.start.index
	if it.Last() {
		g.last = binary.BigEndian.Uint64(it.Key()[9:])
	}
	return it.Close()
}

// InitialState implements raft.Storage.
func (g *Group) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return g.hard, g.snapshot.GetMetadata().GetConfState(), nil
}

// Entries implements raft.Storage. maxSize is in bytes of encoded entries.
func (g *Group) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo <= g.start.index {
		return nil, raft.ErrCompacted
	}
	if hi > g.last+1 {
		return nil, raft.ErrUnavailable
	}
	it, err := g.db.pebble.NewIter(&pebble.IterOptions{LowerBound: entryKey(g.id, lo), UpperBound: entryKey(g.id, hi)})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var out []*raftpb.Entry
	size := uint64(0)
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		if size += uint64(len(v)); size > maxSize && len(out) > 0 {
			return out, nil
		}
		e := new(raftpb.Entry)
		if err := proto.Unmarshal(v, e); err != nil {
			return nil, fmt.Errorf("raft group %d entry %d: %w", g.id, lo+uint64(len(out)), err)
		}
		if e.GetIndex() != lo+uint64(len(out)) {
			return nil, fmt.Errorf("raft group %d: entry %d where %d should be", g.id, e.GetIndex(), lo+uint64(len(out)))
		}
		out = append(out, e)
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	if uint64(len(out)) != hi-lo {
		return nil, raft.ErrUnavailable
	}
	return out, nil
}

// Term implements raft.Storage.
func (g *Group) Term(i uint64) (uint64, error) {
	switch {
	case i == g.start.index:
		return g.start.term, nil
	case i < g.start.index:
		return 0, raft.ErrCompacted
	case i > g.last:
		return 0, raft.ErrUnavailable
	}
	e := new(raftpb.Entry)
	if err := g.db.get(entryKey(g.id, i), e); err != nil {
		return 0, err
	}
	if e.GetIndex() != i {
		return 0, fmt.Errorf("raft group %d: entry %d is missing", g.id, i)
	}
	return e.GetTerm(), nil
}

// FirstIndex implements raft.Storage.
func (g *Group) FirstIndex() (uint64, error) { return g.start.index + 1, nil }

// LastIndex implements raft.Storage.
func (g *Group) LastIndex() (uint64, error) { return g.last, nil }

// Snapshot implements raft.Storage.
func (g *Group) Snapshot() (*raftpb.Snapshot, error) { return g.snapshot, nil }
