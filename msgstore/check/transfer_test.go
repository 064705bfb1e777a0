package check

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/archive"
	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/internal/record"
)

func TestLinesRoundTrip(t *testing.T) {
	dir := made(t, Keys{}, "", some(t, 500))
	var out bytes.Buffer
	res, err := ExportLines(dir, &out, Options{})
	if err != nil || res.Messages != 500 || res.Lost != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	first, _, _ := strings.Cut(out.String(), "\n")
	if want := `{"account":"A","stream":"S","seq":1,"time":"1970-01-01T00:00:01.000000007Z","subject":"foo.1","data":"AQ=="}`; first != want {
		t.Errorf("first line %s\nwant %s", first, want)
	}
	cfg := json.RawMessage(`{"name":"S","subjects":["foo.>"]}`)
	for _, ring := range []Keys{{}, {Key: []byte("k"), Cipher: ChaCha}} {
		to := filepath.Join(t.TempDir(), "new")
		im, err := ImportLines(bytes.NewReader(out.Bytes()), to, ImportOptions{Options: Options{Keys: ring}, Configs: []json.RawMessage{cfg}})
		if err != nil || len(im.Streams) != 1 || im.Streams[0].Messages != 500 {
			t.Fatalf("%+v, %v", im, err)
		}
		d, err := Compare(dir, to, Options{}, Options{Keys: ring})
		if err != nil || !d.Identical || d.Messages != 500 {
			t.Errorf("%+v, %v", d, err)
		}
	}
	to := t.TempDir()
	if _, err := ImportLines(bytes.NewReader(out.Bytes()), to, ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	d, err := Compare(dir, to, Options{}, Options{})
	if err != nil || len(d.Differences) != 1 || d.Differences[0].Kind != "config" {
		t.Errorf("with a made up configuration: %+v, %v", d, err)
	}
	if _, err := ImportLines(bytes.NewReader(out.Bytes()), to, ImportOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("into a directory that is not empty: %v", err)
	}
}

// Subjects are bytes: those that JSON cannot hold, and those that it writes in another
// way, come back as they were.
func TestLinesOddSubjects(t *testing.T) {
	subjects := []string{"a.\xff", "a.\xfe", "a.\ufffd", "<&>.\"\\", "\x00.\x7f", "\u2028.ü", strings.Repeat("x", 60_000)}
	dir := made(t, Keys{}, "", func(w *streamWriter) {
		for i, s := range subjects {
			if err := w.message(uint64(i+1), int64(i)-2, s, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	})
	var out bytes.Buffer
	if _, err := ExportLines(dir, &out, Options{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), `"subject_b64"`); n != 2 || !strings.Contains(out.String(), `"subject":"a.\ufffd","subject_b64":"YS7/"`) {
		t.Errorf("%s", out.String())
	}
	to := filepath.Join(t.TempDir(), "new")
	if _, err := ImportLines(&out, to, ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	d, err := Compare(dir, to, Options{}, Options{})
	if err != nil || d.Messages != uint64(len(subjects)) || len(d.Differences) != 1 || d.Differences[0].Kind != "config" {
		t.Errorf("%+v, %v", d, err)
	}
}

// failing reads as r does, and then fails.
type failing struct {
	r   io.Reader
	err error
}

func (f failing) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	if errors.Is(err, io.EOF) {
		err = f.err
	}
	return n, err
}

// An error of the input is told, not that the line is cut off where it came.
func TestLinesInterrupted(t *testing.T) {
	whole := `{"account":"A","stream":"S","seq":5,"time":"2026-01-01T00:00:00Z","subject":"a","data":""}` + "\n"
	stop := errors.New("stop")
	for _, text := range []string{"", whole, whole[:30], whole[:len(whole)-1], whole + whole[:30]} {
		to := filepath.Join(t.TempDir(), "new")
		if _, err := ImportLines(failing{strings.NewReader(text), stop}, to, ImportOptions{}); !errors.Is(err, stop) {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLinesRefused(t *testing.T) {
	good := `{"account":"A","stream":"S","seq":5,"time":"2026-01-01T00:00:00Z","subject":"a","data":""}`
	other := strings.Replace(good, `"S"`, `"T"`, 1)
	for want, lines := range map[string]string{
		"line 1: ":                      "x",
		"cannot be written behind":      good + "\n" + good,
		"appears in two places":         good + "\n" + other + "\n" + strings.Replace(good, "5", "6", 1),
		"is no name":                    strings.Replace(good, `"S"`, `"../S"`, 1),
		"is no subject":                 strings.Replace(good, `"a"`, `"a..b"`, 1),
		"hdrs is no header block":       strings.Replace(good, `"data"`, `"hdrs":"eA==","data":"TkFUUy8xLjANCg0K","was"`, 1),
		"is no time":                    strings.Replace(good, "2026-01-01T00:00:00Z", "yesterday", 1),
		"0001-01-01T00:00:00Z is out":   strings.Replace(good, "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", 1),
		"9999-01-01T00:00:00Z is out":   strings.Replace(good, "2026-01-01T00:00:00Z", "9999-01-01T00:00:00Z", 1),
		"line 2: illegal base64":        good + "\n" + strings.Replace(good, `"data":""`, `"data":"?"`, 1),
		"cannot be written behind sequ": strings.Replace(good, `"seq":5`, `"seq":0`, 1),
	} {
		if _, err := ImportLines(strings.NewReader(lines), t.TempDir(), ImportOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	for _, name := range []string{"consumers", "enc-chacha-s2", "deletes", "delete-all", "accounts", "kill9-limits", "kill9-ttl", "kill9-enc-s2"} {
		dir, c := fixture.Unpack(t, name)
		backups := filepath.Join(t.TempDir(), "backups")
		res, err := ExportSnapshot(dir, backups, optionsFor(t, c))
		if err != nil || res.Streams != len(c.Truth()) {
			t.Fatalf("%s: %+v, %v", name, res, err)
		}
		for _, s := range c.Truth() {
			to := filepath.Join(t.TempDir(), "new")
			backup := filepath.Join(backups, s.Account, s.Name)
			im, err := ImportBackup(backup, to, ImportOptions{Account: s.Account})
			if err != nil || im.Streams[0].Messages != s.State.Messages || im.Streams[0].Stream != s.Name {
				t.Fatalf("%s: %+v, %v", name, im, err)
			}
			d, err := Compare(filepath.Join(dir, "jetstream", s.Account, "streams", s.Name), to, optionsFor(t, c), Options{})
			if err != nil || !d.Identical {
				t.Errorf("%s: %+v, %v", name, d, err)
			}
			var b struct {
				Config map[string]any
				State  struct {
					Messages uint64
					LastSeq  uint64 `json:"last_seq"`
				}
			}
			text, err := os.ReadFile(filepath.Join(backup, "backup.json"))
			if err == nil {
				err = json.Unmarshal(text, &b)
			}
			if err != nil || b.Config["name"] != s.Name || b.Config["Created"] != nil || b.State.Messages != s.State.Messages || b.State.LastSeq != s.State.LastSeq {
				t.Errorf("%s: backup.json %+v, %v", name, b, err)
			}
			noTombstones(t, filepath.Join(backup, "stream.tar.s2"), s.Name)
			if list, _ := os.ReadDir(to); len(list) != 1 {
				t.Errorf("%s: import left something: %v", name, list)
			}
		}
	}
}

// noTombstones looks into the blocks of an archive: servers before 2.10 would take a
// tombstone for a message with a huge sequence.
func noTombstones(t *testing.T, file, stream string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := archive.NewReader(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := r.NextFile()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(e.Content)
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off < len(content) && filepath.Ext(e.Name) == ".blk"; {
			rec, err := record.Parse(content[off:])
			if err != nil {
				t.Fatalf("%s: %s at %d: %v", stream, e.Name, off, err)
			}
			if rec.Kind == record.Tombstone {
				t.Errorf("%s: %s at %d: a tombstone for %d", stream, e.Name, off, rec.Seq)
			}
			off += rec.Size
		}
	}
}

func TestVersion2Archive(t *testing.T) {
	var out bytes.Buffer
	w := archive.NewWriter(&out)
	for _, err := range []error{
		w.State([]byte(`{"messages":2,"last_seq":9,"last_ts":"2026-01-01T00:00:00Z","consumer_count":1}`)),
		w.Consumer("C", []byte(`{"config":{"durable_name":"C"},"state":{"delivered":{"consumer_seq":1,"stream_seq":4},"ack_floor":{"consumer_seq":0,"stream_seq":0},"pending":{"4":{"Sequence":1,"Timestamp":5000000000}}}}`)),
		w.Message("foo.a", 1, 4, nil, []byte("x")),
		w.Message("foo.b", 2, 6, []byte("NATS/1.0\r\n\r\n"), nil),
		w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "ORDERS.s2")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	im, err := ImportBackup(file, to, ImportOptions{Account: "A"})
	if err != nil || im.Streams[0] != (ImportedStream{"A", "ORDERS", 2}) {
		t.Fatalf("%+v, %v", im, err)
	}
	rep, err := Verify(to, Options{})
	want := StreamState{Account: "A", Stream: "ORDERS", Messages: 2, Bytes: 36 + 51, FirstSeq: 4, LastSeq: 9, NumDeleted: 4, Consumers: 1}
	if err != nil || rep.Streams[0] != want || !rep.Clean {
		t.Errorf("%+v, %v", rep, err)
	}
}
