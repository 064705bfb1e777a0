package msgstore

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// Removals of many messages go in slices: who reads meanwhile sees a stream that loses
// its messages in their order and nothing else, the numbers are those of the whole, and
// callbacks tell of it as they do of a removal at once.
func TestSlicedRemovals(t *testing.T) {
	const n = 5 * sliceMsgs
	for _, tc := range []struct {
		name  string
		cfg   Config
		act   func(s Store) (uint64, error)
		left  func(seq uint64) bool
		calls int64
	}{
		{"compact", Config{}, func(s Store) (uint64, error) { return s.Compact(n - 99) }, func(seq uint64) bool { return seq >= n-99 }, 1},
		{"purge of a subject", Config{}, func(s Store) (uint64, error) { return s.PurgeEx("a.0", 0, 2) }, func(seq uint64) bool { return seq%2 != 0 || seq > n-4 }, 1},
		{"all but some", Config{}, func(s Store) (uint64, error) { return s.PurgeEx("", 0, 100) }, func(seq uint64) bool { return seq > n-100 }, 1},
		{"many", Config{}, func(s Store) (uint64, error) {
			var seqs []uint64
			for seq := uint64(1); seq <= n; seq++ {
				if seq%3 > 0 {
					seqs = append(seqs, seq)
				}
			}
			done := make(chan error, 1)
			var removed uint64
			s.RemoveMsgs(append(seqs, seqs[:10]...), false, func(n uint64, err error) { removed = n; done <- err })
			return removed, <-done
		}, func(seq uint64) bool { return seq%3 == 0 }, 1},
		{"rollup", Config{}, func(s Store) (uint64, error) {
			done := make(chan error, 1)
			s.StoreRawMsgs([]RawMsg{{Subject: "a.1", Time: 1, Rollup: RollupAll}}, func(err error) { done <- err })
			return n, <-done
		}, func(seq uint64) bool { return seq == n+1 }, 2},
		{"limits", Config{}, func(s Store) (uint64, error) {
			return n - 50, s.UpdateConfig(Config{Name: "S", Storage: s.Type(), Subjects: []string{">"}, MaxMsgs: 50})
		}, func(seq uint64) bool { return seq > n-50 }, n - 50},
		{"limits of subjects", Config{}, func(s Store) (uint64, error) {
			return n - 6, s.UpdateConfig(Config{Name: "S", Storage: s.Type(), Subjects: []string{">"}, MaxMsgsPerSubject: 3})
		}, func(seq uint64) bool { return seq > n-6 }, n - 6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			both(t, tc.cfg, func(t *testing.T, s Store) {
				batch := make([]RawMsg, n)
				for i := range batch {
					batch[i] = RawMsg{Subject: fmt.Sprint("a.", (i+1)%2), Time: int64(i + 1)}
				}
				done := make(chan error, 1)
				s.StoreRawMsgs(batch, func(err error) { done <- err })
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				var before State
				s.FastState(&before)
				if s.Type() == FileStorage { // who registers is told of its bytes
					before.Bytes = 0
				}
				var calls, msgs, bytes atomic.Int64
				s.RegisterStorageUpdates(func(m, b int64, _ uint64, _ string) {
					if m != 0 {
						calls.Add(1)
					}
					msgs.Add(m)
					bytes.Add(b)
				})
				stop := make(chan struct{})
				var readers sync.WaitGroup
				readers.Go(func() {
					var st State
					for first, live := uint64(0), uint64(n+1); ; {
						select {
						case <-stop:
							return
						default:
						}
						if s.FastState(&st); st.FirstSeq < first || st.Msgs > live {
							t.Errorf("%d messages from %d on, behind %d from %d on", st.Msgs, st.FirstSeq, live, first)
							return
						}
						first, live = st.FirstSeq, max(st.Msgs, 1)
						if sm, seq, err := s.LoadNextMsg("", first, nil); err == nil && (sm.Seq != seq || seq < first) {
							t.Errorf("message %d as %d, from %d on", sm.Seq, seq, first)
							return
						}
					}
				})
				removed, err := tc.act(s)
				close(stop)
				readers.Wait()
				s.Notified()
				st := s.State()
				left := uint64(0)
				for seq := uint64(1); seq <= st.LastSeq; seq++ {
					if s.Has(seq) != tc.left(seq) {
						t.Fatalf("message %d: %v", seq, s.Has(seq))
					}
					if s.Has(seq) {
						left++
					}
				}
				if err != nil || st.Msgs != left || removed != n-left+(st.LastSeq-n) {
					t.Errorf("%d removed, %v; %d of %d are left", removed, err, left, st.Msgs)
				}
				total := uint64(0)
				for _, n := range s.SubjectsTotals("") {
					total += n
				}
				if total != left {
					t.Errorf("%d by subject, %d are left", total, left)
				}
				if calls.Load() != tc.calls || msgs.Load() != int64(left)-int64(before.Msgs) || bytes.Load() != int64(st.Bytes)-int64(before.Bytes) {
					t.Errorf("%d calls of %d messages and %d bytes; %d, %d bytes are left", calls.Load(), msgs.Load(), bytes.Load(), left, st.Bytes)
				}
			})
		})
	}
}

// An update that fails leaves the configuration that is in force to the next start,
// wherever it fails, and if what is to restore it fails as well.
func TestFailedUpdate(t *testing.T) {
	for name, tc := range map[string]struct {
		kind  crashfs.Kind
		file  string
		times int
	}{
		"first file":         {crashfs.Write, metaInf + ".tmp", 1},
		"second file":        {crashfs.Write, metaSum + ".tmp", 1},
		"first rename":       {crashfs.Rename, metaInf, 1},
		"second rename":      {crashfs.Rename, metaSum, 1},
		"second, and again":  {crashfs.Rename, metaSum, 2},
		"and more than once": {crashfs.Rename, metaSum, 3},
	} {
		for _, end := range []string{"killed", "stopped"} {
			t.Run(name+", "+end, func(t *testing.T) {
				disk := crashfs.New(1)
				cfg := Config{Name: "S", Subjects: []string{">"}}
				s := openOn(t, disk, cfg, FileOptions{})
				put(t, s, "a", 1, "")
				put(t, s, "a", 2, "")
				times := tc.times
				disk.Inject(func(c crashfs.Call) error {
					if c.Kind == tc.kind && strings.HasSuffix(c.Name, "/"+tc.file) && times > 0 {
						times--
						return syscall.EIO
					}
					return nil
				})
				lower := cfg
				lower.MaxMsgs = 1
				if err := s.UpdateConfig(lower); err == nil {
					t.Fatal("updated")
				}
				if end == "killed" {
					s.disk.host.Maintain(1)
					s.disk.host.Maintain(1)
					disk = disk.Kill()
				} else {
					disk.Inject(nil)
					if err := s.Stop(); err != nil {
						t.Fatal(err)
					}
					s.disk.host.Close()
				}
				raw, err := ReadStreamMeta(disk, "/store/jetstream/$G/streams/S", "$G", KeyRing{})
				if err != nil {
					t.Fatal(err)
				}
				var x struct {
					Msgs int64 `json:"max_msgs"`
				}
				if err := json.Unmarshal(raw, &x); err != nil || x.Msgs != -1 {
					t.Errorf("max_msgs %d, %v", x.Msgs, err)
				}
			})
		}
	}
}
