package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// The system calls of the binary, seen from outside: between the write of a message
// into its block, or into the commit journal, and the write of its acknowledgement
// to the socket, the file is synced. Without strace, which .ci/run installs, there is
// nothing to see.
func TestSyncPrecedesAck(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Log("strace is not installed")
		return
	}
	s := startServer(t, fmt.Sprintf("jetstream { store_dir: %q }\n", t.TempDir()))
	nc := s.connect(nats.UseOldRequestStyle())
	js := must(nc.JetStream(nats.MaxWait(wait)))(t)
	must(js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s"}}))(t)
	must(js.Publish("s", []byte("before the trace")))(t)

	trace := filepath.Join(t.TempDir(), "trace")
	tracer := exec.Command(strace, "-f", "-y", "-s", "300", "-e", "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync",
		"-o", trace, "-p", fmt.Sprint(s.cmd.Process.Pid))
	var said syncBuffer
	tracer.Stderr = &said
	check(t, tracer.Start())
	waitFor(t, "strace to attach", func() bool { return strings.Contains(said.String(), "attached") || tracer.ProcessState != nil })
	const marks = 20
	for i := range marks {
		must(js.Publish("s", fmt.Appendf(nil, "marked message %d.", i)))(t)
	}
	check(t, tracer.Process.Signal(os.Interrupt))
	tracer.Wait()
	text := string(must(os.ReadFile(trace))(t))
	for i := range marks {
		if err := syncedBetween(text, fmt.Sprintf("marked message %d.", i), fmt.Sprintf(`\"seq\":%d}`, i+2)); err != nil {
			t.Fatalf("message %d: %v\n%s", i, err, text)
		}
	}
}

var (
	fileWrite   = regexp.MustCompile(`(?:write|writev|pwrite64|pwritev2?)\((\d+)<([^>]*/(?:msgs/\d+\.blk|natsd/journal-\d+))>, `)
	socketWrite = regexp.MustCompile(`(?:write|writev|sendto|sendmsg)\(\d+<(?:TCP|socket)`)
	syncBegun   = regexp.MustCompile(`^(\d+) .*f(?:data)?sync\((\d+)<`)
	syncEnded   = regexp.MustCompile(`^(\d+) .*f(?:data)?sync(?:\(\d+<[^>]*>\)| resumed>.*\)) += 0`)
)

// syncedBetween looks for a sync that began behind the write of the payload into a
// file, on that file, and ended before the ack was written to a socket.
func syncedBetween(trace, payload, ack string) error {
	fd := ""
	pending := map[string]bool{} // threads inside such a sync
	synced := false
	for line := range strings.Lines(trace) {
		if m := fileWrite.FindStringSubmatch(line); m != nil && strings.Contains(line, payload) && fd == "" {
			fd = m[1]
		}
		if fd != "" {
			if m := syncBegun.FindStringSubmatch(line); m != nil && m[2] == fd {
				pending[m[1]] = true
			}
			if m := syncEnded.FindStringSubmatch(line); m != nil && pending[m[1]] {
				synced = true
			}
		}
		if strings.Contains(line, ack) && socketWrite.MatchString(line) {
			switch {
			case fd == "":
				return fmt.Errorf("acknowledged before it was written")
			case !synced:
				return fmt.Errorf("acknowledged before %s was synced", fd)
			}
			return nil
		}
	}
	return fmt.Errorf("no acknowledgement in the trace (written: %v, synced: %v)", fd != "", synced)
}

// syncedBetween can fail.
func TestSyncedBetween(t *testing.T) {
	write := `10 pwrite64(7</d/msgs/1.blk>, "\26\0payload!", 40, 0) = 40` + "\n"
	begun := "11 fdatasync(7</d/msgs/1.blk> <unfinished ...>\n"
	ended := "11 <... fdatasync resumed>)             = 0\n"
	whole := "11 fdatasync(7</d/msgs/1.blk>)         = 0\n"
	other := "11 fdatasync(8</d/msgs/2.blk>)         = 0\n"
	ack := `10 write(5<TCP:[127.0.0.1:1->127.0.0.1:2]>, "MSG a 1 20\r\n{\"stream\":\"S\", \"seq\":2}\r\n", 40) = 40` + "\n"
	for trace, good := range map[string]bool{
		write + whole + ack:                    true,
		write + begun + ended + ack:            true,
		write + begun + ack + ended:            false,
		whole + write + ack:                    false,
		write + other + ack:                    false,
		write + ack + whole:                    false,
		begun + write + ended + ack:            false,
		write + begun:                          false,
		write + strings.Repeat(whole, 2) + ack: true,
	} {
		if err := syncedBetween(trace, "payload!", `\"seq\":2}`); (err == nil) != good {
			t.Errorf("%v for\n%s", err, trace)
		}
	}
}
