package jetstream

import (
	"encoding/json"
	"time"
)

// Bus is the messaging of one account as JetStream sees it: everything that
// JetStream says to the world or hears from it goes through here. The server
// implements it over its router; tests implement it in memory. All methods may
// be called from any goroutine and do not block.
type Bus interface {
	// Subscribe hands messages on subject (wildcards allowed) to h until the
	// subscription is cancelled. With a queue name, one member of the group
	// gets each message. Subscriptions count as interest: without any, a
	// requester gets a no-responders status.
	Subscribe(subject, queue string, h Handler) (Subscription, error)

	// Publisher makes a publisher of its own for one goroutine at a time.
	Publisher() Publisher

	// Route is a way to the subscribers of a literal subject that is used again and
	// again: they are looked for only when subscriptions have changed. It belongs to
	// one goroutine at a time.
	Route(subject string) Route

	// Interest reports whether a message on the literal subject would reach
	// anyone, local, internal or behind a link. With a queue name, only members
	// of that group count.
	Interest(subject, queue string) bool

	// Others reports whether a message on the literal subject would reach anyone beside
	// JetStream.
	Others(subject string) bool

	// WatchInterest calls changed, at once with the present answer and then
	// whenever it changes, until stop is called. The answer is whether there is a
	// subscription on exactly this literal subject: a plain one if queue is empty,
	// else one of that queue group. Those with wildcards do not count, so that a
	// spy on ">" sets no consumer off. changed must not block; it is called
	// without locks held, one call at a time.
	WatchInterest(subject, queue string, changed func(interest bool)) (stop func())

	// MaxPayload is the account's limit of a message in bytes; not positive: none of
	// its own.
	MaxPayload() int
}

// Handler takes the messages of one producer's read buffer (or what part of it
// was flushed earlier), in order: one call per buffer, so that a receiver is
// locked and woken once per buffer. The messages and their slices are valid
// only during the call. It is called from many goroutines at a time, without
// locks held, so that it may publish; it must not block.
type Handler func(msgs []Msg)

// Msg is a message that came in.
type Msg struct {
	Subject []byte // that the subscription matched
	Shown   []byte // what a client would be shown instead (see Publisher.Deliver); nil: Subject
	Reply   []byte // empty if none
	Asked   []byte // reply subject of the requester, where Reply leads back to it through imports; else nil
	Header  []byte // the whole header block, from "NATS/1.0" to the empty line; nil if none
	Data    []byte
	From    Requester // nil if this server published it
	Trace   Trace     // nil unless the way of the message is traced
}

// Trace collects what becomes of a message whose way is traced (ADR-41). Whoever
// goes on with it after the handler returned calls Hold before and Release at
// the end.
type Trace interface {
	// Only tells that nothing is to be done but to find out what would be.
	Only() bool
	// Stream notes that a stream took the message, or for which reason not.
	Stream(stream, subject string, noInterest bool, reason string)
	Hold()
	Release()
}

// Requester is the connection or account that a message came from.
type Requester interface {
	// ClientInfo is the JSON object that advisories show, without jwt and alts.
	ClientInfo() json.RawMessage
}

// Lender is a Requester that may lend the goroutine on which the handler of its
// message is called.
type Lender interface {
	Requester

	// BeforeRest asks for a call of work on that goroutine, which may wait for a disk
	// there, when it has nothing else to do. If that is not so when the time has come,
	// work is called with here false, and sees to it that somebody else does it. With
	// the result false it is not called at all. To be called by the handler, under any
	// lock, for each message that comes alone: with nil if there is nothing to do. Who
	// lends judges by that.
	BeforeRest(work func(here bool)) bool
}

// Taker is a Requester that tells how much may be sent to it, so that answers of many
// messages need not run into the limit of what waits for it.
type Taker interface {
	Requester

	// Offer calls send, which publishes and flushes about n bytes for the requester,
	// and reports whether it did: not if that is too much beside what waits for it.
	// The calls of send for one requester follow one another.
	Offer(n int, send func()) bool

	// AwaitRoom waits until n bytes are not too much, at most for a time, and reports
	// whether that is so. For a requester that has gone nothing is.
	AwaitRoom(n int, most time.Duration) bool
}

// Subscription is an open subscription.
type Subscription interface {
	// Unsubscribe ends the subscription. Calls of the handler that are under
	// way may still end after it returned; none begins.
	Unsubscribe()
}

// Route is the way to the subscribers of one subject (see Bus.Route).
type Route interface {
	// Deliver is p.Deliver to them. p is a publisher of the same bus.
	Deliver(p Publisher, subject, reply, header, data []byte) bool

	// Prefetch has the processor fetch what Deliver needs, without waiting, in
	// routeSteps steps, from 0 on: each asks for what the one before has brought.
	Prefetch(step int)
}

const routeSteps = 3

// Publisher stages messages per receiver and hands them over in Flush, so that
// each receiver is locked and woken once per turn. Not safe for concurrent use.
// Arguments are copied before a call returns (payloads may be kept until Flush
// only if the implementation copied or counted them).
type Publisher interface {
	// Publish stages a message and reports whether anyone will get it.
	// reply, header and data may be nil.
	Publish(subject, reply, header, data []byte) bool

	// Deliver is Publish to the subscribers of route, who are shown subject. Only
	// reply is copied: the other arguments must stay as they are until Flush.
	Deliver(route, subject, reply, header, data []byte) bool

	// Flush hands over what was staged. If a receiver is slow, it returns a
	// channel that is closed when sending may go on; those who can should wait
	// for it before they send more. Flush itself never blocks.
	Flush() (resume <-chan struct{})
}
