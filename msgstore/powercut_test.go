package msgstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// cutRun is a run of random operations on a simulated disk whose power is cut at
// a random call. What was reported done must be there afterwards, and nothing
// that was never asked for.
type cutRun struct {
	eventsMu sync.Mutex // events come from several goroutines
	t        *testing.T
	rng      *rand.Rand
	cfg      Config
	opts     FileOptions
	log      []string
}

// cutModel is what may be found: the state after every operation that was
// begun, from the last one that was reported done on.
type cutModel struct {
	mu     sync.Mutex
	states []*model // states[i] is the state after i operations
	done   int      // operations reported done
	failed bool     // one was not: nothing is expected of what follows

	stored map[uint64]StoredMsg // every message that was handed over since the start
}

func (m *model) clone() *model {
	c := *m
	c.msgs = make(map[uint64]StoredMsg, len(m.msgs))
	for k, v := range m.msgs {
		c.msgs[k] = v
	}
	return &c
}

func powerCut(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	r := &cutRun{t: t, rng: rng, cfg: randomConfig(rng, FileStorage)}
	r.cfg.Discard, r.cfg.DiscardNewPer = DiscardOld, false
	r.cfg.FirstSeq = 0
	r.cfg.Compression = Compression(rng.IntN(2))
	r.opts = FileOptions{
		Account:    "$G",
		Durability: Durability(rng.IntN(3)),
		BlockSize:  int64(rng.IntN(3000) + 100),
		Clock:      func() time.Time { return time.Unix(0, 77) },
	}
	if rng.IntN(3) == 0 {
		r.opts.Keys = KeyRing{Key: []byte("secret"), Cipher: Cipher(rng.IntN(2) + 1)}
	}
	fsys := crashfs.New(seed)
	m := newModel(r.cfg, fileSize)
	var events []string
	defer func() {
		if t.Failed() {
			t.Logf("seed %d, config %+v, options %+v, log %q, events %q", seed, r.cfg, r.opts, r.log, events)
		}
	}()
	for round := range 3 {
		h, s, err := r.open(fsys, &events)
		if err != nil {
			t.Fatalf("round %d: open: %v", round, err)
		}
		if round > 0 {
			m = r.judge(m, s)
		}
		cm := &cutModel{states: []*model{m.clone()}, stored: m.clone().msgs}
		fsys.CutAt(rng.Int64N(60) + 1)
		r.work(h, s, cm)
		fsys.Cut()
		s.Stop()
		h.Close()
		fsys = fsys.Crash()
		m = r.survivors(fsys, cm, &events)
	}
}

func (r *cutRun) open(fsys *crashfs.FS, events *[]string) (*Host, *FileStore, error) {
	h, err := NewHost("/store", HostOptions{FS: fsys, Manual: true, Events: func(e Event) {
		r.eventsMu.Lock()
		defer r.eventsMu.Unlock()
		*events = append(*events, e.String())
	}})
	if err != nil {
		return nil, nil, err
	}
	s, err := OpenFileStore(h, r.cfg, r.opts)
	if err != nil {
		h.Close()
	}
	return h, s, err
}

// work does operations until the power is gone.
func (r *cutRun) work(h *Host, s *FileStore, cm *cutModel) {
	rng := r.rng
	for range 40 {
		next := cm.states[len(cm.states)-1].clone()
		var op func(done func(error))
		var what string
		x := &runner{rng: rng, m: next, ts: int64(len(cm.states)) * 1000000}
		switch n := rng.IntN(100); {
		case n < 60:
			batch := make([]RawMsg, rng.IntN(6)+1)
			for i := range batch {
				batch[i] = x.message()
				switch rng.IntN(40) {
				case 0:
					batch[i].Rollup = RollupSubject
				case 1:
					batch[i].Rollup = RollupAll
				}
				cm.stored[next.last+1] = StoredMsg{Subject: batch[i].Subject, Header: batch[i].Header, Data: batch[i].Data, Seq: next.last + 1, Time: batch[i].Time}
				next.store(batch[i].Subject, batch[i].Header, batch[i].Data, batch[i].Time, batch[i].Rollup)
			}
			what = fmt.Sprintf("store %d", len(batch))
			op = func(done func(error)) { s.StoreRawMsgs(batch, done) }
		case n < 80:
			var seqs []uint64
			for range rng.IntN(4) + 1 {
				seqs = append(seqs, rng.Uint64N(next.last+2))
			}
			next.remove(seqs...)
			what = fmt.Sprintf("remove %v", seqs)
			op = func(done func(error)) { s.RemoveMsgs(seqs, false, func(_ uint64, err error) { done(err) }) }
		case n < 88:
			subject := []string{"", "a.*", "b.1"}[rng.IntN(3)]
			keep := rng.Uint64N(4)
			if r.cfg.Subjects == nil {
				subject = ""
			}
			next.purge(subject, 0, keep)
			what = fmt.Sprintf("purge %q keep %d", subject, keep)
			op = func(done func(error)) { s.PurgeMsgs(subject, 0, keep, func(_ uint64, err error) { done(err) }) }
		case n < 92:
			seq := rng.Uint64N(next.last+1) + 1
			next.compact(seq)
			what = fmt.Sprintf("compact %d", seq)
			op = func(done func(error)) { s.PurgeMsgs("", max(seq, 2), 0, func(_ uint64, err error) { done(err) }) }
			if seq < 2 {
				continue
			}
		case n < 96:
			r.log = append(r.log, "maintain")
			h.Maintain(rng.Int64N(140))
			continue
		default:
			r.log = append(r.log, "flush")
			_, err := s.FlushAllPending()
			cm.mu.Lock()
			if err == nil && !cm.failed {
				cm.done = len(cm.states) - 1
			}
			cm.mu.Unlock()
			continue
		}
		cm.mu.Lock()
		failed := cm.failed
		cm.mu.Unlock()
		if failed {
			return
		}
		r.log = append(r.log, what)
		cm.states = append(cm.states, next)
		n := len(cm.states) - 1
		wait := make(chan struct{})
		op(func(err error) {
			cm.mu.Lock()
			if err != nil {
				cm.failed = true
			} else if r.opts.Durability == Always {
				cm.done = max(cm.done, n)
			}
			cm.mu.Unlock()
			close(wait)
		})
		if rng.IntN(3) > 0 {
			<-wait
		}
	}
}

// survivors opens the disk after a cut and finds the state that it is in.
func (r *cutRun) survivors(fsys *crashfs.FS, cm *cutModel, events *[]string) *model {
	h, s, err := r.open(fsys, events)
	if err != nil {
		r.t.Fatalf("open after the cut: %v", err)
	}
	defer h.Close()
	defer s.Stop()
	got := content(r.t, s)
	var tried []string
	for i := len(cm.states) - 1; i >= cm.done; i-- {
		if why := cm.states[i].differs(got, s); why != "" {
			tried = append(tried, fmt.Sprintf("%d: %s", i, why))
			continue
		}
		r.log = append(r.log, fmt.Sprintf("cut, %d of %d, done %d", i, len(cm.states)-1, cm.done))
		return cm.states[i]
	}
	// An operation of several records may be there in part, if it was not done.
	for i := cm.done; i < len(cm.states); i++ {
		if part := cm.states[i].partOf(got, s, cm, i); part != nil {
			r.log = append(r.log, fmt.Sprintf("cut, part of %d of %d, done %d", i, len(cm.states)-1, cm.done))
			return part
		}
	}
	st := s.State()
	if st.Lost != nil {
		if part := cm.withHoles(got, s); part != nil {
			r.log = append(r.log, "cut, with holes")
			return part
		}
	}
	r.t.Fatalf("after the cut, %d of %d operations done: found %v, state %+v\n tried %q", cm.done, len(cm.states)-1, got, st, tried)
	return nil
}

// content returns the sequences of all messages.
func content(t *testing.T, s *FileStore) []uint64 {
	var b Batch
	var seqs []uint64
	st := s.State()
	for next := uint64(1); next <= st.LastSeq; {
		b.Reset()
		var err error
		if next, err = s.LoadBatch(nil, next, BatchLimit{}, &b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Msgs {
			seqs = append(seqs, b.Msgs[i].Seq)
		}
	}
	return seqs
}

func (m *model) differs(got []uint64, s *FileStore) string {
	if !slices.Equal(got, m.seqs()) {
		return fmt.Sprintf("want %v", m.seqs())
	}
	for _, seq := range got {
		x, err := s.LoadMsg(seq, nil)
		if err != nil || !sameMsg(x, m.msgs[seq]) {
			return fmt.Sprintf("message %d: %v", seq, err)
		}
	}
	if st := s.State(); st.LastSeq != m.last {
		return fmt.Sprintf("last %d, want %d", st.LastSeq, m.last)
	}
	return ""
}

// partOf accepts the state between states i and i+1: the messages of i, without
// some of what i+1 removed, and with a prefix of what it added.
func (m *model) partOf(got []uint64, s *FileStore, cm *cutModel, i int) *model {
	if i+1 >= len(cm.states) {
		return nil
	}
	next := cm.states[i+1]
	st := s.State()
	if st.LastSeq < m.last || st.LastSeq > next.last {
		return nil
	}
	part := m.clone()
	clear(part.msgs)
	have := map[uint64]bool{}
	for _, seq := range got {
		have[seq] = true
		x, err := s.LoadMsg(seq, nil)
		if err != nil {
			return nil
		}
		if seq <= m.last {
			if y, ok := m.msgs[seq]; !ok || !sameMsg(x, y) {
				return nil
			}
		}
		part.msgs[seq] = *x
	}
	for seq := range m.msgs {
		if _, kept := next.msgs[seq]; kept && !have[seq] {
			return nil
		}
	}
	part.last = st.LastSeq
	part.lastTime = st.LastTime
	part.fix()
	return part
}

// withHoles accepts what unsynced writes may leave: their pages survive in any
// combination, so that messages behind a hole may be there. What was done before
// must be there, and the holes must be reported.
func (cm *cutModel) withHoles(got []uint64, s *FileStore) *model {
	st := s.State()
	have := map[uint64]bool{}
	part := cm.states[0].clone()
	clear(part.msgs)
	for _, seq := range got {
		have[seq] = true
		x, err := s.LoadMsg(seq, nil)
		if err != nil {
			return nil
		}
		if y, ok := cm.stored[seq]; !ok || !sameMsg(x, y) {
			return nil
		}
		part.msgs[seq] = *x
	}
	end := cm.states[len(cm.states)-1]
	for seq := range cm.states[cm.done].msgs {
		if _, kept := end.msgs[seq]; kept && !have[seq] {
			return nil
		}
	}
	part.last, part.lastTime = st.LastSeq, st.LastTime
	part.fix()
	return part
}

// judge checks the whole store against the state that was found.
func (r *cutRun) judge(m *model, s *FileStore) *model {
	m = m.clone()
	st := s.State()
	if m.last == 0 {
		m.first = st.FirstSeq
	}
	m.lastTime = st.LastTime
	// A torn write that is not zeros counts as damage: it cannot be told from a
	// bit error in the last record that was acknowledged.
	s.mu.Lock()
	s.lost = LostData{}
	s.mu.Unlock()
	m.compare(r.t, r.rng, s)
	return m
}

func TestPowerCut(t *testing.T) {
	seed := firstSeed(t)
	for i := range uint64(300) {
		powerCut(t, seed+i)
		if t.Failed() {
			return
		}
	}
}
