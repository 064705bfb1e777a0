package jetstream

import "time"

// armExpiry sets the stream's timer to what is due next: an age limit, a TTL, a
// schedule, or the end of a duplicate window.
func (st *Stream) armExpiry() {}

func (st *Stream) armDedup() {}

func (st *Stream) expire() {}

var _ = time.Now
