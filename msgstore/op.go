package msgstore

import (
	"cmp"
	"slices"
	"sync"

	"github.com/natsd/natsd/msgstore/internal/buffers"
	"github.com/natsd/natsd/msgstore/internal/record"
)

// op is an operation on its way from submit to its callbacks.
type op struct {
	segs []segment
	// coming is the size of the records that are about to be placed.
	coming int
	acts   []action
	// ttls are those given with its messages, ascending by sequence.
	ttls []givenTTL
	// rollups are those of its messages, ascending.
	rollups []givenRollup
	wipe    [][]byte // to be overwritten (erase in memory)
	disk    diskOp

	firstSeq, lastSeq uint64 // sequences used by its records; 0 if none
	msgs, bytes       uint64 // of its messages, for discard new

	// Results, set by apply.
	err          error
	removed      uint64
	removedBytes uint64
	changes      []change
	heard        func(msgs, bytes int64, seq uint64, subject string)

	slicing bool // it removes messages before it is queued
	done    func(*op)
	next    *op // changes nothing; its callbacks follow those of this op
}

// segment is a part of an op's records that goes into one block.
type segment struct {
	b   *block
	off int64 // in the block
	// buf holds the records, back to back, and enc what goes to an encrypted
	// block. Once they were handed to the disk they are not written any more.
	buf, enc []byte
}

// mostSegment bounds a segment: what is pooled, what is in flight and what waits to
// be stored should be of one size. A record of more gets a segment of its own.
const mostSegment = 64 << 10

// action is something that an op does beside adding records.
type action struct {
	kind actionKind
	at   uint64 // it follows the record with this sequence; 0: the last one
	seq  uint64
	ts   int64
	seqs []uint64
	bulk bool // one change for all

	// What slices have removed already.
	removed, bytes uint64
}

type actionKind uint8

const (
	actRemove  actionKind = iota // the messages seqs
	actCompact                   // everything below seq
	actRaise                     // nothing: the last sequence becomes seq
)

// givenTTL is a TTL that was given with a message and is not in its header.
type givenTTL struct {
	seq uint64
	ttl int64
}

// givenTTL is the TTL that was given with a message; 0: none.
func (o *op) givenTTL(seq uint64) int64 {
	i, ok := slices.BinarySearchFunc(o.ttls, seq, func(g givenTTL, seq uint64) int { return cmp.Compare(g.seq, seq) })
	if !ok {
		return 0
	}
	return o.ttls[i].ttl
}

// givenRollup is a rollup that was asked for with a message.
type givenRollup struct {
	seq  uint64
	kind Rollup
}

// change is one call of the storage update callback.
type change struct {
	msgs, bytes int64
	seq         uint64
	subject     string
}

// textOf returns the subject of a change. Messages that follow each other often
// have the same.
func (o *op) textOf(subject []byte) string {
	if n := len(o.changes); n > 0 && o.changes[n-1].subject == stringOf(subject) {
		return o.changes[n-1].subject
	}
	return string(subject)
}

var ops = sync.Pool{New: func() any { return new(op) }}

func newOp() *op { return ops.Get().(*op) }

func (o *op) free() {
	o.freeSegments()
	clear(o.acts)
	clear(o.changes)
	if cap(o.changes) > keepChanges {
		o.changes = nil
	}
	*o = op{segs: o.segs, acts: o.acts[:0], ttls: o.ttls[:0], rollups: o.rollups[:0], changes: o.changes[:0]}
	ops.Put(o)
}

// keepChanges bounds what an op in reserve keeps.
const keepChanges = 4 << 10

// freeSegments gives the memory of the records back.
func (o *op) freeSegments() {
	for i := range o.segs {
		buffers.Put(o.segs[i].buf)
		buffers.Put(o.segs[i].enc)
		o.segs[i] = segment{}
	}
	o.segs = o.segs[:0]
}

// size is the size of the records.
func (o *op) size() (n int) {
	for i := range o.segs {
		n += len(o.segs[i].buf)
	}
	return n
}

// each calls fn with the records of the op. The record is valid during the call.
func (o *op) each(fn func(sg *segment, r *record.Record, raw []byte)) {
	r := new(record.Record)
	for i := range o.segs {
		sg := &o.segs[i]
		for at := 0; at < len(sg.buf); at += r.Size {
			record.ParseOwn(sg.buf[at:], r)
			fn(sg, r, sg.buf[at:at+r.Size])
		}
	}
}
