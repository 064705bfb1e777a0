package jetstream

import (
	"math/rand/v2"
	"time"

	"github.com/natsd/natsd/jetstream/consumer"
	"github.com/natsd/natsd/jetstream/jsapi"
)

// Random and ID make the consumer the machine's world, with Interest.
func (c *Consumer) Random(n int) int { return rand.IntN(n) }
func (c *Consumer) ID() string       { return newID() }

// path names the consumer in events: "account > stream > consumer".
func (c *Consumer) path() string {
	return c.stream.account.name + " > " + c.stream.name + " > " + c.name
}

// warn logs what a client has done wrong, seldom.
func (c *Consumer) warn(what string) {
	if c.stream.engine.api.mayWarn() {
		c.stream.engine.event(WarningEvent{"consumer '" + c.path() + "': " + what})
	}
}

// eventSubject is the subject of an advisory or metric about this consumer.
func (c *Consumer) eventSubject(what string) string {
	return "$JS.EVENT." + what + "." + c.stream.name + "." + c.name
}

// advise publishes what the machine advises. Under state.
func (c *Consumer) advise(e *consumer.Effect, now int64) {
	domain := c.stream.engine.opts.Domain
	advise := func(what, kind string, v func(jsapi.Event) any) {
		subject := c.eventSubject("ADVISORY.CONSUMER." + what)
		if c.stream.account.bus.Interest(subject, "") {
			c.stream.account.advise(subject, v(newEvent(jsapi.AdvisoryPrefix+kind)))
		}
	}
	switch e.Kind {
	case consumer.Naked:
		advise("MSG_NAKED", "nak", func(ev jsapi.Event) any {
			return &jsapi.ConsumerNak{Event: ev, Stream: c.stream.name, Consumer: c.name, ConsumerSeq: e.ConsumerSeq, StreamSeq: e.Seq, Deliveries: e.Count, Domain: domain}
		})
	case consumer.Terminated:
		advise("MSG_TERMINATED", "terminated", func(ev jsapi.Event) any {
			return &jsapi.ConsumerTerminated{Event: ev, Stream: c.stream.name, Consumer: c.name, ConsumerSeq: e.ConsumerSeq, StreamSeq: e.Seq, Deliveries: e.Count, Reason: e.Text, Domain: domain}
		})
	case consumer.MaxDeliver:
		advise("MAX_DELIVERIES", "max_deliver", func(ev jsapi.Event) any {
			return &jsapi.ConsumerMaxDeliver{Event: ev, Stream: c.stream.name, Consumer: c.name, StreamSeq: e.Seq, Deliveries: e.Count, Domain: domain}
		})
	case consumer.Pinned:
		advise("PINNED", "consumer_group_pinned", func(ev jsapi.Event) any {
			return &jsapi.ConsumerGroupPinned{Event: ev, Account: c.stream.account.name, Stream: c.stream.name, Consumer: c.name, Domain: domain, Group: e.Target, PinnedID: e.Text}
		})
	case consumer.Unpinned:
		advise("UNPINNED", "consumer_group_unpinned", func(ev jsapi.Event) any {
			return &jsapi.ConsumerGroupUnpinned{Event: ev, Account: c.stream.account.name, Stream: c.stream.name, Consumer: c.name, Domain: domain, Group: e.Target, Reason: e.Text}
		})
	case consumer.Resumed:
		until := time.Time{}
		if p := c.config.Load().PauseUntil; p != nil {
			until = *p
		}
		c.advisePause(false, until)
	case consumer.Sampled:
		subject := c.eventSubject("METRIC.CONSUMER.ACK")
		if c.stream.account.bus.Interest(subject, "") {
			c.stream.account.advise(subject, &jsapi.ConsumerAckMetric{
				Event: newEvent(jsapi.MetricPrefix + "consumer_ack"), Stream: c.stream.name, Consumer: c.name,
				ConsumerSeq: e.ConsumerSeq, StreamSeq: e.Seq, Delay: e.Elapsed, Deliveries: e.Count, Domain: domain,
			})
		}
	}
}

// adviseAction tells that the consumer was created or deleted.
func (c *Consumer) adviseAction(what, action string) {
	c.stream.account.advise(c.eventSubject("ADVISORY.CONSUMER."+what), &jsapi.ConsumerActionAdvisory{
		Event: newEvent(jsapi.AdvisoryPrefix + "consumer_action"), Stream: c.stream.name, Consumer: c.name, Action: action,
		Domain: c.stream.engine.opts.Domain,
	})
}

// advisePause tells that the consumer was paused or resumed.
func (c *Consumer) advisePause(paused bool, until time.Time) {
	c.stream.account.advise(c.eventSubject("ADVISORY.CONSUMER.PAUSE"), &jsapi.ConsumerPause{
		Event: newEvent(jsapi.AdvisoryPrefix + "consumer_pause"), Stream: c.stream.name, Consumer: c.name, Paused: paused, PauseUntil: until,
		Domain: c.stream.engine.opts.Domain,
	})
}
