package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// connectJS opens a client.
func connectJS(srv *Server, opts ...jetstream.JetStreamOpt) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect("nats://" + srv.Addr)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc, append(opts, jetstream.WithPublishAsyncMaxPending(4000))...)
	return nc, js, err
}

// publishing is n messages into one or several streams.
type publishing struct {
	payload []byte
	streams int
	storage jetstream.StorageType
	n       int
}

func (p publishing) setup(ctx context.Context, srv *Server, opts ...jetstream.JetStreamOpt) (*nats.Conn, jetstream.JetStream, error) {
	nc, js, err := connectJS(srv, opts...)
	if err != nil {
		return nil, nil, err
	}
	for i := range p.streams {
		cfg := jetstream.StreamConfig{Name: fmt.Sprintf("S%d", i), Subjects: []string{fmt.Sprintf("js.%d", i)}, Storage: p.storage}
		if _, err := js.CreateStream(ctx, cfg); err != nil {
			return nc, nil, err
		}
	}
	return nc, js, nil
}

// verify checks that the streams hold exactly what was acknowledged.
func (p publishing) verify(ctx context.Context, js jetstream.JetStream, n int) error {
	var have uint64
	for i := range p.streams {
		s, err := js.Stream(ctx, fmt.Sprintf("S%d", i))
		if err != nil {
			return err
		}
		have += s.CachedInfo().State.Msgs
	}
	if have != uint64(n) {
		return fmt.Errorf("the streams hold %d messages, %d were acknowledged", have, n)
	}
	return nil
}

func (p publishing) sync(ctx context.Context, srv *Server) (Load, error) {
	nc, js, err := p.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	load, err := timedBesideSyncs(srv, p.n, p.payload, func(int) error {
		_, err := js.Publish(ctx, "js.0", p.payload)
		return err
	})
	if err != nil {
		return load, err
	}
	return load, p.verify(ctx, js, p.n)
}

// timed runs one operation n times and measures each.
func timed(srv *Server, n int, op func(i int) error) (Load, error) {
	return timedAfter(srv, n, func(int) error { return nil }, op)
}

// timedAfter is timed with something before each operation that does not count for it.
func timedAfter(srv *Server, n int, before, op func(i int) error) (Load, error) {
	took := make([]time.Duration, n)
	load, err := measured(srv, n, func() error {
		for i := range took {
			if err := before(i); err != nil {
				return err
			}
			t := time.Now()
			if err := op(i); err != nil {
				return err
			}
			took[i] = time.Since(t)
		}
		return nil
	})
	load.Latencies = took
	return load, err
}

// measured is the load of n messages that work makes.
func measured(srv *Server, n int, work func() error) (Load, error) {
	before, err := srv.CPU()
	if err != nil {
		return Load{}, err
	}
	began := time.Now()
	if err := work(); err != nil {
		return Load{}, err
	}
	return finish(srv, before, n, time.Since(began))
}

func finish(srv *Server, before time.Duration, n int, elapsed time.Duration) (Load, error) {
	after, err := srv.CPU()
	return Load{Messages: n, Elapsed: elapsed, CPU: after - before}, err
}

// busyClientGC is how far the heap of a client that publishes with nats.go grows
// between two collections, in percent: nats.go makes a kilobyte of garbage for each
// message, and with Go's 100 collecting it takes more time than the server does.
const busyClientGC = 400

// client publishes with nats.go, which calls back for what is not acknowledged. Who
// publishes this much keeps no future for each message.
func (p publishing) client(ctx context.Context, srv *Server) (Load, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(busyClientGC))
	failed := make(chan error, 1)
	nc, js, err := p.setup(ctx, srv, jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
		select {
		case failed <- err:
		default:
		}
	}))
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	load, err := measured(srv, p.n, func() error {
		for range p.n {
			if _, err := js.PublishAsync("js.0", p.payload, jetstream.WithStallWait(10*time.Second)); err != nil {
				return err
			}
		}
		select {
		case <-js.PublishAsyncComplete():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return load, err
	}
	select {
	case err := <-failed:
		return load, err
	default:
	}
	return load, p.verify(ctx, js, p.n)
}

// leanWindow is how many publishes a lean client lets wait for their acks.
const leanWindow = 4096

// lean publishes with a window of outstanding acks, spread over the streams.
func (p publishing) lean(ctx context.Context, srv *Server) (Load, error) {
	return p.leanWith(ctx, srv, func(c *leanConn) (Load, error) {
		return measured(srv, p.n, func() error {
			return c.publishAcked(p.streams, p.payload, p.n, leanWindow)
		})
	})
}

// leanSync publishes one by one.
func (p publishing) leanSync(ctx context.Context, srv *Server) (Load, error) {
	return p.leanWith(ctx, srv, func(c *leanConn) (Load, error) {
		return timedBesideSyncs(srv, p.n, p.payload, func(i int) error { return c.publishOne(i, p.payload) })
	})
}

func (p publishing) leanWith(ctx context.Context, srv *Server, publish func(*leanConn) (Load, error)) (Load, error) {
	nc, js, err := p.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	c, err := dialLean(ctx, srv.Addr, "SUB _INBOX.bench.* 1\r\n")
	if err != nil {
		return Load{}, err
	}
	defer c.Close()
	load, err := publish(c)
	if err != nil {
		return load, err
	}
	return load, p.verify(ctx, js, p.n)
}

// reading is n stored messages that are read back.
type reading struct {
	payload   []byte
	n         int
	batch     int // of a pull request; 0: 500
	requests  int // under way at a time; 0: two, or one of batch 1
	workers   int // 0: one
	retention jetstream.RetentionPolicy
	nak       bool // each message is refused once
}

// setup stores the messages and returns the stream.
func (r reading) setup(ctx context.Context, srv *Server) (*nats.Conn, jetstream.JetStream, jetstream.Stream, error) {
	nc, js, err := connectJS(srv)
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S0", Subjects: []string{"js.>"}, AllowDirect: true, Retention: r.retention})
	if err != nil {
		return nc, nil, nil, err
	}
	if err := store(ctx, srv, r.n, r.payload); err != nil {
		return nc, nil, nil, err
	}
	return nc, js, s, nil
}

// store publishes n messages to the subjects js.0 ... js.999 in turn. A client that
// kept something for each of them would have it collected while others measure.
func store(ctx context.Context, srv *Server, n int, payload []byte) error {
	c, err := dialLean(ctx, srv.Addr, "SUB _INBOX.bench.* 1\r\n")
	if err != nil {
		return err
	}
	defer c.Close()
	return c.publishSpread(n, 1000, payload)
}

func (r reading) directGet(ctx context.Context, srv *Server) (Load, error) {
	nc, _, s, err := r.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	return timed(srv, r.n, func(i int) error {
		m, err := s.GetMsg(ctx, uint64(i+1))
		if err == nil && string(m.Data) != string(r.payload) {
			err = errors.New("wrong content")
		}
		return err
	})
}

func (r reading) kv(ctx context.Context, srv *Server) (*nats.Conn, jetstream.KeyValue, error) {
	nc, js, err := connectJS(srv)
	if err != nil {
		return nil, nil, err
	}
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "B"})
	return nc, kv, err
}

func (r reading) kvPut(ctx context.Context, srv *Server) (Load, error) {
	nc, kv, err := r.kv(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	return timedBesideSyncs(srv, r.n, r.payload, func(i int) error {
		_, err := kv.Put(ctx, fmt.Sprintf("key%d", i%1000), r.payload)
		return err
	})
}

func (r reading) kvGet(ctx context.Context, srv *Server) (Load, error) {
	nc, kv, err := r.kv(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	for i := range 1000 {
		if _, err := kv.Put(ctx, fmt.Sprintf("key%d", i), r.payload); err != nil {
			return Load{}, err
		}
	}
	return timed(srv, r.n, func(i int) error {
		e, err := kv.Get(ctx, fmt.Sprintf("key%d", i%1000))
		if err == nil && string(e.Value()) != string(r.payload) {
			err = errors.New("wrong content")
		}
		return err
	})
}

// creating is n streams.
type creating struct{ n int }

func (c creating) create(ctx context.Context, srv *Server) (Load, error) {
	nc, js, err := connectJS(srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	return timed(srv, c.n, func(i int) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: fmt.Sprintf("S%d", i), Subjects: []string{fmt.Sprintf("js.%d", i)}})
		return err
	})
}

// start measures from the start of the process until it accepts connections
// and knows all streams.
func (c creating) start(ctx context.Context, srv *Server) (Load, error) {
	if _, err := c.create(ctx, srv); err != nil {
		return Load{}, err
	}
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
	acc, err := js.AccountInfo(ctx)
	if err != nil {
		return Load{}, err
	}
	if acc.Streams != c.n {
		return Load{}, fmt.Errorf("%d streams after the start, %d before", acc.Streams, c.n)
	}
	return finish(srv, 0, c.n, time.Since(began))
}

func (r reading) ordered(ctx context.Context, srv *Server) (Load, error) {
	nc, _, s, err := r.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	return r.consume(ctx, srv, func(handle jetstream.MessageHandler) (jetstream.ConsumeContext, error) {
		c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
		if err != nil {
			return nil, err
		}
		return c.Consume(handle)
	})
}

func (r reading) durable(ctx context.Context, srv *Server) (Load, error) {
	nc, _, s, err := r.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	return r.consume(ctx, srv, func(handle jetstream.MessageHandler) (jetstream.ConsumeContext, error) {
		c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "D", AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			return nil, err
		}
		return c.Consume(func(m jetstream.Msg) {
			handle(m)
			m.Ack()
		})
	})
}

// consume measures until all messages have come in order.
func (r reading) consume(ctx context.Context, srv *Server, start func(jetstream.MessageHandler) (jetstream.ConsumeContext, error)) (Load, error) {
	before, err := srv.CPU()
	if err != nil {
		return Load{}, err
	}
	done := newResult()
	got := 0
	began := time.Now()
	cc, err := start(func(m jetstream.Msg) {
		if string(m.Data()) != string(r.payload) {
			done.set(errors.New("wrong content"))
		}
		if want := fmt.Sprintf("js.%d", got%1000); m.Subject() != want {
			done.set(fmt.Errorf("message %d came on %s, wanted %s", got, m.Subject(), want))
		}
		if got++; got == r.n {
			done.set(nil)
		}
	})
	if err != nil {
		return Load{}, err
	}
	defer cc.Stop()
	if err := done.wait(ctx); err != nil {
		return Load{}, err
	}
	return finish(srv, before, r.n, time.Since(began))
}

func (r reading) fetch(ctx context.Context, srv *Server) (Load, error) {
	nc, _, s, err := r.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "D", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		return Load{}, err
	}
	return measured(srv, r.n, func() error {
		for got := 0; got < r.n; {
			b, err := c.Fetch(min(r.batch, r.n-got))
			if err != nil {
				return err
			}
			for m := range b.Messages() {
				got++
				m.Ack()
			}
			if err := b.Error(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r reading) leanOrdered(ctx context.Context, srv *Server) (Load, error) {
	return r.leanPull(ctx, srv, `{"stream_name":"S0","config":{"name":"D","ack_policy":"none","mem_storage":true,"num_replicas":1,"inactive_threshold":300000000000}}`, false)
}

func (r reading) leanDurable(ctx context.Context, srv *Server) (Load, error) {
	return r.leanPull(ctx, srv, `{"stream_name":"S0","config":{"durable_name":"D","name":"D","ack_policy":"explicit","max_ack_pending":100000}}`, true)
}

// leanPull lets the workers share one pull consumer.
func (r reading) leanPull(ctx context.Context, srv *Server, create string, ack bool) (Load, error) {
	nc, _, _, err := r.setup(ctx, srv)
	if err != nil {
		return Load{}, err
	}
	defer nc.Close()
	m, err := nc.RequestWithContext(ctx, "$JS.API.CONSUMER.CREATE.S0.D", []byte(create))
	if err != nil {
		return Load{}, err
	}
	if strings.Contains(string(m.Data), `"error"`) {
		return Load{}, fmt.Errorf("create consumer: %s", m.Data)
	}
	batch, requests, workers := r.batch, r.requests, max(r.workers, 1)
	if batch == 0 {
		batch = 500
	}
	if requests == 0 {
		requests = min(batch, 2)
	}
	conns := make([]*leanConn, workers)
	for i := range conns {
		if conns[i], err = dialLean(ctx, srv.Addr, fmt.Sprintf("SUB _INBOX.pull.%d 1\r\n", i)); err != nil {
			return Load{}, err
		}
		defer conns[i].Close()
	}
	seen := &delivered{seqs: make([]uint64, 0, r.n), want: r.n, all: newResult()}
	load, err := measured(srv, r.n, func() error {
		for i, c := range conns {
			go func() {
				err := c.pull("$JS.API.CONSUMER.MSG.NEXT.S0.D", fmt.Sprintf("_INBOX.pull.%d", i), batch, requests, r.payload, ackMode{ack, r.nak}, seen.add)
				seen.all.set(err)
			}()
		}
		return seen.all.wait(ctx)
	})
	if err != nil {
		return load, err
	}
	return load, seen.check()
}

// delivered collects the sequences that workers got.
type delivered struct {
	mu   sync.Mutex
	seqs []uint64
	want int
	all  *result
}

func (d *delivered) add(seqs []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seqs = append(d.seqs, seqs...); len(d.seqs) >= d.want {
		d.all.set(nil)
	}
}

// check sees to it that each message came exactly once.
func (d *delivered) check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.seqs)
	for i, s := range d.seqs {
		if s != uint64(i+1) {
			return fmt.Errorf("sequence %d where %d should be", s, i+1)
		}
	}
	return nil
}
