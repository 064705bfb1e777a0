package monitor

import (
	"net/url"
	"runtime"
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/server/version"
)

// Varz is the document about the server itself.
type Varz struct {
	ID                    string                `json:"server_id"`
	Name                  string                `json:"server_name"`
	Version               string                `json:"version"`
	Proto                 int                   `json:"proto"`
	GitCommit             string                `json:"git_commit,omitempty"`
	GoVersion             string                `json:"go"`
	Host                  string                `json:"host"`
	Port                  int                   `json:"port"`
	AuthRequired          bool                  `json:"auth_required,omitempty"`
	TLSRequired           bool                  `json:"tls_required,omitempty"`
	TLSVerify             bool                  `json:"tls_verify,omitempty"`
	TLSOCSPPeerVerify     bool                  `json:"tls_ocsp_peer_verify,omitempty"`
	IP                    string                `json:"ip,omitempty"`
	ClientConnectURLs     []string              `json:"connect_urls,omitempty"`
	WSConnectURLs         []string              `json:"ws_connect_urls,omitempty"`
	MaxConnections        int64                 `json:"max_connections"`
	MaxSubscriptions      int64                 `json:"max_subscriptions,omitempty"`
	PingInterval          time.Duration         `json:"ping_interval"`
	PingMax               int64                 `json:"ping_max"`
	HTTPHost              string                `json:"http_host"`
	HTTPPort              int                   `json:"http_port"`
	HTTPBasePath          string                `json:"http_base_path"`
	HTTPSPort             int                   `json:"https_port"`
	AuthTimeout           float64               `json:"auth_timeout"`
	MaxControlLine        int64                 `json:"max_control_line"`
	MaxPayload            int64                 `json:"max_payload"`
	MaxPending            int64                 `json:"max_pending"`
	Cluster               ClusterVarz           `json:"cluster"`
	Gateway               GatewayVarz           `json:"gateway"`
	Leaf                  LeafVarz              `json:"leaf"`
	MQTT                  MQTTVarz              `json:"mqtt"`
	WebSocket             WebSocketVarz         `json:"websocket"`
	JetStream             JetStreamVarz         `json:"jetstream"`
	TLSTimeout            float64               `json:"tls_timeout"`
	WriteDeadline         time.Duration         `json:"write_deadline"`
	WriteTimeout          string                `json:"write_timeout,omitempty"`
	Start                 time.Time             `json:"start"`
	Now                   time.Time             `json:"now"`
	Uptime                string                `json:"uptime"`
	Mem                   int64                 `json:"mem"`
	Cores                 int                   `json:"cores"`
	MaxProcs              int                   `json:"gomaxprocs"`
	MemLimit              int64                 `json:"gomemlimit,omitempty"`
	CPU                   float64               `json:"cpu"`
	Connections           int                   `json:"connections"`
	TotalConnections      uint64                `json:"total_connections"`
	Routes                int                   `json:"routes"`
	Remotes               int                   `json:"remotes"`
	Leafs                 int                   `json:"leafnodes"`
	InMsgs                int64                 `json:"in_msgs"`
	InBytes               int64                 `json:"in_bytes"`
	InClientMsgs          int64                 `json:"in_client_msgs"`
	InClientBytes         int64                 `json:"in_client_bytes"`
	OutMsgs               int64                 `json:"out_msgs"`
	OutBytes              int64                 `json:"out_bytes"`
	OutClientMsgs         int64                 `json:"out_client_msgs"`
	OutClientBytes        int64                 `json:"out_client_bytes"`
	SlowConsumers         int64                 `json:"slow_consumers"`
	StaleConnections      int64                 `json:"stale_connections"`
	StalledClients        int64                 `json:"stalled_clients"`
	Subscriptions         int                   `json:"subscriptions"`
	HTTPReqStats          map[string]int        `json:"http_req_stats"`
	ConfigLoadTime        time.Time             `json:"config_load_time"`
	ConfigDigest          string                `json:"config_digest"`
	Tags                  []string              `json:"tags,omitempty"`
	Metadata              map[string]string     `json:"metadata,omitempty"`
	FeatureFlags          map[string]bool       `json:"feature_flags,omitempty"`
	TrustedOperatorsJWT   []string              `json:"trusted_operators_jwt,omitempty"`
	TrustedOperatorsClaim []*jwt.OperatorClaims `json:"trusted_operators_claim,omitempty"`
	SystemAccount         string                `json:"system_account,omitempty"`
	PinnedAccountFails    uint64                `json:"pinned_account_fails,omitempty"`
	OCSPPeerCache         *OCSPCacheVarz        `json:"ocsp_peer_cache,omitempty"`
	SlowConsumerStats     KindCounts            `json:"slow_consumer_stats"`
	StaleConnectionStats  KindCounts            `json:"stale_connection_stats"`
	DiskWait              DiskWait              `json:"disk_io_wait_stats"`
	Proxies               *Proxies              `json:"proxies,omitempty"`
	TLSCertNotAfter       *time.Time            `json:"tls_cert_not_after,omitempty"`
}

// ClusterVarz is the configuration of a cluster.
type ClusterVarz struct {
	Name          string        `json:"name,omitempty"`
	Host          string        `json:"addr,omitempty"`
	Port          int           `json:"cluster_port,omitempty"`
	AuthTimeout   float64       `json:"auth_timeout,omitempty"`
	URLs          []string      `json:"urls,omitempty"`
	TLSTimeout    float64       `json:"tls_timeout,omitempty"`
	TLSRequired   bool          `json:"tls_required,omitempty"`
	TLSVerify     bool          `json:"tls_verify,omitempty"`
	PoolSize      int64         `json:"pool_size,omitempty"`
	WriteDeadline time.Duration `json:"write_deadline,omitempty"`
	WriteTimeout  string        `json:"write_timeout,omitempty"`
	CertNotAfter  *time.Time    `json:"tls_cert_not_after,omitempty"`
}

// GatewayVarz is the configuration of gateways.
type GatewayVarz struct {
	Name           string              `json:"name,omitempty"`
	Host           string              `json:"host,omitempty"`
	Port           int                 `json:"port,omitempty"`
	AuthTimeout    float64             `json:"auth_timeout,omitempty"`
	TLSTimeout     float64             `json:"tls_timeout,omitempty"`
	TLSRequired    bool                `json:"tls_required,omitempty"`
	TLSVerify      bool                `json:"tls_verify,omitempty"`
	Advertise      string              `json:"advertise,omitempty"`
	ConnectRetries int64               `json:"connect_retries,omitempty"`
	Gateways       []RemoteGatewayVarz `json:"gateways,omitempty"`
	RejectUnknown  bool                `json:"reject_unknown,omitempty"`
	WriteDeadline  time.Duration       `json:"write_deadline,omitempty"`
	WriteTimeout   string              `json:"write_timeout,omitempty"`
	CertNotAfter   *time.Time          `json:"tls_cert_not_after,omitempty"`
}

// RemoteGatewayVarz is a configured remote cluster.
type RemoteGatewayVarz struct {
	Name       string   `json:"name"`
	TLSTimeout float64  `json:"tls_timeout,omitempty"`
	URLs       []string `json:"urls,omitempty"`
}

// LeafVarz is the configuration of leafnodes.
type LeafVarz struct {
	Host              string           `json:"host,omitempty"`
	Port              int              `json:"port,omitempty"`
	AuthTimeout       float64          `json:"auth_timeout,omitempty"`
	TLSTimeout        float64          `json:"tls_timeout,omitempty"`
	TLSRequired       bool             `json:"tls_required,omitempty"`
	TLSVerify         bool             `json:"tls_verify,omitempty"`
	Remotes           []RemoteLeafVarz `json:"remotes,omitempty"`
	TLSOCSPPeerVerify bool             `json:"tls_ocsp_peer_verify,omitempty"`
	WriteDeadline     time.Duration    `json:"write_deadline,omitempty"`
	WriteTimeout      string           `json:"write_timeout,omitempty"`
	CertNotAfter      *time.Time       `json:"tls_cert_not_after,omitempty"`
}

// RemoteLeafVarz is a configured remote of leafnodes.
type RemoteLeafVarz struct {
	Account           string     `json:"local_account,omitempty"`
	TLSTimeout        float64    `json:"tls_timeout,omitempty"`
	URLs              []string   `json:"urls,omitempty"`
	Deny              *DenyRules `json:"deny,omitempty"`
	TLSOCSPPeerVerify bool       `json:"tls_ocsp_peer_verify,omitempty"`
}

// DenyRules are what does not pass a leafnode connection.
type DenyRules struct {
	Exports []string `json:"exports,omitempty"`
	Imports []string `json:"imports,omitempty"`
}

// MQTTVarz is the configuration of MQTT.
type MQTTVarz struct {
	Host              string        `json:"host,omitempty"`
	Port              int           `json:"port,omitempty"`
	NoAuthUser        string        `json:"no_auth_user,omitempty"`
	AuthTimeout       float64       `json:"auth_timeout,omitempty"`
	TLSMap            bool          `json:"tls_map,omitempty"`
	TLSTimeout        float64       `json:"tls_timeout,omitempty"`
	TLSPinnedCerts    []string      `json:"tls_pinned_certs,omitempty"`
	JSDomain          string        `json:"js_domain,omitempty"`
	AckWait           time.Duration `json:"ack_wait,omitempty"`
	MaxAckPending     int64         `json:"max_ack_pending,omitempty"`
	TLSOCSPPeerVerify bool          `json:"tls_ocsp_peer_verify,omitempty"`
	CertNotAfter      *time.Time    `json:"tls_cert_not_after,omitempty"`
}

// WebSocketVarz is the configuration of WebSocket.
type WebSocketVarz struct {
	Host              string        `json:"host,omitempty"`
	Port              int           `json:"port,omitempty"`
	Advertise         string        `json:"advertise,omitempty"`
	NoAuthUser        string        `json:"no_auth_user,omitempty"`
	JWTCookie         string        `json:"jwt_cookie,omitempty"`
	HandshakeTimeout  time.Duration `json:"handshake_timeout,omitempty"`
	AuthTimeout       float64       `json:"auth_timeout,omitempty"`
	NoTLS             bool          `json:"no_tls,omitempty"`
	TLSMap            bool          `json:"tls_map,omitempty"`
	TLSPinnedCerts    []string      `json:"tls_pinned_certs,omitempty"`
	SameOrigin        bool          `json:"same_origin,omitempty"`
	AllowedOrigins    []string      `json:"allowed_origins,omitempty"`
	Compression       bool          `json:"compression,omitempty"`
	TLSOCSPPeerVerify bool          `json:"tls_ocsp_peer_verify,omitempty"`
	CertNotAfter      *time.Time    `json:"tls_cert_not_after,omitempty"`
}

// OCSPCacheVarz counts what the cache of OCSP answers did.
type OCSPCacheVarz struct {
	Type    string `json:"cache_type,omitempty"`
	Hits    int64  `json:"cache_hits,omitempty"`
	Misses  int64  `json:"cache_misses,omitempty"`
	Cached  int64  `json:"cached_responses,omitempty"`
	Revoked int64  `json:"cached_revoked_responses,omitempty"`
	Good    int64  `json:"cached_good_responses,omitempty"`
	Unknown int64  `json:"cached_unknown_responses,omitempty"`
}

// KindCounts counts something by the kind of connection.
type KindCounts struct {
	Clients  uint64 `json:"clients"`
	Routes   uint64 `json:"routes"`
	Gateways uint64 `json:"gateways"`
	Leafs    uint64 `json:"leafs"`
}

// DiskWait is how long stores waited for a place in front of the disk.
type DiskWait struct {
	Waiters int64         `json:"waiters"`
	Waits   int64         `json:"waits"`
	Time    time.Duration `json:"wait_time"`
	MaxTime time.Duration `json:"max_wait_time"`
}

// Proxies are the trusted ones.
type Proxies struct {
	Trusted []ProxyKey `json:"trusted"`
}

// ProxyKey is the public key of a proxy.
type ProxyKey struct {
	Key string `json:"key"`
}

func (m *Monitor) varz(*none) (any, error) {
	o := m.src.InUse()
	use := m.process.usage()
	now := m.now()
	total := &m.src.Accounts().Total
	n := m.src.Counters()
	v := &Varz{
		ID: m.src.ID(), Name: m.src.Name(), Version: version.Compatible, Proto: 1, GitCommit: version.Commit,
		GoVersion: runtime.Version(), AuthRequired: m.src.AuthRequired(),
		MaxConnections: o.MaxConnections, MaxSubscriptions: o.MaxSubscriptions, PingInterval: o.PingInterval, PingMax: o.PingMax,
		HTTPHost: o.HTTPHost, HTTPPort: o.HTTPPort, HTTPBasePath: o.HTTPBasePath, HTTPSPort: o.HTTPSPort,
		AuthTimeout: o.Authorization.Timeout.Seconds(), MaxControlLine: o.MaxControlLine, MaxPayload: o.MaxPayload, MaxPending: o.MaxPending,
		Cluster: clusterVarz(o), Gateway: gatewayVarz(&o.Gateway), Leaf: leafVarz(&o.LeafNodes),
		MQTT: mqttVarz(&o.MQTT), WebSocket: webSocketVarz(&o.WebSocket), JetStream: m.jetStreamVarz(o, true),
		TLSTimeout: tlsTimeout(o.TLS, true), WriteDeadline: o.WriteDeadline, WriteTimeout: o.WriteTimeout.String(),
		Start: m.src.StartTime().UTC(), Now: now, Uptime: uptime(now.Sub(m.src.StartTime())),
		Mem: use.Mem, Cores: use.Cores, MaxProcs: use.MaxProcs, MemLimit: use.MemLimit, CPU: use.CPUPercent,
		TotalConnections: n.TotalConnections,
		InMsgs:           total.InMsgs.Load(), InBytes: total.InBytes.Load(), OutMsgs: total.OutMsgs.Load(), OutBytes: total.OutBytes.Load(),
		SlowConsumers: n.SlowClients, StaleConnections: n.StaleClients, StalledClients: n.StalledClients,
		PinnedAccountFails: uint64(n.PinnedAccountFails),
		Subscriptions:      m.subscriptions(), HTTPReqStats: m.requestCounts(),
		ConfigLoadTime: m.src.ConfigTime().UTC(), ConfigDigest: o.ConfigDigest,
		Tags: o.ServerTags, Metadata: o.ServerMetadata, FeatureFlags: m.src.FeatureFlags(), SystemAccount: m.systemName(),
		SlowConsumerStats: KindCounts{Clients: uint64(n.SlowClients)}, StaleConnectionStats: KindCounts{Clients: uint64(n.StaleClients)},
	}
	v.Host, v.Port = m.src.Advertised()
	v.Connections, v.Leafs = m.connections()
	v.InClientMsgs, v.InClientBytes, v.OutClientMsgs, v.OutClientBytes = v.InMsgs, v.InBytes, v.OutMsgs, v.OutBytes
	if t := o.TLS; t != nil {
		v.TLSRequired = !o.AllowNonTLS
		v.TLSVerify = t.Verify || t.VerifyAndMap
		v.TLSOCSPPeerVerify = t.AsksOCSP()
		v.TLSCertNotAfter = notAfter(t)
	}
	for _, op := range o.Operators {
		v.TrustedOperatorsJWT = append(v.TrustedOperatorsJWT, op.JWT)
		v.TrustedOperatorsClaim = append(v.TrustedOperatorsClaim, op.Claims)
	}
	if js := m.src.JetStream(); js != nil {
		w := js.DiskWaits()
		v.DiskWait = DiskWait{w.Waiters, w.Waits, w.Total, w.Longest}
	}
	v.OCSPPeerCache = m.src.OCSPPeerCache()
	if len(o.ProxyKeys) > 0 {
		v.Proxies = &Proxies{}
		for _, k := range o.ProxyKeys {
			v.Proxies.Trusted = append(v.Proxies.Trusted, ProxyKey{k})
		}
	}
	return v, nil
}

// connections counts the open ones by kind.
func (m *Monitor) connections() (clients, leafs int) {
	for _, c := range m.src.Conns() {
		if isLeaf(c) {
			leafs++
		} else {
			clients++
		}
	}
	return clients, leafs
}

// subscriptions are those of all accounts.
func (m *Monitor) subscriptions() int {
	n := 0
	for _, a := range m.src.Accounts().All() {
		n += a.List().Len()
	}
	return n
}

func clusterVarz(o *options.Options) ClusterVarz {
	c := &o.Cluster
	if c.Port == 0 {
		return ClusterVarz{}
	}
	return ClusterVarz{
		Name: c.Name, Host: c.Host, Port: c.Port, AuthTimeout: c.Authorization.Timeout.Seconds(), URLs: hostPorts(c.Routes),
		TLSTimeout: tlsTimeout(c.TLS, true), TLSRequired: c.TLS != nil, TLSVerify: c.TLS != nil, PoolSize: c.PoolSize,
		WriteDeadline: c.WriteDeadline, WriteTimeout: c.WriteTimeout.String(), CertNotAfter: notAfter(c.TLS),
	}
}

func gatewayVarz(g *options.Gateway) GatewayVarz {
	if g.Name == "" {
		return GatewayVarz{}
	}
	v := GatewayVarz{
		Name: g.Name, Host: g.Host, Port: g.Port, AuthTimeout: g.Authorization.Timeout.Seconds(),
		TLSTimeout: tlsTimeout(g.TLS, true), TLSRequired: g.TLS != nil, TLSVerify: g.TLS != nil,
		Advertise: g.Advertise, ConnectRetries: g.ConnectRetries, RejectUnknown: g.RejectUnknown,
		WriteDeadline: g.WriteDeadline, WriteTimeout: g.WriteTimeout.String(), CertNotAfter: notAfter(g.TLS),
	}
	for _, r := range g.Gateways {
		v.Gateways = append(v.Gateways, RemoteGatewayVarz{r.Name, tlsTimeout(r.TLS, false), hostPorts(r.URLs)})
	}
	return v
}

func leafVarz(l *options.LeafNodes) LeafVarz {
	var v LeafVarz
	if l.Port != 0 {
		v = LeafVarz{
			Host: l.Host, Port: l.Port, AuthTimeout: l.Authorization.Timeout.Seconds(),
			TLSTimeout: tlsTimeout(l.TLS, true), TLSRequired: l.TLS != nil, TLSVerify: l.TLS != nil && l.TLS.Verify,
			TLSOCSPPeerVerify: l.TLS.AsksOCSP(), CertNotAfter: notAfter(l.TLS),
			WriteDeadline: l.WriteDeadline, WriteTimeout: l.WriteTimeout.String(),
		}
	}
	for _, r := range l.Remotes {
		rv := RemoteLeafVarz{Account: r.Account, TLSTimeout: tlsTimeout(r.TLS, false), URLs: hostPorts(r.URLs), TLSOCSPPeerVerify: r.TLS.AsksOCSP()}
		if len(r.DenyExports)+len(r.DenyImports) > 0 {
			rv.Deny = &DenyRules{r.DenyExports, r.DenyImports}
		}
		v.Remotes = append(v.Remotes, rv)
	}
	return v
}

func mqttVarz(q *options.MQTT) MQTTVarz {
	if q.Port == 0 {
		return MQTTVarz{}
	}
	return MQTTVarz{
		Host: q.Host, Port: q.Port, NoAuthUser: q.NoAuthUser, AuthTimeout: q.Authorization.Timeout.Seconds(),
		TLSMap: q.TLS != nil && q.TLS.VerifyAndMap, TLSTimeout: tlsTimeout(q.TLS, false), TLSPinnedCerts: pinned(q.TLS),
		JSDomain: q.JSDomain, AckWait: q.AckWait, MaxAckPending: q.MaxAckPending,
		TLSOCSPPeerVerify: q.TLS.AsksOCSP(), CertNotAfter: notAfter(q.TLS),
	}
}

func webSocketVarz(w *options.WebSocket) WebSocketVarz {
	if w.Port == 0 {
		return WebSocketVarz{}
	}
	return WebSocketVarz{
		Host: w.Host, Port: w.Port, Advertise: w.Advertise, NoAuthUser: w.NoAuthUser, JWTCookie: w.JWTCookie,
		HandshakeTimeout: w.HandshakeTimeout, AuthTimeout: w.Authorization.Timeout.Seconds(), NoTLS: w.NoTLS,
		TLSMap: w.TLS != nil && w.TLS.VerifyAndMap, TLSPinnedCerts: pinned(w.TLS), SameOrigin: w.SameOrigin,
		AllowedOrigins: w.AllowedOrigins, Compression: w.Compression, TLSOCSPPeerVerify: w.TLS.AsksOCSP(), CertNotAfter: notAfter(w.TLS),
	}
}

// hostPorts are URLs without their credentials.
func hostPorts(urls []*url.URL) []string {
	var out []string
	for _, u := range urls {
		out = append(out, u.Host)
	}
	return out
}

// defaultTLSTimeout is shown of listeners that have no TLS.
const defaultTLSTimeout = 2 * time.Second

// tlsTimeout is that of a block; without one, for listeners, the default.
func tlsTimeout(t *options.TLS, listener bool) float64 {
	switch {
	case t != nil:
		return t.Timeout.Seconds()
	case listener:
		return defaultTLSTimeout.Seconds()
	}
	return 0
}

// notAfter is when the first certificate of t expires.
func notAfter(t *options.TLS) *time.Time {
	if t == nil || t.Config == nil || len(t.Config.Certificates) == 0 || t.Config.Certificates[0].Leaf == nil {
		return nil
	}
	at := t.Config.Certificates[0].Leaf.NotAfter.UTC()
	return &at
}

func pinned(t *options.TLS) []string {
	if t == nil {
		return nil
	}
	return sortedKeys(t.PinnedCerts)
}
