package main

import (
	"expvar"

	"github.com/natsd/natsd/server"
)

// publishMetrics makes what the reference does not count readable at /debug/vars of the monitoring port. The variables
// belong to the process, which is why the program publishes them and not the server.
func publishMetrics(s *server.Server) {
	expvar.Publish("jetstream", expvar.Func(func() any { return jetStreamMetrics(s) }))
}

// jetStreamCounts are those of JetStream since the server started.
type jetStreamCounts struct {
	// Deduplicated are the messages that were answered or skipped as duplicates.
	Deduplicated uint64 `json:"deduplicated"`
	// DedupIDs are the message ids that duplicate windows hold now.
	DedupIDs int64 `json:"dedup_ids"`
}

func jetStreamMetrics(s *server.Server) *jetStreamCounts {
	js := s.JetStream()
	if js == nil {
		return nil
	}
	return &jetStreamCounts{js.Duplicates(), js.DedupIDs()}
}
