package msgstore

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scheddb"
	"github.com/natsd/natsd/msgstore/internal/wheel"
	"github.com/natsd/natsd/msgstore/nanos"
	"github.com/natsd/natsd/msgstore/schedule"
)

// dueTimes knows what happens when. Guarded by store.mu.
type dueTimes struct {
	ttl   *wheel.Wheel   // nil if TTLs are not allowed
	sched *scheddb.Table // nil if schedules are not allowed
	// never holds the messages that the age limit does not touch.
	never map[uint64]struct{}
	// mortal is the first message that the age limit touches, where Due has found it. Those
	// before it are in never, so that it is the first one as long as it lives.
	mortal atomic.Pointer[seqTime]
	// asked is what Due has returned lately, by sequence.
	asked map[uint64]asked
}

// asked is when Due returned a message, and its subject if the store leaves markers.
type asked struct {
	at      int64
	subject string
}

// askAgain is how long Due keeps quiet about what it has returned, in ns: the
// owner's removal may be on its way through a log.
const askAgain = int64(2 * time.Second)

// minDelay is the shortest time between two passes, in ns.
const minDelay = int64(250 * time.Millisecond)

func (d *dueTimes) init(cfg *Config) {
	if cfg.AllowMsgTTL && d.ttl == nil {
		d.ttl = new(wheel.Wheel)
	}
	if cfg.AllowMsgSchedules && d.sched == nil {
		d.sched = new(scheddb.Table)
	}
	if !cfg.AllowMsgTTL {
		d.ttl, d.never = nil, nil
	}
	d.mortal.Store(nil)
	if !cfg.AllowMsgSchedules {
		d.sched = nil
	}
	if d.asked == nil {
		d.asked = make(map[uint64]asked)
	}
}

func (d *dueTimes) clear() {
	if d.ttl != nil {
		d.ttl = new(wheel.Wheel)
	}
	if d.sched != nil {
		d.sched = new(scheddb.Table)
	}
	d.never = nil
	d.mortal.Store(nil)
	clear(d.asked)
}

// truncate forgets everything above seq: the sequences will be used again.
func (d *dueTimes) truncate(seq uint64) {
	if d.ttl != nil {
		d.ttl.RemoveSeqs(func(x uint64) bool { return x > seq })
	}
	d.mortal.Store(nil)
	d.forget(seq+1, math.MaxUint64)
}

// forget takes out what is known of the messages from first to last beside their TTLs
// and schedules. It looks at all of them.
func (d *dueTimes) forget(first, last uint64) {
	within := func(seq uint64) bool { return first <= seq && seq <= last }
	maps.DeleteFunc(d.never, func(seq uint64, _ struct{}) bool { return within(seq) })
	maps.DeleteFunc(d.asked, func(seq uint64, _ asked) bool { return within(seq) })
}

// track registers what the headers of a new message ask for.
func (s *store) track(o *op, b *block, r *record.Record) {
	var ttl int64
	if len(r.Header) > 0 {
		if v, ok := headerValue(r.Header, hdrTTL); ok {
			if n, ok := ParseTTL(v); ok {
				ttl = n
				b.ttls++
			}
		}
		if s.due.sched != nil {
			s.trackSchedule(b, r)
		} else if v, ok := headerValue(r.Header, hdrSchedule); ok && len(v) > 0 {
			b.schedules++
		}
		if len(s.cfg.Sources) > 0 {
			s.trackSource(r, o != nil)
		}
	} else if s.due.sched != nil && s.due.sched.Len() > 0 {
		s.due.sched.Cancel(string(r.Subject))
	}
	if o != nil && ttl == 0 {
		ttl = o.givenTTL(r.Seq)
	}
	if ttl != 0 {
		s.trackTTL(r.Seq, r.Time, ttl)
	}
}

// scheduling says whether messages of b from sequence on may be about schedules: one
// without headers ends that of its subject, and the results move theirs.
func (s *store) scheduling(b *block, from uint64) bool {
	return s.due.sched != nil && from <= b.last.seq && (b.schedules > 0 || s.due.sched.Len() > 0)
}

// retrack registers what the headers of a message that is there already ask for,
// where its sequence is not below what the state files cover.
func (s *store) retrack(b *block, c *cache, e *ent, ttl, sched, source uint64) {
	subject, header, _ := c.parts(e)
	r := record.Record{Kind: record.Message, Seq: e.seq, Time: c.time(e), Subject: subject, Header: header}
	if v, ok := headerValue(header, hdrTTL); ok {
		if n, ok := ParseTTL(v); ok && (n < 0 || e.seq >= ttl) {
			s.trackTTL(r.Seq, r.Time, n)
		}
	}
	if s.due.sched != nil && e.seq >= sched {
		if len(header) == 0 {
			if s.due.sched.Len() > 0 {
				s.due.sched.Cancel(string(subject))
			}
			return
		}
		n := b.schedules
		s.trackSchedule(b, &r)
		b.schedules = n
	}
	if e.seq >= source && len(s.cfg.Sources) > 0 {
		s.trackSource(&r, false)
	}
}

func (s *store) trackTTL(seq uint64, ts, ttl int64) {
	if s.due.ttl == nil {
		return
	}
	if ttl < 0 {
		if s.due.never == nil {
			s.due.never = make(map[uint64]struct{})
		}
		s.due.never[seq] = struct{}{}
		return
	}
	s.due.ttl.Add(wheel.Entry{At: expiry(ts, ttl), Seq: seq})
}

func expiry(ts, ttl int64) int64 {
	return nanos.After(ts, time.Duration(min(ttl, maxTTL))*time.Second)
}

// untrack forgets what the headers of a removed message asked for.
func (s *store) untrack(b *block, c *cache, e *ent) {
	subject, header, _ := c.parts(e)
	if v, ok := headerValue(header, hdrTTL); ok {
		if ttl, ok := ParseTTL(v); ok {
			b.ttls -= min(b.ttls, 1)
			if s.due.ttl != nil && ttl > 0 {
				s.due.ttl.Remove(wheel.Entry{At: expiry(c.time(e), ttl), Seq: e.seq})
			}
		}
	}
	if v, ok := headerValue(header, hdrSchedule); ok && len(v) > 0 {
		b.schedules -= min(b.schedules, 1)
		if s.due.sched != nil {
			s.due.sched.CancelSeq(string(subject), e.seq)
		}
	}
}

// trackSchedule registers, moves or cancels the schedule that a new message
// with headers is about.
func (s *store) trackSchedule(b *block, r *record.Record) {
	t := s.due.sched
	if v, ok := headerValue(r.Header, hdrSchedule); ok && len(v) > 0 {
		b.schedules++
		zone, _ := headerValue(r.Header, "Nats-Schedule-Time-Zone")
		p, err := schedule.Parse(string(v), string(zone))
		if err != nil {
			return
		}
		if at, ok := p.Next(time.Unix(0, r.Time).UTC(), time.Time{}); ok {
			t.Set(scheddb.Entry{At: nanos.Of(at), Seq: r.Seq, Subject: string(r.Subject)})
		}
		return
	}
	scheduler, ok := headerValue(r.Header, "Nats-Scheduler")
	if !ok || len(scheduler) == 0 {
		t.Cancel(string(r.Subject))
		return
	}
	next, ok := headerValue(r.Header, "Nats-Schedule-Next")
	if !ok {
		return
	}
	e, ok := t.Get(string(scheduler))
	if !ok {
		return
	}
	if string(next) == "purge" {
		t.Cancel(string(scheduler))
		return
	}
	if at, err := time.Parse(time.RFC3339Nano, string(next)); err == nil {
		e.At = nanos.Of(at)
		t.Set(e)
	}
}

// NextDue implements Store.
func (s *store) NextDue() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return 0
	}
	var next int64
	sooner := func(at int64) {
		if next == 0 || at < next {
			next = at
		}
	}
	if s.cfg.MaxAge > 0 && s.msgs > uint64(len(s.due.never)) {
		at, known := s.first.ts, true
		if _, never := s.due.never[s.first.seq]; never {
			at, known = s.firstMortal()
		}
		if !known {
			return 1 // Due, asked at once, finds out
		}
		sooner(nanos.After(at, s.cfg.MaxAge))
	}
	if s.due.ttl != nil {
		if e, ok := s.due.ttl.Next(); ok {
			sooner(e.At)
		}
	}
	if s.due.sched != nil {
		if e, ok := s.due.sched.Next(); ok {
			sooner(e.At)
		}
	}
	return next
}

// firstMortal is the time of the first message with an age limit, if Due has found it
// since there is one. The caller holds mu for reading.
func (s *store) firstMortal() (at int64, ok bool) {
	m := s.due.mortal.Load()
	if m == nil {
		return 0, false
	}
	b, _ := s.blockFor(m.seq)
	return m.ts, b != nil
}

// Due implements Store.
func (s *store) Due(now int64, max int, due []Due) []Due {
	if max <= 0 {
		return due
	}
	g := gatherer{now: now, max: max, seen: make(map[uint64]struct{}), after: wheel.Entry{At: math.MinInt64}}
	err := s.read(func() error { return g.gather(s) })
	if len(g.stale)+len(g.void) > 0 {
		s.forgetStale(&g)
	}
	if err != nil || len(g.due) == 0 {
		return due
	}
	slices.SortFunc(g.due, func(a, b Due) int { return cmp.Compare(a.Seq, b.Seq) })
	s.mu.Lock()
	if s.cfg.SubjectDeleteMarkerTTL > 0 && s.index != nil {
		s.chooseMarkers(g.due)
	}
	found := append(due, g.due...)
	maps.DeleteFunc(s.due.asked, func(_ uint64, a asked) bool { return now-a.at >= askAgain })
	for i := range found[len(due):] {
		d := &found[len(due)+i]
		if d.Kind == DueSchedule {
			if s.due.sched != nil {
				s.due.sched.Begin(d.Subject)
			}
			continue
		}
		a := asked{at: now}
		if s.cfg.SubjectDeleteMarkerTTL > 0 {
			a.subject = d.Subject
		}
		s.due.asked[d.Seq] = a
	}
	s.mu.Unlock()
	return found
}

// gatherer collects what is due, and goes on where it stopped when a block has
// to be loaded.
type gatherer struct {
	now   int64
	max   int
	due   []Due
	seen  map[uint64]struct{}
	start uint64 // next message to look at for its age
	aged  bool   // no more messages have reached the age limit

	mortal bool // one that may was found
	sched  []scheddb.Entry
	asked  bool // for schedules

	after wheel.Entry     // that was looked at
	stale []wheel.Entry   // of messages that are gone
	void  []scheddb.Entry // the same
}

// staleLimit bounds the entries of messages that are gone which one call of Due takes
// out: what thw.db says may be older than what the stream has lost since.
const staleLimit = 1 << 16

func (g *gatherer) full() bool { return len(g.due) >= g.max }

func (g *gatherer) gather(s *store) error {
	for more := s.due.ttl != nil; more; {
		list := s.due.ttl.Due(nil, g.now, g.after, g.max)
		for _, e := range list {
			if g.full() || len(g.stale) >= staleLimit {
				return nil
			}
			if b, _ := s.blockFor(e.Seq); b == nil {
				g.stale = append(g.stale, e)
			} else if err := g.add(s, DueTTL, e.Seq, e.At); err != nil {
				return err
			}
			g.after = e
		}
		more = len(list) == g.max
	}
	for s.cfg.MaxAge > 0 && !g.aged && !g.full() {
		c, e, seq, err := s.next(nil, &g.start, s.last.seq, nil)
		if _, bad := err.(*BadRecordError); bad {
			g.start = seq + 1
			continue
		}
		if err == ErrStoreEOF {
			break
		}
		if err != nil {
			return err
		}
		if _, never := s.due.never[seq]; !never {
			if !g.mortal {
				g.mortal = true
				s.due.mortal.Store(&seqTime{seq, c.time(e)})
			}
			at := nanos.After(c.time(e), s.cfg.MaxAge)
			if g.aged = at > g.now; g.aged {
				break
			}
			if err := g.add(s, DueAge, seq, at); err != nil {
				return err
			}
		}
		g.start = seq + 1
	}
	if s.due.sched == nil || g.full() {
		return nil
	}
	if !g.asked {
		g.asked = true
		g.sched = s.due.sched.Due(nil, g.now, g.max-len(g.due))
	}
	for ; len(g.sched) > 0; g.sched = g.sched[1:] {
		e := g.sched[0]
		if b, _ := s.blockFor(e.Seq); b == nil {
			g.void = append(g.void, e)
			continue
		}
		m, err := s.scheduled(e, g.now)
		if _, miss := err.(*missing); miss {
			return err
		}
		g.due = append(g.due, Due{Kind: DueSchedule, Seq: e.Seq, Subject: e.Subject, Time: e.At, Publish: m})
	}
	return nil
}

// add adds the end of a message, unless it was returned lately.
func (g *gatherer) add(s *store, kind DueKind, seq uint64, at int64) error {
	if a, ok := s.due.asked[seq]; ok && g.now-a.at < askAgain {
		return nil
	}
	if _, ok := g.seen[seq]; ok {
		return nil
	}
	d := Due{Kind: kind, Seq: seq, Time: at}
	c, e, err := s.lookup(seq)
	switch err.(type) {
	case nil:
		subject, header, _ := c.parts(e)
		d.Subject = string(subject)
		d.Marker = s.cfg.SubjectDeleteMarkerTTL > 0 && s.index != nil && !isMarker(header)
	case *missing:
		return err
	case *BadRecordError:
	default:
		return nil // gone meanwhile
	}
	g.seen[seq] = struct{}{}
	g.due = append(g.due, d)
	return nil
}

// forgetStale takes out what g has found of messages that are gone.
func (s *store) forgetStale(g *gatherer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range g.stale {
		if b, _ := s.blockFor(e.Seq); b == nil && s.due.ttl != nil {
			s.due.ttl.Remove(e)
		}
	}
	for _, e := range g.void {
		if b, _ := s.blockFor(e.Seq); b == nil && s.due.sched != nil {
			s.due.sched.CancelSeq(e.Subject, e.Seq)
		}
	}
}

// chooseMarkers keeps the marks of those that are the last message of their
// subject once the others that are due, before it in due or in a call before, are
// gone. due is in order of sequence.
func (s *store) chooseMarkers(due []Due) {
	left := make(map[string]uint64)
	going := make(map[string]uint64)
	for seq, a := range s.due.asked {
		if b, _ := s.blockFor(seq); b != nil {
			going[a.subject]++
		}
	}
	for i := range due {
		if _, again := s.due.asked[due[i].Seq]; again && going[due[i].Subject] > 0 {
			going[due[i].Subject]--
		}
	}
	for i := range due {
		d := &due[i]
		if d.Kind == DueSchedule || d.Subject == "" {
			continue
		}
		n, ok := left[d.Subject]
		if !ok {
			if x := s.index.get(d.Subject); x != nil {
				n = x.total - min(going[d.Subject], x.total)
			}
		}
		left[d.Subject] = n - 1
		if d.Marker = d.Marker && n == 1; d.Marker {
			d.Publish = marker(d.Subject, s.cfg.SubjectDeleteMarkerTTL)
		}
	}
}

// marker is the message that takes the place of the last one of a subject.
func marker(subject string, ttl time.Duration) *StoredMsg {
	return &StoredMsg{
		Subject: subject,
		Header:  []byte("NATS/1.0\r\n" + hdrMarkerReason + ": MaxAge\r\n" + hdrTTL + ": " + ttl.String() + "\r\n" + hdrRollup + ": sub\r\n\r\n"),
	}
}

// scheduled builds the message that a schedule publishes.
func (s *store) scheduled(e scheddb.Entry, now int64) (*StoredMsg, error) {
	c, x, err := s.lookup(e.Seq)
	if err != nil {
		return nil, err
	}
	_, header, data := c.parts(x)
	value := func(name string) string {
		v, _ := headerValue(header, name)
		return string(v)
	}
	m := &StoredMsg{Subject: value("Nats-Schedule-Target")}
	next := "purge"
	if p, err := schedule.Parse(value(hdrSchedule), value("Nats-Schedule-Time-Zone")); err == nil && !p.Once() {
		if at, ok := p.Next(time.Unix(0, e.At).UTC(), time.Unix(0, now).UTC()); ok {
			next = at.UTC().Format(time.RFC3339Nano)
		}
	}
	body, bodyHeader := data, header
	if src := value("Nats-Schedule-Source"); src != "" && s.index != nil {
		if i := s.index.get(src); i != nil {
			start := i.upper()
			c, x, _, err := s.prev(NewFilter(src), &start)
			if err != nil {
				return nil, err
			}
			_, bodyHeader, body = c.parts(x)
		}
	}
	h := []byte("NATS/1.0\r\n")
	h = appendKept(h, bodyHeader)
	h = append(h, "Nats-Scheduler: "+e.Subject+"\r\nNats-Schedule-Next: "+next+"\r\n"...)
	if v := value("Nats-Schedule-TTL"); v != "" {
		h = append(h, hdrTTL+": "+v+"\r\n"...)
	}
	if v := value("Nats-Schedule-Rollup"); v != "" {
		h = append(h, hdrRollup+": "+v+"\r\n"...)
	}
	m.Header = append(h, "\r\n"...)
	m.Data = bytes.Clone(body)
	return m, nil
}

// appendKept appends the header lines that a scheduled message takes over.
func appendKept(dst, header []byte) []byte {
	_, rest, _ := bytes.Cut(header, []byte("\r\n"))
	for len(rest) > 0 {
		line, after, _ := bytes.Cut(rest, []byte("\r\n"))
		rest = after
		name, _, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		switch n := string(name); {
		case bytes.HasPrefix(name, []byte("Nats-Schedule")), bytes.HasPrefix(name, []byte("Nats-Expected-")),
			bytes.HasPrefix(name, []byte("Nats-Batch-")), // it is no part of the schedule's batch
			n == "Nats-Msg-Id", n == hdrTTL, n == hdrRollup:
			continue
		}
		dst = append(append(dst, line...), "\r\n"...)
	}
	return dst
}

// ResetState implements Store.
func (s *store) ResetState() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.due.asked)
	if s.due.sched != nil {
		s.due.sched.Reset()
	}
}
