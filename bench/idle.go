package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// idleCommand measures what connections cost that do nothing.
func idleCommand() *cobra.Command {
	var (
		server string
		n      int
		rest   time.Duration
	)
	cmd := &cobra.Command{
		Use:   "idle",
		Short: "Memory of idle connections with one subscription each, and the CPU of a server that has nothing to do",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := measureIdle(cmd.Context(), server, n, rest)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "idle server: %.3f %% of a core\n%d idle connections: %.1f KiB resident each, %.3f %% of a core\n",
				r.emptyCPU*100, n, r.perConn/1024, r.idleCPU*100)
			return nil
		},
	}
	cmd.Flags().StringVar(&server, "server", "./natsd", "the server `binary`")
	cmd.Flags().IntVar(&n, "connections", 10_000, "how many connections")
	cmd.Flags().DurationVar(&rest, "rest", time.Minute, "how long they rest before they are weighed")
	return cmd
}

type idleResult struct{ perConn, emptyCPU, idleCPU float64 }

func measureIdle(ctx context.Context, binary string, n int, rest time.Duration) (idleResult, error) {
	var r idleResult
	srv, err := StartServer(ctx, binary, "")
	if err != nil {
		return r, err
	}
	defer srv.Stop()
	load := func() (float64, error) {
		before, err := srv.CPU()
		if err != nil {
			return 0, err
		}
		if err := pause(ctx, rest); err != nil {
			return 0, err
		}
		after, err := srv.CPU()
		return (after - before).Seconds() / rest.Seconds(), err
	}
	if r.emptyCPU, err = load(); err != nil {
		return r, err
	}
	empty, err := srv.RSS()
	if err != nil {
		return r, err
	}
	for i := range n {
		c, err := net.Dial("tcp", srv.Addr)
		if err != nil {
			return r, fmt.Errorf("connection %d: %w", i, err)
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"protocol\":1,\"headers\":true}\r\nSUB idle.%d 1\r\nPING\r\n", i); err != nil {
			return r, err
		}
		in := bufio.NewReaderSize(c, 1024)
		for line := ""; line != "PONG\r\n"; {
			if line, err = in.ReadString('\n'); err != nil {
				return r, fmt.Errorf("connection %d: %w", i, err)
			}
			if strings.HasPrefix(line, "-ERR") {
				return r, fmt.Errorf("connection %d: %s", i, line)
			}
		}
	}
	if r.idleCPU, err = load(); err != nil {
		return r, err
	}
	full, err := srv.RSS()
	r.perConn = float64(full-empty) / float64(n)
	return r, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
