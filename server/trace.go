package server

import (
	"encoding/json"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/events"
	"github.com/natsd/natsd/server/msgtrace"
)

// SendTrace publishes the report of a traced message.
func (h *host) SendTrace(t *msgtrace.Trace, r *msgtrace.Report) {
	s := (*Server)(h)
	a := s.accounts.Get(t.Account)
	if a == nil {
		return
	}
	r.Server = s.infoJSON()
	body, err := json.Marshal(r)
	if err != nil {
		s.log.Errorf("Message trace to %q: %v", t.Dest, err)
		return
	}
	var header []byte
	if t.Encoding != "" {
		if body, err = events.Compress(t.Encoding, body); err != nil {
			s.log.Errorf("Message trace to %q: %v", t.Dest, err)
			return
		}
		header = natsproto.SetHeader(nil, "Content-Encoding", t.Encoding)
	}
	pub := account.NewPublisher(a, account.System)
	pub.Publish([]byte(t.Dest), nil, header, body)
	pub.Flush()
}
