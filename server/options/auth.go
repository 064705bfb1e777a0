package options

import "time"

// Authorization is the top-level block of that name. Either it is empty, or it has a single identity, or users.
type Authorization struct {
	Username string
	Password string // secret: plain or bcrypt
	Token    string // secret: plain or bcrypt

	// Timeout until CONNECT must be complete. Complete fills it: 2 s, with TLS the TLS timeout and 1 s.
	Timeout time.Duration

	// Users of the block, with the default permissions filled in. Their account is $G.
	Users         []*User
	Callout       *AuthCallout
	ProxyRequired bool // with a single identity

	// Defined tells that the file has the block.
	Defined bool
}

// User is one who may connect: with name and password, or with an nkey.
type User struct {
	Username string
	Password string // secret: plain or bcrypt
	NKey     string // public user key

	// Permissions are the user's own, or the default ones of the block; nil: no restriction.
	Permissions *Permissions
	// ConnectionTypes are those allowed, in upper case; empty: all.
	ConnectionTypes []string
	ProxyRequired   bool
}

// Permissions say which subjects a user may use.
type Permissions struct {
	Publish   SubjectPermissions
	Subscribe SubjectPermissions
	Responses *ResponsePermissions // nil: none
}

// SubjectPermissions are allow and deny lists; an empty list is the same as no list, and nil if none was written. Entries of
// Subscribe may be "subject queue".
type SubjectPermissions struct {
	Allow []string
	Deny  []string
}

// ResponsePermissions allow to publish to the reply subject of what was received.
type ResponsePermissions struct {
	MaxMsgs int64         // negative: unlimited
	Expires time.Duration // negative: never
}

// Defaults of ResponsePermissions.
const (
	DefaultResponseMaxMsgs = 1
	DefaultResponseExpires = 2 * time.Minute
)

// AuthCallout is the block auth_callout.
type AuthCallout struct {
	Issuer          string // public account key
	Account         string // default $G
	AuthUsers       []string
	XKey            string // public curve key; empty: no encryption
	AllowedAccounts []string
}

// GlobalAccount is the account of everybody who has no other; DefaultSystemAccount is the system account's name unless
// another is configured.
const (
	GlobalAccount        = "$G"
	DefaultSystemAccount = "$SYS"
)

// Account is an account of the configuration file.
type Account struct {
	Name  string
	NKey  string
	Users []*User // with the default permissions filled in
	// DefaultPermissions are those of users without their own; nil: no restriction.
	DefaultPermissions *Permissions
	Limits             AccountLimits
	JetStream          *AccountJetStream // nil: off
	Mappings           []Mapping
	Exports            []Export
	Imports            []Import
	Trace              *MessageTrace // nil: none
}

// AccountLimits of an account; -1 means unlimited.
type AccountLimits struct {
	MaxConnections   int64
	MaxSubscriptions int64
	MaxPayload       int64
	MaxLeafNodes     int64
}

// AccountJetStream are the limits of an account that may use JetStream; -1 means unlimited.
type AccountJetStream struct {
	Dynamic              bool // enabled without limits of its own
	MaxMemory            int64
	MaxStore             int64
	MaxStreams           int64
	MaxConsumers         int64
	MaxAckPending        int64
	MemoryMaxStreamBytes int64
	StoreMaxStreamBytes  int64
	MaxBytesRequired     bool
	TrafficOfOwner       bool // cluster_traffic: owner
	// Tiers are the limits by replication tier ("R1", "R3", ...); if there are
	// any, they take the place of those above. Only claims have them.
	Tiers map[string]AccountJetStream
}

// Mapping maps a subject to destinations with weights.
type Mapping struct {
	Subject      string
	Destinations []MappingDestination
}

// MappingDestination is one destination of a mapping; Weight is in percent; Cluster restricts it to servers of that cluster.
type MappingDestination struct {
	Subject string
	Weight  uint8
	Cluster string
}

// MessageTrace is the account's destination for traces of messages that come with a trace context.
type MessageTrace struct {
	Destination string
	Sampling    int // percent, 1 to 100
}

// ResponseType says how many messages answer a request.
type ResponseType uint8

const (
	ResponseSingleton ResponseType = iota
	ResponseStream
	ResponseChunked
)

// Export offers a stream or a service to other accounts.
type Export struct {
	Service  bool // else a stream
	Subject  string
	Accounts []string // who may import; nil: everybody. An empty list that was written stands as nil, too.
	// TokenPosition (1 is the first token) is where an importer must have its own name; 0: nowhere.
	TokenPosition int

	// Of services.
	Response   ResponseType
	Threshold  time.Duration // 0: the default
	Latency    *Latency
	AllowTrace bool
}

// Latency asks for measurements of a service.
type Latency struct {
	Subject  string
	Sampling int // percent, 1 to 100; 0: decided by the headers of a request
}

// Import takes a stream or a service of another account.
type Import struct {
	Service bool // else a stream
	Account string
	Subject string // in the exporting account
	To      string // local subject; empty: the same
	Prefix  string // of streams

	Share      bool // of services: tell the exporter who asks
	AllowTrace bool // of streams
}

// LocalSubject returns the import's subject in the importing account.
func (i *Import) LocalSubject() string {
	switch {
	case i.To != "":
		return i.To
	case i.Prefix != "":
		return i.Prefix + "." + i.Subject
	}
	return i.Subject
}
