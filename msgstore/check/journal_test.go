package check_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/vfs"
)

// journaled is a store directory as a power cut leaves it: the last record, and
// the last runs of two consumers, are in the commit journal only.
type journaled struct {
	dir, block string
	messages   uint64
	state      consumerstate.State // of the consumer C
}

const consumerInf = `{"Created":"2026-01-01T00:00:00Z","Name":"C","name":"C","durable_name":"C","ack_policy":"explicit","max_deliver":-1}`

func makeJournaled(t *testing.T, retention string, ring msgstore.KeyRing) journaled {
	t.Helper()
	dir := t.TempDir()
	host, err := msgstore.NewHost(dir, msgstore.HostOptions{Manual: true, Commit: commit.Options{JournalFiles: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	cfg := msgstore.Config{Name: "S", Subjects: []string{"s"}, WorkQueue: retention == "workqueue"}
	store, err := msgstore.OpenFileStore(host, cfg, msgstore.FileOptions{Account: "A", Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Stop()
	tracker := consumerstate.NewTracker(consumerstate.Config{})
	apply := func(r consumerstate.Run) consumerstate.Run {
		tracker.Apply(&r)
		return r
	}
	first := apply(consumerstate.Run{Epoch: 1, Op: 1, Steps: []consumerstate.Step{{Kind: consumerstate.StepDelivered, DSeq: 1, SSeq: 1, Num: 3, DC: 1, Time: 5e9}}})
	// The checkpoint has seen the first run.
	state := tracker.State()
	obs := "jetstream/A/streams/S/obs/C"
	_, err = consumerstate.CreateFiles(consumerstate.FilesOptions{FS: host.FS(), Dir: path.Join(dir, obs), Account: "A", Stream: "S", Consumer: "C", Ring: ring},
		[]byte(consumerInf), &state, consumerstate.Checkpoint{Epoch: 1, Op: 1}, 5e9)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	queue := host.Committer().NewQueue(func(ops []*commit.Op) {
		for _, op := range ops {
			done <- op.Err
		}
	})
	log, _ := queue.NewRunLog(obs, func() {})
	submit := func(r consumerstate.Run) error {
		queue.Submit(&commit.Op{Runs: log, Data: r.AppendTo(nil)})
		queue.Run()
		return <-done
	}
	var messages uint64
	stored := func() {
		t.Helper()
		if _, _, err := store.StoreMsg("s", nil, []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		messages++
	}
	for try := 0; ; try++ { // the journal is made ready in the background
		stored()
		if r, err := commit.ReadJournal(host.FS(), dir); err != nil {
			t.Fatal(err)
		} else if r.Report.Files > 0 && messages >= 4 {
			break
		}
		if try == 5000 {
			t.Fatal("the journal was never used")
		}
	}
	second := apply(consumerstate.Run{Epoch: 1, Op: 2, Steps: []consumerstate.Step{
		{Kind: consumerstate.StepAcked, DSeq: 2, SSeq: 2, Num: 1},
		{Kind: consumerstate.StepDelivered, DSeq: 4, SSeq: 4, Num: 1, DC: 1, Time: 7e9},
	}})
	for _, r := range []consumerstate.Run{first, second} {
		if err := submit(r); err != nil {
			t.Fatal(err)
		}
	}
	stored()
	cut := filepath.Join(t.TempDir(), "cut")
	if err := os.CopyFS(cut, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	block := filepath.Join(cut, "jetstream", "A", "streams", "S", "msgs", "1.blk")
	info, err := os.Stat(block)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(block, info.Size()-32); err != nil { // the last record
		t.Fatal(err)
	}
	return journaled{cut, block, messages, tracker.State()}
}

// What is in the commit journal only counts for everything that reads, from any
// part of the directory, and nothing is changed for that. What writes refuses
// until the journal was replayed; the result is what had been read before.
func TestJournal(t *testing.T) {
	for _, retention := range []string{"limits", "workqueue"} {
		for _, ring := range []msgstore.KeyRing{{}, {Key: []byte("key"), Cipher: msgstore.AES}} {
			t.Run(fmt.Sprint(retention, " ", ring.Cipher), func(t *testing.T) {
				j := makeJournaled(t, retention, ring)
				opts := check.Options{Keys: check.Keys{Key: ring.Key}}
				want := j.messages
				if retention == "workqueue" {
					want-- // message 2 is acknowledged
				}
				before := contents(t, j.dir)
				j.look(t, opts, want)
				to := filepath.Join(t.TempDir(), "new")
				if rec, err := check.Recover(j.dir, to, opts); err != nil || rec.Streams[0].Recovered != want || len(rec.Streams[0].Lost) > 0 {
					t.Errorf("recover: %+v, %v", rec, err)
				}
				if d, err := check.Compare(j.dir, to, opts, opts); err != nil || !d.Identical || d.Messages != want {
					t.Errorf("the result differs: %+v, %v", d, err)
				}
				if _, err := check.ConvertCompression(j.dir, true, opts); !errors.Is(err, check.ErrJournal) {
					t.Errorf("convert: %v", err)
				}
				if _, err := check.RecoverInPlace(j.dir, filepath.Join(t.TempDir(), "b"), opts); !errors.Is(err, check.ErrJournal) {
					t.Errorf("recover in place: %v", err)
				}
				if after := contents(t, j.dir); after != before {
					t.Error("looking changed the directory")
				}
				res, err := check.Replay(j.block, opts)
				if err != nil || res.Applied != 1 || res.Runs != 2 || res.States != 1 {
					t.Fatalf("%+v, %v", res, err)
				}
				if needed, err := check.NeedsReplay(j.dir, opts); err != nil || needed {
					t.Errorf("after the replay: %v, %v", needed, err)
				}
				j.checkpointed(t, ring)
				// The runs are in the journal still, and change nothing more.
				if d, err := check.Compare(j.dir, to, opts, opts); err != nil || !d.Identical || d.Messages != want {
					t.Errorf("after the replay: %+v, %v", d, err)
				}
				if _, err := check.ConvertCipher(j.dir, check.Keys{Key: []byte("new")}, opts); err != nil {
					t.Fatal(err)
				}
				if d, err := check.Compare(j.dir, to, check.Options{Keys: check.Keys{Key: []byte("new")}}, opts); err != nil || !d.Identical {
					t.Errorf("after a conversion: %+v, %v", d, err)
				}
			})
		}
	}
}

// checkpointed checks what a server finds after the replay: a state that has seen
// all runs.
func (j *journaled) checkpointed(t *testing.T, ring msgstore.KeyRing) {
	t.Helper()
	files, _, err := consumerstate.OpenFiles(consumerstate.FilesOptions{
		FS: vfs.OS, Dir: filepath.Join(j.dir, "jetstream/A/streams/S/obs/C"), Account: "A", Stream: "S", Consumer: "C", Ring: ring,
	})
	if err != nil {
		t.Fatal(err)
	}
	state, cp, err := files.ReadState()
	if err != nil || state.Delivered != j.state.Delivered || len(state.Pending) != 3 || cp.Epoch != 1 || cp.Op != 2 {
		t.Errorf("after the replay the state is %+v, at %+v, %v", state, cp, err)
	}
}

// look examines the directory by everything that does not change it.
func (j *journaled) look(t *testing.T, opts check.Options, want uint64) {
	t.Helper()
	for _, part := range []string{".", "jetstream", "jetstream/A", "jetstream/A/streams/S"} {
		dir := filepath.Join(j.dir, part)
		rep, err := check.Verify(dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		if !rep.Clean || rep.Streams[0].Messages != want {
			t.Errorf("verify %s: %+v", part, rep)
		}
		kinds := []string{}
		for _, f := range rep.Findings {
			kinds = append(kinds, string(f.Severity)+" "+f.Kind)
		}
		if want := []string{"repairable index-missing", "repairable journal-pending", "info journal-pending"}; !slices.Equal(kinds, want) {
			t.Errorf("verify %s: %q, want %q", part, kinds, want)
		}
		var out bytes.Buffer
		if res, err := check.ExportLines(dir, &out, opts); err != nil || res.Messages != want || bytes.Count(out.Bytes(), []byte("\n")) != int(want) {
			t.Errorf("export %s: %+v, %v", part, res, err)
		}
	}
	if res, err := check.ExportSnapshot(j.dir, filepath.Join(t.TempDir(), "b"), opts); err != nil || res.Messages != want {
		t.Errorf("export as snapshot: %+v, %v", res, err)
	}
	err := check.Summarise(j.dir, opts, func(s *check.Stats) error {
		if s.State.Messages != want {
			t.Errorf("stats: %+v", s)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	err = check.Inspect(j.dir, check.InspectOptions{Options: opts, Consumers: true}, func(x *check.Inspection) error {
		if x.State.Messages != want || len(x.Consumers) != 1 || x.Consumers[0].State == nil {
			t.Fatalf("inspect: %+v", x)
		}
		got := x.Consumers[0].State
		if got.Delivered != j.state.Delivered || got.AckFloor != j.state.AckFloor || len(got.Pending) != 3 || got.Pending[4].Timestamp != int64(7*time.Second) {
			t.Errorf("consumer: %+v, want %+v", got, j.state)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// contents are all files of a directory.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %d\n%s", path, len(content), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
