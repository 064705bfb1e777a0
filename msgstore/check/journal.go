package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/seqset"
	"github.com/natsd/natsd/msgstore/vfs"
)

// What is in natsd's commit journal only counts for everything that reads: the
// blocks are seen as they will be after the replay, and consumers with the runs
// behind their checkpoints. Nothing is changed for that. What changes a directory
// wants the journal replayed first.

// ErrJournal says that the commit journal was not replayed.
var ErrJournal = errors.New("the commit journal was not replayed")

// openStore finds the streams of path and reads the commit journal beside them.
func openStore(path string, opts *Options) (*tree, error) {
	t, err := openTree(vfs.ReadOnly(opts.fs()), path)
	if err != nil {
		return nil, err
	}
	t.journal = new(commit.Unreplayed)
	if t.store == "" {
		return t, nil
	}
	if t.journal, err = commit.ReadJournal(opts.fs(), t.store); err != nil {
		return nil, err
	}
	t.fs = t.journal.FS()
	return t, nil
}

func (t *tree) journalDir() string { return filepath.Join(t.store, "natsd") }

// journalFindings reports a commit journal that is not empty.
func (t *tree) journalFindings() (list []Finding) {
	r := &t.journal.Report
	if r.Applied > 0 {
		list = append(list, Finding{Severity: Repairable, Kind: KindJournal, File: t.journalDir(),
			Detail: fmt.Sprintf("%d records (%d bytes) are in the commit journal only; they are counted as stored: a start of natsd, or 'storetool replay', puts them into the blocks", r.Applied, r.Bytes)})
	}
	if r.Runs > 0 {
		list = append(list, Finding{Severity: Info, Kind: KindJournal, File: t.journalDir(),
			Detail: fmt.Sprintf("%d runs of deliveries and acknowledgements of consumers, which are counted; natsd applies them when it starts", r.Runs)})
	}
	for _, d := range t.journal.Damage {
		list = append(list, Finding{Severity: Damage, Kind: KindJournalDamaged, File: d.Path, Offset: d.From,
			Detail: fmt.Sprintf("%d bytes of the commit journal cannot be read: records in them may be lost", d.To-d.From)})
	}
	return list
}

// NeedsReplay says whether the commit journal of the store directory of path has
// records of blocks, so that nothing can be changed before Replay.
func NeedsReplay(path string, opts Options) (bool, error) {
	t, err := openTree(vfs.ReadOnly(opts.fs()), path)
	if err != nil || t.store == "" {
		return false, err
	}
	j, err := commit.ReadJournal(opts.fs(), t.store)
	return err == nil && j.Report.Files > 0, err
}

// mustBeReplayed refuses to change a directory whose journal was not replayed.
func mustBeReplayed(path string, opts *Options) error {
	needed, err := NeedsReplay(path, *opts)
	if err == nil && needed {
		err = fmt.Errorf("%s: %w: run 'storetool replay' first", path, ErrJournal)
	}
	return err
}

// Replayed is the result of Replay.
type Replayed struct {
	Segments int   `json:"segments"` // of the journal
	Files    int   `json:"files"`    // blocks that the journal was about
	Applied  int   `json:"applied"`  // records put into them
	Present  int   `json:"present"`  // records that they held already
	Dropped  int   `json:"dropped"`  // records whose block is gone or went on differently
	Bytes    int64 `json:"bytes"`    // written
	Runs     int   `json:"runs"`     // of consumers
	States   int   `json:"states"`   // of consumers that were brought up to date
}

// Replay puts what is only in the commit journal of a store directory into its
// blocks and into the states of its consumers, as natsd does when it starts, and
// empties the journal. Only the runs of consumers stay, which tell natsd what
// their acknowledgements have still to remove. A consumer whose state cannot be
// read, or not without a key, is left as it is.
func Replay(path string, opts Options) (*Replayed, error) {
	t, err := openTree(vfs.ReadOnly(opts.fs()), path)
	if err != nil {
		return nil, err
	}
	if t.store == "" {
		return nil, fmt.Errorf("%s: %w", path, ErrNoStore)
	}
	var res Replayed
	c, err := commit.Open(t.store, commit.Options{FS: opts.fs(), Listener: func(e commit.Event) {
		if r, ok := e.(commit.JournalReplayed); ok {
			res = Replayed{Segments: r.Segments, Files: r.Files, Applied: r.Applied, Present: r.Present, Dropped: r.Dropped, Bytes: r.Bytes, Runs: r.Runs}
		}
	}})
	if err != nil {
		return nil, err
	}
	if res.Runs > 0 {
		res.States, err = checkpoint(t.store, &opts)
	}
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	return &res, nil
}

// checkpoint writes the states of consumers with what the journal has behind them.
func checkpoint(store string, opts *Options) (written int, err error) {
	t, err := openStore(store, opts)
	if err != nil {
		return 0, err
	}
	for _, loc := range t.streams {
		s, err := openStream(t, loc, opts)
		if errors.Is(err, ErrKeyNeeded) {
			continue
		}
		if err != nil {
			return written, err
		}
		for _, c := range s.consumers() {
			if c.checkpoint == nil || c.damaged || c.keys.pending || c.keys.sealed && c.keys.key == nil {
				continue
			}
			if err := sealFile(opts.fs(), filepath.Join(c.dir, "o.dat"), c.plain, c.keys.key); err != nil {
				return written, err
			}
			scan := c.checkpoint.Append(nil, s.stream+"/"+c.name)
			if err := vfs.ReplaceFile(opts.fs(), filepath.Join(c.dir, "scan.db"), scan, 0o600); err != nil {
				return written, err
			}
			written++
		}
	}
	return written, nil
}

// runs are the runs of a consumer that the journal holds.
func (s *stream) runs(consumerDir string) ([]consumerstate.Run, error) {
	name, err := filepath.Rel(s.store, consumerDir)
	if err != nil || s.store == "" {
		return nil, nil // no journal
	}
	var list []consumerstate.Run
	for _, b := range s.journal.Runs(filepath.ToSlash(name)) {
		r, err := consumerstate.DecodeRun(b)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// applyRuns brings the state of a consumer, which its files hold, to where the
// journal says that it was.
func (s *stream) applyRuns(c *consumer) error {
	runs, err := s.runs(c.dir)
	if err != nil || len(runs) == 0 {
		return err
	}
	var cfg struct {
		AckPolicy  string `json:"ack_policy"`
		MaxDeliver int    `json:"max_deliver"`
	}
	if err := json.Unmarshal(c.inf, &cfg); err != nil {
		return err
	}
	policy := consumerstate.AckAll
	switch cfg.AckPolicy {
	case "none":
		policy = consumerstate.AckNone
	case "explicit":
		policy = consumerstate.AckExplicit
	}
	t := consumerstate.NewTracker(consumerstate.Config{Policy: policy, MaxDeliver: cfg.MaxDeliver})
	if c.state != nil {
		if err := t.ForceUpdate(c.state); err != nil {
			return err
		}
	}
	// scan.db says which runs the state has seen; without it applying them again
	// changes nothing that they had changed.
	var cp consumerstate.Checkpoint
	if b, err := s.read(filepath.Join(c.dir, "scan.db"), maxMeta); err == nil && b != nil {
		cp, err = consumerstate.DecodeCheckpoint(b, s.stream+"/"+c.name)
		if err == nil && cp.StateSum == consumerstate.StateSum(c.stored) {
			t.Resume(cp.Epoch, cp.Op)
		}
	}
	newest := int64(0)
	for i := range runs {
		t.Apply(&runs[i])
		for _, step := range runs[i].Steps {
			newest = max(newest, step.Time)
		}
	}
	state := t.State()
	c.state, c.plain = &state, state.Append(nil, newest)
	cp.Delivered, cp.Scanned = state.Delivered.Stream, max(cp.Scanned, t.Scanned())
	cp.Epoch, cp.Op = t.Position()
	cp.StateSum = consumerstate.StateSum(c.plain)
	c.checkpoint = &cp
	return nil
}

// released are the messages of a work queue whose acknowledgement is in the
// journal, but not their removal, which natsd makes good when it starts.
func (s *stream) released() (*seqset.Set, error) {
	set := new(seqset.Set)
	if s.cfg.Retention != "workqueue" {
		return set, nil
	}
	for _, dir := range s.obs {
		runs, err := s.runs(dir)
		if err != nil {
			return nil, fmt.Errorf("%s: the commit journal: %w", dir, err)
		}
		for _, r := range runs {
			for _, step := range r.Steps {
				if step.Kind == consumerstate.StepAcked && step.DSeq > 0 {
					set.InsertRange(step.SSeq, step.SSeq+step.Num-1)
				}
			}
		}
	}
	return set, nil
}
