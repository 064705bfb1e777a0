package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// binary is the server under test: built from this tree, or the one that the
// environment variable NATSD_BINARY names.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if binary = os.Getenv("NATSD_BINARY"); binary == "" {
			dir, err := os.MkdirTemp("", "natsd")
			if err != nil {
				panic(err)
			}
			defer os.RemoveAll(dir)
			binary = filepath.Join(dir, "natsd")
			if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

// process is a running server.
type process struct {
	t     testing.TB
	conf  string
	ports string // the directory of its ports file
	addr  string
	http  string // of the monitoring, if there is any
	cmd   *exec.Cmd
	log   *syncBuffer
	done  chan error
}

// startServer runs the binary with a configuration; a "listen" line is added. It
// ends with the test.
func startServer(t testing.TB, conf string) *process {
	t.Helper()
	p := newProcess(t, conf)
	p.start()
	t.Cleanup(p.stop)
	return p
}

// newProcess is a server that does not run yet. At each start it listens on another
// port that it chose itself: one that a test chose may be somebody else's by then.
func newProcess(t testing.TB, conf string) *process {
	p := &process{t: t, conf: filepath.Join(t.TempDir(), "natsd.conf"), ports: t.TempDir()}
	p.configure(conf)
	return p
}

func (p *process) configure(conf string) { p.configureAt("127.0.0.1:-1", conf) }

func (p *process) configureAt(addr, conf string) {
	if err := os.WriteFile(p.conf, []byte("listen: \""+addr+"\"\n"+conf), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) start() {
	p.t.Helper()
	p.log = &syncBuffer{}
	p.cmd = p.command()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(p.cmd, p.done)
	waitFor(p.t, "the server to accept connections", func() bool {
		select {
		case err := <-p.done:
			p.t.Fatalf("server ended: %v\n%s", err, p.log)
		default:
		}
		return p.readPorts()
	})
}

// readPorts reads where the server listens, if it has told it.
func (p *process) readPorts() bool {
	text, err := os.ReadFile(filepath.Join(p.ports, fmt.Sprintf("%s_%d.ports", filepath.Base(binary), p.cmd.Process.Pid)))
	if err != nil {
		return false
	}
	var all struct{ Nats, Monitoring []string }
	if json.Unmarshal(text, &all) != nil || len(all.Nats) == 0 {
		return false
	}
	_, p.addr, _ = strings.Cut(all.Nats[0], "://")
	if len(all.Monitoring) > 0 {
		p.http = all.Monitoring[0]
	}
	return true
}

func (p *process) command() *exec.Cmd {
	cmd := exec.Command(binary, "-c", p.conf, "--ports_file_dir", p.ports)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	return cmd
}

// stop ends the server in order and waits.
func (p *process) stop() { p.end(syscall.SIGTERM) }

// kill ends it at once.
func (p *process) kill() { p.end(syscall.SIGKILL) }

// hang stops the server's process, without its noticing, for as long as something takes.
func (p *process) hang(while func()) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	defer p.cmd.Process.Signal(syscall.SIGCONT)
	while()
}

func (p *process) end(sig os.Signal) {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(wait):
		p.cmd.Process.Kill()
		p.t.Errorf("server did not stop\n%s", p.log)
	}
	p.cmd = nil
}

func (p *process) url() string { return "nats://" + p.addr }

// connect opens a client that fails the test on asynchronous errors.
func (p *process) connect(opts ...nats.Option) *nats.Conn {
	p.t.Helper()
	all := append([]nats.Option{nats.Timeout(wait), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		p.t.Errorf("asynchronous error: %v", err)
	})}, opts...)
	nc, err := nats.Connect(p.url(), all...)
	if err != nil {
		p.t.Fatalf("connect: %v\n%s", err, p.log)
	}
	p.t.Cleanup(nc.Close)
	return nc
}

// waitFor polls until ok holds.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
