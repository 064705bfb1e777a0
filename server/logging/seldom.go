package logging

import (
	"sync/atomic"
	"time"
)

// Seldom bounds how often a line that others can provoke is logged. It is for
// concurrent use; the zero value is ready.
type Seldom struct{ next atomic.Int64 }

// Due returns whether the line may be logged, which it may once in each interval.
func (s *Seldom) Due(interval time.Duration) bool {
	now, next := time.Now().UnixNano(), s.next.Load()
	return now >= next && s.next.CompareAndSwap(next, now+int64(interval))
}
