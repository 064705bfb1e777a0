package msgstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/archive"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// both runs a test on an empty store of each kind.
func both(t *testing.T, cfg Config, fn func(t *testing.T, s Store)) {
	cfg.Name = "S"
	if cfg.Subjects == nil {
		cfg.Subjects = []string{">"}
	}
	t.Run("memory", func(t *testing.T) {
		cfg.Storage = MemoryStorage
		s, err := NewMemStore(cfg)
		if err != nil {
			t.Fatal(err)
		}
		fn(t, s)
	})
	t.Run("file", func(t *testing.T) {
		cfg.Storage = FileStorage
		fn(t, openOn(t, crashfs.New(1), cfg, FileOptions{}))
	})
}

func openOn(t *testing.T, fsys *crashfs.FS, cfg Config, opts FileOptions) *FileStore {
	t.Helper()
	h, err := NewHost("/store", HostOptions{FS: fsys, Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	opts.Account = "$G"
	s, err := OpenFileStore(h, cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		h.Close()
	})
	return s
}

func put(t *testing.T, s Store, subject string, ts int64, header string) {
	t.Helper()
	if err := s.StoreRawMsg(subject, []byte(header), nil, 0, ts, 0, false); err != nil {
		t.Fatal(err)
	}
}

// The verified example of store-semantics, section 4.
func TestReadingExample(t *testing.T) {
	both(t, Config{}, func(t *testing.T, s Store) {
		for i := 1; i <= 10; i++ {
			put(t, s, fmt.Sprintf("foo.%d", i%3), int64(i)*int64(time.Second), "")
		}
		for _, seq := range []uint64{5, 1, 10} {
			if ok, err := s.RemoveMsg(seq); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		next := func(f string, start uint64) string {
			_, seq, err := s.LoadNextMsg(f, start, nil)
			return fmt.Sprint(seq, err)
		}
		prev := func(f string, start uint64) string {
			_, seq, err := s.LoadPrevMsg(f, start, nil)
			return fmt.Sprint(seq, err)
		}
		pending := func(start uint64, f string, last bool) string {
			n, through, err := s.NumPending(start, f, last)
			return fmt.Sprint(n, through, err)
		}
		state := func(start uint64, f string) string {
			st, err := s.FilteredState(start, f)
			return fmt.Sprint(st, err)
		}
		st := s.State()
		all, _ := s.AllLastSeqs()
		multi, _ := s.MultiLastSeqs([]string{"foo.*"}, 6, 0)
		_, many := s.MultiLastSeqs([]string{"foo.*"}, 0, 2)
		states, _ := s.SubjectsState("")
		_, last := s.LoadLastMsg(">", nil)
		n1, _, _ := s.NumPendingMulti(4, NewFilter("foo.1", "foo.2"), false)
		n2, _, _ := s.NumPendingMulti(4, NewFilter("foo.1", "foo.2"), true)
		for _, tc := range []struct{ name, got, want string }{
			{"state", fmt.Sprint(st.FirstSeq, st.LastSeq, st.Deleted), "2 10 [5 10]"},
			{"next", next("foo.2", 3), "8 <nil>"},
			{"next end", next("foo.2", 9), "10 stream store EOF"},
			{"next wildcard", next("foo.*", 5), "6 <nil>"},
			{"prev", prev("foo.2", 7), "2 <nil>"},
			{"prev end", prev("foo.2", 1), "2 stream store EOF"},
			{"prev all", prev("", 99), "9 <nil>"},
			{"pending", pending(0, ">", false), "7 10 <nil>"},
			{"pending literal", pending(1, "foo.1", false), "2 10 <nil>"},
			{"pending last", pending(4, ">", true), "3 10 <nil>"},
			{"pending last tail", pending(8, "foo.*", true), "2 10 <nil>"},
			{"pending none", pending(10, ">", false), "0 10 <nil>"},
			{"pending empty filter", pending(3, "", false), "6 10 <nil>"},
			{"multi", fmt.Sprint(n1, n2), "3 2"},
			{"filtered all", state(0, ">"), "{7 2 10} <nil>"},
			{"filtered", state(5, "foo.1"), "{1 7 7} <nil>"},
			{"filtered tail", state(5, ">"), "{4 6 9} <nil>"},
			{"filtered none", state(10, "foo.1"), "{0 0 0} <nil>"},
			{"filtered above", state(11, "foo.1"), "{0 2 10} <nil>"},
			{"subjects", fmt.Sprint(states), "map[foo.0:{3 3 9} foo.1:{2 4 7} foo.2:{2 2 8}]"},
			{"last seqs", fmt.Sprint(all), "[7 8 9]"},
			{"last seqs up to 6", fmt.Sprint(multi), "[2 4 6]"},
			{"too many", fmt.Sprint(many), "too many matching results for request"},
			{"last of all was removed", fmt.Sprint(last), "no message found"},
			{"from time", fmt.Sprint(s.GetSeqFromTime(0), s.GetSeqFromTime(2e9), s.GetSeqFromTime(5e9), s.GetSeqFromTime(5e9+1), s.GetSeqFromTime(9e9), s.GetSeqFromTime(10e9)), "2 2 6 6 9 11"},
		} {
			if tc.got != tc.want {
				t.Errorf("%s: %s, want %s", tc.name, tc.got, tc.want)
			}
		}
	})
}

func TestSkipExample(t *testing.T) {
	both(t, Config{}, func(t *testing.T, s Store) {
		if seq, err := s.SkipMsg(0); seq != 1 || err != nil {
			t.Fatal(seq, err)
		}
		if err := s.SkipMsgs(2, 5); err != nil {
			t.Fatal(err)
		}
		if st := s.State(); st.FirstSeq != 7 || st.LastSeq != 6 {
			t.Fatalf("%+v", st)
		}
		if seq, _, err := s.StoreMsg("a", nil, nil, 0); seq != 7 || err != nil {
			t.Fatal(seq, err)
		}
		if err := s.SkipMsgs(7, 1); err != ErrSequenceMismatch {
			t.Fatal(err)
		}
	})
}

func TestTooLargeIsNotSticky(t *testing.T) {
	both(t, Config{}, func(t *testing.T, s Store) {
		if _, _, err := s.StoreMsg("a", nil, make([]byte, 33<<20), 0); err != ErrMsgTooLarge {
			t.Fatal(err)
		}
		if seq, _, err := s.StoreMsg("a", nil, nil, 0); seq != 1 || err != nil {
			t.Fatal(seq, err)
		}
	})
}

func TestDue(t *testing.T) {
	cfg := Config{MaxAge: 100 * time.Second, AllowMsgTTL: true, SubjectDeleteMarkerTTL: 5 * time.Minute}
	both(t, cfg, func(t *testing.T, s Store) {
		const sec = int64(time.Second)
		put(t, s, "a", 1*sec, "")
		put(t, s, "b", 2*sec, "NATS/1.0\r\nNats-TTL: 10\r\n\r\n")
		put(t, s, "c", 3*sec, "NATS/1.0\r\nNats-TTL: never\r\n\r\n")
		put(t, s, "a", 4*sec, "")
		put(t, s, "d", 5*sec, "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 1s\r\n\r\n")
		if got := s.NextDue(); got != 6*sec {
			t.Fatalf("next %d", got)
		}
		show := func(now int64, max int) (l []string) {
			for _, d := range s.Due(now*sec, max, nil) {
				l = append(l, fmt.Sprintf("%d %d %s %d %v", d.Kind, d.Seq, d.Subject, d.Time/sec, d.Marker))
			}
			return l
		}
		for _, tc := range []struct {
			now  int64
			max  int
			want []string
		}{
			{5, 10, nil},
			{6, 10, []string{"1 5 d 6 false"}},
			{7, 10, nil}, // asked for already
			{8, 10, []string{"1 5 d 6 false"}},
			{104, 2, []string{"1 2 b 12 true", "1 5 d 6 false"}},
			{104, 10, []string{"0 1 a 101 false", "0 4 a 104 true"}},
		} {
			if got := show(tc.now, tc.max); !slices.Equal(got, tc.want) {
				t.Fatalf("at %d: %q, want %q", tc.now, got, tc.want)
			}
		}
		s.ResetState()
		due := s.Due(104*sec, 10, nil)
		if len(due) != 4 {
			t.Fatalf("%d after reset", len(due))
		}
		want := "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 5m0s\r\nNats-Rollup: sub\r\n\r\n"
		if m := due[1].Publish; m == nil || m.Subject != "b" || string(m.Header) != want {
			t.Fatalf("marker %+v", m)
		}
		if err := doDue(s, due); err != nil {
			t.Fatal(err)
		}
		totals := s.SubjectsTotals("")
		if fmt.Sprint(totals) != "map[a:1 b:1 c:1]" {
			t.Fatalf("left %v", totals)
		}
	})
}

func TestSchedule(t *testing.T) {
	both(t, Config{AllowMsgSchedules: true}, func(t *testing.T, s Store) {
		h := "NATS/1.0\r\nNats-Schedule: @every 10s\r\nNats-Schedule-Target: out\r\nNats-Schedule-TTL: 5\r\nX: y\r\nNats-Rollup: sub\r\n\r\n"
		if err := s.StoreRawMsg("in", []byte(h), []byte("body"), 0, 100e9, 0, false); err != nil {
			t.Fatal(err)
		}
		if got := s.NextDue(); got != 110e9 {
			t.Fatalf("next %d", got)
		}
		due := s.Due(110e9, 5, nil)
		if len(due) != 1 || due[0].Kind != DueSchedule || due[0].Publish == nil {
			t.Fatalf("%+v", due)
		}
		m := due[0].Publish
		want := "NATS/1.0\r\nX: y\r\nNats-Scheduler: in\r\nNats-Schedule-Next: 1970-01-01T00:02:00Z\r\nNats-TTL: 5\r\n\r\n"
		if m.Subject != "out" || string(m.Header) != want || string(m.Data) != "body" {
			t.Fatalf("%s %q %s", m.Subject, m.Header, m.Data)
		}
		if again := s.Due(111e9, 5, nil); len(again) != 0 {
			t.Fatalf("in flight, but due: %+v", again)
		}
		if err := s.StoreRawMsg(m.Subject, m.Header, m.Data, 0, 110e9, 0, false); err != nil {
			t.Fatal(err)
		}
		if got := s.NextDue(); got != 120e9 {
			t.Fatalf("next %d", got)
		}
		put(t, s, "in", 111e9, "") // cancels it
		if got := s.NextDue(); got != 0 {
			t.Fatalf("next %d", got)
		}
	})
}

func TestStorageUpdates(t *testing.T) {
	both(t, Config{MaxMsgs: 2}, func(t *testing.T, s Store) {
		var got []string
		s.RegisterStorageUpdates(func(msgs, bytes int64, seq uint64, subject string) {
			got = append(got, fmt.Sprintf("%d %v %d %s", msgs, bytes > 0, seq, subject))
		})
		for _, subject := range []string{"a", "b", "c"} {
			put(t, s, subject, 1, "")
		}
		s.RemoveMsg(2)
		s.Purge()
		want := []string{"1 true 1 a", "1 true 2 b", "1 true 3 c", "-1 false 1 a", "-1 false 2 b", "-1 false 0 "}
		if !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

func TestSnapshotV2(t *testing.T) {
	both(t, Config{}, func(t *testing.T, s Store) {
		for i := range 5 {
			put(t, s, "a", int64(i+1), "")
		}
		s.RemoveMsg(3)
		var buf bytes.Buffer
		if err := s.Snapshot(&buf, SnapshotOptions{Version: 2}); err != nil {
			t.Fatal(err)
		}
		r, err := archive.NewReader(&buf)
		if err != nil {
			t.Fatal(err)
		}
		var seqs []uint64
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == archive.Message {
				seqs = append(seqs, e.Seq)
			}
		}
		if !slices.Equal(seqs, []uint64{1, 2, 4, 5}) {
			t.Fatal(seqs)
		}
	})
}

func TestClosed(t *testing.T) {
	both(t, Config{}, func(t *testing.T, s Store) {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		_, err1 := s.LoadMsg(1, nil)
		_, _, err2 := s.StoreMsg("a", nil, nil, 0)
		if err1 != ErrStoreClosed || err2 != ErrStoreClosed || s.Stop() != ErrStoreClosed {
			t.Fatal(err1, err2)
		}
	})
}

// A failed sync is final for the file: nothing that waits for it is confirmed or
// shown, the store refuses writes, and goes on only with a new file.
func TestFailedSync(t *testing.T) {
	for _, ring := range []KeyRing{{}, {Key: []byte("k")}} {
		fsys := crashfs.New(7)
		cfg := Config{Name: "S", Subjects: []string{">"}}
		s := openOn(t, fsys, cfg, FileOptions{Keys: ring})
		put(t, s, "a", 1, "")
		broken := errors.New("broken")
		fsys.Inject(func(c crashfs.Call) error {
			if c.Kind == crashfs.Sync {
				return broken
			}
			return nil
		})
		var disk *WriteError
		if _, _, err := s.StoreMsg("a", nil, nil, 0); !errors.As(err, &disk) || !errors.Is(err, broken) {
			t.Fatal(err)
		}
		if _, err := s.LoadMsg(2, nil); err != ErrStoreEOF {
			t.Fatalf("visible: %v", err)
		}
		s.disk.host.Maintain(1)
		if _, _, err := s.StoreMsg("a", nil, nil, 0); !errors.Is(err, broken) {
			t.Fatalf("not sticky: %v", err)
		}
		fsys.Inject(nil)
		s.disk.host.Maintain(1)
		if seq, _, err := s.StoreMsg("b", nil, nil, 0); seq != 2 || err != nil {
			t.Fatal(seq, err)
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		s.disk.host.Close()
		again := openOn(t, fsys.Crash(), cfg, FileOptions{Keys: ring})
		if m, err := again.LoadMsg(2, nil); err != nil || m.Subject != "b" {
			t.Fatal(m, err)
		}
		if st := again.State(); st.Msgs != 2 || st.Lost != nil {
			t.Fatalf("%+v", st)
		}
	}
}

// A raised limit does not bring back what the old one removed.
func TestRaisedLimit(t *testing.T) {
	fsys := crashfs.New(3)
	cfg := Config{Name: "S", Subjects: []string{">"}, MaxMsgs: 2, MaxMsgsPerSubject: 1}
	s := openOn(t, fsys, cfg, FileOptions{})
	for i := range 6 {
		put(t, s, fmt.Sprint("a.", i%3), int64(i+1), "")
	}
	cfg.MaxMsgs, cfg.MaxMsgsPerSubject = 0, 0
	if err := s.UpdateConfig(cfg); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a.9", 9, "")
	fsys.Cut()
	s.Stop()
	s.disk.host.Close()
	again := openOn(t, fsys.Crash(), cfg, FileOptions{})
	if got := content(t, again); !slices.Equal(got, []uint64{5, 6, 7}) {
		t.Fatal(got)
	}
}

// Many writers and readers at a time; for the race detector.
func TestConcurrent(t *testing.T) {
	both(t, Config{MaxMsgs: 500, MaxMsgsPerSubject: 100}, func(t *testing.T, s Store) {
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Add(2)
			go func() {
				defer wg.Done()
				for i := range 200 {
					if _, _, err := s.StoreMsg(fmt.Sprintf("s.%d.%d", w, i%7), nil, []byte("x"), 0); err != nil {
						t.Error(err)
					}
					if i%10 == 0 {
						if _, err := s.PurgeEx(fmt.Sprintf("s.%d.>", w), 0, 5); err != nil {
							t.Error(err)
						}
					}
				}
			}()
			go func() {
				defer wg.Done()
				var b Batch
				for range 100 {
					b.Reset()
					if _, err := s.LoadBatch(nil, 0, BatchLimit{Msgs: 50}, &b); err != nil {
						t.Error(err)
					}
					s.NumPending(0, "s.*.1", false)
					s.State()
					if f, ok := s.(*FileStore); ok {
						f.disk.host.Maintain(20)
					}
				}
			}()
		}
		wg.Wait()
		if st := s.State(); st.LastSeq != 800 {
			t.Fatalf("%+v", st)
		}
	})
}

// A bit that flips in a sealed block is found and reported by the scrub, without
// anybody reading the message; the other messages stay readable.
func TestScrub(t *testing.T) {
	fsys := crashfs.New(5)
	cfg := Config{Name: "S", Subjects: []string{">"}}
	s := openOn(t, fsys, cfg, FileOptions{BlockSize: 200})
	for i := range 20 {
		put(t, s, "abc", int64(i+1), "")
	}
	name := s.disk.blockPath(2)
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], 24); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], 24); err != nil {
		t.Fatal(err)
	}
	f.Close()
	s.disk.host.Maintain(scrubEvery + 2) // since it was sealed
	for range 20 {                       // one block at least
		s.disk.host.Maintain(1)
	}
	st := s.State()
	if st.Lost == nil || !slices.Equal(st.Lost.Msgs, []uint64{7}) {
		t.Fatalf("lost %+v", st.Lost)
	}
	if entries, err := fsys.ReadDir("/store/jetstream/$G/streams/S/quarantine"); err != nil || len(entries) != 2 {
		t.Fatal(entries, err)
	}
	for seq := uint64(1); seq <= 20; seq++ {
		_, err := s.LoadMsg(seq, nil)
		if bad := new(BadRecordError); errors.As(err, &bad) != (seq == 7) {
			t.Fatalf("load %d: %v", seq, err)
		}
	}
}

// The configured first sequence is that of a new store; an update of it has no
// effect on one that was used, now or at the next start.
func TestFirstSeqOfNewStoreOnly(t *testing.T) {
	for _, msgs := range []int{0, 5} {
		fsys := crashfs.New(1)
		cfg := Config{Name: "S", Subjects: []string{">"}, FirstSeq: 3}
		open := func() (*FileStore, func()) {
			h, err := NewHost("/store", HostOptions{FS: fsys, Manual: true})
			if err != nil {
				t.Fatal(err)
			}
			s, err := OpenFileStore(h, cfg, FileOptions{Account: "$G"})
			if err != nil {
				t.Fatal(err)
			}
			return s, func() {
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
				h.Close()
			}
		}
		s, stop := open()
		for range msgs {
			if _, _, err := s.StoreMsg("a", nil, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		want := fmt.Sprintf("%d messages %d-%d", msgs, 3, 2+msgs)
		check := func() {
			t.Helper()
			if st := s.State(); fmt.Sprintf("%d messages %d-%d", st.Msgs, st.FirstSeq, st.LastSeq) != want {
				t.Errorf("%+v, want %s", st, want)
			}
		}
		check()
		cfg.FirstSeq = 6
		if err := s.UpdateConfig(cfg); err != nil {
			t.Fatal(err)
		}
		check()
		stop()
		s, stop = open()
		check()
		stop()
	}
}

// A compressed block can be larger than its content. It is read as a whole in a replay,
// too, where its content may be dropped while it is the last block so far.
func TestLoadOfCompressedLastBlock(t *testing.T) {
	s := openOn(t, crashfs.New(3), Config{Name: "S", Subjects: []string{">"}, Compression: S2Compression}, FileOptions{BlockSize: 4000})
	payload := make([]byte, 300)
	rng := rand.NewChaCha8([32]byte{1})
	for range 40 {
		rng.Read(payload)
		if _, _, err := s.StoreMsg("a", nil, payload, 0); err != nil {
			t.Fatal(err)
		}
	}
	s.disk.host.Maintain(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	all, second := s.blocks, s.blocks[1]
	defer func() { s.blocks = all }()
	if !second.file.compressed || second.file.stored <= second.size {
		t.Fatalf("compressed %v, content of %d bytes, file of %d", second.file.compressed, second.size, second.file.stored)
	}
	s.blocks = s.blocks[:2]
	s.disk.host.drop(second)
	c, err := s.disk.loadLocked(second)
	if err != nil || len(c.bad) > 0 || uint64(len(c.ents)) != second.msgs {
		t.Fatalf("%v, damage %v, %d of %d messages", err, c.bad, len(c.ents), second.msgs)
	}
}
