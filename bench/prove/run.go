package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

type options struct {
	n         int // units
	seed      uint64
	jobs      int
	race      bool
	keepGoing bool
}

// run tries the seeds in processes of a chunk each.
func (p *proof) run(ctx context.Context, o options, progress io.Writer) (*result, error) {
	per := max(p.perSeed, 1)
	seeds := (o.n + per - 1) / per
	res := &result{Proof: p.name, FirstSeed: o.seed, Unit: p.unit(), Failures: []failure{}}
	dir, err := os.MkdirTemp("", "prove")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "test")
	source, err := p.build(ctx, binary, o.race)
	if err != nil {
		return nil, err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		next  int // seeds handed out
		stuck error
	)
	began := time.Now()
	report := func() {
		fmt.Fprintf(progress, "%s: %d of %d seeds, %d failures, %.0f s\n", p.name, res.Seeds, seeds, len(res.Failures), time.Since(began).Seconds())
	}
	for range o.jobs {
		wg.Go(func() {
			for {
				mu.Lock()
				if next >= seeds || ctx.Err() != nil {
					mu.Unlock()
					return
				}
				first, n := o.seed+uint64(next), min(p.chunk, seeds-next)
				next += n
				mu.Unlock()
				failures, err := p.try(ctx, binary, source, first, n)
				mu.Lock()
				if err != nil {
					stuck = errors.Join(stuck, err)
					cancel()
				} else {
					res.Seeds += n
					res.Failures = append(res.Failures, failures...)
					for _, f := range failures {
						fmt.Fprintf(progress, "%s: seed %d: %s", p.name, f.Seed, f.Text)
					}
					report()
					if len(failures) > 0 && !o.keepGoing {
						cancel()
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	res.Count = res.Seeds * per
	if len(res.Failures) > 0 { // what ended the others is no news
		return res, nil
	}
	return res, errors.Join(stuck, ctx.Err())
}

// build compiles the test and returns the folder in which it runs.
func (p *proof) build(ctx context.Context, binary string, race bool) (string, error) {
	dir, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", p.pkg).Output()
	if err != nil {
		return "", fmt.Errorf("looking for %s: %w", p.pkg, err)
	}
	args := []string{"test", "-c", "-o", binary}
	if race {
		args = append(args, "-race")
	}
	if out, err := exec.CommandContext(ctx, "go", append(args, p.pkg)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", p.pkg, err, out)
	}
	return strings.TrimSpace(string(dir)), nil
}

// seedTimeout bounds one seed: a run that hangs has failed.
const seedTimeout = 2 * time.Minute

// try runs a chunk of seeds and returns those that failed.
func (p *proof) try(ctx context.Context, binary, dir string, first uint64, n int) ([]failure, error) {
	cmd := exec.CommandContext(ctx, binary, "-test.run=^"+p.test+"$", "-test.v", "-test.timeout="+(time.Duration(n)*seedTimeout).String())
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NATSD_SEED="+strconv.FormatUint(first, 10), "NATSD_RUNS="+strconv.Itoa(n))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		return nil, err
	case err == nil && !strings.Contains(out.String(), "--- PASS: "+p.test):
		return nil, fmt.Errorf("%s has no test %s:\n%s", p.pkg, p.test, out.String())
	case err == nil:
		return nil, nil
	}
	failures := failuresIn(out.String())
	if len(failures) == 0 {
		failures = []failure{{Text: fmt.Sprintf("seeds %d to %d: %v\n%s", first, first+uint64(n)-1, err, out.String())}}
	}
	return failures, nil
}

var (
	seedLine = regexp.MustCompile(`(?:seed |NATSD_SEED=)(\d+): (.*)`)
	subtest  = regexp.MustCompile(`^=== RUN +\S+/seed_(\d+)$`)
	failed   = regexp.MustCompile(`^ +--- FAIL: \S+/seed_(\d+) `)
)

// failuresIn finds what a test reports as "seed N: ...", each with the lines that
// follow it, and failed subtests of the name "seed N" with what they said.
func failuresIn(out string) []failure {
	var all []failure
	said := map[string]string{} // by seed, of subtests
	var current string
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if m := subtest.FindStringSubmatch(line); m != nil {
			current = m[1]
			continue
		}
		if m := failed.FindStringSubmatch(line); m != nil {
			all = append(all, failure{Seed: number(m[1]), Text: said[m[1]]})
			continue
		}
		if m := seedLine.FindStringSubmatch(line); m != nil {
			all = append(all, failure{Seed: number(m[1]), Text: m[2] + "\n"})
			continue
		}
		if strings.HasPrefix(line, "--- ") {
			current = "" // the summary begins
		}
		switch n := len(all); {
		case current != "":
			said[current] += line + "\n"
		case n > 0 && strings.HasPrefix(line, "        "):
			all[n-1].Text += line + "\n"
		}
	}
	return all
}

// number of digits that were matched; 0 where they are too many.
func number(digits string) uint64 {
	n, _ := strconv.ParseUint(digits, 10, 64)
	return n
}
