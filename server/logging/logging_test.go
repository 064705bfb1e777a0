package logging

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func open(t *testing.T, c Config) *Logger {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	l := New(s)
	t.Cleanup(func() { l.Sink().Close() })
	return l
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, Config{File: path})
	l.Noticef("one %d", 1)
	l.Warnf("two")
	l.Errorf("three")
	l.Fatalf("four")
	l.Debugf("not shown")
	l.Tracef("not shown")
	l.SetLevels(true, true)
	l.Debugf("five")
	l.Tracef("six\n")
	want := strings.ReplaceAll("[P] [INF] one 1\n[P] [WRN] two\n[P] [ERR] three\n[P] [FTL] four\n[P] [DBG] five\n[P] [TRC] six\n", "P", fmt.Sprint(os.Getpid()))
	if got := read(t, path); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, Config{File: path, Time: true, UTC: true})
	l.Noticef("x")
	if got := read(t, path); !regexp.MustCompile(`^\[\d+\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} \[INF\] x\n$`).MatchString(got) {
		t.Errorf("got %q", got)
	}
}

func TestColors(t *testing.T) {
	var b bytes.Buffer
	s := &stream{w: &b, format: newFormat(Config{}, true)}
	s.write(Warn, "x")
	if got, want := b.String(), fmt.Sprintf("[%d] [\x1b[0;93mWRN\x1b[0m] x\n", os.Getpid()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	other := path + ".2026.not.a.backup"
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, Config{File: path, SizeLimit: 400, MaxFiles: 3})
	for i := range 50 {
		l.Noticef("line %d of a log that is rotated", i)
	}
	backups, err := filepath.Glob(path + ".????.??.??.??.??.??.?????????")
	if err != nil || len(backups) != 2 {
		t.Errorf("%d backups, want 2: %v, %v", len(backups), backups, err)
	}
	text := read(t, path)
	if !strings.Contains(text, `[INF] Rotated log, backup saved as "`+backups[1]+`"`) || !strings.Contains(text, `[INF] Purged log file "`) {
		t.Errorf("the new file begins %q", text)
	}
	if strings.Contains(text, "\r") {
		t.Errorf("a carriage return in %q", text)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("another file was removed: %v", err)
	}
}

// A file that is too large when it is opened is rotated at once.
func TestRotationAtOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 500), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, Config{File: path, SizeLimit: 400})
	if text := read(t, path); !strings.Contains(text, "Rotated log, backup saved as") || strings.Contains(text, "xxx") {
		t.Errorf("got %q", text)
	}
	backups, _ := filepath.Glob(path + ".*")
	if len(backups) != 1 || !strings.Contains(read(t, backups[0]), "Rotating logfile...") {
		t.Errorf("backups %v", backups)
	}
}

// Lines from many goroutines are whole and none is lost, while the file is opened again and exchanged.
func TestReopenAndReplace(t *testing.T) {
	dir := t.TempDir()
	path, second := filepath.Join(dir, "log"), filepath.Join(dir, "second")
	l := open(t, Config{File: path})
	var wg sync.WaitGroup
	const writers, lines = 4, 200
	for w := range writers {
		wg.Go(func() {
			for i := range lines {
				l.Noticef("writer %d line %d", w, i)
			}
		})
	}
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	next, err := Open(Config{File: second})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Replace(next); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	all := read(t, path+".moved") + read(t, path) + read(t, second)
	if !strings.Contains(read(t, path), "[INF] File log re-opened\n") {
		t.Error("no line about the reopening in the new file")
	}
	if n := strings.Count(all, "[INF] writer "); n != writers*lines {
		t.Errorf("%d lines, want %d", n, writers*lines)
	}
}

func TestReopenOfAnotherSink(t *testing.T) {
	var b bytes.Buffer
	l := New(&Sink{out: &stream{w: &b, format: newFormat(Config{}, false)}})
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(b.String(), "[INF] File log re-open ignored, not a file logger\n") {
		t.Errorf("got %q", b.String())
	}
}

func TestOpenErrors(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{File: "/nosuch/log"}, "error opening file: open /nosuch/log: no such file or directory"},
		{Config{RemoteSyslog: "://"}, `parse "://": missing protocol scheme`},
		{Config{RemoteSyslog: "foo://127.0.0.1:1"}, `error invalid network type: "foo"`},
		{Config{RemoteSyslog: "tcp://127.0.0.1:1"}, `error connecting to syslog: "dial tcp 127.0.0.1:1: connect: connection refused"`},
	} {
		_, err := Open(c.config)
		if err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestRemoteSyslog(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l := open(t, Config{RemoteSyslog: "udp://" + conn.LocalAddr().String()})
	l.SetLevels(true, true)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		log      func(string, ...any)
		priority int
	}{{l.Noticef, 5}, {l.Tracef, 5}, {l.Warnf, 4}, {l.Errorf, 3}, {l.Fatalf, 2}, {l.Debugf, 7}} {
		c.log("text %d", c.priority)
		buf := make([]byte, 1024)
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`^<%d>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dS*(Z|[+-]\d\d:\d\d) %s %s\[%d\]: text %d\n$`,
			c.priority, regexp.QuoteMeta(host), regexp.QuoteMeta(filepath.Base(os.Args[0])), os.Getpid(), c.priority)
		if !regexp.MustCompile(want).Match(buf[:n]) {
			t.Errorf("got %q, want %s", buf[:n], want)
		}
	}
}

// A syslog server that goes away and comes back gets lines again.
func TestSyslogReconnects(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	lines := make(chan string, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 1024)
			n, err := conn.Read(buf)
			if err == nil {
				lines <- string(buf[:n])
			}
			conn.Close()
		}
	}()
	l := open(t, Config{RemoteSyslog: "tcp://" + listener.Addr().String()})
	l.Noticef("first")
	if got := <-lines; !strings.HasSuffix(got, ": first\n") {
		t.Errorf("got %q", got)
	}
	// The connection is closed by now or soon: lines go on until one arrives over a new one.
	deadline := time.After(10 * time.Second)
	for {
		l.Noticef("again")
		select {
		case got := <-lines:
			if !strings.Contains(got, ": again\n") {
				t.Errorf("got %q", got)
			}
			return
		case <-deadline:
			t.Fatal("no line after the reconnect")
		default:
		}
	}
}

// A syslog server that takes nothing holds up a line, and not those behind it.
func TestStuckSyslog(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // connections wait in its queue
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	out, err := dialSyslog("tcp://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := out.(*syslog)
	defer s.close()
	s.write(Info, strings.Repeat("x", 64<<20))
	if s.conn != nil || s.retry.IsZero() {
		t.Fatalf("another line would wait, too: connected %v, again from %v", s.conn != nil, s.retry)
	}
	s.retry = time.Now().Add(time.Hour)
	s.write(Info, "dropped")
	s.retry = time.Time{}
	s.write(Info, "sent")
	if s.conn == nil {
		t.Error("no line is sent again")
	}
}

func BenchmarkFile(b *testing.B) {
	s, err := Open(Config{File: filepath.Join(b.TempDir(), "log"), Time: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	l := New(s)
	b.ReportAllocs()
	for b.Loop() {
		l.Noticef("a line of the usual length about %s", "something")
	}
}

func BenchmarkDebugOff(b *testing.B) {
	l := New(nil)
	b.ReportAllocs()
	for b.Loop() {
		l.Debugf("not shown")
	}
}

// TestSeldom: once in an interval, which begins with the line.
func TestSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Seldom
		for _, tt := range []struct {
			after time.Duration
			want  bool
		}{{0, true}, {0, false}, {time.Second, false}, {time.Second, true}, {1999 * time.Millisecond, false}, {time.Minute, true}, {0, false}} {
			time.Sleep(tt.after)
			if got := s.Due(2 * time.Second); got != tt.want {
				t.Errorf("%v after the last question: %v, want %v", tt.after, got, tt.want)
			}
		}
	})
}
