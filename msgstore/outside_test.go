package msgstore_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A program in a module of its own, outside of the workspace, that names the
// checkout as README.md says, builds, and prints what the example says that it
// prints; it drags in nothing but the modules that README.md lists.
func TestOutsideOfTheWorkspace(t *testing.T) {
	module, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	app := filepath.Join(dir, "app")
	if err := os.Mkdir(app, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(module), filepath.Join(dir, "natsd")); err != nil {
		t.Fatal(err)
	}
	put := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(app, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	readme := contentOf(t, "README.md")
	lines := regexp.MustCompile("(?s)```\n(require .*?)```").FindSubmatch(readme)
	if lines == nil {
		t.Fatal("README.md says nothing about go.mod")
	}
	version := regexp.MustCompile(`(?m)^go .*$`).Find(contentOf(t, "go.mod"))
	put("go.mod", slices.Concat([]byte("module example.com/app\n\n"), version, []byte("\n\n"), lines[1]))
	put("go.sum", contentOf(t, "go.sum"))
	example := contentOf(t, "example_test.go")
	example = bytes.Replace(example, []byte("package msgstore_test"), []byte("package main"), 1)
	put("main.go", bytes.Replace(example, []byte("func Example()"), []byte("func main()"), 1))

	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = app
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %q: %v\n%s", args, err, errOut.String())
		}
		return string(out)
	}
	_, promised, _ := bytes.Cut(example, []byte("// Output:\n"))
	var want strings.Builder
	for line := range strings.Lines(string(promised)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "// "); ok {
			want.WriteString(text + "\n")
		}
	}
	if got := run("run", "."); got != want.String() || got == "" {
		t.Errorf("the program prints\n%s\nwant\n%s", got, want.String())
	}
	allowed := []string{
		"example.com/app", "github.com/natsd/natsd/msgstore", "github.com/natsd/natsd/subjecttree",
		"github.com/klauspost/compress", "github.com/minio/highwayhash", "golang.org/x/crypto", "github.com/google/btree",
		"golang.org/x/sys", // of x/crypto
	}
	for dep := range strings.FieldsSeq(run("list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")) {
		if !slices.Contains(allowed, dep) {
			t.Errorf("it depends on %s", dep)
		}
	}
	for _, name := range []string{"subjecttree", "klauspost/compress", "minio/highwayhash", "x/crypto", "google/btree"} {
		if !bytes.Contains(readme, []byte(name)) {
			t.Errorf("README.md does not name %s", name)
		}
	}
}

func contentOf(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
