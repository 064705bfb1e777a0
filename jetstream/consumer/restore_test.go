package consumer

import (
	"slices"
	"testing"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/consumerstate"
)

// After a purge that only the runs tell of, the floor is where what was delivered
// is, unless a message is pending or was given up.
func TestRestoreFloor(t *testing.T) {
	pair := func(consumer, stream uint64) Position { return Position{Consumer: consumer, Stream: stream} }
	for name, c := range map[string]struct {
		state consumerstate.State
		want  Position
	}{
		"purged":            {consumerstate.State{Delivered: pair(1, 6), AckFloor: pair(1, 1)}, pair(1, 6)},
		"never delivered":   {consumerstate.State{Delivered: pair(0, 6), AckFloor: pair(0, 0)}, pair(0, 6)},
		"pending":           {consumerstate.State{Delivered: pair(2, 6), AckFloor: pair(1, 1), Pending: map[uint64]consumerstate.Pending{6: {Sequence: 2, Timestamp: 1}}}, pair(1, 1)},
		"given up":          {consumerstate.State{Delivered: pair(1, 6), AckFloor: pair(1, 1), Redelivered: map[uint64]uint64{6: 1}}, pair(1, 1)},
		"not acknowledged":  {consumerstate.State{Delivered: pair(2, 6), AckFloor: pair(1, 1)}, pair(1, 1)},
		"beyond the stream": {consumerstate.State{Delivered: pair(2, 9), AckFloor: pair(2, 8)}, pair(2, 7)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSim()
			cfg := &jsapi.ConsumerConfig{AckPolicy: jsapi.AckExplicit, MaxDeliver: -1}
			m, _ := Restore(cfg, &c.state, 0, 6, 7, s, s.options())
			if got := m.AckFloor(); got != c.want {
				t.Errorf("floor %+v, want %+v", got, c.want)
			}
		})
	}
}

// What was given up beyond the place where a consumer goes on, since its stream has lost
// the end, is delivered anew and counts once.
func TestRestoreForgetsWhatComesAgain(t *testing.T) {
	state := consumerstate.State{
		Delivered: Position{Consumer: 9, Stream: 9}, AckFloor: Position{Consumer: 2, Stream: 2},
		Pending: map[uint64]consumerstate.Pending{3: {Sequence: 3, Timestamp: 1}, 8: {Sequence: 8, Timestamp: 1}}, Redelivered: map[uint64]uint64{5: 1, 8: 1},
	}
	s := newSim()
	m, cut := Restore(&jsapi.ConsumerConfig{AckPolicy: jsapi.AckExplicit, MaxDeliver: 1}, &state, 0, 1, 7, s, s.options())
	if !cut || m.Cursor() != 4 || len(m.given) != 0 {
		t.Errorf("cut: %v, goes on at %d, given up: %v", cut, m.Cursor(), m.given)
	}
}

// TestQueueStaysSmall: tickets that count no more do not pile up while nothing is
// delivered.
func TestQueueStaysSmall(t *testing.T) {
	var p pending
	for seq := range uint64(10) {
		p.add(entry{sseq: seq + 1, dseq: seq + 1, due: 1, count: 1})
	}
	for i := range uint64(10_000) {
		e := p.find(1 + i%10)
		p.unqueue(e)
		p.enqueue(e)
		p.extend(e, int64(i))
	}
	if len(p.queue) > 3*slack || len(p.deadlines) > 3*slack {
		t.Errorf("%d tickets and %d deadlines of 10 messages", len(p.queue), len(p.deadlines))
	}
	want := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	if got := p.peek(nil, 20); !slices.Equal(got, want) {
		t.Errorf("queue %v, want %v", got, want)
	}
}
