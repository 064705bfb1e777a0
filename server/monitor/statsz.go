package monitor

import (
	"time"
)

// ServerStats is the body of the statistics that a server publishes.
type ServerStats struct {
	Start                time.Time      `json:"start"`
	Mem                  int64          `json:"mem"`
	Cores                int            `json:"cores"`
	CPU                  float64        `json:"cpu"`
	Connections          int            `json:"connections"`
	TotalConnections     uint64         `json:"total_connections"`
	ActiveAccounts       int            `json:"active_accounts"`
	NumSubs              int            `json:"subscriptions"`
	Sent                 DataStats      `json:"sent"`
	SentToClients        DataStats      `json:"sent_to_clients"`
	Received             DataStats      `json:"received"`
	ReceivedFromClients  DataStats      `json:"received_from_clients"`
	SlowConsumers        int64          `json:"slow_consumers"`
	SlowConsumerStats    *KindCounts    `json:"slow_consumer_stats,omitempty"`
	StaleConnections     int64          `json:"stale_connections,omitempty"`
	StaleConnectionStats *KindCounts    `json:"stale_connection_stats,omitempty"`
	StalledClients       int64          `json:"stalled_clients,omitempty"`
	Routes               []RouteStat    `json:"routes,omitempty"`
	Gateways             []GatewayStat  `json:"gateways,omitempty"`
	ActiveServers        int            `json:"active_servers,omitempty"`
	JetStream            *JetStreamVarz `json:"jetstream,omitempty"`
	MemLimit             int64          `json:"gomemlimit,omitempty"`
	MaxProcs             int            `json:"gomaxprocs,omitempty"`
}

// RouteStat is the traffic of a route.
type RouteStat struct {
	ID       uint64    `json:"rid"`
	Name     string    `json:"name,omitempty"`
	Sent     DataStats `json:"sent"`
	Received DataStats `json:"received"`
	Pending  int64     `json:"pending"`
}

// GatewayStat is the traffic of a gateway.
type GatewayStat struct {
	ID       uint64    `json:"gwid"`
	Name     string    `json:"name"`
	Sent     DataStats `json:"sent"`
	Received DataStats `json:"received"`
	Inbound  int       `json:"inbound_connections"`
}

// ServerStats are the server's present statistics.
func (m *Monitor) ServerStats() *ServerStats {
	use := m.process.usage()
	total := &m.src.Accounts().Total
	n := m.src.Counters()
	s := &ServerStats{
		Start: m.src.StartTime().UTC(), Mem: use.Mem, Cores: use.Cores, CPU: use.CPUPercent, MemLimit: use.MemLimit, MaxProcs: use.MaxProcs,
		TotalConnections: n.TotalConnections, NumSubs: m.subscriptions(),
		Sent:          DataStats{total.OutMsgs.Load(), total.OutBytes.Load()},
		Received:      DataStats{total.InMsgs.Load(), total.InBytes.Load()},
		SlowConsumers: n.SlowClients, StaleConnections: n.StaleClients, StalledClients: n.StalledClients,
		ActiveServers: 1, // this one; no others are known
	}
	s.Connections, _ = m.connections()
	s.SentToClients, s.ReceivedFromClients = s.Sent, s.Received
	if n.SlowClients > 0 {
		s.SlowConsumerStats = &KindCounts{Clients: uint64(n.SlowClients)}
	}
	if n.StaleClients > 0 {
		s.StaleConnectionStats = &KindCounts{Clients: uint64(n.StaleClients)}
	}
	for _, a := range m.src.Accounts().All() {
		if a.Clients() > 0 || m.leafs(a) > 0 {
			s.ActiveAccounts++
		}
	}
	if v := m.jetStreamVarz(m.src.InUse(), false); v.Config != nil {
		s.JetStream = &v
	}
	return s
}
