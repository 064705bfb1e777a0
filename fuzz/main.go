// Command fuzz runs every fuzz target of the project, one after the other, each
// for the same time.
//
//	go run ./fuzz -time 20s            # a short round, as CI does
//	go run ./fuzz -time 10m -run Parser
//
// Targets live beside the code they test, in every module of the workspace;
// this finds them by their names. The exit code is 1 when one found something;
// the failing input is then below testdata/fuzz of its package.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
)

// target is one fuzz function of one package.
type target struct{ pkg, dir, name string }

func main() {
	each := flag.Duration("time", 20*time.Second, "how long to run each target")
	run := flag.String("run", "", "only targets whose package and name match this regular expression")
	list := flag.Bool("list", false, "list the targets and run none")
	jobs := flag.Int("j", 1, "how many targets to run at a time; each gets its share of the processors")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := fuzz(ctx, *each, *run, *list, max(*jobs, 1))
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func fuzz(ctx context.Context, each time.Duration, run string, list bool, jobs int) (ok bool, err error) {
	match, err := regexp.Compile(run)
	if err != nil {
		return false, err
	}
	targets, err := find(ctx)
	if err != nil {
		return false, err
	}
	if list {
		for _, t := range targets {
			if match.MatchString(t.String()) {
				fmt.Println(t)
			}
		}
		return true, nil
	}
	var (
		mu             sync.Mutex // guards the counts and the output
		passed, failed int
		wg             sync.WaitGroup
		free           = make(chan struct{}, jobs)
	)
	for _, t := range targets {
		if !match.MatchString(t.String()) {
			continue
		}
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			began := time.Now()
			out, err := t.run(ctx, each, max(runtime.NumCPU()/jobs, 1))
			mu.Lock()
			defer mu.Unlock()
			if err != nil && !stoppedLate(out) {
				failed++
				fmt.Printf("FAIL %s\n%s", t, out)
				return
			}
			passed++
			fmt.Printf("ok   %s %.0fs, %s executions\n", t, time.Since(began).Seconds(), executions(out))
		})
	}
	wg.Wait()
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	return failed == 0, ctx.Err()
}

// find lists the targets of the workspace in the order of their packages.
func find(ctx context.Context) ([]target, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-f", "{{.ImportPath}}\t{{.Dir}}", "work")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	name := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)
	var targets []target
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		pkg, dir, _ := strings.Cut(lines.Text(), "\t")
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			for _, m := range name.FindAllSubmatch(text, -1) {
				targets = append(targets, target{pkg, dir, string(m[1])})
			}
		}
	}
	return targets, lines.Err()
}

// stoppedLate tells a run that only missed its end: the Go tool reports one whose
// workers were busy when the time was up as failed, without an input.
func stoppedLate(output []byte) bool {
	return bytes.Contains(output, []byte("context deadline exceeded")) && !bytes.Contains(output, []byte("Failing input written"))
}

var execs = regexp.MustCompile(`execs: (\d+)`)

// executions is the last number that the Go tool reports.
func executions(output []byte) string {
	all := execs.FindAllSubmatch(output, -1)
	if len(all) == 0 {
		return "no"
	}
	return string(all[len(all)-1][1])
}

func (t target) String() string { return t.pkg + " " + t.name }

func (t target) run(ctx context.Context, each time.Duration, workers int) (output []byte, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(),
		// By default Go may spend a minute on making one interesting input smaller.
		"-fuzzminimizetime", "20x", "-parallel", fmt.Sprint(workers), ".")
	cmd.Dir = t.dir
	return cmd.CombinedOutput()
}
