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
	cmd := &cobra.Command{
		Use:   "stuck",
		Short: "Latency and throughput of 99 subscribers while one more does not read",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, paced := range []bool{true, false} {
				var res [2]fanoutResult
				for i, stuck := range []int{0, 1} {
					var err error
					if res[i], err = fanout(cmd.Context(), server, 99, stuck, paced); err != nil {
						return err
					}
				}
				if paced {
					fmt.Fprintf(cmd.OutOrStdout(), "p99.9 latency: %v quiet, %v with one stuck\n", res[0].p999, res[1].p999)
				} else {
					fmt.Fprintf(cmd.OutOrStdout(), "throughput: %.0f msgs/s quiet, %.0f with one stuck: %.2fx\n", res[0].rate, res[1].rate, res[1].rate/res[0].rate)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&server, "server", "./natsd", "the server `binary`")
	return cmd
}

type fanoutResult struct {
	p999 time.Duration
	rate float64 // published messages per second
}

// fanout publishes 2 KiB messages to healthy subscribers and to stuck ones,
// which never read: paced far below what the server can do, or as fast as it
// takes them. The paced run goes on until the stuck one's buffers and the
// server's pending limit are passed.
func fanout(ctx context.Context, binaryPath string, healthy, stuck int, paced bool) (fanoutResult, error) {
	srv, err := StartServer(ctx, binaryPath, "max_pending: 4MB")
	if err != nil {
		return fanoutResult{}, err
	}
	defer srv.Stop()
	const size, perSecond = 2 << 10, 500
	n := 10_000 // 20 MiB: more than the pending limit and the kernel's buffers
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
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	for range n {
		if paced {
			<-tick.C
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
