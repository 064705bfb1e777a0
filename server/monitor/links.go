package monitor

import (
	"time"

	"github.com/natsd/natsd/server/account"
)

// The documents about links to other servers. This version has none, so that the lists are empty.

// RoutezOptions say what is shown of routes.
type RoutezOptions struct {
	Subscriptions
}

func routezQuery(q *query) RoutezOptions { return RoutezOptions{q.subs("subs")} }

// Routez is the document about routes.
type Routez struct {
	ID        string              `json:"server_id"`
	Name      string              `json:"server_name"`
	Now       time.Time           `json:"now"`
	Import    *SubjectPermissions `json:"import,omitempty"`
	Export    *SubjectPermissions `json:"export,omitempty"`
	NumRoutes int                 `json:"num_routes"`
	Routes    []RouteInfo         `json:"routes"`
}

// SubjectPermissions are lists of subjects.
type SubjectPermissions struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
}

// RouteInfo is one connection of a route.
type RouteInfo struct {
	ID           uint64              `json:"rid"`
	RemoteID     string              `json:"remote_id"`
	RemoteName   string              `json:"remote_name"`
	DidSolicit   bool                `json:"did_solicit"`
	IsConfigured bool                `json:"is_configured"`
	IP           string              `json:"ip"`
	Port         int                 `json:"port"`
	Start        time.Time           `json:"start"`
	LastActivity time.Time           `json:"last_activity"`
	RTT          string              `json:"rtt,omitempty"`
	Uptime       string              `json:"uptime"`
	Idle         string              `json:"idle"`
	Import       *SubjectPermissions `json:"import,omitempty"`
	Export       *SubjectPermissions `json:"export,omitempty"`
	Pending      int64               `json:"pending_size"`
	InMsgs       int64               `json:"in_msgs"`
	OutMsgs      int64               `json:"out_msgs"`
	InBytes      int64               `json:"in_bytes"`
	OutBytes     int64               `json:"out_bytes"`
	NumSubs      int                 `json:"subscriptions"`
	Subs         []string            `json:"subscriptions_list,omitempty"`
	SubsDetail   []SubDetail         `json:"subscriptions_list_detail,omitempty"`
	Account      string              `json:"account,omitempty"`
	Compression  string              `json:"compression,omitempty"`
}

func (m *Monitor) routez(*RoutezOptions) (any, error) {
	doc := &Routez{ID: m.src.ID(), Name: m.src.Name(), Now: m.now(), Routes: []RouteInfo{}}
	if p := m.src.InUse().Cluster.Permissions; p != nil {
		doc.Import = &SubjectPermissions{p.Publish.Allow, p.Publish.Deny}
		doc.Export = &SubjectPermissions{p.Subscribe.Allow, p.Subscribe.Deny}
	}
	return doc, nil
}

// GatewayzOptions select gateways and what is shown of them.
type GatewayzOptions struct {
	Name        string `json:"name"`
	Accounts    bool   `json:"accounts"`
	AccountName string `json:"account_name"` // implies Accounts
	Subscriptions
}

func gatewayzQuery(q *query) GatewayzOptions {
	return GatewayzOptions{Name: q.string("gw_name"), Accounts: q.bool("accs"), AccountName: q.string("acc_name"), Subscriptions: q.subs("subs")}
}

// Gatewayz is the document about gateways.
type Gatewayz struct {
	ID       string                     `json:"server_id"`
	Now      time.Time                  `json:"now"`
	Name     string                     `json:"name,omitempty"`
	Host     string                     `json:"host,omitempty"`
	Port     int                        `json:"port,omitempty"`
	Outbound map[string]RemoteGateway   `json:"outbound_gateways"`
	Inbound  map[string][]RemoteGateway `json:"inbound_gateways"`
}

// RemoteGateway is a connection to another cluster.
type RemoteGateway struct {
	Configured bool             `json:"configured"`
	Connection *ConnInfo        `json:"connection,omitempty"`
	Accounts   []GatewayAccount `json:"accounts,omitempty"`
}

// GatewayAccount is what a gateway connection knows of an account.
type GatewayAccount struct {
	Name          string      `json:"name"`
	Interest      string      `json:"interest_mode"`
	NoInterest    int         `json:"no_interest_count,omitempty"`
	OnlyThreshold int         `json:"interest_only_threshold,omitempty"`
	NumSubs       int         `json:"num_subs,omitempty"`
	NumQueueSubs  int         `json:"num_queue_subs,omitempty"`
	Subs          []string    `json:"subscriptions_list,omitempty"`
	SubsDetail    []SubDetail `json:"subscriptions_list_detail,omitempty"`
}

func (m *Monitor) gatewayz(*GatewayzOptions) (any, error) {
	g := &m.src.InUse().Gateway
	return &Gatewayz{
		ID: m.src.ID(), Now: m.now(), Name: g.Name, Host: g.Host, Port: g.Port,
		Outbound: map[string]RemoteGateway{}, Inbound: map[string][]RemoteGateway{},
	}, nil
}

// LeafzOptions select leafnode connections and what is shown of them.
type LeafzOptions struct {
	Subscriptions bool   `json:"subscriptions"`
	Account       string `json:"account"`
}

func (o *LeafzOptions) limit(account string) { o.Account = account }

func leafzQuery(q *query) LeafzOptions {
	return LeafzOptions{Subscriptions: q.bool("subs"), Account: q.string("acc")}
}

// Leafz is the document about leafnodes.
type Leafz struct {
	ID       string     `json:"server_id"`
	Now      time.Time  `json:"now"`
	NumLeafs int        `json:"leafnodes"`
	Leafs    []LeafInfo `json:"leafs"`
}

// LeafInfo is a leafnode connection.
type LeafInfo struct {
	ID          uint64    `json:"id"`
	Name        string    `json:"name"`
	IsSpoke     bool      `json:"is_spoke"`
	IsIsolated  bool      `json:"is_isolated,omitempty"`
	Account     string    `json:"account"`
	IP          string    `json:"ip"`
	Port        int       `json:"port"`
	RTT         string    `json:"rtt,omitempty"`
	InMsgs      int64     `json:"in_msgs"`
	OutMsgs     int64     `json:"out_msgs"`
	InBytes     int64     `json:"in_bytes"`
	OutBytes    int64     `json:"out_bytes"`
	NumSubs     int       `json:"subscriptions"`
	Subs        []string  `json:"subscriptions_list,omitempty"`
	Compression string    `json:"compression,omitempty"`
	Proxy       *ProxyKey `json:"proxy,omitempty"`
}

func (m *Monitor) leafz(*LeafzOptions) (any, error) {
	return &Leafz{ID: m.src.ID(), Now: m.now(), Leafs: []LeafInfo{}}, nil
}

// leafs counts the leafnode connections of an account.
func (m *Monitor) leafs(a *account.Account) int {
	n := 0
	for _, c := range m.src.Leafs() {
		if c.Account() == a {
			n++
		}
	}
	return n
}
