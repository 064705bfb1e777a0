package server

import "github.com/natsd/natsd/server/msgtrace"

// SendTrace publishes the report of a traced message.
func (h *host) SendTrace(t *msgtrace.Trace, r *msgtrace.Report) {
	(*Server)(h).sendTrace(t, r)
}

func (s *Server) sendTrace(t *msgtrace.Trace, r *msgtrace.Report) {}
