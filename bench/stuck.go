package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

// stuckCommand measures what one subscriber that does not read does to others.
func stuckCommand() *cobra.Command {
	var server string
	var rounds int
	cmd := &cobra.Command{
		Use:   "stuck",
		Short: "Latency and throughput of 99 subscribers while one more does not read",
		Long: `Latency and throughput of 99 subscribers while one more does not read, until it
is cut off and some time longer. The latency is that of 500 messages a second, with
a pending limit of 4 MB; the throughput is measured with the default limit.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p999 := func(r fanoutResult) time.Duration { return r.p999 }
			rate := func(r fanoutResult) float64 { return r.rate }
			for _, f := range []fanout{
				// 20 MiB: more than the limit and the kernel's buffers.
				{config: "max_pending: 4MB", n: 10_000, every: 2 * time.Millisecond},
				{n: 50_000},
			} {
				var quiet, stuck []fanoutResult
				for range rounds {
					for i, to := range []*[]fanoutResult{&quiet, &stuck} {
						r, err := f.run(cmd.Context(), server, 99, i)
						if err != nil {
							return err
						}
						*to = append(*to, r)
					}
				}
				if f.every > 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "p99.9 latency: %v quiet, %v with one stuck\n", middle(quiet, p999), middle(stuck, p999))
				} else {
					q, s := middle(quiet, rate), middle(stuck, rate)
					fmt.Fprintf(cmd.OutOrStdout(), "throughput: %.0f msgs/s quiet, %.0f with one stuck: %.2fx\n", q, s, s/q)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&server, "server", "./natsd", "the server `binary`")
	cmd.Flags().IntVar(&rounds, "rounds", 1, "how often each is measured; the table shows medians")
	return cmd
}

type fanoutResult struct {
	p999 time.Duration
	rate float64 // published messages per second
}

// fanout is n messages of 2 KiB to healthy subscribers and to stuck ones, which
// never read.
type fanout struct {
	config string
	n      int
	every  time.Duration // far more than a message takes; 0: as fast as the server takes them
}

func (f fanout) run(ctx context.Context, binaryPath string, healthy, stuck int) (fanoutResult, error) {
	srv, err := StartServer(ctx, binaryPath, f.config)
	if err != nil {
		return fanoutResult{}, err
	}
	defer srv.Stop()
	const size = 2 << 10
	n := f.n
	want := int64(n) * int64(healthy)
	head := fmt.Appendf(nil, "MSG %s 1 %d\r\n", subject, size)
	var got atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	done := newResult()
	epoch := time.Now()
	for range healthy {
		c, err := dialLean(ctx, srv.Addr, "SUB "+subject+" 1\r\n")
		if err != nil {
			return fanoutResult{}, err
		}
		defer c.Close()
		go func() {
			mine := make([]time.Duration, 0, n)
			body := make([]byte, size+2)
			for len(mine) < n {
				line, err := c.r.ReadSlice('\n')
				if err == nil && !bytes.Equal(line, head) {
					if err = c.controlLine(line); err == nil {
						continue
					}
				}
				if err == nil {
					_, err = io.ReadFull(c.r, body)
				}
				if err != nil {
					done.set(err)
					return
				}
				mine = append(mine, time.Since(epoch)-time.Duration(binary.LittleEndian.Uint64(body)))
				if got.Add(1) == want {
					defer done.set(nil)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
		}()
	}
	for range stuck {
		c, err := dialLean(ctx, srv.Addr, "SUB "+subject+" 1\r\n")
		if err != nil {
			return fanoutResult{}, err
		}
		defer c.Close()
	}
	pub, err := dialLean(ctx, srv.Addr, "")
	if err != nil {
		return fanoutResult{}, err
	}
	defer pub.Close()
	go pub.control()
	msg := fmt.Appendf(nil, "PUB %s %d\r\n", subject, size)
	at := len(msg)
	msg = append(append(msg, make([]byte, size)...), '\r', '\n')
	began := time.Now()
	var tick <-chan time.Time
	if f.every > 0 {
		tick = time.Tick(f.every)
	}
	for range n {
		if tick != nil {
			<-tick
		}
		binary.LittleEndian.PutUint64(msg[at:], uint64(time.Since(epoch)))
		if _, err := pub.Write(msg); err != nil {
			return fanoutResult{}, err
		}
	}
	if err := done.wait(ctx); err != nil {
		return fanoutResult{}, err
	}
	elapsed := time.Since(began)
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(took)
	return fanoutResult{took[len(took)*999/1000], float64(n) / elapsed.Seconds()}, nil
}
