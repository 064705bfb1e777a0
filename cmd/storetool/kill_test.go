package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// killSize is the environment variable with the size of the store, in bytes, that
// the conversions of TestKilled work on; killSizeDefault is for every day.
const (
	killSize        = "STORETOOL_KILL_SIZE"
	killSizeDefault = 24 << 20
	kills           = 10
)

// built is the program under test, as a process of its own.
func built(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "storetool")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

func must(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s%s", cmd.Args, err, out, errOut.String())
	}
	return string(out)
}

// largeStore makes a store of about size bytes with many blocks.
func largeStore(t *testing.T, bin string, size int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	config := file(t, `{"name":"S","subjects":["foo.*"],"retention":"limits","storage":"file","max_msgs_per_subject":1000000000,"max_msgs":-1,"max_bytes":-1}`)
	cmd := exec.Command(bin, "import", "-", "--to", dir, "--config", config)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const payload = 4 << 10
	rng := rand.New(rand.NewPCG(1, 2))
	body := make([]byte, payload)
	for i := range body { // compresses by about a half
		body[i] = "0123456789abcdef"[rng.IntN(16)]
	}
	rec := `{"account":"A","stream":"S","seq":%d,"time":"2026-01-01T00:00:00Z","subject":"foo.%d","data":"%s"}` + "\n"
	data := base64.StdEncoding.EncodeToString(body)
	for seq := range size / payload {
		if _, err := fmt.Fprintf(in, rec, seq+1, seq%7, data); err != nil {
			t.Fatal(err)
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// count is how many files below the messages of the stream match a pattern.
func count(dir, pattern string) int {
	list, _ := filepath.Glob(filepath.Join(dir, "jetstream", "A", "streams", "S", "msgs", pattern))
	return len(list)
}

// A conversion is killed ten times at random moments: the first kills hit where
// everything is verified, the others between two files or within one. After each
// the directory can be read, and the same command goes on. At the end it holds
// what it held.
func TestKilled(t *testing.T) {
	size := killSizeDefault
	if s := os.Getenv(killSize); s != "" {
		var err error
		if size, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	bin := built(t)
	original := largeStore(t, bin, size)
	blocks := count(original, "*.blk")
	if blocks < 5 {
		t.Fatalf("%d blocks", blocks)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
		t.Fatal(err)
	}
	want := digest(t, exec.Command(bin, "export", original))
	k1, k2 := file(t, "first key"), file(t, "second key")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d bytes in %d blocks", seed, size, blocks)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, c := range []struct {
		name          string
		convert, read []string
	}{
		{"encrypt", []string{"convert-cipher", dir, "--to", "aes", "--new-key-file", k1}, []string{"--key-file", k1}},
		{"compress", []string{"convert-compression", dir, "--to", "s2", "--key-file", k1}, []string{"--key-file", k1}},
		{"new key", []string{"convert-cipher", dir, "--to", "chacha", "--key-file", k1, "--new-key-file", k2}, []string{"--key-file", k2, "--prev-key-file", k1}},
		{"decrypt", []string{"convert-cipher", dir, "--to", "none", "--key-file", k2}, []string{"--key-file", k2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := filepath.Join(t.TempDir(), "before")
			if err := os.CopyFS(before, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			killed := 0
			for try := 0; killed < kills; try++ {
				if try == 10*kills {
					t.Fatalf("only %d of %d runs were killed", killed, try)
				}
				if !killOnce(t, rng, exec.Command(bin, c.convert...)) {
					// Complete before the last kill: once more from the start.
					if err := os.RemoveAll(dir); err != nil {
						t.Fatal(err)
					}
					if err := os.CopyFS(dir, os.DirFS(before)); err != nil {
						t.Fatal(err)
					}
					continue
				}
				killed++
				if killed%3 == 1 || size <= killSizeDefault {
					out := must(t, exec.Command(bin, append([]string{"verify", dir}, c.read...)...))
					if !strings.Contains(out, "clean: 1 stream") {
						t.Fatalf("after kill %d: %s", killed, out)
					}
				}
			}
			must(t, exec.Command(bin, c.convert...))
			if out := must(t, exec.Command(bin, append(c.convert, "--json")...)); !strings.Contains(out, `"blocks":0,`) {
				t.Errorf("after the end there was more to do: %s", out)
			}
			if digest(t, exec.Command(bin, append([]string{"export", dir}, c.read...)...)) != want {
				t.Error("the result holds something else")
			}
			for _, leftover := range []string{"*.tmp", "*.new", "*.old"} {
				if n := count(dir, leftover); n > 0 {
					t.Errorf("%d files %s are left", n, leftover)
				}
			}
			t.Logf("%d kills", killed)
		})
	}
}

// digest is the checksum of what a command prints.
func digest(t *testing.T, cmd *exec.Cmd) [sha256.Size]byte {
	t.Helper()
	h := sha256.New()
	cmd.Stdout = h
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v", cmd.Args, err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// killOnce starts a command and kills it when it has written a random number of
// times, which its directory shows; false if it was faster.
func killOnce(t *testing.T, rng *rand.Rand, cmd *exec.Cmd) bool {
	t.Helper()
	dir := cmd.Args[2]
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// A fifth of the kills hits the verification, the rest the n-th change.
	changes := rng.IntN(5)
	delay := time.Duration(rng.IntN(20_000)) * time.Microsecond
	last, begun := newest(dir), time.Now()
	poll := time.NewTicker(200 * time.Microsecond)
	defer poll.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%q: %v", cmd.Args, err)
			}
			return false
		case <-poll.C:
		}
		if now := newest(dir); changes > 0 && now != last {
			last = now
			changes--
			begun = time.Now()
		}
		if changes == 0 && time.Since(begun) >= delay {
			cmd.Process.Kill()
			<-ended
			return true
		}
	}
}

// newest is the time of the last change in the directory of the messages.
func newest(dir string) time.Time {
	info, err := os.Stat(filepath.Join(dir, "jetstream", "A", "streams", "S", "msgs"))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// An import that is killed leaves no store, and the same command makes it.
func TestKilledImport(t *testing.T) {
	bin := built(t)
	original := largeStore(t, bin, 4<<20)
	lines := filepath.Join(t.TempDir(), "lines")
	must(t, exec.Command(bin, "export", original, "--to", lines))
	config := file(t, `{"name":"S","subjects":["foo.*"],"retention":"limits","storage":"file","max_msgs_per_subject":1000000000,"max_msgs":-1,"max_bytes":-1,"max_consumers":-1}`)
	to := filepath.Join(t.TempDir(), "new")
	for range kills {
		cmd := exec.Command(bin, "import", lines, "--to", to, "--config", config)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for begun := time.Now(); time.Since(begun) < time.Minute; {
			if list, _ := filepath.Glob(filepath.Join(to, ".partial", "jetstream", "A", "streams", "S", "msgs", "*")); len(list) > 0 {
				break
			}
		}
		cmd.Process.Kill()
		if err := cmd.Wait(); err == nil {
			t.Fatal("the import was faster")
		}
		if r := storetool("", "verify", to); r.code != exitRead {
			t.Errorf("half a store: %+v", r)
		}
	}
	must(t, exec.Command(bin, "import", lines, "--to", to, "--config", config))
	if out := must(t, exec.Command(bin, "export", to)); out != must(t, exec.Command(bin, "export", original)) {
		t.Error("the result differs")
	}
	if list, err := os.ReadDir(to); err != nil || len(list) != 1 {
		t.Errorf("left over: %v, %v", list, err)
	}
}
