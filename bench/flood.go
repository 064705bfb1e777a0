package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/spf13/cobra"
)

// floodOptions of the flood command.
type floodOptions struct {
	server, only string
	length       time.Duration
	rounds       int
	equal        bool
}

// floodCommand measures what clients that misbehave do to one that does not.
func floodCommand() *cobra.Command {
	var o floodOptions
	cmd := &cobra.Command{
		Use:   "flood",
		Short: "Request latency on a clean connection, and memory, while others send garbage",
		Long: `Request latency on a clean connection, and memory, while others send garbage.

Those who flood a server sit on machines of their own. Here each flood comes from
a process that shares the processors with the server and the clean clients, and
which therefore runs only when nobody else wants them (SCHED_IDLE); the table shows
how much arrives nevertheless. The column "elsewhere" has the latency while the same
flood goes to a process that only reads (TLS reconnects come to nothing there).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.server, "server", "./natsd", "the server `binary`")
	cmd.Flags().StringVar(&o.only, "run", "", "only floods whose name contains this `text`")
	cmd.Flags().DurationVar(&o.length, "time", 10*time.Second, "how long each flood lasts; a second or two of it are its beginning")
	cmd.Flags().IntVar(&o.rounds, "rounds", 1, "how often each flood is measured; the table shows medians")
	cmd.Flags().BoolVar(&o.equal, "equal", false, "let the process that floods compete for the processors")
	return cmd
}

func (o *floodOptions) run(ctx context.Context, w io.Writer) error {
	fmt.Fprintf(w, "%-16s %20s   %10s %10s %10s   %10s %10s %10s   %9s %9s   %s\n",
		"flood", "arrives", "p50 quiet", "elsewhere", "here", "p99 quiet", "elsewhere", "here", "/quiet", "/elsewh.", "peak memory quiet, here")
	for _, f := range floods {
		if !strings.Contains(f.name, o.only) {
			continue
		}
		var quiet, elsewhere, here []floodResult
		for range o.rounds {
			for _, m := range []struct {
				place place
				to    *[]floodResult
			}{{nowhere, &quiet}, {atSink, &elsewhere}, {atServer, &here}} {
				r, err := o.underFlood(ctx, f, m.place)
				if err != nil {
					return fmt.Errorf("%s: %w", f.name, err)
				}
				*m.to = append(*m.to, r)
			}
		}
		p50 := func(r floodResult) time.Duration { return r.p50 }
		p99 := func(r floodResult) time.Duration { return r.p99 }
		q, e, h := middle(quiet, p99), middle(elsewhere, p99), middle(here, p99)
		rate := middle(here, func(r floodResult) float64 { return r.rate })
		fmt.Fprintf(w, "%-16s %20s   %10v %10v %10v   %10v %10v %10v   %8.2fx %8.2fx   %.1f, %.1f MiB\n",
			f.name, fmt.Sprintf("%.0f %s/s", rate, f.unit),
			middle(quiet, p50), middle(elsewhere, p50), middle(here, p50), q, e, h,
			float64(h)/float64(q), float64(h)/float64(e),
			middle(quiet, floodResult.mib), middle(here, floodResult.mib))
	}
	return nil
}

// middle is the median of one number of the results.
func middle[R any, N int64 | float64 | time.Duration](rs []R, number func(R) N) N {
	v := make([]N, 0, len(rs))
	for _, r := range rs {
		v = append(v, number(r))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// place is where a flood goes.
type place int

const (
	nowhere place = iota
	atSink
	atServer
)

// flood is a way to misbehave: attack opens one connection, does its worst and
// returns; it is called again at once until ctx ends. It counts what arrives, in the
// flood's unit.
type flood struct {
	name, unit string
	conns      int
	attack     func(ctx context.Context, addr string, count *atomic.Int64)
}

const connectLine = "CONNECT {\"verbose\":false,\"protocol\":1}\r\n"

var floods = []flood{
	{"random bytes", "connections", 4, func(ctx context.Context, addr string, count *atomic.Int64) {
		withConn(ctx, addr, func(c net.Conn) {
			junk := make([]byte, 4096)
			rand.Read(junk)
			c.Write(junk)
			io.Copy(io.Discard, c)
			count.Add(1)
		})
	}},
	{"hit and run", "connections", 4, func(ctx context.Context, addr string, count *atomic.Int64) {
		withConn(ctx, addr, func(c net.Conn) {
			c.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
			count.Add(1)
		})
	}},
	{"control lines", "connections", 4, func(ctx context.Context, addr string, count *atomic.Int64) {
		withConn(ctx, addr, func(c net.Conn) {
			io.WriteString(c, connectLine+"SUB ")
			c.Write(bytes.Repeat([]byte{'a'}, 1<<20))
			io.Copy(io.Discard, c)
			count.Add(1)
		})
	}},
	{"half-open TLS", "connections", 200, func(ctx context.Context, addr string, count *atomic.Int64) {
		withConn(ctx, addr, func(c net.Conn) {
			c.Write([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3})
			c.SetReadDeadline(time.Now().Add(time.Second))
			io.Copy(io.Discard, c)
			count.Add(1)
		})
	}},
	{"TLS reconnects", "connections", 20, func(ctx context.Context, addr string, count *atomic.Int64) {
		withConn(ctx, addr, func(c net.Conn) {
			if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
				return
			}
			t := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			if _, err := io.WriteString(t, connectLine+"PING\r\n"); err != nil {
				return
			}
			if line, err := bufio.NewReader(t).ReadString('\n'); err == nil && line == "PONG\r\n" {
				count.Add(1)
			}
		})
	}},
	{"slow loris", "bytes", 200, func(ctx context.Context, addr string, count *atomic.Int64) {
		withConn(ctx, addr, func(c net.Conn) {
			for _, b := range []byte(connectLine + "PUB some.subject 100000\r\n") {
				if _, err := c.Write([]byte{b}); err != nil || pause(ctx, 50*time.Millisecond) != nil {
					return
				}
				count.Add(1)
			}
		})
	}},
	{"subscriptions", "subscriptions", 4, func(ctx context.Context, addr string, count *atomic.Int64) {
		withConn(ctx, addr, func(c net.Conn) {
			go io.Copy(io.Discard, c)
			w := bufio.NewWriterSize(c, 16<<10)
			io.WriteString(w, connectLine)
			for i := 0; ctx.Err() == nil; i++ {
				if _, err := fmt.Fprintf(w, "SUB a.%d.*.b%d %d\r\nUNSUB %d\r\n", i%5000, i%7, i, i-100); err != nil {
					return
				}
				count.Add(1)
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

// floodSourceCommand is the process that floods: it runs until its standard
// input ends, and prints how much it counted.
func floodSourceCommand() *cobra.Command {
	var equal bool
	cmd := &cobra.Command{
		Use:    "flood-source NAME ADDRESS",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			i := slices.IndexFunc(floods, func(f flood) bool { return f.name == args[0] })
			if i < 0 {
				return fmt.Errorf("no flood %q", args[0])
			}
			if !equal {
				if err := stepBack(); err != nil {
					return err
				}
			}
			ctx, stop := context.WithCancel(cmd.Context())
			go func() {
				io.Copy(io.Discard, os.Stdin)
				stop()
			}()
			var wg sync.WaitGroup
			var count atomic.Int64
			for range floods[i].conns {
				wg.Go(func() {
					for ctx.Err() == nil {
						floods[i].attack(ctx, args[1], &count)
					}
				})
			}
			wg.Wait()
			_, err := fmt.Fprintln(cmd.OutOrStdout(), count.Load())
			return err
		},
	}
	cmd.Flags().BoolVar(&equal, "equal", false, "compete for the processors")
	return cmd
}

// stepBack lets the threads of this process, and those that they start, run only
// when nobody else wants the processor.
func stepBack() error {
	const schedIdle = 5
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		var priority int32 // has to be 0
		if _, _, errno := syscall.Syscall(syscall.SYS_SCHED_SETSCHEDULER, uintptr(tid), schedIdle, uintptr(unsafe.Pointer(&priority))); errno != 0 && errno != syscall.ESRCH {
			return os.NewSyscallError("sched_setscheduler", errno)
		}
	}
	return nil
}

// floodSinkCommand is a process that only reads what comes, and closes what does
// not begin with CONNECT, as a server would. It prints its address.
func floodSinkCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "flood-sink",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), l.Addr())
			go func() {
				io.Copy(io.Discard, os.Stdin)
				l.Close()
			}()
			for {
				c, err := l.Accept()
				if err != nil {
					return nil
				}
				go sink(c)
			}
		},
	}
}

func sink(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 64<<10)
	for first := true; ; first = false {
		n, err := c.Read(buf)
		if err != nil || first && buf[0] != 'C' && buf[0] != 0x16 || bytes.HasSuffix(buf[:n], []byte("aaaaaaaa")) {
			return
		}
	}
}

// child runs this program with other arguments. stop ends it and returns what it
// printed that was not read from out.
func child(args ...string) (out *bufio.Reader, stop func() string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	out = bufio.NewReader(stdout)
	return out, func() string {
		in.Close()
		rest, _ := io.ReadAll(out)
		cmd.Wait()
		return strings.TrimSpace(string(rest))
	}, cmd.Start()
}

type floodResult struct {
	p50, p99 time.Duration
	peak     int64
	rate     float64 // of what arrived, a second
}

func (r floodResult) mib() float64 { return float64(r.peak) / (1 << 20) }

// underFlood sends requests on a clean connection, one every millisecond, while
// the flood runs.
func (o *floodOptions) underFlood(ctx context.Context, f flood, where place) (floodResult, error) {
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
	srv, err := StartServer(ctx, o.server, fmt.Sprintf("tls { cert_file: %q, key_file: %q }\nallow_non_tls: true", cert, key))
	if err != nil {
		return floodResult{}, err
	}
	defer srv.Stop()
	payload := []byte("0123456789abcdef")
	responder, err := dialLean(ctx, srv.Addr, "SUB "+subject+" 1\r\n")
	if err != nil {
		return floodResult{}, err
	}
	defer responder.Close()
	go responder.answer(payload)
	c, err := dialLean(ctx, srv.Addr, "SUB _INBOX.bench 1\r\n")
	if err != nil {
		return floodResult{}, err
	}
	defer c.Close()
	target := srv.Addr
	if where == atSink {
		line, stop, err := child("flood-sink")
		if err != nil {
			return floodResult{}, err
		}
		defer stop()
		if target, err = line.ReadString('\n'); err != nil {
			return floodResult{}, err
		}
		target = strings.TrimSpace(target)
	}
	counted := func() string { return "0" }
	if where != nowhere {
		if _, counted, err = child("flood-source", f.name, target, fmt.Sprintf("--equal=%v", o.equal)); err != nil {
			return floodResult{}, err
		}
	}
	attack, stop := context.WithTimeout(ctx, o.length)
	defer stop()
	var took []time.Duration
	for attack.Err() == nil {
		one, err := c.request(subject, "_INBOX.bench", payload, 1)
		if err != nil {
			counted()
			return floodResult{}, err
		}
		took = append(took, one...)
		pause(attack, time.Millisecond)
	}
	peak, err := srv.PeakRSS()
	n, nerr := strconv.Atoi(counted())
	slices.Sort(took)
	return floodResult{took[len(took)/2], took[len(took)*99/100], peak, float64(n) / o.length.Seconds()}, errors.Join(err, nerr)
}
