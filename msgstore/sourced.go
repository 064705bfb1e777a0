package msgstore

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/natsd/natsd/msgstore/internal/record"
)

// sourced is how far a source had come when the stream's last message was at.
type sourced struct {
	SourceProgress
	at uint64
}

// trackSource notes how far a source has come. Of a message that is not new a
// later one or sources.db may have told more.
func (s *store) trackSource(r *record.Record, isNew bool) {
	v, ok := headerValue(r.Header, hdrSource)
	if !ok {
		return
	}
	name, seq, identity, ok := parseSource(v)
	if ok && slices.Contains(s.cfg.Sources, name) && (isNew || r.Seq > s.source[name].at) {
		s.source[name] = sourced{SourceProgress{Seq: seq, Identity: identity}, r.Seq}
	}
}

// parseSource reads a Nats-Stream-Source header: origin, sequence, filters,
// destinations, and since 2.10 the original subject, since 2.15 the identity.
// The index name is made of the first, third and fourth field.
func parseSource(v []byte) (name string, seq uint64, identity string, ok bool) {
	f := bytes.Fields(v)
	if len(f) < 4 {
		return "", 0, "", false
	}
	seq, err := strconv.ParseUint(string(f[1]), 10, 64)
	if err != nil {
		return "", 0, "", false
	}
	if len(f) > 5 {
		identity = string(f[5])
	}
	return string(f[0]) + " " + string(f[2]) + " " + string(f[3]), seq, identity, true
}

// SourceProgress implements Store.
func (s *store) SourceProgress() map[string]SourceProgress {
	s.mu.RLock()
	defer s.mu.RUnlock()
	m := make(map[string]SourceProgress, len(s.source))
	for name, p := range s.source {
		if p.Seq > 0 {
			m[name] = p.SourceProgress
		}
	}
	return m
}

// SetSourceProgress implements Store.
func (s *store) SetSourceProgress(m map[string]SourceProgress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.source)
	for name, p := range m {
		s.source[name] = sourced{p, s.last.seq}
	}
	if s.disk != nil {
		s.disk.changes++
	}
}

// PassSource implements Store.
func (s *store) PassSource(name string, p SourceProgress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.source[name]
	if !slices.Contains(s.cfg.Sources, name) || q.Identity == p.Identity && q.Seq >= p.Seq {
		return
	}
	s.source[name] = sourced{p, s.last.seq}
	if s.disk != nil {
		s.disk.changes++
	}
}
