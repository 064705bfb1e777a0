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
	Workers           int // default min(16, GOMAXPROCS)

	MaxBufferedMsgs int   // of one stream's inbox, default 100,000
	MaxBufferedSize int64 // default 128 MiB

	Limits Limits

	// AckFormat2 puts domain and account hash into the subjects for acks and
	// flow control (feature flag js_ack_fc_v2). Acks are taken in both forms.
	AckFormat2 bool

	Encryption Encryption

	DiskOps int // reads of the disk at a time, 4 to 8192; default 4096

	Mutations Mutations
