package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/vfs"
)

func (t *tool) recover() *cobra.Command {
	var to, backup string
	var inPlace bool
	cmd := &cobra.Command{
		Use:   "recover DIR {--to NEW | --in-place --backup BACKUP}",
		Short: "Save everything that is readable",
		Long: `recover writes everything that is readable into a new store directory that
nats-server and natsd open, and says what was lost. DIR is not changed.

With --in-place, streams that are damaged are repaired where they are; each is
first copied to BACKUP. Streams without damage are not touched.

Exit code 1 says that messages were lost.`,
		Args: arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case inPlace && (to != "" || backup == ""):
				return usage("--in-place goes with --backup BACKUP and without --to")
			case !inPlace && to == "":
				return usage("one of --to NEW and --in-place is needed")
			case !inPlace && backup != "":
				return usage("--backup goes with --in-place")
			}
			j, err := t.begin(cmd.Context(), inPlace, args[0])
			if err != nil {
				return err
			}
			var res *check.Recovered
			err = j.do(func() (err error) {
				if inPlace {
					res, err = check.RecoverInPlace(args[0], backup, j.opts)
				} else {
					res, err = check.Recover(args[0], to, j.opts)
					if err == nil {
						j.written = to
					}
				}
				return err
			})
			if err != nil {
				return err
			}
			where := ", written to " + to
			if inPlace {
				where = ", the originals are in " + backup
			}
			switch {
			case len(res.Streams) > 0:
			case inPlace:
				where = ", nothing to repair"
			default:
				where = ": " + args[0] + " has no streams"
			}
			lost := uint64(0)
			for _, s := range res.Streams {
				for _, l := range s.Lost {
					lost += l.LastSeq - l.FirstSeq + 1
				}
			}
			if t.json {
				err = t.printJSON(res)
			} else {
				t.printRecovered(res)
				t.printf("%s, %d lost%s\n", plural(len(res.Streams), "stream"), lost, where)
			}
			if err == nil && lost > 0 {
				return &codeError{code: exitDamage}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "new store `DIR`, empty or not existing")
	cmd.Flags().BoolVar(&inPlace, "in-place", false, "repair DIR itself")
	cmd.Flags().StringVar(&backup, "backup", "", "`DIR` that gets a copy of each stream before it is repaired")
	return cmd
}

func (t *tool) printRecovered(res *check.Recovered) {
	for _, s := range res.Streams {
		t.printf("%s > %s: %s recovered\n", s.Account, s.Stream, plural(s.Recovered, "message"))
		for _, l := range s.Lost {
			t.printf("  lost %s: %s\n", span(l), l.Reason)
		}
		for _, n := range s.Notes {
			t.printf("  %s\n", n)
		}
	}
}

// span is "5", or "5 to 7".
func span(l check.Lost) string {
	if l.FirstSeq == l.LastSeq {
		return fmt.Sprint(l.FirstSeq)
	}
	return fmt.Sprintf("%d to %d", l.FirstSeq, l.LastSeq)
}

func (t *tool) replay() *cobra.Command {
	return &cobra.Command{
		Use:   "replay DIR",
		Short: "Put what is only in the commit journal into the blocks",
		Long: `replay does what natsd does first when it starts: it puts records that are only in
the commit journal of the store directory into their blocks, and brings the states
of consumers up to date. After a power cut that is needed before nats-server may
open the directory. Other commands do it by themselves before they change
anything, and those that only read count what is in the journal as stored.`,
		Args: arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := t.begin(cmd.Context(), false, args[0])
			if err != nil {
				return err
			}
			j.written = check.Root(j.dir, j.opts)
			j.release.Close() // the journal's own lock takes its place
			res, err := check.Replay(args[0], j.opts)
			if err != nil {
				return j.end(err)
			}
			if t.json {
				return j.end(t.printJSON(res))
			}
			if res.Segments == 0 {
				t.printf("nothing to replay: the commit journal is empty\n")
				return j.end(nil)
			}
			t.printf("%s replayed: %s written, %d present already, %d dropped, %s brought up to date\n", plural(res.Segments, "segment"), plural(res.Applied, "record"), res.Present, res.Dropped, plural(res.States, "consumer"))
			return j.end(nil)
		},
	}
}

func (t *tool) convertCipher() *cobra.Command {
	var to, newKey string
	cmd := &cobra.Command{
		Use:   "convert-cipher DIR --to {chacha|aes|none}",
		Short: "Encrypt, decrypt, or change the cipher or key",
		Long: `convert-cipher makes all of a directory encrypted with another cipher or key, or
plain. --key-file is the key so far; --new-key-file the one to encrypt with, if it
is another one or the directory is plain.

Every record is verified on the way; a damaged stream is not touched. It may be
stopped at any point and goes on when it is started again with the same flags.
Do not start a server before it is complete.`,
		Args: arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			now, err := t.keys()
			if err != nil {
				return err
			}
			target, err := t.target(to, newKey, now)
			if err != nil {
				return err
			}
			j, err := t.begin(cmd.Context(), true, args[0])
			if err != nil {
				return err
			}
			return t.convert(j, func() (*check.Converted, error) { return check.ConvertCipher(args[0], target, j.opts) })
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "`CIPHER`: chacha, aes or none")
	cmd.Flags().StringVar(&newKey, "new-key-file", "", "`FILE` with the key to encrypt with")
	return cmd
}

// target is the key ring that a conversion writes with.
func (t *tool) target(to, newKey string, now check.Keys) (check.Keys, error) {
	if to == "none" {
		if newKey != "" {
			return check.Keys{}, usage("--new-key-file makes no sense with --to none")
		}
		return check.Keys{}, nil
	}
	if to == "" {
		return check.Keys{}, usage("what to convert to is missing: --to chacha, aes or none")
	}
	cipher, err := check.ParseCipher(to)
	if err != nil {
		return check.Keys{}, usage("--to is chacha, aes or none, not %q", to)
	}
	k := check.Keys{Key: now.Key, Cipher: cipher}
	if newKey != "" {
		if k.Key, err = readKey(newKey); err != nil {
			return k, err
		}
	}
	if !k.Enabled() {
		return k, usage("a key is needed to encrypt: use --new-key-file, --key-file or %s", keyVariable)
	}
	return k, nil
}

func (t *tool) convertCompression() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "convert-compression DIR --to {s2|none}",
		Short: "Compress or decompress blocks",
		Long: `convert-compression compresses or decompresses the blocks of each stream, except
the last one, which servers append to, and sets the configuration accordingly.

Every record is verified on the way; a damaged stream is not touched. It may be
stopped at any point and goes on when it is started again.`,
		Args: arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch to {
			case "s2", "none":
			case "":
				return usage("what to convert to is missing: --to s2 or none")
			default:
				return usage("--to is s2 or none, not %q", to)
			}
			j, err := t.begin(cmd.Context(), true, args[0])
			if err != nil {
				return err
			}
			return t.convert(j, func() (*check.Converted, error) { return check.ConvertCompression(args[0], to == "s2", j.opts) })
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "`FORM`: s2 or none")
	return cmd
}

func (t *tool) convert(j *job, work func() (*check.Converted, error)) error {
	var res *check.Converted
	err := j.do(func() (err error) {
		res, err = work()
		return err
	})
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(res)
	}
	t.printf("%s: %s rewritten, %d as wanted already\n", plural(res.Streams, "stream"), plural(res.Blocks, "block"), res.Unchanged)
	return nil
}

func (t *tool) export() *cobra.Command {
	var format, to string
	cmd := &cobra.Command{
		Use:   "export DIR [--format jsonl|snapshot] [--to PATH]",
		Short: "Write messages as JSON lines, or streams as snapshots",
		Long: `export --format jsonl writes one JSON object per message, in the order of account,
stream and sequence, to standard output or to the file --to:
  {"account","stream","seq","time","subject","hdrs","data"}
hdrs is the raw header block and data the payload, both in base64.

export --format snapshot writes each stream as a backup for 'nats stream restore',
to the directory --to: <account>/<stream>/backup.json and stream.tar.s2.

Exit code 1 says that some messages could not be read.`,
		Args: arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "jsonl" && format != "snapshot" {
				return usage("--format is jsonl or snapshot, not %q", format)
			}
			if format == "snapshot" && to == "" {
				return usage("--format snapshot needs a directory: --to DIR")
			}
			j, err := t.begin(cmd.Context(), false, args[0])
			if err != nil {
				return err
			}
			var res *check.Exported
			err = j.do(func() (err error) {
				if format == "snapshot" {
					res, err = check.ExportSnapshot(args[0], to, j.opts)
				} else {
					if to == "" {
						j.progress.hide(t.stdout)
					}
					res, err = t.exportLines(args[0], to, j.opts)
				}
				return err
			})
			if err != nil {
				return err
			}
			switch {
			case t.json && to != "":
				err = t.printJSON(res)
			case res.Lost > 0 || to != "":
				fmt.Fprintf(t.stderr, "%s, %s, %d lost\n", plural(res.Streams, "stream"), plural(res.Messages, "message"), res.Lost)
			}
			if err == nil && res.Lost > 0 {
				return &codeError{code: exitDamage}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "jsonl", "`FORMAT`: jsonl or snapshot")
	cmd.Flags().StringVar(&to, "to", "", "file or directory to write to")
	return cmd
}

// exportLines writes to standard output or to a file that appears under its
// name when it is complete.
func (t *tool) exportLines(dir, to string, opts check.Options) (*check.Exported, error) {
	if to == "" {
		return check.ExportLines(dir, t.stdout, opts)
	}
	if err := check.Apart(dir, to, opts); err != nil {
		return nil, err
	}
	partial := to + ".partial"
	info, err := os.Stat(to)
	switch {
	case err == nil && info.IsDir():
		return nil, usage("%s is a directory: --to names the file to write", to)
	case err == nil && !info.Mode().IsRegular(): // a device, a pipe: nothing takes its place
		partial = to
	}
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	res, err := check.ExportLines(dir, f, opts)
	if partial == to {
		return res, err
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(partial, to)
	}
	if err == nil {
		return res, vfs.OS.SyncDir(filepath.Dir(to))
	}
	return nil, errors.Join(err, os.Remove(partial))
}

func (t *tool) importCmd() *cobra.Command {
	var to, format, account, configFile, cipher string
	cmd := &cobra.Command{
		Use:   "import FILE --to NEW",
		Short: "Make a store directory from JSON lines or a snapshot",
		Long: `import writes the messages of FILE into a new store directory that nats-server
and natsd open. FILE is what export writes: JSON lines ("-" reads standard input),
or a directory of backups, one of these, or an archive.

JSON lines hold no configurations: --config names a file with the configuration
of a stream, or a list of them, in JSON; a stream without one gets a configuration
that keeps everything. With a key the new directory is encrypted.`,
		Args: arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return usage("a new store directory is needed: --to NEW")
			}
			opts := check.ImportOptions{Account: account}
			var err error
			if opts.Keys, err = t.keys(); err != nil {
				return err
			}
			if opts.Keys.Cipher, err = check.ParseCipher(cipher); err != nil {
				return usage("--cipher is chacha or aes, not %q", cipher)
			}
			if configFile != "" {
				if opts.Configs, err = readConfigs(configFile); err != nil {
					return err
				}
			}
			p := newProgress(cmd.Context(), t)
			opts.Progress = p.update
			res, err := t.importFrom(args[0], to, format, opts, p)
			p.finish()
			if err != nil {
				return &codeError{exitRead, plain(err)}
			}
			if t.json {
				return t.printJSON(res)
			}
			for _, s := range res.Streams {
				t.printf("%s > %s: %s\n", s.Account, s.Stream, plural(s.Messages, "message"))
			}
			if len(res.Streams) == 0 {
				t.printf("%s holds no messages: %s has no streams\n", args[0], to)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "new store `DIR`, empty or not existing")
	cmd.Flags().StringVar(&format, "format", "", "`FORMAT`: jsonl or snapshot (default: by the file)")
	cmd.Flags().StringVar(&account, "account", "$G", "`ACCOUNT` for a single backup, which does not name one")
	cmd.Flags().StringVar(&configFile, "config", "", "`FILE` with stream configurations")
	cmd.Flags().StringVar(&cipher, "cipher", "chacha", "`CIPHER` for an encrypted directory: chacha or aes")
	return cmd
}

func (t *tool) importFrom(from, to, format string, opts check.ImportOptions, p *progress) (*check.Imported, error) {
	if from == "-" {
		return check.ImportLines(&meter{r: interruptible(p.ctx, t.stdin), p: p}, to, opts)
	}
	info, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	if format == "" {
		format = "jsonl"
		if info.IsDir() || filepath.Ext(from) == ".s2" {
			format = "snapshot"
		}
	}
	if format == "snapshot" {
		return check.ImportBackup(from, to, opts)
	}
	f, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	res, err := check.ImportLines(&meter{r: f, p: p, total: info.Size()}, to, opts)
	if err != nil {
		err = fmt.Errorf("%s: %w", from, err)
	}
	return res, err
}

// maxConfigs bounds the file of configurations.
const maxConfigs = 64 << 20

func readConfigs(file string) ([]json.RawMessage, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, &codeError{exitRead, err}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigs))
	if err != nil {
		return nil, &codeError{exitRead, err}
	}
	var list []json.RawMessage
	if json.Unmarshal(b, &list) == nil {
		return list, nil
	}
	var one json.RawMessage
	if err := json.Unmarshal(b, &one); err != nil {
		return nil, usage("%s: %v", file, err)
	}
	return []json.RawMessage{one}, nil
}
