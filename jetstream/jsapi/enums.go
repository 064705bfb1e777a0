package jsapi

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// The enumerations of the API. Each is written as a string; a value that is
// not in its list fails to parse with the text of the reference.

// RetentionPolicy says when messages go before a limit makes them.
type RetentionPolicy uint8

const (
	LimitsPolicy    RetentionPolicy = iota // only by limits
	InterestPolicy                         // when all interested consumers have acknowledged
	WorkQueuePolicy                        // when the one matching consumer has acknowledged
)

// StorageType says where a stream lives.
type StorageType uint8

const (
	FileStorage StorageType = iota
	MemoryStorage
)

// DiscardPolicy says which message gives way at a limit.
type DiscardPolicy uint8

const (
	DiscardOld DiscardPolicy = iota
	DiscardNew
)

// Compression of sealed blocks.
type Compression uint8

const (
	NoCompression Compression = iota
	S2Compression
)

// PersistMode says when a publish is acknowledged.
type PersistMode uint8

const (
	PersistDefault PersistMode = iota
	PersistAsync               // from memory, before the write
)

// DeliverPolicy says where a consumer begins.
type DeliverPolicy uint8

const (
	DeliverAll DeliverPolicy = iota
	DeliverLast
	DeliverNew
	DeliverByStartSequence
	DeliverByStartTime
	DeliverLastPerSubject
)

// AckPolicy says what an acknowledgement covers.
type AckPolicy uint8

const (
	AckNone AckPolicy = iota
	AckAll
	AckExplicit
	AckFlowControl
)

// ReplayPolicy says how fast stored messages are delivered.
type ReplayPolicy uint8

const (
	ReplayInstant ReplayPolicy = iota
	ReplayOriginal
)

// PriorityPolicy says which waiting pull request of a group is served.
type PriorityPolicy uint8

const (
	PriorityNone PriorityPolicy = iota
	PriorityOverflow
	PriorityPinnedClient
	PriorityPrioritized
)

// ConsumerAction says what a consumer create request may do.
type ConsumerAction uint8

const (
	ActionCreateOrUpdate ConsumerAction = iota
	ActionCreate
	ActionUpdate
)

var (
	retentionNames   = []string{"limits", "interest", "workqueue"}
	storageNames     = []string{"file", "memory"}
	discardNames     = []string{"old", "new"}
	compressionNames = []string{"none", "s2"}
	persistNames     = []string{"default", "async"}
	deliverNames     = []string{"all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"}
	ackNames         = []string{"none", "all", "explicit", "flow_control"}
	replayNames      = []string{"instant", "original"}
	priorityNames    = []string{"none", "overflow", "pinned_client", "prioritized"}
	actionNames      = []string{"", "create", "update"}
)

func (p RetentionPolicy) String() string { return nameOf(retentionNames, int(p)) }
func (t StorageType) String() string     { return nameOf(storageNames, int(t)) }
func (p DiscardPolicy) String() string   { return nameOf(discardNames, int(p)) }
func (c Compression) String() string     { return nameOf(compressionNames, int(c)) }
func (m PersistMode) String() string     { return nameOf(persistNames, int(m)) }
func (p DeliverPolicy) String() string   { return nameOf(deliverNames, int(p)) }
func (p AckPolicy) String() string       { return nameOf(ackNames, int(p)) }
func (p ReplayPolicy) String() string    { return nameOf(replayNames, int(p)) }
func (p PriorityPolicy) String() string  { return nameOf(priorityNames, int(p)) }
func (a ConsumerAction) String() string  { return nameOf(actionNames, int(a)) }

func (p RetentionPolicy) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }
func (t StorageType) MarshalJSON() ([]byte, error)     { return json.Marshal(t.String()) }
func (p DiscardPolicy) MarshalJSON() ([]byte, error)   { return json.Marshal(p.String()) }
func (c Compression) MarshalJSON() ([]byte, error)     { return json.Marshal(c.String()) }
func (m PersistMode) MarshalJSON() ([]byte, error)     { return json.Marshal(m.String()) }
func (p DeliverPolicy) MarshalJSON() ([]byte, error)   { return json.Marshal(p.String()) }
func (p AckPolicy) MarshalJSON() ([]byte, error)       { return json.Marshal(p.String()) }
func (p ReplayPolicy) MarshalJSON() ([]byte, error)    { return json.Marshal(p.String()) }
func (p PriorityPolicy) MarshalJSON() ([]byte, error)  { return json.Marshal(p.String()) }
func (a ConsumerAction) MarshalJSON() ([]byte, error)  { return json.Marshal(a.String()) }

func (p *RetentionPolicy) UnmarshalJSON(b []byte) error {
	return parseName((*uint8)(p), retentionNames, b)
}
func (t *StorageType) UnmarshalJSON(b []byte) error { return parseName((*uint8)(t), storageNames, b) }
func (p *DiscardPolicy) UnmarshalJSON(b []byte) error {
	return parseName((*uint8)(p), discardNames, b)
}
func (p *ReplayPolicy) UnmarshalJSON(b []byte) error { return parseName((*uint8)(p), replayNames, b) }
func (p *AckPolicy) UnmarshalJSON(b []byte) error    { return parseName((*uint8)(p), ackNames, b) }

func (c *Compression) UnmarshalJSON(b []byte) error {
	if parseName((*uint8)(c), compressionNames, b) != nil {
		return fmt.Errorf("unknown compression algorithm")
	}
	return nil
}

func (m *PersistMode) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte(`""`)) {
		*m = PersistDefault
		return nil
	}
	return parseName((*uint8)(m), persistNames, b)
}

func (p *DeliverPolicy) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte(`"undefined"`)) {
		*p = DeliverAll
		return nil
	}
	return parseName((*uint8)(p), deliverNames, b)
}

func (p *PriorityPolicy) UnmarshalJSON(b []byte) error {
	if parseName((*uint8)(p), priorityNames, b) != nil {
		return fmt.Errorf("unknown priority policy: %s", b)
	}
	return nil
}

func (a *ConsumerAction) UnmarshalJSON(b []byte) error {
	if parseName((*uint8)(a), actionNames, b) != nil {
		return fmt.Errorf("unknown consumer action: %s", b)
	}
	return nil
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("unknown(%d)", i)
}

// parseName sets v to the index of the JSON string b in names. JSON null leaves
// v alone, as it does for every Go type.
func parseName(v *uint8, names []string, b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	for i, name := range names {
		if len(b) == len(name)+2 && b[0] == '"' && string(b[1:len(b)-1]) == name {
			*v = uint8(i)
			return nil
		}
	}
	return fmt.Errorf("can not unmarshal %q", b)
}
