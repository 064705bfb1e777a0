// Package options is the table of all options: what a configuration file and a command line may say, what each option
// means, its default, its limits, and whether it can be changed while the server runs.
//
// The table (table.go and one file for each block) is the one description: parsing, the effective defaults, the usage
// text, the reload rules and the generated reference docs/options.md come from it.
//
// An *Options that ReadFile or CommandLine.Options returned is immutable: a reload makes a new one. All its slices and maps may be read from any
// goroutine and must not be changed.
package options

import (
	"time"

	"github.com/nats-io/jwt/v2"
)

// Options are the effective options of one server. Durations are durations, sizes are bytes, and 0 or the empty string
// mean "not set" unless a field says otherwise. The field of an option is named after its key.
type Options struct {
	// The file that was read, as given on the command line, its digest ("sha256:<hex>"), and what was found worth a
	// warning in it, one line each without line feed.
	ConfigFile   string
	ConfigDigest string
	Warnings     []string

	// Source is the command line that the options come from; nil in embedding programs that make their own.
	Source *CommandLine

	// Listen.
	Host            string // of client connections
	Port            int    // of client connections; -1: random
	ClientAdvertise string // host[:port]
	AllowNonTLS     bool   // clear-text clients although TLS is set
	ProxyProtocol   bool   // PROXY protocol v1/v2 headers on the client listener
	NoHeaderSupport bool
	NoSublistCache  bool
	TLS             *TLS       // of client connections; nil: none
	OCSP            *OCSP      // stapling; nil: not configured
	OCSPCache       *OCSPCache // of peer answers; nil: not configured
	InProcessOnly   bool       // no client listener; set by embedding programs only
	AlwaysNonce     bool       // a nonce in every INFO; set by embedding programs only

	// Client limits and timers.
	MaxConnections        int64 // -1: nobody may connect
	MaxSubscriptions      int64 // per connection; 0: unlimited
	MaxSubTokens          int64 // of a subscription's subject; 0: unlimited
	MaxControlLine        int64
	MaxPayload            int64 // -1: unlimited
	MaxPending            int64
	MaxClosedClients      int64
	MaxTracedMsgLen       int64 // 0: unlimited
	PingInterval          time.Duration
	PingMax               int64
	WriteDeadline         time.Duration
	WriteTimeout          WriteTimeout
	NoFastProducerStall   bool
	LameDuckDuration      time.Duration
	LameDuckGracePeriod   time.Duration
	ConnectErrorReports   int64
	ReconnectErrorReports int64

	// Identity.
	ServerName      string            // empty: the server id
	ServerTags      []string          // trimmed, lower case, no duplicates, in the order of the file
	ServerMetadata  map[string]string //
	SystemAccount   string            // as configured; empty: not configured, which means $SYS
	NoSystemAccount bool
	DefaultJSDomain map[string]string // account -> domain
	FeatureFlags    map[string]bool   // as configured, unknown names included

	// Authorization.
	Authorization   Authorization
	NoAuthUser      string
	DefaultSentinel string
	ProxyKeys       []string // public keys of trusted proxies

	// Accounts. Accounts are in the order of the file; the users of accounts are in them, not in Authorization.
	Accounts []*Account
	Mappings []Mapping // of the account $G

	// Operator mode.
	Operators              []Operator
	TrustedKeys            []string
	Resolver               *Resolver
	ResolverTLS            *TLS
	ResolverPreload        map[string]string // account key -> account JWT
	ResolverPinnedAccounts []string

	// Monitoring and profiling.
	HTTPHost      string
	HTTPPort      int // 0: off, -1: random
	HTTPSPort     int
	HTTPBasePath  string // as configured; empty: /
	ProfPort      int
	ProfBlockRate int64

	// Logging.
	Debug        bool
	Trace        bool
	TraceVerbose bool
	TraceHeaders bool
	Logtime      bool
	LogtimeUTC   bool
	LogFile      string
	LogSizeLimit int64
	LogMaxNum    int64
	Syslog       bool
	RemoteSyslog string

	// Files.
	PidFile      string
	PortsFileDir string

	JetStream JetStream
	Cluster   Cluster
	Gateway   Gateway
	LeafNodes LeafNodes
	WebSocket WebSocket
	MQTT      MQTT
}

// WriteTimeout says what happens to a connection whose write takes longer than the deadline.
type WriteTimeout uint8

const (
	WriteTimeoutDefault WriteTimeout = iota // close for clients, retry for links between servers
	WriteTimeoutClose
	WriteTimeoutRetry
)

// String returns the text of a configuration file; the default is empty.
func (w WriteTimeout) String() string {
	return [...]string{"", "close", "retry"}[w]
}

// Operator is a trusted operator.
type Operator struct {
	File   string // where the JWT came from; empty: it stood in the configuration
	JWT    string
	Claims *jwt.OperatorClaims
}

// Resolver says where account JWTs come from.
type Resolver struct {
	Type        string // "mem", "url", "full" or "cache"
	URL         string
	Dir         string
	AllowDelete bool
	HardDelete  bool
	Interval    time.Duration // between synchronisations (full)
	TTL         time.Duration // of entries (cache)
	Limit       int64         // of accounts; 0: unlimited
	Timeout     time.Duration // of a fetch from other servers
}

// JetStream is the block of that name.
type JetStream struct {
	Enabled   bool
	StoreDir  string // parent of the directory "jetstream"; empty: not configured, which means <tmp>/nats
	MaxMemory int64  // -1: dynamic
	MaxStore  int64  // -1: dynamic
	Domain    string
	Strict    bool

	// SyncAlways: acknowledged means on disk. That is so unless the file gives a duration as sync_interval.
	SyncAlways   bool
	SyncInterval time.Duration

	Key           string // secret
	PrevKey       string // secret
	Cipher        string // "chacha" or "aes"
	TPM           *TPM
	ExtensionHint string
	UniqueTag     string
	Limits        JetStreamLimits

	MaxOutstandingCatchup int64 // 0: DefaultMaxOutstandingCatchup
	MaxBufferedSize       int64 // inbound queue of a stream, bytes
	MaxBufferedMsgs       int64 // inbound queue of a stream
	RequestQueueLimit     int64
	InfoQueueLimit        int64
	MetaCompact           int64
	MetaCompactSize       int64
	MetaCompactSync       bool
	MaxConcurrentIO       int64
}

// JetStreamLimits are the server's limits for what streams and consumers may ask; 0 means none.
type JetStreamLimits struct {
	MaxAckPending   int64
	MaxHAAssets     int64
	MaxRequestBatch int64
	DuplicateWindow time.Duration
	Batch           BatchLimits
}

// BatchLimits are the limits of batched publishing; 0 means the default of the kind of batch.
type BatchLimits struct {
	MaxInflightPerStream int64 // default 50 atomic, 1000 fast
	MaxInflightTotal     int64 // default 1000 atomic, 50000 fast
	MaxMsgs              int64 // default 1000
	Timeout              time.Duration
}

// TPM is the block of that name, for Windows.
type TPM struct {
	KeysFile           string
	EncryptionPassword string // secret
	SRKPassword        string // secret
	PCR                int64
	Cipher             string
}
