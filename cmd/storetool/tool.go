package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/natsd/natsd/msgstore/check"
)

// keyVariable holds the key when there is no --key-file.
const keyVariable = "NATSD_STORE_KEY"

// tool is one run of the program: its flags and streams.
type tool struct {
	stdin  io.Reader
	stdout *output
	stderr io.Writer

	json, quiet          bool
	keyFile, prevKeyFile string
}

// keys reads the encryption keys. They never come from the command line, where
// every user of the machine can read them.
func (t *tool) keys() (check.Keys, error) {
	var k check.Keys
	var err error
	switch {
	case t.keyFile != "":
		k.Key, err = readKey(t.keyFile)
	case os.Getenv(keyVariable) != "":
		k.Key = []byte(os.Getenv(keyVariable))
	}
	if err == nil && t.prevKeyFile != "" {
		k.PrevKey, err = readKey(t.prevKeyFile)
	}
	return k, err
}

// maxKey bounds a key file; keys are passphrases.
const maxKey = 64 << 10

func readKey(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, &codeError{exitRead, fmt.Errorf("key file %w", plain(err))}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return nil, &codeError{exitRead, fmt.Errorf("key file %w", plain(err))}
	}
	// An editor ends the file with a newline, which is not part of the key.
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 || len(b) > maxKey {
		return nil, usage("key file %s holds a key of %d bytes", file, len(b))
	}
	return b, nil
}

// arguments demands exactly the arguments of these names.
func arguments(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s is missing", names[len(args)])
		case len(args) > len(names):
			return fmt.Errorf("one argument too many: %q", args[len(names)])
		}
		return nil
	}
}

// job is the part that commands share: keys, progress, the lock on a directory.
type job struct {
	opts     check.Options
	progress *progress
	release  io.Closer
	dir      string // that is read
	written  string // the directory that is changed or made, "" if there is none
}

// begin prepares a command that works on directories; write says that it changes
// the one. What is in the commit journal only is put into the blocks before anything
// is changed.
func (t *tool) begin(ctx context.Context, write bool, dirs ...string) (*job, error) {
	k, err := t.keys()
	if err != nil {
		return nil, err
	}
	j := &job{opts: check.Options{Keys: k}, dir: dirs[0]}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			return nil, &codeError{exitRead, plain(err)}
		}
	}
	if j.release, err = check.Acquire(write, j.opts, dirs...); err != nil {
		return nil, &codeError{exitRead, noStore(err)}
	}
	if write {
		j.written = check.Root(j.dir, j.opts)
		if err := t.replayFirst(j, j.dir); err != nil {
			j.release.Close()
			return nil, &codeError{exitRead, err}
		}
	}
	j.progress = newProgress(ctx, t)
	j.progress.resumes = write
	j.opts.Progress = j.progress.update
	return j, nil
}

// replayFirst replays the commit journal if that is needed. The replay takes the
// lock itself.
func (t *tool) replayFirst(j *job, dir string) error {
	needed, err := check.NeedsReplay(dir, j.opts)
	if err != nil || !needed {
		return err
	}
	j.release.Close()
	res, err := check.Replay(dir, j.opts)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.stderr, "replayed the commit journal: %s written, %d present already\n", plural(res.Applied, "record"), res.Present)
	j.release, err = check.Acquire(true, j.opts, dir)
	return err
}

// end finishes the progress line and gives the directory back. It translates
// the error of the work into the program's.
func (j *job) end(err error) error {
	j.progress.finish()
	if j.written != "" {
		err = errors.Join(err, bequeath(j.written, j.dir))
	}
	j.release.Close()
	var ce *codeError
	switch {
	case err == nil || errors.As(err, &ce):
		return err
	case errors.Is(err, check.ErrKeyNeeded):
		return &codeError{exitRead, fmt.Errorf("%w: use --key-file or %s", err, keyVariable)}
	case errors.Is(err, check.ErrWrongKey):
		return &codeError{exitRead, fmt.Errorf("%w: --key-file or %s has the wrong one; one from before a rotation goes with --prev-key-file", err, keyVariable)}
	case errors.Is(err, check.ErrNoStore):
		return &codeError{exitRead, noStore(err)}
	case errors.Is(err, syscall.ENOSPC) && j.progress.resumes:
		return &codeError{exitRead, fmt.Errorf("%w: make room; the same command goes on from here", err)}
	case errors.Is(err, check.ErrDamaged):
		return &codeError{exitDamage, err}
	}
	return &codeError{exitRead, err}
}

// noStore adds to the error about a path that is none what would be one.
func noStore(err error) error {
	if !errors.Is(err, check.ErrNoStore) {
		return err
	}
	return fmt.Errorf("%w: a store directory (the parent of \"jetstream\"), an account, a stream or a block file is needed", err)
}

// plain leaves the name of the system call out of an error.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return err
}

// do runs the work of a command and finishes the job.
func (j *job) do(work func() error) error { return j.end(work()) }

func (t *tool) printJSON(v any) error {
	enc := json.NewEncoder(t.stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return &codeError{exitRead, err}
	}
	return nil
}

func (t *tool) printf(format string, args ...any) { fmt.Fprintf(t.stdout, format, args...) }

// size writes a number of bytes for people.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// plural is "1 message", "2 messages".
func plural[T int | uint64](n T, word string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, word)
	}
	return fmt.Sprintf("%d %s", n, word+map[bool]string{true: "es", false: "s"}[strings.HasSuffix(word, "s")])
}
