package signals

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.pid")
	if err := os.WriteFile(broken, []byte("words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, want string }{
		{"quit=1=2", "invalid signal parameters: [2]"},
		{"quit=1=2=3", "invalid signal parameters: [2 3]"},
		{"quit=notapid", "invalid pid: notapid"},
		{"quit=x*", "invalid pid: x*"},
		{"quit=-1", "invalid pid: -1"},
		{"quit=" + broken, "invalid pid: words"},
		{"dance=1", `unknown signal "dance"`},
		{"quit=99999999", "\nsignal \"quit\" 99999999: no such process"},
		{"quit", "no nobody-has-this processes running"},
		{"dance", "no nobody-has-this processes running"},
	} {
		err := Send(c.text, "nobody-has-this")
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.text, err, c.want)
		}
	}
}

// child runs a copy of sleep under a name of its own.
func child(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

// ended waits for a child and tells the signal that ended it.
func ended(t *testing.T, cmd *exec.Cmd) syscall.Signal {
	t.Helper()
	cmd.Wait()
	return cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()
}

func TestSend(t *testing.T) {
	const name = "sig-test-child"
	pidFile := filepath.Join(t.TempDir(), "pid")
	for _, c := range []struct {
		target func(pid int) string
		word   string
		want   syscall.Signal
	}{
		{func(pid int) string { return fmt.Sprintf("=%d", pid) }, "quit", syscall.SIGINT},
		{func(pid int) string {
			if err := os.WriteFile(pidFile, fmt.Appendf(nil, "%d\n", pid), 0o600); err != nil {
				t.Fatal(err)
			}
			return "=" + pidFile
		}, "term", syscall.SIGTERM},
		{func(int) string { return "" }, "stop", syscall.SIGKILL},
		{func(pid int) string { return "=" + fmt.Sprint(pid)[:1] + "*" }, "quit", syscall.SIGINT},
	} {
		cmd := child(t, name)
		if err := Send(c.word+c.target(cmd.Process.Pid), name); err != nil {
			t.Fatal(err)
		}
		if got := ended(t, cmd); got != c.want {
			t.Errorf("%s: ended by %v, want %v", c.word, got, c.want)
		}
	}

	a, b := child(t, name), child(t, name)
	err := Send("quit", name)
	if err == nil || !strings.HasPrefix(err.Error(), "multiple sig-test-child processes running:\n") ||
		!strings.Contains(err.Error(), fmt.Sprint(a.Process.Pid)) || !strings.Contains(err.Error(), fmt.Sprint(b.Process.Pid)) {
		t.Errorf("got %v", err)
	}
	if err := Send("quit=*", name); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []*exec.Cmd{a, b} {
		if got := ended(t, cmd); got != syscall.SIGINT {
			t.Errorf("ended by %v", got)
		}
	}
}
