package msgstore

import "fmt"

// Event is something that an operator, a metric or a health check may want to
// know. The events are the types of this file and of package commit. A listener
// is called from many goroutines and must not call the store.
type Event interface{ String() string }

// Damaged reports a part of a block that cannot be read. The original bytes are
// in Quarantine.
type Damaged struct {
	Account, Stream string
	Block           uint32
	Offset, Size    int64
	First, Last     uint64 // sequences that may be lost; 0, 0 if there are none
	Torn            bool   // the end of a write that was never acknowledged
	Reason          string
	Quarantine      string // path of the copy, "" if it could not be made
}

func (e Damaged) String() string {
	what := "damage"
	if e.Torn {
		what = "torn write"
	}
	return fmt.Sprintf("stream %s > %s: %s in %d.blk at offset %d, %d bytes, sequences %d to %d: %s",
		e.Account, e.Stream, what, e.Block, e.Offset, e.Size, e.First, e.Last, e.Reason)
}

// IndexIgnored reports that index.db could not be used as it is, and why.
type IndexIgnored struct {
	Account, Stream string
	Reason          string
}

func (e IndexIgnored) String() string {
	return fmt.Sprintf("Filestore [%s] Stream state %s, will rebuild", e.Stream, e.Reason)
}

// WriteFailed reports a failed write or sync: the store refuses writes until it
// has repaired itself.
type WriteFailed struct {
	Account, Stream string
	Err             error
}

func (e WriteFailed) String() string {
	return fmt.Sprintf("stream %s > %s: %v", e.Account, e.Stream, e.Err)
}

// Repaired reports that a store takes writes again after WriteFailed.
type Repaired struct{ Account, Stream string }

func (e Repaired) String() string {
	return fmt.Sprintf("stream %s > %s: writable again", e.Account, e.Stream)
}

// Recovered reports how a store was opened.
type Recovered struct {
	Account, Stream string
	FromIndex       bool  // index.db was used
	Scanned         int64 // bytes of blocks that were read
	Messages        uint64
}

func (e Recovered) String() string {
	return fmt.Sprintf("stream %s > %s: %d messages, %d bytes scanned, from index: %v", e.Account, e.Stream, e.Messages, e.Scanned, e.FromIndex)
}

// Converted reports that the encryption of a stream is being changed.
type Converted struct {
	Account, Stream string
	Cipher          string
}

func (e Converted) String() string {
	return fmt.Sprintf("Converting to %s for stream '%s > %s'", e.Cipher, e.Account, e.Stream)
}

// StateFailed reports that a state file could not be written. Nothing is lost:
// the next start takes longer.
type StateFailed struct {
	Account, Stream, File string
	Err                   error
}

func (e StateFailed) String() string {
	return fmt.Sprintf("stream %s > %s: write %s: %v", e.Account, e.Stream, e.File, e.Err)
}

// ReadFailed reports that the disk did not give a file to the background verification.
type ReadFailed struct {
	Account, Stream, File string
	Err                   error
}

func (e ReadFailed) String() string {
	return fmt.Sprintf("stream %s > %s: read %s: %v", e.Account, e.Stream, e.File, e.Err)
}

// BlocksMissing reports a gap in the numbers of the blocks of a stream without a
// usable index.db. Gaps also come from blocks whose messages were all removed.
type BlocksMissing struct {
	Account, Stream string
	First, Last     uint32
}

func (e BlocksMissing) String() string {
	return fmt.Sprintf("stream %s > %s: no blocks %d to %d", e.Account, e.Stream, e.First, e.Last)
}
