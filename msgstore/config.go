package msgstore

import (
	"time"

	"github.com/natsd/natsd/msgstore/internal/keys"
)

// StorageType is where a stream is kept.
type StorageType uint8

const (
	FileStorage StorageType = iota
	MemoryStorage
)

func (t StorageType) String() string {
	if t == MemoryStorage {
		return "memory"
	}
	return "file"
}

// Discard is what happens to a message that a limit has no room for.
type Discard uint8

const (
	DiscardOld Discard = iota
	DiscardNew
)

// Compression is how sealed blocks are kept.
type Compression uint8

const (
	NoCompression Compression = iota
	S2Compression
)

// Config is the part of a stream's configuration that its store obeys.
// The zero value of a limit is no limit, and so is -1.
type Config struct {
	Name    string
	Storage StorageType
	// Subjects, together with Sources, say whether the store tracks subjects,
	// and size the blocks of a stream with a limit of messages.
	Subjects          []string
	Sources           []string // source index names whose progress is tracked
	Mirror            bool
	MaxMsgs           int64
	MaxBytes          int64
	MaxAge            time.Duration
	MaxMsgsPerSubject int64
	MaxMsgSize        int32
	Discard           Discard
	DiscardNewPer     bool // discard_new_per_subject
	FirstSeq          uint64
	WorkQueue         bool // retention other than limits: smaller blocks
	Compression       Compression
	AllowMsgTTL       bool
	AllowMsgSchedules bool
	// SubjectDeleteMarkerTTL > 0 leaves markers behind expired subjects.
	SubjectDeleteMarkerTTL time.Duration

	// Created and Meta are what meta.inf holds: Meta is the JSON object of the
	// stream's configuration without the member Created. Without Meta the store
	// writes one from the fields above.
	Created time.Time
	Meta    []byte
}

// Durability is when a message counts as stored.
type Durability uint8

const (
	// Always: when the sync that covers it is complete. The default.
	Always Durability = iota
	// Interval: when it was written; files are synced every SyncInterval.
	Interval
	// External: at once. The caller's log has made it durable already;
	// FlushAllPending and Positions.Durable say how far that log may be cut.
	External
)

// KeyRing holds the configured encryption keys. The zero value is no encryption.
type KeyRing = keys.Ring

// Cipher is an encryption algorithm of a KeyRing.
type Cipher = keys.Cipher

// The ciphers.
const (
	NoCipher = keys.None
	ChaCha   = keys.ChaCha
	AES      = keys.AES
)

// ParseCipher reads the name of a cipher as it is configured; "" is ChaCha.
func ParseCipher(s string) (Cipher, error) { return keys.ParseCipher(s) }

func limit[T int64 | int32](n T) T {
	if n <= 0 {
		return 0
	}
	return n
}

// normal returns the configuration with every "no limit" as 0.
func (c Config) normal() Config {
	c.MaxMsgs = limit(c.MaxMsgs)
	c.MaxBytes = limit(c.MaxBytes)
	c.MaxMsgsPerSubject = limit(c.MaxMsgsPerSubject)
	c.MaxMsgSize = limit(c.MaxMsgSize)
	c.MaxAge = max(c.MaxAge, 0)
	c.SubjectDeleteMarkerTTL = max(c.SubjectDeleteMarkerTTL, 0).Truncate(time.Second)
	return c
}

// tracksSubjects says whether there is a subject index. Raft logs have none.
func (c *Config) tracksSubjects() bool {
	return len(c.Subjects) > 0 || len(c.Sources) > 0 || c.Mirror
}
