package msgstore

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// TestPurgeWithoutMessages: what a purge makes of a store that never held a message, and
// of one that is empty again.
func TestPurgeWithoutMessages(t *testing.T) {
	type state struct{ first, last uint64 }
	for _, c := range []struct {
		what      string
		firstSeq  uint64
		used      int // messages stored, and purged
		seq, keep uint64
		want      state
		err       error
	}{
		{what: "all", want: state{1, 0}},
		{what: "seq 1", seq: 1, want: state{0, 0}},
		{what: "seq 5", seq: 5, want: state{5, 4}},
		{what: "keep", keep: 3, want: state{0, 0}},
		{what: "all, with first_seq", firstSeq: 10, want: state{10, 9}},
		{what: "seq 1, with first_seq", firstSeq: 10, seq: 1, want: state{10, 9}},
		{what: "seq below first_seq", firstSeq: 10, seq: 5, want: state{10, 9}},
		{what: "seq at first_seq", firstSeq: 10, seq: 10, want: state{10, 9}},
		{what: "seq above first_seq", firstSeq: 10, seq: 15, want: state{15, 14}},
		{what: "keep, with first_seq", firstSeq: 10, keep: 3, want: state{10, 9}},
		{what: "all, again", used: 4, want: state{5, 4}},
		{what: "seq below the end", used: 4, seq: 3, want: state{5, 4}},
		{what: "seq behind the end", used: 4, seq: 5, want: state{5, 4}},
		{what: "seq above the end", used: 4, seq: 8, want: state{8, 7}},
		{what: "the largest", seq: record.MaxSeq, want: state{record.MaxSeq, record.MaxSeq - 1}},
		{what: "larger than the largest", seq: record.MaxSeq + 1, err: ErrSequenceMismatch},
		{what: "larger than all", firstSeq: 10, seq: math.MaxUint64, want: state{10, 9}, err: ErrSequenceMismatch},
	} {
		t.Run(c.what, func(t *testing.T) {
			cfg := Config{Name: "S", Subjects: []string{">"}, FirstSeq: c.firstSeq}
			check := func(s Store, when string) {
				t.Helper()
				if st := s.State(); (state{st.FirstSeq, st.LastSeq}) != c.want || st.Msgs != 0 || st.NumDeleted != 0 || st.FirstTime != 0 {
					t.Errorf("%s: %+v, want %+v", when, st, c.want)
				}
			}
			purge := func(s Store) {
				t.Helper()
				for range c.used {
					put(t, s, "a", 1, "")
				}
				if c.used > 0 {
					if n, err := s.Purge(); err != nil || n != uint64(c.used) {
						t.Fatal(n, err)
					}
				}
				if n, err := s.PurgeEx("", c.seq, c.keep); n != 0 || !errors.Is(err, c.err) {
					t.Errorf("%d purged, %v", n, err)
				}
				check(s, "purged")
			}
			m := cfg
			m.Storage = MemoryStorage
			mem, err := NewMemStore(m)
			if err != nil {
				t.Fatal(err)
			}
			defer mem.Stop()
			purge(mem)
			for _, cut := range []bool{false, true} {
				disk := crashfs.New(1)
				open := func() (f *FileStore, stop func()) {
					h, err := NewHost("/store", HostOptions{FS: disk, Manual: true})
					if err != nil {
						t.Fatal(err)
					}
					if f, err = OpenFileStore(h, cfg, FileOptions{Account: "$G"}); err != nil {
						t.Fatal(err)
					}
					return f, func() { f.Stop(); h.Close() }
				}
				f, stop := open()
				purge(f)
				if cut {
					disk.Cut()
				}
				stop()
				if cut {
					disk = disk.Crash()
				}
				f, stop = open()
				if c.want == (state{1, 0}) && cut { // nothing on disk tells of this purge, and nothing depends on it
					c.want = state{}
				}
				check(f, fmt.Sprintf("opened again (power cut: %v)", cut))
				if seq, _, err := f.StoreMsg("a", nil, nil, 0); err != nil || seq != c.want.last+1 {
					t.Errorf("the next message has %d: %v", seq, err)
				}
				stop()
			}
		})
	}
}

// The end of a message's life that is behind all times never comes.
func TestEndOfTime(t *testing.T) {
	both(t, Config{Name: "S", Subjects: []string{">"}, MaxAge: math.MaxInt64, AllowMsgTTL: true, AllowMsgSchedules: true}, func(t *testing.T, s Store) {
		now := time.Now().UnixNano()
		put(t, s, "a", now, "")
		put(t, s, "b", now, "Nats-TTL: 9223372036854775807")
		put(t, s, "c", now, "Nats-Schedule: @at 9999-12-31T23:59:59Z\r\nNats-Schedule-Target: d")
		put(t, s, "e", now, "Nats-Schedule: @every 2562047h\r\nNats-Schedule-Target: d")
		if next := s.NextDue(); next < now+int64(100*365*24*time.Hour) {
			t.Errorf("due in %v", time.Duration(next-now))
		}
	})
}

// A purge that keeps the latest messages deletes the blocks of the others as they are:
// it neither reads them nor writes a tombstone for each message.
func TestPurgeKeepsLatest(t *testing.T) {
	for _, keep := range []uint64{1, 2, 19, 20, 21, 399, 400, 401, 1000} {
		disk := crashfs.New(1)
		s := openOn(t, disk, Config{Name: "S", Subjects: []string{">"}}, FileOptions{BlockSize: 2000})
		var live []uint64
		for seq := uint64(1); seq <= 600; seq++ {
			put(t, s, "a", int64(seq), "")
			live = append(live, seq)
		}
		live = slices.DeleteFunc(live, func(seq uint64) bool {
			gone := seq%3 == 0
			if gone {
				if ok, err := s.RemoveMsg(seq); !ok || err != nil {
					t.Fatal(ok, err)
				}
			}
			return gone
		})
		size := func() (n int64) {
			list, err := disk.ReadDir("/store/jetstream/$G/streams/S/msgs")
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".blk") {
					n += info.Size()
				}
			}
			return n
		}
		before := size()
		want := live[max(len(live)-int(keep), 0):]
		n, err := s.PurgeEx(">", 0, keep)
		st := s.State()
		if err != nil || n != uint64(len(live)-len(want)) || st.Msgs != uint64(len(want)) || st.FirstSeq != want[0] || st.LastSeq != 600 {
			t.Errorf("keep %d: purged %d, %v: %+v, want %d messages from %d on", keep, n, err, st, len(want), want[0])
		}
		if after := size(); after > before+500 || n > 300 && after > before/2 {
			t.Errorf("keep %d: %d bytes of blocks, before %d", keep, after, before)
		}
	}
}
