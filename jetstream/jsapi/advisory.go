package jsapi

import (
	"encoding/json"
	"time"
)

// Prefixes of the types of advisories and metrics.
const (
	AdvisoryPrefix = "io.nats.jetstream.advisory.v1."
	MetricPrefix   = "io.nats.jetstream.metric.v1."
)

// Event begins every advisory and metric.
type Event struct {
	Type string    `json:"type"`
	ID   string    `json:"id"` // 22-character NUID
	Time time.Time `json:"timestamp"`
}

// APIAudit tells about one answered request.
type APIAudit struct {
	Event
	Server   string          `json:"server"`
	Client   json.RawMessage `json:"client"` // ClientInfo without jwt and alts
	Subject  string          `json:"subject"`
	Request  string          `json:"request,omitempty"`
	Response string          `json:"response"`
	Domain   string          `json:"domain,omitempty"`
}

// StreamAction is sent for CREATED, DELETED and UPDATED.
type StreamAction struct {
	Event
	Stream string `json:"stream"`
	Action string `json:"action"` // create, delete, modify
	Domain string `json:"domain,omitempty"`
}

// SnapshotCreate is sent when a snapshot begins.
type SnapshotCreate struct {
	Event
	Stream string          `json:"stream"`
	State  StreamState     `json:"state"`
	Client json.RawMessage `json:"client"`
	Domain string          `json:"domain,omitempty"`
}

// SnapshotComplete is sent when a snapshot ends, well or not.
type SnapshotComplete struct {
	Event
	Stream string          `json:"stream"`
	Start  time.Time       `json:"start"`
	End    time.Time       `json:"end"`
	Client json.RawMessage `json:"client"`
	Error  string          `json:"error,omitempty"`
	Domain string          `json:"domain,omitempty"`
}

// RestoreCreate is sent when a restore begins.
type RestoreCreate struct {
	Event
	Stream string          `json:"stream"`
	Client json.RawMessage `json:"client"`
	Domain string          `json:"domain,omitempty"`
}

// RestoreComplete is sent when a restore ends, well or not, but not when it stalls.
type RestoreComplete struct {
	Event
	Stream string          `json:"stream"`
	Start  time.Time       `json:"start"`
	End    time.Time       `json:"end"`
	Bytes  int64           `json:"bytes"`
	Client json.RawMessage `json:"client"`
	Domain string          `json:"domain,omitempty"`
}

// BatchAbandoned is sent when an open atomic batch is dropped.
type BatchAbandoned struct {
	Event
	Account string `json:"account,omitempty"` // only in the system account's copy
	Stream  string `json:"stream"`
	Batch   string `json:"batch"`
	Reason  string `json:"reason"` // timeout, large, incomplete, unsupported
	Domain  string `json:"domain,omitempty"`
}

// APILimitReached is sent in the system account when requests were refused.
type APILimitReached struct {
	Event
	Server  string `json:"server"`
	Domain  string `json:"domain,omitempty"`
	Dropped int64  `json:"dropped"` // since the last advisory
}

// ServerOutOfSpace is sent in the system account.
type ServerOutOfSpace struct {
	Event
	Server   string `json:"server"`
	ServerID string `json:"server_id"`
	Stream   string `json:"stream,omitempty"`
	Cluster  string `json:"cluster"`
	Domain   string `json:"domain,omitempty"`
}

// ConsumerActionAdvisory is sent for consumers that are CREATED and DELETED.
type ConsumerActionAdvisory struct {
	Event
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
	Action   string `json:"action"` // create, delete
	Domain   string `json:"domain,omitempty"`
}

// ConsumerPause is sent when a consumer is paused or resumed.
type ConsumerPause struct {
	Event
	Stream     string    `json:"stream"`
	Consumer   string    `json:"consumer"`
	Paused     bool      `json:"paused"`
	PauseUntil time.Time `json:"pause_until"`
	Domain     string    `json:"domain,omitempty"`
}

// ConsumerGroupPinned is sent when a client gets the pin of a group.
type ConsumerGroupPinned struct {
	Event
	Account  string `json:"account,omitempty"`
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
	Domain   string `json:"domain,omitempty"`
	Group    string `json:"group"`
	PinnedID string `json:"pinned_id"`
}

// ConsumerGroupUnpinned is sent when a pin ends.
type ConsumerGroupUnpinned struct {
	Event
	Account  string `json:"account,omitempty"`
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
	Domain   string `json:"domain,omitempty"`
	Group    string `json:"group"`
	Reason   string `json:"reason"` // admin, timeout
}

// ConsumerMaxDeliver is sent when a message was delivered as often as allowed.
type ConsumerMaxDeliver struct {
	Event
	Stream     string `json:"stream"`
	Consumer   string `json:"consumer"`
	StreamSeq  uint64 `json:"stream_seq"`
	Deliveries uint64 `json:"deliveries"`
	Domain     string `json:"domain,omitempty"`
}

// ConsumerNak is sent for a negative acknowledgement.
type ConsumerNak struct {
	Event
	Stream      string `json:"stream"`
	Consumer    string `json:"consumer"`
	ConsumerSeq uint64 `json:"consumer_seq"`
	StreamSeq   uint64 `json:"stream_seq"`
	Deliveries  uint64 `json:"deliveries"`
	Domain      string `json:"domain,omitempty"`
}

// ConsumerTerminated is sent when a client terminates a message.
type ConsumerTerminated struct {
	Event
	Stream      string `json:"stream"`
	Consumer    string `json:"consumer"`
	ConsumerSeq uint64 `json:"consumer_seq"`
	StreamSeq   uint64 `json:"stream_seq"`
	Deliveries  uint64 `json:"deliveries"`
	Reason      string `json:"reason,omitempty"`
	Domain      string `json:"domain,omitempty"`
}

// ConsumerAckMetric is sent for the sampled share of acknowledgements.
type ConsumerAckMetric struct {
	Event
	Stream      string `json:"stream"`
	Consumer    string `json:"consumer"`
	ConsumerSeq uint64 `json:"consumer_seq"`
	StreamSeq   uint64 `json:"stream_seq"`
	Delay       int64  `json:"ack_time"` // ns between delivery and ack
	Deliveries  uint64 `json:"deliveries"`
	Domain      string `json:"domain,omitempty"`
}
