// Package signals sends signals to running servers: the flag --signal.
package signals

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// commands are the words of --signal.
var commands = map[string]syscall.Signal{
	"stop":   syscall.SIGKILL,
	"quit":   syscall.SIGINT,
	"term":   syscall.SIGTERM,
	"reopen": syscall.SIGUSR1,
	"reload": syscall.SIGHUP,
	"ldm":    syscall.SIGUSR2,
}

// Send sends a signal to servers. The text is a command (stop, quit, term, reopen, reload, ldm), or a command, an equals
// sign and a process id, a file that holds one, or the beginning of one with an asterisk. Without a process id the one
// process whose executable has the name is meant.
func Send(text, name string) error {
	command, target, _ := strings.Cut(text, "=")
	if _, more, ok := strings.Cut(target, "="); ok {
		return fmt.Errorf("invalid signal parameters: %v", strings.Split(more, "="))
	}
	pids, err := find(target, name)
	if err != nil {
		return err
	}
	signal, ok := commands[command]
	if !ok {
		return fmt.Errorf("unknown signal %q", command)
	}
	var failed strings.Builder
	for _, pid := range pids {
		if err := syscall.Kill(pid, signal); err != nil {
			fmt.Fprintf(&failed, "\nsignal %q %d: %s", command, pid, err)
		}
	}
	if failed.Len() > 0 {
		return errors.New(failed.String())
	}
	return nil
}

// find returns the process ids that the text stands for.
func find(target, name string) ([]int, error) {
	if target != "" {
		if text, err := os.ReadFile(target); err == nil {
			target = strings.TrimSpace(string(text))
		}
	}
	prefix, all := strings.CutSuffix(target, "*")
	if target != "" && !all {
		pid, err := strconv.Atoi(target)
		if err != nil || pid <= 0 {
			return nil, fmt.Errorf("invalid pid: %s", target)
		}
		return []int{pid}, nil
	}
	if _, err := strconv.Atoi(prefix); prefix != "" && err != nil {
		return nil, fmt.Errorf("invalid pid: %s", target)
	}
	running, err := processes(name)
	if err != nil {
		return nil, errors.New("unable to resolve pid, try providing one")
	}
	pids := slices.DeleteFunc(running, func(pid int) bool { return !strings.HasPrefix(strconv.Itoa(pid), prefix) })
	switch {
	case len(pids) == 0:
		return nil, fmt.Errorf("no %s processes running", name)
	case len(pids) > 1 && !all:
		var b strings.Builder
		fmt.Fprintf(&b, "multiple %s processes running:", name)
		for _, pid := range pids {
			fmt.Fprintf(&b, "\n%d", pid)
		}
		return nil, errors.New(b.String())
	}
	return pids, nil
}

// commLength is how much of a name the kernel keeps.
const commLength = 15

// processes returns the process ids of an executable's name, in order, without this one.
func processes(name string) ([]int, error) {
	if len(name) > commLength {
		name = name[:commLength]
	}
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("no process list")
	}
	var pids []int
	for _, f := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A process that has ended in between has no file.
		if comm, err := os.ReadFile(f); err == nil && strings.TrimSuffix(string(comm), "\n") == name {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}
