package jetstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/subjecttree"
)

// Stream is one stream: an inbox, a turn that admits what comes in and applies
// what has become durable, a store, and the consumers.
//
// At most one goroutine runs the turn at a time, none while there is nothing to
// do. Fields under "turn" belong to it; others are immutable after the stream
// was opened, atomic, or guarded as noted. Work for the turn is handed over by
// do and exclusively.
type Stream struct {
	engine    *Engine
	account   *Account
	name      string
	created   time.Time
	ackPrefix []byte
	store     msgstore.Store
	proposer  Proposer
	consumers *consumerSet
	origins   originSet
	orderly   bool // it was stopped in order before, and is as it was then
	reserved  bool // it holds its part of the server's reservations; guarded by Account.mu

	// config is replaced as a whole, in the turn; what it points to is never changed.
	config atomic.Pointer[jsapi.StreamConfig]

	in         inbox
	closed     atomic.Bool
	duplicates atomic.Uint64         // acknowledged as such since the server started
	failure    atomic.Pointer[error] // why the store refuses writes; nil: it does not

	mu   sync.Mutex // guards subs
	subs []subjectSub

	expiry timer // the next age limit, TTL, schedule, or dedup entry

	turn turn
}

// subjectSub is the subscription for one of the stream's subjects.
type subjectSub struct {
	subject string
	sub     Subscription
}

// Bounds of what is accepted and not yet durable. While one part is being synced
// another is admitted: a sync takes some milliseconds, and more than a disk writes
// in that time would only be memory.
const (
	maxInflightMsgs  = 64 << 10
	maxInflightBytes = 3 << 20
)

// Name is the stream's name.
func (st *Stream) Name() string { return st.name }

// Created is when the stream was made.
func (st *Stream) Created() time.Time { return st.created }

// Config is the current configuration; it must not be changed.
func (st *Stream) Config() *jsapi.StreamConfig { return st.config.Load() }

// Store is the stream's store, for reading.
func (st *Stream) Store() msgstore.Store { return st.store }

// do runs fn in the stream's turn, soon. fn must not block.
func (st *Stream) do(fn func()) bool { return st.in.do(fn) }

// exclusively runs fn in the stream's turn at a moment when nothing is in
// flight: everything accepted before is visible and nothing else is accepted
// until fn returns. fn may call blocking methods of the store. It waits for fn,
// so it must not be called in the turn, and reports false without calling fn if
// the stream is closed.
func (st *Stream) exclusively(fn func()) bool {
	done := make(chan bool, 1)
	if !st.exclusivelyLater(func() { fn(); done <- true }, func() { done <- false }) {
		return false
	}
	return <-done
}

// exclusivelyLater is exclusively without waiting. abandoned is called if the
// stream is closed before fn had its turn; it may be nil.
func (st *Stream) exclusivelyLater(fn, abandoned func()) bool {
	return st.in.do(func() { st.turn.exclusive = append(st.turn.exclusive, exclusiveWork{fn, abandoned}) })
}

type exclusiveWork struct{ run, abandoned func() }

// runExclusive does the exclusive work that waits, when nothing is in flight.
func (st *Stream) runExclusive() {
	t := &st.turn
	for t.inflight == 0 && len(t.exclusive) > 0 {
		work := t.exclusive[0]
		t.exclusive[0] = exclusiveWork{}
		if t.exclusive = t.exclusive[1:]; len(t.exclusive) == 0 {
			t.exclusive = nil
		}
		switch {
		case !st.closed.Load():
			work.run()
			st.resync()
		case work.abandoned != nil:
			work.abandoned()
		}
	}
}

// turn is what the goroutine that runs the stream works with.
type turn struct {
	intake
	exclusive []exclusiveWork
	publisher Publisher // borrowed while the turn runs
	ack       []byte    // scratch for replies
	message   publish   // under admission
	header    pubHeader // its headers

	staged       publish // message of a batch that is committed
	stagedHeader pubHeader

	scratch []byte // for headers of what is republished

	transform *subjecttree.Transform // of the configuration; nil for none
	republish *republisher

	storageLimit int64 // of the account, for the batch under admission; negative: none

	overlay          overlay
	dedup            dedup
	answersForOrigin bool // direct gets, as a mirror

	batches map[string]*atomicBatch // open, by id
	fast    map[string]*fastBatch

	inflight      int // proposals, and removals that admission must wait for
	inflightMsgs  int
	inflightBytes int
	pipeline      []*proposal // those in flight, in order

	unremoved []uint64 // released by consumers, and not removed since the store took no writes

	due        []msgstore.Due // scratch
	dedupArmed int64          // when the timer looks at dedup; 0: it is not set for that
}

// run is the turn. It ends when there is nothing to do.
func (st *Stream) run() {
	st.turn.publisher = st.account.publishers.Get().(Publisher)
	for st.step() {
	}
}

// lent is the turn that a message from a lent goroutine begins; see Lender. What others
// want meanwhile is not done there.
func (st *Stream) lent(here bool) {
	if !here {
		st.in.begin()
		return
	}
	began := time.Now()
	st.turn.publisher = st.account.publishers.Get().(Publisher)
	for st.step() {
		if st.in.crowded() {
			st.endTurn()
			st.in.begin()
			break
		}
	}
	st.in.lent(time.Since(began))
}

// step does what is to be done at the moment. It reports false if there is nothing, and
// the turn is over.
func (st *Stream) step() bool {
	t := &st.turn
	full := len(t.exclusive) > 0 || t.inflightMsgs >= maxInflightMsgs || t.inflightBytes >= maxInflightBytes
	if !st.in.take(&t.intake, full, st.endTurn) {
		return false
	}
	for i, p := range t.finished {
		t.finished[i] = nil
		st.apply(p)
	}
	for i, fn := range t.work {
		t.work[i] = nil
		fn()
	}
	if t.batch != nil { // before what is exclusive: it was here first, or came with it
		st.admitBatch(t.batch)
	}
	st.runExclusive()
	t.publisher.Flush()
	return true
}

// Queue is the number of messages that wait to be admitted, and whether some are being admitted.
func (s *Stream) Queue() (msgs int, running bool) { return s.in.fill() }

// endTurn gives back what the turn borrowed. It runs under the inbox's lock,
// before anyone else can start a turn.
func (st *Stream) endTurn() {
	st.account.publishers.Put(st.turn.publisher)
	st.turn.publisher = nil
}

// receive is the handler of the stream's subjects.
func (st *Stream) receive(msgs []Msg) {
	var from Lender // of a message that comes alone
	if len(msgs) == 1 {
		from, _ = msgs[0].From.(Lender)
	}
	if n := st.in.put(msgs, nil, from); n < len(msgs) {
		st.refuseOverload(msgs[n:])
	}
}

var overloadHeader = statusHeader("429 Too Many Requests")

// refuseOverload answers messages that the inbox has no room for.
func (st *Stream) refuseOverload(msgs []Msg) {
	if st.closed.Load() || st.Config().NoAck {
		return
	}
	var p Publisher
	var body []byte
	for i := range msgs {
		if len(msgs[i].Reply) == 0 {
			continue
		}
		if body == nil {
			body = appendPubError(nil, st.name, jsapi.ErrStreamTooManyRequests)
		}
		st.account.publisher(&p).Publish(msgs[i].Reply, nil, overloadHeader, body)
	}
	st.account.release(p)
}
