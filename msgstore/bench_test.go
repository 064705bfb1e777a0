package msgstore

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/highwayhash"

	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seqset"
	"github.com/natsd/natsd/msgstore/vfs"
)

// noSync is the disk without its syncs: what is left is the work of the store,
// the system calls and the page cache.
type noSync struct{ vfs.FS }

type noSyncFile struct{ vfs.File }

func (noSyncFile) Sync() error     { return nil }
func (noSyncFile) SyncData() error { return nil }

func (f noSyncFile) WritePieces(pieces [][]byte, off int64) error {
	return vfs.WritePieces(f.File, pieces, off)
}

func (noSync) SyncDir(string) error { return nil }

func (f noSync) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	x, err := f.FS.OpenFile(name, flag, perm)
	return noSyncFile{x}, err
}

func benchStore(b *testing.B, cfg Config, opts FileOptions, on ...vfs.FS) (*Host, *FileStore) {
	b.Helper()
	var fsys vfs.FS = vfs.OS
	switch {
	case len(on) > 0:
		fsys = on[0]
	case opts.Durability == External:
		fsys = noSync{vfs.OS}
	}
	h, err := NewHost(b.TempDir(), HostOptions{Manual: true, FS: fsys})
	if err != nil {
		b.Fatal(err)
	}
	cfg.Name = "BENCH"
	if cfg.Subjects == nil {
		cfg.Subjects = []string{">"}
	}
	opts.Account = "$G"
	s, err := OpenFileStore(h, cfg, opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		s.Delete(true)
		h.Close()
	})
	return h, s
}

// pace is the time that fn takes for n things, in ns each: the median of many
// short turns of fn, which other programs on the machine disturb little. Turns of
// several pacers alternate, so that their ratio is that of one moment.
type pacer struct {
	fn    func() int
	times []float64
}

func pace(turns int, pacers ...*pacer) {
	for range turns {
		for _, p := range pacers {
			start := time.Now()
			n := p.fn()
			p.times = append(p.times, float64(time.Since(start).Nanoseconds())/float64(n))
		}
	}
	for _, p := range pacers {
		slices.Sort(p.times)
	}
}

func (p *pacer) median() float64 { return p.times[len(p.times)/2] }

// BenchmarkAppend stores batches of 1,000 messages of 128 B in the page cache, four
// of them outstanding, and beside it hashes and copies the same bytes. "share" is the
// speed of the store, from the first call to the last callback, as a share of theirs.
// A purge between two turns keeps what is dirty below 64 MiB: the disk is not measured.
func BenchmarkAppend(b *testing.B) {
	for _, subjects := range []int{1, 1000} {
		b.Run(fmt.Sprintf("subjects=%d", subjects), func(b *testing.B) {
			const batch, batches = 1000, 64 // of a turn
			_, s := benchStore(b, Config{}, FileOptions{Durability: External})
			data := make([]byte, 128)
			msgs := make([]RawMsg, batch)
			size := 0
			for i := range msgs {
				msgs[i] = RawMsg{Subject: fmt.Sprintf("bench.%04d", i%subjects), Data: data, Time: 1}
				size += record.Size(len(msgs[i].Subject), 0, len(data))
			}
			out := make(chan struct{}, 4)
			done := func(err error) {
				if err != nil {
					b.Error(err)
				}
				<-out
			}
			store := &pacer{fn: func() int {
				for range batches {
					out <- struct{}{}
					s.StoreRawMsgs(msgs, done)
				}
				for range cap(out) {
					out <- struct{}{}
				}
				for range cap(out) {
					<-out
				}
				return batch * batches
			}}
			key := make([]byte, 32)
			src := make([]byte, size/batch)
			dst := make([]byte, 0, 8<<20)
			plain := &pacer{fn: func() int {
				for range batch * batches {
					if len(dst)+len(src) > cap(dst) {
						dst = dst[:0]
					}
					dst = append(dst, src...)
					highwayhash.Sum64(src[:len(src)-14], key)
				}
				return batch * batches
			}}
			b.ReportAllocs()
			b.ResetTimer()
			for range (b.N + batch*batches - 1) / (batch * batches) {
				if st := s.State(); st.Bytes > 64<<20 {
					b.StopTimer()
					if _, err := s.Purge(); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				pace(1, store, plain)
			}
			b.ReportMetric(store.median(), "ns/msg")
			b.ReportMetric(plain.median(), "ns/hash+copy")
			b.ReportMetric(plain.median()/store.median(), "share")
		})
	}
}

// fileBytes is the size of the records of these benchmarks.
const fileBytes = 30 + 7 + 128

func fillStore(b *testing.B, s Store, n int, subject func(i int) string, size int) {
	b.Helper()
	data := make([]byte, size)
	msgs := make([]RawMsg, 0, 1000)
	out := make(chan struct{}, 16)
	flush := func() {
		out <- struct{}{}
		s.StoreRawMsgs(msgs, func(err error) {
			if err != nil {
				b.Error(err)
			}
			<-out
		})
		msgs = msgs[:0]
	}
	for i := range n {
		msgs = append(msgs, RawMsg{Subject: subject(i), Data: data, Time: int64(i + 1)})
		if len(msgs) == cap(msgs) {
			flush()
		}
	}
	flush()
	for range cap(out) {
		out <- struct{}{}
	}
}

func BenchmarkLoad(b *testing.B) {
	const n = 500_000
	one := func(int) string { return "bench.a" }
	b.Run("msg", func(b *testing.B) {
		_, s := benchStore(b, Config{}, FileOptions{Durability: External})
		fillStore(b, s, n, one, 128)
		var sm StoredMsg
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			if _, err := s.LoadMsg(uint64(i%n)+1, &sm); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("batch", func(b *testing.B) {
		_, s := benchStore(b, Config{}, FileOptions{Durability: External})
		fillStore(b, s, n, one, 128)
		var batch Batch
		b.ReportAllocs()
		b.ResetTimer()
		next := uint64(1)
		for i := 0; i < b.N; {
			batch.Reset()
			var err error
			if next, err = s.LoadBatch(nil, next, BatchLimit{Msgs: 500}, &batch); err != nil {
				b.Fatal(err)
			}
			i += len(batch.Msgs)
			if next > n {
				next = 1
			}
		}
	})
	b.Run("cold", func(b *testing.B) {
		h, s := benchStore(b, Config{}, FileOptions{Durability: External})
		fillStore(b, s, n, one, 128)
		var batch Batch
		p := &pacer{fn: func() int {
			h.Maintain(cacheIdle + 1)
			// A quarter of a block a turn would measure the pieces; all of them are
			// read in one go.
			for next := uint64(1); next <= n; {
				batch.Reset()
				var err error
				if next, err = s.LoadBatch(nil, next, BatchLimit{Msgs: 500}, &batch); err != nil {
					b.Fatal(err)
				}
			}
			return n * fileBytes
		}}
		b.ReportAllocs()
		b.ResetTimer()
		pace(b.N, p)
		b.ReportMetric(1000/p.median(), "MB/s-median")
		b.ReportMetric(1000/p.times[0], "MB/s-best")
	})
}

// BenchmarkDurable measures producers with many messages outstanding, and
// blocking ones.
func BenchmarkDurable(b *testing.B) {
	data := make([]byte, 128)
	b.Run("producers=64x64", func(b *testing.B) {
		_, s := benchStore(b, Config{}, FileOptions{})
		b.ReportAllocs()
		b.ResetTimer()
		var wg sync.WaitGroup
		var next atomic.Int64
		for range 64 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				out := make(chan struct{}, 64)
				m := [1]RawMsg{{Subject: "bench.a", Data: data, Time: 1}}
				for next.Add(1) <= int64(b.N) {
					out <- struct{}{}
					s.StoreRawMsgs(m[:], func(err error) {
						if err != nil {
							b.Error(err)
						}
						<-out
					})
				}
				for range cap(out) {
					out <- struct{}{}
				}
			}()
		}
		wg.Wait()
	})
	for _, writers := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { blockingWriters(b, writers) })
	}
}

// blockingWriters lets goroutines store b.N messages of 128 B, each waiting for its last
// one. Their turns alternate with syncs of 128 B appended to a file. "share" is their
// speed as a share of what the issue asks for: 0.5 x writers / p50 of those syncs.
func blockingWriters(b *testing.B, writers int) {
	const rounds = 100 // of a turn
	var syncs atomic.Int64
	_, s := benchStore(b, Config{}, FileOptions{}, countSyncs{vfs.OS, &syncs})
	data := make([]byte, 128)
	turn := min(writers*rounds, b.N)
	store := &pacer{fn: func() int {
		var wg sync.WaitGroup
		var next atomic.Int64
		for range writers {
			wg.Go(func() {
				for next.Add(1) <= int64(turn) {
					if _, _, err := s.StoreMsg("bench.a", nil, data, 0); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		return turn
	}}
	plain, err := vfs.OS.OpenFile(filepath.Join(b.TempDir(), "plain"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	size := int64(0)
	alone := &pacer{fn: func() int {
		if _, err := plain.WriteAt(data, size); err != nil {
			b.Fatal(err)
		}
		size += int64(len(data))
		if err := plain.SyncData(); err != nil {
			b.Fatal(err)
		}
		return 1
	}}
	for syncs.Load() < 1500 { // the journal is in use then
		store.fn()
	}
	syncs.Store(0)
	b.ResetTimer()
	turns := max(1, b.N/turn)
	for range turns {
		pace(1, store)
		b.StopTimer()
		pace(rounds, alone)
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(1e9/store.median(), "msgs/s")
	b.ReportMetric(float64(turns*turn)/float64(syncs.Load()), "msgs/sync")
	b.ReportMetric(alone.median()/1000, "µs-fsync-p50")
	b.ReportMetric(alone.median()/store.median()/(0.5*float64(writers)), "share")
}

// countSyncs counts the syncs of files' contents.
type countSyncs struct {
	vfs.FS
	n *atomic.Int64
}

type countSyncsFile struct {
	vfs.File
	n *atomic.Int64
}

func (f countSyncsFile) SyncData() error {
	f.n.Add(1)
	return f.File.SyncData()
}

func (f countSyncsFile) WritePieces(pieces [][]byte, off int64) error {
	return vfs.WritePieces(f.File, pieces, off)
}

func (f countSyncs) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	x, err := f.FS.OpenFile(name, flag, perm)
	return countSyncsFile{x, f.n}, err
}

func BenchmarkSubjects(b *testing.B) {
	const n = 1_000_000
	_, s := benchStore(b, Config{}, FileOptions{Durability: External})
	before := heapInUse()
	text := 0
	fillStore(b, s, n, func(i int) string {
		subject := fmt.Sprintf("a%d.%d", i%1000, i/1000)
		text += len(subject)
		return subject
	}, 32)
	for x := range s.disk.host.held {
		s.disk.host.drop(x)
	}
	b.Run("memory", func(b *testing.B) {
		for range b.N {
		}
		b.ReportMetric(float64(heapInUse()-before-int64(text))/n, "B/subject-beyond-text")
	})
	run := func(name string, fn func(i int) int) {
		b.Run(name, func(b *testing.B) {
			p := &pacer{}
			i := 0
			p.fn = func() int { i++; return fn(i) }
			b.ReportAllocs()
			b.ResetTimer()
			pace(b.N, p)
			b.ReportMetric(p.median()/1000, "µs-median")
		})
	}
	// The subjects a777.x come once in 1,000 messages.
	run("LoadNext 1 in 1000", func(i int) int {
		if _, _, err := s.LoadNextMsg("a777.*", uint64(i*7919%990_000)+1, nil); err != nil {
			b.Fatal(err)
		}
		return 1
	})
	// They all come before the last 1,000 of 1,000,000 messages: what a search
	// from the beginning finds is at the end.
	run("LoadNext far", func(i int) int {
		if _, seq, err := s.LoadNextMsg(fmt.Sprintf("a%d.999", i%1000), 1, nil); err != nil || seq != uint64(999_000+i%1000+1) {
			b.Fatal(seq, err)
		}
		return 1
	})
	run("LoadNext far *.999", func(i int) int {
		if _, seq, err := s.LoadNextMsg("*.999", 1, nil); err != nil || seq != 999_001 {
			b.Fatal(seq, err)
		}
		return 1
	})
	count := func(filter string, start uint64, last bool, want uint64) func(int) int {
		return func(int) int {
			if c, _, _ := s.NumPending(start, filter, last); c != want {
				b.Fatalf("%s: %d, want %d", filter, c, want)
			}
			return 1
		}
	}
	run("NumPending a77.>", count("a77.>", 0, false, 1000))
	run("NumPending > middle", count(">", n/2, false, n/2+1))
	run("NumPending *.x", count("*.7", 0, false, 1000))
	run("NumPending last", count("*.7", 0, true, 1000))
}

// BenchmarkPending counts among 1,000,000 subjects below one token, 10,000 of
// which end in the same one.
func BenchmarkPending(b *testing.B) {
	const n = 1_000_000
	_, s := benchStore(b, Config{}, FileOptions{Durability: External})
	fillStore(b, s, n, func(i int) string { return fmt.Sprintf("a.%d.%d", i%10_000, i/10_000) }, 32)
	for _, q := range []struct {
		filter string
		want   uint64
	}{{"a.>", n}, {"a.*.7", 10_000}, {"*.777.*", 100}} {
		b.Run(q.filter, func(b *testing.B) {
			p := &pacer{fn: func() int {
				if c, _, _ := s.NumPending(0, q.filter, false); c != q.want {
					b.Fatal(c)
				}
				return 1
			}}
			b.ReportAllocs()
			b.ResetTimer()
			pace(b.N, p)
			b.ReportMetric(p.median()/1000, "µs-median")
		})
	}
}

// BenchmarkHistory reads what there is of one key of 10,000, in a bucket of 100
// blocks that are not in memory: with the tables of subjects, and before there
// are any.
func BenchmarkHistory(b *testing.B) {
	const keys, n = 10_000, 400_000
	h, s := benchStore(b, Config{}, FileOptions{Durability: External, BlockSize: 256 << 10})
	fillStore(b, s, n, func(i int) string {
		if i%40 == 0 { // seldom ones, with 10 messages each
			return fmt.Sprintf("kv.seldom.%d", i/40%(keys/10))
		}
		return fmt.Sprintf("kv.%d", i%7)
	}, 32)
	history := func(key string) int {
		msgs := 0
		for next := uint64(1); ; msgs++ {
			sm, seq, err := s.LoadNextMsg(key, next, nil)
			if err == ErrStoreEOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			_ = sm
			next = seq + 1
		}
		if msgs != 10 {
			b.Fatal(msgs)
		}
		return 1
	}
	b.Run("first", func(b *testing.B) {
		p := &pacer{fn: func() int {
			h.Maintain(subjectsIdle + 1)
			return history("kv.seldom.7")
		}}
		pace(b.N, p)
		b.ReportMetric(p.median()/1000, "µs-median")
	})
	b.Run("next", func(b *testing.B) {
		i := 0
		p := &pacer{fn: func() int {
			i++
			return history(fmt.Sprintf("kv.seldom.%d", i%(keys/10)))
		}}
		h.Maintain(cacheIdle + 1)
		b.ResetTimer()
		pace(b.N, p)
		b.ReportMetric(p.median()/1000, "µs-median")
		b.ReportMetric(float64(h.tabled)/n, "B/msg")
	})
}

// heapInUse is what is reachable.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkOpen opens a stream of 10,000,000 messages (1.5 GB) with index.db and
// without it.
func BenchmarkOpen(b *testing.B) {
	const n = 10_000_000
	dir := b.TempDir()
	cfg := Config{Name: "BENCH", Subjects: []string{">"}}
	opts := FileOptions{Account: "$G", Durability: External}
	open := func() (*Host, *FileStore) {
		h, err := NewHost(dir, HostOptions{Manual: true, FS: noSync{vfs.OS}})
		if err != nil {
			b.Fatal(err)
		}
		s, err := OpenFileStore(h, cfg, opts)
		if err != nil {
			b.Fatal(err)
		}
		return h, s
	}
	h, s := open()
	fillStore(b, s, n, func(i int) string { return fmt.Sprintf("orders.%d", i%1000) }, 108)
	total, _, _ := s.Utilization()
	close := func() {
		if err := s.Stop(); err != nil {
			b.Fatal(err)
		}
		if err := h.Close(); err != nil {
			b.Fatal(err)
		}
	}
	close()
	index := filepath.Join(dir, "jetstream", "$G", "streams", "BENCH", "msgs", indexFile)
	check := func() {
		var st State
		s.FastState(&st)
		if st.Msgs != n || st.NumSubjects != 1000 {
			b.Fatalf("%+v", st)
		}
	}
	b.Run("index", func(b *testing.B) {
		p := &pacer{fn: func() int { h, s = open(); return 1 }}
		for range b.N {
			pace(1, p)
			check()
			close()
		}
		b.ReportMetric(p.median()/1e6, "ms-median")
	})
	b.Run("rebuild", func(b *testing.B) {
		p := &pacer{fn: func() int { h, s = open(); return int(total) }}
		for range b.N {
			if err := os.Remove(index); err != nil {
				b.Fatal(err)
			}
			pace(1, p)
			check()
			close()
		}
		b.ReportMetric(1000/p.median(), "MB/s-median")
		b.ReportMetric(1000/p.times[0], "MB/s-best")
	})
}

// BenchmarkDelete removes messages in random order. "set" is the set of deleted
// sequences of 10,000,000 messages, until half of them are gone; "store" a stream
// of 1,000,000 messages in memory blocks, until most are gone.
func BenchmarkDelete(b *testing.B) {
	b.Run("set", func(b *testing.B) {
		const n = 10_000_000
		var set seqset.Set
		rng := rand.New(rand.NewPCG(1, 2))
		before := heapInUse()
		insert := &pacer{fn: func() int {
			for range 1000 {
				set.Insert(uint64(rng.IntN(n)) + 1)
			}
			return 1000
		}}
		pace(n*7/10_000, insert)
		for range b.N {
		}
		b.ReportMetric(insert.median(), "ns/insert")
		b.ReportMetric(float64(heapInUse()-before)/float64(set.Len()), "B/deleted")
		runtime.KeepAlive(&set)
	})
	b.Run("store", func(b *testing.B) {
		const n, batch = 1_000_000, 1000
		_, s := benchStore(b, Config{}, FileOptions{Durability: External})
		fillStore(b, s, n, func(i int) string { return fmt.Sprintf("a.%d", i%1000) }, 128)
		order := rand.New(rand.NewPCG(1, 2)).Perm(n)
		seqs := make([]uint64, batch)
		remove := &pacer{fn: func() int {
			for i := range seqs {
				seqs[i] = uint64(order[i]) + 1
			}
			order = order[batch:]
			s.RemoveMsgs(seqs, false, func(removed uint64, err error) {
				if err != nil || removed != batch {
					b.Error(removed, err)
				}
			})
			return batch
		}}
		b.ReportAllocs()
		b.ResetTimer()
		pace(n*9/10/batch, remove)
		b.ReportMetric(remove.median(), "ns/delete")
		for range b.N {
		}
	})
}
