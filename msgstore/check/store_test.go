package check_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/check"
	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/internal/independent"
)

// Directories that FileStore writes, with every combination of the options that
// decide about files, looked at while it runs (as a killed process leaves them) and
// after an orderly stop: verify finds nothing but what a kill explains, and comes
// to the same state; the independent decoder finds nothing at all, and reads the
// same messages, expiries, schedules and progress.
func TestWhatFileStoreWrites(t *testing.T) {
	seed := uint64(0)
	for _, cipher := range []msgstore.Cipher{msgstore.NoCipher, msgstore.ChaCha, msgstore.AES} {
		for _, compression := range []msgstore.Compression{msgstore.NoCompression, msgstore.S2Compression} {
			for _, limits := range []bool{false, true} {
				seed++
				t.Run(fmt.Sprintf("%v %v limits %v", cipher, compression, limits), func(t *testing.T) {
					fileStoreRun(t, seed, cipher, compression, limits)
				})
			}
		}
	}
}

func fileStoreRun(t *testing.T, seed uint64, cipher msgstore.Cipher, compression msgstore.Compression, limits bool) {
	rng := rand.New(rand.NewPCG(seed, 77))
	cfg := msgstore.Config{
		Name: "S", Subjects: []string{"s.>"}, Sources: []string{"O1 > >"}, Compression: compression,
		AllowMsgTTL: true, AllowMsgSchedules: true,
	}
	fileOpts := msgstore.FileOptions{Account: "A", BlockSize: 32_000}
	if limits {
		cfg.MaxBytes = 120_000 + int64(rng.IntN(3))*100_000
		cfg.MaxMsgs = 40 + rng.Int64N(200)
		cfg.MaxMsgsPerSubject = 1 + rng.Int64N(10)
	}
	if cipher != msgstore.NoCipher {
		fileOpts.Keys = msgstore.KeyRing{Key: []byte("key"), Cipher: cipher}
	}
	ring := fileOpts.Keys
	dir := t.TempDir()
	host, err := msgstore.NewHost(dir, msgstore.HostOptions{Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	store, err := msgstore.OpenFileStore(host, cfg, fileOpts)
	if err != nil {
		t.Fatal(err)
	}
	opts := check.Options{Keys: check.Keys{Key: ring.Key}}
	for step := range 500 {
		operate(t, rng, store)
		if step%125 != 124 {
			continue
		}
		killed := filepath.Join(t.TempDir(), "killed")
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		compare(t, fmt.Sprintf("step %d, killed", step), killed, opts, store.State())
		judge(t, killed, ring, nil)
	}
	want := store.State()
	progress := store.SourceProgress()
	if err := store.Stop(); err != nil {
		t.Fatal(err)
	}
	compare(t, "stopped", dir, opts, want)
	s := judge(t, dir, ring, &want)
	schedules := map[string]uint64{}
	for _, m := range s.Messages {
		if strings.HasPrefix(m.Subject, "s.at.") {
			schedules[m.Subject] = m.Seq
		}
	}
	for subject, seq := range schedules {
		// When the newest is removed, the one before it is a message like others.
		if got := s.Tables.Schedule[subject]; got.Seq != seq && got.Seq != 0 {
			t.Errorf("%s has the schedule %+v, want message %d", subject, got, seq)
		}
	}
	if !limits && (len(s.Tables.TTLs) == 0 || len(s.Tables.Schedule) == 0) || s.Tables.Sources["O1 > >"].Seq != progress["O1 > >"].Seq {
		t.Errorf("%d TTLs, %d schedules, sources %+v, want %+v", len(s.Tables.TTLs), len(s.Tables.Schedule), s.Tables.Sources, progress)
	}
}

// judge has the independent decoder read a directory.
func judge(t *testing.T, dir string, ring msgstore.KeyRing, want *msgstore.State) *independent.Stream {
	t.Helper()
	problems, contents, err := independent.Judge(dir, string(ring.Key))
	if err != nil || len(contents) != 1 {
		t.Fatalf("%q, %d streams, %v", problems, len(contents), err)
	}
	for _, p := range problems {
		t.Error(p)
	}
	s := contents["A/S"]
	if want != nil && (!s.IndexUsed || uint64(len(s.Messages)) != want.Msgs || s.First != want.FirstSeq || s.Last != want.LastSeq || !slices.Equal(s.Deleted, want.Deleted)) {
		t.Errorf("independent: %d messages %d..%d, want %+v", len(s.Messages), s.First, s.Last, want)
	}
	return s
}

func operate(t *testing.T, rng *rand.Rand, store *msgstore.FileStore) {
	t.Helper()
	var st msgstore.State
	store.FastState(&st)
	var err error
	switch n := rng.IntN(100); {
	case n < 70:
		var header []byte
		ttl := int64(0)
		subject := fmt.Sprintf("s.%d", rng.IntN(20))
		switch rng.IntN(7) {
		case 0:
			header = []byte("NATS/1.0\r\nA: b\r\n\r\n")
		case 1:
			ttl = 3600 + rng.Int64N(100)
			header = fmt.Appendf(nil, "NATS/1.0\r\nNats-TTL: %d\r\n\r\n", ttl)
		case 2:
			ttl = -1
			header = []byte("NATS/1.0\r\nNats-TTL: never\r\n\r\n")
		case 3:
			subject = fmt.Sprintf("s.at.%d", rng.IntN(20))
			header = []byte("NATS/1.0\r\nNats-Schedule: @at 2070-01-02T03:04:05Z\r\nNats-Schedule-Target: s.t\r\n\r\n")
		case 4:
			header = fmt.Appendf(nil, "NATS/1.0\r\nNats-Stream-Source: O1 %d > > s.x\r\n\r\n", st.LastSeq+1)
		}
		_, _, err = store.StoreMsg(subject, header, make([]byte, rng.IntN(2000)), ttl)
	case n < 90 && st.Msgs > 0:
		_, err = store.RemoveMsg(st.FirstSeq + rng.Uint64N(st.LastSeq-st.FirstSeq+1))
	case n < 92:
		_, err = store.SkipMsg(0)
	case n < 93:
		err = store.SkipMsgs(st.LastSeq+1, 1+rng.Uint64N(5))
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
