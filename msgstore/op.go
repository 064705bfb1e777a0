package msgstore

import (
	"sync"

	"github.com/natsd/natsd/msgstore/internal/buffers"
	"github.com/natsd/natsd/msgstore/internal/record"
)

// op is an operation on its way from submit to its callbacks.
type op struct {
	// buf holds the records, back to back. Where it has to grow, the old memory is
	// left alone: the disk may be at it.
	buf  []byte
	segs []segment
	acts []action
	ttls []givenTTL
	wipe [][]byte // to be overwritten (erase in memory)
	disk diskOp

	firstSeq, lastSeq uint64 // sequences used by its records; 0 if none
	msgs, bytes       uint64 // of its messages, for discard new

	// Results, set by apply.
	err          error
	removed      uint64
	removedBytes uint64
	changes      []change
	heard        func(msgs, bytes int64, seq uint64, subject string)

	done func(*op)
	next *op // changes nothing; its callbacks follow those of this op
}

// segment is a part of an op's records that goes into one block.
type segment struct {
	b    *block
	off  int64 // in the block
	from int   // in op.buf; it ends where the next one begins
}

// end is where segment i ends in o.buf.
func (o *op) end(i int) int {
	if i+1 < len(o.segs) {
		return o.segs[i+1].from
	}
	return len(o.buf)
}

// action is something that an op does beside adding records.
type action struct {
	kind actionKind
	at   uint64 // it follows the record with this sequence; 0: the last one
	seq  uint64
	ts   int64
	seqs []uint64
	bulk bool // one change for all
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

// change is one call of the storage update callback.
type change struct {
	msgs, bytes int64
	seq         uint64
	subject     string
}

var ops = sync.Pool{New: func() any { return new(op) }}

func newOp() *op { return ops.Get().(*op) }

func (o *op) free() {
	buffers.Put(o.buf)
	buffers.Put(o.disk.enc)
	clear(o.segs)
	clear(o.acts)
	clear(o.changes)
	*o = op{segs: o.segs[:0], acts: o.acts[:0], ttls: o.ttls[:0], changes: o.changes[:0]}
	ops.Put(o)
}

// each calls fn with the records of the op. The record is valid during the call.
func (o *op) each(fn func(sg *segment, r *record.Record, raw []byte)) {
	r := new(record.Record)
	for i := range o.segs {
		sg := &o.segs[i]
		end := o.end(i)
		for at := sg.from; at < end; at += r.Size {
			record.ParseOwn(o.buf[at:end], r)
			fn(sg, r, o.buf[at:at+r.Size])
		}
	}
}
