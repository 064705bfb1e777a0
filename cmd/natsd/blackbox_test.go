package main_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
	t    testing.TB
	conf string
	addr string
	cmd  *exec.Cmd
	log  *syncBuffer
	done chan error
}

// startServer runs the binary with a configuration on a free port; a "listen"
// line is added. It ends with the test.
func startServer(t testing.TB, conf string) *process {
	t.Helper()
	p := &process{t: t, addr: freeAddr(t), conf: filepath.Join(t.TempDir(), "natsd.conf")}
	p.configure(conf)
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *process) configure(conf string) {
	if err := os.WriteFile(p.conf, []byte("listen: \""+p.addr+"\"\n"+conf), 0o600); err != nil {
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
		c, err := net.Dial("tcp", p.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (p *process) command() *exec.Cmd {
	cmd := exec.Command(binary, "-c", p.conf)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	return cmd
}

// stop ends the server in order and waits.
func (p *process) stop() { p.end(syscall.SIGTERM) }

// kill ends it at once.
func (p *process) kill() { p.end(syscall.SIGKILL) }

func (p *process) end(sig os.Signal) {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		p.cmd.Process.Kill()
		p.t.Errorf("server did not stop\n%s", p.log)
	}
	p.cmd = nil
}

func (p *process) url() string { return "nats://" + p.addr }

// connect opens a client that fails the test on asynchronous errors.
func (p *process) connect(opts ...nats.Option) *nats.Conn {
	p.t.Helper()
	all := append([]nats.Option{nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		p.t.Errorf("asynchronous error: %v", err)
	})}, opts...)
	nc, err := nats.Connect(p.url(), all...)
	if err != nil {
		p.t.Fatalf("connect: %v\n%s", err, p.log)
	}
	p.t.Cleanup(nc.Close)
	return nc
}

func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// waitFor polls until ok holds.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
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
