package server

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"

	"github.com/klauspost/compress/s2"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
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
		if body, err = compress(t.Encoding, body); err != nil {
			s.log.Errorf("Message trace to %q: %v", t.Dest, err)
			return
		}
		header = natsproto.SetHeader(nil, "Content-Encoding", t.Encoding)
	}
	pub := account.NewPublisher(a, account.System)
	pub.Publish([]byte(t.Dest), nil, header, body)
	pub.Flush()
}

// compress encodes b for a header Content-Encoding.
func compress(encoding string, b []byte) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "snappy":
		w = s2.NewWriter(&out, s2.WriterSnappyCompat())
	default:
		return b, nil
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
