package server

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/natsd/natsd/server/events"
	"github.com/natsd/natsd/server/version"
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

// Info describes the server for one system message; each call gives the next sequence number.
func (s *Server) Info() events.ServerInfo {
	i := s.describe()
	i.Seq, i.Time = s.seq.Add(1), time.Now().UTC()
	return i
}

func (s *Server) describe() events.ServerInfo {
	o := s.Options()
	host, _ := s.advertised(o)
	i := events.ServerInfo{
		Name: s.Name(), Host: host, ID: s.id, Cluster: s.clusterName(), Domain: o.JetStream.Domain,
		Version: version.Compatible, Tags: o.ServerTags, Metadata: o.ServerMetadata, FeatureFlags: s.FeatureFlags(),
		JetStream: o.JetStream.Enabled,
	}
	if i.JetStream {
		i.Flags |= events.FlagJetStream | events.FlagBinarySnapshots
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
