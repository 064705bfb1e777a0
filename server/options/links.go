package options

import (
	"net/url"
	"time"
)

// Listener is where a block accepts connections; Port 0 means it does not.
type Listener struct {
	Host string
	Port int // -1: random
}

// LinkAuthorization are the credentials of the links between servers.
type LinkAuthorization struct {
	Username string
	Password string        // secret
	Timeout  time.Duration // Complete fills it: 2 s, with TLS the TLS timeout and 1 s
}

// Compression of a link. Mode is in lower case as written; Validate checks it.
type Compression struct {
	Mode          string
	RTTThresholds []time.Duration
}

// Cluster is the block of that name.
type Cluster struct {
	Listener
	Name           string // empty: the gateway's name, else generated
	Authorization  LinkAuthorization
	Routes         []*url.URL
	TLS            *TLS
	Advertise      string
	NoAdvertise    bool
	ConnectRetries int64
	ConnectBackoff bool
	Permissions    *Permissions // import is Publish, export is Subscribe
	PoolSize       int64        // negative: no pooling
	Accounts       []string     // with dedicated routes; the system account is among them when pooling is on
	Compression    Compression
	PingInterval   time.Duration // 0: the server's, at most 30 s
	PingMax        int64         // 0: the server's
	WriteDeadline  time.Duration // 0: the server's
	WriteTimeout   WriteTimeout
}

// Gateway is the block of that name.
type Gateway struct {
	Listener
	Name           string
	Authorization  LinkAuthorization
	TLS            *TLS
	Advertise      string
	ConnectRetries int64
	ConnectBackoff bool
	RejectUnknown  bool
	WriteDeadline  time.Duration
	WriteTimeout   WriteTimeout
	Gateways       []RemoteGateway
}

// RemoteGateway is an entry of gateway.gateways.
type RemoteGateway struct {
	Name string
	URLs []*url.URL
	TLS  *TLS
}

// LeafNodes is the block of that name.
type LeafNodes struct {
	Listener
	Authorization           LeafAuthorization
	Remotes                 []*LeafRemote
	ReconnectInterval       time.Duration
	DialTimeout             time.Duration
	TLS                     *TLS
	Advertise               string
	NoAdvertise             bool
	MinVersion              string
	Compression             Compression
	IsolateLeafnodeInterest bool
	WriteDeadline           time.Duration
	WriteTimeout            WriteTimeout
}

// LeafAuthorization is leafnodes.authorization.
type LeafAuthorization struct {
	Username      string
	Password      string // secret
	NKey          string
	Account       string
	Users         []LeafUser
	Timeout       time.Duration
	ProxyRequired bool
}

// LeafUser is a user of leafnodes.authorization.
type LeafUser struct {
	Username      string
	Password      string // secret
	Account       string
	ProxyRequired bool
}

// LeafRemote is an entry of leafnodes.remotes.
type LeafRemote struct {
	URLs                        []*url.URL
	NoRandomize                 bool
	Account                     string // default $G
	Credentials                 string // file, expanded
	NKey                        string // seed: secret
	TLS                         *TLS
	Hub                         bool
	DenyImports                 []string
	DenyExports                 []string
	WSCompression               bool
	WSNoMasking                 bool
	JetStreamClusterMigrate     bool
	JetStreamClusterMigrateTime time.Duration
	IsolateLeafnodeInterest     bool
	RequestIsolation            bool
	Compression                 Compression
	FirstInfoTimeout            time.Duration
	DialTimeout                 time.Duration // 0: the block's
	Disabled                    bool
	IgnoreDiscoveredServers     bool
	Proxy                       LeafProxy
}

// LeafProxy is the HTTP proxy of a remote; URL is empty without one.
type LeafProxy struct {
	URL      string
	Username string
	Password string // secret
	Timeout  time.Duration
}

// ListenerAuthorization replaces the single identity of Authorization on another listener.
type ListenerAuthorization struct {
	Username string
	Password string        // secret
	Token    string        // secret
	Timeout  time.Duration // 0: as for clients
}

// WebSocket is the block of that name.
type WebSocket struct {
	Listener
	Advertise        string
	NoTLS            bool
	TLS              *TLS
	SameOrigin       bool
	AllowedOrigins   []string
	HandshakeTimeout time.Duration // 0: none of its own
	Compression      bool
	Authorization    ListenerAuthorization
	JWTCookie        string
	UserCookie       string
	PassCookie       string
	TokenCookie      string
	NoAuthUser       string
	Headers          map[string]string
	PingInterval     time.Duration // 0: the server's
}

// MQTT is the block of that name.
type MQTT struct {
	Listener
	TLS                       *TLS
	Authorization             ListenerAuthorization
	NoAuthUser                string
	AckWait                   time.Duration // 0: 30 s
	JSAPITimeout              time.Duration // 0: 5 s
	MaxAckPending             int64
	JSDomain                  string
	StreamReplicas            int64
	ConsumerMemoryStorage     bool
	ConsumerInactiveThreshold time.Duration
	RejectQoS2Publish         bool
	DowngradeQoS2Subscribe    bool
}
