package jetstream

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/natsd/natsd/jetstream/consumer"
	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/consumerstate"
)

// A slice of deliveries: as much as a turn sends before it looks at its inbox
// again and flushes. Larger ones delay acks and info requests, smaller ones cost
// more flushes.
const (
	sliceMsgs  = 512
	sliceBytes = 1 << 20
	// scanLimit bounds the messages that one load looks at for a filter that
	// matches few.
	scanLimit = 100_000
)

// deliver sends what the machine wants to send, a slice at most, of the stream's
// messages up to last. It reports whether there is more. Under state.
func (c *Consumer) deliver(t *consumerTurn, last uint64, now int64) (more bool) {
	sent, size := 0, 0
	for stuck := 0; ; stuck++ {
		c.effects(t, now)
		w := c.m.Next(now, last)
		if w.Kind == consumer.Nothing {
			c.effects(t, now)
			return false
		}
		if sent >= t.slice || size >= sliceBytes || stuck >= sliceMsgs {
			return true
		}
		w.Limit(t.slice - sent)
		t.batch.Msgs = t.batch.Msgs[:0]
		if w.Kind == consumer.Listed {
			if err := c.stream.store.LoadMsgs(w.Seqs, &t.batch); err != nil && !isDamage(err) {
				return false
			}
			if len(t.batch.Msgs) < len(w.Seqs) {
				if t.here {
					return true
				}
				if !c.settleRemovals() {
					c.reportMissing(w.Seqs, t.batch.Msgs)
				}
				continue // the machine's list has changed
			}
		} else if ok, again := c.load(t, w, last); again && t.here {
			return true
		} else if again {
			continue
		} else if !ok {
			return false
		}
		for i := range t.batch.Msgs {
			n, ok := c.send(t, &t.batch.Msgs[i], now)
			if !ok {
				break
			}
			if n > 0 {
				sent++
				size += n
				t.msgs++
				t.bytes += n
			}
		}
	}
}

// settleRemovals applies the events that what was loaded rests on: what it does
// not show because it was removed must be uncounted before the cursor passes it.
// It reports whether there were removals, after which what was loaded is to be
// asked for anew. Under state.
func (c *Consumer) settleRemovals() bool {
	c.stream.store.Notified()
	removed := c.removals
	c.settleEvents()
	return c.removals != removed
}

// load reads the next messages that match. It reports whether there is something
// to do with them, or that they are to be asked for again. Under state.
func (c *Consumer) load(t *consumerTurn, w consumer.Want, last uint64) (ok, again bool) {
	if c.seeking != nil {
		return false, false // the reader will wake it
	}
	scan := scanLimit
	sparse := c.sparse(w.From, last)
	if sparse {
		scan = ownScan
	}
	next, err := c.stream.store.LoadBatch(c.filter, w.From, msgstore.BatchLimit{Msgs: w.Max, Bytes: sliceBytes, Scan: scan, Through: last}, &t.batch)
	if err != nil && !isDamage(err) {
		return false, false
	}
	n := len(t.batch.Msgs)
	if whole := n > 0 && t.batch.Msgs[n-1].Seq == w.From+uint64(n)-1; !whole && (t.here || c.settleRemovals()) {
		return false, true
	}
	switch {
	case n > 0:
	case err != nil:
		// The store has reported it; the others go on behind it.
		c.m.Scanned(next)
	case next > last:
		c.m.Exhausted(last)
	default:
		c.m.Scanned(next - 1)
		if sparse {
			c.seek(next)
			return false, false
		}
	}
	return true, false
}

func isDamage(err error) bool {
	var bad *msgstore.BadRecordError
	return errors.As(err, &bad)
}

// reportMissing tells the machine which of the listed messages do not exist.
func (c *Consumer) reportMissing(want []uint64, got []msgstore.StoredMsg) {
	missing := make([]uint64, 0, len(want)-len(got))
	j := 0
	for _, seq := range want {
		if j < len(got) && got[j].Seq == seq {
			j++
			continue
		}
		missing = append(missing, seq)
	}
	for _, seq := range missing {
		c.m.Missing(seq)
	}
}

// send offers a message to the machine until somebody takes it. It returns the
// size that was sent, and false if the rest of the batch is not wanted now.
// Under state.
func (c *Consumer) send(t *consumerTurn, msg *msgstore.StoredMsg, now int64) (int, bool) {
	// Field by field: what a composite literal puts together on the stack is copied from
	// there in larger pieces than it was written in, for which the processor must wait.
	var meta consumer.Message
	meta.Seq, meta.Time, meta.Scratch = msg.Seq, msg.Time, t.reply
	meta.Subject, meta.Header, meta.Data = len(msg.Subject), len(msg.Header), len(msg.Data)
	for {
		d, verdict := c.m.Offer(&meta, now)
		switch verdict {
		case consumer.Stop:
			return 0, false
		case consumer.Skip:
			return 0, true
		}
		t.reply = d.Reply
		header, data := msg.Header, msg.Data
		if d.HeadersOnly || d.PinID != "" {
			header, data = t.content(msg, d)
		}
		taken := false
		if r := c.route.Load(); r != nil {
			taken = (*r).Deliver(t.pub, asBytes(msg.Subject), d.Reply, header, data)
		} else {
			taken = t.pub.Deliver(asBytes(d.Target), asBytes(msg.Subject), d.Reply, header, data)
		}
		if !taken {
			c.m.Unsent()
			continue
		}
		c.m.Sent(now)
		if c.m.HasEffects() {
			c.effects(t, now)
		}
		return len(msg.Subject) + len(d.Reply) + len(header) + len(data), true
	}
}

// content is what a client gets of a message that is not sent as it is.
func (t *consumerTurn) content(msg *msgstore.StoredMsg, d *consumer.Delivery) (header, data []byte) {
	header, data = msg.Header, msg.Data
	pin := d.PinID
	if need := len(header) + len(pin) + builtLines; cap(t.built)-len(t.built) < need {
		t.built = make([]byte, 0, max(need, builtPiece)) // what was built before stays where it is
	}
	h := t.built[len(t.built):]
	if len(header) == 0 {
		h = append(h, "NATS/1.0\r\n"...)
	} else {
		h = append(h, header[:len(header)-2]...) // without the empty line
	}
	if d.HeadersOnly {
		h = append(h, "Nats-Msg-Size: "...)
		h = strconv.AppendInt(h, int64(len(data)), 10)
		h = append(h, '\r', '\n')
		data = nil
	}
	if pin != "" {
		h = append(append(append(h, "Nats-Pin-Id: "...), pin...), '\r', '\n')
	}
	h = append(h, '\r', '\n')
	t.built = t.built[:len(t.built)+len(h)]
	return h, data
}

// builtLines is more than the lines take that content adds, beside the pin;
// builtPiece is the size of the pieces of memory for what it builds.
const (
	builtLines = 128
	builtPiece = 16 << 10
)

// effects does what the machine said, in order. Under state.
func (c *Consumer) effects(t *consumerTurn, now int64) {
	for _, e := range c.m.Effects() {
		switch e.Kind {
		case consumer.Status:
			h := append(append(t.header[:0], "NATS/1.0 "...), e.Text...)
			h = append(h, '\r', '\n')
			if e.Remaining {
				h = appendCount(h, "Nats-Pending-Messages: ", uint64(max(e.Messages, 0)))
				h = appendCount(h, "Nats-Pending-Bytes: ", uint64(max(e.Bytes, 0)))
			}
			c.tell(t, e.Target, "", h)
		case consumer.Heartbeat:
			h := append(t.header[:0], "NATS/1.0 100 Idle Heartbeat\r\n"...)
			h = appendCount(h, "Nats-Last-Consumer: ", e.ConsumerSeq)
			h = appendCount(h, "Nats-Last-Stream: ", e.Seq)
			if e.Reply != "" {
				h = append(append(append(h, "Nats-Consumer-Stalled: "...), e.Reply...), '\r', '\n')
			}
			c.tell(t, e.Target, "", h)
		case consumer.FlowRequest:
			c.tell(t, e.Target, e.Reply, append(t.header[:0], "NATS/1.0 100 FlowControl Request\r\n"...))
		case consumer.Confirm:
			if c.log == nil || c.stream.engine.opts.Mutations.ConfirmEarly {
				t.pub.Publish(asBytes(e.Target), nil, nil, nil)
			} else {
				t.confirms = append(t.confirms, e.Target)
			}
		case consumer.Inactive:
			go c.set.expire(c)
		case consumer.Premature:
			if last := c.stream.store.Positions().Visible; e.Seq > last {
				c.warn(fmt.Sprintf("acknowledgement of sequence %d, but its stream ends at %d", e.Seq, last))
			}
		case consumer.Garbled:
			c.warn(fmt.Sprintf("-NAK without a delay, since its argument is neither a duration nor JSON: %q", e.Text))
		default:
			c.advise(&e, now)
		}
	}
}

func appendCount(h []byte, name string, n uint64) []byte {
	return append(strconv.AppendUint(append(h, name...), n, 10), '\r', '\n')
}

// tell sends a header-only message; h lacks the empty line.
func (c *Consumer) tell(t *consumerTurn, target, reply string, h []byte) {
	h = append(h, '\r', '\n')
	t.header = h
	t.pub.Publish(asBytes(target), asBytes(reply), h, nil)
}

// progress reports whether steps only tell how far a consumer came who wants no
// acknowledgements, on a stream where nothing follows from that: a checkpoint every
// few seconds is enough for what is at least once anyway.
func (c *Consumer) progress(steps []consumerstate.Step) bool {
	if !c.m.AcksNone() || c.stream.Config().Retention != jsapi.LimitsPolicy {
		return false
	}
	for i := range steps {
		if k := steps[i].Kind; k != consumerstate.StepDelivered && k != consumerstate.StepScanned {
			return false
		}
	}
	return true
}

// record hands what changed to the log, and the answers that wait for it. Under
// state.
func (c *Consumer) record(t *consumerTurn) {
	steps := c.m.Steps()
	t.release = append(t.release, c.m.Released()...)
	if c.log == nil {
		return
	}
	switch {
	case len(t.confirms) > 0 || len(steps) > 0 && !c.progress(steps):
		c.log.append(steps, t.confirms)
	case len(steps) > 0 && !c.dirty:
		c.log.changed()
	}
	clear(t.confirms)
	t.confirms = t.confirms[:0]
}
