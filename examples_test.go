package natsd

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The commands that the documents show work. Whoever adds one must say here how
// it is tried.
func TestDocumentedCommands(t *testing.T) {
	w := &workplace{t: t, dir: t.TempDir(), built: make(map[string]string)}
	steps := []step{
		// In this order: the store tool reads what the server wrote.
		{"go run ./cmd/natsd -js -sd ./data", w.serve},
		{"natsd --help", w.succeeds},
		{"natsd -c nats-server.conf", w.serve},
		{"go run ./cmd/storetool verify ./data", w.succeeds},
		{"go run ./cmd/storetool recover ./data --to ./rescued", w.succeeds},
		{"storetool --help", w.succeeds},
		{"go build -o natsd ./cmd/natsd", w.builds},
		{"go run ./bench core --server ./natsd --peer nats-server", w.measures},
		{"go run ./fuzz -time 20s", w.fuzzes},
		{"go run ./bench/prove --help", w.succeeds},
		{"go run ./bench/prove powercut-server -n 1000", w.proves},
		{"go run ./bench/prove powercut-consumers -n 1000", w.proves},
		{"go run ./bench/prove powercut-store -n 10000", w.proves},
		{"go run ./bench/prove damage-store -n 10000", w.proves},
		{"go run ./bench/prove model-store -n 1000000", w.proves},
		{"go run ./bench/prove kill9 -n 200 --json", w.proves},
		{"go test work", w.runByCI},
		{"go test -race -tags invariants ./server/...", w.runByCI},
		{".ci/run", w.exists},
	}
	for _, file := range []string{"README.md", "CONTRIBUTING.md", "bench/README.md", "fuzz/README.md"} {
		for _, c := range commandsOf(t, file) {
			if !slices.ContainsFunc(steps, func(s step) bool { return s.command == c }) {
				t.Errorf("%s shows %q, which nothing here tries", file, c)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(w.dir, "nats-server.conf"), []byte("jetstream { store_dir: data }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		t.Logf("$ %s", s.command)
		s.try(strings.Fields(s.command))
	}
}

type step struct {
	command string
	try     func(args []string)
}

var (
	indented = regexp.MustCompile(`(?m)^    (\S.*)$`)
	inText   = regexp.MustCompile("`((?:natsd|storetool) -[^`]*)`")
)

// commandsOf lists the commands in a document: indented lines without their
// comments, and calls of our programs within a sentence.
func commandsOf(t *testing.T, file string) []string {
	text, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, re := range []*regexp.Regexp{indented, inText} {
		for _, m := range re.FindAllSubmatch(text, -1) {
			line, _, _ := strings.Cut(string(m[1]), " #")
			commands = append(commands, strings.TrimSpace(line))
		}
	}
	if len(commands) == 0 {
		t.Fatalf("%s shows no command", file)
	}
	return commands
}

// The programs in the documents compile and print what they say.
func TestDocumentedPrograms(t *testing.T) {
	block := regexp.MustCompile("(?s)```go\n(package main.*?)```")
	comment := regexp.MustCompile(`(?m)^\s*// (.*)$`)
	for _, file := range []string{"subjecttree/README.md"} {
		text, err := os.ReadFile(filepath.FromSlash(file))
		if err != nil {
			t.Fatal(err)
		}
		m := block.FindSubmatch(text)
		if m == nil {
			t.Fatalf("%s has no program", file)
		}
		program := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(program, m[1], 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("go", "run", program).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", file, err, out)
		}
		_, promised, _ := bytes.Cut(m[1], []byte("// Output:\n"))
		var want bytes.Buffer
		for _, o := range comment.FindAllSubmatch(promised, -1) {
			want.Write(append(o[1], '\n'))
		}
		if !bytes.Equal(out, want.Bytes()) {
			t.Errorf("%s: the program prints\n%s\nits comments say\n%s", file, out, &want)
		}
	}
}

// workplace is a folder in which a reader tries the commands.
type workplace struct {
	t     *testing.T
	dir   string
	built map[string]string // package: binary
}

// command is a call of one of our programs, made in the folder.
func (w *workplace) command(args []string, more ...string) *exec.Cmd {
	w.t.Helper()
	if args[0] == "go" { // go run ./pkg args
		args = args[2:]
	} else {
		args = slices.Concat([]string{"./cmd/" + args[0]}, args[1:])
	}
	pkg := args[0]
	if w.built[pkg] == "" {
		binary := filepath.Join(w.t.TempDir(), filepath.Base(pkg))
		if out, err := exec.Command("go", "build", "-o", binary, pkg).CombinedOutput(); err != nil {
			w.t.Fatalf("go build %s: %v\n%s", pkg, err, out)
		}
		w.built[pkg] = binary
	}
	cmd := exec.CommandContext(w.t.Context(), w.built[pkg], slices.Concat(args[1:], more)...)
	cmd.Dir = w.dir
	return cmd
}

func (w *workplace) run(cmd *exec.Cmd) string {
	w.t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func (w *workplace) succeeds(args []string) {
	w.t.Helper()
	if out := w.run(w.command(args)); out == "" {
		w.t.Errorf("%v says nothing", args)
	}
}

// serve starts the server on a free port, stores a message, and stops it.
func (w *workplace) serve(args []string) {
	t := w.t
	t.Helper()
	ports := t.TempDir()
	cmd := w.command(args, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", ports)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", cmd, err, &log)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nc, err := nats.Connect(clientURL(t, ctx, ports), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "orders.new", []byte("hello")); err != nil {
		t.Fatal(err)
	}
}

// clientURL waits until a server has told in its ports file where it listens.
func clientURL(t *testing.T, ctx context.Context, dir string) string {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var ports struct{ Nats []string }
		files, _ := filepath.Glob(filepath.Join(dir, "*.ports"))
		if len(files) == 1 {
			if text, err := os.ReadFile(files[0]); err == nil && json.Unmarshal(text, &ports) == nil && len(ports.Nats) > 0 {
				return ports.Nats[0]
			}
		}
		select {
		case <-ctx.Done():
			t.Fatal("the server does not say where it listens")
		case <-tick.C:
		}
	}
}

// builds puts the binary where the command says.
func (w *workplace) builds(args []string) {
	args[3] = filepath.Join(w.dir, args[3])
	w.run(exec.CommandContext(w.t.Context(), args[0], args[1:]...))
}

// measures makes one short row, with natsd itself as the peer.
func (w *workplace) measures(args []string) {
	args[len(args)-1] = "./natsd"
	if out := w.run(w.command(args, "--rounds", "1", "--scale", "0.01", "--run", "^publish 128.* lean$")); !strings.Contains(out, "publish") {
		w.t.Errorf("no table:\n%s", out)
	}
}

// fuzzes only asks for the targets.
func (w *workplace) fuzzes(args []string) {
	cmd := w.command(args, "-list")
	cmd.Dir = ""
	if out := w.run(cmd); !strings.Contains(out, "FuzzParser") {
		w.t.Errorf("no targets:\n%s", out)
	}
}

// proves runs a proof with one seed.
func (w *workplace) proves(args []string) {
	cmd := w.command(args, "-n", "1", "-j", "1")
	cmd.Dir = ""
	if out := w.run(cmd); out == "" {
		w.t.Errorf("%v says nothing", args)
	}
}

// runByCI is for commands that this test would be part of.
func (w *workplace) runByCI(args []string) {
	script, err := os.ReadFile(".ci/run")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, word := range args {
		if !bytes.Contains(script, []byte(word)) {
			w.t.Errorf(".ci/run does not run %v", args)
		}
	}
}

func (w *workplace) exists(args []string) {
	if info, err := os.Stat(args[0]); err != nil || info.Mode()&0o111 == 0 {
		w.t.Errorf("%s cannot be run: %v", args[0], err)
	}
}
