package jetstream

import (
	"errors"
	"syscall"

	"github.com/natsd/natsd/jetstream/jsapi"
)

// apply takes a proposal that is complete: its messages are visible, or lost.
// It never refuses anything and does not decide by the clock.
func (st *Stream) apply(p *proposal) {
	t := &st.turn
	t.pipeline[0] = nil
	if t.pipeline = t.pipeline[1:]; len(t.pipeline) == 0 {
		t.pipeline = nil
	}
	t.inflight--
	t.inflightMsgs -= p.records
	t.inflightBytes -= p.size
	if p.err != nil {
		st.lose(p)
	} else {
		if st.failure.Load() != nil {
			st.failure.Store(nil)
		}
		st.consumers.releaseAgain()
		t.overlay.applied(p, t.inflightMsgs)
		st.consumers.settle() // whoever has an answer finds the message counted
		st.sendReplies(p)
		if st.turn.republish != nil {
			st.republishAll(p)
		}
		st.consumers.advanced(p.last)
		for i := range p.passed {
			st.noteSource(&p.passed[i])
		}
		st.armExpiry()
	}
	if t.inflight == 0 {
		t.overlay.settle()
	}
	st.finishTraces(p)
	p.recycle()
}

func (st *Stream) sendReplies(p *proposal) {
	for i := range p.answers.list {
		reply, header, body := p.answers.at(i)
		st.turn.publisher.Publish(reply, nil, header, body)
	}
}

// replyInOrder sends an answer when everything accepted before it is durable,
// so that answers keep their order. header is for origins only.
func (st *Stream) replyInOrder(p *proposal, reply, header, body []byte) {
	t := &st.turn
	switch {
	case len(p.raw) > 0:
		p.answers.add(reply, header, body)
	case t.inflight > 0:
		t.pipeline[len(t.pipeline)-1].answers.add(reply, header, body)
	default:
		t.publisher.Publish(reply, nil, header, body)
	}
}

// lose answers everything that waited for a proposal that could not be stored.
// The disk, or the lead, is gone: what was accepted behind it is lost as well,
// and comes here too.
func (st *Stream) lose(p *proposal) {
	for i := range p.answers.list {
		if reply, header, _ := p.answers.at(i); header == nil {
			st.refuse(reply, p.err)
		}
	}
	if st.turn.inflight == 0 {
		st.startOver()
	}
	st.storeFailed(p.err)
}

// startOver makes admission go on from what the store has, when all that was in
// flight is lost.
func (st *Stream) startOver() {
	st.resync()
	st.recoverLastID()
	for _, b := range st.turn.fast {
		if b.stored > st.turn.overlay.lastSeq {
			st.dropFast(b) // an ack of what follows would cover what is lost
		}
	}
	for _, o := range st.origins.list() {
		o.takePosition()
		o.restart()
	}
	st.store.ResetState() // schedules fire again
	st.armExpiry()
}

// settle forgets what was in flight, since nothing is any more.
func (o *overlay) settle() {
	o.forgetSubjects()
	o.rollupAll = 0
}

// storeFailed tells the world that the store refuses writes; once, until it
// takes some again.
func (st *Stream) storeFailed(err error) {
	if st.failure.Swap(&err) != nil {
		return
	}
	st.engine.event(StreamFailedEvent{st.account.name, st.name, err})
	if errors.Is(err, syscall.ENOSPC) {
		o := &st.engine.opts
		st.engine.adviseSystem("$JS.EVENT.ADVISORY.SERVER.OUT_OF_STORAGE", &jsapi.ServerOutOfSpace{
			Event: newEvent(jsapi.AdvisoryPrefix + "server_out_of_space"), Server: o.ServerName, ServerID: o.ServerID,
			Stream: st.name, Domain: o.Domain,
		})
	}
}
