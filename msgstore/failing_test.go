package msgstore

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/seedtest"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// failing is a random run over a FileStore whose disk fails now and then, is mended,
// and goes on. An operation that reports an error has done nothing; nothing that was
// visible once goes because of it, neither in the repaired store nor in one that is
// opened again after an orderly stop, a killed process or a power cut.
type failing struct {
	*runner
	h    *Host
	disk *crashfs.FS
	cfg  Config
	opts FileOptions
	host HostOptions

	// A directory could not be synced: which names a power cut leaves is not known to
	// anybody from then on, and file systems take no more changes then.
	doubt atomic.Bool

	notes
}

func newFailing(t *testing.T, seed uint64) *failing {
	rng := rand.New(rand.NewPCG(seed, 11))
	f := &failing{disk: crashfs.New(seed)}
	f.cfg = randomConfig(rng, FileStorage)
	f.cfg.Compression = Compression(rng.IntN(2))
	f.opts = FileOptions{
		Account:    "$G",
		Durability: []Durability{Always, Always, Interval, External}[rng.IntN(4)],
		BlockSize:  int64(rng.IntN(5000) + 100),
		Clock:      func() time.Time { return time.Unix(0, 77) },
	}
	switch rng.IntN(4) {
	case 0:
		f.opts.Keys = KeyRing{Key: []byte("secret"), Cipher: ChaCha}
	case 1:
		f.opts.Keys = KeyRing{Key: []byte("secret"), Cipher: AES}
	}
	f.host = HostOptions{
		Manual: true, CacheBytes: int64(rng.IntN(100000) + 1),
		Commit: commit.Options{NoJournal: rng.IntN(3) == 0, JournalFiles: 1 + rng.IntN(3), SyncsAlone: 1 + rng.IntN(30), SegmentSize: 32 << 10},
		Events: func(e Event) {
			if _, ok := e.(commit.SyncDone); !ok {
				f.note("%s", e)
			}
		},
	}
	f.runner = &runner{t: t, rng: rng, m: newModel(f.cfg, fileSize)}
	f.open()
	return f
}

func (f *failing) open() {
	f.t.Helper()
	err := f.tryOpen()
	if err != nil {
		f.note("opened: %v", err)
		f.disk.Inject(nil)
		err = f.tryOpen()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.disk.Inject(nil)
}

func (f *failing) tryOpen() error {
	opts := f.host
	opts.FS = f.disk
	h, err := NewHost("/store", opts)
	if err != nil {
		return err
	}
	s, err := OpenFileStore(h, f.cfg, f.opts)
	if err != nil {
		h.Close()
		return err
	}
	f.h, f.s, f.core = h, s, &s.store
	return nil
}

// reopen ends the store in some way and opens it again.
func (f *failing) reopen() {
	f.t.Helper()
	how := f.rng.IntN(3)
	f.note("reopen %d", how)
	old := f.disk
	switch {
	case how == 0:
		if err := f.s.Stop(); err != nil {
			f.t.Fatal(err)
		}
		if err := f.h.Close(); err != nil {
			f.t.Fatal(err)
		}
	case how == 1 || f.opts.Durability != Always || f.doubt.Load():
		f.disk = old.Kill()
	default:
		f.disk = old.Crash()
	}
	if how > 0 {
		old.Cut()
		f.s.Stop()
		f.h.Close()
	}
	if f.rng.IntN(3) == 0 {
		f.opts.Keys = rotated(f.rng, f.opts.Keys)
		f.note("keys %s, before %s, %v", f.opts.Keys.Key, f.opts.Keys.PrevKey, f.opts.Keys.Cipher)
	}
	if f.rng.IntN(2) == 0 {
		f.arm()
	}
	f.open()
	f.mend()
	if f.m.last == 0 {
		st := f.s.State()
		f.m.first, f.m.lastTime = st.FirstSeq, st.LastTime
	}
}

// attempt does something while the disk may fail.
func (f *failing) attempt() (what string, err error) {
	rng, s, m := f.rng, f.s, f.m
	anySeq := func() uint64 { return rng.Uint64N(m.last-min(m.first, m.last)+3) + max(m.first, 1) - 1 }
	wait := make(chan error, 1)
	done := func(err error) { wait <- err }
	removed := func(_ uint64, err error) { wait <- err }
	switch n := rng.IntN(100); {
	case n < 45:
		batch := make([]RawMsg, 1+rng.IntN(12))
		for i := range batch {
			batch[i] = f.batched(20)
		}
		s.StoreRawMsgs(batch, done)
		for _, x := range batch {
			if x.Skip > 0 {
				m.skip(x.Skip, x.Time)
			} else {
				m.store(x.Subject, x.Header, x.Data, x.Time, x.Rollup)
			}
		}
		return fmt.Sprintf("batch %d", len(batch)), <-wait
	case n < 60:
		var seqs []uint64
		for range 1 + rng.IntN(6) {
			seqs = append(seqs, anySeq())
		}
		s.RemoveMsgs(seqs, false, removed)
		m.remove(seqs...)
		return fmt.Sprintf("remove %v", seqs), <-wait
	case n < 66: // the message may be gone, though not its bytes
		seq := anySeq()
		s.RemoveMsgs([]uint64{seq}, true, removed)
		err := <-wait
		if err == nil || !s.Has(seq) {
			m.remove(seq)
		}
		if err != nil {
			f.note("erase %d: %v", seq, err)
		}
		return fmt.Sprintf("erase %d", seq), nil
	case n < 76:
		subject := []string{"", ">", "a.*", "a.1", "*.2", "b.>"}[rng.IntN(6)]
		if m.cfg.Subjects == nil {
			subject = ""
		}
		var seq, keep uint64
		switch rng.IntN(3) {
		case 0:
			seq = anySeq()
		case 1:
			keep = rng.Uint64N(10)
		}
		s.PurgeMsgs(subject, seq, keep, removed)
		m.purge(subject, seq, keep)
		return fmt.Sprintf("purge %q %d %d", subject, seq, keep), <-wait
	case n < 82:
		seq := max(anySeq(), 1) + rng.Uint64N(2)*rng.Uint64N(20)
		_, err := s.Compact(seq)
		m.compact(seq)
		return fmt.Sprintf("compact %d", seq), err
	case n < 86:
		cfg := f.cfg
		cfg.MaxMsgs, cfg.MaxBytes = rng.Int64N(2)*rng.Int64N(60), rng.Int64N(2)*rng.Int64N(6000)
		what := fmt.Sprintf("limits %d %d", cfg.MaxMsgs, cfg.MaxBytes)
		err := s.UpdateConfig(cfg)
		if err == nil {
			f.cfg, m.cfg = cfg, cfg
			m.enforce()
		}
		return what, err
	case n < 90:
		f.h.Maintain(int64(rng.IntN(150)))
		return "maintain", nil
	}
	if _, err := s.FlushAllPending(); err != nil {
		f.note("flush: %v", err)
	}
	return "flush", nil
}

// arm makes some of the next calls that change the disk fail.
func (f *failing) arm() {
	n, times := f.disk.Changes()+1+f.rng.Int64N(1+f.rng.Int64N(20)), 1+f.rng.Int64N(1+f.rng.Int64N(8))
	why := []error{syscall.EIO, syscall.ENOSPC}[f.rng.IntN(2)]
	f.disk.Inject(func(c crashfs.Call) error {
		if c.N < n || c.N >= n+times || why == syscall.ENOSPC && (c.Kind == crashfs.Sync || c.Kind == crashfs.SyncDir || c.Kind == crashfs.Remove || c.Kind == crashfs.Truncate) {
			return nil
		}
		f.note("%v %s fails", c.Kind, c.Name)
		if c.Kind == crashfs.SyncDir {
			f.doubt.Store(true)
		}
		return why
	})
}

// mend lets the store recover from what has failed.
func (f *failing) mend() {
	f.t.Helper()
	f.disk.Inject(nil)
	for n := 0; f.core.failure() != nil; n++ {
		if n == 10 {
			f.t.Fatalf("not repaired: %v", f.core.failure())
		}
		f.h.Maintain(1)
	}
}

func randomFailing(t *testing.T, seed uint64, steps int) {
	f := newFailing(t, seed)
	defer func() {
		if t.Failed() {
			f.mu.Lock()
			defer f.mu.Unlock()
			log := f.log
			if os.Getenv("NATSD_LOG") == "" {
				log = log[max(len(log)-30, 0):]
			}
			t.Logf("seed %d: config %+v, options %+v\n%s", seed, f.cfg, f.opts, strings.Join(log, "\n"))
		}
	}()
	for range steps {
		if f.rng.IntN(3) == 0 {
			f.arm()
		}
		before := *f.m
		before.msgs = maps.Clone(f.m.msgs)
		what, err := f.attempt()
		f.note("%s: %v", what, err)
		f.mend()
		if err != nil {
			*f.m = before
		}
		if got, want := f.s.State(), f.m.state(); !sameState(got, want) {
			t.Fatalf("%s: %v; state\n got %+v\nwant %+v", what, err, got, want)
		}
		if f.rng.IntN(12) == 0 {
			f.reopen()
			if got, want := f.s.State(), f.m.state(); !sameState(got, want) {
				t.Fatalf("opened again; state\n got %+v\nwant %+v", got, want)
			}
			f.m.compare(t, f.rng, f.s)
		}
	}
	f.m.compare(t, f.rng, f.s)
	f.s.Stop()
	f.h.Close()
}

func TestFailingDisk(t *testing.T) {
	for seed := range seedtest.Seeds(t, 100) {
		randomFailing(t, seed, 150)
		if t.Failed() {
			return
		}
	}
}
