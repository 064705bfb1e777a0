package msgstore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/internal/independent"
	"github.com/natsd/natsd/msgstore/vfs"
)

var update = flag.Bool("update", false, "write testdata/fixtures.txt anew")

// numFixtures is how many cases there are: none is left out.
const numFixtures = 49

// expired stands for the case kill9-never-age with the messages that had expired
// before it was opened: storetool leaves them to the server that opens the result.
const expired = "kill9-never-age, recovered"

// What cannot be told from the directory of a case, and so is not as the truth is.
var (
	// The reference removed message 20 and wrote nothing about it: a directory in
	// which it is live looks exactly the same, so it is kept.
	comesBack = map[string][]uint64{"kill9-tomb-block": {20}, expired: {2, 4, 6, 8, 10, 12}}
	// A torn last record, which nobody was told of.
	torn = map[string][]uint64{"dmg-truncated-tail-noindex": {204}}
	// A stream whose meta.sum is wrong is not opened; recover takes it as it is.
	notOpened = map[string]error{"METABAD": msgstore.ErrMetaDamaged}
	// Without index.db nothing says that the numbers between two blocks were live:
	// a store shows them as deleted and reports the missing block.
	unlisted = map[string][2]uint64{"dmg-missing-middle-noindex": {73, 144}}
	// Consumers that are refused, not reset.
	notRead = map[string]error{"dmg-consumer-state": consumerstate.ErrCorrupt}
)

// TestFixtures shows all cases in one table, testdata/fixtures.txt: what a store
// opens to, its consumers, what storetool verify finds and what it recovers. Each
// is compared with the truth as well: every message that is not there is reported
// lost, every one that is there is the true one, and nothing else is lost.
func TestFixtures(t *testing.T) {
	names := fixture.Names(t)
	if len(names) != numFixtures {
		t.Errorf("%d cases, want %d", len(names), numFixtures)
	}
	var table strings.Builder
	for _, name := range names {
		fmt.Fprintf(&table, "%s\n", name)
		for _, part := range []struct {
			name string
			run  func(*fixtureCase, *testing.T)
		}{{"open", (*fixtureCase).open}, {"verify", (*fixtureCase).verify}, {"recover", (*fixtureCase).recover}} {
			t.Run(name+"/"+part.name, func(t *testing.T) {
				c := &fixtureCase{out: &table}
				c.dir, c.Case = fixture.Unpack(t, name)
				part.run(c, t)
			})
		}
	}
	const golden = "testdata/fixtures.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(table.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, expected := strings.Split(table.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(expected)) {
		if i >= len(got) || i >= len(expected) || got[i] != expected[i] {
			t.Fatalf("%s:%d differs:\n%s\nwant\n%s", golden, i+1, strings.Join(got[min(i, len(got)):min(i+3, len(got))], "\n"), strings.Join(expected[min(i, len(expected)):min(i+3, len(expected))], "\n"))
		}
	}
}

type fixtureCase struct {
	*fixture.Case
	dir string
	out *strings.Builder
}

func (c *fixtureCase) printf(format string, args ...any) {
	fmt.Fprintf(c.out, "  "+format+"\n", args...)
}

func (c *fixtureCase) key() string {
	if c.Encryption == nil {
		return ""
	}
	return c.Encryption.Key
}

func (c *fixtureCase) ring(t *testing.T) msgstore.KeyRing {
	if c.Encryption == nil {
		return msgstore.KeyRing{}
	}
	cipher, err := msgstore.ParseCipher(c.Encryption.Cipher)
	if err != nil {
		t.Fatal(err)
	}
	return msgstore.KeyRing{Key: []byte(c.Encryption.Key), Cipher: cipher}
}

// options are those of the checker, which finds the cipher by itself.
func (c *fixtureCase) options() check.Options {
	return check.Options{Keys: check.Keys{Key: []byte(c.key())}}
}

// rounds is how often a directory is opened: what a store makes of it is read the
// same by the next.
const rounds = 3

func (c *fixtureCase) open(t *testing.T) {
	before := contents(t, c.dir)
	var damaged []msgstore.Damaged
	reported := map[string]bool{} // damage, by events
	h, err := msgstore.NewHost(c.dir, msgstore.HostOptions{Manual: true, Events: func(e msgstore.Event) {
		switch e := e.(type) {
		case msgstore.Damaged:
			damaged = append(damaged, e)
			what := map[bool]string{true: "torn write", false: "damage"}[e.Torn]
			reported[fmt.Sprintf("%s in block %d, sequences %d to %d", what, e.Block, e.First, e.Last)] = true
		case msgstore.BlocksMissing:
			reported[fmt.Sprintf("blocks %d to %d are missing", e.First, e.Last)] = true
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for i := range c.Truth() {
		truth := &c.Truth()[i]
		dir := filepath.Join(c.dir, "jetstream", truth.Account, "streams", truth.Name)
		if want := notOpened[truth.Name]; want != nil {
			_, err := msgstore.ReadStreamMeta(vfs.OS, dir, truth.Account, c.ring(t))
			if !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			name := filepath.Join("jetstream", truth.Account, "streams", truth.Name)
			for file, content := range contents(t, dir) {
				if original, ok := before[filepath.Join(name, file)]; !ok || !bytes.Equal(original, content) {
					t.Errorf("%s: %s was touched", truth.Name, file)
				}
			}
			c.printf("open %s > %s: %v", truth.Account, truth.Name, err)
			continue
		}
		c.configured(t, dir, truth)
		shown := ""
		for round := range rounds {
			line := c.openStream(t, h, truth)
			if round > 0 && line != shown {
				t.Errorf("round %d: %s\nbefore: %s", round, line, shown)
			}
			shown = line
		}
		c.printf("open %s > %s: %s", truth.Account, truth.Name, shown)
		if line := c.openConsumers(t, dir, truth); line != "" {
			c.printf("     consumers: %s", line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(reported)) {
		c.printf("     reported: %s", line)
	}
	c.kept(t, before, damaged)
}

func (c *fixtureCase) openStream(t *testing.T, h *msgstore.Host, truth *fixture.Stream) string {
	t.Helper()
	cfg := fixtureConfig(t, truth.Config)
	s, err := msgstore.OpenFileStore(h, cfg, msgstore.FileOptions{Account: truth.Account, Keys: c.ring(t)})
	if err != nil {
		t.Fatalf("open %s: %v", truth.Name, err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	}()
	if c.Name == "kill9-never-age" { // the owner removes what is due before anybody sees the stream
		now := time.Now().UnixNano()
		for due := s.Due(now, 1000, nil); len(due) > 0; due = s.Due(now, 1000, nil) {
			for _, d := range due {
				if _, err := s.RemoveMsg(d.Seq); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	var got []independent.Message
	last := s.State().LastSeq
	for seq := uint64(1); seq <= last; seq++ {
		if m, err := s.LoadMsg(seq, nil); err == nil {
			got = append(got, independent.Message{Seq: m.Seq, Time: m.Time, Subject: m.Subject, Header: bytes.Clone(m.Header), Data: bytes.Clone(m.Data)})
		}
	}
	// With a valid index.db damage is found by the first who reads the record.
	state := s.State()
	var lost, shown []uint64
	if state.Lost != nil {
		lost = state.Lost.Msgs
	}
	shown = lost
	if r, ok := unlisted[c.Name]; ok && lost == nil {
		for seq := r[0]; seq <= r[1]; seq++ {
			lost = append(lost, seq)
		}
	}
	c.compare(t, truth, got, lost)
	w := truth.State
	if len(lost) == 0 && c.Name != "dmg-truncated-tombstone" && state.Lost != nil {
		t.Errorf("%s: lost %+v", truth.Name, state.Lost)
	}
	if len(lost) == 0 && comesBack[c.Name] == nil && torn[c.Name] == nil && c.Name != "kill9-never-age" {
		var deleted []uint64
		if w.LastSeq > 0 { // the reference counts one in a new stream
			deleted = w.Deleted
		}
		if state.Msgs != w.Messages || state.Bytes != w.Bytes || state.FirstSeq != w.FirstSeq || state.LastSeq != w.LastSeq || !slices.Equal(state.Deleted, deleted) {
			t.Errorf("%s: state %+v, want %+v", truth.Name, state, w)
		}
		if !at(state.FirstTime).Equal(w.FirstTime) || !at(state.LastTime).Equal(w.LastTime) {
			t.Errorf("%s: times %v %v, want %v %v", truth.Name, at(state.FirstTime), at(state.LastTime), w.FirstTime, w.LastTime)
		}
		if tracked := w.NumSubjects > 0; tracked && state.NumSubjects != w.NumSubjects {
			t.Errorf("%s: %d subjects, want %d", truth.Name, state.NumSubjects, w.NumSubjects)
		}
		if subjects := s.SubjectsTotals(">"); len(w.Subjects) > 0 && !maps.Equal(subjects, w.Subjects) {
			t.Errorf("%s: subjects %v, want %v", truth.Name, subjects, w.Subjects)
		}
	}
	c.expiries(t, s, cfg, truth)
	if want := w.LastSeq - uint64(len(torn[c.Name])); state.LastSeq != want {
		t.Errorf("%s: last %d, want %d", truth.Name, state.LastSeq, want)
	}
	line := fmt.Sprintf("%d messages, %d bytes, %d to %d, %d subjects, deleted %s", state.Msgs, state.Bytes, state.FirstSeq, state.LastSeq, state.NumSubjects, ranges(state.Deleted))
	if state.Lost != nil {
		line += ", lost " + ranges(shown)
	}
	return line
}

// compare checks messages that were read against the truth.
func (c *fixtureCase) compare(t *testing.T, truth *fixture.Stream, got []independent.Message, lost []uint64) {
	t.Helper()
	missing := map[uint64]fixture.Message{}
	for _, m := range truth.Messages {
		missing[m.Seq] = m
	}
	if c.Name == "kill9-never-age" { // everything else is long expired
		maps.DeleteFunc(missing, func(_ uint64, m fixture.Message) bool { return !bytes.Contains(m.Headers, []byte("Nats-TTL: never")) })
	}
	for _, m := range got {
		w, ok := missing[m.Seq]
		sum := sha256.Sum256(m.Data)
		switch {
		case !ok && !slices.Contains(comesBack[c.Name], m.Seq):
			t.Errorf("%s: message %d was invented", truth.Name, m.Seq)
		case ok && (m.Subject != w.Subject || m.Time != w.Time || !bytes.Equal(m.Header, w.Headers) || hex.EncodeToString(sum[:]) != w.SHA256):
			t.Errorf("%s: message %d differs", truth.Name, m.Seq)
		}
		delete(missing, m.Seq)
	}
	for _, seq := range torn[c.Name] {
		delete(missing, seq)
	}
	if gone := slices.Sorted(maps.Keys(missing)); !slices.Equal(gone, lost) {
		t.Errorf("%s: gone are %v, lost %v", truth.Name, gone, lost)
	}
}

// openConsumers reads the stored consumers as a server does.
func (c *fixtureCase) openConsumers(t *testing.T, dir string, truth *fixture.Stream) string {
	t.Helper()
	var lines []string
	for _, want := range truth.Consumers {
		if want.Stored == nil {
			continue
		}
		state, err := readConsumer(consumerstate.FilesOptions{
			FS: vfs.OS, Dir: filepath.Join(dir, "obs", want.Name), Account: truth.Account, Stream: truth.Name, Consumer: want.Name, Ring: c.ring(t),
		})
		if refused := notRead[c.Name]; refused != nil {
			if !errors.Is(err, refused) {
				t.Errorf("%s: %v, want %v", want.Name, err, refused)
			}
			lines = append(lines, fmt.Sprintf("%s %v", want.Name, err))
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", want.Name, err)
			continue
		}
		pending := map[uint64]consumerstate.Pending{}
		for seq, p := range want.Stored.Pending {
			pending[seq] = consumerstate.Pending{Sequence: p.Consumer, Timestamp: p.Seconds * int64(time.Second)}
		}
		truth := consumerstate.State{
			Delivered: consumerstate.Pair(want.Stored.Delivered), AckFloor: consumerstate.Pair(want.Stored.AckFloor),
		}
		if state.Delivered != truth.Delivered || state.AckFloor != truth.AckFloor || !maps.Equal(state.Pending, pending) || !maps.Equal(state.Redelivered, want.Stored.Redelivered) {
			t.Errorf("%s: %+v, want %+v, %v, %v", want.Name, state, truth, pending, want.Stored.Redelivered)
		}
		lines = append(lines, fmt.Sprintf("%s %d/%d floor %d/%d pending %d redelivered %d", want.Name,
			state.Delivered.Consumer, state.Delivered.Stream, state.AckFloor.Consumer, state.AckFloor.Stream, len(state.Pending), len(state.Redelivered)))
	}
	return strings.Join(lines, "; ")
}

func readConsumer(o consumerstate.FilesOptions) (consumerstate.State, error) {
	f, _, err := consumerstate.OpenFiles(o)
	if err != nil {
		return consumerstate.State{}, err
	}
	s, _, err := f.ReadState()
	return s, err
}

// verify shows the findings in the JSON form that scripts read.
func (c *fixtureCase) verify(t *testing.T) {
	rep, err := check.Verify(c.dir, c.options())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Clean   *bool
		Streams []struct {
			Account, Stream   *string
			Messages, Bytes   *uint64
			FirstSeq, LastSeq *uint64 `json:"-"`
			First             *uint64 `json:"first_seq"`
			Last              *uint64 `json:"last_seq"`
			Deleted           *uint64 `json:"num_deleted"`
			Consumers         *int
		}
		Findings []struct {
			Severity, Kind, Account, Stream, Consumer, File, Detail string
			Offset                                                  int64
			First                                                   uint64 `json:"first_seq"`
			Last                                                    uint64 `json:"last_seq"`
		}
	}
	if err := json.Unmarshal(text, &parsed); err != nil || parsed.Clean == nil || len(parsed.Streams) != len(c.Truth()) {
		t.Fatalf("%s: %v", text, err)
	}
	for _, s := range parsed.Streams {
		if s.Account == nil || s.Stream == nil || s.Messages == nil || s.Bytes == nil || s.First == nil || s.Last == nil || s.Deleted == nil || s.Consumers == nil {
			t.Errorf("members are missing: %s", text)
		}
	}
	damaged := false
	verdict := map[bool]string{true: "clean", false: "damaged"}[*parsed.Clean]
	c.printf("verify: %s", verdict)
	for _, f := range parsed.Findings {
		damaged = damaged || f.Severity == "damage"
		rel, err := filepath.Rel(c.dir, f.File)
		if err != nil || f.Detail == "" {
			t.Errorf("%+v: %v", f, err)
		}
		line := fmt.Sprintf("%s %s %s", f.Severity, f.Kind, rel)
		if f.Offset > 0 {
			line += fmt.Sprintf(" at %d", f.Offset)
		}
		if f.Last > 0 {
			line += fmt.Sprintf(" sequences %d to %d", f.First, f.Last)
		}
		c.printf("     %s: %s", line, f.Detail)
	}
	if damaged == *parsed.Clean {
		t.Errorf("clean is %v", *parsed.Clean)
	}
	// What is damaged says so, and what is not says nothing of the kind.
	harmless := []string{
		"dmg-missing-index", "dmg-corrupt-index", "dmg-leftover-temp", "dmg-partial-purge", "dmg-zero-tail", "dmg-truncated-tail-noindex",
	}
	if want := strings.HasPrefix(c.Name, "dmg-") && !slices.Contains(harmless, c.Name); damaged != want {
		t.Errorf("damaged is %v, want %v", damaged, want)
	}
}

// recover shows what storetool gets out of the directory, as the independent
// decoder reads it.
func (c *fixtureCase) recover(t *testing.T) {
	before := digest(t, c.dir)
	to := filepath.Join(t.TempDir(), "new")
	rec, err := check.Recover(c.dir, to, c.options())
	if err != nil {
		t.Fatal(err)
	}
	if len(rec.Streams) != len(c.Truth()) {
		t.Errorf("%d streams, want %d", len(rec.Streams), len(c.Truth()))
	}
	for _, r := range rec.Streams {
		i := slices.IndexFunc(c.Truth(), func(s fixture.Stream) bool { return s.Account == r.Account && s.Name == r.Stream })
		if i < 0 {
			t.Errorf("%s > %s was invented", r.Account, r.Stream)
			continue
		}
		truth := &c.Truth()[i]
		got, err := independent.Read(filepath.Join(to, "jetstream", r.Account, "streams", r.Stream), c.key())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range got.Problems {
			t.Errorf("%s: %s", r.Stream, p)
		}
		if !got.IndexUsed {
			t.Errorf("%s: index.db is of no use", r.Stream)
		}
		var lost []uint64
		line := fmt.Sprintf("recover %s > %s: %d messages", r.Account, r.Stream, r.Recovered)
		for _, l := range r.Lost {
			for seq := l.FirstSeq; seq <= l.LastSeq; seq++ {
				lost = append(lost, seq)
			}
			line += fmt.Sprintf(", lost %d to %d (%s)", l.FirstSeq, l.LastSeq, l.Reason)
		}
		for _, n := range r.Notes {
			line += "; " + n
		}
		c.printf("%s", line)
		truthful := c.Case
		if c.Name == "kill9-never-age" {
			renamed := *c.Case
			renamed.Name = expired
			truthful = &renamed
		}
		(&fixtureCase{Case: truthful}).compare(t, truth, got.Messages, lost)
		if uint64(len(got.Messages)) != r.Recovered || got.Last != truth.State.LastSeq-uint64(len(torn[c.Name])) {
			t.Errorf("%s: %d messages up to %d, recover says %d", r.Stream, len(got.Messages), got.Last, r.Recovered)
		}
		for _, want := range truth.Consumers {
			if want.Stored == nil || notRead[c.Name] != nil {
				continue
			}
			g := got.Consumers[want.Name]
			if g == nil || g.Delivered != want.Stored.Delivered.Stream || g.DeliveredConsumer != want.Stored.Delivered.Consumer ||
				g.Floor != want.Stored.AckFloor.Stream || g.FloorConsumer != want.Stored.AckFloor.Consumer || !maps.Equal(g.Pending, pending(want)) || !reflect.DeepEqual(g.Redelivered, redelivered(want)) {
				t.Errorf("%s: consumer %s: %+v, want %+v", r.Stream, want.Name, g, want.Stored)
			}
		}
	}
	again, err := check.Verify(to, c.options())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range again.Findings {
		if f.Kind != check.KindBatch {
			t.Errorf("after recovery: %v", f)
		}
	}
	if digest(t, c.dir) != before {
		t.Error("the source was changed")
	}
}

func pending(c fixture.Consumer) map[uint64]independent.Pending {
	m := map[uint64]independent.Pending{}
	for seq, p := range c.Stored.Pending {
		m[seq] = independent.Pending{Consumer: p.Consumer, Seconds: p.Seconds}
	}
	return m
}

func redelivered(c fixture.Consumer) map[uint64]uint64 {
	if c.Stored.Redelivered == nil {
		return map[uint64]uint64{}
	}
	return c.Stored.Redelivered
}

// digest is a checksum over names and contents of a directory.
func digest(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(b), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ranges writes ascending numbers as "1-3 7", or "none".
func ranges(list []uint64) string {
	if len(list) == 0 {
		return "none"
	}
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(list[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, " ")
}

// at is a time as the API shows it.
func at(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// fixtureConfig is what a store needs of a stream configuration in JSON.
func fixtureConfig(t *testing.T, raw []byte) msgstore.Config {
	t.Helper()
	var c struct {
		Name      string            `json:"name"`
		Subjects  []string          `json:"subjects"`
		MaxMsgs   int64             `json:"max_msgs"`
		MaxBytes  int64             `json:"max_bytes"`
		MaxAge    time.Duration     `json:"max_age"`
		MaxPer    int64             `json:"max_msgs_per_subject"`
		Discard   string            `json:"discard"`
		Retention string            `json:"retention"`
		Comp      string            `json:"compression"`
		FirstSeq  uint64            `json:"first_seq"`
		TTL       bool              `json:"allow_msg_ttl"`
		Schedules bool              `json:"allow_msg_schedules"`
		MarkerTTL time.Duration     `json:"subject_delete_marker_ttl"`
		Mirror    json.RawMessage   `json:"mirror"`
		Sources   []json.RawMessage `json:"sources"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	cfg := msgstore.Config{
		Name: c.Name, Subjects: c.Subjects, Mirror: c.Mirror != nil || len(c.Sources) > 0,
		MaxMsgs: c.MaxMsgs, MaxBytes: c.MaxBytes, MaxAge: c.MaxAge, MaxMsgsPerSubject: c.MaxPer,
		FirstSeq: c.FirstSeq, WorkQueue: c.Retention != "limits",
		AllowMsgTTL: c.TTL, AllowMsgSchedules: c.Schedules, SubjectDeleteMarkerTTL: c.MarkerTTL,
	}
	if c.Discard == "new" {
		cfg.Discard = msgstore.DiscardNew
	}
	if c.Comp == "s2" {
		cfg.Compression = msgstore.S2Compression
	}
	return cfg
}
