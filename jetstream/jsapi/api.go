package jsapi

import (
	"encoding/json"
	"time"
)

// TypePrefix begins the type of every reply; the rest is the endpoint's name.
const TypePrefix = "io.nats.jetstream.api.v1."

// Response begins every reply. Replies embed it first, so that "type" comes
// first and "error" second.
type Response struct {
	Type  string `json:"type"`
	Error *Error `json:"error,omitempty"`
}

// Base gives the common part of a reply to code that serves all of them.
func (r *Response) Base() *Response { return r }

// Paging is the window of a reply that lists things.
type Paging struct {
	Total  int `json:"total"`
	Offset int `json:"offset"`
	Limit  int `json:"limit"`
}

// Limits of the pages of list replies, which bound their size.
const (
	NamesLimit    = 1024
	ListLimit     = 256
	SubjectsLimit = 100_000
)

// PagedRequest is the body of requests that list things.
type PagedRequest struct {
	Offset int `json:"offset"`
}

// StreamConfigRequest is the body of STREAM.CREATE and STREAM.UPDATE.
type StreamConfigRequest struct {
	StreamConfig
	// Pedantic: report what would otherwise be silently corrected.
	Pedantic bool `json:"pedantic,omitempty"`
}

type StreamCreateResponse struct {
	Response
	*StreamInfo
	DidCreate bool `json:"did_create,omitempty"`
}

type StreamUpdateResponse struct {
	Response
	*StreamInfo
}

type StreamInfoRequest struct {
	PagedRequest
	DeletedDetails bool   `json:"deleted_details,omitempty"`
	SubjectsFilter string `json:"subjects_filter,omitempty"`
}

type StreamInfoResponse struct {
	Response
	Paging
	*StreamInfo
}

// StreamNamesRequest is the body of STREAM.NAMES and STREAM.LIST.
type StreamNamesRequest struct {
	PagedRequest
	Subject string `json:"subject,omitempty"`
}

type StreamNamesResponse struct {
	Response
	Paging
	Streams []string `json:"streams"` // null when empty
}

type StreamListResponse struct {
	Response
	Paging
	Streams []*StreamInfo     `json:"streams"` // [] when empty
	Missing []string          `json:"missing,omitempty"`
	Offline map[string]string `json:"offline,omitempty"`
}

// EmptyLists makes the lists of a reply [] instead of null.
func (r *StreamListResponse) EmptyLists() { r.Streams = []*StreamInfo{} }

// SuccessResponse answers requests that only succeed or fail: deletes, leader
// step-downs, peer removal.
type SuccessResponse struct {
	Response
	Success bool `json:"success,omitempty"`
}

type StreamPurgeRequest struct {
	Subject string `json:"filter,omitempty"`
	Seq     uint64 `json:"seq,omitempty"`
	Keep    uint64 `json:"keep,omitempty"`
}

type StreamPurgeResponse struct {
	Response
	Success bool   `json:"success,omitempty"`
	Purged  uint64 `json:"purged"`
}

// MsgGetRequest is the body of STREAM.MSG.GET and of DIRECT.GET.
type MsgGetRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	LastFor   string     `json:"last_by_subj,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	MultiLast []string   `json:"multi_last,omitempty"`
	UpToSeq   uint64     `json:"up_to_seq,omitempty"`
	UpToTime  *time.Time `json:"up_to_time,omitempty"`
	NoHeaders bool       `json:"no_hdr,omitempty"`
}

type MsgGetResponse struct {
	Response
	Message *StoredMsg `json:"message,omitempty"`
}

// StoredMsg is a message as MSG.GET shows it; headers and data in base64.
type StoredMsg struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	Header   []byte    `json:"hdrs,omitempty"`
	Data     []byte    `json:"data,omitempty"`
	Time     time.Time `json:"time"`
}

type MsgDeleteRequest struct {
	Seq     uint64 `json:"seq"`
	NoErase bool   `json:"no_erase,omitempty"`
}

type StreamSnapshotRequest struct {
	DeliverSubject string `json:"deliver_subject"`
	NoConsumers    bool   `json:"no_consumers,omitempty"`
	ChunkSize      int    `json:"chunk_size,omitempty"`
	WindowSize     int    `json:"window_size,omitempty"`
	CheckMsgs      bool   `json:"jsck,omitempty"`
}

type StreamSnapshotResponse struct {
	Response
	Config *StreamConfig `json:"config,omitempty"`
	State  *StreamState  `json:"state,omitempty"`
}

type StreamRestoreRequest struct {
	Config StreamConfig `json:"config"`
	State  StreamState  `json:"state"`
}

type StreamRestoreResponse struct {
	Response
	DeliverSubject string `json:"deliver_subject"`
}

// ConsumerCreateRequest is the body of all forms of CONSUMER.CREATE.
type ConsumerCreateRequest struct {
	Stream   string         `json:"stream_name"`
	Config   ConsumerConfig `json:"config"`
	Action   ConsumerAction `json:"action"`
	Pedantic bool           `json:"pedantic,omitempty"`
}

// ConsumerInfoResponse answers CONSUMER.CREATE and CONSUMER.INFO.
type ConsumerInfoResponse struct {
	Response
	*ConsumerInfo
}

type ConsumerNamesResponse struct {
	Response
	Paging
	Consumers []string `json:"consumers"` // [] when empty
}

type ConsumerListResponse struct {
	Response
	Paging
	Consumers []*ConsumerInfo   `json:"consumers"` // [] when empty
	Missing   []string          `json:"missing,omitempty"`
	Offline   map[string]string `json:"offline,omitempty"`
}

// EmptyLists makes the lists of a reply [] instead of null.
func (r *ConsumerNamesResponse) EmptyLists() { r.Consumers = []string{} }

// EmptyLists makes the lists of a reply [] instead of null.
func (r *ConsumerListResponse) EmptyLists() { r.Consumers = []*ConsumerInfo{} }

type ConsumerPauseRequest struct {
	PauseUntil time.Time `json:"pause_until,omitempty"`
}

type ConsumerPauseResponse struct {
	Response
	Paused         bool          `json:"paused"`
	PauseUntil     time.Time     `json:"pause_until"`
	PauseRemaining time.Duration `json:"pause_remaining,omitempty"`
}

type ConsumerUnpinRequest struct {
	Group string `json:"group"`
}

type ConsumerUnpinResponse struct{ Response }

type ConsumerResetRequest struct {
	Seq uint64 `json:"seq,omitempty"`
}

type ConsumerResetResponse struct {
	Response
	*ConsumerInfo
	ResetSeq uint64 `json:"reset_seq"`
}

type AccountPurgeResponse struct {
	Response
	Initiated bool `json:"initiated,omitempty"`
}

// AccountInfoResponse answers INFO.
type AccountInfoResponse struct {
	Response
	*AccountStats
}

// AccountStats is the usage and the limits of an account.
type AccountStats struct {
	Tier
	Domain string          `json:"domain,omitempty"`
	API    APIStats        `json:"api"`
	Tiers  map[string]Tier `json:"tiers,omitempty"`
}

// Tier is usage against the limits of one replication tier; the account's own
// when it has no tiers.
type Tier struct {
	Memory          uint64        `json:"memory"`
	Store           uint64        `json:"storage"`
	ReservedMemory  uint64        `json:"reserved_memory"`
	ReservedStorage uint64        `json:"reserved_storage"`
	Streams         int           `json:"streams"`
	Consumers       int           `json:"consumers"`
	Limits          AccountLimits `json:"limits"`
}

// AccountLimits bounds what an account may use. Bytes; -1 is unlimited, and for
// counts and stream sizes 0 is unlimited as well.
type AccountLimits struct {
	MaxMemory            int64 `json:"max_memory"`
	MaxStore             int64 `json:"max_storage"`
	MaxStreams           int   `json:"max_streams"`
	MaxConsumers         int   `json:"max_consumers"`
	MaxAckPending        int   `json:"max_ack_pending"`
	MemoryMaxStreamBytes int64 `json:"memory_max_stream_bytes"`
	StoreMaxStreamBytes  int64 `json:"storage_max_stream_bytes"`
	MaxBytesRequired     bool  `json:"max_bytes_required"`
}

// Unlimited are the limits of an account that has none.
var Unlimited = AccountLimits{
	MaxMemory: -1, MaxStore: -1, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1,
	MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
}

// APIStats counts the requests of an account that were answered.
type APIStats struct {
	Level    int    `json:"level"`
	Total    uint64 `json:"total"`
	Errors   uint64 `json:"errors"`
	Inflight uint64 `json:"inflight,omitempty"`
}

// PubAck is the answer to a publish as JSON. The publish path writes it by
// hand ([AppendPubAck]); this form is for reading it.
type PubAck struct {
	Error     *Error `json:"error,omitempty"`
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"seq"`
	Domain    string `json:"domain,omitempty"`
	Duplicate bool   `json:"duplicate,omitempty"`
	Batch     string `json:"batch,omitempty"`
	Count     int    `json:"count,omitempty"`
	Value     string `json:"val,omitempty"`
}

// IsEmpty reports whether body is an empty request: no bytes, or a JSON object
// without members.
func IsEmpty(body []byte) bool {
	if len(body) == 0 {
		return true
	}
	var members map[string]json.RawMessage
	return json.Unmarshal(body, &members) == nil && members != nil && len(members) == 0
}
