package jetstream

import (
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
)

// Expiry is decided here, by the owner of the stream, and carried out like any
// other removal; the store has no clock.

const (
	// minExpiryDelay keeps timers from running hot: what is due soon goes together.
	minExpiryDelay = 250 * time.Millisecond
	// sealedExpiryDelay is the same for a sealed stream, whose schedules stay due.
	sealedExpiryDelay = time.Minute
	// minDedupDelay is the same for entries of the duplicate window.
	minDedupDelay = 50 * time.Millisecond
	// maxDue bounds what one turn removes, so that no turn takes long.
	maxDue = 1024
)

// armExpiry sets the stream's timer to what is due next: an age limit, a TTL or
// a schedule. In the turn.
func (st *Stream) armExpiry() {
	due := st.store.NextDue()
	if due == 0 || st.closed.Load() {
		return
	}
	least := minExpiryDelay
	if st.Config().Sealed {
		least = sealedExpiryDelay
	}
	st.arm(time.Unix(0, due), least)
}

// armDedup sets the timer to the end of the oldest entry of the duplicate
// window. In the turn.
func (st *Stream) armDedup() {
	if t := &st.turn; t.dedupArmed == 0 && !st.closed.Load() {
		if next := t.dedup.prune(time.Now().UnixNano()); next > 0 {
			t.dedupArmed = next
			st.arm(time.Unix(0, next), minDedupDelay)
		}
	}
}

func (st *Stream) arm(at time.Time, least time.Duration) {
	if soonest := time.Now().Add(least); at.Before(soonest) {
		at = soonest
	}
	st.engine.timers.armEarlier(&st.expiry, at)
}

// expire removes what is due, in slices. In the turn.
func (st *Stream) expire() {
	if st.closed.Load() {
		return
	}
	t := &st.turn
	now := time.Now().UnixNano()
	t.dedupArmed = 0
	st.armDedup()
	st.expireBatches(now)
	t.due = st.store.Due(now, maxDue, t.due[:0])
	if len(t.due) == 0 {
		st.armExpiry()
		return
	}
	st.removeDue(t.due, now)
	more := len(t.due) == maxDue
	clear(t.due)
	if more {
		st.do(st.expire)
		return
	}
	st.armExpiry()
}

// removeDue carries out what is due. Markers and the messages of schedules are
// stored first; the rollup in a marker removes the message that it replaces.
func (st *Stream) removeDue(due []msgstore.Due, now int64) {
	cfg := st.Config()
	p := st.newProposal(nil)
	var remove []uint64
	for i := range due {
		d := &due[i]
		switch {
		case d.Publish != nil && st.inFlight(p, d.Subject):
			// Something newer takes the subject's place: it decides.
		case d.Kind == msgstore.DueSchedule:
			if d.Publish != nil && !cfg.Sealed {
				st.fireSchedule(p, d, now)
			}
		case cfg.Sealed && d.Kind == msgstore.DueAge:
		case d.Publish != nil:
			st.leaveMarker(p, cfg, d, now)
		case d.Publish == nil:
			remove = append(remove, d.Seq)
		}
	}
	st.propose(p)
	if len(remove) > 0 {
		st.proposer.Remove(remove, func(uint64, error) {
			st.do(func() {
				st.armExpiry()
				st.consumers.catchUp()
			})
		})
	}
}

// leaveMarker stores a subject delete marker in the place of the last message
// of its subject.
func (st *Stream) leaveMarker(p *proposal, cfg *jsapi.StreamConfig, d *msgstore.Due, now int64) {
	m := publish{subjectText: d.Subject, header: d.Publish.Header, data: d.Publish.Data, rollup: msgstore.RollupSubject}
	m.ttl = int64(cfg.SubjectDeleteMarkerTTL / time.Second)
	st.accept(p, &m, now)
}
