package jetstream

import (
	"crypto/rand"
	"crypto/sha256"
	"sync/atomic"
	"time"

	"github.com/natsd/natsd/msgstore/nanos"
)

// What the duplicate windows of a server may remember together. An id takes some
// 96 bytes of memory at most, whatever its length, and none that the collector has to look
// through: 16 Mi are what 140,000 messages a second leave in a window of two
// minutes. One account has half of that at most, so that one with long windows
// leaves room for the others. A message whose id finds no room is refused with 429:
// what was promised of the ids in the window holds, and room comes as they leave it.
const (
	DedupIDBytes = 96
	MostDedupIDs = 16 << 20
)

// dedup remembers the ids of messages for the duplicate window. It holds what
// is accepted and not yet durable as well, so that two publishes in flight see
// each other. It belongs to the stream's turn.
//
// Of an id it keeps a hash. Its key is the process's own, so that nobody can choose
// two ids with the same one, and 128 bits do not meet by chance.
type dedup struct {
	window time.Duration // 0: off
	room   dedupRoom
	ids    map[dedupHash]uint32 // position of the entry

	// Entries by time of acceptance. The one at position n, which wraps around, is
	// entry n-base of the chunks, one after the other; all but the last chunk are
	// full. Those before head are forgotten.
	chunks     [][]dedupEntry
	base, head uint32
}

type dedupHash [16]byte

type dedupEntry struct {
	hash dedupHash
	seq  uint64
	time int64 // of the message, ns
}

// dedupChunk is how many entries are let go of together.
const dedupChunk = 1024

var dedupKey = func() (k [16]byte) { rand.Read(k[:]); return k }()

func hashID(id []byte) dedupHash {
	var buf [128]byte
	sum := sha256.Sum256(append(append(buf[:0], dedupKey[:]...), id...))
	return dedupHash(sum[:16])
}

// dedupRoom counts the entries of all streams of an account and a server.
type dedupRoom struct {
	account, server *atomic.Int64
	limit           int64 // of the server
}

func (r *dedupRoom) full() bool {
	return r.server.Load() >= r.limit || r.account.Load() >= r.limit/2
}

func (r *dedupRoom) add(n int64) {
	r.account.Add(n)
	r.server.Add(n)
}

// find returns the sequence of the message with this id. An entry whose age has
// reached the window does not count, whether or not prune has come by.
func (d *dedup) find(id []byte, now int64) (seq uint64, ok bool) {
	if len(d.ids) == 0 {
		return 0, false
	}
	n, ok := d.ids[hashID(id)]
	if !ok {
		return 0, false
	}
	e := d.at(n)
	if now-e.time >= int64(d.window) {
		return 0, false
	}
	return e.seq, true
}

// full tells that no further id can be remembered now.
func (d *dedup) full() bool { return d.window > 0 && d.room.full() }

func (d *dedup) at(n uint32) *dedupEntry {
	i := n - d.base
	return &d.chunks[i/dedupChunk][i%dedupChunk]
}

// end is the position of the next entry.
func (d *dedup) end() uint32 {
	n := len(d.chunks)
	if n == 0 {
		return d.base
	}
	return d.base + uint32((n-1)*dedupChunk+len(d.chunks[n-1]))
}

// add remembers an id. It replaces an entry that has outlived the window.
func (d *dedup) add(id []byte, seq uint64, time int64) {
	if d.window <= 0 {
		return
	}
	if d.ids == nil {
		d.ids = make(map[dedupHash]uint32)
	}
	h := hashID(id)
	d.ids[h] = d.end()
	n := len(d.chunks)
	if n == 0 || len(d.chunks[n-1]) == dedupChunk {
		d.chunks = append(d.chunks, nil)
		n++
	}
	d.chunks[n-1] = append(d.chunks[n-1], dedupEntry{h, seq, time})
	d.room.add(1)
}

// forget ends the entry at position n, which is the oldest or the newest.
func (d *dedup) forget(n uint32) {
	if h := d.at(n).hash; d.ids[h] == n {
		delete(d.ids, h)
	}
	d.room.add(-1)
}

// forgetAbove drops the ids of messages that failed to be stored.
func (d *dedup) forgetAbove(seq uint64) {
	for n := d.end(); n != d.head && d.at(n-1).seq > seq; n-- {
		d.forget(n - 1)
		last := len(d.chunks) - 1
		if d.chunks[last] = d.chunks[last][:len(d.chunks[last])-1]; len(d.chunks[last]) == 0 {
			d.chunks[last] = nil
			d.chunks = d.chunks[:last]
		}
	}
}

// prune drops what has outlived the window and returns when the next entry will
// have, or 0.
func (d *dedup) prune(now int64) (next int64) {
	end := d.end()
	for ; d.head != end; d.head++ {
		e := d.at(d.head)
		// One that was replaced by the same id has no time of its own any more.
		if d.ids[e.hash] == d.head && now-e.time < int64(d.window) {
			next = nanos.After(e.time, d.window)
			break
		}
		d.forget(d.head)
	}
	if d.head == end {
		d.chunks, d.base = nil, end
		d.ids = nil // a map does not shrink
		return 0
	}
	for ; d.head-d.base >= dedupChunk; d.base += dedupChunk {
		d.chunks[0] = nil
		d.chunks = d.chunks[1:]
	}
	return next
}

// clear forgets everything.
func (d *dedup) clear() {
	d.room.add(-int64(d.end() - d.head))
	*d = dedup{window: d.window, room: d.room}
}
