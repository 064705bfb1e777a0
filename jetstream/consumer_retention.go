package jetstream

import (
	"slices"
	"sync"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/consumerstate"
)

// What follows from acknowledgements where the retention says so: a message goes when
// no consumer needs it any more.

// needed reports whether a consumer has not acknowledged the message yet.
func (cs *consumerSet) needed(seq uint64, subject string) bool {
	if cs.blind.Load() {
		return true
	}
	var who []*Consumer
	cs.dispatch.Lock()
	cs.each(subject, func(c *Consumer) { who = append(who, c) })
	cs.dispatch.Unlock()
	for _, c := range who {
		c.state.Lock()
		need := c.m.Needs(seq)
		c.state.Unlock()
		if need {
			return true
		}
	}
	return false
}

// release removes the messages of an interest or work queue stream that nobody
// needs any more, after a consumer is done with them. Called on any goroutine;
// it does not keep seqs. It reports false if the stream has stopped.
func (cs *consumerSet) release(seqs []uint64) bool {
	return cs.releaseThen(seqs, cs.stream.removalDone)
}

// releaseThen is release that calls done when the removal took effect, and does not
// if it reports false.
func (cs *consumerSet) releaseThen(seqs []uint64, done func(uint64, error)) bool {
	st := cs.stream
	retention := st.Config().Retention
	if retention == jsapi.LimitsPolicy || len(seqs) == 0 {
		done(0, nil)
		return true
	}
	gone := make([]uint64, 0, len(seqs))
	for _, seq := range seqs {
		if retention == jsapi.InterestPolicy {
			subject, err := st.store.SubjectForSeq(seq)
			if err != nil || cs.needed(seq, subject) {
				continue
			}
		}
		gone = append(gone, seq)
	}
	if len(gone) == 0 {
		done(0, nil)
		return true
	}
	return st.do(func() {
		st.proposer.Remove(gone, func(n uint64, err error) {
			if err != nil {
				st.do(func() { st.turn.unremoved = append(st.turn.unremoved, gone...) })
			}
			done(n, err)
		})
	})
}

// releaseAgain is release for what the store has refused to remove.
func (cs *consumerSet) releaseAgain() {
	t := &cs.stream.turn
	if seqs := t.unremoved; len(seqs) > 0 {
		t.unremoved = nil
		cs.release(seqs)
	}
}

// released passes on what the machine does not need any more. If the stream has
// stopped, the acks stay in the journal, and the next start makes them good.
func (c *Consumer) released(t *consumerTurn) {
	if len(t.release) > 0 && c.stream.Config().Retention != jsapi.LimitsPolicy && !c.set.release(t.release) && c.log != nil {
		c.log.keep.Store(true)
	}
	t.release = t.release[:0]
}

// replay applies the runs of a consumer to its state, and returns the messages that
// they settle: the removal that follows from an ack may not have become durable. Of
// runs that the state holds already only those since the last start count, since
// before that their removals were seen to.
func replay(t *consumerstate.Tracker, runs [][]byte, policy jsapi.AckPolicy) (acked []uint64, err error) {
	since, _ := t.Position()
	open := make(map[uint64]struct{}) // what an ack of everything up to a message may settle
	upTo := policy == jsapi.AckAll || policy == jsapi.AckFlowControl
	if upTo {
		for seq := range t.State().Pending {
			open[seq] = struct{}{}
		}
	}
	for _, b := range runs {
		run, err := consumerstate.DecodeRun(b)
		if err != nil {
			return nil, err
		}
		applied := t.Apply(&run)
		for _, s := range run.Steps {
			switch {
			case s.Kind == consumerstate.StepReset && applied:
				clear(open)
			case s.Kind == consumerstate.StepDelivered && applied && upTo:
				for seq := s.SSeq; seq < s.SSeq+s.Num; seq++ {
					if t.Pending(seq) {
						open[seq] = struct{}{}
					}
				}
			case s.Kind == consumerstate.StepAcked && (applied || run.Epoch == since):
				for seq := s.SSeq; seq < s.SSeq+s.Num; seq++ {
					acked = append(acked, seq)
				}
			}
		}
	}
	given := t.State().Redelivered
	for seq := range open {
		if _, kept := given[seq]; !kept && !t.Pending(seq) {
			acked = append(acked, seq)
		}
	}
	slices.Sort(acked)
	return slices.Compact(acked), nil
}

// removalDone hears of removals that follow from acknowledgements.
func (st *Stream) removalDone(n uint64, err error) {
	if err != nil {
		st.engine.event(StreamFailedEvent{st.account.name, st.name, err})
	}
	if n > 1 && st.consumers.hasStrays() {
		st.do(st.consumers.catchUp)
	}
}

// recheck removes all messages of an interest stream that nobody needs: after a
// start, and after a consumer went or changed. Called outside of the turn.
func (cs *consumerSet) recheck() {
	st := cs.stream
	if st.Config().Retention != jsapi.InterestPolicy {
		return
	}
	var s msgstore.State
	st.store.FastState(&s)
	check := func() {
		var removals sync.WaitGroup
		defer removals.Wait()
		done := func(n uint64, err error) {
			st.removalDone(n, err)
			removals.Done()
		}
		var batch msgstore.Batch
		defer batch.Recycle()
		var seqs []uint64
		for next := s.FirstSeq; next <= s.LastSeq && !st.closed.Load(); {
			batch.Reset()
			to, err := st.store.LoadBatch(nil, next, msgstore.BatchLimit{Msgs: 1024, Bytes: sliceBytes, Through: s.LastSeq}, &batch)
			if err != nil && !isDamage(err) {
				return
			}
			seqs = seqs[:0]
			for i := range batch.Msgs {
				seqs = append(seqs, batch.Msgs[i].Seq)
			}
			removals.Add(1)
			if !cs.releaseThen(seqs, done) {
				removals.Done()
			}
			next = max(to, next+1)
		}
	}
	settled := func() { // when the removals took effect
		if cs.shrunk.Load() {
			cs.lost()
		}
	}
	if s.Msgs >= recheckInBackground {
		go func() {
			check()
			st.exclusively(settled)
		}()
		return
	}
	check()
	st.exclusively(settled)
}

// recheckInBackground is the number of messages above which a request does not wait for the
// removal of what nobody needs.
const recheckInBackground = 100_000
