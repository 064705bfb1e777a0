package jetstream

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/subjecttree"
)

// origin is where a stream gets messages from: its mirror's origin or one of its
// sources. A push consumer there delivers to a subject that this subscribes;
// what comes goes through the stream's inbox like publishes do.
//
// Fields without a note belong to the stream's turn.
type origin struct {
	stream *Stream
	config *jsapi.StreamSource // never changed
	mirror bool
	index  string // the source's name in headers and in the store's progress
	name   string // of the consumer, as we ask for it
	// transforms by which subjects change; filters that only select have none.
	transforms []originTransform

	seq      uint64 // last sequence of the origin that was handled
	delivery uint64 // last delivery sequence of the present consumer
	identity string // of the origin stream; "" if it is not known
	consumer string // what the origin calls the consumer; "" while there is none
	sub      Subscription
	inbox    Subscription // for the answer to the request under way
	attempt  int          // consecutive ones that failed
	compat   int          // steps back to older servers: see request
	lastTry  time.Time
	retry    timer
	health   timer
	session  int // counts attempts, so that late answers are told apart
	// awaitReset: the user's consumer is being reset. What it delivers before its
	// first delivery is from an earlier life, behind which others may be missing.
	awaitReset bool
	stopped    bool

	pending atomic.Uint64 // at the origin, behind the last message
	active  atomic.Int64  // ns of the last message or heartbeat; 0: never

	mu  sync.Mutex // guards err
	err *jsapi.Error
}

type originTransform struct {
	source    string
	transform *subjecttree.Transform // nil: the subject stays
}

const (
	originRetry      = 2 * time.Second // between two attempts, at least
	originBackoff    = 10 * time.Second
	originMaxBackoff = 2 * time.Minute
	originTimeout    = 30 * time.Second // for the answer to a create request
	originReset      = 5 * time.Second  // for the answer to a reset request
	originSilence    = 10 * time.Second // without message or heartbeat
	mirrorDirectLag  = 10               // a mirror this close answers direct gets
)

// originsOf makes the origins that a configuration asks for.
func (st *Stream) originsOf(cfg *jsapi.StreamConfig) []*origin {
	var list []*origin
	seen := make(map[string]bool)
	id := st.stableID()
	for _, c := range cfg.Origins() {
		o := &origin{stream: st, config: c, mirror: c == cfg.Mirror, index: indexName(c)}
		switch {
		case c.Consumer != nil:
			o.name = c.Consumer.Name
		case o.mirror:
			o.name = "JS_MIRROR_" + id
		case seen[c.Name]:
			o.name = "JS_SRC_" + shortHash(id+" "+o.index)
		default:
			o.name = "JS_SRC_" + shortHash(id)
		}
		seen[c.Name] = true
		for _, t := range c.SubjectTransforms {
			o.transforms = append(o.transforms, originTransform{orAll(t.Source), newTransform(t.Source, t.Destination)})
		}
		o.retry.fire = func() { st.do(o.start) }
		o.health.fire = func() { st.do(o.checkHealth) }
		list = append(list, o)
	}
	return list
}

// stableID is the same for a stream of this name in every life of it.
func (st *Stream) stableID() string {
	text := st.name + " " + st.account.name
	if d := st.engine.opts.Domain; d != "" {
		text += " " + d
	}
	return shortHash(text)
}

func orAll(s string) string {
	if s == "" {
		return ">"
	}
	return s
}

// originLabel is the origin's stream in names and headers.
func originLabel(c *jsapi.StreamSource) string {
	if x := c.External; x != nil && x.APIPrefix != "" {
		return c.Name + ":" + shortHash(x.APIPrefix)
	}
	return c.Name
}

// indexName names a source among all of a stream:
// "<origin>[:H(api)][:C=H(consumer)] <filters> <destinations>".
func indexName(c *jsapi.StreamSource) string {
	name := originLabel(c)
	if c.Consumer != nil {
		name += ":C=" + shortHash(c.Consumer.Name)
	}
	filters, dests := filtersAndDestinations(c)
	return name + " " + filters + " " + dests
}

func filtersAndDestinations(c *jsapi.StreamSource) (filters, dests string) {
	if len(c.SubjectTransforms) == 0 {
		return orAll(c.FilterSubject), ">"
	}
	var f, d []string
	for _, t := range c.SubjectTransforms {
		f, d = append(f, orAll(t.Source)), append(d, orAll(t.Destination))
	}
	return strings.Join(f, "\f"), strings.Join(d, "\f")
}

// startOrigins begins to fetch from all origins. In the turn.
func (st *Stream) startOrigins() {
	for _, o := range st.origins.list() {
		o.schedule(0)
	}
}

// originSet is the origins of a stream, replaced as a whole when they change.
type originSet struct{ p atomic.Pointer[[]*origin] }

func (s *originSet) list() []*origin {
	if p := s.p.Load(); p != nil {
		return *p
	}
	return nil
}

// updateOrigins makes the origins those of cfg. What stays the same goes on.
// In the turn.
func (st *Stream) updateOrigins(cfg *jsapi.StreamConfig) {
	old := st.origins.list()
	list := st.originsOf(cfg)
	for i, o := range list {
		for j, was := range old {
			if was != nil && was.index == o.index && was.mirror == o.mirror && sameSource(was.config, o.config) {
				list[i], old[j] = was, nil
			}
		}
	}
	st.origins.p.Store(&list)
	for _, o := range old {
		if o != nil {
			o.stop(true)
		}
	}
	for _, o := range list {
		if o.consumer == "" && o.lastTry.IsZero() {
			o.schedule(0)
		}
	}
}

func sameSource(a, b *jsapi.StreamSource) bool {
	sameTime := a.OptStartTime == b.OptStartTime ||
		a.OptStartTime != nil && b.OptStartTime != nil && a.OptStartTime.Equal(*b.OptStartTime)
	return a.Name == b.Name && a.OptStartSeq == b.OptStartSeq && sameTime &&
		reflect.DeepEqual(a.External, b.External) && reflect.DeepEqual(a.Consumer, b.Consumer)
}

// schedule sets the next attempt: not sooner than two seconds after the last
// one, later after failures, with some jitter. In the turn.
func (o *origin) schedule(failures int) {
	if o.stopped || o.stream.closed.Load() || o.stream.Config().Sealed {
		return
	}
	wait := max(0, originRetry-time.Since(o.lastTry))
	if o.lastTry.IsZero() {
		wait = 0
	}
	wait += min(time.Duration(failures)*originBackoff, originMaxBackoff)
	wait += 100*time.Millisecond + jitter(100*time.Millisecond)
	o.stream.engine.timers.arm(&o.retry, time.Now().Add(wait))
}

// stop ends fetching. With remove the consumer at the origin goes as well,
// unless the user made it. In the turn.
func (o *origin) stop(remove bool) {
	o.stopped = true
	o.cancel()
	o.stream.engine.timers.disarm(&o.retry)
	o.stream.engine.timers.disarm(&o.health)
	o.answer(false)
	if remove && o.config.Consumer == nil {
		name := o.consumer
		if name == "" {
			name = o.name
		}
		o.stream.account.publish([]byte(o.api("CONSUMER.DELETE."+o.config.Name+"."+name)), nil, nil, nil)
	}
}

// cancel forgets the present consumer.
func (o *origin) cancel() {
	o.session++
	o.consumer = ""
	if o.sub != nil {
		o.sub.Unsubscribe()
		o.sub = nil
	}
	if o.inbox != nil {
		o.inbox.Unsubscribe()
		o.inbox = nil
	}
}

// api is the subject of a request to the origin's API.
func (o *origin) api(tail string) string {
	if x := o.config.External; x != nil && x.APIPrefix != "" {
		return x.APIPrefix + "." + tail
	}
	return apiPrefix + tail
}

// restart makes a new consumer, soon, because the present one is of no use.
func (o *origin) restart() {
	o.cancel()
	o.schedule(0)
}

// originAppeared lets the streams that wait for an origin of this name try again
// soon, instead of after their back-off.
func (a *Account) originAppeared(name string) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, st := range a.streams {
		for _, o := range st.origins.list() {
			if o.config.Name == name && o.config.External == nil {
				st.do(func() {
					if o.consumer == "" && o.inbox == nil {
						o.schedule(0)
					}
				})
			}
		}
	}
}

// fail remembers what went wrong and tries again later.
func (o *origin) fail(err *jsapi.Error) {
	o.attempt++
	o.cancel()
	o.setError(err)
	o.schedule(o.attempt)
}

// setError keeps the error that info shows, and tells of changes.
func (o *origin) setError(err *jsapi.Error) {
	o.mu.Lock()
	same := o.err == err || o.err != nil && err != nil && *o.err == *err
	o.err = err
	o.mu.Unlock()
	if same {
		return
	}
	st := o.stream
	st.engine.event(OriginErrorEvent{st.account.name, st.name, o.config.Name, err, o.attempt,
		min(time.Duration(o.attempt)*originBackoff, originMaxBackoff)})
}

// checkHealth makes a new consumer when the origin has fallen silent.
func (o *origin) checkHealth() {
	if o.stopped || o.stream.closed.Load() || o.stream.Config().Sealed {
		return
	}
	if o.consumer != "" && time.Now().UnixNano()-o.active.Load() > int64(originSilence) {
		o.restart()
	}
	o.stream.engine.timers.arm(&o.health, time.Now().Add(originSilence))
}

// originFeed is one consumer at an origin: what it delivers carries this mark, so
// that late deliveries of an older one are told apart.
type originFeed struct {
	origin  *origin
	session int
}

// receive is the handler of the deliver subject.
func (f *originFeed) receive(msgs []Msg) {
	st := f.origin.stream
	if n := st.in.put(msgs, f, nil); n < len(msgs) {
		st.do(func() {
			if f.origin.session == f.session {
				f.origin.restart() // what was not taken comes again
			}
		})
	}
}

// admitOrigin takes what the consumer at an origin delivered.
func (st *Stream) admitOrigin(p *proposal, f *originFeed, m *publish, now int64) {
	o := f.origin
	if o.stopped || f.session != o.session || st.Config().Sealed {
		return
	}
	o.active.Store(now)
	if len(m.data) == 0 && bytes.HasPrefix(m.header, []byte("NATS/1.0 100")) {
		o.control(p, m)
		return
	}
	meta, ok := parseAckReply(m.reply)
	if !ok || meta.deliveries > 1 {
		return
	}
	if o.config.Consumer != nil {
		if meta.delivery == 1 {
			o.awaitReset, o.delivery = false, 0
		}
		if o.awaitReset {
			return
		}
	}
	if meta.delivery != o.delivery+1 {
		if meta.delivery > o.delivery {
			o.restart()
		}
		return
	}
	if meta.seq > jsapi.MaxSequence {
		o.fail(o.setupFailed(sequencesTooLarge))
		return
	}
	o.pending.Store(meta.pending)
	o.answer(meta.pending < mirrorDirectLag)
	if meta.seq <= o.seq {
		o.delivery = meta.delivery
		return
	}
	admit := st.admitSourced
	if o.mirror {
		admit = st.admitMirrored
	}
	if !admit(p, o, m, &meta, now) {
		o.restart()
		return
	}
	o.delivery = meta.delivery
}

// control answers heartbeats and flow control.
func (o *origin) control(p *proposal, m *publish) {
	st := o.stream
	if o.awaitReset {
		last := natsproto.HeaderValue(m.header, "Nats-Last-Consumer")
		if o.consumer != "" && len(last) > 0 && string(last) != "0" {
			o.restart() // its first delivery went to somebody else
		}
		return
	}
	if len(m.reply) > 0 { // answered when all that came before is durable
		h := appendNumber([]byte(natsproto.HeaderLine), "Nats-Last-Consumer", o.delivery)
		h = append(appendNumber(h, "Nats-Last-Stream", o.seq), "\r\n"...)
		st.replyInOrder(p, m.reply, h, nil)
		return
	}
	if stalled := natsproto.HeaderValue(m.header, "Nats-Consumer-Stalled"); subjecttree.ValidPublish(stalled) {
		st.turn.publisher.Publish(stalled, nil, nil, nil)
	}
	last, err := strconv.ParseUint(string(natsproto.HeaderValue(m.header, "Nats-Last-Consumer")), 10, 64)
	if err != nil {
		return
	}
	switch {
	case last != o.delivery:
		o.restart() // something was lost on the way
	case o.pending.Load() == 0:
		o.answer(true)
	}
}

// admitMirrored stores a message as it is at the origin, sequence and time
// included. What the origin does not have, and what no store could hold, becomes
// deleted here. It reports false if the stream has no room for it now.
func (st *Stream) admitMirrored(p *proposal, o *origin, m *publish, meta *ackReply, _ int64) bool {
	ov := &st.turn.overlay
	if meta.seq <= ov.lastSeq {
		o.seq = meta.seq
		return true
	}
	cfg := st.Config()
	m.header = stripOriginHeaders(m.header)
	m.subjectText = o.transformed(m.subject)
	m.h = nil
	if cfg.AllowRollup && len(m.header) > 0 {
		m.rollup = rollupOf(natsproto.HeaderValue(m.header, hdrRollup))
	}
	size := recordSize(cfg.Storage, len(m.subjectText), len(m.header), len(m.data))
	unstorable := msgstore.Storable(m.subjectText, m.header, m.data)
	if unstorable == msgstore.ErrMsgTooLarge {
		return false
	}
	if unstorable != nil || cfg.Retention == jsapi.InterestPolicy && !st.consumers.interested(m.subjectText) {
		m.noInterest = true
	} else if st.checkRoom(p, cfg, size) != nil || st.checkDiscardNew(p, cfg, m, size) != nil {
		return false
	}
	if gap := meta.seq - ov.lastSeq - 1; gap > 0 {
		p.raw = rawSlices.add(p.raw, msgstore.RawMsg{Seq: ov.lastSeq + 1, Skip: gap})
		ov.lastSeq += gap
		p.last = ov.lastSeq
	}
	if cfg.AllowMsgTTL && len(m.header) > 0 {
		if ttl, ok := parseTTL(natsproto.HeaderValue(m.header, hdrTTL)); ok {
			m.ttl = ttl
		}
	}
	st.accept(p, m, meta.time)
	o.seq = meta.seq
	return true
}

// admitSourced stores a message of a source with a sequence of this stream, unless no
// store could hold it. It reports false if the stream has no room for it now.
func (st *Stream) admitSourced(p *proposal, o *origin, m *publish, meta *ackReply, now int64) bool {
	cfg := st.Config()
	original := string(m.subject)
	m.subjectText = st.transformed(o.transformed(m.subject))
	m.header = stripOriginHeaders(m.header)
	m.header = natsproto.SetHeader(m.header, hdrStreamSource, o.sourceHeader(meta.seq, original))
	m.h = &st.turn.header
	m.h.parse(m.header)
	if len(m.h.msgID) > 0 && st.turn.dedup.window > 0 {
		if _, ok := st.turn.dedup.find(m.h.msgID, now); ok {
			st.countDuplicate()
			st.passSource(p, o, meta.seq)
			return true
		}
		if st.turn.dedup.full() {
			return false
		}
	}
	if cfg.AllowMsgTTL {
		if ttl, ok := parseTTL(m.h.ttl); ok {
			m.ttl = ttl
		}
	}
	if cfg.AllowRollup {
		m.rollup = rollupOf(m.h.rollup)
	}
	if cfg.AllowMsgCounter && m.h.incr != nil {
		if st.addSourced(p, o, m, original) != nil {
			st.passSource(p, o, meta.seq) // not a counter's message: there is nothing to add
			return true
		}
	}
	switch msgstore.Storable(m.subjectText, m.header, m.data) {
	case nil:
	case msgstore.ErrMsgTooLarge:
		return false
	default:
		st.passSource(p, o, meta.seq)
		return true
	}
	size := recordSize(cfg.Storage, len(m.subjectText), len(m.header), len(m.data))
	if cfg.Retention == jsapi.InterestPolicy && !st.consumers.interested(m.subjectText) {
		m.noInterest = true
	} else if st.checkRoom(p, cfg, size) != nil || st.checkDiscardNew(p, cfg, m, size) != nil {
		return false
	}
	st.accept(p, m, now)
	if m.noInterest {
		st.passSource(p, o, meta.seq)
	}
	o.seq = meta.seq
	return true
}

// transformed is the subject under which a message of the origin is stored.
func (o *origin) transformed(subject []byte) string {
	s := asString(subject)
	for i := range o.transforms {
		t := &o.transforms[i]
		if !subjecttree.Matches(s, t.source) {
			continue
		}
		if t.transform != nil {
			if out, err := t.transform.Match(s, rand.Uint32N); err == nil {
				return out
			}
		}
		return s
	}
	return s
}

// sourceHeader says where a message comes from.
func (o *origin) sourceHeader(seq uint64, subject string) string {
	filters, dests := filtersAndDestinations(o.config)
	h := originLabel(o.config) + " " + strconv.FormatUint(seq, 10) + " " + filters + " " + dests + " " + subject
	if o.identity != "" {
		h += " " + o.identity
	}
	return h
}

// stripOriginHeaders removes what was meant for the origin only.
func stripOriginHeaders(header []byte) []byte {
	if !bytes.Contains(header, []byte("\r\nNats-Expected-")) && !bytes.Contains(header, []byte("\r\nNats-Batch-")) {
		return header
	}
	nl := bytes.Index(header, []byte("\r\n")) + 2
	out := append(make([]byte, 0, len(header)), header[:nl]...)
	for rest := header[nl:]; len(rest) > 2; {
		end := bytes.Index(rest, []byte("\r\n"))
		if end < 0 {
			break
		}
		line := rest[:end+2]
		rest = rest[end+2:]
		if !bytes.HasPrefix(line, []byte("Nats-Expected-")) && !bytes.HasPrefix(line, []byte("Nats-Batch-")) {
			out = append(out, line...)
		}
	}
	if len(out) == nl {
		return nil
	}
	return append(out, "\r\n"...)
}

// ackReply is what a delivery's reply subject says.
type ackReply struct {
	deliveries, seq, delivery uint64
	time                      int64
	pending                   uint64
}

// parseAckReply reads the reply subject of a delivery, in the short form
// "$JS.ACK.<stream>.<consumer>.<5 numbers>" or the long one, which has domain
// and account behind "$JS.ACK".
func parseAckReply(reply []byte) (a ackReply, ok bool) {
	if !bytes.HasPrefix(reply, []byte("$JS.ACK.")) {
		return a, false
	}
	tokens := bytes.Split(reply, []byte{'.'})
	switch {
	case len(tokens) == 9:
		tokens = tokens[4:]
	case len(tokens) >= 11:
		tokens = tokens[6:11]
	default:
		return a, false
	}
	var n [5]uint64
	for i := range n {
		v, err := strconv.ParseUint(string(tokens[i]), 10, 64)
		if err != nil {
			return a, false
		}
		n[i] = v
	}
	return ackReply{n[0], n[1], n[2], int64(n[3]), n[4]}, true
}
