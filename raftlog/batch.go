package raftlog

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Batch is what the groups of one round have to save. It is used by one
// goroutine, committed or closed once, and a group takes part in one batch at a
// time, once.
type Batch struct {
	pebble *pebble.Batch
	after  []func() // what the groups take over once the batch is durable
}

// NewBatch begins a round.
func (db *DB) NewBatch() *Batch { return &Batch{pebble: db.pebble.NewBatch()} }

// Save adds what a raft.Ready wants saved: the hard state and the snapshot if
// they are not empty, and the entries, which replace everything from the index
// of the first on.
func (b *Batch) Save(g *Group, hard *raftpb.HardState, snap *raftpb.Snapshot, entries []*raftpb.Entry) error {
	start, last := g.start, g.last
	if !raft.IsEmptySnap(snap) {
		// The log begins anew behind the snapshot.
		start = position{snap.GetMetadata().GetIndex(), snap.GetMetadata().GetTerm()}
		last = start.index
		if err := b.setStart(g, snap, start, entriesEnd(g.id)); err != nil {
			return err
		}
	}
	for i, e := range entries {
		index := e.GetIndex()
		if i == 0 {
			if index <= start.index || index > last+1 {
				return fmt.Errorf("raft group %d: entries from %d on, the log has %d to %d", g.id, index, start.index+1, last)
			}
			if err := b.pebble.DeleteRange(entryKey(g.id, index), entriesEnd(g.id), nil); err != nil {
				return err
			}
		} else if index != last+1 {
			return fmt.Errorf("raft group %d: entry %d behind %d", g.id, index, last)
		}
		last = index
		if err := b.set(entryKey(g.id, index), e); err != nil {
			return err
		}
	}
	saveHard := !raft.IsEmptyHardState(hard)
	if saveHard {
		if err := b.set(groupKey(prefixHardState, g.id), hard); err != nil {
			return err
		}
	}
	b.after = append(b.after, func() {
		if saveHard {
			g.hard = hard
		}
		if !raft.IsEmptySnap(snap) {
			g.snapshot = raftpb.EnsureSnapshot(snap)
		}
		g.start, g.last = start, last
	})
	return nil
}

// Compact replaces the entries up to that of the snapshot by the snapshot.
// One that is older than the start of the log changes nothing.
func (b *Batch) Compact(g *Group, snap *raftpb.Snapshot) error {
	at := position{snap.GetMetadata().GetIndex(), snap.GetMetadata().GetTerm()}
	if at.index > g.last {
		return fmt.Errorf("raft group %d: compaction to %d, the last entry is %d", g.id, at.index, g.last)
	}
	if at.index <= g.start.index {
		return nil
	}
	if err := b.setStart(g, snap, at, entryKey(g.id, at.index+1)); err != nil {
		return err
	}
	b.after = append(b.after, func() {
		g.snapshot = raftpb.EnsureSnapshot(snap)
		g.start = at
	})
	return nil
}

// setStart saves a snapshot and removes the entries before end.
func (b *Batch) setStart(g *Group, snap *raftpb.Snapshot, at position, end []byte) error {
	if err := b.set(groupKey(prefixSnapshot, g.id), snap); err != nil {
		return err
	}
	if err := b.pebble.Set(groupKey(prefixStart, g.id), at.encode(), nil); err != nil {
		return err
	}
	return b.pebble.DeleteRange(entryKey(g.id, 0), end, nil)
}

func (b *Batch) set(key []byte, m proto.Message) error {
	v, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return b.pebble.Set(key, v, nil)
}

// Commit makes the batch durable with one fsync and then visible in its groups.
// After an error nothing of it is visible, and the database must be closed: how
// much of the batch is on disk shows when it is opened again.
func (b *Batch) Commit() error {
	defer b.pebble.Close()
	if err := b.pebble.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("save raft logs: %w", err)
	}
	for _, f := range b.after {
		f()
	}
	return nil
}

// Close drops a batch that is not committed.
func (b *Batch) Close() error { return b.pebble.Close() }
