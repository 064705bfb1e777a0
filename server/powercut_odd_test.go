package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// Streams with rules of their own. One client works on each, so that what may be
// found after a cut is what was confirmed, or that and the one request that was
// under way. lax stands for knowing nothing: all is accepted once.

// bucket is a key-value bucket with a history.
type bucket struct {
	lax     bool
	created bool
	keys    [4][]kvChange // confirmed
	pending *kvChange     // under way
	key     int           // its key
}

type kvChange struct{ op, value string }

// halfPurge is the op of a purge that a cut has left half done: what it did not
// remove stays until the next purge.
const halfPurge = "HALF PURGE"

const bucketHistory = 3

// tail is what a bucket keeps of the changes of a key.
func tail(changes []kvChange) []kvChange {
	for i := len(changes) - 1; i >= 0; i-- {
		if changes[i].op == "PURGE" {
			changes = changes[i:]
			break
		}
	}
	return newest(changes)
}

func newest(changes []kvChange) []kvChange {
	return changes[max(0, len(changes)-bucketHistory):]
}

// purging tells whether got is what a purge leaves before it is complete: it is
// stored, and has removed none of the changes before it or the oldest of them.
func purging(got, all []kvChange) bool {
	n := len(got)
	return n > 0 && n <= len(all) && all[len(all)-1].op == "PURGE" && slices.EqualFunc(got, all[len(all)-n:], kvChange.shown)
}

// shown tells whether a stream that has got shows the change want.
func (got kvChange) shown(want kvChange) bool {
	if want.op == halfPurge {
		want.op = "PURGE"
	}
	return got == want
}

func (b *bucket) verify(p *powered) error {
	found, err := p.readStream("KV_B")
	if err != nil {
		if b.created {
			return err
		}
		return nil
	}
	seqs := make([]uint64, 0, len(found))
	for seq := range found {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	var keys [len(b.keys)][]kvChange
	for _, seq := range seqs {
		m := found[seq]
		k, err := strconv.Atoi(strings.TrimPrefix(m.subject, "$KV.B.k"))
		if err != nil {
			return fmt.Errorf("bucket: message on %s", m.subject)
		}
		keys[k] = append(keys[k], kvChange{m.header.Get("KV-Operation"), m.data})
	}
	for k, got := range keys {
		switch confirmed := b.keys[k]; {
		case b.lax || slices.EqualFunc(got, tail(confirmed), kvChange.shown):
		case b.pending != nil && b.key == k && slices.EqualFunc(got, tail(append(slices.Clone(confirmed), *b.pending)), kvChange.shown):
		case b.pending != nil && b.key == k && purging(got, newest(append(slices.Clone(tail(confirmed)), *b.pending))):
		default:
			return fmt.Errorf("bucket: key k%d has %v; confirmed was %v, under way on k%d %v", k, got, tail(confirmed), b.key, b.pending)
		}
		for i := range got {
			if i > 0 && got[i].op == "PURGE" {
				got[i].op = halfPurge // a whole one is the first that is left
			}
		}
	}
	*b = bucket{created: true, keys: keys}
	return nil
}

func (b *bucket) work(ctx context.Context, p *powered, life int) error {
	js, err := natsjs.New(p.nc)
	if err != nil {
		return err
	}
	kv, err := js.CreateOrUpdateKeyValue(ctx, natsjs.KeyValueConfig{Bucket: "B", History: bucketHistory})
	if err != nil {
		return fmt.Errorf("bucket: %w", err)
	}
	b.created = true
	for n := 0; ctx.Err() == nil; n++ {
		b.key = n % len(b.keys)
		key, value := fmt.Sprintf("k%d", b.key), fmt.Sprintf("%d.%d", life, n)
		change := kvChange{value: value}
		last, err := kv.Get(ctx, key)
		if err != nil && !errors.Is(err, natsjs.ErrKeyNotFound) {
			return fmt.Errorf("key %s: %w", key, err)
		}
		if changes := b.keys[b.key]; err == nil && string(last.Value()) != changes[len(changes)-1].value {
			return fmt.Errorf("key %s is %q, not %q", key, last.Value(), changes[len(changes)-1].value)
		}
		switch {
		case n%11 == 7:
			change = kvChange{op: "DEL"}
			b.pending = &change
			err = kv.Delete(ctx, key)
		case n%17 == 9:
			change = kvChange{op: "PURGE"}
			b.pending = &change
			err = kv.Purge(ctx, key)
		case err != nil:
			b.pending = &change
			_, err = kv.Create(ctx, key, []byte(value))
		case n%2 == 0:
			b.pending = &change
			_, err = kv.Update(ctx, key, []byte(value), last.Revision())
		default:
			b.pending = &change
			_, err = kv.Put(ctx, key, []byte(value))
		}
		if err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
		b.keys[b.key] = append(b.keys[b.key], change)
		b.pending = nil
	}
	return nil
}

// counter is a stream that adds up.
type counter struct {
	lax, created bool
	value        int // confirmed
	pending      int // under way
}

func (c *counter) verify(ctx context.Context, p *powered) error {
	a, err := p.ask(ctx, "$JS.API.STREAM.MSG.GET.N", `{"last_by_subj":"n"}`)
	if isCode(err, codeStreamNotFound) && !c.created {
		return nil
	}
	var body struct {
		Value string `json:"val"`
	}
	switch {
	case isCode(err, codeNoMessage):
		body.Value = "0"
	case err != nil:
		return fmt.Errorf("counter: %w", err)
	default:
		if err := json.Unmarshal(a.Message.Data, &body); err != nil {
			return fmt.Errorf("counter: %w", err)
		}
	}
	v, err := strconv.Atoi(body.Value)
	if err != nil || !c.lax && v != c.value && v != c.value+c.pending {
		return fmt.Errorf("counter is %q; confirmed was %d, under way %d", body.Value, c.value, c.pending)
	}
	*c = counter{created: true, value: v}
	return nil
}

func (c *counter) work(ctx context.Context, p *powered) error {
	if !c.created {
		if _, err := p.ask(ctx, "$JS.API.STREAM.CREATE.N", `{"name":"N","subjects":["n"],"allow_msg_counter":true}`); err != nil {
			return fmt.Errorf("counter: %w", err)
		}
		c.created = true
	}
	for n := 1; ctx.Err() == nil; n++ {
		c.pending = n%7 - 2
		a, err := p.ask(ctx, "n", "", "Nats-Incr", fmt.Sprintf("%+d", c.pending))
		if err != nil {
			return fmt.Errorf("counter: %w", err)
		}
		if a.Value != strconv.Itoa(c.value+c.pending) {
			return fmt.Errorf("counter was %d, %+d makes %s", c.value, c.pending, a.Value)
		}
		c.value += c.pending
		c.pending = 0
	}
	return nil
}

// churn is a stream that is created and deleted again and again under one name.
type churn struct {
	lax      bool
	exists   bool
	life     int    // of the stream, in its description and messages
	acked    uint64 // last sequence confirmed
	creating bool
	deleting bool
}

func (c *churn) verify(ctx context.Context, p *powered) error {
	a, err := p.ask(ctx, "$JS.API.STREAM.INFO.R", "")
	if isCode(err, codeStreamNotFound) {
		if c.exists && !c.deleting && !c.lax {
			return fmt.Errorf("stream R, number %d, is gone", c.life)
		}
		*c = churn{life: c.life}
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream R: %w", err)
	}
	life, err := strconv.Atoi(a.Config.Description)
	switch {
	case err != nil || life > c.life && !c.creating && !c.lax || life < c.life && !c.lax:
		return fmt.Errorf("stream R is number %q, and should be %d (created %v)", a.Config.Description, c.life, c.exists)
	case !c.exists && !c.creating && !c.lax:
		return fmt.Errorf("stream R, number %d, is back", life)
	case a.State.LastSeq < c.acked:
		return fmt.Errorf("stream R, number %d, ends at %d, and %d was acknowledged", life, a.State.LastSeq, c.acked)
	}
	found, err := p.readStream("R")
	if err != nil {
		return err
	}
	for seq := uint64(1); seq <= a.State.LastSeq; seq++ {
		if m := found[seq]; m.data != fmt.Sprintf("%d.%d", life, seq) {
			return fmt.Errorf("stream R, number %d: message %d is %q", life, seq, m.data)
		}
	}
	*c = churn{exists: true, life: life, acked: a.State.LastSeq}
	return nil
}

func (c *churn) work(ctx context.Context, p *powered) error {
	for ctx.Err() == nil {
		if !c.exists {
			c.creating, c.acked = true, 0
			c.life++
			if _, err := p.ask(ctx, "$JS.API.STREAM.CREATE.R", fmt.Sprintf(`{"name":"R","subjects":["r"],"allow_direct":true,"description":"%d"}`, c.life)); err != nil {
				return fmt.Errorf("stream R: %w", err)
			}
			c.exists, c.creating = true, false
		}
		for range 3 {
			a, err := p.ask(ctx, "r", fmt.Sprintf("%d.%d", c.life, c.acked+1))
			if err != nil {
				return fmt.Errorf("stream R: %w", err)
			}
			if c.acked++; a.Seq != c.acked {
				return fmt.Errorf("stream R, number %d: message %d has sequence %d", c.life, c.acked, a.Seq)
			}
		}
		c.deleting = true
		if _, err := p.ask(ctx, "$JS.API.STREAM.DELETE.R", ""); err != nil {
			return fmt.Errorf("stream R: %w", err)
		}
		c.exists, c.deleting = false, false
	}
	return nil
}

// skipped is a stream that nobody is interested in: it keeps no message, but their
// sequences.
type skipped struct {
	created bool
	last    uint64
}

func (s *skipped) verify(ctx context.Context, p *powered) error {
	a, err := p.ask(ctx, "$JS.API.STREAM.INFO.I", "")
	if isCode(err, codeStreamNotFound) && !s.created {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream I: %w", err)
	}
	if a.State.LastSeq < s.last || a.State.Messages != 0 {
		return fmt.Errorf("stream I ends at %d with %d messages, %d was acknowledged", a.State.LastSeq, a.State.Messages, s.last)
	}
	*s = skipped{created: true, last: a.State.LastSeq}
	return nil
}

func (s *skipped) work(ctx context.Context, p *powered) error {
	if !s.created {
		if _, err := p.ask(ctx, "$JS.API.STREAM.CREATE.I", `{"name":"I","subjects":["i"],"retention":"interest"}`); err != nil {
			return fmt.Errorf("stream I: %w", err)
		}
		s.created = true
	}
	for ctx.Err() == nil {
		a, err := p.ask(ctx, "i", "nobody reads this")
		if err != nil {
			return fmt.Errorf("stream I: %w", err)
		}
		s.last = a.Seq
	}
	return nil
}
