package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore/internal/fixture"
)

func optionsFor(t testing.TB, c *fixture.Case) Options {
	var o Options
	if c.Encryption != nil {
		o.Keys.Key = []byte(c.Encryption.Key) // the cipher is found by itself
	}
	return o
}

// summary is a finding in the form of the table below.
func summary(f Finding) string {
	s := fmt.Sprintf("%s %s", f.Severity, f.Kind)
	if f.LastSeq > 0 {
		s += fmt.Sprintf(" %d-%d", f.FirstSeq, f.LastSeq)
	}
	return s
}

// What verify says about every fixture that is not simply clean. A fixture that
// is missing here must have no findings but information.
var findings = map[string][]string{}

// Verify names each damage and calls the undamaged clean.
func TestVerifyFixtures(t *testing.T) {
	for _, name := range fixture.Names(t) {
		dir, c := fixture.Unpack(t, name)
		rep, err := Verify(dir, optionsFor(t, c))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, f := range rep.Findings {
			got = append(got, summary(f))
		}
		t.Logf("%-28s clean=%v %s", name, rep.Clean, strings.Join(got, ", "))
		if !slices.Equal(got, findings[name]) {
			t.Errorf("%s: %s", name, strings.Join(got, ", "))
		}
	}
}
