package msgstore

import (
	"fmt"
	"math"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/archive"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

const msgsOfS = "/store/jetstream/$G/streams/S/msgs"

// showDue is what is due at a time.
func showDue(s Store, now int64, most int) string {
	var l []string
	for _, d := range s.Due(now, most, nil) {
		l = append(l, fmt.Sprintf("%d %v", d.Seq, d.Marker))
	}
	return strings.Join(l, ", ")
}

// TTLs of messages that are gone do not keep others from being due, and are never due
// themselves: those that have no header, and those of a thw.db that is older than what
// the stream has lost.
func TestStaleTTLs(t *testing.T) {
	const sec = int64(time.Second)
	check := func(t *testing.T, s Store) {
		t.Helper()
		if got := showDue(s, 100*sec, 1); got != "5 false" {
			t.Errorf("due: %s", got)
		}
		if got := s.NextDue(); got != 6*sec {
			t.Errorf("next %d, want 6 s", got)
		}
	}
	both(t, Config{AllowMsgTTL: true}, func(t *testing.T, s Store) {
		for i := range int64(5) {
			if err := s.StoreRawMsg("a", nil, nil, 0, (i+1)*sec, 1, false); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := s.PurgeEx("", 5, 0); n != 4 || err != nil {
			t.Fatal(n, err)
		}
		check(t, s)
	})
	t.Run("old thw.db", func(t *testing.T) {
		disk := crashfs.New(1)
		cfg := Config{Name: "S", Subjects: []string{">"}, AllowMsgTTL: true}
		s := openOn(t, disk, cfg, FileOptions{})
		for i := range int64(5) {
			put(t, s, "a", (i+1)*sec, "NATS/1.0\r\nNats-TTL: 1\r\n\r\n")
		}
		stop := func() {
			t.Helper()
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := s.disk.host.Close(); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		old, err := vfs.ReadFile(disk, path.Join(msgsOfS, ttlFile), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		s = openOn(t, disk, cfg, FileOptions{})
		s.Compact(5)
		stop()
		if err := vfs.ReplaceFile(disk, path.Join(msgsOfS, ttlFile), old, 0o600); err != nil {
			t.Fatal(err)
		}
		s = openOn(t, disk, cfg, FileOptions{})
		check(t, s)
	})
}

// A sequence that is used again after a truncation has nothing of the message before.
func TestTruncatedTTLs(t *testing.T) {
	both(t, Config{AllowMsgTTL: true, MaxAge: time.Hour}, func(t *testing.T, s Store) {
		for _, ttl := range []int64{0, 1, -1} {
			if err := s.StoreRawMsg("a", nil, nil, 0, 1, ttl, false); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Truncate(1); err != nil {
			t.Fatal(err)
		}
		put(t, s, "a", 2, "")
		put(t, s, "a", 3, "")
		if got := showDue(s, int64(time.Minute), 10); got != "" {
			t.Errorf("due: %s", got)
		}
		if got := showDue(s, int64(2*time.Hour), 10); got != "1 false, 2 false, 3 false" {
			t.Errorf("due: %s", got)
		}
	})
}

// What never expires is no message any more once it was removed.
func TestNeverIsOver(t *testing.T) {
	both(t, Config{AllowMsgTTL: true, MaxAge: time.Hour}, func(t *testing.T, s Store) {
		if err := s.StoreRawMsg("a", nil, nil, 0, 1, -1, false); err != nil {
			t.Fatal(err)
		}
		if got := s.NextDue(); got != 0 {
			t.Errorf("next %d of a message that never expires", got)
		}
		put(t, s, "a", 2, "")
		if _, err := s.RemoveMsg(1); err != nil {
			t.Fatal(err)
		}
		if got, want := s.NextDue(), 2+int64(time.Hour); got != want {
			t.Errorf("next %d, want %d", got, want)
		}
	})
}

// Two messages of a subject that become due one after the other, before the first one
// is gone, leave the marker of the second.
func TestMarkerBehindRemoval(t *testing.T) {
	cfg := Config{AllowMsgTTL: true, SubjectDeleteMarkerTTL: time.Second}
	both(t, cfg, func(t *testing.T, s Store) {
		for _, ttl := range []int64{1, 2} {
			put(t, s, "a", 0, fmt.Sprintf("NATS/1.0\r\nNats-TTL: %d\r\n\r\n", ttl))
		}
		for now, want := range []string{"", "1 false", "2 true"} {
			if got := showDue(s, int64(now)*int64(time.Second), 10); got != want {
				t.Errorf("after %d s due: %q, want %q", now, got, want)
			}
		}
	})
}

// How far schedules are is told by the messages where sched.db does not: results, which
// may be in blocks without a schedule, and messages that end one.
func TestSchedulesWithoutFile(t *testing.T) {
	const sec = int64(time.Second)
	cfg := Config{Name: "S", Subjects: []string{">"}, AllowMsgSchedules: true}
	opts := FileOptions{BlockSize: 100}
	for _, how := range []string{"file gone", "allowed later", "index gone"} {
		t.Run(how, func(t *testing.T) {
			disk := crashfs.New(1)
			first := cfg
			first.AllowMsgSchedules = how != "allowed later"
			s := openOn(t, disk, first, opts)
			for _, subject := range []string{"moved", "ended", "other"} {
				put(t, s, subject, 100*sec, "NATS/1.0\r\nNats-Schedule: @every 10s\r\nNats-Schedule-Target: out\r\n\r\n")
			}
			put(t, s, "out", 120*sec, "NATS/1.0\r\nNats-Scheduler: moved\r\nNats-Schedule-Next: 1970-01-01T00:03:00Z\r\n\r\n")
			put(t, s, "ended", 121*sec, "")
			put(t, s, "other", 122*sec, "NATS/1.0\r\nA: b\r\n\r\n")
			if how == "allowed later" {
				if err := s.UpdateConfig(cfg); err != nil {
					t.Fatal(err)
				}
			} else {
				if err := s.Stop(); err != nil {
					t.Fatal(err)
				}
				if err := s.disk.host.Close(); err != nil {
					t.Fatal(err)
				}
				disk.Remove(path.Join(msgsOfS, schedFile))
				if how == "index gone" {
					disk.Remove(path.Join(msgsOfS, indexFile))
				}
				s = openOn(t, disk, cfg, opts)
			}
			if got := s.NextDue(); got != 180*sec {
				t.Errorf("next at %d s, want 180", got/sec)
			}
			if got := showDue(s, 1000*sec, 10); got != "1 false" {
				t.Errorf("due: %s", got)
			}
		})
	}
}

// A schedule whose message cannot be read fires nothing, and stays.
func TestUnreadableSchedule(t *testing.T) {
	both(t, Config{AllowMsgSchedules: true}, func(t *testing.T, s Store) {
		put(t, s, "a", 1, "")
		if err := doDue(s, []Due{{Kind: DueSchedule, Seq: 1, Subject: "a"}}); err != nil {
			t.Fatal(err)
		}
		if !s.Has(1) {
			t.Error("it was removed")
		}
	})
}

// Servers take a wildcard in the subject of a message for plain text: it replaces the
// messages of its own subject alone, and index.db serves the next start.
func TestWildcardSubjects(t *testing.T) {
	fill := func(t *testing.T, s Store) {
		t.Helper()
		for _, subject := range []string{"a.1", "a.*", "a.>", ">", "a.*"} {
			put(t, s, subject, 1, "")
		}
		for _, subject := range []string{"a.*", "a.>", ">"} {
			done := make(chan error, 1)
			s.StoreRawMsgs([]RawMsg{{Subject: subject, Time: 2, Rollup: RollupSubject}}, func(err error) { done <- err })
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(t *testing.T, s Store) {
		t.Helper()
		if got := fmt.Sprint(s.SubjectsTotals("")); got != "map[>:1 a.*:1 a.1:1 a.>:1]" {
			t.Errorf("subjects %s", got)
		}
	}
	both(t, Config{}, func(t *testing.T, s Store) {
		fill(t, s)
		check(t, s)
	})
	t.Run("discard new", func(t *testing.T) {
		both(t, Config{Discard: DiscardNew, MaxMsgsPerSubject: 1, MaxBytes: 200}, func(t *testing.T, s Store) {
			for _, m := range []struct {
				subject string
				size    int
				want    error
			}{{"a.1", 80, nil}, {"a.*", 1, nil}, {"a.*", 80, ErrMaxBytes}} {
				if err := s.StoreRawMsg(m.subject, nil, make([]byte, m.size), 0, 1, 0, true); err != m.want {
					t.Errorf("%s of %d bytes: %v, want %v", m.subject, m.size, err, m.want)
				}
			}
		})
	})
	t.Run("next start", func(t *testing.T) {
		disk := crashfs.New(1)
		cfg := Config{Name: "S", Subjects: []string{">"}}
		s := openOn(t, disk, cfg, FileOptions{})
		fill(t, s)
		s.Stop()
		s.disk.host.Close()
		var from []bool
		h, err := NewHost("/store", HostOptions{FS: disk, Manual: true, Events: func(e Event) {
			if r, ok := e.(Recovered); ok {
				from = append(from, r.FromIndex)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		s, err = OpenFileStore(h, cfg, FileOptions{Account: "$G"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Stop()
		if len(from) != 1 || !from[0] {
			t.Errorf("from index.db: %v", from)
		}
		check(t, s)
	})
}

// Ranges of a leader's state name what they name, at the ends of all sequences as well.
func TestSyncDeletedRanges(t *testing.T) {
	for _, tc := range []struct {
		ranges []SeqRange
		want   string
	}{
		{[]SeqRange{{2, 2}}, "[1 4 5]"},
		{[]SeqRange{{0, 0}}, "[1 2 3 4 5]"},
		{[]SeqRange{{3, 0}, {5, 1}}, "[1 2 3 4]"},
		{[]SeqRange{{4, math.MaxUint64}}, "[1 2 3]"},
		{[]SeqRange{{0, 3}}, "[3 4 5]"},
		{[]SeqRange{{6, 1}, {1, 1}}, "[1 2 3 4 5]"},
		{[]SeqRange{{1, 5}}, "[]"},
	} {
		both(t, Config{}, func(t *testing.T, s Store) {
			for range 5 {
				put(t, s, "a", 1, "")
			}
			s.SyncDeleted(tc.ranges)
			left := []uint64{}
			for seq := range uint64(7) {
				if s.Has(seq) {
					left = append(left, seq)
				}
			}
			if fmt.Sprint(left) != tc.want {
				t.Errorf("%v: left %v, want %s", tc.ranges, left, tc.want)
			}
		})
	}
}

// No sequence is beyond the last one that a record can hold, and what would make it so
// changes nothing.
func TestLastSequences(t *testing.T) {
	both(t, Config{}, func(t *testing.T, s Store) {
		put(t, s, "a", 1, "")
		for _, skips := range [][]uint64{{math.MaxUint64}, {record.MaxSeq}, {1 << 63, 1 << 63}, {record.MaxSeq - 1, 1}, {math.MaxUint64, 1, 3}} {
			batch := make([]RawMsg, len(skips))
			for i, n := range skips {
				batch[i].Skip = n
			}
			done := make(chan error, 1)
			s.StoreRawMsgs(batch, func(err error) { done <- err })
			if err := <-done; err != ErrSequenceMismatch {
				t.Errorf("skipping %d: %v", skips, err)
			}
		}
		if err := s.SkipMsgs(2, record.MaxSeq-2); err != nil {
			t.Fatal(err)
		}
		put(t, s, "a", 2, "")
		if _, _, err := s.StoreMsg("a", nil, nil, 0); err != ErrSequenceMismatch {
			t.Errorf("a message behind the last sequence: %v", err)
		}
		st := s.State()
		if st.Msgs != 2 || st.FirstSeq != 1 || st.LastSeq != record.MaxSeq || st.NumDeleted != record.MaxSeq-2 || len(st.Deleted) != MaxDeletedListed {
			t.Errorf("%d messages, %d to %d, %d deleted, %d listed", st.Msgs, st.FirstSeq, st.LastSeq, st.NumDeleted, len(st.Deleted))
		}
		for filter, want := range map[string]uint64{"": record.MaxSeq, "a": record.MaxSeq} {
			if _, seq, err := s.LoadNextMsg(filter, 2, nil); seq != want || err != nil {
				t.Errorf("next %q: %d, %v", filter, seq, err)
			}
		}
		if _, seq, err := s.LoadPrevMsg("a", record.MaxSeq-1, nil); seq != 1 || err != nil {
			t.Errorf("prev: %d, %v", seq, err)
		}
		if n, err := s.Purge(); n != 2 || err != nil {
			t.Errorf("purge: %d, %v", n, err)
		}
	})
	for _, first := range []uint64{record.MaxSeq + 1, math.MaxUint64} {
		cfg := Config{Name: "S", Subjects: []string{">"}, FirstSeq: first, Storage: MemoryStorage}
		if _, err := NewMemStore(cfg); err != ErrSequenceMismatch {
			t.Errorf("memory store from %d: %v", first, err)
		}
		disk := crashfs.New(1)
		h, err := NewHost("/store", HostOptions{FS: disk, Manual: true})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Storage = FileStorage
		if _, err := OpenFileStore(h, cfg, FileOptions{Account: "$G"}); err != ErrSequenceMismatch {
			t.Errorf("file store from %d: %v", first, err)
		}
		if _, err := disk.Stat("/store/jetstream"); err == nil {
			t.Error("it has left something")
		}
		h.Close()
	}
}

// An archive of a stream that was empty holds nothing of what came since.
func TestSnapshotOfEmptyStream(t *testing.T) {
	both(t, Config{}, func(t *testing.T, s Store) {
		put(t, s, "a", 1, "")
		var b strings.Builder
		if err := s.Snapshot(&b, SnapshotOptions{Version: 2, At: &State{}}); err != nil {
			t.Fatal(err)
		}
		r, err := archive.NewReader(strings.NewReader(b.String()))
		if err != nil {
			t.Fatal(err)
		}
		for {
			e, err := r.Next()
			if err != nil {
				break
			}
			if e.Kind == archive.Message {
				t.Errorf("message %d", e.Seq)
			}
		}
	})
}

// Who counts what stores take hears of a deletion also when the disk fails.
func TestDeleteOfFailedStore(t *testing.T) {
	disk := crashfs.New(1)
	s := openOn(t, disk, Config{Name: "S", Subjects: []string{">"}}, FileOptions{})
	bytes := int64(0)
	s.RegisterStorageUpdates(func(_, n int64, _ uint64, _ string) { bytes += n })
	put(t, s, "a", 1, "")
	disk.Inject(func(c crashfs.Call) error {
		if c.Kind == crashfs.Write {
			return syscall.EIO
		}
		return nil
	})
	if err := s.StoreRawMsg("a", nil, nil, 0, 1, 0, false); err == nil {
		t.Fatal("stored")
	}
	disk.Inject(nil)
	if err := s.Delete(true); err != nil {
		t.Fatal(err)
	}
	if bytes != 0 {
		t.Errorf("%d bytes are left", bytes)
	}
}

// The progress that a source was set to is there at the next start, also when nothing
// else has changed.
func TestSetProgressIsSaved(t *testing.T) {
	disk := crashfs.New(1)
	cfg := Config{Name: "S", Subjects: []string{">"}, Sources: []string{"O > >", "P > >"}}
	s := openOn(t, disk, cfg, FileOptions{})
	s.SetSourceProgress(map[string]SourceProgress{"O > >": {Seq: 5}, "P > >": {Seq: 6}})
	for _, want := range []string{"map[O > >:{5 } P > >:{6 }]", "map[P > >:{6 }]"} {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		s.disk.host.Close()
		s = openOn(t, disk, cfg, FileOptions{})
		got := s.SourceProgress()
		if fmt.Sprint(got) != want {
			t.Errorf("%v, want %s", got, want)
		}
		delete(got, "O > >")
		s.SetSourceProgress(got)
	}
}

// Clocks go back: the first message from a time on is that of the lowest sequence,
// wherever it is, also of blocks that nobody has read since the start.
func TestSequenceFromTime(t *testing.T) {
	times := []int64{10, 11, 5, 6, 7, 30, 3, 8, 9, 12, 2}
	check := func(t *testing.T, s Store, gone ...uint64) {
		t.Helper()
		for at := int64(0); at < 32; at++ {
			want := uint64(len(times) + 1)
			for i, ts := range times {
				if seq := uint64(i + 1); ts >= at && s.Has(seq) {
					want = seq
					break
				}
			}
			if got := s.GetSeqFromTime(at); got != want {
				t.Errorf("from %d: %d, want %d", at, got, want)
			}
		}
	}
	both(t, Config{}, func(t *testing.T, s Store) {
		for _, ts := range times {
			put(t, s, "a", ts, "")
		}
		check(t, s)
		s.RemoveMsg(1)
		s.RemoveMsg(6)
		check(t, s)
	})
	for _, end := range []string{"stopped", "killed", "index gone", "truncated"} {
		t.Run(end, func(t *testing.T) {
			disk := crashfs.New(1)
			cfg, opts := Config{Name: "S", Subjects: []string{">"}}, FileOptions{BlockSize: 130}
			s := openOn(t, disk, cfg, opts)
			for _, ts := range times {
				put(t, s, "a", ts, "")
			}
			if end == "truncated" {
				put(t, s, "a", 40, "")
				if err := s.Truncate(uint64(len(times))); err != nil {
					t.Fatal(err)
				}
			}
			if end == "killed" {
				s.disk.host.Maintain(stateEvery)
				disk = disk.Kill()
			} else {
				s.Stop()
				s.disk.host.Close()
				if end == "index gone" {
					disk.Remove(path.Join(msgsOfS, indexFile))
				}
			}
			check(t, openOn(t, disk, cfg, opts))
		})
	}
}
