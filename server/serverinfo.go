package server

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/natsd/natsd/server/version"
)

// Info is what every system message says about its server. The order of the
// members is that on the wire.
type Info struct {
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

// Bits of Info.Flags.
const (
	flagJetStream       = 1 << iota // JetStream is enabled
	flagBinarySnapshots             // stream snapshots are binary
	flagAccountRaft                 // Raft traffic goes through accounts
)

// featureFlags are those that exist, with their defaults.
var featureFlags = map[string]bool{
	"js_ack_fc_v2":         false,
	"js_raft_delete_range": false,
	"js_snapshot_sources":  false,
}

// FeatureFlags are the known ones with their effective values.
func (s *Server) FeatureFlags() map[string]bool {
	m := maps.Clone(featureFlags)
	for name, on := range s.Options().FeatureFlags {
		if _, known := m[name]; known {
			m[name] = on
		}
	}
	return m
}

// Info describes the server for one system message; each call gives the next
// sequence number.
func (s *Server) Info() Info {
	o := s.Options()
	host, _ := s.advertised(o)
	i := Info{
		Name: s.Name(), Host: host, ID: s.id, Cluster: s.clusterName(), Domain: o.JetStream.Domain,
		Version: version.Compatible, Tags: o.ServerTags, Metadata: o.ServerMetadata, FeatureFlags: s.FeatureFlags(),
		JetStream: o.JetStream.Enabled, Seq: s.seq.Add(1), Time: time.Now().UTC(),
	}
	if i.JetStream {
		i.Flags |= flagJetStream | flagBinarySnapshots
	}
	return i
}

func (s *Server) infoJSON() json.RawMessage {
	b, err := json.Marshal(s.Info())
	if err != nil {
		return json.RawMessage("{}") // strings and numbers only: cannot be
	}
	return b
}
