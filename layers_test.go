package natsd

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/natsd/natsd/"

// layers is the table of ARCHITECTURE.md section 1: what the packages below a
// path may depend on, directly or not, outside the standard library. A trailing
// slash stands for everything below.
var layers = []struct {
	packages string
	own      []string // packages of ours
	foreign  []string // module paths; nil where anything goes
}{
	{"subjecttree/...", []string{"subjecttree"}, []string{}},
	{"msgstore/...", []string{"msgstore", "subjecttree"}, []string{"github.com/klauspost/compress", "github.com/minio/highwayhash", "golang.org/x/crypto", "github.com/google/btree", "golang.org/x/sys"}},
	{"raftlog/...", []string{"raftlog"}, nil},
	{"internal/prefetch", []string{"internal/prefetch"}, []string{}},
	{"natsproto/...", []string{"natsproto", "subjecttree"}, []string{}},
	{"jetstream/...", []string{"jetstream", "msgstore", "subjecttree", "natsproto", "internal/prefetch"}, nil},
	{"cmd/storetool", []string{"cmd/storetool", "msgstore", "subjecttree"}, nil},
}

// forbidden are modules that a layer without a list must not reach.
var forbidden = map[string][]string{
	"jetstream/...": {"github.com/cockroachdb/pebble", "github.com/nats-io/nats.go"},
	"cmd/storetool": {"github.com/cockroachdb/pebble", "github.com/nats-io/nats.go", "go.etcd.io/raft"},
}

// Dependencies point downward only.
func TestLayers(t *testing.T) {
	for _, l := range layers {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+l.packages).Output()
		if err != nil {
			t.Fatalf("go list %s: %v", l.packages, err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			switch {
			case strings.HasPrefix(dep, module):
				if !within(strings.TrimPrefix(dep, module), l.own) {
					t.Errorf("%s depends on %s", l.packages, dep)
				}
			case l.foreign != nil && !within(dep, l.foreign):
				t.Errorf("%s depends on %s", l.packages, dep)
			case within(dep, forbidden[l.packages]):
				t.Errorf("%s depends on %s", l.packages, dep)
			}
		}
	}
}

func within(path string, roots []string) bool {
	for _, r := range roots {
		if path == r || strings.HasPrefix(path, r+"/") {
			return true
		}
	}
	return false
}
