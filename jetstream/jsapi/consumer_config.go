package jsapi

import (
	"fmt"
	"time"
)

// ConsumerConfig is the configuration of a consumer as clients send it and as
// it is stored. Members are emitted in this order. A nil pointer to a time
// means unset; durations are nanoseconds.
type ConsumerConfig struct {
	Durable     string `json:"durable_name,omitempty"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`

	DeliverPolicy DeliverPolicy `json:"deliver_policy"`
	OptStartSeq   uint64        `json:"opt_start_seq,omitempty"`
	OptStartTime  *time.Time    `json:"opt_start_time,omitempty"`

	AckPolicy  AckPolicy       `json:"ack_policy"`
	AckWait    time.Duration   `json:"ack_wait,omitempty"`
	MaxDeliver int             `json:"max_deliver,omitempty"`
	BackOff    []time.Duration `json:"backoff,omitempty"`

	FilterSubject  string   `json:"filter_subject,omitempty"`
	FilterSubjects []string `json:"filter_subjects,omitempty"`

	ReplayPolicy    ReplayPolicy `json:"replay_policy"`
	RateLimit       uint64       `json:"rate_limit_bps,omitempty"` // bits per second
	SampleFrequency string       `json:"sample_freq,omitempty"`

	MaxWaiting    int  `json:"max_waiting,omitempty"`
	MaxAckPending int  `json:"max_ack_pending,omitempty"`
	FlowControl   bool `json:"flow_control,omitempty"`
	HeadersOnly   bool `json:"headers_only,omitempty"`

	MaxRequestBatch    int           `json:"max_batch,omitempty"`
	MaxRequestExpires  time.Duration `json:"max_expires,omitempty"`
	MaxRequestMaxBytes int           `json:"max_bytes,omitempty"`

	DeliverSubject string        `json:"deliver_subject,omitempty"`
	DeliverGroup   string        `json:"deliver_group,omitempty"`
	Heartbeat      time.Duration `json:"idle_heartbeat,omitempty"`

	InactiveThreshold time.Duration `json:"inactive_threshold,omitempty"`
	Replicas          int           `json:"num_replicas"`
	MemoryStorage     bool          `json:"mem_storage,omitempty"`
	Direct            bool          `json:"direct,omitempty"`
	Sourcing          bool          `json:"sourcing,omitempty"`

	Metadata map[string]string `json:"metadata,omitempty"`

	PauseUntil      *time.Time     `json:"pause_until,omitempty"`
	PriorityGroups  []string       `json:"priority_groups,omitempty"`
	PriorityPolicy  PriorityPolicy `json:"priority_policy,omitempty"`
	PriorityTimeout time.Duration  `json:"priority_timeout,omitempty"`
}

// Push says whether the consumer delivers to a subject of its own accord.
func (c *ConsumerConfig) Push() bool { return c.DeliverSubject != "" }

// Filters returns the filter subjects; nil means every message.
// The result must not be changed.
func (c *ConsumerConfig) Filters() []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

// DeliverPolicy says where a new consumer starts.
type DeliverPolicy int

const (
	DeliverAll DeliverPolicy = iota
	DeliverLast
	DeliverNew
	DeliverByStartSequence
	DeliverByStartTime
	DeliverLastPerSubject
)

// AckPolicy says which messages a consumer waits for acknowledgements of.
type AckPolicy int

const (
	AckNone AckPolicy = iota
	AckAll
	AckExplicit
	AckFlowControl
)

// ReplayPolicy says how fast stored messages are delivered.
type ReplayPolicy int

const (
	ReplayInstant ReplayPolicy = iota
	ReplayOriginal
)

// PriorityPolicy says how pull requests of priority groups compete.
type PriorityPolicy int

const (
	PriorityNone PriorityPolicy = iota
	PriorityOverflow
	PriorityPinnedClient
	PriorityPrioritized
)

// ConsumerAction says what a create request may do.
type ConsumerAction int

const (
	ActionCreateOrUpdate ConsumerAction = iota
	ActionUpdate
	ActionCreate
)

var (
	deliverPolicies  = []string{"all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"}
	ackPolicies      = []string{"none", "all", "explicit", "flow_control"}
	replayPolicies   = []string{"instant", "original"}
	priorityPolicies = []string{"none", "overflow", "pinned_client", "prioritized"}
	consumerActions  = []string{"", "update", "create"}
)

// enumName returns the quoted JSON text of value i.
func enumName(names []string, i int) ([]byte, error) {
	if i < 0 || i >= len(names) {
		return nil, fmt.Errorf("can not marshal %d", i)
	}
	return []byte(`"` + names[i] + `"`), nil
}

// enumValue finds quoted JSON text among the names.
func enumValue(names []string, data []byte) (int, bool) {
	for i, n := range names {
		if len(data) == len(n)+2 && string(data[1:len(data)-1]) == n && data[0] == '"' {
			return i, true
		}
	}
	return 0, false
}

func (p DeliverPolicy) MarshalJSON() ([]byte, error)  { return enumName(deliverPolicies, int(p)) }
func (p AckPolicy) MarshalJSON() ([]byte, error)      { return enumName(ackPolicies, int(p)) }
func (p ReplayPolicy) MarshalJSON() ([]byte, error)   { return enumName(replayPolicies, int(p)) }
func (p PriorityPolicy) MarshalJSON() ([]byte, error) { return enumName(priorityPolicies, int(p)) }
func (a ConsumerAction) MarshalJSON() ([]byte, error) { return enumName(consumerActions, int(a)) }

func (p *DeliverPolicy) UnmarshalJSON(data []byte) error {
	if string(data) == `"undefined"` {
		*p = DeliverAll
		return nil
	}
	v, ok := enumValue(deliverPolicies, data)
	if !ok {
		return fmt.Errorf("can not unmarshal %q", data)
	}
	*p = DeliverPolicy(v)
	return nil
}

func (p *AckPolicy) UnmarshalJSON(data []byte) error {
	v, ok := enumValue(ackPolicies, data)
	if !ok {
		return fmt.Errorf("can not unmarshal %q", data)
	}
	*p = AckPolicy(v)
	return nil
}

func (p *ReplayPolicy) UnmarshalJSON(data []byte) error {
	v, ok := enumValue(replayPolicies, data)
	if !ok {
		return fmt.Errorf("can not unmarshal %q", data)
	}
	*p = ReplayPolicy(v)
	return nil
}

func (p *PriorityPolicy) UnmarshalJSON(data []byte) error {
	v, ok := enumValue(priorityPolicies, data)
	if !ok {
		return fmt.Errorf("unknown priority policy: %s", data)
	}
	*p = PriorityPolicy(v)
	return nil
}

func (a *ConsumerAction) UnmarshalJSON(data []byte) error {
	v, ok := enumValue(consumerActions, data)
	if !ok {
		return fmt.Errorf("unknown consumer action: %s", data)
	}
	*a = ConsumerAction(v)
	return nil
}
