package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/subjecttree"
)

func (t *tool) verify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR",
		Short: "Read everything and report every damage",
		Long: `verify reads every byte of a store directory, account, stream or block, checks
it, and prints what it finds, with file, offset and sequences. It changes nothing.

Findings are of three kinds: "damage" (data is lost or unreadable; exit code 1),
"repairable" (a derived file is missing, stale or corrupt, or the end of a write
was torn before it was acknowledged; servers repair it by themselves) and "info".`,
		Args: arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := t.begin(cmd.Context(), false, args[0])
			if err != nil {
				return err
			}
			var rep *check.Report
			err = j.do(func() (err error) {
				rep, err = check.Verify(args[0], j.opts)
				return err
			})
			if err != nil {
				return err
			}
			if t.json {
				err = t.printJSON(rep)
			} else {
				t.printReport(rep)
			}
			if err == nil && !rep.Clean {
				return &codeError{code: exitDamage}
			}
			return err
		},
	}
}

func (t *tool) printReport(rep *check.Report) {
	w := tabwriter.NewWriter(t.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "messages\tbytes\tfirst\tlast\tdeleted\tconsumers\t  stream")
	for _, s := range rep.Streams {
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%d\t  %s > %s\n", s.Messages, size(int64(s.Bytes)), s.FirstSeq, s.LastSeq, s.NumDeleted, s.Consumers, s.Account, s.Stream)
	}
	w.Flush()
	for _, f := range rep.Findings {
		t.printf("%s\n", f)
	}
	damaged := 0
	for _, f := range rep.Findings {
		if f.Severity == check.Damage {
			damaged++
		}
	}
	if rep.Clean {
		t.printf("clean: %s, %s\n", plural(len(rep.Streams), "stream"), plural(len(rep.Findings), "finding"))
	} else {
		t.printf("DAMAGED: %s of damage; 'storetool recover DIR --to NEW' saves what is readable\n", plural(damaged, "finding"))
	}
}

func (t *tool) inspect() *cobra.Command {
	var opts check.InspectOptions
	var filter string
	cmd := &cobra.Command{
		Use:   "inspect DIR",
		Short: "Show how a directory is laid out",
		Long: `inspect shows each stream of a directory as it is stored: state, encryption,
compression, index; with flags also its blocks, records, subjects and consumers.`,
		Args: arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if filter != "" {
				if !subjecttree.Valid(filter) {
					return usage("%q is no subject", filter)
				}
				opts.Match = func(s string) bool { return subjecttree.Matches(s, filter) }
			}
			j, err := t.begin(cmd.Context(), false, args[0])
			if err != nil {
				return err
			}
			opts.Options = j.opts
			return j.do(func() error {
				list := []*check.Inspection{}
				err := check.Inspect(args[0], opts, func(x *check.Inspection) error {
					if t.json {
						list = append(list, x)
					} else {
						j.progress.finish()
						t.printInspection(x)
					}
					return nil
				})
				if err == nil && t.json {
					err = t.printJSON(map[string]any{"streams": list})
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&opts.Blocks, "blocks", false, "list blocks")
	cmd.Flags().BoolVar(&opts.Records, "records", false, "list records")
	cmd.Flags().BoolVar(&opts.Subjects, "subjects", false, "list subjects")
	cmd.Flags().BoolVar(&opts.Consumers, "consumers", false, "list consumers")
	cmd.Flags().StringVar(&filter, "filter", "", "only records and subjects that match this `SUBJECT`")
	return cmd
}

func (t *tool) printInspection(x *check.Inspection) {
	t.printf("%s > %s\n", x.Account, x.Stream)
	t.printf("  directory    %s\n", x.Dir)
	t.printf("  created      %s\n", x.Created.Format(time.RFC3339))
	t.printf("  encryption   %s\n", x.Encryption)
	t.printf("  compression  %s\n", x.Compression)
	t.printf("  index.db     %s\n", x.Index)
	t.printf("  state        %s, %s, sequences %d to %d, %d deleted\n", plural(x.State.Messages, "message"), size(int64(x.State.Bytes)), x.State.FirstSeq, x.State.LastSeq, x.State.NumDeleted)
	t.printf("  subjects     %d\n", x.NumSubjects)
	t.printf("  consumers    %d\n", x.State.Consumers)
	t.printf("  blocks       %d, %s on disk, %s decompressed\n", x.NumBlocks, size(x.DiskBytes), size(x.RawBytes))
	for _, l := range x.Lost {
		t.printf("  LOST         %s: %s\n", span(l), l.Reason)
	}
	w := tabwriter.NewWriter(t.stdout, 0, 0, 2, ' ', 0)
	if len(x.Blocks) > 0 {
		fmt.Fprintln(w, "  block\tsize\traw\tfirst\tlast\trecords\tlive\tform")
		for _, b := range x.Blocks {
			form := b.Cipher
			if b.Compressed {
				form += " s2"
			}
			if b.Error != "" {
				form += " UNREADABLE: " + b.Error
			}
			fmt.Fprintf(w, "  %d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", b.Number, b.Size, b.RawSize, b.FirstSeq, b.LastSeq, b.Records, b.Messages, form)
		}
	}
	if len(x.Records) > 0 {
		fmt.Fprintln(w, "  block\toffset\tsize\tkind\tseq\ttime\theader\tdata\tsubject")
		for _, r := range x.Records {
			kind := r.Kind
			if kind == "message" && !r.Live {
				kind = "removed"
			}
			fmt.Fprintf(w, "  %d\t%d\t%d\t%s\t%d\t%s\t%d\t%d\t%s\n", r.Block, r.Offset, r.Size, kind, r.Seq, r.Time.Format(time.RFC3339Nano), r.Header, r.Data, r.Subject)
		}
	}
	if len(x.Subjects) > 0 {
		fmt.Fprintln(w, "  subject\tmessages\tbytes\tfirst\tlast")
		for _, s := range x.Subjects {
			fmt.Fprintf(w, "  %s\t%d\t%d\t%d\t%d\n", s.Subject, s.Messages, s.Bytes, s.FirstSeq, s.LastSeq)
		}
	}
	if len(x.Consumers) > 0 {
		fmt.Fprintln(w, "  consumer\tdelivered\tack floor\tpending\tredelivered")
		for _, c := range x.Consumers {
			if c.State == nil {
				fmt.Fprintf(w, "  %s\t-\t-\t-\t-\n", c.Name)
				continue
			}
			d, f := c.State.Delivered, c.State.AckFloor
			fmt.Fprintf(w, "  %s\t%d/%d\t%d/%d\t%d\t%d\n", c.Name, d.Consumer, d.Stream, f.Consumer, f.Stream, len(c.State.Pending), len(c.State.Redelivered))
		}
	}
	w.Flush()
}

func (t *tool) stats() *cobra.Command {
	return &cobra.Command{
		Use:   "stats DIR",
		Short: "Show figures about the messages of each stream",
		Args:  arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := t.begin(cmd.Context(), false, args[0])
			if err != nil {
				return err
			}
			return j.do(func() error {
				list := []*check.Stats{}
				err := check.Summarise(args[0], j.opts, func(x *check.Stats) error {
					if t.json {
						list = append(list, x)
					} else {
						j.progress.finish()
						t.printStats(x)
					}
					return nil
				})
				if err == nil && t.json {
					err = t.printJSON(map[string]any{"streams": list})
				}
				return err
			})
		},
	}
}

func (t *tool) printStats(x *check.Stats) {
	t.printf("%s > %s\n", x.State.Account, x.State.Stream)
	t.printf("  messages   %d (%s), %d deleted, %d lost, %s\n", x.State.Messages, size(int64(x.State.Bytes)), x.State.NumDeleted, x.Lost, plural(x.State.Consumers, "consumer"))
	t.printf("  blocks     %d, %s on disk, %s decompressed\n", x.NumBlocks, size(x.DiskBytes), size(x.RawBytes))
	if x.State.Messages == 0 {
		return
	}
	t.printf("  time       %s to %s, %.1f messages a second\n", x.FirstTime.Format(time.RFC3339), x.LastTime.Format(time.RFC3339), x.PerSecond)
	t.printf("  size       %d to %d bytes, mean %.0f\n", x.MinSize, x.MaxSize, x.MeanSize)
	most := uint64(1)
	for _, c := range x.Sizes {
		most = max(most, c.Messages)
	}
	for _, c := range x.Sizes {
		t.printf("    < %-9s %-40s %d\n", size(int64(c.Below)), strings.Repeat("#", int((c.Messages*40+most-1)/most)), c.Messages)
	}
	t.printf("  subjects   %d, most messages:\n", x.NumSubjects)
	for _, s := range x.Top {
		t.printf("    %d  %s\n", s.Messages, s.Subject)
	}
}

func (t *tool) diff() *cobra.Command {
	var keyB string
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare what two directories hold",
		Long: `diff compares two directories by what they hold: messages, configurations and
consumers. How it is stored, encrypted and compressed does not matter.
Exit code 1 says that they differ.`,
		Args: arguments("A", "B"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var other []byte
			var err error
			if keyB != "" {
				if other, err = readKey(keyB); err != nil {
					return err
				}
			}
			j, err := t.begin(cmd.Context(), false, args[0], args[1])
			if err != nil {
				return err
			}
			optsB := j.opts
			if other != nil {
				optsB.Keys.Key = other
			}
			var d *check.Diff
			err = j.do(func() (err error) {
				d, err = check.Compare(args[0], args[1], j.opts, optsB)
				return err
			})
			if err != nil {
				return err
			}
			if t.json {
				err = t.printJSON(d)
			} else {
				for _, x := range d.Differences {
					t.printf("%s\n", x)
				}
				if d.Identical {
					t.printf("identical: %s\n", plural(d.Messages, "message"))
				} else {
					t.printf("%s, %s compared\n", plural(len(d.Differences), "difference"), plural(d.Messages, "message"))
				}
			}
			if err == nil && !d.Identical {
				return &codeError{code: exitDamage}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&keyB, "key-file-b", "", "`FILE` with the key of B, if it is another one")
	return cmd
}
