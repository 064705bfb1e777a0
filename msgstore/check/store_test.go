package check_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/internal/independent"
)

// storeRuns is how many random runs are made; each ends with some ten directories
// that are read by two decoders.
const storeRuns = 8

// Directories that FileStore writes, looked at while it runs (as a killed process
// leaves them) and after an orderly stop: verify finds nothing but what a kill
// explains, and comes to the same state; so does the independent decoder.
func TestWhatFileStoreWrites(t *testing.T) {
	for seed := range uint64(storeRuns) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { fileStoreRun(t, seed) })
	}
}

func fileStoreRun(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 77))
	cfg := msgstore.Config{Name: "S", Subjects: []string{"s.>"}, MaxBytes: 120_000 + int64(rng.IntN(3))*100_000}
	if rng.IntN(2) == 0 {
		cfg.MaxMsgs = 40 + rng.Int64N(200)
	}
	if rng.IntN(3) == 0 {
		cfg.MaxMsgsPerSubject = 1 + rng.Int64N(10)
	}
	if rng.IntN(2) == 0 {
		cfg.Compression = msgstore.S2Compression
	}
	var ring msgstore.KeyRing
	if c := rng.IntN(3); c > 0 {
		ring = msgstore.KeyRing{Key: []byte("key"), Cipher: []msgstore.Cipher{msgstore.ChaCha, msgstore.AES}[c-1]}
	}
	dir := t.TempDir()
	host, err := msgstore.NewHost(dir, msgstore.HostOptions{Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	store, err := msgstore.OpenFileStore(host, cfg, msgstore.FileOptions{Account: "A", Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	opts := check.Options{Keys: check.Keys{Key: ring.Key}}
	for step := range 600 {
		operate(t, rng, store)
		if step%150 != 149 {
			continue
		}
		killed := filepath.Join(t.TempDir(), "killed")
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		compare(t, fmt.Sprintf("seed %d step %d, killed", seed, step), killed, opts, store.State())
	}
	want := store.State()
	if err := store.Stop(); err != nil {
		t.Fatal(err)
	}
	compare(t, fmt.Sprintf("seed %d, stopped", seed), dir, opts, want)
	s, err := independent.Read(filepath.Join(dir, "jetstream", "A", "streams", "S"), string(ring.Key))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Problems {
		t.Errorf("seed %d: %s", seed, p)
	}
	if !s.IndexUsed || uint64(len(s.Messages)) != want.Msgs || s.First != want.FirstSeq || s.Last != want.LastSeq || !slices.Equal(s.Deleted, want.Deleted) {
		t.Errorf("seed %d: independent: %d messages %d..%d, want %+v", seed, len(s.Messages), s.First, s.Last, want)
	}
}

func operate(t *testing.T, rng *rand.Rand, store *msgstore.FileStore) {
	t.Helper()
	var st msgstore.State
	store.FastState(&st)
	var err error
	switch n := rng.IntN(100); {
	case n < 70:
		var header []byte
		if rng.IntN(3) == 0 {
			header = []byte("NATS/1.0\r\nA: b\r\n\r\n")
		}
		_, _, err = store.StoreMsg(fmt.Sprintf("s.%d", rng.IntN(20)), header, make([]byte, rng.IntN(2000)), 0)
	case n < 90 && st.Msgs > 0:
		_, err = store.RemoveMsg(st.FirstSeq + rng.Uint64N(st.LastSeq-st.FirstSeq+1))
	case n < 93:
		_, err = store.SkipMsg(0)
	case n < 96:
		_, err = store.PurgeEx(fmt.Sprintf("s.%d", rng.IntN(20)), 0, uint64(rng.IntN(3)))
	case n < 97 && st.Msgs > 0:
		_, err = store.Compact(st.FirstSeq + rng.Uint64N(st.LastSeq-st.FirstSeq+1))
	case n < 98 && st.Msgs > 0:
		_, err = store.EraseMsg(st.FirstSeq)
	case n == 98 && rng.IntN(4) == 0:
		_, err = store.Purge()
	}
	if err != nil && !errors.Is(err, msgstore.ErrStoreMsgNotFound) && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func compare(t *testing.T, when, dir string, opts check.Options, want msgstore.State) {
	t.Helper()
	rep, err := check.Verify(dir, opts)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	for _, f := range rep.Findings {
		if f.Severity == check.Damage || f.Kind == check.KindTornTail || f.Kind == check.KindIndexCorrupt {
			t.Errorf("%s: %v", when, f)
		}
	}
	got := rep.Streams[0]
	if got.Messages != want.Msgs || got.Bytes != want.Bytes || got.FirstSeq != want.FirstSeq || got.LastSeq != want.LastSeq || got.NumDeleted != want.NumDeleted {
		t.Fatalf("%s: verify says %+v, the store %d messages of %d bytes, %d..%d, %d deleted", when, got, want.Msgs, want.Bytes, want.FirstSeq, want.LastSeq, want.NumDeleted)
	}
}

// FileStore opens what recover wrote: the same state, read from the index that
// came with it, with every TTL and schedule in force.
func TestFileStoreOpensWhatRecoverWrites(t *testing.T) {
	for name, cfg := range map[string]msgstore.Config{
		"msg-ttl":    {Name: "TTL", Subjects: []string{"ttl.>"}, AllowMsgTTL: true},
		"schedules":  {Name: "SCHED", Subjects: []string{"s.>", "t.>"}, AllowMsgSchedules: true},
		"multiblock": {Name: "MB", Subjects: []string{"mb.>"}},
		"delete-all": {Name: "DELALL", Subjects: []string{"d.>"}},
	} {
		dir, c := fixture.Unpack(t, name)
		to := filepath.Join(t.TempDir(), "new")
		if _, err := check.Recover(dir, to, check.Options{}); err != nil {
			t.Fatal(err)
		}
		truth := c.Streams[0]
		cfg.Name = truth.Name
		fromIndex := false
		host, err := msgstore.NewHost(to, msgstore.HostOptions{Manual: true, Events: func(e msgstore.Event) {
			if r, ok := e.(msgstore.Recovered); ok {
				fromIndex = r.FromIndex
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		store, err := msgstore.OpenFileStore(host, cfg, msgstore.FileOptions{Account: truth.Account})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, want := store.State(), truth.State
		if !fromIndex || got.Msgs != want.Messages || got.Bytes != want.Bytes || got.FirstSeq != want.FirstSeq || got.LastSeq != want.LastSeq || got.NumSubjects != want.NumSubjects || got.Lost != nil {
			t.Errorf("%s: index used %v, %+v, want %+v", name, fromIndex, got, want)
		}
		if due := store.NextDue(); (due != 0) != (cfg.AllowMsgTTL || cfg.AllowMsgSchedules) {
			t.Errorf("%s: next due %d", name, due)
		}
		store.Stop()
		host.Close()
	}
}
