package events

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/monitor"
	"github.com/natsd/natsd/subjecttree"
)

// request is a message on a $SYS subject. Its slices are its own.
type request struct {
	subject string
	reply   string // empty: none
	header  []byte
	body    []byte
	from    *client.Client // nil: it came from elsewhere
}

// account is the token of the subject that names an account.
func (r *request) account() string {
	return strings.TrimPrefix(r.subject[:strings.LastIndexByte(r.subject, '.')], accountPrefix)
}

const (
	accountPrefix = "$SYS.REQ.ACCOUNT."
	serverPrefix  = "$SYS.REQ.SERVER."
)

// everyAccount stands in the place of an account's name.
const everyAccount = "PING"

// envelope is the form of most replies.
type envelope struct {
	Server ServerInfo `json:"server"`
	Data   any        `json:"data,omitempty"`
	Error  *apiError  `json:"error,omitempty"`
}

type apiError struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return e.Description }

// badRequest is the answer to a body that cannot be decoded.
func badRequest(err error) error { return &apiError{http.StatusBadRequest, err.Error()} }

// errSilent: there is no answer.
var errSilent = errors.New("no answer")

// handler answers a request with the data of an envelope. It runs on the goroutine of the queue.
type handler func(s *Service, r *request) (data any, err error)

// serverRequests are those on $SYS.REQ.SERVER.<id>.
var serverRequests = map[string]handler{
	"RELOAD": (*Service).reload,
	"KICK":   (*Service).kick,
	"LDM":    (*Service).notifyLameDuck,
}

// subscribe begins to serve.
func (s *Service) subscribe() error {
	serve := func(subject string, h func(*request)) error {
		return s.sys.Subscribe(&account.Sub{Subject: subject, To: s.receiver(h)})
	}
	var errs []error
	add := func(subject string, h func(*request)) { errs = append(errs, serve(subject, h)) }
	server := serverPrefix + s.id + "."
	ping := serverPrefix + "PING"
	for _, e := range monitor.Endpoints {
		if e.Name == "" {
			continue
		}
		answer := s.enveloped(document(e, func(*request) string { return "" }))
		add(ping+"."+e.Name, answer)
		add(server+e.Name, answer)
	}
	for _, e := range monitor.AccountEndpoints {
		add(accountPrefix+"*."+e.Name, s.enveloped(document(e, (*request).account)))
	}
	for name, h := range serverRequests {
		add(server+name, s.enveloped(h))
	}
	for _, subject := range []string{ping, ping + ".STATSZ", server + "STATSZ"} {
		add(subject, s.answerStatsz)
	}
	for _, subject := range []string{ping + ".IDZ", server + "IDZ"} {
		add(subject, s.answerID)
	}
	add(accountPrefix+"*.CONNS", s.answerCounts)
	add("$SYS.REQ.USER.INFO", s.answerUserInfo)
	add("$SYS.REQ.USER.*.INFO", s.answerUserInfo)
	add("$SYS.DEBUG.SUBSCRIBERS", s.answerSubscribers)
	add(accountPrefix+"NSUBS", s.answerServerSubscribers)
	return errors.Join(errs...)
}

// receiver queues requests for h.
func (s *Service) receiver(h func(*request)) account.Receiver {
	convert := func(_ *account.Producer, _ *account.Sub, m *account.Msg) (*request, bool) {
		r := &request{subject: string(m.Subject), reply: string(m.Reply), header: slices.Clone(m.Header), body: slices.Clone(m.Payload)}
		r.from, _ = m.From.(*client.Client)
		return r, true
	}
	return account.NewHandler(account.System, convert, func(_ *account.Producer, rs []*request) {
		for _, r := range rs {
			s.requests.add(len(r.header)+len(r.body), func() { h(r) })
		}
	})
}

// document answers with a document, restricted to the account that of names, if any.
func document(e *monitor.Endpoint, of func(*request) string) handler {
	return func(s *Service, r *request) (any, error) {
		name := of(r)
		if e.EveryAccount && name == everyAccount {
			name = ""
		}
		options, err := e.Decode(r.body, name)
		if err != nil {
			return nil, badRequest(err)
		}
		if o, ok := options.(interface{ Slow() bool }); ok && o.Slow() {
			return nil, s.answerLater(r, e, options)
		}
		return answer(s, e, options)
	}
}

func answer(s *Service, e *monitor.Endpoint, options any) (any, error) {
	data, err := e.Answer(s.mon, options)
	var special *monitor.Error
	if errors.As(err, &special) {
		if special.OverNATS == nil {
			return nil, errSilent
		}
		return special.OverNATS, nil
	}
	if d, ok := data.(interface{ Empty() bool }); ok && err == nil && d.Empty() {
		return nil, errSilent
	}
	return data, err
}

// answerLater answers a request outside of the queue.
func (s *Service) answerLater(r *request, e *monitor.Endpoint, options any) error {
	select {
	case s.slow <- struct{}{}:
	default:
		return errors.New("too many requests of this kind")
	}
	s.host.Go(func() {
		defer func() { <-s.slow }()
		data, err := answer(s, e, options)
		s.finish(r, data, err)
	})
	return errSilent
}

// enveloped serves a handler: it looks at the filter, and sends what the handler returns.
func (s *Service) enveloped(h handler) func(*request) {
	return func(r *request) {
		if r.reply == "" {
			return
		}
		switch meant, err := s.meant(r); {
		case err != nil:
			s.finish(r, nil, err)
		case meant:
			data, err := h(s, r)
			s.finish(r, data, err)
		}
	}
}

// meant tells whether the request is for this server.
func (s *Service) meant(r *request) (bool, error) {
	var f Filter
	if len(r.body) == 0 {
		return true, nil
	}
	if err := json.Unmarshal(r.body, &f); err != nil {
		return false, badRequest(err)
	}
	i := s.host.Describe()
	return f.matches(&i), nil
}

// finish sends data or an error in an envelope, compressed if that is wanted.
func (s *Service) finish(r *request, data any, err error) {
	if err == errSilent {
		return
	}
	encoding := ""
	e := envelope{Data: data}
	if err != nil {
		e.Data = nil
		if !errors.As(err, &e.Error) {
			e.Error = &apiError{http.StatusInternalServerError, err.Error()}
		}
	} else {
		encoding = Encoding(string(natsproto.HeaderValue(r.header, "Accept-Encoding")))
	}
	s.reply(r, encoding, func(i ServerInfo) any {
		e.Server = i
		return e
	})
}

// reply sends an answer.
func (s *Service) reply(r *request, encoding string, message func(ServerInfo) any) {
	s.sending.Lock()
	defer s.sending.Unlock()
	body, err := json.Marshal(message(s.host.Info()))
	if err == nil && encoding != "" {
		body, err = Compress(encoding, body)
	}
	if err != nil {
		s.host.Errorf("System request %s: %v", r.subject, err)
		return
	}
	s.publish(r.reply, encoding, body)
}

// publish sends one message; sending is held.
func (s *Service) publish(subject, encoding string, body []byte) {
	var header []byte
	if encoding != "" {
		header = natsproto.SetHeader(nil, "Content-Encoding", encoding)
	}
	client.TraceSystem(s.host, s.host.Options(), subject, header, body)
	s.pub.Publish([]byte(subject), nil, header, body)
	s.pub.Flush()
}

// answerStatsz answers with the statistics, or publishes them if there is nobody to answer to.
func (s *Service) answerStatsz(r *request) {
	switch meant, err := s.meant(r); {
	case err != nil:
		if r.reply != "" {
			s.finish(r, nil, err)
		}
	case !meant:
	case r.reply == "":
		s.Announce()
	default:
		stats := s.mon.ServerStats()
		s.reply(r, "", func(i ServerInfo) any { return Statsz{i, stats} })
	}
}

// identity is the shortest answer.
type identity struct {
	Name string `json:"name"`
	Host string `json:"host"`
	ID   string `json:"id"`
}

func (s *Service) answerID(r *request) {
	if r.reply == "" {
		return
	}
	s.reply(r, "", func(i ServerInfo) any { return identity{i.Name, i.Host, i.ID} })
}

// answerCounts answers with the connections of an account that has some.
func (s *Service) answerCounts(r *request) {
	name := r.account()
	o := struct {
		Account string `json:"acc"`
	}{name}
	if r.reply == "" || (len(r.body) > 0 && (json.Unmarshal(r.body, &o) != nil || o.Account != name)) {
		return
	}
	a := s.host.Account(name)
	if a == nil {
		return
	}
	stat := s.mon.AccountStat(a)
	if stat.TotalConns == 0 {
		return
	}
	s.reply(r, "", func(i ServerInfo) any { return AccountConnections{typed(countsType), i, stat} })
}

// connectionNumber is the body of requests about one connection.
type connectionNumber struct {
	ID uint64 `json:"cid"`
}

func (r *request) connection() (n connectionNumber, err error) {
	if err = json.Unmarshal(r.body, &n); err != nil {
		return n, badRequest(err)
	}
	return n, nil
}

func (s *Service) kick(r *request) (any, error) {
	n, err := r.connection()
	if err != nil {
		return nil, err
	}
	c := s.host.Client(n.ID)
	if c == nil {
		return nil, errors.New("no such client or leafnode id")
	}
	c.Close(client.Kicked)
	return nil, nil
}

func (s *Service) notifyLameDuck(r *request) (any, error) {
	n, err := r.connection()
	if err != nil {
		return nil, err
	}
	c := s.host.Client(n.ID)
	if c == nil {
		return nil, errors.New("no such client id")
	}
	if !c.SendInfo(func(i *natsproto.Info) { i.LameDuck = true }) {
		return nil, errors.New("client does not support Lame Duck Mode or is not ready to receive the notification")
	}
	return nil, nil
}

func (s *Service) reload(*request) (any, error) { return nil, s.host.Reload() }

// answerSubscribers answers with the number of subscriptions of clients that get a subject, in the account of who asks.
func (s *Service) answerSubscribers(r *request) {
	a := s.requester(r)
	f := strings.Fields(string(r.body))
	switch {
	case r.reply == "" || a == nil:
	case len(f) == 0 || len(f) > 2 || !subjecttree.Valid(f[0]):
		s.answerCount(r, 0)
	case len(f) == 1:
		s.answerCount(r, countSubscribers(a, f[0], ""))
	default:
		s.answerCount(r, countSubscribers(a, f[0], f[1]))
	}
}

// answerServerSubscribers answers another server, which adds up the subscriptions of all for answerSubscribers. A server
// without clients in the account is silent.
func (s *Service) answerServerSubscribers(r *request) {
	var q struct {
		Account string `json:"acc"`
		Subject string `json:"subject"`
		Queue   []byte `json:"queue"`
	}
	if r.reply == "" || json.Unmarshal(r.body, &q) != nil || !subjecttree.Valid(q.Subject) {
		return
	}
	if a := s.host.Account(q.Account); a != nil && a.Clients() > 0 {
		s.answerCount(r, countSubscribers(a, q.Subject, string(q.Queue)))
	}
}

func (s *Service) answerCount(r *request, n int) {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.publish(r.reply, "", strconv.AppendInt(nil, int64(n), 10))
}
