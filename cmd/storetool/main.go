// Command storetool examines and repairs JetStream store directories offline:
// those of natsd and those of nats-server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, which scripts rely on.
const (
	exitClean  = 0
	exitDamage = 1 // damage was found, data was lost, or directories differ
	exitUsage  = 2
	exitRead   = 3 // the directory cannot be read or written
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal does not wait for the work to stop
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// codeError is an error that ends the program with a certain code. Without an
// error everything was said already.
type codeError struct {
	code int
	err  error
}

func (e *codeError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *codeError) Unwrap() error { return e.err }

// output is standard output. It keeps the first error, so that a result that could
// not be written is no success.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(b)
	o.err = err
	return n, err
}

func usage(format string, args ...any) error {
	return &codeError{exitUsage, fmt.Errorf(format, args...)}
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := &output{w: stdout}
	root := command(&tool{stdin: stdin, stdout: out, stderr: stderr})
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	code := exitClean
	var ce *codeError
	switch {
	case errors.As(err, &ce):
		code, err = ce.code, ce.err
	case err != nil:
		code = exitUsage // cobra's own errors are about arguments
	}
	if err == nil && out.err != nil {
		code, err = exitRead, out.err
	}
	if err != nil {
		fmt.Fprintln(stderr, "storetool:", err)
		if code == exitUsage {
			fmt.Fprintf(stderr, "Run '%s --help' for how to use it.\n", cmd.CommandPath())
		}
	}
	return code
}

// version is that of the module, or the commit, which the Go tool has put into the
// binary.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

func command(t *tool) *cobra.Command {
	root := &cobra.Command{
		Use:     "storetool",
		Version: version(),
		Short:   "Examine and repair JetStream store directories offline",
		Long: `storetool examines and repairs JetStream store directories while no server
runs on them: those of natsd and those of nats-server.

DIR is a store directory (the parent of "jetstream"), or any part of one: the
jetstream directory, an account, a stream, a block file.

Encrypted directories are opened with the key in the file that --key-file names,
or in the environment variable NATSD_STORE_KEY. The cipher is found by itself.

Exit codes: 0 all is well, 1 damage or loss was found, 2 wrong usage,
3 the directory cannot be read, is in use, or cannot be written.`,
		Example: `  storetool verify /data                                    is anything damaged?
  storetool recover /data --to /data.new                    save what is readable
  storetool export /data/jetstream/A/streams/ORDERS > f     one stream as JSON lines`,
		SuggestionsMinimumDistance: 2,
		SilenceUsage:               true,
		SilenceErrors:              true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknown(cmd, args[0])
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	f := root.PersistentFlags()
	f.BoolVar(&t.json, "json", false, "print JSON instead of text")
	f.StringVar(&t.keyFile, "key-file", "", "`FILE` with the encryption key")
	f.StringVar(&t.prevKeyFile, "prev-key-file", "", "`FILE` with the key before a rotation")
	f.BoolVarP(&t.quiet, "quiet", "q", false, "show no progress")
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = unknown(root, rest[0])
			}
			if err != nil {
				return err
			}
			return cmd.Help()
		},
	})
	root.AddCommand(
		t.verify(), t.inspect(), t.stats(), t.diff(),
		t.recover(), t.replay(), t.convertCipher(), t.convertCompression(),
		t.export(), t.importCmd(),
	)
	return root
}

// unknown is the error about a command that does not exist.
func unknown(root *cobra.Command, name string) error {
	err := fmt.Errorf("unknown command %q", name)
	if like := root.SuggestionsFor(name); len(like) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(like, " or "))
	}
	return err
}
