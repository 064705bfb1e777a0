package raftlog

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"
)

// Options of [Open].
type Options struct {
	// FS is the disk; nil: the operating system's.
	FS vfs.FS
	// MemTableSize is how much is kept in memory before it is written in sorted
	// form, in bytes; 0: 16 MiB. Entries that are compacted before that are
	// never written a second time.
	MemTableSize uint64
}

// DB holds the logs of all groups of a host. Its methods may be called from
// several goroutines at a time.
type DB struct {
	pebble *pebble.DB

	mu     sync.Mutex // guards groups
	groups map[uint64]*Group
}

// Open opens or creates the database in dir.
func Open(dir string, o Options) (*DB, error) {
	if o.MemTableSize == 0 {
		o.MemTableSize = 16 << 20
	}
	p, err := pebble.Open(dir, &pebble.Options{FS: o.FS, MemTableSize: o.MemTableSize, Logger: quiet{}})
	if err != nil {
		return nil, fmt.Errorf("open raft log %s: %w", dir, err)
	}
	return &DB{pebble: p, groups: make(map[uint64]*Group)}, nil
}

// Close closes the database. Groups must not be used any more.
func (db *DB) Close() error { return db.pebble.Close() }

// quiet drops Pebble's chatter; its errors come back from the calls.
type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

// Group returns the log of a group, which is empty if nothing was saved for it.
func (db *DB) Group(id uint64) (*Group, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if g := db.groups[id]; g != nil {
		return g, nil
	}
	g := &Group{db: db, id: id}
	if err := g.load(); err != nil {
		return nil, fmt.Errorf("raft group %d: %w", id, err)
	}
	db.groups[id] = g
	return g, nil
}

// Delete removes everything of a group, durably. The group must not be used
// any more.
func (db *DB) Delete(id uint64) error {
	b := db.pebble.NewBatch()
	defer b.Close()
	for _, prefix := range []byte{prefixHardState, prefixSnapshot, prefixStart} {
		if err := b.Delete(groupKey(prefix, id), nil); err != nil {
			return err
		}
	}
	if err := b.DeleteRange(entryKey(id, 0), entriesEnd(id), nil); err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	delete(db.groups, id)
	return nil
}

// get reads a value into m, which stays as it is if there is none.
func (db *DB) get(key []byte, m proto.Message) error {
	v, closer, err := db.pebble.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closer.Close()
	return proto.Unmarshal(v, m)
}
