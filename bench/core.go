package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

var payloadSizes = []int{16, 128, 1 << 10, 16 << 10}

func sizeName(n int) string {
	if n >= 1<<10 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// coreRows is the suite of core messaging.
func coreRows(scale float64) []Row {
	var rows []Row
	for _, size := range payloadSizes {
		payload := []byte(strings.Repeat("x", size))
		// Bounded by bytes for large messages, by count for small ones, so
		// that a run takes about a second.
		n := int(scale * float64(min(2_000_000, 1<<30/size)))
		for _, s := range []struct {
			name       string
			pubs, subs int
			queue      string
			n          int
			goal       float64 // rate against the peer
		}{
			{"publish", 1, 0, "", n, 1.3},
			{"1:1", 1, 1, "", n, 1.4},
			{"1:10", 1, 10, "", n / 8, 1.6},
			{"10:10 queue", 10, 10, "workers", n / 2, 1.4},
		} {
			f := flow{pubs: s.pubs, subs: s.subs, queue: s.queue, payload: payload, n: max(s.n, 1000)}
			name := s.name + " " + sizeName(size)
			rows = append(rows,
				Row{Name: name, Driver: "lean", Run: f.lean, Goals: []Goal{rateGoal(s.goal), cpuGoal(0.65), rssGoal()}},
				Row{Name: name, Driver: "nats.go", Run: f.client, Goals: []Goal{rateGoal(1), rssGoal()}})
		}
		for _, clients := range []int{1, 10} {
			r := requests{clients: clients, payload: payload, n: max(int(scale*30_000), 100)}
			name := fmt.Sprintf("request/reply %d %s", clients, sizeName(size))
			rows = append(rows,
				Row{Name: name, Driver: "lean", Run: r.lean, Goals: []Goal{p50Goal(0.9), cpuGoal(0.65), rssGoal()}},
				Row{Name: name, Driver: "nats.go", Run: r.client, Goals: []Goal{rateGoal(1), rssGoal()}})
		}
	}
	return rows
}

const subject = "bench.subject"

// flow is n messages from pubs publishers to subs subscribers: each of them
// gets all, or, with a queue, each message goes to one.
type flow struct {
	pubs, subs int
	queue      string
	payload    []byte
	n          int
}

// expected is how many deliveries there must be in all.
func (f flow) expected() int {
	if f.queue != "" {
		return f.n / f.pubs * f.pubs
	}
	return f.n / f.pubs * f.pubs * f.subs
}

func (f flow) lean(ctx context.Context, srv *Server) (Load, error) {
	var conns []*leanConn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	dial := func() (*leanConn, error) {
		c, err := dialLean(ctx, srv.Addr, "")
		if err == nil {
			conns = append(conns, c)
		}
		return c, err
	}
	want := fmt.Appendf(nil, "MSG %s 1 %d\r\n%s\r\n", subject, len(f.payload), f.payload)
	var got atomic.Int64
	done := newResult()
	expected := int64(f.expected())
	for range f.subs {
		c, err := dial()
		if err != nil {
			return Load{}, err
		}
		if err := c.subscribe(strings.Join(strings.Fields("SUB "+subject+" "+f.queue+" 1"), " ") + "\r\n"); err != nil {
			return Load{}, err
		}
		go func() {
			err := c.receive(newReceiver(want), func(n int) bool {
				if got.Add(int64(n)) >= expected {
					done.set(nil)
				}
				return true
			})
			done.set(err)
		}()
	}
	var pubs []*leanConn
	for range f.pubs {
		c, err := dial()
		if err != nil {
			return Load{}, err
		}
		go c.control()
		pubs = append(pubs, c)
	}
	line := fmt.Appendf(nil, "PUB %s %d\r\n%s\r\n", subject, len(f.payload), f.payload)
	began := time.Now()
	if err := each(pubs, func(c *leanConn) error {
		if err := c.publish(line, f.n/f.pubs); err != nil {
			return err
		}
		return c.flush()
	}); err != nil {
		return Load{}, err
	}
	if f.subs > 0 {
		if err := done.wait(ctx); err != nil {
			return Load{}, fmt.Errorf("%d of %d deliveries: %w", got.Load(), expected, err)
		}
	}
	load := Load{Messages: f.n / f.pubs * f.pubs, Elapsed: time.Since(began)}
	if n := got.Load(); n > expected {
		return Load{}, fmt.Errorf("%d deliveries, expected %d", n, expected)
	}
	return load, nil
}

func (f flow) client(ctx context.Context, srv *Server) (Load, error) {
	var conns []*nats.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	dial := func() (*nats.Conn, error) {
		c, err := nats.Connect("nats://" + srv.Addr)
		if err == nil {
			conns = append(conns, c)
		}
		return c, err
	}
	var got atomic.Int64
	done := newResult()
	expected := int64(f.expected())
	for range f.subs {
		c, err := dial()
		if err != nil {
			return Load{}, err
		}
		sub, err := c.QueueSubscribe(subject, f.queue, func(m *nats.Msg) {
			if string(m.Data) != string(f.payload) {
				done.set(errors.New("wrong content"))
			}
			if got.Add(1) == expected {
				done.set(nil)
			}
		})
		if err != nil {
			return Load{}, err
		}
		if err := sub.SetPendingLimits(-1, -1); err != nil {
			return Load{}, err
		}
		if err := c.Flush(); err != nil {
			return Load{}, err
		}
	}
	var pubs []*nats.Conn
	for range f.pubs {
		c, err := dial()
		if err != nil {
			return Load{}, err
		}
		pubs = append(pubs, c)
	}
	began := time.Now()
	if err := each(pubs, func(c *nats.Conn) error {
		for range f.n / f.pubs {
			if err := c.Publish(subject, f.payload); err != nil {
				return err
			}
		}
		return c.FlushWithContext(ctx)
	}); err != nil {
		return Load{}, err
	}
	if f.subs > 0 {
		if err := done.wait(ctx); err != nil {
			return Load{}, fmt.Errorf("%d of %d deliveries: %w", got.Load(), expected, err)
		}
	}
	return Load{Messages: f.n / f.pubs * f.pubs, Elapsed: time.Since(began)}, nil
}

// requests is n requests of clients that wait for each reply, to one responder.
type requests struct {
	clients int
	payload []byte
	n       int
}

func (r requests) lean(ctx context.Context, srv *Server) (Load, error) {
	responder, err := dialLean(ctx, srv.Addr, "SUB "+subject+" 1\r\n")
	if err != nil {
		return Load{}, err
	}
	defer responder.Close()
	go responder.answer(r.payload)
	var clients []*leanConn
	inbox := make(map[*leanConn]string)
	for i := range r.clients {
		to := fmt.Sprintf("_INBOX.bench.%d", i)
		c, err := dialLean(ctx, srv.Addr, "SUB "+to+" 1\r\n")
		if err != nil {
			return Load{}, err
		}
		defer c.Close()
		inbox[c] = to
		clients = append(clients, c)
	}
	return timeRequests(clients, r.n, func(c *leanConn, n int) ([]time.Duration, error) {
		return c.request(subject, inbox[c], r.payload, n)
	})
}

func (r requests) client(ctx context.Context, srv *Server) (Load, error) {
	responder, err := nats.Connect("nats://" + srv.Addr)
	if err != nil {
		return Load{}, err
	}
	defer responder.Close()
	if _, err := responder.Subscribe(subject, func(m *nats.Msg) { m.Respond(m.Data) }); err != nil {
		return Load{}, err
	}
	if err := responder.Flush(); err != nil {
		return Load{}, err
	}
	var clients []*nats.Conn
	for range r.clients {
		c, err := nats.Connect("nats://" + srv.Addr)
		if err != nil {
			return Load{}, err
		}
		defer c.Close()
		clients = append(clients, c)
	}
	return timeRequests(clients, r.n, func(c *nats.Conn, n int) ([]time.Duration, error) {
		took := make([]time.Duration, 0, n)
		for range n {
			began := time.Now()
			m, err := c.RequestWithContext(ctx, subject, r.payload)
			if err != nil {
				return nil, err
			}
			took = append(took, time.Since(began))
			if string(m.Data) != string(r.payload) {
				return nil, errors.New("wrong content")
			}
		}
		return took, nil
	})
}

// timeRequests lets every client send its share of n requests.
func timeRequests[C comparable](clients []C, n int, run func(c C, n int) ([]time.Duration, error)) (Load, error) {
	var mu sync.Mutex
	var all []time.Duration
	began := time.Now()
	err := each(clients, func(c C) error {
		took, err := run(c, n/len(clients))
		mu.Lock()
		defer mu.Unlock()
		all = append(all, took...)
		return err
	})
	return Load{Messages: len(all), Elapsed: time.Since(began), Latencies: all}, err
}

// each runs f for every item at the same time and returns the first error.
func each[T any](items []T, f func(T) error) error {
	errs := make(chan error, len(items))
	for _, it := range items {
		go func() { errs <- f(it) }()
	}
	var first error
	for range items {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// result is set once and waited for.
type result struct {
	once sync.Once
	err  error
	done chan struct{}
}

func newResult() *result { return &result{done: make(chan struct{})} }

func (r *result) set(err error) { r.once.Do(func() { r.err = err; close(r.done) }) }

func (r *result) wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
