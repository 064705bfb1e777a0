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
	// InFlight calls fn with the messages that were proposed and are not visible
	// yet, in order; see msgstore.Store.
	InFlight(fn func(m *msgstore.RawMsg))
	// Remove removes messages by sequence.
	Remove(seqs []uint64, done func(removed uint64, err error))
}

// localProposer is the Proposer of a stream without replicas.
type localProposer struct{ store msgstore.Store }

func (p localProposer) Propose(batch []msgstore.RawMsg, done func(error)) {
	p.store.StoreRawMsgs(batch, done)
}

func (p localProposer) InFlight(fn func(*msgstore.RawMsg)) { p.store.InFlight(fn) }

func (p localProposer) Remove(seqs []uint64, done func(uint64, error)) {
	p.store.RemoveMsgs(seqs, false, done)
}

// proposal is a batch on its way: what goes into the store, and what is to be
// said when it is there. What it holds of the messages, raw and the batch that
// raw points into, is given back when the store has them, unless they are to be
// republished.
type proposal struct {
	stream  *Stream
	batch   *msgBatch
	raw     []msgstore.RawMsg
	stored  []storedMsg // only for streams that republish
	answers answers
	traces  []pendingTrace
	cancels []uint64 // schedules that end
	passed  []passed // of sources, at most one for each
	records int      // of raw
	size    int      // bytes of the messages, for the bound of what is in flight
	msgs    int64    // change of the stream's totals that the overlay counts
	bytes   int64
	last    uint64 // last sequence of the batch
	err     error
	done    func(error) // p.finished, made once
}

// storedMsg is what republishing needs to know of a message that becomes visible.
type storedMsg struct {
	previous uint64 // sequence of the same subject
	raw      int    // index of the message in raw
}

// answers are what is to be sent when a proposal is visible, in order. Their bytes
// are in slabs, like those of a batch.
type answers struct {
	list  []answer
	slabs [][]byte
	size  int
}

// answer is one of them: reply subject, header and body follow each other.
type answer struct {
	slab, start         uint32
	reply, header, body uint32 // lengths
}

// add copies an answer in. One with a header is for an origin: it is not sent if
// the proposal is lost.
func (a *answers) add(reply, header, body []byte) {
	size := len(reply) + len(header) + len(body)
	n := len(a.slabs) - 1
	if n < 0 || len(a.slabs[n])+size > cap(a.slabs[n]) {
		n++
		a.slabs = append(a.slabs, newSlab(size, a.size))
	}
	a.size += size
	s := a.slabs[n]
	a.list = answerSlices.add(a.list, answer{uint32(n), uint32(len(s)), uint32(len(reply)), uint32(len(header)), uint32(len(body))})
	s = append(append(s, reply...), header...)
	a.slabs[n] = append(s, body...)
}

// at returns the parts of an answer; header is nil if there is none.
func (a *answers) at(i int) (reply, header, body []byte) {
	r := &a.list[i]
	b := a.slabs[r.slab][r.start:]
	reply, b = b[:r.reply], b[r.reply:]
	if r.header > 0 {
		header = b[:r.header]
	}
	return reply, header, b[r.header : r.header+r.body]
}

func (a *answers) recycle() {
	answerSlices.put(a.list)
	for i, s := range a.slabs {
		msgstore.FreeBuffer(s)
		a.slabs[i] = nil
	}
	*a = answers{slabs: a.slabs[:0]}
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
	n := 1
	if b != nil {
		n = len(b.msgs)
	}
	p.raw = rawSlices.get(n)
	return p
}

// What proposals and batches hold, lent by size.
var (
	rawSlices    reuse[msgstore.RawMsg]
	storedSlices reuse[storedMsg]
	answerSlices reuse[answer]
	inMsgSlices  reuse[inMsg]
)

// release gives back what the store has taken over.
func (p *proposal) release() {
	if p.batch != nil {
		p.batch.recycle()
		p.batch = nil
	}
	rawSlices.put(p.raw)
	p.raw = nil
}

func (p *proposal) recycle() {
	p.release()
	p.answers.recycle()
	storedSlices.put(p.stored)
	*p = proposal{done: p.done, answers: p.answers}
	proposals.Put(p)
}

// finished is called when the proposal is durable, or lost.
func (p *proposal) finished(err error) {
	p.err = err
	p.stream.in.finish(p)
}
