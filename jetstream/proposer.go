package jetstream

import (
	"sync"

	"github.com/natsd/natsd/msgstore"
)

// EntryVersion is the version of the entries that admission makes. It travels
// with them wherever they are written outside of a store's blocks.
const EntryVersion = 1

// Proposer makes what admission has accepted durable, in order, and calls back.
// The local one gives it to the stream's store, whose committer syncs it; a
// replicated one takes it through a log first. Proposals are never refused for
// what is in them: an error means that the disk, or the lead, is lost, and that
// this and everything proposed behind it has not been stored.
type Proposer interface {
	// Propose stores messages and skipped sequences as one unit, which becomes
	// visible together. done is called once, possibly before Propose returns,
	// and must not block. The batch belongs to the caller again when Propose
	// returns.
	Propose(batch []msgstore.RawMsg, done func(error))
	// Remove removes messages by sequence.
	Remove(seqs []uint64, done func(removed uint64, err error))
}

// localProposer is the Proposer of a stream without replicas.
type localProposer struct{ store msgstore.Store }

func (p localProposer) Propose(batch []msgstore.RawMsg, done func(error)) {
	p.store.StoreRawMsgs(batch, done)
}

func (p localProposer) Remove(seqs []uint64, done func(uint64, error)) {
	p.store.RemoveMsgs(seqs, false, done)
}

// proposal is a batch on its way: what goes into the store, and what is to be
// said when it is there.
type proposal struct {
	stream  *Stream
	batch   *msgBatch // the messages' bytes, which the fields below point into
	raw     []msgstore.RawMsg
	stored  []storedMsg
	replies []pendingReply
	traces  []pendingTrace
	cancels []uint64 // schedules that end
	size    int      // bytes of the messages, for the bound of what is in flight
	msgs    int64    // change of the stream's totals that the overlay counts
	bytes   int64
	last    uint64 // last sequence of the batch
	err     error
	done    func(error) // p.finished, made once
}

// storedMsg is what apply needs to know of a message that becomes visible.
type storedMsg struct {
	seq      uint64
	previous uint64 // of the same subject; only for streams that republish
	raw      int    // index of the message in raw
}

// pendingReply is an answer that waits for the proposal.
type pendingReply struct {
	reply  []byte
	ack    pubAck
	raw    bool   // header and body instead of ack
	header []byte // to an origin; not sent if the proposal is lost
	body   []byte
}

// proposals are empty proposals for reuse by all streams.
var proposals = sync.Pool{New: func() any {
	p := new(proposal)
	p.done = p.finished
	return p
}}

func (st *Stream) newProposal(b *msgBatch) *proposal {
	p := proposals.Get().(*proposal)
	p.stream, p.batch = st, b
	n := 0
	if b != nil {
		n = len(b.msgs)
	}
	p.raw, p.stored, p.replies = rawSlices.get(n), storedSlices.get(n), replySlices.get(n)
	return p
}

// What proposals and batches hold, lent by size.
var (
	rawSlices    reuse[msgstore.RawMsg]
	storedSlices reuse[storedMsg]
	replySlices  reuse[pendingReply]
	inMsgSlices  reuse[inMsg]
)

func (p *proposal) recycle() {
	if p.batch != nil {
		p.batch.recycle()
	}
	rawSlices.put(p.raw)
	storedSlices.put(p.stored)
	replySlices.put(p.replies)
	*p = proposal{done: p.done}
	proposals.Put(p)
}

// finished is called when the proposal is durable, or lost.
func (p *proposal) finished(err error) {
	p.err = err
	p.stream.in.finish(p)
}
