package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// pushing is push consumers that deliver to one lean connection.
type pushing struct {
	payload   []byte
	n         int // messages
	consumers int
	flow      bool // with flow control
	filtered  bool // each message is for one consumer; else for all of them
	stored    bool // the messages are there before the consumers; else they come while these wait
}

func (p pushing) run(ctx context.Context, srv *Server) (Load, error) {
	want := p.n
	if !p.filtered {
		want *= p.consumers
	}
	r := reading{payload: p.payload}
	if p.stored {
		r.n = p.n
	}
	nc, _, _, err := r.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	// Interest in a deliver subject must be literal: a wildcard does not count.
	var subs strings.Builder
	for i := range p.consumers {
		fmt.Fprintf(&subs, "SUB push.%d %d\r\n", i, i+1)
	}
	c, err := dialLean(ctx, srv.Addr, subs.String())
	if err != nil {
		return Load{}, err
	}
	defer c.Close()
	before, err := srv.CPU()
	if err != nil {
		return Load{}, err
	}
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- c.receivePushed(p.payload, want) }()
	if err := p.create(ctx, srv); err != nil {
		return Load{}, err
	}
	if !p.stored {
		pub, err := dialLean(ctx, srv.Addr, "SUB _INBOX.bench.* 1\r\n")
		if err != nil {
			return Load{}, err
		}
		defer pub.Close()
		if before, err = srv.CPU(); err != nil {
			return Load{}, err
		}
		began = time.Now()
		// The stream is one, its subjects are many.
		if err := pub.publishSpread(p.n, p.consumers, p.payload); err != nil {
			return Load{}, err
		}
	}
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return Load{}, err
	}
	return finish(srv, before, want, time.Since(began))
}

// creators is how many consumers are created at a time.
const creators = 64

func (p pushing) create(ctx context.Context, srv *Server) error {
	nc, _, err := connectJS(srv)
	if err != nil {
		return err
	}
	defer nc.Close()
	extra := ""
	if p.flow {
		extra = `,"flow_control":true,"idle_heartbeat":5000000000`
	}
	var wg sync.WaitGroup
	errs := make(chan error, creators)
	for g := range creators {
		wg.Go(func() {
			for i := g; i < p.consumers; i += creators {
				config := fmt.Sprintf(`{"stream_name":"S0","config":{"deliver_subject":"push.%d","ack_policy":"none"%s`, i, extra)
				if p.filtered {
					config += fmt.Sprintf(`,"filter_subject":"js.%d"`, i)
				}
				m, err := nc.RequestWithContext(ctx, "$JS.API.CONSUMER.CREATE.S0", []byte(config+"}}"))
				if err == nil && bytes.Contains(m.Data, []byte(`"error"`)) {
					err = fmt.Errorf("create consumer: %s", m.Data)
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// publishSpread publishes n messages to the subjects js.0 ... js.<subjects-1> in
// turn, and waits for the ack of every 1,000th.
func (c *leanConn) publishSpread(n, subjects int, payload []byte) error {
	const every, window = 1000, 8
	var out []byte
	waiting := 0
	for i := range n {
		reply := noReply
		if i%every == every-1 || i == n-1 {
			reply = i
			waiting++
		}
		out = appendPub(out, i%subjects, reply, payload)
		if i%every != every-1 && i != n-1 {
			continue
		}
		if _, err := c.Write(out); err != nil {
			return err
		}
		out = out[:0]
		for waiting > window || i == n-1 && waiting > 0 {
			if _, body, err := c.readAck(); err != nil || bytes.Contains(body, []byte(`"error"`)) {
				return fmt.Errorf("publish: %s %w", body, err)
			}
			waiting--
		}
	}
	return nil
}

// lastNumber is the number that a line of the protocol ends in.
func lastNumber(line []byte) (int, error) {
	return strconv.Atoi(string(bytes.TrimSpace(line[bytes.LastIndexByte(line, ' ')+1:])))
}

// receivePushed takes n messages, checks their payload, and answers flow control.
func (c *leanConn) receivePushed(payload []byte, n int) error {
	for got := 0; got < n; {
		head, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(head, []byte("MSG ")):
			size, err := lastNumber(head)
			if err != nil {
				return fmt.Errorf("line %q", head)
			}
			body, err := c.r.Peek(size + 2)
			if err != nil {
				return err
			}
			if !bytes.Equal(body[:size], payload) {
				return fmt.Errorf("wrong content: %.40q", body)
			}
			c.r.Discard(size + 2)
			got++
		case bytes.HasPrefix(head, []byte("HMSG ")):
			// HMSG <subject> <sid> [reply] <header size> <size>: a flow control request
			// has a reply, a heartbeat has none.
			size, err := lastNumber(head)
			if err != nil {
				return fmt.Errorf("line %q", head)
			}
			f := bytes.Fields(head)
			reply := ""
			if len(f) == 6 {
				reply = string(f[3])
			}
			if _, err := c.r.Discard(size + 2); err != nil {
				return err
			}
			if reply != "" {
				if _, err := fmt.Fprintf(c, "PUB %s 0\r\n\r\n", reply); err != nil {
					return err
				}
			}
		default:
			if err := c.controlLine(head); err != nil {
				return err
			}
		}
	}
	return nil
}
