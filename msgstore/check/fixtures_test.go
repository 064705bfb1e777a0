package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/internal/independent"
)

func optionsFor(t testing.TB, c *fixture.Case) Options {
	var o Options
	if c.Encryption != nil {
		o.Keys.Key = []byte(c.Encryption.Key) // the cipher is found by itself
	}
	return o
}

// summary is a finding in the form of the table below.
func summary(f Finding) string {
	s := fmt.Sprintf("%s %s", f.Severity, f.Kind)
	if f.LastSeq > 0 {
		s += fmt.Sprintf(" %d-%d", f.FirstSeq, f.LastSeq)
	}
	return s
}

// What verify says about every fixture with anything to say. Those that are not
// listed are without a finding.
var findings = map[string][]string{
	"dmg-bitflip-last-block":     {"damage bad-record 174-174"},
	"dmg-bitflip-length-noindex": {"repairable index-missing", "damage bad-record 1-1"},
	"dmg-bitflip-middle-block":   {"damage bad-record 89-89"},
	"dmg-bitflip-middle-noindex": {"repairable index-missing", "damage bad-record 97-97"},
	"dmg-consumer-state":         {"damage consumer-state"},
	"dmg-corrupt-index":          {"repairable index-corrupt"},
	"dmg-enc-bitflip":            {"repairable index-missing", "damage bad-record 21-21"},
	"dmg-enc-key-bitflip":        {"repairable index-missing", "damage block-key 1-75"},
	"dmg-enc-key-missing":        {"repairable index-missing", "damage block-key 1-72"},
	"dmg-leftover-temp":          {"info leftover", "info leftover", "info leftover", "info leftover", "info leftover"},
	"dmg-meta-sum":               {"damage meta-mismatch"},
	"dmg-missing-index":          {"repairable index-missing"},
	"dmg-missing-last-block":     {"damage missing-block 145-204"},
	"dmg-missing-middle-block":   {"damage missing-block 71-141"},
	"dmg-missing-middle-noindex": {"repairable index-missing", "damage missing-block 73-144"},
	"dmg-partial-purge":          {"info leftover", "repairable interrupted-purge", "repairable index-missing"},
	"dmg-s2-bitflip":             {"repairable index-missing", "damage bad-record 65-130"},
	"dmg-truncated-tail":         {"repairable index-stale", "damage bad-record 204-204"},
	"dmg-truncated-tail-noindex": {"repairable index-missing", "repairable torn-tail"},
	"dmg-truncated-tombstone":    {"repairable index-stale", "damage bad-record"},
	"dmg-zero-tail":              {"repairable index-missing", "repairable zero-tail"},
	"kill9-batch":                {"info staged-batch", "repairable index-missing"},
	"kill9-enc-s2":               {"repairable index-missing"},
	"kill9-limits":               {"repairable index-missing", "repairable index-missing"},
	"kill9-never-age":            {"repairable index-missing"},
	"kill9-no-index":             {"repairable index-missing"},
	"kill9-stale-index":          {"repairable index-stale"},
	"kill9-tomb-block":           {"repairable index-missing"},
	"kill9-ttl":                  {"repairable index-stale"},
}

// Every fixture in one table: verify names each damage and calls the undamaged
// clean; the state is the true one but for what is reported lost; recover gets
// every undamaged message out, invents nothing, and what it writes is clean and
// is read the same by the independent decoder.
func TestFixtures(t *testing.T) {
	for _, name := range fixture.Names(t) {
		t.Run(name, func(t *testing.T) {
			dir, c := fixture.Unpack(t, name)
			before := fingerprint(t, dir)
			rep, err := Verify(dir, optionsFor(t, c))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			damaged := false
			for _, f := range rep.Findings {
				got = append(got, summary(f))
				damaged = damaged || f.Severity == Damage
				if f.Detail == "" || f.File == "" {
					t.Errorf("finding without file or detail: %+v", f)
				}
			}
			if !slices.Equal(got, findings[name]) {
				t.Errorf("findings %q, want %q", got, findings[name])
			}
			if rep.Clean == damaged {
				t.Errorf("clean is %v", rep.Clean)
			}

			to := filepath.Join(t.TempDir(), "new")
			rec, err := Recover(dir, to, optionsFor(t, c))
			if err != nil {
				t.Fatal(err)
			}
			for _, truth := range c.Truth() {
				compareStream(t, c, truth, rep, rec, to)
			}
			if len(rep.Streams) != len(c.Truth()) || len(rec.Streams) != len(c.Truth()) {
				t.Errorf("%d streams verified, %d recovered, want %d", len(rep.Streams), len(rec.Streams), len(c.Truth()))
			}
			again, err := Verify(to, optionsFor(t, c))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range again.Findings {
				if f.Kind != KindBatch {
					t.Errorf("after recovery: %v", f)
				}
			}
			if after := fingerprint(t, dir); after != before {
				t.Error("the source was changed")
			}
		})
	}
}

// exceptions are fixtures whose truth cannot be told from the directory.
var exceptions = map[string][]uint64{
	// The reference removed message 20 and wrote nothing about it: a directory
	// in which 20 is live looks exactly the same, so it is kept.
	"kill9-tomb-block": {20},
	// Expired while nothing ran. Age is for the server that opens the directory:
	// the tool removes nothing by the clock.
	"kill9-never-age": {2, 4, 6, 8, 10, 12},
}

func compareStream(t *testing.T, c *fixture.Case, truth fixture.Stream, rep *Report, rec *Recovered, to string) {
	var st StreamState
	var rs RecoveredStream
	for _, s := range rep.Streams {
		if s.Account == truth.Account && s.Stream == truth.Name {
			st = s
		}
	}
	for _, s := range rec.Streams {
		if s.Account == truth.Account && s.Stream == truth.Name {
			rs = s
		}
	}
	lost := map[uint64]bool{}
	for _, l := range rs.Lost {
		for seq := l.FirstSeq; seq <= l.LastSeq; seq++ {
			lost[seq] = true
		}
	}
	key := ""
	if c.Encryption != nil {
		key = c.Encryption.Key
	}
	got, err := independent.Read(filepath.Join(to, "jetstream", truth.Account, "streams", truth.Name), key)
	if err != nil {
		t.Errorf("%s: %v", truth.Name, err)
		return
	}
	for _, p := range got.Problems {
		t.Errorf("%s: recovered: %s", truth.Name, p)
	}
	want := map[uint64]fixture.Message{}
	for _, m := range truth.Messages {
		want[m.Seq] = m
	}
	extra := exceptions[c.Name]
	for _, m := range got.Messages {
		w, ok := want[m.Seq]
		sum := sha256.Sum256(m.Data)
		switch {
		case !ok && !slices.Contains(extra, m.Seq):
			t.Errorf("%s: message %d was invented", truth.Name, m.Seq)
		case ok && (m.Subject != w.Subject || m.Time != w.Time || !bytes.Equal(m.Header, w.Headers) || hex.EncodeToString(sum[:]) != w.SHA256):
			t.Errorf("%s: message %d differs", truth.Name, m.Seq)
		case lost[m.Seq]:
			t.Errorf("%s: message %d is said to be lost", truth.Name, m.Seq)
		}
		delete(want, m.Seq)
	}
	torn := map[string]uint64{"dmg-truncated-tail-noindex": truth.State.LastSeq}[c.Name]
	for seq := range want {
		if !lost[seq] && seq != torn {
			t.Errorf("%s: message %d is gone without a word", truth.Name, seq)
		}
		delete(lost, seq)
	}
	for seq := range lost {
		t.Errorf("%s: %d is said to be lost but was not live", truth.Name, seq)
	}
	lastSeq := truth.State.LastSeq
	if torn > 0 {
		lastSeq--
	}
	if st.LastSeq != lastSeq || got.Last != lastSeq {
		t.Errorf("%s: last sequence %d, recovered %d, want %d", truth.Name, st.LastSeq, got.Last, lastSeq)
	}
	if uint64(len(got.Messages)) != st.Messages || rs.Recovered != st.Messages || got.Bytes != st.Bytes {
		t.Errorf("%s: verify says %d messages of %d bytes, recover %d; there are %d of %d", truth.Name, st.Messages, st.Bytes, rs.Recovered, len(got.Messages), got.Bytes)
	}
	if len(rs.Lost) == 0 && torn == 0 && extra == nil {
		deleted := truth.State.NumDeleted
		if truth.State.LastSeq == 0 {
			deleted = 0 // the reference counts one in a new stream
		}
		if st.Messages != truth.State.Messages || st.Bytes != truth.State.Bytes || st.FirstSeq != truth.State.FirstSeq || st.NumDeleted != deleted {
			t.Errorf("%s: state %+v, want %+v", truth.Name, st, truth.State)
		}
	}
	for _, con := range truth.Consumers {
		if con.Stored == nil {
			continue
		}
		g := got.Consumers[con.Name]
		if g == nil || g.Delivered != con.Stored.Delivered.Stream || g.Floor != con.Stored.AckFloor.Stream || len(g.Pending) != len(con.Stored.Pending) {
			t.Errorf("%s: consumer %s: %+v", truth.Name, con.Name, g)
		}
	}
}

// fingerprint is a hash over names and contents of a directory.
func fingerprint(t testing.TB, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
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
