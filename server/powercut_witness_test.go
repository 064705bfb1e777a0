package server

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// witness notes what the clients of one stream asked for and what they were told,
// and judges what is found after the power came back. What is found then is what
// the next life must keep.
type witness struct {
	stream  string
	max     int // of messages in the stream, 0: no limit
	created bool

	mu       sync.Mutex
	clock    int64
	messages map[string]*publication // by payload, which is unique
	removals []*removal
	batches  map[string][]*publication
	last     uint64 // a stream info, a reader or an ack has named it
	shown    uint64 // of these, the last that an info or a reader has named
	// Versions of the configuration that were asked for and confirmed.
	asked, confirmed int
	wrong            error // what contradicted at once
}

// publication is one message that was sent.
type publication struct {
	subject, data, id string
	began             int64  // when it was sent
	told              int64  // when a client was told that it is stored; 0: not
	shown             bool   // a reader was given it
	seq               uint64 // 0: nobody has said
}

// removal is a request that removes messages.
type removal struct {
	what   string // the request
	began  int64
	ended  int64 // when it was confirmed; 0: not
	covers func(*publication) bool
	keep   int // it spares so many of the newest of those that it covers
	// by is the message that removes, by its rollup header, what is before it.
	by *publication
}

func newWitness(stream string) *witness {
	return &witness{stream: stream, messages: map[string]*publication{}, batches: map[string][]*publication{}}
}

func (w *witness) tick() int64 {
	w.clock++
	return w.clock
}

func (w *witness) fail(format string, args ...any) {
	if w.wrong == nil {
		w.wrong = fmt.Errorf("stream %s: "+format, append([]any{w.stream}, args...)...)
	}
}

// sends notes a message that is about to be sent.
func (w *witness) sends(subject, data string) *publication {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &publication{subject: subject, data: data, began: w.tick()}
	w.messages[data] = p
	return p
}

// sendsBatch notes that messages belong together.
func (w *witness) sendsBatch(id string, msgs []*publication) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.batches[id] = msgs
}

// tell notes that a client was told that a message is stored; seq 0: somewhere.
func (w *witness) tell(p *publication, seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told(p, seq)
}

func (w *witness) told(p *publication, seq uint64) {
	if p.told == 0 {
		p.told = w.tick()
	}
	w.last = max(w.last, seq)
	switch {
	case seq == 0 || p.seq == seq:
	case p.seq == 0:
		p.seq = seq // and never changed: known ones are read without the lock
	default:
		w.fail("message %.30q has sequences %d and %d", p.data, p.seq, seq)
	}
}

// show notes that a client was given a message.
func (w *witness) show(seq uint64, subject, data string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.messages[data]
	if p == nil || p.subject != subject {
		w.fail("message %d on %s, %q, was shown and never sent; those that begin alike: %q", seq, subject, data, w.alike(data))
		return
	}
	p.shown = true
	w.shown = max(w.shown, seq)
	w.told(p, seq)
}

// alike are the subjects and contents of messages that were sent with the same
// first word, which is the sender and a number. Under mu.
func (w *witness) alike(data string) (found []string) {
	word, _, _ := strings.Cut(data, " ")
	for sent, p := range w.messages {
		if strings.HasPrefix(sent, word+" ") {
			found = append(found, p.subject+": "+sent)
		}
	}
	return found
}

// end notes a last sequence that was shown.
func (w *witness) end(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last, w.shown = max(w.last, seq), max(w.shown, seq)
}

// removes notes a removal that is about to be asked for.
func (w *witness) removes(r removal) *removal {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.began = w.tick()
	w.removals = append(w.removals, &r)
	return &r
}

// removed notes that a removal was confirmed.
func (w *witness) removed(r *removal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.ended = w.tick()
}

// known is the messages on a subject that are stored for sure, ascending.
func (w *witness) known(subject string) []*publication {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*publication
	for _, p := range w.messages {
		if p.told != 0 && p.seq != 0 && p.subject == subject {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *publication) int { return int(int64(a.seq) - int64(b.seq)) })
	return all
}

// judgement compares what was found with what was told.
type judgement struct {
	*witness
	found map[uint64]stored
}

func (j judgement) has(p *publication) bool {
	m, ok := j.found[p.seq]
	return ok && m.data == p.data
}

// newer counts messages that a removal that spares the newest might have spared
// instead of p; with sure only those of which it is known.
func (j judgement) newer(p *publication, r *removal, sure bool) int {
	n := 0
	for _, q := range j.messages {
		switch {
		case q == p || !r.covers(q):
		case sure && j.has(q) && q.seq > p.seq && q.told != 0 && q.told < r.began:
			n++
		case !sure && (r.ended == 0 || q.began < r.ended) && (q.seq == 0 || p.seq == 0 || q.seq > p.seq):
			n++
		}
	}
	return n
}

// surelyGone returns a confirmed removal that has removed p.
func (j judgement) surelyGone(p *publication) *removal {
	for _, r := range j.removals {
		switch {
		case r.by != nil:
			if r.ended != 0 && r.covers(p) && p.seq != 0 && r.by.seq > p.seq {
				return r
			}
		case r.ended == 0 || p.told == 0 || p.told > r.began || p.seq == 0 || !r.covers(p):
		case r.keep == 0 || j.newer(p, r, true) >= r.keep:
			return r
		}
	}
	return nil
}

// maybeGone reports whether a removal may have removed p.
func (j judgement) maybeGone(p *publication) bool {
	for _, r := range j.removals {
		switch {
		case !r.covers(p):
		case r.by != nil:
			if r.by != p && (r.by.seq == 0 || p.seq == 0 || r.by.seq > p.seq) {
				return true
			}
		case r.ended != 0 && r.ended < p.began:
		case r.keep == 0 || j.newer(p, r, false) >= r.keep:
			return true
		}
	}
	if j.max == 0 {
		return false
	}
	later := 0
	for _, q := range j.messages {
		if q.seq == 0 || q.seq > p.seq {
			later++
		}
	}
	return later >= j.max
}

// judge compares the messages that were found, the state that the stream reports and
// the version of its configuration with what clients were told, and begins a new life.
func (w *witness) judge(found map[uint64]stored, a answer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong != nil {
		return w.wrong
	}
	if a.State.LastSeq < w.last {
		return fmt.Errorf("stream %s: ends at %d, clients were told %d", w.stream, a.State.LastSeq, w.last)
	}
	if err := w.judgeState(found, a); err != nil {
		return err
	}
	j := judgement{w, found}
	kept := map[string]*publication{}
	for _, seq := range slices.Sorted(maps.Keys(found)) {
		m := found[seq]
		p := w.messages[m.data]
		switch {
		case p == nil:
			return fmt.Errorf("stream %s: message %d, %.30q, was never sent or had been removed", w.stream, seq, m.data)
		case p.subject != m.subject:
			return fmt.Errorf("stream %s: message %d is on %s, not %s", w.stream, seq, m.subject, p.subject)
		case p.seq != 0 && p.seq != seq:
			return fmt.Errorf("stream %s: message %.30q has sequence %d, clients were told %d", w.stream, m.data, seq, p.seq)
		case p.id != m.header.Get("Nats-Msg-Id"):
			return fmt.Errorf("stream %s: message %d has id %q, not %q", w.stream, seq, m.header.Get("Nats-Msg-Id"), p.id)
		case kept[m.data] != nil:
			return fmt.Errorf("stream %s: message %.30q is there twice", w.stream, m.data)
		}
		p.seq = seq
		kept[m.data] = p
	}
	for _, p := range w.messages {
		if kept[p.data] == nil && p.told != 0 && !j.maybeGone(p) {
			return fmt.Errorf("stream %s: message %d, %.30q, is missing (sent at %d, told at %d)", w.stream, p.seq, p.data, p.began, p.told)
		}
		if r := j.surelyGone(p); r != nil && kept[p.data] != nil {
			return fmt.Errorf("stream %s: message %d, %.30q, told at %d, is back, removed by %s (%d to %d); found are %v to %d", w.stream, p.seq, p.data, p.told, r.what, r.began, r.ended, slices.Sorted(maps.Keys(found)), a.State.LastSeq)
		}
	}
	for id, msgs := range w.batches {
		n, removable := 0, false
		for _, p := range msgs {
			if kept[p.data] != nil {
				n++
			}
			removable = removable || j.maybeGone(p)
		}
		if n != 0 && n != len(msgs) && !removable {
			return fmt.Errorf("stream %s: %d of the %d messages of batch %s are there", w.stream, n, len(msgs), id)
		}
	}
	for _, p := range kept {
		p.began, p.told, p.shown = 0, 1, true
	}
	w.messages, w.clock, w.removals = kept, 1, nil
	clear(w.batches)
	w.last, w.shown = a.State.LastSeq, a.State.LastSeq
	return nil
}

// judgeState compares what a stream reports with what it holds.
func (w *witness) judgeState(found map[uint64]stored, a answer) error {
	if a.State.Messages != len(found) {
		return fmt.Errorf("stream %s: info says %d messages, %d can be read", w.stream, a.State.Messages, len(found))
	}
	seqs := slices.Sorted(maps.Keys(found))
	if n := len(seqs); n > 0 && (seqs[0] != a.State.FirstSeq || seqs[n-1] > a.State.LastSeq) {
		return fmt.Errorf("stream %s: info says %d to %d, %d to %d can be read", w.stream, a.State.FirstSeq, a.State.LastSeq, seqs[0], seqs[n-1])
	}
	if w.max > 0 && len(found) > w.max {
		return fmt.Errorf("stream %s: %d messages, at most %d are allowed", w.stream, len(found), w.max)
	}
	version, err := strconv.Atoi(a.Config.Description)
	if err != nil || version < w.confirmed || version > w.asked {
		return fmt.Errorf("stream %s: configuration %q, %d was confirmed and %d asked for", w.stream, a.Config.Description, w.confirmed, w.asked)
	}
	w.asked, w.confirmed = version, version
	return nil
}

// judgeCopy checks that a copy of the stream has nothing that the stream lacks.
// It must be called before judge.
func (w *witness) judgeCopy(found, copied map[uint64]stored, before uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	j := judgement{w, found}
	for seq, m := range copied {
		if seq <= before {
			continue // judged in a life before; the stream may have lost it to a removal
		}
		p := w.messages[m.data]
		if p == nil {
			return fmt.Errorf("stream %s: a mirror has message %d, %.30q, which was never sent", w.stream, seq, m.data)
		}
		if _, ok := found[seq]; !ok {
			p.seq = seq
			if !j.maybeGone(p) {
				return fmt.Errorf("stream %s: a mirror has message %d, which is missing", w.stream, seq)
			}
		}
	}
	return nil
}

// forget drops what acknowledgements have said, and keeps what was shown.
func (w *witness) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.created, w.confirmed = false, 0
	w.last = w.shown
	for _, p := range w.messages {
		if !p.shown {
			p.told, p.seq = 0, 0
		}
	}
	for _, r := range w.removals {
		r.ended = 0
	}
}
