package options

import (
	"fmt"
	"testing"
)

// oneChain are the imports of a chain of accounts A1, A2, ... to a last one.
type oneChain struct {
	service bool
	last    string
}

func (c oneChain) Imports(account string) []ImportEdge {
	if account == c.last {
		return nil
	}
	var n int
	fmt.Sscanf(account, "A%d", &n)
	return []ImportEdge{{Service: c.service, Exporter: fmt.Sprintf("A%d", n+1), Subject: "x", Local: "x"}}
}

func (oneChain) Streams(string) []string { return []string{"x"} }

// A chain of imports may pass through so many accounts, and no more.
func TestImportPath(t *testing.T) {
	for _, service := range []bool{true, false} {
		edge := ImportEdge{Service: service, Exporter: "A2", Subject: "x", Local: "x"}
		for last, want := range map[string]string{"A1024": "<nil>", "A1025": "search cycle depth exhausted"} {
			if got := fmt.Sprint(CheckCycle("A1", edge, oneChain{service, last})); got != want {
				t.Errorf("service %v, a chain to %s: %s, want %s", service, last, got, want)
			}
		}
	}
}
