package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// batches is n messages in batches, sent by a lean client.
type batches struct {
	payload []byte
	n       int
	size    int // of an atomic batch
}

// batchWindow is how many atomic batches wait for their acks.
const batchWindow = 16

// start creates the stream and connects.
func (b batches) start(ctx context.Context, srv *Server) (*leanConn, error) {
	if err := request(ctx, srv, "$JS.API.STREAM.CREATE.S0", `{"name":"S0","subjects":["js.*"],"allow_atomic":true,"allow_batched":true}`); err != nil {
		return nil, err
	}
	return dialLean(ctx, srv.Addr, "SUB _INBOX.bench.> 1\r\n")
}

// request asks the API for something and fails on an error in the answer.
func request(ctx context.Context, srv *Server, subject, body string) error {
	nc, _, err := connectJS(srv)
	if err != nil {
		return err
	}
	defer nc.Close()
	m, err := nc.RequestWithContext(ctx, subject, []byte(body))
	if err == nil && bytes.Contains(m.Data, []byte(`"error"`)) {
		err = fmt.Errorf("%s: %s", subject, m.Data)
	}
	return err
}

func (b batches) atomic(ctx context.Context, srv *Server) (Load, error) {
	c, err := b.start(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer c.Close()
	count := b.n / b.size
	return measured(srv, count*b.size, func() error {
		var out []byte
		wait := func() error {
			_, body, err := c.readAck()
			if err == nil && !bytes.Contains(body, fmt.Appendf(nil, `"count":%d`, b.size)) {
				err = fmt.Errorf("batch: %s", body)
			}
			return err
		}
		for i := range count {
			if i >= batchWindow {
				if err := wait(); err != nil {
					return err
				}
			}
			out = out[:0]
			for k := 1; k <= b.size; k++ {
				head := fmt.Appendf(nil, "NATS/1.0\r\nNats-Batch-Id: %d\r\nNats-Batch-Sequence: %d\r\n", i, k)
				out = append(out, "HPUB js.0 "...)
				if k == b.size {
					head = append(head, "Nats-Batch-Commit: 1\r\n"...)
					out = fmt.Appendf(out, "_INBOX.bench.%d ", i)
				}
				out = fmt.Appendf(out, "%d %d\r\n%s\r\n%s\r\n", len(head)+2, len(head)+2+len(b.payload), head, b.payload)
			}
			if _, err := c.Write(out); err != nil {
				return err
			}
		}
		for range min(count, batchWindow) {
			if err := wait(); err != nil {
				return err
			}
		}
		return nil
	})
}

// fastFlow is how many messages of a fast-ingest batch the client wants for each ack.
const fastFlow = 500

func (b batches) fast(ctx context.Context, srv *Server) (Load, error) {
	c, err := b.start(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer c.Close()
	return measured(srv, b.n, func() error {
		var out []byte
		acked := 0
		for sent := 0; acked < b.n; {
			out = out[:0]
			for ; sent < b.n && sent < acked+8*fastFlow && len(out) < leanBuffer; sent++ {
				op := 1
				switch sent + 1 {
				case 1:
					op = 0
				case b.n:
					op = 2
				}
				out = append(out, "PUB js.0 _INBOX.bench.1."...)
				out = strconv.AppendInt(out, fastFlow, 10)
				out = append(out, ".fail."...)
				out = strconv.AppendInt(out, int64(sent+1), 10)
				out = append(out, '.', byte('0'+op))
				out = append(out, ".$FI "...)
				out = strconv.AppendInt(out, int64(len(b.payload)), 10)
				out = append(append(append(out, "\r\n"...), b.payload...), "\r\n"...)
			}
			if len(out) > 0 {
				if _, err := c.Write(out); err != nil {
					return err
				}
				if sent < b.n && sent < acked+8*fastFlow {
					continue
				}
			}
			_, body, err := c.readAck()
			if err != nil {
				return err
			}
			var a struct {
				Type  string          `json:"type"`
				Seq   int             `json:"seq"`
				Count int             `json:"count"`
				Error json.RawMessage `json:"error"`
			}
			if err := json.Unmarshal(body, &a); err != nil || a.Error != nil {
				return fmt.Errorf("fast batch: %s", body)
			}
			switch {
			case a.Type == "ack":
				acked = a.Seq
			case a.Type == "" && a.Count == b.n:
				acked = b.n
			default:
				return fmt.Errorf("fast batch: %s", body)
			}
		}
		return nil
	})
}
