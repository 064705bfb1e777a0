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
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// lines are n messages in the form of export.
func lines(n int) string {
	var b strings.Builder
	for seq := 1; seq <= n; seq++ {
		fmt.Fprintf(&b, `{"account":"A","stream":"S","seq":%d,"time":"2026-01-01T00:00:00.%09dZ","subject":"foo.%d","data":"%s"}`+"\n", seq, seq*100+1, seq%3, "aGVsbG8gd29ybGQ=")
	}
	return b.String()
}

type result struct {
	code     int
	out, err string
}

func storetool(stdin string, args ...string) result {
	var out, errOut bytes.Buffer
	code := run(context.Background(), args, strings.NewReader(stdin), &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func makeStore(t *testing.T, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	if r := storetool(lines(n), "import", "-", "--to", dir); r.code != exitClean || r.out != fmt.Sprintf("A > S: %d messages\n", n) {
		t.Fatalf("%+v", r)
	}
	return dir
}

func TestImportNothing(t *testing.T) {
	to := filepath.Join(t.TempDir(), "store")
	if r := storetool("", "import", "-", "--to", to); r.code != exitClean || r.out != "- holds no messages: "+to+" has no streams\n" {
		t.Errorf("%+v", r)
	}
}

// damage inverts a bit in the payload of message 2.
func damage(t *testing.T, dir string) {
	t.Helper()
	name := filepath.Join(dir, "jetstream", "A", "streams", "S", "msgs", "1.blk")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/10*1+30] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUsage(t *testing.T) {
	dir := makeStore(t, 10)
	empty := t.TempDir()
	for _, tc := range []struct {
		args []string
		code int
		want string // part of standard error
	}{
		{[]string{"verfy", dir}, exitUsage, `unknown command "verfy"`},
		{[]string{"verify"}, exitUsage, "DIR is missing"},
		{[]string{"verify", dir, dir}, exitUsage, "one argument too many"},
		{[]string{"verify", "--nosuch", dir}, exitUsage, "unknown flag: --nosuch"},
		{[]string{"verify", filepath.Join(empty, "x")}, exitRead, "no such file or directory"},
		{[]string{"verify", empty}, exitRead, "no JetStream directory"},
		{[]string{"verify", dir, "--key-file", filepath.Join(empty, "k")}, exitRead, "no such file"},
		{[]string{"verify", dir, "--key-file", file(t, "\n")}, exitUsage, "a key of 0 bytes"},
		{[]string{"recover", dir}, exitUsage, "one of --to NEW and --in-place is needed"},
		{[]string{"recover", dir, "--in-place"}, exitUsage, "--in-place goes with --backup"},
		{[]string{"recover", dir, "--to", dir}, exitRead, "choose a place elsewhere"},
		{[]string{"convert-cipher", dir}, exitUsage, "--to chacha, aes or none"},
		{[]string{"convert-compression", dir}, exitUsage, "--to s2 or none"},
		{[]string{"import", empty, "--to", filepath.Join(empty, "y")}, exitRead, "no backup: a directory with backup.json and stream.tar.s2"},
		{[]string{"convert-cipher", dir, "--to", "rot13"}, exitUsage, "chacha, aes or none"},
		{[]string{"convert-cipher", dir, "--to", "aes"}, exitUsage, "a key is needed to encrypt"},
		{[]string{"convert-compression", dir, "--to", "zip"}, exitUsage, "s2 or none"},
		{[]string{"export", dir, "--format", "xml"}, exitUsage, "jsonl or snapshot"},
		{[]string{"export", dir, "--format", "snapshot"}, exitUsage, "--to DIR"},
		{[]string{"import", "-"}, exitUsage, "--to NEW"},
		{[]string{"import", filepath.Join(empty, "x"), "--to", filepath.Join(empty, "y")}, exitRead, "no such file"},
		{[]string{"inspect", dir, "--filter", "a..b"}, exitUsage, "is no subject"},
		{[]string{"diff", dir}, exitUsage, "B is missing"},
	} {
		r := storetool("", tc.args...)
		if r.code != tc.code || !strings.Contains(r.err, tc.want) {
			t.Errorf("%q: %d %s", tc.args, r.code, r.err)
		}
		if r.out != "" {
			t.Errorf("%q: printed %s", tc.args, r.out)
		}
	}
	if r := storetool(""); r.code != exitClean || !strings.Contains(r.out, "Available Commands") {
		t.Errorf("%+v", r)
	}
}

func TestExportIsWhatWasImported(t *testing.T) {
	dir := makeStore(t, 200)
	if r := storetool("", "export", dir); r.code != exitClean || r.out != lines(200) || r.err != "" {
		t.Errorf("%d %s %s", r.code, r.out, r.err)
	}
	to := filepath.Join(t.TempDir(), "out.jsonl")
	if r := storetool("", "export", dir, "--to", to, "--json"); r.code != exitClean || r.out != `{"streams":1,"messages":200,"lost":0}`+"\n" {
		t.Errorf("%+v", r)
	}
	b, err := os.ReadFile(to)
	if err != nil || string(b) != lines(200) {
		t.Errorf("the file: %d bytes, %v", len(b), err)
	}
}

func TestVerifyAndRecover(t *testing.T) {
	dir := makeStore(t, 10)
	if r := storetool("", "verify", dir); r.code != exitClean || !strings.Contains(r.out, "clean: 1 stream, 0 findings") {
		t.Errorf("%+v", r)
	}
	damage(t, dir)
	r := storetool("", "verify", dir, "--json")
	var rep struct {
		Clean    bool
		Streams  []map[string]any
		Findings []map[string]any
	}
	if err := json.Unmarshal([]byte(r.out), &rep); err != nil || r.code != exitDamage || rep.Clean || len(rep.Streams) != 1 || len(rep.Findings) != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	f := rep.Findings[0]
	if f["severity"] != "damage" || f["kind"] != "bad-record" || f["account"] != "A" || f["stream"] != "S" || f["first_seq"] != 2.0 || f["last_seq"] != 2.0 || f["offset"] == nil || f["detail"] == "" || !strings.HasSuffix(f["file"].(string), "1.blk") {
		t.Errorf("%v", f)
	}
	for _, member := range []string{"account", "stream", "messages", "bytes", "first_seq", "last_seq", "num_deleted", "consumers"} {
		if _, ok := rep.Streams[0][member]; !ok {
			t.Errorf("no %s in %v", member, rep.Streams[0])
		}
	}

	if r := storetool("", "replay", dir, "--json"); r.code != exitClean || r.out != `{"segments":0,"files":0,"applied":0,"present":0,"dropped":0,"bytes":0,"runs":0,"states":0}`+"\n" {
		t.Errorf("%+v", r)
	}
	to := filepath.Join(t.TempDir(), "new")
	r = storetool("", "recover", dir, "--to", to, "--json")
	if want := `{"streams":[{"account":"A","stream":"S","recovered":9,"lost":[{"first_seq":2,"last_seq":2,"reason":"invalid checksum"}]}]}` + "\n"; r.code != exitDamage || r.out != want {
		t.Errorf("%+v", r)
	}
	if r := storetool("", "diff", dir, to); r.code != exitClean || r.out != "identical: 9 messages\n" {
		t.Errorf("%+v", r)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	if r := storetool("", "recover", dir, "--in-place", "--backup", backup); r.code != exitDamage || !strings.Contains(r.out, "lost 2: ") {
		t.Errorf("%+v", r)
	}
	if r := storetool("", "verify", "-q", dir); r.code != exitClean {
		t.Errorf("%+v", r)
	}
	if r := storetool("", "diff", dir, makeStore(t, 10)); r.code != exitDamage || !strings.Contains(r.out, "A > S: only-in-b 2\n") {
		t.Errorf("%+v", r)
	}
}

func TestKeysAndConversion(t *testing.T) {
	dir := makeStore(t, 50)
	k1, k2 := file(t, "first key\n"), file(t, "second key")
	steps := []struct {
		args []string
		env  string
		code int
		want string
	}{
		{[]string{"convert-cipher", dir, "--to", "aes", "--new-key-file", k1}, "", exitClean, "1 stream: 1 block rewritten"},
		{[]string{"verify", dir}, "", exitRead, "no key was given: use --key-file or NATSD_STORE_KEY"},
		{[]string{"verify", dir}, "first key", exitClean, "clean"},
		{[]string{"verify", dir}, "wrong", exitRead, "encrypted with another key"},
		{[]string{"verify", dir, "--key-file", k1}, "wrong", exitClean, "clean"},
		{[]string{"inspect", dir, "--key-file", k1}, "", exitClean, "encryption   aes"},
		{[]string{"convert-cipher", dir, "--to", "chacha", "--key-file", k1, "--new-key-file", k2}, "", exitClean, "1 block rewritten"},
		{[]string{"verify", dir, "--key-file", k2}, "", exitClean, "clean"},
		{[]string{"verify", dir, "--prev-key-file", k2}, "new one", exitClean, "clean"},
		{[]string{"convert-compression", dir, "--to", "s2", "--key-file", k2}, "", exitClean, "1 as wanted"},
		{[]string{"inspect", dir, "--key-file", k2}, "", exitClean, "compression  s2"},
		{[]string{"convert-cipher", dir, "--to", "none", "--key-file", k2}, "", exitClean, "1 block rewritten"},
		{[]string{"convert-cipher", dir, "--to", "none"}, "", exitClean, "0 blocks rewritten, 1 as wanted already"},
		{[]string{"stats", dir}, "", exitClean, "messages   50"},
	}
	for _, s := range steps {
		t.Setenv(keyVariable, s.env)
		r := storetool("", s.args...)
		if r.code != s.code || !strings.Contains(r.out+r.err, s.want) {
			t.Errorf("%q: %+v", s.args, r)
		}
	}
	t.Setenv(keyVariable, "")
	if r := storetool("", "export", dir); r.out != lines(50) {
		t.Errorf("after all conversions: %s", r.out)
	}
	if r := storetool("", "diff", dir, makeStore(t, 50)); r.code != exitClean || r.out != "identical: 50 messages\n" {
		t.Errorf("compressed and not: %+v", r)
	}
}

func TestSnapshot(t *testing.T) {
	dir := makeStore(t, 30)
	backups := filepath.Join(t.TempDir(), "backups")
	if r := storetool("", "export", dir, "--format", "snapshot", "--to", backups); r.code != exitClean || !strings.Contains(r.err, "1 stream, 30 messages, 0 lost") {
		t.Fatalf("%+v", r)
	}
	to := filepath.Join(t.TempDir(), "new")
	if r := storetool("", "import", filepath.Join(backups, "A", "S"), "--to", to, "--account", "A", "--json"); r.code != exitClean || r.out != `{"streams":[{"account":"A","stream":"S","messages":30}]}`+"\n" {
		t.Fatalf("%+v", r)
	}
	if r := storetool("", "diff", dir, to, "--json"); r.code != exitClean || r.out != `{"identical":true,"messages":30,"differences":[]}`+"\n" {
		t.Errorf("%+v", r)
	}
	to = filepath.Join(t.TempDir(), "all")
	if r := storetool("", "import", backups, "--to", to); r.code != exitClean || r.out != "A > S: 30 messages\n" {
		t.Fatalf("%+v", r)
	}
	if r := storetool("", "diff", dir, to); r.code != exitClean {
		t.Errorf("%+v", r)
	}
}

// An import that fails leaves nothing, and says where.
func TestImportFails(t *testing.T) {
	dir := t.TempDir()
	lines, to := filepath.Join(dir, "lines"), filepath.Join(dir, "new")
	if err := os.WriteFile(lines, []byte("garbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := storetool("", "import", lines, "--to", to); r.code != exitRead || !strings.HasPrefix(r.err, "storetool: "+lines+": line 1: ") {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", to, err)
	}
}

func TestVersion(t *testing.T) {
	if r := storetool("", "--version"); r.code != exitClean || !strings.HasPrefix(r.out, "storetool version ") {
		t.Errorf("%+v", r)
	}
}

func TestInterrupted(t *testing.T) {
	dir := makeStore(t, 30)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errOut bytes.Buffer
	code := run(ctx, []string{"convert-compression", dir, "--to", "s2"}, nil, &out, &errOut)
	if code != exitRead || !strings.Contains(errOut.String(), "interrupted") {
		t.Errorf("%d %s", code, errOut.String())
	}
	if r := storetool("", "export", dir); r.out != lines(30) {
		t.Errorf("%+v", r)
	}
}

func TestProgressLine(t *testing.T) {
	for _, tc := range []struct {
		done, total, recent int64
		elapsed             time.Duration
		want                string
	}{
		{0, 100 << 20, 0, time.Second, "  0 %  0 B of 100.0 MiB  0 B/s"},
		{25 << 20, 100 << 20, 25 << 20, time.Second, " 25 %  25.0 MiB of 100.0 MiB  25.0 MiB/s  3s to go"},
		{75 << 20, 100 << 20, 10 << 20, 2 * time.Second, " 75 %  75.0 MiB of 100.0 MiB  5.0 MiB/s  5s to go"},
		{100 << 20, 100 << 20, 100 << 20, 4 * time.Second, "100 %  100.0 MiB of 100.0 MiB  25.0 MiB/s"},
		{1 << 30, 10 << 40, 1 << 30, 10 * time.Second, "  0 %  1.0 GiB of 10.0 TiB  102.4 MiB/s  28h26m30s to go"},
	} {
		if got := progressLine(tc.done, tc.total, tc.recent, tc.elapsed); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

// The rate is that of the last seconds: what was read fast in the beginning says
// nothing about the time to go.
func TestProgressRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProgress(t.Context(), &tool{stderr: io.Discard})
		for _, tc := range []struct {
			wait time.Duration
			done int64
			want int64 // bytes a second
		}{
			{time.Second, 1000, 1000}, {time.Second, 2000, 1000}, {2 * time.Second, 2020, 10}, {2 * time.Second, 2040, 10}, {time.Second, 2050, 10},
		} {
			time.Sleep(tc.wait) // of the bubble's clock
			if err := p.update(tc.done, 1<<20); err != nil {
				t.Fatal(err)
			}
			if rate := (tc.done - p.from.done) * int64(time.Second) / int64(time.Since(p.from.at)); rate != tc.want {
				t.Errorf("%d done: %d B/s, want %d", tc.done, rate, tc.want)
			}
		}
	})
}
