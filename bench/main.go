// Command bench drives natsd and a peer server side by side, interleaved in one
// run over loopback, and prints how they compare.
//
//	go build -o natsd ./cmd/natsd
//	go run ./bench core --server ./natsd --peer nats-server
//
// See README.md for what each row measures.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:          "bench",
		Short:        "Compare natsd with a peer server, side by side on this machine",
		SilenceUsage: true,
	}
	root.AddCommand(suiteCommand("core", "Core messaging: publish, fan-out, queue groups, request and reply", coreRows))
	root.AddCommand(suiteCommand("js", "JetStream: publish, get, key-value, consume, start-up; natsd is durable, the peer as it comes", jsRows))
	root.AddCommand(idleCommand(), reloadCommand(), stuckCommand(), floodCommand(), floodSourceCommand(), floodSinkCommand())
	return root
}

// suiteCommand is the command of one suite of rows.
func suiteCommand(name, short string, rows func(scale float64) []Row) *cobra.Command {
	var (
		opts            Options
		only, drivers   string
		jsonOut, svgOut string
		scale           float64
		reference       string
	)
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			match, err := regexp.Compile(only)
			if err != nil {
				return fmt.Errorf("--run: %w", err)
			}
			var picked []Row
			for _, r := range rows(scale) {
				if match.MatchString(r.Name+" "+r.Driver) && strings.Contains(","+drivers+",", ","+r.Driver+",") {
					picked = append(picked, r)
				}
			}
			if len(picked) == 0 {
				return fmt.Errorf("no row matches --run %q and --drivers %q", only, drivers)
			}
			opts.Progress = os.Stderr
			if opts.Reference, err = ReadReference(reference); err != nil {
				return err
			}
			results, err := Compare(cmd.Context(), opts, picked)
			if err != nil {
				return err
			}
			if err := errors.Join(WriteTable(cmd.OutOrStdout(), results), WriteVerdicts(cmd.OutOrStdout(), results)); err != nil {
				return err
			}
			if jsonOut != "" {
				if err := WriteJSON(jsonOut, results); err != nil {
					return err
				}
			}
			if svgOut != "" {
				return WriteSVG(svgOut, name, results)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.Server, "server", "./natsd", "the natsd `binary`")
	f.StringVar(&opts.Peer, "peer", "nats-server", "the `binary` to compare with; empty measures natsd alone")
	f.IntVar(&opts.Rounds, "rounds", 3, "how often each row is measured on each server; the table shows medians")
	f.StringVar(&only, "run", "", "only rows whose name and driver match this regular `expression`")
	f.StringVar(&drivers, "drivers", "lean,nats.go", "which clients drive the servers")
	f.Float64Var(&scale, "scale", 1, "multiplies the number of messages of each row")
	f.StringVar(&reference, "reference", "../shared/reference-figures.json", "a `file` with figures of the reference's current release")
	f.StringVar(&jsonOut, "json", "", "write the results to this `file`, - for standard output")
	f.StringVar(&svgOut, "svg", "", "draw the ratios into this `file`")
	return cmd
}
