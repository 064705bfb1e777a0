package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/internal/floordb"
	"github.com/natsd/natsd/msgstore/internal/highway"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs"
)

// made writes a store with one stream by the package's own writer.
func made(t testing.TB, ring Keys, cfg string, write func(*streamWriter)) string {
	t.Helper()
	dir := t.TempDir()
	var c config
	if cfg == "" {
		cfg = `{"Created":"2026-01-01T00:00:00Z","name":"S","subjects":["foo.>"]}`
	}
	if err := json.Unmarshal([]byte(cfg), &c); err != nil {
		t.Fatal(err)
	}
	w, err := newStreamWriter(&stopFS{vfs.OS, -1}, filepath.Join(dir, "jetstream", "A", "streams", "S"), "A", "S", &c, ring)
	if err != nil {
		t.Fatal(err)
	}
	write(w)
	if err := w.finish(w.last, 0, []byte(cfg)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func some(t testing.TB, n int) func(*streamWriter) {
	return func(w *streamWriter) {
		for seq := 1; seq <= n; seq++ {
			var header []byte
			if seq%3 == 0 {
				header = []byte("NATS/1.0\r\nA: <&>\r\n\r\n")
			}
			if err := w.message(uint64(seq), int64(seq)*1e9+7, fmt.Sprintf("foo.%d", seq%7), header, bytes.Repeat([]byte{byte(seq)}, seq%50)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Whatever part of a directory is named, the same streams are found.
func TestPaths(t *testing.T) {
	dir := made(t, Keys{}, "", some(t, 20))
	js := filepath.Join(dir, "jetstream")
	stream := filepath.Join(js, "A", "streams", "S")
	for _, path := range []string{dir, dir + "/", js, filepath.Join(js, "A"), stream, filepath.Join(stream, "msgs", "1.blk")} {
		rep, err := Verify(path, Options{})
		if err != nil || len(rep.Streams) != 1 || rep.Streams[0].Account != "A" || rep.Streams[0].Stream != "S" || rep.Streams[0].Messages != 20 {
			t.Errorf("%s: %+v, %v", path, rep, err)
		}
	}
	t.Chdir(stream)
	if rep, err := Verify(".", Options{}); err != nil || len(rep.Streams) != 1 || rep.Streams[0].Stream != "S" {
		t.Errorf("working directory: %+v, %v", rep, err)
	}
	empty := t.TempDir()
	for path, want := range map[string]error{empty: ErrNoStore, filepath.Join(stream, "meta.inf"): ErrNoStore, filepath.Join(empty, "x"): fs.ErrNotExist} {
		if _, err := Verify(path, Options{}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

func TestKeys(t *testing.T) {
	ring := Keys{Key: []byte("k"), Cipher: AES}
	dir := made(t, ring, "", some(t, 20))
	for name, tc := range map[string]struct {
		keys Keys
		want error
	}{
		"right":           {Keys{Key: []byte("k")}, nil},
		"as the previous": {Keys{Key: []byte("n"), PrevKey: []byte("k")}, nil},
		"none":            {Keys{}, ErrKeyNeeded},
		"wrong":           {Keys{Key: []byte("x")}, ErrWrongKey},
	} {
		rep, err := Verify(dir, Options{Keys: tc.keys})
		if !errors.Is(err, tc.want) || err == nil && (!rep.Clean || rep.Streams[0].Messages != 20) {
			t.Errorf("%s: %+v, %v", name, rep, err)
		}
	}
}

// Stopped anywhere, the stream is there, as it was or repaired, and the same
// command does the rest. Without an exchange of names there is a moment when it is
// under another name.
func TestRecoverInPlace(t *testing.T) {
	for _, exchange := range []bool{true, false} {
		for stop, finished := 0, false; !finished; stop += 1 + stop/8 {
			dir, c := fixture.Unpack(t, "dmg-bitflip-middle-block")
			opts := optionsFor(t, c)
			stopped := func(at int) vfs.FS {
				if exchange {
					return &exchangeFS{stopFS{vfs.OS, at}}
				}
				return &stopFS{vfs.OS, at}
			}
			opts.FS = stopped(stop)
			backup := filepath.Join(t.TempDir(), "backup")
			_, err := RecoverInPlace(dir, backup, opts)
			finished = err == nil
			if err != nil && !errors.Is(err, errStopped) {
				t.Fatal(err)
			}
			opts.FS = stopped(-1)
			if exchange {
				rep, err := Verify(dir, opts)
				if err != nil || len(rep.Streams) != 1 || rep.Streams[0].Messages != 201 || rep.Streams[0].LastSeq != 204 {
					t.Fatalf("stopped at %d: %+v, %v", stop, rep, err)
				}
			}
			if !finished {
				if _, err := RecoverInPlace(dir, backup, opts); err != nil {
					t.Fatalf("stopped at %d, resumed: %v", stop, err)
				}
			}
			rep, err := Verify(dir, opts)
			if err != nil || !rep.Clean || len(rep.Streams) != 1 || rep.Streams[0].Messages != 201 || rep.Streams[0].LastSeq != 204 {
				t.Fatalf("stopped at %d: %+v, %v", stop, rep, err)
			}
			saved, err := Verify(filepath.Join(backup, "$G", "DMGBM"), opts)
			if err != nil || saved.Clean {
				t.Errorf("the backup: %+v, %v", saved, err)
			}
			list, err := os.ReadDir(filepath.Join(dir, "jetstream", "$G", "streams"))
			if err != nil || len(list) != 1 {
				t.Errorf("left over: %v, %v", list, err)
			}
		}
	}
	// A backup that holds something else is not touched.
	dir, c := fixture.Unpack(t, "dmg-bitflip-middle-block")
	backup := t.TempDir()
	if err := os.MkdirAll(filepath.Join(backup, "$G", "DMGBM", "msgs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := RecoverInPlace(dir, backup, optionsFor(t, c)); !errors.Is(err, ErrExists) {
		t.Errorf("%v", err)
	}
	// What is not damaged is not touched.
	dir, c = fixture.Unpack(t, "plain")
	before := fingerprint(t, dir)
	res, err := RecoverInPlace(dir, filepath.Join(t.TempDir(), "b"), optionsFor(t, c))
	if err != nil || len(res.Streams) != 0 || fingerprint(t, dir) != before {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestCompare(t *testing.T) {
	a := made(t, Keys{}, "", some(t, 10))
	b := made(t, Keys{}, `{"name":"S","subjects":["foo.>"],"max_age":7}`, func(w *streamWriter) {
		for seq := uint64(2); seq <= 12; seq++ {
			if seq == 5 || seq == 6 {
				continue
			}
			data := bytes.Repeat([]byte{byte(seq)}, int(seq%50))
			var header []byte
			if seq%3 == 0 {
				header = []byte("NATS/1.0\r\nA: <&>\r\n\r\n")
			}
			ts, subject := int64(seq)*1e9+7, fmt.Sprintf("foo.%d", seq%7)
			switch seq {
			case 3:
				header = nil
			case 4:
				data = nil
			case 7:
				ts++
			case 8:
				subject = "foo.other"
			}
			if err := w.message(seq, ts, subject, header, data); err != nil {
				t.Fatal(err)
			}
		}
	})
	d, err := Compare(a, b, Options{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range d.Differences {
		got = append(got, x.String())
	}
	want := []string{
		"A > S: config: the configurations differ: max_age", "A > S: last-seq: 10 and 12",
		"A > S: only-in-a 1", "A > S: differs 3: headers", "A > S: differs 4: payload", "A > S: only-in-a 5 to 6",
		"A > S: differs 7: time", "A > S: differs 8: subject", "A > S: only-in-b 11 to 12",
	}
	if !slices.Equal(got, want) || d.Identical || d.Messages != 7 {
		t.Errorf("%s\n%+v", strings.Join(got, "\n"), d)
	}
}

func TestInspectAndStats(t *testing.T) {
	dir, c := fixture.Unpack(t, "s2")
	var x *Inspection
	err := Inspect(dir, InspectOptions{Options: optionsFor(t, c), Blocks: true, Records: true, Subjects: true, Consumers: true}, func(i *Inspection) error {
		x = i
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	st := c.Streams[0].State
	if x.Compression != "s2" || x.Encryption != "none" || x.Index != "exact" || x.NumBlocks != 4 || x.NumSubjects != st.NumSubjects || !x.Blocks[0].Compressed || x.Blocks[3].Compressed || x.Blocks[0].RawSize != 31914 {
		t.Errorf("%+v", x)
	}
	for _, s := range x.Subjects {
		if st.Subjects[s.Subject] != s.Messages {
			t.Errorf("%+v, want %d", s, st.Subjects[s.Subject])
		}
	}
	live := uint64(0)
	for _, r := range x.Records {
		if r.Live {
			live++
		}
	}
	if live != st.Messages || len(x.Records) <= int(live) {
		t.Errorf("%d live of %d records", live, len(x.Records))
	}
	err = Summarise(dir, optionsFor(t, c), func(s *Stats) error {
		total := uint64(0)
		for _, k := range s.Sizes {
			total += k.Messages
		}
		if s.State.Messages != st.Messages || total != st.Messages || s.NumSubjects != st.NumSubjects || s.RawBytes <= s.DiskBytes || s.MinSize < record.MinSize || len(s.Top) == 0 {
			t.Errorf("%+v", s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An index.db of an empty last block does not cover what was stored since, though a
// power cut has left zeros behind that.
func TestTornBehindEmptyBlock(t *testing.T) {
	dir := made(t, Keys{}, "", some(t, 0))
	key := record.NewKey("S", 1)
	b := record.AppendMessage(nil, &key, 1, 1, "a", nil, []byte("x"))
	b = append(b, make([]byte, 100)...)
	if err := os.WriteFile(filepath.Join(dir, "jetstream", "A", "streams", "S", "msgs", "1.blk"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	rep, err := Verify(dir, Options{})
	if err != nil || !rep.Clean || rep.Streams[0].Messages != 1 || rep.Streams[0].FirstSeq != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// What floor.db says is gone is gone, as long as it belongs to the blocks.
func TestFloor(t *testing.T) {
	dir := made(t, Keys{}, "", some(t, 20))
	msgs := filepath.Join(dir, "jetstream", "A", "streams", "S", "msgs")
	b, err := os.ReadFile(filepath.Join(msgs, "1.blk"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(msgs, "index.db")); err != nil { // it would know better
		t.Fatal(err)
	}
	key := record.NewKey("S", 1)
	at := 0
	for range 15 {
		r, err := record.Decode(b[at:], &key)
		if err != nil {
			t.Fatal(err)
		}
		at += r.Size
	}
	mark := floordb.Mark{Block: 1, Offset: int64(at), Sum: [8]byte(b[at-8:]), Seq: 9}
	for _, tc := range []struct {
		mark  floordb.Mark
		first uint64
	}{
		{mark, 9},
		{floordb.Mark{Block: 1, Offset: mark.Offset, Seq: 9}, 1},
		{floordb.Mark{Block: 2, Offset: mark.Offset, Sum: mark.Sum, Seq: 9}, 1},
		{floordb.Mark{Block: 1, Offset: mark.Offset + 1, Sum: mark.Sum, Seq: 9}, 1},
		{floordb.Mark{Block: 1, Offset: mark.Offset, Sum: mark.Sum, Seq: 17}, 17}, // the next one got 17
	} {
		if err := os.WriteFile(filepath.Join(msgs, "floor.db"), tc.mark.Append(nil, "S"), 0o600); err != nil {
			t.Fatal(err)
		}
		rep, err := Verify(dir, Options{})
		if err != nil || rep.Streams[0].FirstSeq != tc.first || rep.Streams[0].Messages != 21-tc.first {
			t.Errorf("%+v: %+v, %v", tc.mark, rep, err)
		}
	}
}

func TestProgressAndInterruption(t *testing.T) {
	dir, c := fixture.Unpack(t, "multiblock")
	opts := optionsFor(t, c)
	var calls int
	var last, total int64
	opts.Progress = func(d, n int64) error {
		if d < last || d > n {
			t.Errorf("progress %d of %d after %d", d, n, last)
		}
		calls, last, total = calls+1, d, n
		return nil
	}
	if _, err := Verify(dir, opts); err != nil || calls < 3 || last != total {
		t.Errorf("%d calls, %d of %d, %v", calls, last, total, err)
	}
	stop := errors.New("stop")
	opts.Progress = func(int64, int64) error { return stop }
	if _, err := Verify(dir, opts); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// A subject length is not covered by the checksum: only the totals in index.db
// tell that the border between subject and payload was moved.
func TestSubjectLength(t *testing.T) {
	dir, c := fixture.Unpack(t, "plain")
	blk := filepath.Join(dir, "jetstream", "$G", "streams", "PLAIN", "msgs", "1.blk")
	b, err := os.ReadFile(blk)
	if err != nil {
		t.Fatal(err)
	}
	b[20] -= 2 // "p.0.a" becomes "p.0", which is a subject as well
	if err := os.WriteFile(blk, b, 0o600); err != nil {
		t.Fatal(err)
	}
	rep, err := Verify(dir, optionsFor(t, c))
	if err != nil || rep.Clean || len(rep.Findings) != 1 || rep.Findings[0].Kind != KindSubject {
		t.Errorf("%+v, %v", rep, err)
	}
}

// A stream whose configuration is lost is saved with one that keeps everything.
func TestRecoverWithoutConfiguration(t *testing.T) {
	dir := made(t, Keys{}, "", some(t, 30))
	stream := filepath.Join(dir, "jetstream", "A", "streams", "S")
	if err := os.WriteFile(filepath.Join(stream, "meta.inf"), []byte("{garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	rec, err := Recover(dir, to, Options{})
	if err != nil || rec.Streams[0].Recovered != 30 || len(rec.Streams[0].Notes) != 1 {
		t.Fatalf("%+v, %v", rec, err)
	}
	rep, err := Verify(to, Options{})
	if err != nil || !rep.Clean || rep.Streams[0].Messages != 30 {
		t.Errorf("%+v, %v", rep, err)
	}
	var cfg config
	inf, err := os.ReadFile(filepath.Join(to, "jetstream", "A", "streams", "S", "meta.inf"))
	if err == nil {
		err = json.Unmarshal(inf, &cfg)
	}
	if err != nil || cfg.Name != "S" || !slices.Equal(cfg.Subjects, []string{"foo", "foo.>"}) || time.Since(cfg.Created) > time.Hour {
		t.Errorf("%s, %v", inf, err)
	}
}

func BenchmarkVerify(b *testing.B) {
	dir := made(b, Keys{}, "", func(w *streamWriter) {
		data := make([]byte, 100)
		for seq := uint64(1); seq <= 500_000; seq++ {
			if err := w.message(seq, int64(seq), "foo.bar", nil, data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.SetBytes(500_000 * 137)
	for b.Loop() {
		if _, err := Verify(dir, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// A Raft group of a clustered nats-server: its keys are derived from the group's
// name alone, and its snapshots carry a checksum.
func TestRaftGroup(t *testing.T) {
	dir := t.TempDir()
	group := filepath.Join(dir, "jetstream", "SYS", "_js_", "S-R3F-abcdefgh")
	ring := Keys{Key: []byte("k"), Cipher: ChaCha}
	w, err := newStreamWriter(&stopFS{vfs.OS, -1}, group, "S-R3F-abcdefgh", "S-R3F-abcdefgh", &config{}, ring)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= 5; seq++ {
		if err := w.message(seq, int64(seq), "", nil, []byte("entry")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.finish(5, 0, []byte(`{"name":"S-R3F-abcdefgh","metadata":{"type":"stream"}}`)); err != nil {
		t.Fatal(err)
	}
	snapshots := filepath.Join(group, "snapshots")
	if err := os.MkdirAll(snapshots, 0o700); err != nil {
		t.Fatal(err)
	}
	whole := highway.Append("S-R3F-abcdefgh", make([]byte, 40))
	for name, b := range map[string][]byte{"snap.1.5": whole, "snap.1.4": whole[1:], "snap.x": nil} {
		if err := os.WriteFile(filepath.Join(snapshots, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rep, err := Verify(dir, Options{Keys: ring})
	if err != nil || len(rep.Streams) != 1 || rep.Streams[0].Messages != 5 || rep.Streams[0].Account != "SYS" {
		t.Fatalf("%+v, %v", rep, err)
	}
	var got []string
	for _, f := range rep.Findings {
		got = append(got, summary(f)+" "+filepath.Base(f.File))
	}
	if want := []string{"damage raft-snapshot snap.1.4", "info leftover snap.x"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	rec, err := Recover(dir, filepath.Join(t.TempDir(), "new"), Options{Keys: ring})
	if err != nil || len(rec.Streams) != 0 {
		t.Errorf("recovered %+v, %v", rec, err)
	}
}
