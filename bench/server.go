package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of the CPU times in /proc, fixed at 100 Hz for user space.
const clockTick = 10 * time.Millisecond

// Server is a running server process under measurement.
type Server struct {
	Addr string // host:port of its client listener
	Dir  string // its folder, removed by Stop

	binary string
	args   []string
	cmd    *exec.Cmd
	log    *os.File
}

// StartServer runs binary on a free port of the loopback interface with a
// configuration ("{dir}" stands for a fresh folder) and waits until it accepts
// connections.
func StartServer(ctx context.Context, binary, conf string) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	l.Close()
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: addr, Dir: dir, args: []string{"-a", "127.0.0.1", "-p", port}, binary: binary}
	if conf != "" {
		file := filepath.Join(dir, "conf")
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(conf, "{dir}", dir)), 0o600); err != nil {
			return nil, err
		}
		s.args = append(s.args, "-c", file)
	}
	return s, s.Start(ctx)
}

// Start runs the process, again after Halt, and waits until it accepts connections.
func (s *Server) Start(ctx context.Context) error {
	log, err := os.Create(filepath.Join(s.Dir, "log"))
	if err != nil {
		return err
	}
	s.log = log
	s.cmd = exec.Command(s.binary, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for began := time.Now(); ; {
		c, err := net.DialTimeout("tcp", s.Addr, time.Second)
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil || time.Since(began) > 30*time.Second {
			text, _ := os.ReadFile(log.Name())
			s.Stop()
			return fmt.Errorf("%s does not accept connections on %s:\n%s", s.binary, s.Addr, text)
		}
		time.Sleep(time.Millisecond)
	}
}

// Stop ends the process and removes its folder.
func (s *Server) Stop() {
	s.Halt()
	os.RemoveAll(s.Dir)
}

// Halt ends the process in order and keeps its folder.
func (s *Server) Halt() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { s.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		s.cmd.Process.Kill()
		<-done
	}
	s.log.Close()
}

// CPU is the processor time that the process has used so far.
func (s *Server) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The command name in parentheses may hold anything; fields count from behind it.
	_, rest, ok := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 13 {
		return 0, fmt.Errorf("/proc stat: %q", text)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	sys, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc stat: %q", text)
	}
	return time.Duration(user+sys) * clockTick, nil
}

// PeakRSS is the largest resident size that the process has had, in bytes.
func (s *Server) PeakRSS() (int64, error) { return s.memory("VmHWM:") }

// RSS is its resident size now, in bytes.
func (s *Server) RSS() (int64, error) { return s.memory("VmRSS:") }

func (s *Server) memory(field string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, field); ok {
			kb, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc status", field)
}
