package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"
)

// Goal is what a row should reach.
type Goal struct {
	Text   string
	Limit  float64
	AtMost bool // the limit is the largest good value, not the smallest
	// Value is what is compared with the limit; 0 where something is missing.
	Value func(all []Result, own Result, ref *Reference) float64
}

// Verdict is a goal and what came out.
type Verdict struct {
	Goal  string  `json:"goal"`
	Value float64 `json:"value"` // 0: it could not be measured
	Limit float64 `json:"limit"`
	Met   bool    `json:"met"`
}

func (g Goal) judge(all []Result, own Result, ref *Reference) Verdict {
	v := Verdict{Goal: g.Text, Limit: g.Limit, Value: g.Value(all, own, ref)}
	v.Met = v.Value > 0 && (v.Value >= g.Limit != g.AtMost || v.Value == g.Limit)
	return v
}

// against compares natsd with the peer of the same row.
func against(text string, limit float64, atMost bool, f func(Sample) float64) Goal {
	return Goal{text, limit, atMost, func(_ []Result, own Result, _ *Reference) float64 { return ratio(own, f) }}
}

func rateGoal(limit float64) Goal { return against("rate against the peer", limit, false, rate) }
func cpuGoal(limit float64) Goal  { return against("processor time against the peer", limit, true, cpu) }
func p50Goal(limit float64) Goal  { return against("p50 against the peer", limit, true, p50) }
func rssGoal() Goal               { return against("peak memory against the peer", 1.5, true, rss) }

// find returns the row of a name and driver.
func find(all []Result, name, driver string) (Result, bool) {
	for _, r := range all {
		if r.Row == name && r.Driver == driver {
			return r, true
		}
	}
	return Result{}, false
}

// besides compares natsd in this row with natsd in another.
func besides(text string, limit float64, atMost bool, name, driver string, f func(Sample) float64) Goal {
	return Goal{text, limit, atMost, func(all []Result, own Result, _ *Reference) float64 {
		other, _ := find(all, name, driver)
		if base := median(other.Natsd, f); base > 0 {
			return median(own.Natsd, f) / base
		}
		return 0
	}}
}

// lone limits a value of natsd itself.
func lone(text string, limit float64, f func(Sample) float64) Goal {
	return Goal{text, limit, true, func(_ []Result, own Result, _ *Reference) float64 { return median(own.Natsd, f) }}
}

// Reference is figures of the reference's current release and of the peer, measured
// together on another machine. They count as ratios only.
type Reference struct {
	Workloads map[string]map[string]struct {
		MsgsPerSec float64 `json:"msgs_per_s"`
	} `json:"workloads"`
}

const (
	referencePeer    = "2.9.10 (Debian)"
	referenceRelease = "2.15.0-dev"
)

// ReadReference reads a file of figures; nil if there is none.
func ReadReference(file string) (*Reference, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r Reference
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &r, nil
}

// againstReference compares this row with a workload of the reference that the peer
// lacks: natsd now / peer in another row now, times peer in that row there / the
// reference there. there is the other row's name in the figures.
func againstReference(text string, limit float64, workload, name, driver, there string) Goal {
	return Goal{text, limit, false, func(all []Result, own Result, ref *Reference) float64 {
		if ref == nil {
			return 0
		}
		other, _ := find(all, name, driver)
		peerNow := median(other.Peer, rate)
		peerThere, refThere := ref.Workloads[there][referencePeer].MsgsPerSec, ref.Workloads[workload][referenceRelease].MsgsPerSec
		if peerNow == 0 || refThere == 0 {
			return 0
		}
		return median(own.Natsd, rate) / peerNow * peerThere / refThere
	}}
}

// WriteVerdicts prints what became of the goals.
func WriteVerdicts(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	met, all := 0, 0
	for _, r := range results {
		for _, v := range r.Verdicts {
			word := "missed"
			switch {
			case v.Met:
				word = "met"
				met++
			case v.Value == 0:
				word = "not measured"
			}
			all++
			fmt.Fprintf(t, "%s\t%s\t%s\t%.3g\tlimit %.3g\t%s\n", r.Row, r.Driver, v.Goal, v.Value, v.Limit, word)
		}
	}
	if all > 0 {
		fmt.Fprintf(t, "%d of %d goals met\n", met, all)
	}
	return t.Flush()
}
