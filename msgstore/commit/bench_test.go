package commit

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/vfs"
)

// The benchmarks use the disk of the temporary directory, and report beside their
// own rate what the disk can do in the same run.

const benchRecord = 128

// fsyncP50 is the median time of writing a record and syncing it.
func fsyncP50(b *testing.B, dir string) time.Duration {
	f, err := vfs.OS.OpenFile(filepath.Join(dir, "probe"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var times []time.Duration
	for i := range int64(100) {
		start := time.Now()
		if _, err := f.WriteAt(make([]byte, benchRecord), i*benchRecord); err != nil {
			b.Fatal(err)
		}
		if err := f.SyncData(); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

type benchStore struct {
	q    *Queue
	f    *File
	vf   vfs.File
	done func([]*Op)
}

func openBench(b testing.TB, c *Committer, dir string, i int, done func([]*Op)) *benchStore {
	name := fmt.Sprintf("jetstream/A/streams/S%d/msgs/1.blk", i)
	if err := vfs.OS.MkdirAll(path.Join(dir, path.Dir(name)), 0o700); err != nil {
		b.Fatal(err)
	}
	vf, err := vfs.OS.OpenFile(path.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	if err := vf.Sync(); err != nil {
		b.Fatal(err)
	}
	s := &benchStore{vf: vf, done: done}
	s.q = c.NewQueue(func(ops []*Op) { s.done(ops) })
	s.f = s.q.NewFile(name, vf, 0, [8]byte{}, Always)
	return s
}

func openBenchCommitter(b *testing.B, opts Options) (*Committer, string) {
	dir := b.TempDir()
	c, err := Open(dir, opts)
	if err != nil {
		b.Fatal(err)
	}
	return c, dir
}

func report(b *testing.B, ops int, goal float64, fsync time.Duration) {
	rate := float64(ops) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "ops/s")
	b.ReportMetric(float64(fsync.Microseconds()), "fsync-µs")
	b.ReportMetric(rate/goal, "×goal")
}

// One publisher that waits for each record: no hand-over between goroutines.
func BenchmarkLone(b *testing.B) {
	c, dir := openBenchCommitter(b, Options{})
	defer c.Close()
	fsync := fsyncP50(b, dir)
	done := make(chan struct{}, 1)
	s := openBench(b, c, dir, 0, func(ops []*Op) {
		if ops[0].Err != nil {
			b.Error(ops[0].Err)
		}
		done <- struct{}{}
	})
	op := &Op{File: s.f, Data: make([]byte, benchRecord)}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		s.q.Submit(op)
		s.q.Run()
		<-done
	}
	report(b, b.N, 1/fsync.Seconds(), fsync)
}

// 64 publishers that wait for each record, in one store.
func BenchmarkBlocking64(b *testing.B) {
	var rounds atomic.Int64
	var inSync atomic.Int64
	c, dir := openBenchCommitter(b, Options{Listener: func(e Event) {
		switch e := e.(type) {
		case JournalRound:
			rounds.Add(1)
			inSync.Add(int64(e.Duration))
		case SyncDone:
			rounds.Add(1)
			inSync.Add(int64(e.Duration))
		}
	}})
	defer c.Close()
	fsync := fsyncP50(b, dir)
	waits := map[*Op]chan struct{}{}
	s := openBench(b, c, dir, 0, func(ops []*Op) {
		for _, o := range ops {
			if o.Err != nil {
				b.Error(o.Err)
			}
			waits[o] <- struct{}{}
		}
	})
	var left atomic.Int64
	var wg sync.WaitGroup
	left.Store(int64(b.N))
	ops := make([]*Op, 64)
	for i := range ops {
		ops[i] = &Op{File: s.f, Data: make([]byte, benchRecord)}
		waits[ops[i]] = make(chan struct{}, 1)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, o := range ops {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				s.q.Submit(o)
				s.q.Run()
				<-waits[o]
			}
		})
	}
	wg.Wait()
	report(b, b.N, 0.5*64/fsync.Seconds(), fsync)
	b.ReportMetric(float64(b.N)/float64(rounds.Load()), "ops/round")
	b.ReportMetric(float64(inSync.Load())/float64(b.Elapsed()), "share-in-sync")
}

// 64 producers with 64 records outstanding each, in one store, told by callback.
func BenchmarkCallback64x64(b *testing.B) {
	c, dir := openBenchCommitter(b, Options{})
	defer c.Close()
	fsync := fsyncP50(b, dir)
	type producer struct {
		free chan *Op
	}
	owner := map[*Op]*producer{}
	s := openBench(b, c, dir, 0, func(ops []*Op) {
		for _, o := range ops {
			if o.Err != nil {
				b.Error(o.Err)
			}
			owner[o].free <- o
		}
	})
	var left atomic.Int64
	left.Store(int64(b.N))
	var producers []*producer
	for range 64 {
		p := &producer{free: make(chan *Op, 64)}
		for range 64 {
			o := &Op{File: s.f, Data: make([]byte, benchRecord)}
			owner[o] = p
			p.free <- o
		}
		producers = append(producers, p)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for _, p := range producers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				s.q.Submit(<-p.free)
				s.q.Start()
			}
			for range 64 {
				<-p.free
			}
		})
	}
	wg.Wait()
	report(b, b.N, min(500_000, 0.7*4096/fsync.Seconds()), fsync)
}

// 1,000 stores with one record each in turn, and the same by syncing the files in
// parallel. One iteration is one record in each store.
func Benchmark1000Stores(b *testing.B) {
	const stores = 1000
	round := func(b *testing.B, opts Options, rounds int) (perRecord time.Duration, p99 time.Duration) {
		c, dir := openBenchCommitter(b, opts)
		defer c.Close()
		var wg sync.WaitGroup
		var mu sync.Mutex
		var times []time.Duration
		began := make([]time.Time, stores)
		var list []*benchStore
		var ops []*Op
		for i := range stores {
			s := openBench(b, c, dir, i, func(done []*Op) {
				for _, o := range done {
					if o.Err != nil {
						b.Error(o.Err)
					}
				}
				mu.Lock()
				times = append(times, time.Since(began[i]))
				mu.Unlock()
				wg.Done()
			})
			list = append(list, s)
			ops = append(ops, &Op{File: s.f, Data: make([]byte, benchRecord)})
		}
		turn := func() {
			for i, s := range list {
				wg.Add(1)
				began[i] = time.Now()
				s.q.Submit(ops[i])
				s.q.Start()
			}
			wg.Wait()
		}
		for range 3 {
			turn() // until the journal has its segments
		}
		times = times[:0]
		start := time.Now()
		for range rounds {
			turn()
		}
		elapsed := time.Since(start)
		slices.Sort(times)
		for _, s := range list {
			s.f.Drop()
			s.vf.Close()
		}
		return elapsed / time.Duration(rounds*stores), times[len(times)*99/100]
	}
	fsync := fsyncP50(b, b.TempDir())
	b.ResetTimer()
	b.StopTimer()
	plain, _ := round(b, Options{NoJournal: true}, max(3, b.N/10))
	b.StartTimer()
	journal, p99 := round(b, Options{}, b.N)
	b.ReportMetric(1/journal.Seconds(), "records/s")
	b.ReportMetric(float64(plain)/float64(journal), "×parallel")
	b.ReportMetric(float64(p99.Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64((10*fsync+20*time.Millisecond).Microseconds())/1000, "p99-goal-ms")
	b.ReportMetric(float64(fsync.Microseconds()), "fsync-µs")
	b.ReportMetric(float64(pprof.Lookup("threadcreate").Count()), "threads")
}
