// Package checktest reads store directories twice, for tests: with package check,
// as storetool does, and with a second reader of the format that shares no code
// with it.
package checktest

import (
	"fmt"
	"path/filepath"

	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/internal/independent"
)

// Clean reports as an error what is wrong with the store directory of a server that
// was stopped in order: damage, violations of the format, and whatever the two
// readers do not agree on.
func Clean(dir string, keys check.Keys) error {
	rep, err := check.Verify(dir, check.Options{Keys: keys})
	if err != nil {
		return err
	}
	for _, f := range rep.Findings {
		if f.Severity != check.Info {
			return fmt.Errorf("verify: %s", f)
		}
	}
	for _, s := range rep.Streams {
		path := filepath.Join(dir, "jetstream", s.Account, "streams", s.Stream)
		in, err := independent.Read(path, string(keys.Key))
		if err != nil {
			return fmt.Errorf("independent reader: %s: %w", path, err)
		}
		if len(in.Problems) > 0 {
			return fmt.Errorf("independent reader: %s: %s", path, in.Problems)
		}
		if n := uint64(len(in.Messages)); n != s.Messages || in.First != s.FirstSeq || in.Last != s.LastSeq || in.Bytes != s.Bytes || len(in.Consumers) != s.Consumers {
			return fmt.Errorf("%s: verify says %+v, the independent reader %d messages, %d bytes, %d to %d, %d consumers", path, s, n, in.Bytes, in.First, in.Last, len(in.Consumers))
		}
	}
	return nil
}

// Undamaged reports damage in the directory of a server that ended in any way.
func Undamaged(dir string, keys check.Keys) error {
	rep, err := check.Verify(dir, check.Options{Keys: keys})
	if err != nil {
		return err
	}
	for _, f := range rep.Findings {
		if f.Severity == check.Damage {
			return fmt.Errorf("verify: %s", f)
		}
	}
	return nil
}
