package jetstream

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/natsd/natsd/jetstream/consumer"
	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/natsproto"
)

// consumerEndpoints are the CONSUMER.* lines of the API's table.
var consumerEndpoints = []*endpoint{
	newEndpoint("CONSUMER.CREATE", 1, "consumer_create_response", ownChecks, serveConsumerCreate),
	newEndpoint("CONSUMER.CREATE", 2, "consumer_create_response", ownChecks|shared, serveConsumerCreate),
	newEndpoint("CONSUMER.CREATE", anyArgs, "consumer_create_response", ownChecks|shared, serveConsumerCreate),
	newEndpoint("CONSUMER.DURABLE.CREATE", 2, "consumer_create_response", ownChecks|shared, serveDurableCreate),
	newEndpoint("CONSUMER.NAMES", 1, "consumer_names_response", infoQueue, serveConsumerNames),
	newEndpoint("CONSUMER.LIST", 1, "consumer_list_response", infoQueue, serveConsumerList),
	newEndpoint("CONSUMER.INFO", 2, "consumer_info_response", infoQueue|ownChecks, serveConsumerInfo),
	newEndpoint("CONSUMER.DELETE", 2, "consumer_delete_response", emptyBody, serveConsumerDelete),
	newEndpoint("CONSUMER.PAUSE", 2, "consumer_pause_response", ownChecks, serveConsumerPause),
	newEndpoint("CONSUMER.UNPIN", 2, "consumer_unpin_response", 0, serveConsumerUnpin),
	newEndpoint("CONSUMER.RESET", 2, "consumer_reset_response", unrecorded, serveConsumerReset),
	newEndpoint("CONSUMER.LEADER.STEPDOWN", 2, "consumer_leader_stepdown_response", clusterOnly, serveConsumerStepdown),
}

// identity answers a request that names the stream's identity.
func (r *request) identity(st *Stream) string {
	id := streamIdentity(st.created)
	r.replyHeaders = natsproto.AppendHeader(nil, hdrStreamIdent, id)
	return id
}

func serveDurableCreate(r *request, p *jsapi.ConsumerInfoResponse) *jsapi.Error {
	return createConsumer(r, p, true)
}

func serveConsumerCreate(r *request, p *jsapi.ConsumerInfoResponse) *jsapi.Error {
	return createConsumer(r, p, false)
}

func createConsumer(r *request, p *jsapi.ConsumerInfoResponse, legacy bool) *jsapi.Error {
	var q jsapi.ConsumerCreateRequest
	if len(r.body) > 0 {
		if err := r.decode(&q); err != nil {
			return err
		}
	}
	if err := r.checks(); err != nil {
		return err
	}
	cfg := &q.Config
	if err := r.checkCreateSubject(&q, legacy); err != nil {
		return err
	}
	if cfg.Replicas > 1 {
		return jsapi.ErrStreamReplicasNotSupported
	}
	st, err := r.stream()
	if err != nil {
		return err
	}
	if v := natsproto.HeaderValue(r.header, hdrStreamIdent); len(v) > 0 && string(v) != streamIdentity(st.created) {
		return jsapi.ErrConsumerStreamIdentityMismatch.With(string(v))
	}
	if why := st.consumers.whyOffline(cfg.Name); why != "" {
		r.delayed = true
		return jsapi.ErrConsumerOfflineReason.With(why)
	}
	cr := consumerRequest{config: *cfg, action: q.Action, pedantic: q.Pedantic}
	internal := cfg.Direct
	if cfg.Direct && cfg.Sourcing && cfg.Name != "" {
		cr.forSource(st)
	}
	c, err := st.consumers.upsert(&cr)
	if err != nil {
		return err
	}
	if internal {
		r.identity(st)
	}
	p.ConsumerInfo = c.info(true)
	return nil
}

// forSource adapts the consumer that a server wants for a mirror or a source.
func (cr *consumerRequest) forSource(st *Stream) {
	cfg := &cr.config
	if st.Config().Retention == jsapi.LimitsPolicy {
		cfg.Name += "-" + randomID(8)
		return
	}
	cr.sourcing = true
	cfg.Durable, cfg.Direct = cfg.Name, false
	cfg.AckPolicy, cfg.FlowControl, cfg.Heartbeat = jsapi.AckFlowControl, true, time.Second
	cfg.MaxAckPending, cfg.AckWait, cfg.MaxDeliver, cfg.InactiveThreshold = jsapi.DefaultMaxAckPending, 0, 0, 0
}

// checkCreateSubject compares a create request with its subject.
func (r *request) checkCreateSubject(q *jsapi.ConsumerCreateRequest, legacy bool) *jsapi.Error {
	cfg := &q.Config
	if q.Stream != r.args[0] {
		return jsapi.ErrStreamMismatch
	}
	name := cfg.Name
	if len(r.args) > 1 {
		name = r.args[1]
	}
	if strings.ContainsAny(name, `/\`) {
		return jsapi.ErrConsumerNameContainsPathSeparators
	}
	switch {
	case legacy:
		if cfg.Durable == "" {
			return jsapi.ErrConsumerDurableNameNotSet
		}
		if cfg.Durable != name {
			return jsapi.ErrConsumerDurableNameNotMatchSubject
		}
		cfg.Name = name
		return nil
	case len(r.args) == 1:
		if cfg.Durable != "" {
			return jsapi.ErrConsumerEphemeralWithDurableName
		}
		return nil
	}
	if cfg.Durable != "" && cfg.Durable != name {
		return jsapi.ErrConsumerDurableNameNotMatchSubject
	}
	cfg.Name = name
	if len(r.args) > 2 {
		if len(cfg.FilterSubjects) > 0 {
			return jsapi.ErrConsumerMultipleFiltersNotAllowed
		}
		if cfg.FilterSubject != r.args[2] {
			return jsapi.ErrConsumerCreateFilterSubjectMismatch
		}
	}
	return nil
}

// lookup finds the stream and the consumer that a request names.
func (r *request) lookup() (*Consumer, *jsapi.Error) {
	st, err := r.stream()
	if err != nil {
		return nil, err
	}
	if c := st.consumers.get([]byte(r.args[1])); c != nil {
		return c, nil
	}
	if why := st.consumers.whyOffline(r.args[1]); why != "" {
		r.delayed = true
		return nil, jsapi.ErrConsumerOfflineReason.With(why)
	}
	return nil, jsapi.ErrConsumerNotFound
}

// page reads the paging request and returns the consumers that it asks for.
func (r *request) page(p *jsapi.Paging, limit int) ([]*Consumer, *jsapi.Error) {
	var q jsapi.PagedRequest
	if err := r.decodeOptional(&q); err != nil {
		return nil, err
	}
	st, err := r.stream()
	if err != nil {
		return nil, err
	}
	all := st.consumers.list()
	shown := all[:0]
	for _, c := range all {
		if !c.config.Load().Direct {
			shown = append(shown, c)
		}
	}
	p.Total, p.Limit = len(shown), limit
	p.Offset = min(max(q.Offset, 0), len(shown))
	return shown[p.Offset:min(p.Offset+limit, len(shown))], nil
}

func serveConsumerNames(r *request, p *jsapi.ConsumerNamesResponse) *jsapi.Error {
	list, err := r.page(&p.Paging, jsapi.NamesLimit)
	if err != nil {
		return err
	}
	p.Consumers = make([]string, 0, len(list))
	for _, c := range list {
		p.Consumers = append(p.Consumers, c.name)
	}
	return nil
}

func serveConsumerList(r *request, p *jsapi.ConsumerListResponse) *jsapi.Error {
	list, err := r.page(&p.Paging, jsapi.ListLimit)
	if err != nil {
		return err
	}
	p.Consumers = make([]*jsapi.ConsumerInfo, 0, len(list))
	for _, c := range list {
		p.Consumers = append(p.Consumers, c.info(false))
	}
	if st := r.account.Stream(r.args[0]); st != nil {
		p.Offline = st.consumers.offlineReasons()
		for name := range p.Offline {
			p.Missing = append(p.Missing, name)
		}
		slices.Sort(p.Missing)
	}
	return nil
}

func serveConsumerInfo(r *request, p *jsapi.ConsumerInfoResponse) *jsapi.Error {
	if !jsapi.IsEmpty(r.body) {
		return jsapi.ErrNotEmptyRequest
	}
	if err := r.checks(); err != nil {
		return err
	}
	c, err := r.lookup()
	if err != nil {
		return err
	}
	p.ConsumerInfo = c.info(true)
	return nil
}

func serveConsumerDelete(r *request, p *jsapi.SuccessResponse) *jsapi.Error {
	if st := r.account.Stream(r.args[0]); st != nil && st.consumers.whyOffline(r.args[1]) != "" {
		known, err := st.consumers.deleteOffline(r.args[1])
		p.Success = known && err == nil
		if err != nil {
			return jsapi.ErrConsumerCreate.Wrap(err)
		}
		st.consumers.recheck()
		return nil
	}
	c, err := r.lookup()
	if err != nil {
		return err
	}
	gone, failed := c.set.remove(c)
	if !gone {
		return jsapi.ErrConsumerNotFound
	}
	c.set.recheck()
	if failed != nil {
		return jsapi.ErrConsumerCreate.Wrap(failed)
	}
	p.Success = true
	return nil
}

func serveConsumerPause(r *request, p *jsapi.ConsumerPauseResponse) *jsapi.Error {
	var q jsapi.ConsumerPauseRequest
	if len(bytes.TrimSpace(r.body)) > 0 {
		if err := r.decode(&q); err != nil {
			return err
		}
	}
	if err := r.checks(); err != nil {
		return err
	}
	c, err := r.lookup()
	if err != nil {
		r.silent = r.delayed // an offline consumer: the server that can use it answers
		return err
	}
	if err := c.pause(q.PauseUntil); err != nil {
		return err
	}
	p.PauseUntil = jsapi.UTC(q.PauseUntil)
	if left := time.Until(q.PauseUntil); left > 0 {
		p.Paused, p.PauseRemaining = true, left
	}
	return nil
}

func serveConsumerUnpin(r *request, _ *jsapi.ConsumerUnpinResponse) *jsapi.Error {
	var q jsapi.ConsumerUnpinRequest
	if _, err := jsapi.Decode(r.body, &q, false); err != nil {
		return err
	}
	switch {
	case q.Group == "":
		return jsapi.ErrInvalidJSON.With("consumer group not specified")
	case !jsapi.ValidGroup(q.Group):
		return jsapi.ErrConsumerInvalidGroupName
	}
	c, err := r.lookup()
	if err != nil {
		r.silent = r.delayed // an offline consumer: the server that can use it answers
		return err
	}
	known := false
	for _, g := range c.config.Load().PriorityGroups {
		known = known || g == q.Group
	}
	if !known {
		return jsapi.ErrConsumerInvalidPriorityGroup
	}
	c.state.Lock()
	c.m.Unpin(q.Group, "admin")
	c.state.Unlock()
	c.wake()
	return nil
}

func serveConsumerReset(r *request, p *jsapi.ConsumerResetResponse) *jsapi.Error {
	if r.silent = len(r.reply) == 0; r.silent {
		return nil
	}
	// The name is part of an error text that clients know.
	type JSApiConsumerResetRequest jsapi.ConsumerResetRequest
	var q JSApiConsumerResetRequest
	if len(r.body) > 0 {
		if _, err := jsapi.Decode(r.body, &q, false); err != nil {
			return err
		}
	}
	c, err := r.lookup()
	if err != nil {
		return err
	}
	if natsproto.HeaderValue(r.header, hdrStreamIdent) != nil {
		r.identity(c.stream)
	}
	seq, err := c.reset(q.Seq)
	if err != nil {
		return err
	}
	p.ConsumerInfo, p.ResetSeq = c.info(true), seq
	return nil
}

// serveConsumerStepdown is only reached in a cluster.
func serveConsumerStepdown(*request, *jsapi.SuccessResponse) *jsapi.Error {
	return jsapi.ErrClusterRequired
}

// servePull takes a pull request for the stream and consumer in names, and reports
// whether it is one. tail is all that follows "$JS.API.".
func (a *Account) servePull(p *Publisher, names, tail []byte, m *Msg, alone bool) bool {
	stream, rest, ok := bytes.Cut(names, []byte{'.'})
	if !ok {
		return false
	}
	c := a.consumer(stream, rest)
	if c == nil {
		a.noResponders(a.publisher(p), m, []byte(apiPrefix), tail)
		return true
	}
	if len(m.Reply) == 0 {
		return true
	}
	if len(m.Header) > 0 && checkLevel(m.Header) != nil {
		a.publisher(p).Publish(m.Reply, nil, requiredLevelStatus, nil)
		return true
	}
	if alone {
		c.putAlone(consumerItem{kind: itemPull}, m.Data, m.Reply)
	} else {
		c.put(consumerItem{kind: itemPull}, m.Data, m.Reply)
	}
	return true
}

var requiredLevelStatus = statusHeader("412 Required Api Level")

// consumer returns a consumer by name, or nil.
func (a *Account) consumer(stream, name []byte) *Consumer {
	a.mu.RLock()
	st := a.streams[string(stream)]
	a.mu.RUnlock()
	if st == nil {
		return nil
	}
	return st.consumers.get(name)
}

// serveAcks is the handler of $JS.ACK.>.
func (a *Account) serveAcks(msgs []Msg) {
	var p Publisher
	for i := range msgs {
		m := &msgs[i]
		ack, routed, numeric := consumer.ParseAckSubject(m.Subject)
		var c *Consumer
		if routed && a.owns(ack.Domain, ack.Hash) {
			c = a.consumer(ack.Stream, ack.Consumer)
		}
		if c != nil {
			if pol := c.config.Load().AckPolicy; pol == jsapi.AckNone || pol == jsapi.AckFlowControl {
				c = nil
			}
		}
		switch {
		case c == nil:
			a.noResponders(a.publisher(&p), m, nil, m.Subject)
		case numeric:
			it := consumerItem{kind: itemAck, seq: ack.Seq, cseq: ack.ConsumerSeq, deliveries: ack.Deliveries}
			if len(msgs) == 1 {
				c.putAlone(it, m.Data, m.Reply)
			} else {
				c.put(it, m.Data, m.Reply)
			}
		}
	}
	a.release(p)
}

// owns reports whether the domain and account hash of the longer form of a
// subject are this account's.
func (a *Account) owns(domain, hash []byte) bool {
	if domain == nil {
		return true
	}
	d := a.engine.opts.Domain
	if d == "" {
		d = "_"
	}
	return string(domain) == d && string(hash) == shortHash(a.name)
}

// serveFlowControl is the handler of $JS.FC.>.
func (a *Account) serveFlowControl(msgs []Msg) {
	var p Publisher
	for i := range msgs {
		m := &msgs[i]
		tok := bytes.Split(m.Subject[len("$JS.FC."):], []byte{'.'})
		if len(tok) == 5 && a.owns(tok[0], tok[1]) {
			tok = tok[2:]
		}
		var c *Consumer
		if len(tok) == 3 {
			c = a.consumer(tok[0], tok[1])
		}
		if c == nil {
			a.noResponders(a.publisher(&p), m, nil, m.Subject)
			continue
		}
		seq, _ := strconv.ParseUint(string(natsproto.HeaderValue(m.Header, "Nats-Last-Stream")), 10, 64)
		c.put(consumerItem{kind: itemFlow, seq: seq}, m.Subject, nil)
	}
	a.release(p)
}
