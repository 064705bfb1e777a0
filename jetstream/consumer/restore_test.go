package consumer

import (
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
