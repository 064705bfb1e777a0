package events

import "time"

// ServerInfo is what every system message says about its server. The order of the members is that on the wire.
type ServerInfo struct {
	Name         string            `json:"name"`
	Host         string            `json:"host"`
	ID           string            `json:"id"`
	Cluster      string            `json:"cluster,omitempty"`
	Domain       string            `json:"domain,omitempty"`
	Version      string            `json:"ver"`
	Tags         []string          `json:"tags,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	FeatureFlags map[string]bool   `json:"feature_flags,omitempty"`
	JetStream    bool              `json:"jetstream"`
	Flags        uint64            `json:"flags"`
	Seq          uint64            `json:"seq"`
	Time         time.Time         `json:"time"`
}

// Bits of ServerInfo.Flags.
const (
	FlagJetStream       = 1 << iota // JetStream is enabled
	FlagBinarySnapshots             // stream snapshots are binary
	FlagAccountRaft                 // Raft traffic goes through accounts
)
