package jetstream

import (
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
)

// Event is something that happened inside JetStream and that the log, the
// metrics or the health check may want: one of the *Event types below, or a
// value of msgstore's own events wrapped in StoreEvent.
type Event any

// WarningEvent and its fellows are lines for the log.
type (
	NoticeEvent  struct{ Text string }
	WarningEvent struct{ Text string }
	ErrorEvent   struct{ Text string }
)

// StoreEvent is an event of the stores or their committer; it says itself which
// stream it is about.
type StoreEvent struct{ msgstore.Event }

// StreamRecoveredEvent: a stream was opened at start-up.
type StreamRecoveredEvent struct {
	Account, Stream string
	Msgs, Bytes     uint64
	Took            time.Duration
}

// StreamFailedEvent: a stream could not be opened, or its store failed.
type StreamFailedEvent struct {
	Account, Stream string
	Err             error
}

// OriginErrorEvent: the error of a mirror or a source changed; Err is nil when
// it went away.
type OriginErrorEvent struct {
	Account, Stream, Origin string
	Err                     *jsapi.Error
	Attempt                 int
	Next                    time.Duration // until the next attempt
}

// APILimitEvent: requests were refused because a queue was full.
type APILimitEvent struct {
	Info    bool // the queue of info requests
	Dropped int64
}
