package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
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
		c, err := dialLean(srv.Addr)
		if err != nil {
			return fanoutResult{}, err
		}
		defer c.Close()
		if err := c.subscribe("SUB " + subject + " 1\r\n"); err != nil {
			return fanoutResult{}, err
		}
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
		c, err := dialLean(srv.Addr)
		if err != nil {
			return fanoutResult{}, err
		}
		defer c.Close()
		if err := c.subscribe("SUB " + subject + " 1\r\n"); err != nil {
			return fanoutResult{}, err
		}
	}
	pub, err := dialLean(srv.Addr)
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

// floodCommand measures what clients that misbehave do to one that does not.
func floodCommand() *cobra.Command {
	var (
		server string
		length time.Duration
	)
	cmd := &cobra.Command{
		Use:   "flood",
		Short: "Request latency on a clean connection, and memory, while others send garbage",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintf(cmd.OutOrStdout(), "%-16s %10s %10s %12s\n", "flood", "p50", "p99", "peak memory")
			for _, f := range append([]flood{{name: "quiet"}}, floods...) {
				r, err := underFlood(cmd.Context(), server, f, length)
				if err != nil {
					return fmt.Errorf("%s: %w", f.name, err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-16s %10v %10v %8.1f MiB\n", f.name, r.p50, r.p99, float64(r.peak)/(1<<20))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&server, "server", "./natsd", "the server `binary`")
	cmd.Flags().DurationVar(&length, "time", 5*time.Second, "how long each flood lasts")
	return cmd
}

// flood is a way to misbehave: attack opens one connection, does its worst and
// returns; it is called again at once until ctx ends.
type flood struct {
	name   string
	conns  int
	attack func(ctx context.Context, addr string)
}

const connectLine = "CONNECT {\"verbose\":false,\"protocol\":1}\r\n"

var floods = []flood{
	{"random bytes", 4, func(ctx context.Context, addr string) {
		withConn(ctx, addr, func(c net.Conn) {
			junk := make([]byte, 4096)
			rand.Read(junk)
			c.Write(junk)
			io.Copy(io.Discard, c)
		})
	}},
	{"control lines", 4, func(ctx context.Context, addr string) {
		withConn(ctx, addr, func(c net.Conn) {
			io.WriteString(c, connectLine+"SUB ")
			c.Write(bytes.Repeat([]byte{'a'}, 1<<20))
			io.Copy(io.Discard, c)
		})
	}},
	{"half-open TLS", 200, func(ctx context.Context, addr string) {
		withConn(ctx, addr, func(c net.Conn) {
			c.Write([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3})
			c.SetReadDeadline(time.Now().Add(time.Second))
			io.Copy(io.Discard, c)
		})
	}},
	{"slow loris", 200, func(ctx context.Context, addr string) {
		withConn(ctx, addr, func(c net.Conn) {
			for _, b := range []byte(connectLine + "PUB some.subject 100000\r\n") {
				if _, err := c.Write([]byte{b}); err != nil || pause(ctx, 50*time.Millisecond) != nil {
					return
				}
			}
		})
	}},
	{"subscriptions", 4, func(ctx context.Context, addr string) {
		withConn(ctx, addr, func(c net.Conn) {
			go io.Copy(io.Discard, c)
			w := bufio.NewWriterSize(c, 16<<10)
			io.WriteString(w, connectLine)
			for i := 0; ctx.Err() == nil; i++ {
				if _, err := fmt.Fprintf(w, "SUB a.%d.*.b%d %d\r\nUNSUB %d\r\n", i%5000, i%7, i, i-100); err != nil {
					return
				}
			}
		})
	}},
}

func withConn(ctx context.Context, addr string, use func(net.Conn)) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	use(c)
}

type floodResult struct {
	p50, p99 time.Duration
	peak     int64
}

// underFlood sends requests on a clean connection, one every millisecond, while
// the flood runs.
func underFlood(ctx context.Context, binaryPath string, f flood, length time.Duration) (floodResult, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return floodResult{}, err
	}
	defer os.RemoveAll(dir)
	cert, key, err := writeCertificate(dir)
	if err != nil {
		return floodResult{}, err
	}
	// TLS is offered, so that half a handshake means something; the clean
	// connection goes without.
	srv, err := StartServer(ctx, binaryPath, fmt.Sprintf("tls { cert_file: %q, key_file: %q }\nallow_non_tls: true", cert, key))
	if err != nil {
		return floodResult{}, err
	}
	defer srv.Stop()
	payload := []byte("0123456789abcdef")
	responder, err := dialLean(srv.Addr)
	if err != nil {
		return floodResult{}, err
	}
	defer responder.Close()
	if err := responder.subscribe("SUB " + subject + " 1\r\n"); err != nil {
		return floodResult{}, err
	}
	go responder.answer(payload)
	c, err := dialLean(srv.Addr)
	if err != nil {
		return floodResult{}, err
	}
	defer c.Close()
	if err := c.subscribe("SUB _INBOX.bench 1\r\n"); err != nil {
		return floodResult{}, err
	}
	attack, stop := context.WithTimeout(ctx, length)
	var wg sync.WaitGroup
	for range f.conns {
		wg.Go(func() {
			for attack.Err() == nil {
				f.attack(attack, srv.Addr)
			}
		})
	}
	defer wg.Wait()
	defer stop()
	var took []time.Duration
	for attack.Err() == nil {
		one, err := c.request(subject, "_INBOX.bench", payload, 1)
		if err != nil {
			return floodResult{}, err
		}
		took = append(took, one...)
		pause(attack, time.Millisecond)
	}
	peak, err := srv.PeakRSS()
	slices.Sort(took)
	return floodResult{took[len(took)/2], took[len(took)*99/100], peak}, err
}
