package commit

import (
	"fmt"
	"time"
)

// Event is something that an operator, a metric or a health check may want to know.
// The events are the types of this file. A listener is called from many goroutines,
// holds up the work while it runs, and must not call the committer.
type Event interface{ String() string }

// SyncDone reports a completed write and sync of one file.
type SyncDone struct {
	Path     string
	Ops      int
	Bytes    int
	Duration time.Duration // of the sync alone
}

// JournalRound reports a frame that was written to the journal and synced.
type JournalRound struct {
	Files, Runs int
	Bytes       int
	Duration    time.Duration
}

// FileFailed reports a failed write or sync, which is final for the file.
type FileFailed struct {
	Path string
	Err  error
}

// JournalFailed reports that the journal is no longer used: from here on every file
// is synced by itself and consumer runs are refused with [ErrNoJournal].
type JournalFailed struct{ Err error }

// JournalReplayed reports what [Open] found in the journal.
type JournalReplayed struct {
	Segments int
	Files    int   // files that records were for
	Applied  int   // records that were written to their file again
	Present  int   // records that their file held already
	Dropped  int   // records whose file is gone, or went on differently
	Bytes    int64 // written
	Runs     int   // consumer runs kept for their owners
	Duration time.Duration
}

// JournalDamaged reports a part of the journal that was durable once and cannot be
// read now. Records in it may be lost.
type JournalDamaged struct {
	Path     string
	From, To int64
}

func (e SyncDone) String() string {
	return fmt.Sprintf("synced %s: %d ops, %d bytes in %v", e.Path, e.Ops, e.Bytes, e.Duration)
}

func (e JournalRound) String() string {
	return fmt.Sprintf("commit journal: %d files, %d consumers, %d bytes in %v", e.Files, e.Runs, e.Bytes, e.Duration)
}

func (e FileFailed) String() string { return fmt.Sprintf("write to %s failed: %v", e.Path, e.Err) }

func (e JournalFailed) String() string {
	return fmt.Sprintf("commit journal failed, files are synced one by one: %v", e.Err)
}

func (e JournalReplayed) String() string {
	return fmt.Sprintf("commit journal replayed: %d segments, %d files, %d records applied, %d present, %d dropped, %d bytes, %d consumer runs in %v",
		e.Segments, e.Files, e.Applied, e.Present, e.Dropped, e.Bytes, e.Runs, e.Duration)
}

func (e JournalDamaged) String() string {
	return fmt.Sprintf("commit journal %s is damaged from offset %d to %d", e.Path, e.From, e.To)
}

func (c *Committer) event(e Event) {
	if c.opts.Listener != nil {
		c.opts.Listener(e)
	}
}
