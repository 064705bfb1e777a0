package msgstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A ledger is what a stream went through, in steps that nothing can divide: one
// message stored, one removed, everything below a sequence removed. After a power
// cut the stream must be exactly as after some number of steps, no fewer than
// those that were reported durable.
type ledger struct {
	name  string
	began book // before the steps
	steps []step
	now   book // after them

	mu   sync.Mutex
	safe int // steps reported durable

	visitor step // what another server stored meanwhile, and as which sequence
	// What floor.db says is gone is void for who finds that another server has
	// written since. Until our next index.db the blocks of it are there again after
	// a power cut, any of them, without those that had the tombstones. So of what was
	// ever stored nothing below the highest floor is sure to be gone.
	ever  map[stored]bool
	floor uint64
}

// stored is a message and the sequence that it got.
type stored struct{ seq, id uint64 }

type step struct {
	kind stepKind
	seq  uint64
	id   uint64  // of the message stored
	cfg  *Config // with the new limits
}

type stepKind uint8

const (
	stepStore    stepKind = iota // the next sequence gets the message id
	stepSkip                     // seq sequences are used up
	stepRemove                   // the message seq
	stepFloor                    // everything below seq; the next message gets at least seq
	stepTruncate                 // everything above seq; the next message gets seq + 1
	stepLimits                   // the limits become those of cfg
)

func (s step) String() string {
	return fmt.Sprintf("%s %d", [...]string{"store", "skip", "remove", "floor", "truncate", "limits"}[s.kind], s.seq+s.id)
}

// book is the state of a stream: the message that each sequence has.
type book struct {
	live  map[uint64]uint64
	last  uint64
	bytes uint64
	cfg   *Config // its limits are in force; nil: none
}

func (b *book) clone() book { return book{maps.Clone(b.live), b.last, b.bytes, b.cfg} }

// unlimited is a clone that keeps everything.
func (b *book) unlimited() book { return book{maps.Clone(b.live), b.last, b.bytes, nil} }

func (b *book) seqs() []uint64 { return slices.Sorted(maps.Keys(b.live)) }

func (b *book) first() uint64 {
	if len(b.live) == 0 {
		return b.last + 1
	}
	first := ^uint64(0)
	for seq := range b.live {
		first = min(first, seq)
	}
	return first
}

func (b *book) drop(seq uint64) {
	if id, ok := b.live[seq]; ok {
		b.bytes -= messageSize(id)
		delete(b.live, seq)
	}
}

func (b *book) dropIf(gone func(seq uint64) bool) {
	for seq := range b.live {
		if gone(seq) {
			b.drop(seq)
		}
	}
}

func (b *book) matching(subject string) (seqs []uint64) {
	for seq, id := range b.live {
		if subject == ">" || messageSubject(id) == subject {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	return seqs
}

func (b *book) apply(s step) {
	switch s.kind {
	case stepStore:
		b.last++
		b.live[b.last] = s.id
		b.bytes += messageSize(s.id)
		b.limitSubject(messageSubject(s.id))
		b.limitAll()
	case stepSkip:
		b.last += s.seq
	case stepRemove:
		b.drop(s.seq)
	case stepFloor:
		b.dropIf(func(seq uint64) bool { return seq < s.seq })
		b.last = max(b.last, s.seq-1)
	case stepTruncate:
		b.dropIf(func(seq uint64) bool { return seq > s.seq })
		b.last = s.seq
	case stepLimits:
		if b.cfg == nil {
			return
		}
		b.cfg = s.cfg
		b.limitAll()
		for id := range uint64(3) {
			b.limitSubject(messageSubject(id))
		}
	}
}

func (b *book) limitSubject(subject string) {
	if b.cfg == nil || b.cfg.MaxMsgsPerSubject == 0 {
		return
	}
	for same := b.matching(subject); len(same) > int(b.cfg.MaxMsgsPerSubject); same = same[1:] {
		b.drop(same[0])
	}
}

func (b *book) limitAll() {
	for c := b.cfg; c != nil && len(b.live) > 0 && (c.MaxMsgs > 0 && len(b.live) > int(c.MaxMsgs) || c.MaxBytes > 0 && b.bytes > uint64(c.MaxBytes)); {
		b.drop(b.first())
	}
}

func (b *book) same(o *book) bool {
	return b.last == o.last && maps.Equal(b.live, o.live) && (b.cfg == nil || b.cfg.sameLimits(o.cfg))
}

func (b *book) String() string {
	var w strings.Builder
	fmt.Fprintf(&w, "last %d,", b.last)
	if c := b.cfg; c != nil {
		fmt.Fprintf(&w, " limits %d %d %d,", c.MaxMsgs, c.MaxBytes, c.MaxMsgsPerSubject)
	}
	for _, seq := range b.seqs() {
		fmt.Fprintf(&w, " %d:%d", seq, b.live[seq])
	}
	return w.String()
}

func newLedger(cfg Config) *ledger {
	b := book{live: map[uint64]uint64{}, cfg: &cfg}
	return &ledger{name: cfg.Name, began: b, now: b.clone(), ever: map[stored]bool{}}
}

func messageSubject(id uint64) string { return string(rune('a'+id%3)) + ".x" }

// message is what an id stands for.
func message(id uint64) RawMsg {
	rng := rand.New(rand.NewPCG(id, 7))
	n := rng.IntN(100)
	if rng.IntN(20) == 0 {
		n = rng.IntN(3000)
	}
	data := binary.LittleEndian.AppendUint64(nil, id)
	for range n {
		data = append(data, byte(rng.Uint32()))
	}
	m := RawMsg{Subject: messageSubject(id), Data: data, Time: int64(id) * 1000}
	if rng.IntN(4) == 0 {
		m.Header = []byte("NATS/1.0\r\nA: b\r\n\r\n")
	}
	return m
}

func messageSize(id uint64) uint64 {
	m := message(id)
	return fileSize(m.Subject, m.Header, m.Data)
}

// messageID checks a message and returns the id that it stands for.
func messageID(sm *StoredMsg) (uint64, error) {
	if len(sm.Data) < 8 {
		return 0, fmt.Errorf("message %d has %d bytes", sm.Seq, len(sm.Data))
	}
	id := binary.LittleEndian.Uint64(sm.Data)
	want := message(id)
	if sm.Subject != want.Subject || !bytes.Equal(sm.Data, want.Data) || !bytes.Equal(sm.Header, want.Header) || sm.Time != want.Time {
		return 0, fmt.Errorf("message %d is not what was stored as %d", sm.Seq, id)
	}
	return id, nil
}

// add notes a step and applies it.
func (l *ledger) add(s step) {
	l.steps = append(l.steps, s)
	l.now.apply(s)
}

// durable notes that the first n steps were reported durable.
func (l *ledger) durable(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.safe = max(l.safe, n)
}

// settle finds the number of steps after which the stream was as it was found, and
// begins anew from there.
func (l *ledger) settle(found book) error {
	b := l.began.clone()
	if l.visitor.id != 0 {
		return l.settleVisit(found)
	}
	for n := 0; ; n++ {
		if n >= l.safe && b.same(&found) {
			found.bytes = b.bytes
			l.noteEver()
			l.began, l.now, l.steps, l.safe = found, found.clone(), nil, 0
			return nil
		}
		if n == len(l.steps) {
			break
		}
		b.apply(l.steps[n])
	}
	sure := l.began.clone()
	for _, s := range l.steps[:l.safe] {
		sure.apply(s)
	}
	return fmt.Errorf("found %v;\ndurable were at least %d steps: %v;\nthen %v;\nat the end: %v", &found, l.safe, &sure, l.steps[l.safe:], &l.now)
}

// noteEver notes what was stored and purged in this life.
func (l *ledger) noteEver() {
	b := l.began.unlimited()
	for _, s := range l.steps {
		b.apply(s)
		switch s.kind {
		case stepStore:
			l.ever[stored{b.last, s.id}] = true
		case stepFloor:
			l.floor = max(l.floor, s.seq)
		}
	}
}

// settleVisit is settle after another server was there: what it stored must be
// there, and nothing that ours had never stored in its place. A sequence that was
// truncated away has stood for several messages.
func (l *ledger) settleVisit(found book) error {
	v := l.visitor
	if found.live[v.seq] != v.id || found.last < v.seq {
		return fmt.Errorf("found %v, but another server had stored %d as %d", &found, v.id, v.seq)
	}
	recent := map[stored]bool{}
	was := l.began.unlimited()
	for seq, id := range was.live {
		recent[stored{seq, id}] = true
	}
	for _, s := range l.steps {
		was.apply(s)
		if s.kind == stepStore {
			recent[stored{was.last, s.id}] = true
		}
	}
	l.noteEver()
	for seq, id := range found.live {
		x := stored{seq, id}
		if seq != v.seq && !recent[x] && !(l.ever[x] && seq < l.floor) {
			return fmt.Errorf("found %v, but %d was never stored as %d", &found, id, seq)
		}
	}
	l.ever[stored{v.seq, v.id}] = true
	l.began, l.now, l.steps, l.safe, l.visitor = found, found.clone(), nil, 0, step{}
	return nil
}

// inspect reads everything that a store has and checks that its numbers agree.
func inspect(s *FileStore) (book, error) {
	found := book{live: map[uint64]uint64{}}
	subjects := map[string]uint64{}
	var sm StoredMsg
	for seq := uint64(0); ; {
		_, at, err := s.LoadNextMsg(">", seq, &sm)
		if err == ErrStoreEOF {
			break
		}
		if err != nil {
			return found, fmt.Errorf("load from %d: %w", seq, err)
		}
		id, err := messageID(&sm)
		if err != nil {
			return found, err
		}
		if at != sm.Seq {
			return found, fmt.Errorf("message %d was returned as %d", sm.Seq, at)
		}
		found.live[at] = id
		found.bytes += messageSize(id)
		subjects[sm.Subject]++
		seq = at + 1
	}
	st := s.State()
	found.last = st.LastSeq
	if st.Lost != nil {
		return found, fmt.Errorf("%d bytes and the messages %v are reported lost", st.Lost.Bytes, st.Lost.Msgs)
	}
	if st.Msgs != uint64(len(found.live)) || st.Bytes != found.bytes || st.NumSubjects != len(subjects) || st.LastSeq > 0 && st.FirstSeq != found.first() {
		return found, fmt.Errorf("state says %d messages, %d bytes, %d subjects, first %d; read were %d, %d, %d, %d",
			st.Msgs, st.Bytes, st.NumSubjects, st.FirstSeq, len(found.live), found.bytes, len(subjects), found.first())
	}
	if totals := s.SubjectsTotals(">"); !maps.Equal(totals, subjects) {
		return found, fmt.Errorf("subjects %v, read were %v", totals, subjects)
	}
	return found, nil
}

// content returns the sequences of all messages.
func content(t *testing.T, s *FileStore) []uint64 {
	t.Helper()
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
