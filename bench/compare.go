package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// Row is one thing to measure.
type Row struct {
	Name   string // "1:1 128 B"
	Driver string // "lean" or "nats.go"
	// Conf is the configuration of the servers, PeerConf that of the peer where
	// it differs; "{dir}" stands for a fresh folder. Addresses are given on the
	// command line.
	Conf, PeerConf string
	// NoPeer marks what the peer cannot do.
	NoPeer bool
	// Once marks rows that rest for long: one round is enough.
	Once bool
	// Goals are judged when all rows were measured.
	Goals []Goal
	// Run drives the server at addr and verifies what it got.
	Run func(ctx context.Context, srv *Server) (Load, error)
	// PeerRun is the same with fewer messages, where the peer needs minutes.
	PeerRun func(ctx context.Context, srv *Server) (Load, error)
}

// Load is what a run of a row did.
type Load struct {
	Messages int
	Elapsed  time.Duration
	// Latencies of single operations, where the row measures them; any order.
	Latencies []time.Duration
	// CPU is what the server used for it, where the row measures a part of its
	// run only; else all of the run counts.
	CPU time.Duration
	// Fsync is how long an append to a file and its sync took, where the row looks.
	Fsync time.Duration
	// PerUnit is resident memory in bytes for each of the row's things, where it
	// weighs them.
	PerUnit float64
}

// Options of [Compare].
type Options struct {
	Server, Peer string // binaries; without Peer natsd is measured alone
	Rounds       int
	Reference    *Reference // figures of the reference's current release; may be nil
	Progress     *os.File   // where a terminal shows what is under way; may be nil
}

// Sample is one run on one server.
type Sample struct {
	MsgsPerSec  float64 `json:"msgs_per_s"`
	CPUPerMsgUs float64 `json:"server_cpu_us_per_msg"`
	PeakRSS     int64   `json:"peak_rss_bytes"`
	P50Us       float64 `json:"p50_us,omitempty"`
	P99Us       float64 `json:"p99_us,omitempty"`
	FsyncUs     float64 `json:"fsync_p50_us,omitempty"`
	PerUnitKiB  float64 `json:"kib_each,omitempty"`
}

// Result is a row measured on both servers, round by round.
type Result struct {
	Row    string   `json:"row"`
	Driver string   `json:"driver"`
	Natsd  []Sample `json:"natsd"`
	Peer   []Sample `json:"peer,omitempty"`

	Verdicts []Verdict `json:"goals,omitempty"`
}

// Compare measures every row on both servers in turn, each time on a fresh
// process, so that a drift of the machine hits both alike.
func Compare(ctx context.Context, o Options, rows []Row) ([]Result, error) {
	var out []Result
	for i, row := range rows {
		r := Result{Row: row.Name, Driver: row.Driver}
		rounds := o.Rounds
		if row.Once {
			rounds = 1
		}
		for round := range rounds {
			o.progress("%d/%d %s, %s, round %d of %d", i+1, len(rows), row.Name, row.Driver, round+1, rounds)
			s, err := measure(ctx, o.Server, row.Conf, row.Run)
			if err != nil {
				return nil, fmt.Errorf("%s (%s) on natsd: %w", row.Name, row.Driver, err)
			}
			r.Natsd = append(r.Natsd, s)
			if o.Peer == "" || row.NoPeer {
				continue
			}
			conf, run := row.Conf, row.Run
			if row.PeerConf != "" {
				conf = row.PeerConf
			}
			if row.PeerRun != nil {
				run = row.PeerRun
			}
			s, err = measure(ctx, o.Peer, conf, run)
			if err != nil {
				return nil, fmt.Errorf("%s (%s) on the peer: %w", row.Name, row.Driver, err)
			}
			r.Peer = append(r.Peer, s)
		}
		out = append(out, r)
	}
	o.progress("")
	for i, row := range rows {
		for _, g := range row.Goals {
			out[i].Verdicts = append(out[i].Verdicts, g.judge(out, out[i], o.Reference))
		}
	}
	return out, nil
}

// progress overwrites one line on a terminal, and says nothing elsewhere.
func (o Options) progress(format string, args ...any) {
	if o.Progress == nil {
		return
	}
	if info, err := o.Progress.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(o.Progress, "\r\x1b[K"+format, args...)
	}
}

// rowTimeout bounds one run of one row: a server that lost a message would
// otherwise be waited for without end.
const rowTimeout = 5 * time.Minute

func measure(ctx context.Context, binary, conf string, run func(context.Context, *Server) (Load, error)) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, rowTimeout)
	defer cancel()
	srv, err := StartServer(ctx, binary, conf)
	if err != nil {
		return Sample{}, err
	}
	defer srv.Stop()
	before, err := srv.CPU()
	if err != nil {
		return Sample{}, err
	}
	load, err := run(ctx, srv)
	if err != nil {
		return Sample{}, err
	}
	after, err := srv.CPU()
	if err != nil {
		return Sample{}, err
	}
	rss, err := srv.PeakRSS()
	if err != nil {
		return Sample{}, err
	}
	used := after - before
	if load.CPU > 0 {
		used = load.CPU
	}
	s := Sample{
		MsgsPerSec:  float64(load.Messages) / load.Elapsed.Seconds(),
		CPUPerMsgUs: float64(used.Microseconds()) / float64(load.Messages),
		PeakRSS:     rss,
		FsyncUs:     float64(load.Fsync.Nanoseconds()) / 1e3,
		PerUnitKiB:  load.PerUnit / 1024,
	}
	if n := len(load.Latencies); n > 0 {
		slices.Sort(load.Latencies)
		s.P50Us = float64(load.Latencies[n/2].Nanoseconds()) / 1e3
		s.P99Us = float64(load.Latencies[n*99/100].Nanoseconds()) / 1e3
	}
	return s, nil
}

// median of f over samples; 0 without any.
func median(samples []Sample, f func(Sample) float64) float64 {
	v := values(samples, f)
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}

// values of f over samples, ascending.
func values(samples []Sample, f func(Sample) float64) []float64 {
	v := make([]float64, 0, len(samples))
	for _, s := range samples {
		v = append(v, f(s))
	}
	slices.Sort(v)
	return v
}
