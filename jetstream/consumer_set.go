package jetstream

import (
	"github.com/natsd/natsd/jetstream/jsapi"
)

// consumerSet is the consumers of one stream, as the stream sees them. Unless
// noted otherwise its methods are called in the stream's turn, and must not
// block; a consumer that has something to do runs on a goroutine of its own.
type consumerSet struct {
	stream *Stream
}

// newConsumerSet is called while the stream is opened.
func newConsumerSet(st *Stream) *consumerSet { return &consumerSet{stream: st} }

// recover opens the consumers found on disk. It is called before the stream is
// served, on the goroutine that opens it, and may block.
func (cs *consumerSet) recover() {}

// advanced says that messages up to last have become visible.
func (cs *consumerSet) advanced(last uint64) {}

// removed says that a message is gone, whatever for: limits, expiry, deletion,
// acknowledgements. Called on any goroutine.
func (cs *consumerSet) removed(seq uint64, subject string) {}

// purged says that the messages below first whose subject matches filter ("":
// all) are gone. They were not given to removed one by one.
func (cs *consumerSet) purged(first uint64, filter string) {}

// interested reports whether a consumer's filter matches subject, so that a
// stream with interest retention stores the message. Called once per message.
func (cs *consumerSet) interested(subject string) bool { return false }

// needed reports whether a consumer has not acknowledged the message yet.
func (cs *consumerSet) needed(seq uint64, subject string) bool { return false }

// checkUpdate refuses a configuration that the consumers that exist do not fit
// into (consumer_limits).
func (cs *consumerSet) checkUpdate(cfg *jsapi.StreamConfig) *jsapi.Error { return nil }

// updated says that the stream's configuration has changed.
func (cs *consumerSet) updated(old, cfg *jsapi.StreamConfig) {}

// count is the number of consumers; without internal, direct ones do not
// count. Called on any goroutine.
func (cs *consumerSet) count(internal bool) int { return 0 }

// stop makes the consumers' states durable and ends them. It may block.
func (cs *consumerSet) stop() {}

// deleteAll deletes the consumers with their advisories, before the stream goes.
// It may block.
func (cs *consumerSet) deleteAll() {}

// consumerEndpoints are the CONSUMER.* lines of the API's table.
var consumerEndpoints []*endpoint

// serveAcks is the handler of $JS.ACK.>.
func (a *Account) serveAcks(msgs []Msg) {
	var p Publisher
	for i := range msgs {
		noResponders(a.publisher(&p), &msgs[i])
	}
	a.release(p)
}

// serveFlowControl is the handler of $JS.FC.>.
func (a *Account) serveFlowControl(msgs []Msg) {}

// serveConsumerInline serves what follows "$JS.API.CONSUMER." if it must not
// wait in the queue of API requests (MSG.NEXT), and reports whether it did.
func (a *Account) serveConsumerInline(p *Publisher, tail []byte, m *Msg) bool { return false }
