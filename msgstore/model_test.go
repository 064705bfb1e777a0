package msgstore

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// model is a store as simple as it can be: what the others are compared with.
type model struct {
	cfg      Config
	size     func(subject string, header, data []byte) uint64
	msgs     map[uint64]StoredMsg
	first    uint64
	last     uint64
	lastTime int64
}

func newModel(cfg Config, size func(string, []byte, []byte) uint64) *model {
	m := &model{cfg: cfg.normal(), size: size, msgs: map[uint64]StoredMsg{}}
	if f := cfg.FirstSeq; f > 0 {
		m.first, m.last = f, f-1
	}
	return m
}

func (m *model) seqs() []uint64 { return slices.Sorted(maps.Keys(m.msgs)) }

func (m *model) bytes() (n uint64) {
	for _, x := range m.msgs {
		n += m.size(x.Subject, x.Header, x.Data)
	}
	return n
}

func (m *model) fix() {
	s := m.seqs()
	if len(s) > 0 {
		m.first = s[0]
	} else {
		m.first = m.last + 1
	}
}

func (m *model) matching(f *Filter) (seqs []uint64) {
	for _, seq := range m.seqs() {
		if f.Match(m.msgs[seq].Subject) {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

func (m *model) store(subject string, header, data []byte, ts int64, rollup Rollup) {
	m.last++
	m.lastTime = ts
	var same []uint64
	switch rollup {
	case RollupAll:
		same = m.seqs()
	case RollupSubject:
		same = m.matching(NewFilter(subject))
	}
	m.msgs[m.last] = StoredMsg{Subject: subject, Header: header, Data: data, Seq: m.last, Time: ts}
	m.limits(subject)
	for _, seq := range same {
		delete(m.msgs, seq)
	}
	m.fix()
}

func (m *model) limits(subject string) {
	m.limitSubject(subject)
	m.limitAll()
}

// enforce makes new limits hold.
func (m *model) enforce() {
	m.limitAll()
	subjects := map[string]bool{}
	for _, x := range m.msgs {
		subjects[x.Subject] = true
	}
	for s := range subjects {
		m.limitSubject(s)
	}
	if m.last > 0 {
		m.fix()
	}
}

func (m *model) limitSubject(subject string) {
	if p := m.cfg.MaxMsgsPerSubject; p > 0 {
		for s := m.matching(NewFilter(subject)); len(s) > int(p); s = s[1:] {
			delete(m.msgs, s[0])
		}
	}
}

func (m *model) limitAll() {
	if m.cfg.Discard == DiscardOld {
		s := m.seqs()
		bytes := m.bytes()
		for len(s) > 0 && (m.cfg.MaxMsgs > 0 && len(s) > int(m.cfg.MaxMsgs) || m.cfg.MaxBytes > 0 && bytes > uint64(m.cfg.MaxBytes)) {
			x := m.msgs[s[0]]
			bytes -= m.size(x.Subject, x.Header, x.Data)
			delete(m.msgs, s[0])
			s = s[1:]
		}
	}
}

func (m *model) room(subject string, header, data []byte) error {
	if m.cfg.Discard != DiscardNew {
		return nil
	}
	same := m.matching(NewFilter(subject))
	replaces := false
	size := m.size(subject, header, data)
	if p := m.cfg.MaxMsgsPerSubject; p > 0 && len(same) >= int(p) {
		if m.cfg.DiscardNewPer {
			if !strings.Contains(string(header), "Nats-Rollup:") {
				return ErrMaxMsgsPerSubject
			}
		} else {
			replaces = true
		}
	}
	if m.cfg.MaxMsgs > 0 && len(m.msgs) >= int(m.cfg.MaxMsgs) && !replaces {
		return ErrMaxMsgs
	}
	if m.cfg.MaxBytes > 0 && m.bytes()+size > uint64(m.cfg.MaxBytes) {
		if !replaces {
			return ErrMaxBytes
		}
		x := m.msgs[same[0]]
		if m.size(x.Subject, x.Header, x.Data) < size {
			return ErrMaxBytes
		}
	}
	return nil
}

func (m *model) skip(n uint64, ts int64) {
	empty := len(m.msgs) == 0
	m.last += n
	m.lastTime = ts
	if empty {
		m.first = m.last + 1
	}
}

func (m *model) remove(seqs ...uint64) (n uint64) {
	for _, seq := range seqs {
		if _, ok := m.msgs[seq]; ok {
			delete(m.msgs, seq)
			n++
		}
	}
	if n > 0 {
		m.fix()
	}
	return n
}

func (m *model) compact(seq uint64) (n uint64) {
	if seq < m.first {
		return 0
	}
	for _, s := range m.seqs() {
		if s < seq {
			delete(m.msgs, s)
			n++
		}
	}
	m.last = max(m.last, seq-1)
	m.fix()
	return n
}

func (m *model) purge(subject string, seq, keep uint64) (n uint64) {
	all := subject == "" || subject == ">"
	switch {
	case seq == 1:
		return 0
	case all && seq > 1:
		return m.compact(seq)
	case all && keep == 0:
		n = uint64(len(m.msgs))
		clear(m.msgs)
		m.fix()
		return n
	}
	match := m.matching(NewFilter(subject))
	if uint64(len(match)) <= keep {
		return 0
	}
	for _, s := range match[:uint64(len(match))-keep] {
		if seq <= 1 || s < seq {
			delete(m.msgs, s)
			n++
		}
	}
	m.fix()
	return n
}

func (m *model) truncate(seq uint64, now int64) {
	for s := range m.msgs {
		if s > seq {
			delete(m.msgs, s)
		}
	}
	if seq == 0 {
		m.lastTime = now
	} else if x, ok := m.msgs[seq]; ok {
		m.lastTime = x.Time
	}
	m.last = seq
	m.fix()
}

func (m *model) state() State {
	st := State{Msgs: uint64(len(m.msgs)), Bytes: m.bytes(), FirstSeq: m.first, LastSeq: m.last, LastTime: m.lastTime}
	if x, ok := m.msgs[m.first]; ok {
		st.FirstTime = x.Time
	}
	subjects := map[string]bool{}
	for _, x := range m.msgs {
		subjects[x.Subject] = true
	}
	if m.cfg.tracksSubjects() {
		st.NumSubjects = len(subjects)
	}
	if m.last > m.first {
		for s := m.first; s <= m.last; s++ {
			if _, ok := m.msgs[s]; !ok {
				st.Deleted = append(st.Deleted, s)
			}
		}
	}
	st.NumDeleted = uint64(len(st.Deleted))
	return st
}

func sameState(a, b State) bool {
	d1, d2 := a.Deleted, b.Deleted
	a.Deleted, b.Deleted = nil, nil
	return fmt.Sprint(a) == fmt.Sprint(b) && slices.Equal(d1, d2)
}

func sameMsg(a *StoredMsg, b StoredMsg) bool {
	return a.Subject == b.Subject && bytes.Equal(a.Header, b.Header) && bytes.Equal(a.Data, b.Data) && a.Seq == b.Seq && a.Time == b.Time
}

// compare checks every answer of s against the model.
func (m *model) compare(t testing.TB, rng *rand.Rand, s Store) {
	t.Helper()
	if got, want := s.State(), m.state(); !sameState(got, want) {
		t.Fatalf("state\n got %+v\nwant %+v", got, want)
	}
	var fast State
	s.FastState(&fast)
	want := m.state()
	want.Deleted = nil
	if !sameState(fast, want) {
		t.Fatalf("fast state\n got %+v\nwant %+v", fast, want)
	}
	var sm StoredMsg
	for seq := uint64(0); seq <= m.last+2; seq++ {
		if m.last > 300 && rng.IntN(10) > 0 {
			continue
		}
		got, err := s.LoadMsg(seq, &sm)
		x, ok := m.msgs[seq]
		switch {
		case ok && (err != nil || !sameMsg(got, x)):
			t.Fatalf("load %d: got %+v, %v, want %+v", seq, got, err, x)
		case !ok && seq > m.last && err != ErrStoreEOF, !ok && seq <= m.last && err != ErrStoreMsgNotFound && err != ErrDeletedMsg:
			t.Fatalf("load %d: %v", seq, err)
		}
	}
	m.compareTimes(t, rng, s)
	m.compareDue(t, rng, s)
	m.compareEncoded(t, s)
	if !m.cfg.tracksSubjects() {
		return
	}
	filters := []string{"", ">", "a.>", "*.1", "a.*", "a.1", "b.2", "*.*", "nothing"}
	for _, filter := range filters {
		f := NewFilter(filter)
		match := m.matching(f)
		for _, start := range []uint64{0, 1, m.first, m.first + 1, (m.first + m.last) / 2, m.last, m.last + 1, rng.Uint64N(m.last + 3)} {
			m.compareFilter(t, s, filter, f, match, start)
		}
		m.compareSubjects(t, rng, s, filter, f, match)
	}
	multi := []string{"a.1", "b.*"}
	f := NewFilter(multi...)
	for _, start := range []uint64{0, m.first, rng.Uint64N(m.last + 3)} {
		m.compareFilterSet(t, s, f, m.matching(f), start)
	}
	m.compareBatch(t, rng, s, f)
	m.compareBatch(t, rng, s, nil)
}

func (m *model) compareTimes(t testing.TB, rng *rand.Rand, s Store) {
	t.Helper()
	seqs := m.seqs()
	for range 5 {
		at := int64(rng.IntN(1000))
		if len(seqs) > 0 {
			at = m.msgs[seqs[rng.IntN(len(seqs))]].Time + rng.Int64N(3) - 1
		}
		want := m.last + 1
		for _, seq := range seqs {
			if m.msgs[seq].Time >= at {
				want = seq
				break
			}
		}
		if got := s.GetSeqFromTime(at); got != want {
			t.Fatalf("sequence from %d: %d, want %d", at, got, want)
		}
	}
}

// ttl is the TTL of a message in seconds.
func (m *model) ttl(x StoredMsg) int64 {
	v, _ := headerValue(x.Header, hdrTTL)
	n, _ := ParseTTL(v)
	return n
}

// due is what Due and NextDue have to answer.
func (m *model) due(now int64) (due []string, next int64) {
	c := &m.cfg
	sooner := func(at int64) {
		if next == 0 || at < next {
			next = at
		}
	}
	kind := map[uint64]DueKind{}
	for seq, x := range m.msgs {
		if ttl := m.ttl(x); c.AllowMsgTTL && ttl > 0 {
			at := x.Time + ttl*1e9
			sooner(at)
			if at <= now {
				kind[seq] = DueTTL
			}
		}
	}
	oldest := true
	for _, seq := range m.seqs() {
		x := m.msgs[seq]
		if c.MaxAge == 0 || c.AllowMsgTTL && m.ttl(x) < 0 {
			continue
		}
		at := x.Time + int64(c.MaxAge)
		if oldest {
			sooner(at)
		}
		oldest = false
		if at > now {
			break
		}
		if _, ok := kind[seq]; !ok {
			kind[seq] = DueAge
		}
	}
	left := map[string]int{}
	for _, x := range m.msgs {
		left[x.Subject]++
	}
	for _, seq := range slices.Sorted(maps.Keys(kind)) {
		x := m.msgs[seq]
		left[x.Subject]--
		marker := c.SubjectDeleteMarkerTTL > 0 && c.tracksSubjects() && left[x.Subject] == 0 && !isMarker(x.Header)
		due = append(due, fmt.Sprint(kind[seq], seq, x.Subject, marker))
	}
	return due, next
}

func (m *model) compareDue(t testing.TB, rng *rand.Rand, s Store) {
	t.Helper()
	for range 3 {
		now := []int64{0, m.lastTime, m.lastTime + int64(m.cfg.MaxAge), m.lastTime + 1e9, 3e9}[rng.IntN(5)] - rng.Int64N(10_000)
		want, next := m.due(now)
		if got := s.NextDue(); got != next && (got > next || m.cfg.MaxAge == 0 || !m.cfg.AllowMsgTTL) {
			t.Fatalf("next due %d, want %d", got, next)
		}
		if m.cfg.MaxAge > 0 && len(want) == 0 {
			s.Due(now, 1, nil)
			if got := s.NextDue(); got != next {
				t.Fatalf("next due %d, want %d", got, next)
			}
		}
		s.ResetState()
		var got []string
		for _, d := range s.Due(now, len(want)+1, nil) {
			got = append(got, fmt.Sprint(d.Kind, d.Seq, d.Subject, d.Marker))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("due at %d: %q, want %q", now, got, want)
		}
	}
	s.ResetState()
}

func (m *model) compareEncoded(t testing.TB, s Store) {
	t.Helper()
	b, err := s.EncodedStreamState(0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeStreamState(b)
	if err != nil {
		t.Fatal(err)
	}
	var deleted []uint64
	for _, r := range got.Deleted {
		for i := range r.Num {
			deleted = append(deleted, r.First+i)
		}
	}
	want := m.state()
	if got.Msgs != want.Msgs || got.Bytes != want.Bytes || got.FirstSeq != want.FirstSeq || got.LastSeq != want.LastSeq || !slices.Equal(deleted, want.Deleted) {
		t.Fatalf("encoded %+v, want %+v", got, want)
	}
	if _, n, err := s.Utilization(); n != want.Bytes || err != nil {
		t.Fatalf("utilization %d, %v, want %d", n, err, want.Bytes)
	}
}

func (m *model) lastOf(match []uint64, upTo uint64) []uint64 {
	last := map[string]uint64{}
	for _, seq := range match {
		if seq <= upTo {
			last[m.msgs[seq].Subject] = seq
		}
	}
	return slices.Sorted(maps.Values(last))
}

func (m *model) compareFilter(t testing.TB, s Store, filter string, f *Filter, match []uint64, start uint64) {
	t.Helper()
	at, _ := slices.BinarySearch(match, start)
	tail := match[at:]
	got, seq, err := s.LoadNextMsg(filter, start, nil)
	if len(tail) == 0 || start > m.last {
		if err != ErrStoreEOF || seq != m.last {
			t.Fatalf("next %q from %d: %v, %d, %v; want EOF and %d", filter, start, got, seq, err, m.last)
		}
	} else if err != nil || seq != tail[0] || !sameMsg(got, m.msgs[seq]) {
		t.Fatalf("next %q from %d: %v, %d, %v; want %d", filter, start, got, seq, err, tail[0])
	}
	end, _ := slices.BinarySearch(match, start+1)
	head := match[:end]
	got, seq, err = s.LoadPrevMsg(filter, start, nil)
	if len(head) == 0 {
		if err != ErrStoreEOF || seq != m.first {
			t.Fatalf("prev %q from %d: %v, %d, %v; want EOF and %d", filter, start, got, seq, err, m.first)
		}
	} else if err != nil || seq != head[len(head)-1] || !sameMsg(got, m.msgs[seq]) {
		t.Fatalf("prev %q from %d: %v, %d, %v; want %d", filter, start, got, seq, err, head[len(head)-1])
	}
	st, err := s.FilteredState(start, filter)
	want := SimpleState{}
	switch {
	case start > m.last:
		want = SimpleState{First: m.first, Last: m.last}
	case f == nil && start <= m.first:
		want = SimpleState{Msgs: uint64(len(match)), First: m.first, Last: m.last}
	case len(tail) > 0:
		want = SimpleState{Msgs: uint64(len(tail)), First: tail[0], Last: tail[len(tail)-1]}
	}
	if err != nil || st != want {
		t.Fatalf("filtered state %q from %d: %+v, %v, want %+v", filter, start, st, err, want)
	}
	m.compareFilterSet(t, s, f, match, start)
}

func (m *model) compareFilterSet(t testing.TB, s Store, f *Filter, match []uint64, start uint64) {
	t.Helper()
	at, _ := slices.BinarySearch(match, start)
	want := uint64(len(match) - at)
	if start > m.last {
		want = 0
	}
	n, valid, err := s.NumPendingMulti(start, f, false)
	if n != want || valid != m.last || err != nil {
		t.Fatalf("num pending %v from %d: %d, %d, %v, want %d, %d", f.Subjects(), start, n, valid, err, want, m.last)
	}
	counted, steps := uint64(0), 0
	for next := start; next <= m.last; steps++ {
		n, to, err := s.CountPending(next, f, 1+int(start%7))
		if err != nil || to <= next || steps > int(m.last) {
			t.Fatalf("counting %v from %d to %d: %v", f.Subjects(), next, to, err)
		}
		counted, next = counted+n, to
	}
	if counted != want {
		t.Fatalf("counted %v from %d in %d steps: %d, want %d", f.Subjects(), start, steps, counted, want)
	}
	want = 0
	for _, seq := range m.lastOf(match, m.last) {
		if seq >= start {
			want++
		}
	}
	n, _, err = s.NumPendingMulti(start, f, true)
	if n != want || err != nil {
		t.Fatalf("num pending %v from %d, last per subject: %d, %v, want %d", f.Subjects(), start, n, err, want)
	}
}

func (m *model) compareSubjects(t testing.TB, rng *rand.Rand, s Store, filter string, f *Filter, match []uint64) {
	t.Helper()
	states := map[string]SimpleState{}
	totals := map[string]uint64{}
	for _, seq := range match {
		x := m.msgs[seq]
		st := states[x.Subject]
		if st.Msgs == 0 {
			st.First = seq
		}
		st.Msgs++
		st.Last = seq
		states[x.Subject] = st
		totals[x.Subject]++
	}
	if got, err := s.SubjectsState(filter); err != nil || !maps.Equal(got, states) {
		t.Fatalf("subjects state %q: %v, %v, want %v", filter, got, err, states)
	}
	if got := s.SubjectsTotals(filter); !maps.Equal(got, totals) {
		t.Fatalf("subject totals %q: %v, want %v", filter, got, totals)
	}
	want := m.lastOf(match, m.last)
	if got, err := s.MultiLastSeqs([]string{filter}, 0, 0); err != nil || !slices.Equal(got, want) {
		t.Fatalf("multi last %q: %v, %v, want %v", filter, got, err, want)
	}
	upTo := rng.Uint64N(m.last+2) + 1
	want = m.lastOf(match, upTo)
	if got, err := s.MultiLastSeqs([]string{filter}, upTo, 0); err != nil || !slices.Equal(got, want) {
		t.Fatalf("multi last %q up to %d: %v, %v, want %v", filter, upTo, got, err, want)
	}
	got, err := s.LoadLastMsg(filter, nil)
	last := m.last
	if f != nil {
		last = 0
		if len(match) > 0 {
			last = match[len(match)-1]
		}
	}
	if x, ok := m.msgs[last]; ok {
		if err != nil || !sameMsg(got, x) {
			t.Fatalf("last %q: %v, %v, want %v", filter, got, err, x)
		}
	} else if err != ErrStoreMsgNotFound {
		t.Fatalf("last %q: %v, %v, want not found", filter, got, err)
	}
}

func (m *model) compareBatch(t testing.TB, rng *rand.Rand, s Store, f *Filter) {
	t.Helper()
	want := m.matching(f)
	limit := BatchLimit{Msgs: rng.IntN(5), Bytes: rng.IntN(500), Scan: rng.IntN(10)}
	var b Batch
	var got []uint64
	for start := uint64(1); start <= m.last; {
		b.Reset()
		next, err := s.LoadBatch(f, start, limit, &b)
		if err != nil || next < start {
			t.Fatalf("batch from %d: next %d, %v", start, next, err)
		}
		for i := range b.Msgs {
			if !sameMsg(&b.Msgs[i], m.msgs[b.Msgs[i].Seq]) {
				t.Fatalf("batch from %d: %+v", start, b.Msgs[i])
			}
			got = append(got, b.Msgs[i].Seq)
		}
		start = next
	}
	if !slices.Equal(got, want) {
		t.Fatalf("batches of %+v: %v, want %v", limit, got, want)
	}
}
