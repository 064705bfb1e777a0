package monitor

import (
	"sync"
	"time"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/operator"
	"github.com/natsd/natsd/server/options"
)

// Source is the server as monitoring sees it. Its methods are safe for concurrent use and return at once.
type Source interface {
	ID() string
	Name() string
	ClusterName() string
	StartTime() time.Time
	ConfigTime() time.Time
	// InUse are the present options, with the ports that were obtained for random ones.
	InUse() *options.Options
	// Advertised is where clients are told to connect.
	Advertised() (host string, port int)
	AuthRequired() bool
	FeatureFlags() map[string]bool

	Accounts() *account.Set
	// SystemAccount is nil if there is none.
	SystemAccount() *account.Account
	// AccountClaims are the claims of an account in operator mode, nil without. complete is false if an import of it is
	// missing, expired is true if nobody may log in.
	AccountClaims(name string) (claims *operator.Account, complete, expired bool)
	// Tag is the name of an account for people.
	Tag(a *account.Account) string

	// Conns are the open connections of clients and leafnodes, in no order.
	Conns() []Conn
	// Leafs are those of leafnodes.
	Leafs() []Conn
	// Closed are the newest closed connections, oldest first.
	Closed() []client.Snapshot
	Counters() Counters

	// OCSPPeerCache is nil where there is none.
	OCSPPeerCache() *OCSPCacheVarz

	// JetStream is nil where it is off.
	JetStream() *jetstream.Engine
	// NotReady says why clients cannot connect; nil if they can.
	NotReady() error
	// Ending is closed when the server begins to end.
	Ending() <-chan struct{}
	// Queues are the internal queues by their names.
	Queues() map[string]Queue

	Warnf(format string, v ...any)
}

// Conn is an open connection.
type Conn interface {
	ID() uint64
	Account() *account.Account
	Snapshot(subs bool) client.Snapshot
	// MeasureRTT makes the connection measure its round trip time, if that is not known.
	MeasureRTT()
}

// Counters are what the server counted since its start.
type Counters struct {
	TotalConnections uint64
	SlowClients      int64
	StaleClients     int64
	StalledClients   int64
	// PinnedAccountFails counts logins of accounts that are not among those that may.
	PinnedAccountFails int64
}

// Queue is the fill of an internal queue.
type Queue struct {
	Pending    int `json:"pending"`
	InProgress int `json:"in_progress,omitempty"`
}

// Monitor makes the documents about one server. Its methods are safe for concurrent use.
type Monitor struct {
	src     Source
	process process

	large, small turns // of requests over HTTP
	unread       unread

	mu       sync.Mutex     // guards requests
	requests map[string]int // over HTTP, by path
}

// New returns a monitor of src.
func New(src Source) *Monitor {
	return &Monitor{src: src, large: newTurns(), small: newTurns(), requests: map[string]int{}}
}

func (m *Monitor) now() time.Time { return time.Now().UTC() }

// count notes a request over HTTP.
func (m *Monitor) count(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[path]++
}

// requestCounts are the requests over HTTP by path.
func (m *Monitor) requestCounts() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := make(map[string]int, len(m.requests))
	for path, n := range m.requests {
		counts[path] = n
	}
	return counts
}

// systemName is the name of the system account, empty if there is none.
func (m *Monitor) systemName() string {
	if a := m.src.SystemAccount(); a != nil {
		return a.Name()
	}
	return ""
}
