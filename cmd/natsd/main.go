// Command natsd is the server.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/server/signals"
	"github.com/natsd/natsd/server/version"
)

func main() {
	tuneGC()
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// run is the whole program; it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	cmd, err := options.ParseArgs(args[1:])
	if err != nil {
		fmt.Fprintln(stderr, err)
		fmt.Fprint(stdout, options.Usage())
		return 0
	}
	os.Args = options.RedactArgs(args)
	word := ""
	if len(cmd.Args) > 0 {
		word = strings.ToLower(cmd.Args[0])
	}
	switch {
	case cmd.HelpTLS:
		fmt.Fprint(stdout, options.UsageTLS())
		return 0
	case cmd.Help, word == "help":
		fmt.Fprint(stdout, options.Usage())
		return 0
	case cmd.Version, word == "version":
		fmt.Fprintln(stdout, version.Line())
		return 0
	case word != "":
		err = fmt.Errorf("unrecognized command: %q", cmd.Args[0])
	case cmd.Signal != "":
		err = signals.Send(cmd.Signal, filepath.Base(args[0]))
	case cmd.Test:
		if err = check(cmd, stderr); err == nil {
			return 0
		}
	default:
		return serve(cmd, stderr)
	}
	if err != nil {
		complain(stderr, err)
		return 1
	}
	return 0
}

// complain prints why the program ends.
func complain(w io.Writer, err error) {
	fmt.Fprintf(w, "%s: %s\n", version.Product, err)
}

// check tests the configuration file; a warning is an error here.
func check(cmd *options.CommandLine, w io.Writer) error {
	if cmd.ConfigFile == "" {
		return errors.New("must specify [-c, --config] option to check configuration file syntax")
	}
	opts, err := cmd.Options()
	if err != nil {
		return err
	}
	if len(opts.Warnings) > 0 {
		return &options.Diagnostics{Warnings: opts.Warnings}
	}
	fmt.Fprintf(w, "%s: configuration file %s is valid (%s)\n", version.Product, cmd.ConfigFile, opts.ConfigDigest)
	return nil
}
