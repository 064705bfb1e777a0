package msgstore

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seedtest"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

func memSize(subject string, header, data []byte) uint64 {
	return uint64(16 + len(subject) + len(header) + len(data))
}

func fileSize(subject string, header, data []byte) uint64 {
	return uint64(record.Size(len(subject), len(header), len(data)))
}

// randomConfig draws a configuration.
func randomConfig(rng *rand.Rand, storage StorageType) Config {
	cfg := Config{Name: "S", Storage: storage, Subjects: []string{">"}}
	pick := func(n int64) int64 {
		if rng.IntN(3) > 0 {
			return 0
		}
		return rng.Int64N(n) + 1
	}
	cfg.MaxMsgs = pick(60)
	cfg.MaxBytes = pick(6000)
	cfg.MaxMsgsPerSubject = pick(5)
	cfg.Discard = Discard(rng.IntN(2))
	cfg.DiscardNewPer = cfg.Discard == DiscardNew && cfg.MaxMsgsPerSubject > 0 && rng.IntN(2) == 0
	if rng.IntN(5) == 0 {
		cfg.FirstSeq = rng.Uint64N(1000) + 1
	}
	if rng.IntN(10) == 0 {
		cfg.Subjects = nil
		cfg.MaxMsgsPerSubject, cfg.DiscardNewPer = 0, false
	}
	return cfg
}

// randomTimes draws what has to do with time.
func randomTimes(rng *rand.Rand, cfg Config) Config {
	cfg.MaxAge = time.Duration(rng.IntN(2) * rng.IntN(50_000))
	cfg.AllowMsgTTL = rng.IntN(2) == 0
	cfg.SubjectDeleteMarkerTTL = time.Duration(rng.IntN(2)) * time.Second
	return cfg
}

// runner applies random operations to a store and a model.
type runner struct {
	t    testing.TB
	rng  *rand.Rand
	s    Store
	m    *model
	ts   int64
	core *store

	limited bool // there are limits, or were

	msgs, bytes atomic.Int64 // that the update callbacks have told of
}

// listen begins to count what the update callbacks tell.
func (r *runner) listen() {
	r.limited = r.limited || !r.m.cfg.sameLimits(&Config{Discard: r.m.cfg.Discard})
	r.msgs.Store(int64(len(r.m.msgs)))
	r.bytes.Store(0)
	r.s.RegisterStorageUpdates(func(msgs, bytes int64, _ uint64, _ string) {
		r.msgs.Add(msgs)
		r.bytes.Add(bytes)
	})
}

// told checks what the update callbacks have told, those that another goroutine makes
// behind one that it was at included.
func (r *runner) told(msgs int, bytes uint64) {
	r.t.Helper()
	r.s.Notified()
	if r.msgs.Load() != int64(msgs) || r.bytes.Load() != int64(bytes) {
		r.t.Fatalf("callbacks tell of %d messages, %d bytes; there are %d, %d", r.msgs.Load(), r.bytes.Load(), msgs, bytes)
	}
}

func (r *runner) subject() string {
	return fmt.Sprintf("%c.%d", 'a'+r.rng.IntN(3), r.rng.IntN(4))
}

func (r *runner) message() RawMsg {
	m := RawMsg{Subject: r.subject(), Data: make([]byte, r.rng.IntN(60))}
	for i := range m.Data {
		m.Data[i] = byte(r.rng.Uint32())
	}
	if r.rng.IntN(4) == 0 {
		m.Header = []byte("NATS/1.0\r\nA: b\r\n\r\n")
	}
	switch r.rng.IntN(20) {
	case 0, 1, 2:
		m.Header = []byte("NATS/1.0\r\nNats-TTL: " + []string{"1", "2s", "never"}[r.rng.IntN(3)] + "\r\n\r\n")
	case 3:
		m.Header = []byte("NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\n\r\n")
	}
	r.ts += r.rng.Int64N(1000) + 1
	if r.rng.IntN(40) == 0 {
		r.ts -= r.rng.Int64N(min(r.ts, 5000)) // the clock goes back
	}
	m.Time = r.ts
	return m
}

// batched is a message of a batch; of n, one is a gap, one a rollup of its subject and
// one a rollup of all.
func (r *runner) batched(n int) RawMsg {
	m := r.message()
	switch r.rng.IntN(n) {
	case 0:
		return RawMsg{Skip: r.rng.Uint64N(5) + 1, Time: r.ts}
	case 1:
		m.Rollup = RollupSubject
	case 2:
		m.Rollup = RollupAll
	}
	return m
}

func (r *runner) check(what string, err, want error) {
	r.t.Helper()
	if err != want {
		r.t.Fatalf("%s: %v, want %v", what, err, want)
	}
}

func (r *runner) step() string {
	rng, s, m := r.rng, r.s, r.m
	anySeq := func() uint64 { return rng.Uint64N(m.last-min(m.first, m.last)+3) + max(m.first, 1) - 1 }
	switch n := rng.IntN(100); {
	case n < 40:
		x := r.message()
		want := m.room(x.Subject, x.Header, x.Data)
		err := s.StoreRawMsg(x.Subject, x.Header, x.Data, 0, x.Time, 0, true)
		r.check("store", err, want)
		if err == nil {
			m.store(x.Subject, x.Header, x.Data, x.Time, RollupNone)
		}
		return fmt.Sprintf("store %s %v", x.Subject, want)
	case n < 60:
		batch := make([]RawMsg, rng.IntN(20))
		for i := range batch {
			batch[i] = r.batched(30)
		}
		done := make(chan error, 1)
		s.StoreRawMsgs(batch, func(err error) { done <- err })
		r.check("batch", <-done, nil)
		for _, x := range batch {
			if x.Skip > 0 {
				m.skip(x.Skip, x.Time)
			} else {
				m.store(x.Subject, x.Header, x.Data, x.Time, x.Rollup)
			}
		}
		return fmt.Sprintf("batch %d", len(batch))
	case n < 70:
		seq := anySeq()
		var want error
		switch {
		case seq > m.last:
			want = ErrStoreEOF
		case seq == 0 || seq < m.first:
			want = ErrStoreMsgNotFound
		}
		remove := s.RemoveMsg
		if rng.IntN(4) == 0 {
			remove = s.EraseMsg
		}
		ok, err := remove(seq)
		if n := m.remove(seq); err != want || ok != (n > 0) {
			r.t.Fatalf("remove %d: %v %v, want %v %v", seq, ok, err, n > 0, want)
		}
		return fmt.Sprintf("remove %d", seq)
	case n < 78:
		var seqs []uint64
		for range rng.IntN(10) {
			seqs = append(seqs, anySeq())
		}
		done := make(chan uint64, 1)
		s.RemoveMsgs(seqs, false, func(n uint64, err error) {
			r.check("remove", err, nil)
			done <- n
		})
		if got, want := <-done, m.remove(seqs...); got != want {
			r.t.Fatalf("remove %v: %d, want %d", seqs, got, want)
		}
		return fmt.Sprintf("remove %v", seqs)
	case n < 86:
		subject := []string{"", ">", "a.*", "a.1", "*.2", "b.>"}[rng.IntN(6)]
		var seq, keep uint64
		switch rng.IntN(4) {
		case 0:
			seq = anySeq()
		case 1:
			keep = rng.Uint64N(10)
		case 2:
			if rng.IntN(3) > 0 {
				keep = rng.Uint64N(50)
			}
		}
		if m.cfg.Subjects == nil {
			subject = ""
		}
		got, err := s.PurgeEx(subject, seq, keep)
		if want := m.purge(subject, seq, keep); err != nil || got != want {
			r.t.Fatalf("purge %q %d %d: %d, %v, want %d", subject, seq, keep, got, err, want)
		}
		return fmt.Sprintf("purge %q %d %d", subject, seq, keep)
	case n < 90:
		seq := anySeq()
		if rng.IntN(10) == 0 {
			seq += rng.Uint64N(50)
		}
		if seq == 0 {
			seq = 1
		}
		got, err := s.Compact(seq)
		if want := m.compact(seq); err != nil || got != want {
			r.t.Fatalf("compact %d: %d, %v, want %d", seq, got, err, want)
		}
		return fmt.Sprintf("compact %d", seq)
	case n < 94:
		n := rng.Uint64N(20) + 1
		// The time of a skip is the last time, or the clock's if there is none.
		ts := m.lastTime
		if ts == 0 {
			ts = r.core.now().UnixNano()
		}
		r.check("skip", s.SkipMsgs(m.last+1, n), nil)
		m.skip(n, ts)
		return fmt.Sprintf("skip %d", n)
	case n < 96:
		r.check("mismatch", s.StoreRawMsg("a.1", nil, nil, m.last+2, 1, 0, false), ErrSequenceMismatch)
		return "mismatch"
	case n < 98:
		seq := anySeq()
		if seq > m.last {
			r.check("truncate", s.Truncate(seq), ErrStoreEOF)
			return "truncate eof"
		}
		if seq < m.first && seq > 0 {
			seq = m.first - 1
		}
		r.check("truncate", s.Truncate(seq), nil)
		m.truncate(seq, r.core.now().UnixNano())
		return fmt.Sprintf("truncate %d", seq)
	case n < 99:
		cfg := randomTimes(rng, randomConfig(rng, s.Type()))
		cfg.Subjects, cfg.FirstSeq, cfg.Compression = m.cfg.Subjects, m.cfg.FirstSeq, Compression(rng.IntN(2))
		if cfg.Subjects == nil {
			cfg.MaxMsgsPerSubject, cfg.DiscardNewPer = 0, false
		}
		r.check("update", s.UpdateConfig(cfg), nil)
		m.cfg = cfg.normal()
		m.enforce()
		r.limited = r.limited || cfg.MaxMsgs+cfg.MaxBytes+cfg.MaxMsgsPerSubject > 0
		return fmt.Sprintf("update %+v", cfg)
	}
	return "nothing"
}

func TestRandomMem(t *testing.T) {
	for seed := range seedtest.Seeds(t, 200) {
		randomMem(t, seed, 150)
	}
}

func randomMem(t *testing.T, seed uint64, steps int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	cfg := randomTimes(rng, randomConfig(rng, MemoryStorage))
	s, err := NewMemStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return time.Unix(0, 77) }
	s.tail.max = int64(rng.IntN(5000) + 100)
	r := &runner{t: t, rng: rng, s: s, m: newModel(cfg, memSize), core: &s.store}
	r.listen()
	var log []string
	defer func() {
		if t.Failed() {
			t.Logf("seed %d: config %+v, operations %q", seed, cfg, log)
		}
	}()
	for i := range steps {
		log = append(log, r.step())
		r.told(len(r.m.msgs), r.m.bytes())
		if i%7 == 0 {
			r.m.compare(t, rng, s)
		}
	}
	r.m.compare(t, rng, s)
}

// fileRun is a random run over a FileStore that is closed and opened again now
// and then.
func randomFile(t *testing.T, seed uint64, steps int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	cfg := randomTimes(rng, randomConfig(rng, FileStorage))
	cfg.Compression = Compression(rng.IntN(2))
	opts := FileOptions{
		Account:    "$G",
		Durability: Durability(rng.IntN(3)),
		BlockSize:  int64(rng.IntN(5000) + 100),
		Clock:      func() time.Time { return time.Unix(0, 77) },
	}
	switch rng.IntN(3) {
	case 0:
		opts.Keys = KeyRing{Key: []byte("secret"), Cipher: ChaCha}
	case 1:
		opts.Keys = KeyRing{Key: []byte("secret"), Cipher: AES}
	}
	fsys := crashfs.New(seed)
	var mu sync.Mutex // guards events
	var events []string
	var h *Host
	var s *FileStore
	open := func() {
		var err error
		h, err = NewHost("/store", HostOptions{FS: fsys, Manual: true, CacheBytes: int64(rng.IntN(100000) + 1),
			Events: func(e Event) {
				mu.Lock()
				defer mu.Unlock()
				events = append(events, e.String())
			}})
		if err != nil {
			t.Fatal(err)
		}
		h.placeEvery = 64
		if s, err = OpenFileStore(h, cfg, opts); err != nil {
			t.Fatal(err)
		}
	}
	shut := func() {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var log []string
	defer func() {
		if t.Failed() {
			t.Logf("seed %d: config %+v, options %+v, operations %q, events %q", seed, cfg, opts, log, events)
		}
	}()
	open()
	r := &runner{t: t, rng: rng, s: s, m: newModel(cfg, fileSize), core: &s.store}
	r.listen()
	for i := range steps {
		switch n := rng.IntN(100); {
		case n < 5:
			log = append(log, "reopen")
			shut()
			r.told(len(r.m.msgs), 0)
			cfg = r.m.cfg
			if rng.IntN(4) == 0 {
				opts.Keys = rotated(rng, opts.Keys)
				log = append(log, fmt.Sprintf("keys %s, before %s, %v", opts.Keys.Key, opts.Keys.PrevKey, opts.Keys.Cipher))
			}
			if rng.IntN(3) == 0 {
				log = append(log, "without index")
				fsys.Remove("/store/jetstream/$G/streams/S/msgs/index.db")
				// Blocks alone do not tell what limits removed before a compaction.
				if !r.limited && rng.IntN(2) == 0 {
					log = append(log, "nor manifest")
					fsys.Remove("/store/jetstream/$G/streams/S/msgs/manifest.db")
				}
			}
			open()
			r.s, r.core = s, &s.store
			r.listen()
			if r.m.last == 0 { // a purge of a new store, and the time of a reset, leave no record
				st := s.State()
				r.m.first, r.m.lastTime = st.FirstSeq, st.LastTime
			}
			r.m.compare(t, rng, s)
		case n < 15:
			log = append(log, "maintain")
			h.Maintain(int64(rng.IntN(150)))
		default:
			log = append(log, "?")
			log[len(log)-1] = r.step()
		}
		r.told(len(r.m.msgs), r.m.bytes())
		checkFiles(t, fsys, &s.store)
		if i%7 == 0 {
			r.m.compare(t, rng, s)
		}
	}
	r.m.compare(t, rng, s)
	shut()
}

// rotated is how a store may be opened that was open with these keys.
func rotated(rng *rand.Rand, k KeyRing) KeyRing {
	cipher := []Cipher{ChaCha, AES}[rng.IntN(2)]
	switch {
	case !k.Enabled():
		return KeyRing{Key: []byte("secret"), Cipher: cipher}
	case rng.IntN(3) == 0:
		return KeyRing{Key: k.Key, PrevKey: k.PrevKey, Cipher: cipher}
	}
	return KeyRing{Key: []byte(fmt.Sprint("secret", rng.IntN(1000))), PrevKey: k.Key, Cipher: cipher}
}

func TestRandomFile(t *testing.T) {
	for seed := range seedtest.Seeds(t, 100) {
		randomFile(t, seed, 150)
	}
}

// checkFiles compares the block files with the blocks of a store at rest. Those of
// blocks that have left it may go a moment after the callbacks.
func checkFiles(t *testing.T, fsys *crashfs.FS, s *store) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		files := map[string]bool{}
		entries, err := fsys.ReadDir(s.disk.msgs)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".blk") {
				files[e.Name()] = true
			}
		}
		s.mu.RLock()
		for _, b := range s.blocks {
			if !files[blockName(b.num)] {
				t.Errorf("no file of block %d", b.num)
			}
			delete(files, blockName(b.num))
		}
		later := len(s.disk.later) + len(s.disk.garbage) // what an update removed goes with the next operation
		s.mu.RUnlock()
		delete(files, blockName(s.tail.b.num))
		if len(files) == 0 || s.disk.mode != Always || later > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("files %v of no block", files)
		}
	}
}
