package options

import (
	"fmt"
	"testing"
)

// A chain of imports may pass through so many accounts, and no more.
func TestImportPath(t *testing.T) {
	for _, service := range []bool{true, false} {
		chain := func(account string) []ImportEdge {
			var n int
			fmt.Sscanf(account, "A%d", &n)
			return []ImportEdge{{Service: service, Exporter: fmt.Sprintf("A%d", n+1), Subject: "x", Local: "x"}}
		}
		upTo := func(last string) func(string) []ImportEdge {
			return func(account string) []ImportEdge {
				if account == last {
					return nil
				}
				return chain(account)
			}
		}
		edge := ImportEdge{Service: service, Exporter: "A2", Subject: "x", Local: "x"}
		for last, want := range map[string]string{"A1024": "<nil>", "A1025": "search cycle depth exhausted"} {
			if got := fmt.Sprint(CheckCycle("A1", edge, upTo(last))); got != want {
				t.Errorf("service %v, a chain to %s: %s, want %s", service, last, got, want)
			}
		}
	}
}
