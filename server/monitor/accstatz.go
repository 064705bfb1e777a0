package monitor

import (
	"slices"
	"time"

	"github.com/natsd/natsd/server/account"
)

// AccstatzOptions select accounts; none means all that are in use.
type AccstatzOptions struct {
	Accounts      []string `json:"accounts"`
	IncludeUnused bool     `json:"include_unused"`
}

func (o *AccstatzOptions) limit(account string) { o.Accounts = []string{account} }

func accstatzQuery(q *query) AccstatzOptions { return AccstatzOptions{IncludeUnused: q.bool("unused")} }

// Accstatz is the document about the use of accounts.
type Accstatz struct {
	ID       string        `json:"server_id"`
	Now      time.Time     `json:"now"`
	Accounts []AccountStat `json:"account_statz"`

	unused bool // accounts without connections were asked for, too
}

// AccountStat is the use of an account.
type AccountStat struct {
	Account       string         `json:"acc"`
	Name          string         `json:"name"`
	Conns         int64          `json:"conns"`
	Leafs         int            `json:"leafnodes"`
	TotalConns    int64          `json:"total_conns"`
	NumSubs       int            `json:"num_subscriptions"`
	Sent          AccountTraffic `json:"sent"`
	Received      AccountTraffic `json:"received"`
	SlowConsumers int64          `json:"slow_consumers"`
}

// DataStats count messages and their bytes.
type DataStats struct {
	Msgs  int64 `json:"msgs"`
	Bytes int64 `json:"bytes"`
}

// AccountTraffic is all traffic of an account, and what of it went over links.
type AccountTraffic struct {
	DataStats
	Gateways DataStats `json:"gateways"`
	Routes   DataStats `json:"routes"`
	Leafs    DataStats `json:"leafs"`
}

func (m *Monitor) accstatz(o *AccstatzOptions) (any, error) {
	doc := &Accstatz{ID: m.src.ID(), Now: m.now(), Accounts: []AccountStat{}, unused: o.IncludeUnused}
	for _, a := range m.accounts() {
		if len(o.Accounts) > 0 && !slices.Contains(o.Accounts, a.Name()) {
			continue
		}
		if s := m.AccountStat(a); s.TotalConns > 0 || o.IncludeUnused {
			doc.Accounts = append(doc.Accounts, s)
		}
	}
	return doc, nil
}

// Empty tells that no account that was asked for is in use here.
func (d *Accstatz) Empty() bool { return len(d.Accounts) == 0 && !d.unused }

// AccountStat is the use of one account.
func (m *Monitor) AccountStat(a *account.Account) AccountStat {
	n := a.Stats()
	s := AccountStat{
		Account: a.Name(), Name: m.src.Tag(a), Conns: a.Clients(), Leafs: m.leafs(a), NumSubs: a.List().Len(),
		SlowConsumers: n.SlowConsumers.Load(),
	}
	s.TotalConns = s.Conns + int64(s.Leafs)
	s.Sent.DataStats = DataStats{n.OutMsgs.Load(), n.OutBytes.Load()}
	s.Received.DataStats = DataStats{n.InMsgs.Load(), n.InBytes.Load()}
	return s
}
