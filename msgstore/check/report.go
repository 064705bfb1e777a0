// Package check examines and repairs store directories offline: verify, inspect,
// recover, convert, export, import, compare. It is the library behind storetool.
//
// Everything that reads goes through a file system that cannot write, so that
// looking never changes a directory. What a bad record means is decided by the
// same code as in a running store (package internal/scan).
package check

import (
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/vfs"
)

// Keys are the configured encryption keys. The cipher of what exists is found by
// itself; Keys.Cipher is the one for what is written.
type Keys = keys.Ring

// Cipher is an encryption algorithm.
type Cipher = keys.Cipher

// The ciphers.
const (
	NoCipher = keys.None
	ChaCha   = keys.ChaCha
	AES      = keys.AES
)

// ParseCipher reads the name of a cipher.
func ParseCipher(s string) (Cipher, error) { return keys.ParseCipher(s) }

var (
	// ErrNoStore says that a path holds no store, account, stream or block.
	ErrNoStore = errors.New("no JetStream directory")
	// ErrKeyNeeded says that a stream is encrypted and no key was given.
	ErrKeyNeeded = errors.New("the directory is encrypted and no key was given")
	// ErrWrongKey says that no key file could be opened with the given keys.
	ErrWrongKey = errors.New("the directory is encrypted with another key")
)

// Options say how a directory is read. The zero value is fit for plain ones.
type Options struct {
	FS   vfs.FS // nil: the operating system's
	Keys Keys
	// Progress is told about bytes of blocks read, from the calling goroutine,
	// before each block. An error ends the work there and is returned; that is
	// safe at every point.
	Progress func(done, total int64) error
}

func (o *Options) fs() vfs.FS {
	if o.FS == nil {
		return vfs.OS
	}
	return o.FS
}

// Severity says how bad a finding is.
type Severity string

const (
	Damage     Severity = "damage"     // data is lost or unreadable
	Repairable Severity = "repairable" // a derived file is missing, stale or corrupt, or a write was torn before it was acknowledged
	Info       Severity = "info"       // leftovers
)

// The kinds of findings. They are stable: scripts match them.
const (
	KindBadRecord       = "bad-record"             // bytes that hold no valid record
	KindMissingRecords  = "missing-records"        // records that index.db knows are not in their block
	KindMissingBlock    = "missing-block"          // a block file is gone
	KindBlockUnreadable = "block-unreadable"       // a block cannot be read, decrypted or decompressed at all
	KindBlockKey        = "block-key"              // the key file of a block is missing or damaged
	KindTornTail        = "torn-tail"              // the end of a write that was never acknowledged
	KindZeroTail        = "zero-tail"              // zero bytes behind the last record
	KindSubject         = "subject-mismatch"       // subjects differ from the totals in index.db
	KindMetaMismatch    = "meta-mismatch"          // meta.inf and meta.sum do not agree
	KindMetaMissing     = "meta-missing"           // there are blocks, but no meta.inf
	KindMetaKey         = "meta-key"               // the key of a stream is damaged
	KindMetaUnreadable  = "meta-unreadable"        // meta.inf cannot be decrypted or parsed
	KindMetaTorn        = "meta-torn"              // an update of meta.inf and meta.sum was interrupted
	KindIndexMissing    = "index-missing"          // no index.db: rebuilt from the blocks
	KindIndexStale      = "index-stale"            // index.db is older than the blocks
	KindIndexCorrupt    = "index-corrupt"          // index.db does not decode
	KindDerived         = "derived-corrupt"        // thw.db, sched.db or sources.db does not decode
	KindPurge           = "interrupted-purge"      // a purge was interrupted; it is completed on start
	KindTruncation      = "interrupted-truncation" // a truncation was interrupted; it is completed on start
	KindBatch           = "staged-batch"           // an atomic batch was in flight
	KindConsumerMeta    = "consumer-meta"          // configuration of a consumer
	KindConsumerState   = "consumer-state"         // o.dat of a consumer
	KindSnapshot        = "raft-snapshot"          // a snapshot of a Raft group
	KindLeftover        = "leftover"               // temporary or obsolete file, ignored
	KindQuarantine      = "quarantine"             // damaged bytes kept by a server or by storetool
	KindJournal         = "journal-pending"        // the commit journal holds records that the blocks may lack
	KindJournalDamaged  = "journal-damaged"        // a part of the commit journal cannot be read
	KindConversion      = "conversion-pending"     // a conversion was interrupted; it can be resumed
)

// Finding is one thing that verify found.
type Finding struct {
	Severity Severity `json:"severity"`
	Kind     string   `json:"kind"`
	Account  string   `json:"account"`
	Stream   string   `json:"stream"`
	Consumer string   `json:"consumer"`
	File     string   `json:"file"`   // path
	Offset   int64    `json:"offset"` // of the first bad byte, in the decrypted and decompressed content
	FirstSeq uint64   `json:"first_seq"`
	LastSeq  uint64   `json:"last_seq"` // 0 and 0: no sequences are known to be affected
	Detail   string   `json:"detail"`
}

func (f Finding) String() string {
	s := fmt.Sprintf("%s %s", f.Severity, f.Kind)
	if f.Stream != "" {
		s += fmt.Sprintf(" %s > %s", f.Account, f.Stream)
	}
	if f.Consumer != "" {
		s += " > " + f.Consumer
	}
	if f.File != "" {
		s += " " + f.File
	}
	if f.Kind == KindBadRecord || f.Kind == KindTornTail || f.Kind == KindZeroTail {
		s += fmt.Sprintf(" at %d", f.Offset)
	}
	switch {
	case f.LastSeq > f.FirstSeq:
		s += fmt.Sprintf(" sequences %d to %d", f.FirstSeq, f.LastSeq)
	case f.LastSeq > 0:
		s += fmt.Sprintf(" sequence %d", f.LastSeq)
	}
	return s + ": " + f.Detail
}

// StreamState is a stream as verify sees it.
type StreamState struct {
	Account    string `json:"account"`
	Stream     string `json:"stream"`
	Messages   uint64 `json:"messages"`
	Bytes      uint64 `json:"bytes"`
	FirstSeq   uint64 `json:"first_seq"`
	LastSeq    uint64 `json:"last_seq"`
	NumDeleted uint64 `json:"num_deleted"`
	Consumers  int    `json:"consumers"`
}

// Report is the result of verify.
type Report struct {
	Clean    bool          `json:"clean"` // no finding of severity damage
	Streams  []StreamState `json:"streams"`
	Findings []Finding     `json:"findings"`
}

// Lost is a range of sequences that cannot be read any more.
type Lost struct {
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	Reason   string `json:"reason"`
}
