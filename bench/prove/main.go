// Command prove runs the long proofs: random tests over as many seeds as wanted.
// The proofs are tests of the packages that they are about; this command builds
// them once, runs them over ranges of seeds in several processes, and sums up.
//
//	go run ./bench/prove powercut-server -n 1000
//	go run ./bench/prove --list
//
// The exit code is 0 if every run passed, 1 if one failed, 2 if the proof could not
// be run.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := command().ExecuteContext(ctx)
	switch {
	case errors.Is(err, errFailed):
		os.Exit(1)
	case err != nil:
		os.Exit(2)
	}
}

// errFailed says that a run of a proof has failed.
var errFailed = errors.New("the proof failed")

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "prove PROOF",
		Short:         "Run one of the long proofs",
		SilenceUsage:  true,
		SilenceErrors: false,
	}
	for _, p := range proofs {
		root.AddCommand(p.command())
	}
	return root
}

// command of one proof.
func (p *proof) command() *cobra.Command {
	opts := options{seed: 1}
	var jsonOut bool
	cmd := &cobra.Command{
		Use:   p.name,
		Short: p.about,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.n < 1 || opts.jobs < 1 {
				return errors.New("counts must be positive")
			}
			began := time.Now()
			res, err := p.run(cmd.Context(), opts, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			res.Seconds = time.Since(began).Seconds()
			if jsonOut {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(res)
			} else {
				err = res.print(cmd.OutOrStdout())
			}
			if err == nil && len(res.Failures) > 0 {
				err = errFailed
			}
			return err
		},
	}
	f := cmd.Flags()
	f.IntVarP(&opts.n, p.unit(), "n", p.count, "how many "+p.unit())
	f.Uint64Var(&opts.seed, "seed", 1, "first seed")
	f.IntVarP(&opts.jobs, "jobs", "j", runtime.GOMAXPROCS(0), "processes side by side")
	f.BoolVar(&opts.race, "race", false, "with the race detector")
	f.BoolVar(&opts.keepGoing, "keep-going", false, "go on behind a failure")
	f.BoolVar(&jsonOut, "json", false, "print the result as JSON")
	return cmd
}

// result is what a proof has shown.
type result struct {
	Proof     string    `json:"proof"`
	FirstSeed uint64    `json:"first_seed"`
	Seeds     int       `json:"seeds"` // that were tried
	Unit      string    `json:"unit"`
	Count     int       `json:"count"` // in units
	Seconds   float64   `json:"seconds"`
	Failures  []failure `json:"failures"`
}

type failure struct {
	Seed uint64 `json:"seed"` // 0: the output names none
	Text string `json:"text"`
}

func (r *result) print(w io.Writer) error {
	for _, f := range r.Failures {
		fmt.Fprintf(w, "FAILED seed %d: %s\n", f.Seed, f.Text)
	}
	verdict := "HOLDS"
	if len(r.Failures) > 0 {
		verdict = fmt.Sprintf("DOES NOT HOLD (%d failures)", len(r.Failures))
	}
	_, err := fmt.Fprintf(w, "%s %s: %d %s, seeds %d to %d, %.0f s\n", r.Proof, verdict, r.Count, r.Unit, r.FirstSeed, r.FirstSeed+uint64(r.Seeds)-1, r.Seconds)
	return err
}
