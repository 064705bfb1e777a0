package jetstream

import (
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore/vfs"
)

// Options configure an [Engine]. The zero value of a limit means its default.
type Options struct {
	FS       vfs.FS // the disk; nil: the operating system's
	StoreDir string // assets live in <StoreDir>/jetstream, our own files in <StoreDir>/natsd

	ServerName string
	ServerID   string
	Version    string // shown in the metadata of assets as _nats.ver
	Domain     string
	MaxPayload int // of client connections, bytes; bounds counter messages
	MaxPending int // of client connections, bytes; default size of a direct get batch

	MaxMemory int64 // bytes for all accounts; negative: unlimited, 0: none
	MaxStore  int64

	// SyncInterval 0 syncs before every acknowledgement ("always"); otherwise
	// acknowledgements follow the write and files are synced this often.
	SyncInterval time.Duration

	Lenient           bool // strict: false; unknown members of requests are logged and ignored
	RequestQueueLimit int  // requests that may wait, default 10,000
	InfoQueueLimit    int
	Workers           int // of the API; default GOMAXPROCS, 4 at least and 16 at most

	MaxBufferedMsgs int   // of one stream's inbox, default 100,000
	MaxBufferedSize int64 // default 128 MiB
	MaxDedupIDs     int   // in all duplicate windows, default [MostDedupIDs]

	Limits Limits

	// AckFormat2 puts domain and account hash into the subjects for acks and
	// flow control (feature flag js_ack_fc_v2). Acks are taken in both forms.
	AckFormat2 bool

	Encryption Encryption

	DiskOps int // reads of the disk at a time, 4 to 8192; default 4096

	Mutations Mutations

	// Events receives what happened, for log, metrics and health. It must not
	// block and is called from many goroutines. nil: nobody listens.
	Events func(Event)
}

// Mutations are deliberate faults, so that tests can prove that they would notice
// each of them. Nothing outside of tests sets one.
type Mutations struct {
	ConfirmEarly      bool // an ack is confirmed before it is durable
	DuplicateAckEarly bool // a duplicate is acknowledged before its original is durable
}

// Limits are the server's limits for assets (`jetstream { limits {} }`); 0: none.
type Limits struct {
	MaxRequestBatch  int
	MaxAckPending    int
	MaxHAAssets      int
	DuplicateWindow  time.Duration
	BatchesPerStream int           // open batches of one stream: 50 atomic, 1,000 fast
	BatchesTotal     int           // of the server: 1,000 atomic, 50,000 fast
	BatchMaxMsgs     int           // messages of an atomic batch: 1,000
	BatchTimeout     time.Duration // inactivity after which a batch is dropped: 10 s
}

// Encryption of everything that is stored; an empty Key means none.
type Encryption struct {
	Cipher  string // "chacha" (default) or "aes"
	Key     string
	PrevKey string // tried when Key does not open an asset, which is then written with Key
}

// AccountConfig is what an account may use. Either Tiers is nil and Limits
// count, or Tiers names limits by replication tier ("R1", "R3", ...).
type AccountConfig struct {
	Limits jsapi.AccountLimits
	Tiers  map[string]jsapi.AccountLimits
}
