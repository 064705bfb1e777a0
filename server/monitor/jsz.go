package monitor

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/jetstream/jsapi"
)

// JszOptions say what is shown of JetStream.
type JszOptions struct {
	Account          string `json:"account"`
	Accounts         bool   `json:"accounts"`
	Streams          bool   `json:"streams"`
	Consumers        bool   `json:"consumer"`
	DirectConsumers  bool   `json:"direct_consumer"`
	Config           bool   `json:"config"`
	LeaderOnly       bool   `json:"leader_only"`
	StreamLeaderOnly bool   `json:"stream_leader_only"`
	Raft             bool   `json:"raft"`
	Offset           int    `json:"offset"`
	Limit            int    `json:"limit"`
}

func (o *JszOptions) limit(account string) { o.Account = account }

func jszQuery(q *query) JszOptions {
	return JszOptions{
		Account: q.string("acc"), Accounts: q.bool("accounts"), Streams: q.bool("streams"), Consumers: q.bool("consumers"),
		DirectConsumers: q.bool("direct-consumers"), Config: q.bool("config"), LeaderOnly: q.bool("leader-only"),
		StreamLeaderOnly: q.bool("stream-leader-only"), Raft: q.bool("raft"), Offset: q.int("offset"), Limit: q.int("limit"),
	}
}

// Jsz is the document about JetStream.
type Jsz struct {
	JetStreamStats
	ID              string            `json:"server_id"`
	Now             time.Time         `json:"now"`
	Disabled        bool              `json:"disabled,omitempty"`
	Config          JetStreamConfig   `json:"config"`
	Limits          *JetStreamLimits  `json:"limits,omitempty"`
	Streams         int               `json:"streams"`
	StreamsLeader   int               `json:"streams_leader,omitempty"`
	Consumers       int               `json:"consumers"`
	ConsumersLeader int               `json:"consumers_leader,omitempty"`
	Messages        uint64            `json:"messages"`
	Bytes           uint64            `json:"bytes"`
	Details         []JetStreamDetail `json:"account_details,omitempty"`
	Total           int               `json:"total"`
}

// JetStreamDetail is the JetStream of an account.
type JetStreamDetail struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	JetStreamStats
	Streams []StreamDetail `json:"stream_detail,omitempty"`
}

// StreamDetail is a stream.
type StreamDetail struct {
	Name            string                    `json:"name"`
	Created         time.Time                 `json:"created"`
	Cluster         *jsapi.ClusterInfo        `json:"cluster,omitempty"`
	Config          *jsapi.StreamConfig       `json:"config,omitempty"`
	State           jsapi.StreamState         `json:"state"`
	Consumers       []*jsapi.ConsumerInfo     `json:"consumer_detail,omitempty"`
	DirectConsumers []*jsapi.ConsumerInfo     `json:"direct_consumer_detail,omitempty"`
	Mirror          *jsapi.StreamSourceInfo   `json:"mirror,omitempty"`
	Sources         []*jsapi.StreamSourceInfo `json:"sources,omitempty"`
	Deduplicated    uint64                    `json:"deduplicated,omitempty"`
}

// unlimited is how a reservation without limit is shown.
const unlimited = math.MaxUint64

func (m *Monitor) jsz(o *JszOptions) (any, error) {
	js := m.src.JetStream()
	if js == nil && o.LeaderOnly {
		return nil, &Error{Status: http.StatusBadRequest, Text: "filtered response: not leader"}
	}
	doc := &Jsz{ID: m.src.ID(), Now: m.now()}
	if js == nil {
		doc.Disabled = true
		return doc, nil
	}
	opts := m.src.InUse()
	doc.JetStreamStats = m.jetStreamStats(js)
	doc.Config, doc.Limits = jetStreamConfig(js, opts), jetStreamLimits(opts)
	accounts := keep(js.Accounts(), func(a **jetstream.Account) bool { return (*a).Enabled() })
	slices.SortFunc(accounts, func(a, b *jetstream.Account) int { return strings.Compare(a.Name(), b.Name()) })
	doc.Total = len(accounts)
	for _, a := range accounts {
		for _, st := range a.Streams() {
			state := st.Info().State
			doc.Streams++
			doc.Consumers += state.Consumers
			doc.Messages += state.Msgs
			doc.Bytes += state.Bytes
		}
	}
	o.imply()
	one := slices.IndexFunc(accounts, func(a *jetstream.Account) bool { return a.Name() == o.Account })
	switch {
	case one >= 0:
		accounts = accounts[one : one+1]
	case o.Accounts:
		doc.StreamsLeader, doc.ConsumersLeader = doc.Streams, doc.Consumers
		limit := o.Limit
		if limit <= 0 {
			limit = defaultLimit
		}
		accounts = page(accounts, o.Offset, limit)
	default:
		return doc, nil
	}
	for _, a := range accounts {
		doc.Details = append(doc.Details, m.jetStreamDetail(a, o))
	}
	return doc, nil
}

// accountJsz is the document about the JetStream of one account.
func (m *Monitor) accountJsz(o *JszOptions) (any, error) {
	js := m.src.JetStream()
	if js == nil {
		return nil, errors.New("jetstream not enabled")
	}
	if m.src.Accounts().Get(o.Account) == nil {
		return nil, fmt.Errorf("account %q not found", o.Account)
	}
	a := js.Account(o.Account)
	if a == nil || !a.Enabled() {
		return nil, fmt.Errorf("account %q not jetstream enabled", o.Account)
	}
	o.imply()
	return m.jetStreamDetail(a, o), nil
}

// imply sets what other options imply.
func (o *JszOptions) imply() {
	o.Streams = o.Streams || o.Consumers || o.DirectConsumers
	o.Accounts = o.Accounts || o.Streams
}

func (m *Monitor) jetStreamDetail(a *jetstream.Account, o *JszOptions) JetStreamDetail {
	u := a.Stats()
	d := JetStreamDetail{Name: a.Name(), ID: a.Name(), JetStreamStats: JetStreamStats{
		Memory: u.Memory, Store: u.Store, ReservedMemory: reservation(u.Limits.MaxMemory), ReservedStore: reservation(u.Limits.MaxStore),
		API: jsapi.APIStats{Total: u.API.Total, Errors: u.API.Errors},
	}}
	if acc := m.src.Accounts().Get(a.Name()); acc != nil {
		d.Name = m.src.Tag(acc)
	}
	if o.Streams {
		for _, st := range a.Streams() {
			d.Streams = append(d.Streams, m.streamDetail(st, o))
		}
	}
	return d
}

// reservation shows a limit of an account.
func reservation(limit int64) uint64 {
	if limit < 0 {
		return unlimited
	}
	return uint64(limit)
}

func (m *Monitor) streamDetail(st *jetstream.Stream, o *JszOptions) StreamDetail {
	info := st.Info()
	d := StreamDetail{
		Name: st.Name(), Created: info.Created, Cluster: &jsapi.ClusterInfo{Leader: m.src.Name()}, State: info.State,
		Mirror: info.Mirror, Sources: info.Sources, Deduplicated: st.Duplicates(),
	}
	if o.Config {
		d.Config = st.Config()
	}
	if !o.Consumers && !o.DirectConsumers {
		return d
	}
	for _, c := range st.Consumers() {
		info := c.Info()
		if !o.Config {
			info.Config = nil
		}
		switch {
		case c.Config().Direct:
			if o.DirectConsumers {
				d.DirectConsumers = append(d.DirectConsumers, info)
			}
		case o.Consumers:
			d.Consumers = append(d.Consumers, info)
		}
	}
	return d
}
