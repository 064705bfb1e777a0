package options

import (
	"os"
	"strings"
	"testing"
)

func TestReferenceIsCurrent(t *testing.T) {
	got, err := os.ReadFile("../../docs/options.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Reference() {
		t.Error("docs/options.md is not current: run go generate ./server/options")
	}
}

// Every option is described, and every flag that names an option finds it.
func TestEverythingIsDescribed(t *testing.T) {
	seen := make(map[blockDoc]bool)
	var walk func(path string, doc blockDoc)
	walk = func(path string, doc blockDoc) {
		if seen[doc] {
			return
		}
		seen[doc] = true
		for _, o := range doc.options() {
			if o.Doc == "" || o.Type == "" {
				t.Errorf("%s%s has no description or type", path, o.Name)
			}
			if o.block != nil {
				walk(path+o.Name+".", o.block)
			}
		}
	}
	walk("", top)
	for _, g := range flagGroups {
		for _, f := range g.flags {
			if strings.TrimSpace(f.text()) == "" {
				t.Errorf("flag %v has no description", f.names)
			}
		}
	}
}
