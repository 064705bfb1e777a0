package jetstream

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/subjecttree"
)

// The request for a consumer at the origin, and what its answer means.

func jitter(d time.Duration) time.Duration { return rand.N(d) }

// Steps back to servers that know less: origin.compat.
const (
	compatFull     = iota
	compatLevel4   // sources: without the stream's identity
	compatUnnamed  // a plain direct consumer with a name of its own
	sourceAckWait  = 22 * time.Hour
	originIdle     = time.Second
	originInactive = 10 * time.Second
)

// start asks the origin for a consumer. In the turn.
func (o *origin) start() {
	st := o.stream
	if o.stopped || st.closed.Load() {
		return
	}
	if o.inbox != nil {
		o.attempt++ // no answer in time
	}
	o.cancel()
	o.lastTry = time.Now()
	o.delivery, o.awaitReset = 0, o.config.Consumer != nil
	o.takePosition()
	session := o.session
	inbox := "_INBOX." + newID()
	sub, err := st.account.bus.Subscribe(inbox, "", func(msgs []Msg) {
		body, header := bytes.Clone(msgs[0].Data), bytes.Clone(msgs[0].Header)
		st.do(func() { o.answered(session, header, body) })
	})
	if err != nil {
		o.fail(o.setupFailed(err))
		return
	}
	o.inbox = sub
	timeout := originTimeout
	if c := o.config.Consumer; c != nil {
		timeout = originReset
		if o.mirror || o.identity != "" { // else what comes must wait for the identity
			o.listen(c.DeliverSubject)
		}
		st.turn.publisher.Publish([]byte(o.api("CONSUMER.RESET."+o.config.Name+"."+c.Name)), []byte(inbox), o.header(), nil)
	} else {
		subject, header, body := o.request()
		st.turn.publisher.Publish([]byte(subject), []byte(inbox), header, body)
	}
	// The timer that starts attempts also ends this one.
	st.engine.timers.arm(&o.retry, o.lastTry.Add(timeout))
	st.engine.timers.armEarlier(&o.health, o.lastTry.Add(originSilence))
}

// takePosition finds out what was stored of the origin already.
func (o *origin) takePosition() {
	st := o.stream
	if o.mirror {
		o.seq = st.turn.overlay.lastSeq
		return
	}
	if st.turn.inflight > 0 {
		return // what is in flight has been counted
	}
	p := st.store.SourceProgress()[o.index]
	o.seq = p.Seq
	if p.Identity != "" {
		o.identity = p.Identity
	}
}

// request is the create request: subject, headers and body.
func (o *origin) request() (subject string, header, body []byte) {
	st, c := o.stream, o.config
	what := "src"
	prefix := "$JS.S."
	short := "S."
	if o.mirror {
		what, prefix, short = "mirror", "$JS.M.", "M."
	}
	if x := c.External; x != nil && x.DeliverPrefix != "" {
		prefix = x.DeliverPrefix + "." + short
	}
	cfg := jsapi.ConsumerConfig{
		Name: o.name, AckPolicy: jsapi.AckNone, AckWait: sourceAckWait, MaxDeliver: 1, FlowControl: true,
		DeliverSubject: prefix + randomID(8), Heartbeat: originIdle, InactiveThreshold: originInactive,
		Direct: true, Sourcing: true,
		Metadata: map[string]string{"_nats." + what + ".stream": st.name, "_nats." + what + ".acc": st.account.name},
	}
	if d := st.engine.opts.Domain; d != "" {
		cfg.Metadata["_nats."+what+".domain"] = d
	}
	switch len(c.SubjectTransforms) {
	case 0:
		cfg.FilterSubject = c.FilterSubject
	case 1:
		cfg.FilterSubject = c.SubjectTransforms[0].Source
	default:
		for _, t := range c.SubjectTransforms {
			cfg.FilterSubjects = append(cfg.FilterSubjects, orAll(t.Source))
		}
	}
	o.setStart(&cfg)
	if o.compat == compatUnnamed {
		cfg.Sourcing = false
		cfg.Name += "_" + randomID(8)
	}
	tail := "CONSUMER.CREATE." + c.Name
	if cfg.FilterSubject != "" {
		tail += "." + cfg.Name + "." + cfg.FilterSubject
	}
	body, _ = json.Marshal(&jsapi.ConsumerCreateRequest{Stream: c.Name, Config: cfg}) // always marshals
	return o.api(tail), o.header(), body
}

// header says what a request needs of the origin's server.
func (o *origin) header() []byte {
	switch {
	case o.compat == compatUnnamed:
		return nil
	case o.mirror || o.compat == compatLevel4:
		return natsproto.AppendHeader(nil, requiredLevelHeader, "4")
	}
	header := natsproto.AppendHeader(nil, requiredLevelHeader, "5")
	return natsproto.AppendHeader(header, hdrStreamIdent, o.identity)
}

// setStart says where the consumer is to begin.
func (o *origin) setStart(cfg *jsapi.ConsumerConfig) {
	c := o.config
	var s msgstore.State
	o.stream.store.FastState(&s)
	switch {
	case o.seq > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jsapi.DeliverByStartSequence, o.seq+1
	case c.OptStartSeq > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jsapi.DeliverByStartSequence, c.OptStartSeq
	case c.OptStartTime != nil:
		at := *c.OptStartTime
		if last := apiTime(s.LastTime); !o.mirror && s.LastTime > 0 && at.Before(last) {
			at = last
		}
		cfg.DeliverPolicy, cfg.OptStartTime = jsapi.DeliverByStartTime, &at
	case !o.mirror && s.FirstSeq > 1 && s.Msgs == 0 && s.LastTime > 0:
		at := apiTime(s.LastTime)
		cfg.DeliverPolicy, cfg.OptStartTime = jsapi.DeliverByStartTime, &at
	default:
		cfg.DeliverPolicy = jsapi.DeliverAll
	}
}

// answered takes the answer to the request. In the turn.
func (o *origin) answered(session int, header, body []byte) {
	st := o.stream
	if o.stopped || session != o.session || st.closed.Load() {
		return
	}
	if o.inbox != nil {
		o.inbox.Unsubscribe()
		o.inbox = nil
	}
	if code, _ := natsproto.HeaderStatus(header); string(code) == "503" {
		o.fail(nil) // nobody there yet
		return
	}
	var reply originReply
	id := natsproto.HeaderValue(header, hdrStreamIdent)
	if json.Unmarshal(body, &reply) != nil || !reply.wellFormed(o.config.Consumer != nil) || !wellFormedIdentity(id) {
		o.fail(o.setupFailed("malformed reply"))
		return
	}
	if err := reply.Error; err != nil {
		if len(err.Description) > jsapi.MaxDescription {
			err.Description = strings.ToValidUTF8(err.Description[:jsapi.MaxDescription], "")
		}
		o.refused(err)
		return
	}
	if o.config.Consumer != nil && reply.Config.AckPolicy != jsapi.AckFlowControl {
		err := jsapi.ErrSourceConsumerRequiresAckFC
		if o.mirror {
			err = jsapi.ErrMirrorConsumerRequiresAckFC
		}
		o.fail(err)
		return
	}
	if reply.Delivered.Stream > jsapi.MaxSequence {
		o.fail(o.setupFailed(sequencesTooLarge))
		return
	}
	o.attempt = 0
	o.setError(nil)
	if len(id) > 0 {
		if o.config.Consumer != nil && o.identity != "" && o.identity != string(id) {
			o.forget() // nobody else compares the two
		}
		o.identity = string(id)
	}
	o.consumer = reply.Name
	o.active.Store(time.Now().UnixNano())
	st.engine.timers.disarm(&o.retry)
	if o.config.Consumer == nil || o.awaitReset { // else a delivery has told already
		o.pending.Store(reply.NumPending)
	}
	if o.config.Consumer == nil && reply.Delivered.Stream > o.seq {
		o.beginAt(reply.Delivered.Stream)
	}
	switch {
	case o.config.Consumer == nil:
		o.listen(reply.Config.DeliverSubject)
	case o.sub == nil:
		o.listen(o.config.Consumer.DeliverSubject)
	}
	o.answer(reply.NumPending < mirrorDirectLag)
}

// originReply is an origin's answer to the request for a consumer.
type originReply struct {
	Error *jsapi.Error `json:"error"`
	jsapi.ConsumerInfo
	ResetSeq uint64 `json:"reset_seq"`
}

// wellFormed says whether the answer can be used. The names in it become subjects here,
// unless they are those of a consumer that the user made.
func (r *originReply) wellFormed(users bool) bool {
	switch {
	case r.Error != nil:
		return true
	case r.Config == nil:
		return false
	}
	return users || jsapi.ValidName(r.Name) && subjecttree.ValidPublish(r.Config.DeliverSubject)
}

// maxIdentity bounds a stream's identity, which goes into the headers of all messages
// that come from there. The hash that servers take has 8 bytes.
const maxIdentity = 64

func wellFormedIdentity(id []byte) bool {
	return len(id) <= maxIdentity && !bytes.ContainsAny(id, " \t\r\n\f")
}

const sequencesTooLarge = "the sequences of its messages are too large"

// setupFailed is the error of an origin whose consumer cannot be used.
func (o *origin) setupFailed(why any) *jsapi.Error {
	if o.mirror {
		return jsapi.ErrMirrorConsumerSetupFailed.With(why)
	}
	return jsapi.ErrSourceConsumerSetupFailed.With(why)
}

// beginAt takes the position of a consumer that begins later than we asked for.
// A mirror lacks what is before; an empty one begins there.
func (o *origin) beginAt(seq uint64) {
	st := o.stream
	o.seq = seq
	if !o.mirror || seq <= st.turn.overlay.lastSeq {
		return
	}
	p := st.newProposal(nil)
	ov := &st.turn.overlay
	p.raw = rawSlices.add(p.raw, msgstore.RawMsg{Seq: ov.lastSeq + 1, Skip: seq - ov.lastSeq})
	ov.lastSeq, p.last = seq, seq
	st.propose(p)
}

// refused decides what an error in the answer means.
func (o *origin) refused(err *jsapi.Error) {
	switch {
	case err.ErrCode == jsapi.ErrConsumerStreamIdentityMismatch.ErrCode:
		o.forget()
		o.restart()
	case (err.ErrCode == jsapi.ErrRequiredApiLevel.ErrCode || err.ErrCode == jsapi.ErrInvalidJSON.ErrCode) && o.stepBack():
		o.start()
	default:
		o.fail(err)
	}
}

// forget gives the position up, since the origin was made anew.
func (o *origin) forget() {
	st := o.stream
	st.engine.event(WarningEvent{"JetStream source stream \"" + o.config.Name + "\" for stream '" + st.account.name + " > " + st.name + "' was recreated, resetting source state"})
	o.identity, o.seq = "", 0
	progress := st.store.SourceProgress()
	delete(progress, o.index)
	st.store.SetSourceProgress(progress)
}

// stepBack makes the next request one that older servers understand, if there is
// such a one.
func (o *origin) stepBack() bool {
	most := compatUnnamed
	if o.config.Consumer != nil {
		most = compatLevel4 // the user's consumer has its name
	}
	next := o.compat + 1
	if o.mirror {
		next = compatUnnamed
	}
	if o.compat == compatUnnamed || next > most {
		return false
	}
	o.compat = next
	return true
}

// listen subscribes to what the consumer delivers.
func (o *origin) listen(subject string) {
	sub, err := o.stream.account.bus.Subscribe(subject, "", (&originFeed{o, o.session}).receive)
	if err != nil {
		o.fail(o.setupFailed(err))
		return
	}
	o.sub = sub
}
