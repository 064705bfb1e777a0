package msgstore

import (
	"context"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/archive"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// What messages do to schedules, step by step: what is due at 1,000 s, and when.
func TestScheduleRules(t *testing.T) {
	const sec = int64(time.Second)
	header := func(lines ...string) string { return "NATS/1.0\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n" }
	every := header("Nats-Schedule: @every 10s", "Nats-Schedule-Target: out")
	type msg struct{ subject, header, data string }
	for _, tc := range []struct {
		name string
		msgs []msg
		due  string // subject, time, and what it publishes
	}{
		{"interval", []msg{{"in", every, "x"}},
			`in 110: out x "Nats-Scheduler: in|Nats-Schedule-Next: 1970-01-01T00:16:50Z"`},
		{"once", []msg{{"in", header("Nats-Schedule: @at 1970-01-01T00:05:00Z", "Nats-Schedule-Target: out", "Nats-Schedule-TTL: 7", "Nats-Schedule-Rollup: sub"), "x"}},
			`in 300: out x "Nats-Scheduler: in|Nats-Schedule-Next: purge|Nats-TTL: 7|Nats-Rollup: sub"`},
		{"what goes and what stays", []msg{{"in", header("A: b", "Nats-Schedule: @every 10s", "Nats-Schedule-Target: out", "Nats-Expected-Stream: S", "Nats-Msg-Id: 1", "Nats-TTL: 9", "Nats-Rollup: sub", "Nats-Batch-Id: 1", "C: d"), ""}},
			`in 110: out  "A: b|C: d|Nats-Scheduler: in|Nats-Schedule-Next: 1970-01-01T00:16:50Z"`},
		{"source", []msg{{"in", header("A: b", "Nats-Schedule: @every 10s", "Nats-Schedule-Target: out", "Nats-Schedule-Source: from"), "x"}, {"from", "", "1"}, {"from", header("C: d", "Nats-Msg-Id: 1"), "2"}, {"other", "", "3"}},
			`in 110: out 2 "C: d|Nats-Scheduler: in|Nats-Schedule-Next: 1970-01-01T00:16:50Z"`},
		{"source without messages", []msg{{"in", header("A: b", "Nats-Schedule: @every 10s", "Nats-Schedule-Target: out", "Nats-Schedule-Source: from"), "x"}},
			`in 110: out x "A: b|Nats-Scheduler: in|Nats-Schedule-Next: 1970-01-01T00:16:50Z"`},
		{"replaced", []msg{{"in", every, "x"}, {"in", header("Nats-Schedule: @every 20s", "Nats-Schedule-Target: out"), "y"}},
			`in 120: out y "Nats-Scheduler: in|Nats-Schedule-Next: 1970-01-01T00:17:00Z"`},
		{"ended by a message without headers", []msg{{"in", every, "x"}, {"in", "", "y"}}, ""},
		{"ended by a message with others", []msg{{"in", every, "x"}, {"in", header("A: b"), "y"}}, ""},
		{"other subject", []msg{{"in", every, "x"}, {"out", "", "y"}},
			`in 110: out x "Nats-Scheduler: in|Nats-Schedule-Next: 1970-01-01T00:16:50Z"`},
		{"moved", []msg{{"in", every, "x"}, {"out", header("Nats-Scheduler: in", "Nats-Schedule-Next: 1970-01-01T00:03:00Z"), "y"}},
			`in 180: out x "Nats-Scheduler: in|Nats-Schedule-Next: 1970-01-01T00:16:50Z"`},
		{"moved to no time", []msg{{"in", every, "x"}, {"out", header("Nats-Scheduler: in", "Nats-Schedule-Next: soon"), "y"}},
			`in 110: out x "Nats-Scheduler: in|Nats-Schedule-Next: 1970-01-01T00:16:50Z"`},
		{"result without a next time", []msg{{"in", every, "x"}, {"out", header("Nats-Scheduler: in"), "y"}},
			`in 110: out x "Nats-Scheduler: in|Nats-Schedule-Next: 1970-01-01T00:16:50Z"`},
		{"ended by its result", []msg{{"in", every, "x"}, {"out", header("Nats-Scheduler: in", "Nats-Schedule-Next: purge"), "y"}}, ""},
		{"result of another one", []msg{{"out", header("Nats-Scheduler: in", "Nats-Schedule-Next: 1970-01-01T00:03:00Z"), "y"}}, ""},
		{"no pattern", []msg{{"in", header("Nats-Schedule: whenever", "Nats-Schedule-Target: out"), "x"}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			both(t, Config{AllowMsgSchedules: true}, func(t *testing.T, s Store) {
				for _, m := range tc.msgs {
					if err := s.StoreRawMsg(m.subject, []byte(m.header), []byte(m.data), 0, 100*sec, 0, false); err != nil {
						t.Fatal(err)
					}
				}
				next := s.NextDue()
				got := ""
				for _, d := range s.Due(1000*sec, 10, nil) {
					lines := strings.TrimSuffix(strings.TrimPrefix(string(d.Publish.Header), "NATS/1.0\r\n"), "\r\n\r\n")
					got += fmt.Sprintf("%s %d: %s %s %q", d.Subject, d.Time/sec, d.Publish.Subject, d.Publish.Data, strings.ReplaceAll(lines, "\r\n", "|"))
					if d.Time != next {
						t.Errorf("next was %d", next)
					}
				}
				if got != tc.due {
					t.Errorf("got %s\nwant %s", got, tc.due)
				}
				if got == "" && next != 0 {
					t.Errorf("next is %d", next)
				}
				if more := s.Due(1000*sec, 10, nil); len(more) > 0 {
					t.Errorf("%d are due again", len(more))
				}
				if _, err := s.PurgeEx("in", 0, 0); err != nil {
					t.Fatal(err)
				}
				if s.ResetState(); len(s.Due(1000*sec, 10, nil)) > 0 || s.NextDue() != 0 {
					t.Error("due without its message")
				}
			})
		})
	}
}

// The age of messages that never expire is nobody's, wherever they are.
func TestNextDueBehindNever(t *testing.T) {
	never := "NATS/1.0\r\nNats-TTL: never\r\n\r\n"
	both(t, Config{AllowMsgTTL: true, MaxAge: time.Second}, func(t *testing.T, s Store) {
		for at, header := range []string{never, never, "", never} {
			put(t, s, "a", int64(at+1), header)
		}
		if got, want := s.NextDue(), 3+int64(time.Second); got <= 0 || got > want {
			t.Errorf("next %d, want %d or earlier", got, want)
		}
		if got := showDue(s, 4, 10); got != "" { // which looks where the first one is
			t.Errorf("due: %s", got)
		}
		if got, want := s.NextDue(), 3+int64(time.Second); got != want {
			t.Errorf("next %d, want %d", got, want)
		}
		if got := showDue(s, int64(time.Hour), 10); got != "3 false" {
			t.Errorf("due: %s", got)
		}
		s.RemoveMsg(3)
		if got := s.NextDue(); got != 0 {
			t.Errorf("next %d", got)
		}
	})
}

// What is on its way to the disk counts for those who come behind it.
func TestInFlight(t *testing.T) {
	disk := crashfs.New(1)
	s := openOn(t, disk, Config{Name: "S", Subjects: []string{">"}, Discard: DiscardNew, MaxMsgs: 6, MaxMsgsPerSubject: 3, DiscardNewPer: true, MaxBytes: 300}, FileOptions{})
	put(t, s, "a", 1, "")
	hold := make(chan struct{})
	disk.Inject(func(c crashfs.Call) error {
		if c.Kind == crashfs.Sync || c.Kind == crashfs.Write {
			<-hold
		}
		return nil
	})
	errs := make(chan error, 100)
	ops := 0
	run := func(fn func(done func(error))) {
		ops++
		go fn(func(err error) { errs <- err })
	}
	inFlight := func() (l []string) {
		s.InFlight(func(m *RawMsg) { l = append(l, fmt.Sprintf("%d %s %s%d", m.Seq, m.Subject, m.Data, m.Rollup)) })
		return l
	}
	run(func(done func(error)) {
		s.StoreRawMsgs([]RawMsg{{Subject: "a", Data: []byte("x"), Time: 2}, {Skip: 1}, {Subject: "b", Time: 3, Rollup: RollupSubject}, {Subject: "a", Time: 4}}, done)
	})
	want := []string{"2 a x0", "4 b 1", "5 a 0"}
	for deadline := time.Now().Add(20 * time.Second); !slices.Equal(inFlight(), want); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("in flight %q, want %q", inFlight(), want)
		}
	}
	if p := s.Positions(); p != (Positions{Appended: 5, Durable: 1, Visible: 1}) {
		t.Errorf("positions %+v", p)
	}
	for _, tc := range []struct {
		subject string
		size    int
		want    error
	}{{"a", 0, ErrMaxMsgsPerSubject}, {"c", 200, ErrMaxBytes}} {
		s.wmu.Lock()
		err := s.room(&RawMsg{Subject: tc.subject, Data: make([]byte, tc.size)})
		s.wmu.Unlock()
		if err != tc.want {
			t.Errorf("room for %d bytes of %s: %v, want %v", tc.size, tc.subject, err, tc.want)
		}
	}
	var purged, removed uint64
	run(func(done func(error)) {
		s.RemoveMsgs([]uint64{5, 3, 9}, false, func(n uint64, err error) { removed = n; done(err) })
	})
	close(hold)
	for range ops {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	disk.Inject(nil)
	if purged, _ = s.PurgeEx("a", 0, 0); removed != 1 || purged != 2 {
		t.Errorf("%d removed, %d purged", removed, purged)
	}
	if got := inFlight(); len(got) > 0 {
		t.Errorf("in flight: %q", got)
	}
	if p := s.Positions(); p != (Positions{5, 5, 5}) {
		t.Errorf("positions %+v", p)
	}
}

// A version 1 archive, unpacked, is a directory that opens to the same stream.
func TestSnapshotV1(t *testing.T) {
	disk := crashfs.New(1)
	cfg := Config{Name: "S", Subjects: []string{">"}, Compression: S2Compression, AllowMsgTTL: true}
	opts := FileOptions{BlockSize: 300, Keys: KeyRing{Key: []byte("secret"), Cipher: AES}}
	s := openOn(t, disk, cfg, opts)
	for i := range 60 {
		put(t, s, fmt.Sprint("a.", i%7), int64(i+1), "NATS/1.0\r\nNats-TTL: 9\r\n\r\n")
	}
	s.RemoveMsgs([]uint64{2, 30, 31, 59}, false, func(uint64, error) {})
	s.Compact(5)
	s.disk.host.Maintain(1)
	put(t, s, "a.0", 100, "")
	var b strings.Builder
	slow := writerFunc(func(p []byte) (int, error) {
		if err := s.Snapshot(io.Discard, SnapshotOptions{Version: 1}); err != ErrStoreSnapshotInProg {
			t.Errorf("another one: %v", err)
		}
		return b.Write(p)
	})
	consumer := SnapshotConsumer{Name: "C", Meta: []byte(`{"Name":"C"}`), State: []byte("state")}
	if err := s.Snapshot(slow, SnapshotOptions{Version: 1, Consumers: []SnapshotConsumer{consumer}}); err != nil {
		t.Fatal(err)
	}
	r, err := archive.NewReader(strings.NewReader(b.String()))
	if err != nil || r.Version() != 1 {
		t.Fatal(r.Version(), err)
	}
	fresh := crashfs.New(2)
	dir := "/store/jetstream/$G/streams/S"
	files := map[string]string{}
	for {
		f, err := r.NextFile()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(f.Content)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(content)
		name := path.Join(dir, f.Name)
		if err := vfs.MkdirAllSynced(fresh, path.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := vfs.WriteSynced(fresh, name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if files["obs/C/meta.inf"] != string(consumer.Meta) || files["obs/C/o.dat"] != "state" || len(files["obs/C/meta.sum"]) != 16 {
		t.Errorf("consumer: %q", files)
	}
	if got, err := ReadStreamMeta(fresh, dir, "$G", KeyRing{}); err != nil || !strings.Contains(string(got), `"name":"S"`) {
		t.Errorf("meta.inf %s, %v", got, err)
	}
	again := openOn(t, fresh, cfg, FileOptions{})
	if got, want := again.State(), s.State(); !sameState(got, want) {
		t.Errorf("state %+v, want %+v", got, want)
	}
	for seq := range uint64(62) {
		got, err1 := again.LoadMsg(seq, nil)
		want, err2 := s.LoadMsg(seq, nil)
		if err1 != err2 || err1 == nil && !sameMsg(got, *want) {
			t.Errorf("message %d: %v %v, want %v %v", seq, got, err1, want, err2)
		}
	}
	if got, want := again.NextDue(), s.NextDue(); got != want {
		t.Errorf("next due %d, want %d", got, want)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Searches for few subjects among many messages find what looking at each finds, with
// the tables of blocks and without.
func TestSparseSearch(t *testing.T) {
	const n = 20_000
	both(t, Config{}, func(t *testing.T, s Store) {
		batch := make([]RawMsg, n)
		for i := range batch {
			batch[i] = RawMsg{Subject: fmt.Sprint("many.", i%900), Time: int64(i + 1)}
			switch {
			case i%4001 == 7:
				batch[i].Subject = "rare.1"
			case i%6007 == 9:
				batch[i].Subject = "rare.2"
			case i%5003 == 11:
				batch[i] = RawMsg{Skip: 3}
			}
		}
		done := make(chan error, 1)
		s.StoreRawMsgs(batch, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if _, err := s.RemoveMsg(8); err != nil { // the first of the rare ones
			t.Fatal(err)
		}
		var last State
		s.FastState(&last)
		for _, f := range []*Filter{NewFilter("rare.1"), NewFilter("rare.*"), NewFilter("rare.2", "many.5"), NewFilter("*.2"), NewFilter("none"), NewFilter("rare.1", "none.*")} {
			var want, got []uint64
			for seq := uint64(1); seq <= last.LastSeq; seq++ {
				if subject, err := s.SubjectForSeq(seq); err == nil && f.Match(subject) {
					want = append(want, seq)
				}
			}
			for range 2 { // the second time blocks have tables
				got = got[:0]
				for start := uint64(0); ; {
					_, seq, err := s.LoadNextMsgMulti(f, start, nil)
					if err == ErrStoreEOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					got, start = append(got, seq), seq+1
				}
				if !slices.Equal(got, want) {
					t.Errorf("%q: %d found, want %d", f.Subjects(), len(got), len(want))
				}
			}
		}
	})
}

// RunDue asks the registered functions, if there are any.
func TestRegisteredDuties(t *testing.T) {
	both(t, Config{AllowMsgTTL: true, AllowMsgSchedules: true, SubjectDeleteMarkerTTL: time.Second}, func(t *testing.T, s Store) {
		removed, published := make(chan uint64, 10), make(chan string, 10)
		s.RegisterStorageRemoveMsg(func(seq uint64) { removed <- seq })
		s.RegisterProcessJetStreamMsg(func(subject string, _, _ []byte) { published <- subject })
		put(t, s, "a", 1, "NATS/1.0\r\nNats-TTL: 1\r\n\r\n")
		put(t, s, "a", 1, "NATS/1.0\r\nNats-TTL: 1\r\n\r\n")
		put(t, s, "in", 1, "NATS/1.0\r\nNats-Schedule: @at 1970-01-01T00:00:01Z\r\nNats-Schedule-Target: out\r\n\r\n")
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- RunDue(ctx, s) }()
		if got := fmt.Sprint(<-removed, <-published, <-published); got != "1aout" && got != "1 a out" {
			t.Errorf("got %s", got)
		}
		stop()
		if err := <-ended; err != context.Canceled {
			t.Error(err)
		}
		var st State
		if s.FastState(&st); st.Msgs != 3 {
			t.Errorf("%d messages", st.Msgs)
		}
	})
}
