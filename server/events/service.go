package events

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/monitor"
	"github.com/natsd/natsd/server/options"
)

// Host is the server as this package sees it. Its methods are safe for concurrent use.
type Host interface {
	client.Logger
	// Options are the present ones.
	Options() *options.Options
	// Describe describes the server; Info does so for one message, and gives the next sequence number.
	Describe() ServerInfo
	Info() ServerInfo
	// SystemAccount is never nil.
	SystemAccount() *account.Account
	Account(name string) *account.Account
	// Tag is the name of an account for people.
	Tag(a *account.Account) string
	// Client is an open connection, nil if there is none of that number.
	Client(id uint64) *client.Client
	// Reload reads the configuration again.
	Reload() error
	// Go starts a goroutine that Shutdown waits for.
	Go(f func())
}

const (
	// maxRequests and maxRequestBytes bound the requests that wait: some seconds of work.
	maxRequests     = 4096
	maxRequestBytes = 16 << 20
	// maxEvents bounds the events that wait, for a server that all its clients come to or leave at once; an event holds
	// less than a kilobyte.
	maxEvents = 1 << 17
	// maxSlow bounds the requests that take their time by nature.
	maxSlow = 4
)

// Service publishes the events of a server and answers requests to it.
//
// Its queues guard themselves; sending guards the publisher, so that the sequence numbers of messages are those of their
// order; mu guards the timers and what they are about.
type Service struct {
	host Host
	mon  *monitor.Monitor
	sys  *account.Account
	id   string

	requests queue
	events   queue
	slow     chan struct{} // one place for each slow request

	sending sync.Mutex
	pub     *account.Publisher

	mu      sync.Mutex
	stopped bool
	statsz  statszTimer
	counts  connectionCounts
}

// New returns the service of a server that has a system account; Start begins.
func New(host Host, mon *monitor.Monitor) *Service {
	s := &Service{host: host, mon: mon, sys: host.SystemAccount(), id: host.Describe().ID, slow: make(chan struct{}, maxSlow)}
	s.pub = account.NewPublisher(s.sys, account.System)
	s.requests = queue{maxJobs: maxRequests, maxBytes: maxRequestBytes, start: host.Go, full: func(n int) {
		host.Warnf("Too many system requests, %d not answered", n)
	}}
	s.events = queue{maxJobs: maxEvents, maxBytes: maxEvents, start: host.Go, full: func(n int) {
		host.Warnf("Too many system events, %d not published", n)
	}}
	s.counts.sent = map[*account.Account]time.Time{}
	s.counts.pending = map[*account.Account]bool{}
	return s
}

// Start serves requests and begins with the periodic events.
func (s *Service) Start() error {
	if err := s.subscribe(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statsz.start(s)
	return nil
}

// Shutdown publishes that the server ends, as its last message.
func (s *Service) Shutdown() {
	s.mu.Lock()
	s.stopped = true
	s.statsz.stop()
	s.counts.stop()
	s.mu.Unlock()
	s.requests.close(nil)
	s.events.close(func() {
		s.send("$SYS.SERVER."+s.id+".SHUTDOWN", func(i ServerInfo) any { return i })
	})
}

// LameDuck publishes that lame duck mode begins.
func (s *Service) LameDuck() {
	s.event(func() { s.send("$SYS.SERVER."+s.id+".LAMEDUCK", func(i ServerInfo) any { return i }) })
}

// Queues is the fill of the queues.
func (s *Service) Queues() map[string]monitor.Queue {
	out := map[string]monitor.Queue{}
	for name, q := range map[string]*queue{"System recvQ": &s.requests, "System sendQ": &s.events} {
		pending, active := q.fill()
		out[name] = monitor.Queue{Pending: pending, InProgress: active}
	}
	return out
}

// event puts work for an event into the queue, and tells whether there was room.
func (s *Service) event(do func()) bool { return s.events.add(1, do) }

// send publishes a message in the system account, if anybody wants it.
func (s *Service) send(subject string, message func(ServerInfo) any) {
	s.sendIn(s.sys, subject, message)
}

func (s *Service) sendIn(a *account.Account, subject string, message func(ServerInfo) any) {
	if !a.Interested(subject, "", nobody) {
		return
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	body, err := json.Marshal(message(s.host.Info()))
	if err != nil {
		s.host.Errorf("System message %s: %v", subject, err)
		return
	}
	pub := s.pub
	if a != s.sys {
		pub = account.NewPublisher(a, account.System)
	}
	client.TraceSystem(s.host, s.host.Options(), subject, nil, body)
	pub.Publish([]byte(subject), nil, nil, body)
	pub.Flush()
}

// nobody is the set of subscriptions that do not count as interest.
func nobody(*account.Sub) bool { return false }
