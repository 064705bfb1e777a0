package server

import (
	"encoding/json"
	"time"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/msgtrace"
)

// bus is the messaging of one account as JetStream sees it.
type bus struct{ acc *account.Account }

// Bus returns JetStream's view of an account.
func Bus(a *account.Account) jetstream.Bus { return bus{a} }

func (b bus) Subscribe(subject, queue string, h jetstream.Handler) (jetstream.Subscription, error) {
	r := account.NewHandler(account.JetStream, toJetStream, func(_ *account.Producer, msgs []jetstream.Msg) { h(msgs) })
	s := &account.Sub{Subject: subject, Queue: queue, To: r}
	if err := b.acc.Subscribe(s); err != nil {
		return nil, err
	}
	return busSub{s}, nil
}

func toJetStream(_ *account.Producer, s *account.Sub, m *account.Msg) (jetstream.Msg, bool) {
	j := jetstream.Msg{Subject: m.Subject, Shown: m.Show, Reply: m.Reply, Header: m.Header, Data: m.Payload}
	c, ok := m.From.(*client.Client)
	switch {
	case m.Imported():
		j.Asked = m.Asked()
		if ok {
			j.From = importer{c, s.Account().Name(), m.Header}
		}
	case ok:
		j.From = requester{c}
	}
	if m.Trace != nil {
		j.Trace = traced{m.Trace}
	}
	return j, true
}

// traced is a message trace as JetStream sees it.
type traced struct{ *msgtrace.Trace }

func (t traced) Only() bool { return t.Trace.Only }

func (t traced) Stream(stream, subject string, noInterest bool, reason string) {
	t.Add(msgtrace.Event{Type: msgtrace.Stream, Stream: stream, StreamSubj: subject, NoInterest: noInterest, Error: reason})
}

type busSub struct{ s *account.Sub }

func (s busSub) Unsubscribe() { s.s.Account().Unsubscribe(s.s) }

func (b bus) Publisher() jetstream.Publisher { return account.NewPublisher(b.acc, account.JetStream) }

// route is an account's route as JetStream uses it.
type route struct{ *account.Route }

func (r route) Deliver(p jetstream.Publisher, subject, reply, header, data []byte) bool {
	return p.(*account.Publisher).DeliverOn(r.Route, subject, reply, header, data)
}

func (b bus) Route(subject string) jetstream.Route { return route{account.NewRoute(b.acc, subject)} }

// none: streams and internal consumers are receivers like all others.
func none(*account.Sub) bool { return false }

func (b bus) Interest(subject, queue string) bool {
	return b.acc.Interested(subject, queue, none)
}

func (b bus) Others(subject string) bool {
	return b.acc.Interested(subject, "", func(s *account.Sub) bool { return s.To.Kind() == account.JetStream })
}

func (b bus) WatchInterest(subject, queue string, changed func(bool)) (stop func()) {
	return b.acc.Watch(subject, queue, none, changed)
}

// MaxPayload implements jetstream.Bus.
func (b bus) MaxPayload() int { return int(b.acc.Config().Limits.MaxPayload) }

// requester is a client as JetStream's advisories show it.
type requester struct{ c *client.Client }

// Offer implements jetstream.Taker.
func (r requester) Offer(n int, send func()) bool { return r.c.Offer(n, send) }

// AwaitRoom implements jetstream.Taker.
func (r requester) AwaitRoom(n int, most time.Duration) bool { return r.c.AwaitRoom(n, most) }

// ClientInfo implements jetstream.Requester.
func (r requester) ClientInfo() json.RawMessage {
	i, ok := r.info()
	if !ok {
		return nil
	}
	return encodeInfo(i)
}

// BeforeRest implements jetstream.Lender.
func (r requester) BeforeRest(work func(here bool)) bool { return r.c.BeforeRest(work) }

func (r requester) info() (i client.RequestInfo, ok bool) {
	err := json.Unmarshal(r.c.AppendRequestInfo(nil, true, "", nil), &i)
	return i, err == nil
}

// importer is a client that asks through a service import.
type importer struct {
	c      *client.Client
	asked  string // the account
	header []byte // of the request; valid while the handler runs
}

// Offer implements jetstream.Taker.
func (r importer) Offer(n int, send func()) bool { return r.c.Offer(n, send) }

// AwaitRoom implements jetstream.Taker.
func (r importer) AwaitRoom(n int, most time.Duration) bool { return r.c.AwaitRoom(n, most) }

// ClientInfo implements jetstream.Requester: it is what the importing account
// shares, and names the account that is asked.
func (r importer) ClientInfo() json.RawMessage {
	own, ok := requester{r.c}.info()
	var i client.RequestInfo
	if !ok || json.Unmarshal(natsproto.HeaderValue(r.header, account.RequestInfo), &i) != nil {
		return nil
	}
	i.Service, i.Server, i.Cluster = r.asked, own.Server, own.Cluster
	return encodeInfo(i)
}

func encodeInfo(i client.RequestInfo) json.RawMessage {
	i.JWT, i.Alternates = "", nil
	b, err := json.Marshal(i)
	if err != nil {
		return nil
	}
	return b
}
