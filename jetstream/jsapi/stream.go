package jsapi

import "time"

// StreamConfig is the configuration of a stream. See [CheckStream] for
// defaults and validation. Integer limits: -1 is unlimited. Durations are in
// nanoseconds on the wire.
type StreamConfig struct {
	Name                   string            `json:"name"`
	Description            string            `json:"description,omitempty"`
	Subjects               []string          `json:"subjects,omitempty"`
	Retention              RetentionPolicy   `json:"retention"`
	MaxConsumers           int               `json:"max_consumers"`
	MaxMsgs                int64             `json:"max_msgs"`
	MaxBytes               int64             `json:"max_bytes"`
	MaxAge                 time.Duration     `json:"max_age"`
	MaxMsgsPerSubject      int64             `json:"max_msgs_per_subject"`
	MaxMsgSize             int32             `json:"max_msg_size,omitempty"`
	Discard                DiscardPolicy     `json:"discard"`
	DiscardNewPerSubject   bool              `json:"discard_new_per_subject,omitempty"`
	Storage                StorageType       `json:"storage"`
	Replicas               int               `json:"num_replicas"`
	NoAck                  bool              `json:"no_ack,omitempty"`
	DuplicateWindow        time.Duration     `json:"duplicate_window,omitempty"`
	Placement              *Placement        `json:"placement,omitempty"`
	Mirror                 *StreamSource     `json:"mirror,omitempty"`
	Sources                []*StreamSource   `json:"sources,omitempty"`
	Compression            Compression       `json:"compression"`
	FirstSeq               uint64            `json:"first_seq,omitempty"`
	SubjectTransform       *SubjectTransform `json:"subject_transform,omitempty"`
	Republish              *Republish        `json:"republish,omitempty"`
	AllowDirect            bool              `json:"allow_direct"`
	MirrorDirect           bool              `json:"mirror_direct"`
	Sealed                 bool              `json:"sealed"`
	DenyDelete             bool              `json:"deny_delete"`
	DenyPurge              bool              `json:"deny_purge"`
	AllowRollup            bool              `json:"allow_rollup_hdrs"`
	ConsumerLimits         ConsumerLimits    `json:"consumer_limits"`
	AllowMsgTTL            bool              `json:"allow_msg_ttl"`
	SubjectDeleteMarkerTTL time.Duration     `json:"subject_delete_marker_ttl,omitempty"`
	AllowMsgCounter        bool              `json:"allow_msg_counter,omitempty"`
	AllowAtomic            bool              `json:"allow_atomic,omitempty"`
	AllowMsgSchedules      bool              `json:"allow_msg_schedules,omitempty"`
	PersistMode            PersistMode       `json:"persist_mode,omitempty"`
	AllowBatched           bool              `json:"allow_batched,omitempty"`
	Metadata               map[string]string `json:"metadata,omitempty"`
}

// ConsumerLimits are defaults and maxima for the consumers of a stream.
type ConsumerLimits struct {
	InactiveThreshold time.Duration `json:"inactive_threshold,omitempty"`
	MaxAckPending     int           `json:"max_ack_pending,omitempty"`
}

// Placement directs a stream to servers of a cluster.
type Placement struct {
	Cluster   string   `json:"cluster,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	Preferred string   `json:"preferred,omitempty"`
}

// StreamSource is the origin of a mirror, or one source.
type StreamSource struct {
	Name              string              `json:"name"`
	OptStartSeq       uint64              `json:"opt_start_seq,omitempty"`
	OptStartTime      *time.Time          `json:"opt_start_time,omitempty"`
	FilterSubject     string              `json:"filter_subject,omitempty"`
	SubjectTransforms []SubjectTransform  `json:"subject_transforms,omitempty"`
	External          *ExternalStream     `json:"external,omitempty"`
	Consumer          *StreamConsumerName `json:"consumer,omitempty"`
}

// ExternalStream says where an origin outside of the account's API is found.
type ExternalStream struct {
	APIPrefix     string `json:"api"`
	DeliverPrefix string `json:"deliver"`
}

// StreamConsumerName is a consumer on the origin that the user made beforehand.
type StreamConsumerName struct {
	Name           string `json:"name,omitempty"`
	DeliverSubject string `json:"deliver_subject,omitempty"`
}

// SubjectTransform maps subjects that match Source to Destination.
type SubjectTransform struct {
	Source      string `json:"src"`
	Destination string `json:"dest"`
}

// Republish says what is published again after it was stored.
type Republish struct {
	Source      string `json:"src,omitempty"`
	Destination string `json:"dest"`
	HeadersOnly bool   `json:"headers_only,omitempty"`
}

// StreamState is what a stream holds, up to its visible position.
type StreamState struct {
	Msgs        uint64            `json:"messages"`
	Bytes       uint64            `json:"bytes"`
	FirstSeq    uint64            `json:"first_seq"`
	FirstTime   time.Time         `json:"first_ts"`
	LastSeq     uint64            `json:"last_seq"`
	LastTime    time.Time         `json:"last_ts"`
	NumSubjects int               `json:"num_subjects,omitempty"`
	Subjects    map[string]uint64 `json:"subjects,omitempty"`
	NumDeleted  int               `json:"num_deleted,omitempty"`
	Deleted     []uint64          `json:"deleted,omitempty"`
	Lost        *LostData         `json:"lost,omitempty"`
	Consumers   int               `json:"consumer_count"`
}

// LostData reports damage: the sequences and bytes that could not be read back.
type LostData struct {
	Msgs  []uint64 `json:"msgs"`
	Bytes uint64   `json:"bytes"`
}

// StreamInfo is what API replies tell about a stream.
type StreamInfo struct {
	Config     StreamConfig        `json:"config"`
	Created    time.Time           `json:"created"`
	State      StreamState         `json:"state"`
	Domain     string              `json:"domain,omitempty"`
	Cluster    *ClusterInfo        `json:"cluster,omitempty"`
	Mirror     *StreamSourceInfo   `json:"mirror,omitempty"`
	Sources    []*StreamSourceInfo `json:"sources,omitempty"`
	Alternates []StreamAlternate   `json:"alternates,omitempty"`
	Time       time.Time           `json:"ts"`
}

// StreamSourceInfo is the state of a mirror or of one source.
type StreamSourceInfo struct {
	Name              string             `json:"name"`
	External          *ExternalStream    `json:"external,omitempty"`
	Lag               uint64             `json:"lag"`
	Active            time.Duration      `json:"active"` // since the last message or heartbeat; -1: never
	Error             *Error             `json:"error,omitempty"`
	FilterSubject     string             `json:"filter_subject,omitempty"`
	SubjectTransforms []SubjectTransform `json:"subject_transforms,omitempty"`
}

// StreamAlternate is a mirror of a stream, or the stream itself.
type StreamAlternate struct {
	Name    string `json:"name"`
	Domain  string `json:"domain,omitempty"`
	Cluster string `json:"cluster"`
}

// ClusterInfo says where an asset lives.
type ClusterInfo struct {
	Name           string       `json:"name,omitempty"`
	RaftGroup      string       `json:"raft_group,omitempty"`
	Leader         string       `json:"leader,omitempty"`
	LeaderSince    *time.Time   `json:"leader_since,omitempty"`
	SystemAccount  bool         `json:"system_account,omitempty"`
	TrafficAccount string       `json:"traffic_account,omitempty"`
	Replicas       []*PeerInfo  `json:"replicas,omitempty"`
	Desired        *DesiredInfo `json:"desired,omitempty"`
}

// PeerInfo is a replica as its leader sees it.
type PeerInfo struct {
	Name    string        `json:"name"`
	Current bool          `json:"current"`
	Offline bool          `json:"offline,omitempty"`
	Active  time.Duration `json:"active"`
	Lag     uint64        `json:"lag,omitempty"`
	Peer    string        `json:"peer"`
	Pending bool          `json:"pending,omitempty"`
}

// DesiredInfo describes a reconfiguration in progress.
type DesiredInfo struct {
	Name     string         `json:"name,omitempty"`
	Replicas []*PeerInfo    `json:"replicas,omitempty"`
	Origin   *DesiredOrigin `json:"origin,omitempty"`
	Status   *DesiredStatus `json:"status,omitempty"`
}

// DesiredOrigin is what a cancelled reconfiguration goes back to.
type DesiredOrigin struct {
	Replicas  int        `json:"replicas"`
	Placement *Placement `json:"placement,omitempty"`
	Retention string     `json:"retention,omitempty"`
}

// DesiredStatus says how far a reconfiguration is.
type DesiredStatus struct {
	Description string `json:"description"`
	Type        string `json:"type"`
	Err         string `json:"err,omitempty"`
}
