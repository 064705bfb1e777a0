package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// resting is assets that do nothing, and what they weigh.
type resting struct {
	n    int
	rest time.Duration
}

// weigh makes the assets, lets them rest, and says what each adds to the server's
// resident memory.
func (r resting) weigh(ctx context.Context, srv *Server, prepare func() error, create func(i int) error) (Load, error) {
	if err := prepare(); err != nil {
		return Load{}, err
	}
	if err := pause(ctx, time.Second); err != nil {
		return Load{}, err
	}
	empty, err := srv.RSS()
	if err != nil {
		return Load{}, err
	}
	load, err := timed(srv, r.n, create)
	if err != nil {
		return load, err
	}
	if err := pause(ctx, r.rest); err != nil {
		return load, err
	}
	full, err := srv.RSS()
	load.PerUnit = float64(full-empty) / float64(r.n)
	return load, err
}

func (r resting) streams(ctx context.Context, srv *Server) (Load, error) {
	nc, js, err := connectJS(srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	return r.weigh(ctx, srv, func() error { return nil }, func(i int) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: fmt.Sprintf("S%d", i), Subjects: []string{fmt.Sprintf("js.%d", i)}})
		return err
	})
}

func (r resting) consumers(ctx context.Context, srv *Server) (Load, error) {
	nc, js, err := connectJS(srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	var s jetstream.Stream
	return r.weigh(ctx, srv, func() (err error) {
		s, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"js.>"}})
		return err
	}, func(i int) error {
		_, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: fmt.Sprintf("C%d", i), AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: fmt.Sprintf("js.%d", i)})
		return err
	})
}

// replaying is n publishes beside a stream full of old messages.
type replaying struct {
	payload []byte
	old, n  int
}

func (r replaying) quiet(ctx context.Context, srv *Server) (Load, error) {
	return r.run(ctx, srv, false)
}

func (r replaying) replayed(ctx context.Context, srv *Server) (Load, error) {
	return r.run(ctx, srv, true)
}

func (r replaying) run(ctx context.Context, srv *Server, replay bool) (Load, error) {
	nc, js, s, err := reading{}.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	if err := store(ctx, srv, r.old, r.payload); err != nil {
		return Load{}, err
	}
	ended := make(chan error, 1)
	if replay {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		// Again and again, on connections of their own, for as long as it takes.
		go func() {
			for ctx.Err() == nil {
				if err := r.replayOnce(ctx, srv); err != nil && ctx.Err() == nil {
					ended <- err
					return
				}
			}
		}()
	}
	load, err := timed(srv, r.n, func(int) error {
		_, err := js.Publish(ctx, "js.new", r.payload)
		return err
	})
	select {
	case failed := <-ended:
		err = errors.Join(err, failed)
	default:
	}
	if err == nil {
		info, infoErr := s.Info(ctx)
		if err = infoErr; err == nil && info.State.Msgs != uint64(r.old+r.n) {
			err = fmt.Errorf("the stream holds %d messages, not %d", info.State.Msgs, r.old+r.n)
		}
	}
	return load, err
}

// replayOnce reads the old messages with a push consumer.
func (r replaying) replayOnce(ctx context.Context, srv *Server) error {
	c, err := dialLean(ctx, srv.Addr, "SUB push.0 1\r\n")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := (pushing{consumers: 1, flow: true}).create(ctx, srv); err != nil {
		return err
	}
	return c.receivePushed(r.payload, r.old)
}

// start measures from the start of the process until it knows the stream.
func (r reading) start(ctx context.Context, srv *Server) (Load, error) {
	nc, _, _, err := r.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	nc.Close()
	srv.Halt()
	began := time.Now()
	if err := srv.Start(ctx); err != nil {
		return Load{}, err
	}
	nc, js, err := connectJS(srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	s, err := js.Stream(ctx, "S0")
	if err != nil {
		return Load{}, err
	}
	if n := s.CachedInfo().State.Msgs; n != uint64(r.n) {
		return Load{}, fmt.Errorf("%d messages after the start, %d before", n, r.n)
	}
	return finish(srv, 0, r.n, time.Since(began))
}

// leanDirectGet gets messages by sequence, one after the other.
func (r reading) leanDirectGet(ctx context.Context, srv *Server) (Load, error) {
	nc, _, _, err := r.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	c, err := dialLean(ctx, srv.Addr, "SUB _INBOX.get 1\r\n")
	if err != nil {
		return Load{}, err
	}
	defer c.Close()
	return timed(srv, r.n, func(i int) error {
		body := fmt.Sprintf(`{"seq":%d}`, i+1)
		if _, err := fmt.Fprintf(c, "PUB $JS.API.DIRECT.GET.S0 _INBOX.get %d\r\n%s\r\n", len(body), body); err != nil {
			return err
		}
		data, err := c.readHeadered()
		if err == nil && !bytes.Equal(data, r.payload) {
			err = errors.New("wrong content")
		}
		return err
	})
}

// leanBatchGet gets all messages in batches of 500.
func (r reading) leanBatchGet(ctx context.Context, srv *Server) (Load, error) {
	const size = 500
	nc, _, _, err := r.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	c, err := dialLean(ctx, srv.Addr, "SUB _INBOX.get 1\r\n")
	if err != nil {
		return Load{}, err
	}
	defer c.Close()
	return measured(srv, r.n, func() error {
		for got := 0; got < r.n; {
			body := fmt.Sprintf(`{"seq":%d,"batch":%d}`, got+1, size)
			if _, err := fmt.Fprintf(c, "PUB $JS.API.DIRECT.GET.S0 _INBOX.get %d\r\n%s\r\n", len(body), body); err != nil {
				return err
			}
			for {
				data, err := c.readHeadered()
				if err != nil {
					return err
				}
				if len(data) == 0 {
					break // the end of the batch
				}
				if !bytes.Equal(data, r.payload) {
					return errors.New("wrong content")
				}
				got++
			}
		}
		return nil
	})
}

// readHeadered reads a message with headers and returns its payload, which is valid
// until the next read.
func (c *leanConn) readHeadered() ([]byte, error) {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(line, []byte("HMSG ")) {
			if err := c.controlLine(line); err != nil {
				return nil, err
			}
			continue
		}
		f := bytes.Fields(line)
		head, err1 := strconv.Atoi(string(f[len(f)-2]))
		size, err2 := strconv.Atoi(string(f[len(f)-1]))
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		all, err := c.r.Peek(size + 2)
		if err != nil {
			return nil, err
		}
		if _, err := c.r.Discard(size + 2); err != nil {
			return nil, err
		}
		return all[head:size], nil
	}
}
