package msgstore

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/seedtest"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// TestLimitsOfRebuiltStore: without index.db and the manifest, both, what the limits
// removed before a compaction can come back. However that goes, the store is never
// above its limits.
func TestLimitsOfRebuiltStore(t *testing.T) {
	limits := map[string]Config{
		"max_msgs":             {MaxMsgs: 50},
		"max_bytes":            {MaxBytes: 6000},
		"max_age":              {MaxAge: time.Hour},
		"max_msgs_per_subject": {MaxMsgsPerSubject: 3},
		"all":                  {MaxMsgs: 60, MaxBytes: 7000, MaxAge: time.Hour, MaxMsgsPerSubject: 5},
		"discard new":          {MaxMsgs: 60, MaxBytes: 7000, MaxMsgsPerSubject: 5, Discard: DiscardNew},
	}
	for name, cfg := range limits {
		cfg.Name, cfg.Subjects = "S", []string{">"}
		t.Run(name, func(t *testing.T) {
			for seed := range seedtest.Seeds(t, 20) {
				rebuildWithLimits(t, seed, cfg)
			}
		})
	}
}

func rebuildWithLimits(t *testing.T, seed uint64, cfg Config) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 77))
	disk := crashfs.New(seed)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	open := func() (s *FileStore, maintain func(), stop func()) {
		h, err := NewHost("/store", HostOptions{FS: disk, Manual: true})
		if err != nil {
			t.Fatal(err)
		}
		if s, err = OpenFileStore(h, cfg, FileOptions{Account: "$G", BlockSize: 1000, Clock: func() time.Time { return now }}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		return s, func() { h.Maintain(1) }, func() { s.Stop(); h.Close() }
	}
	// expire does what the owner of a stream does with what is due.
	expire := func(s *FileStore) {
		for {
			due := s.Due(now.UnixNano(), 100, nil)
			if len(due) == 0 {
				return
			}
			for _, d := range due {
				if _, err := s.RemoveMsg(d.Seq); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	stored := map[uint64]string{}
	s, maintain, stop := open()
	for range 400 {
		now = now.Add(time.Minute)
		subject := fmt.Sprint("s.", rng.IntN(12))
		header := ""
		switch rng.IntN(30) {
		case 0:
			maintain() // compacts
		case 1:
			expire(s)
		case 2:
			s.RemoveMsg(s.State().FirstSeq + rng.Uint64N(40))
		}
		data := strings.Repeat("x", rng.IntN(100))
		if seq, _, err := s.StoreMsg(subject, []byte(header), []byte(data), 0); err == nil {
			stored[seq] = subject + data
		}
	}
	expire(s)
	if rng.IntN(2) == 0 && cfg.MaxMsgs > 0 { // the limits are lower in the end
		cfg.MaxMsgs, cfg.MaxMsgsPerSubject = cfg.MaxMsgs/2, cfg.MaxMsgsPerSubject/2
		if err := s.UpdateConfig(cfg); err != nil {
			t.Fatal(err)
		}
	}
	before := s.State()
	stop()
	for _, name := range []string{indexFile, manifestFile} {
		if err := disk.Remove(path.Join("/store/jetstream/$G/streams/S/msgs", name)); err != nil {
			t.Fatal(err)
		}
	}
	s, _, stop = open()
	defer stop()
	check := func(when string) {
		t.Helper()
		st := s.State()
		if st.LastSeq != before.LastSeq {
			t.Errorf("seed %d, %s: the last sequence is %d, was %d", seed, when, st.LastSeq, before.LastSeq)
		}
		if discards := cfg.Discard == DiscardOld; discards && cfg.MaxMsgs > 0 && int64(st.Msgs) > cfg.MaxMsgs || discards && cfg.MaxBytes > 0 && int64(st.Bytes) > cfg.MaxBytes {
			t.Errorf("seed %d, %s: %d messages of %d bytes", seed, when, st.Msgs, st.Bytes)
		}
		if cfg.MaxMsgsPerSubject > 0 {
			for subject, n := range s.SubjectsTotals(">") {
				if int64(n) > cfg.MaxMsgsPerSubject {
					t.Errorf("seed %d, %s: %d messages of %s", seed, when, n, subject)
				}
			}
		}
		var msgs, bytes uint64
		for seq := st.FirstSeq; seq <= st.LastSeq; seq++ {
			m, err := s.LoadMsg(seq, nil)
			if err != nil {
				continue
			}
			if stored[seq] != m.Subject+string(m.Data) {
				t.Errorf("seed %d, %s: message %d is %s", seed, when, seq, m.Subject)
			}
			if cfg.MaxAge > 0 && when == "expired" && m.Time <= now.Add(-cfg.MaxAge).UnixNano() {
				t.Errorf("seed %d: message %d is too old", seed, seq)
			}
			msgs, bytes = msgs+1, bytes+uint64(30+len(m.Subject)+len(m.Data))
		}
		if msgs != st.Msgs || bytes != st.Bytes {
			t.Errorf("seed %d, %s: %d messages of %d bytes, found %d of %d", seed, when, st.Msgs, st.Bytes, msgs, bytes)
		}
	}
	check("opened")
	expire(s)
	check("expired")
	for range 20 {
		if seq, _, err := s.StoreMsg("s.1", nil, nil, 0); err == nil {
			stored[seq], before.LastSeq = "s.1", seq
		}
	}
	check("used")
}
