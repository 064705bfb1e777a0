package msgstore

import (
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/streamstate"
)

// The errors of a store. Their texts are part of the protocol.
var (
	ErrStoreClosed            = errors.New("store is closed")
	ErrStoreMsgNotFound       = errors.New("no message found")
	ErrDeletedMsg             = errors.New("deleted message")
	ErrStoreEOF               = errors.New("stream store EOF")
	ErrMaxMsgs                = errors.New("maximum messages exceeded")
	ErrMaxBytes               = errors.New("maximum bytes exceeded")
	ErrMaxMsgsPerSubject      = errors.New("maximum messages per subject exceeded")
	ErrStoreSnapshotInProg    = errors.New("snapshot in progress")
	ErrMsgTooLarge            = record.ErrTooLarge // "message too large"
	ErrStoreWrongType         = errors.New("wrong storage type")
	ErrSequenceMismatch       = errors.New("expected sequence does not match store")
	ErrCorruptStreamState     = streamstate.ErrCorrupt // "stream state snapshot is corrupt"
	ErrBadStreamStateEncoding = streamstate.ErrHeader  // "bad stream state encoding"
	ErrTooManyResults         = errors.New("too many matching results for request")
	ErrNoBlockData            = errors.New("message block data missing")
	ErrBadKeySize             = keys.ErrBadKeySize   // "encryption bad key size"
	ErrKeysNotRecovered       = keys.ErrNotRecovered // "unable to recover keys"
	ErrNoEncryption           = errors.New("encryption not enabled")
	ErrUnknownCipher          = keys.ErrUnknownCipher // "unknown cipher"
	ErrNoMainKey              = errors.New("encrypted store encountered with no main key")

	ErrNameRequired  = errors.New("name required")
	ErrNotFileConfig = errors.New("fileStore requires file storage type in config")
	ErrNotMemConfig  = errors.New("memStore requires memory storage type in config")
	ErrNotDirectory  = errors.New("storage directory is not a directory")
	ErrNotWritable   = errors.New("storage directory is not writable")
	ErrBlockSize     = errors.New("filestore max block size is 8.00 MB")

	// ErrBadSubject refuses a subject that the format cannot hold.
	ErrBadSubject = errors.New("invalid subject")
	// ErrBadHeader refuses a header section that a reader would take for damage: it is
	// none by its form, but the bytes of the message hold one.
	ErrBadHeader = errors.New("invalid header section")
)

// BadRecordError says that a message cannot be read because its record is
// damaged. Clients get its text with error code 10077.
type BadRecordError struct {
	Block  uint32
	Offset int64  // of the record in the uncompressed block, or -1
	Seq    uint64 // 0 if it is not known
	Detail string
}

func (e *BadRecordError) Error() string {
	return fmt.Sprintf("malformed or corrupt message in %d.blk: %s", e.Block, e.Detail)
}

// WriteError is the sticky error of a store whose disk failed. It unwraps to
// the disk's error, for instance syscall.ENOSPC.
type WriteError struct {
	Op  string // what failed: "write", "sync", ...
	Err error
}

func (e *WriteError) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *WriteError) Unwrap() error { return e.Err }
