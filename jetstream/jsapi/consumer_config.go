package jsapi

import "time"

// Defaults of consumers.
const (
	DefaultAckWait           = 30 * time.Second
	DefaultMaxAckPending     = 1000
	DefaultMaxWaiting        = 512
	DefaultInactiveThreshold = 5 * time.Second
	DefaultPriorityTimeout   = 2 * time.Minute
)

// Push says whether the consumer delivers to a subject of its own accord.
func (c *ConsumerConfig) Push() bool { return c.DeliverSubject != "" }

// Filters returns the filter subjects; nil means every message. The result
// must not be changed.
func (c *ConsumerConfig) Filters() []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}
