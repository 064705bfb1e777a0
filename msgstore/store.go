package msgstore

import (
	"io"
)

// Store holds the messages of one stream, on disk ([FileStore]) or in memory
// ([MemStore]). Both give the same answers, except for the sizes of messages.
//
// Sequences are 1, 2, 3, ... and never used twice. Times are nanoseconds since
// the Unix epoch; 0 means no time. Everything that a reading method says is
// about the messages up to the visible position ([Positions]); operations take
// effect in the order of their calls.
//
// A method with a done callback returns before the operation is complete and
// calls done exactly once, without a lock held, in the order of the operations
// of the store; done may be called before the method returns. It may call the store,
// but must not wait for an operation of it: the blocking form of an operation waits
// for the moment when its own done would be called, which comes after this one.
//
// All methods may be called from several goroutines at a time.
type Store interface {
	// Type is the kind of storage.
	Type() StorageType

	// StoreMsg gives a message the next sequence and the current time and
	// stores it after checking the limits of discard policy new. ttl is in
	// seconds, 0 for none, negative for never. It blocks until the message is
	// visible. On error seq and ts are 0.
	StoreMsg(subject string, header, data []byte, ttl int64) (seq uint64, ts int64, err error)
	// StoreRawMsg stores a message with a given sequence (0 means the next) and
	// time. A sequence other than the next is refused with ErrSequenceMismatch.
	// The limits of discard policy new are checked only if discardNew is set.
	StoreRawMsg(subject string, header, data []byte, seq uint64, ts, ttl int64, discardNew bool) error
	// StoreRawMsgs stores a batch as one unit: its messages become visible
	// together. It is the way for those who have admitted the messages already:
	// no limit refuses one, the sequences must follow. Either all are stored, or
	// none and done gets the error. The store copies what it keeps; the batch
	// and what it points to belong to the caller again when the call returns.
	StoreRawMsgs(batch []RawMsg, done func(error))
	// InFlight calls fn with the messages that were given to the store and are not
	// visible yet, in order. What m points to is valid during the call, in which
	// fn must not use the store. TTL and Skip are not filled in.
	InFlight(fn func(m *RawMsg))
	// SkipMsg uses up the sequence seq (0 or the next) and returns it.
	SkipMsg(seq uint64) (uint64, error)
	// SkipMsgs uses up num sequences from seq (the next) on.
	SkipMsgs(seq, num uint64) error
	// FlushAllPending waits until everything stored so far is durable, and
	// returns the durable sequence.
	FlushAllPending() (durable uint64, err error)
	// Positions returns the three positions at one moment.
	Positions() Positions

	// LoadMsg returns the message seq. Errors: ErrStoreEOF above the last
	// sequence, ErrStoreMsgNotFound or ErrDeletedMsg if there is none,
	// *BadRecordError if it is damaged. sm may be nil; see StoredMsg.
	LoadMsg(seq uint64, sm *StoredMsg) (*StoredMsg, error)
	// LoadLastMsg returns the last message whose subject matches. With "" or
	// ">" it is exactly the last sequence or ErrStoreMsgNotFound.
	LoadLastMsg(subject string, sm *StoredMsg) (*StoredMsg, error)
	// LoadNextMsg returns the first message at or after start that matches, and
	// its sequence. Without one: ErrStoreEOF and the last sequence. At a damaged
	// one: *BadRecordError and its sequence.
	LoadNextMsg(filter string, start uint64, sm *StoredMsg) (*StoredMsg, uint64, error)
	LoadNextMsgMulti(filter *Filter, start uint64, sm *StoredMsg) (*StoredMsg, uint64, error)
	// LoadPrevMsg returns the last message at or before start that matches, and
	// its sequence. Without one: ErrStoreEOF and the first sequence.
	LoadPrevMsg(filter string, start uint64, sm *StoredMsg) (*StoredMsg, uint64, error)
	LoadPrevMsgMulti(filter *Filter, start uint64, sm *StoredMsg) (*StoredMsg, uint64, error)
	// LoadBatch appends messages to b that match, from start on and ascending,
	// until a limit is reached. next is the first sequence that it did not look
	// at. A damaged message ends the batch before it; if it is the first
	// candidate the error is *BadRecordError and next its sequence.
	// No message left is no error: next is above the last sequence.
	LoadBatch(filter *Filter, start uint64, limit BatchLimit, b *Batch) (next uint64, err error)
	// LoadMsgs appends the messages seqs to b, in this order, leaving out those
	// that do not exist. Damaged ones are left out as well and the first of them
	// is returned as *BadRecordError after the others were loaded.
	LoadMsgs(seqs []uint64, b *Batch) error
	// SubjectForSeq returns the subject of a message.
	SubjectForSeq(seq uint64) (string, error)
	// GetSeqFromTime returns the first sequence whose time is t or later, or
	// the last sequence + 1. Times need not ascend: behind it there may be
	// messages that are older.
	GetSeqFromTime(t int64) uint64

	// NumPending counts the messages at or after start that match; with
	// lastPerSubject the subjects whose last message is one of them. It holds
	// for messages up to validThrough.
	NumPending(start uint64, filter string, lastPerSubject bool) (n, validThrough uint64, err error)
	NumPendingMulti(start uint64, filter *Filter, lastPerSubject bool) (n, validThrough uint64, err error)
	// CountPending is NumPendingMulti in steps: it counts until it has looked at
	// scan messages, or to the end if that takes no looking. next is where to go on;
	// above the last sequence it has counted them all. What is below next must not
	// change between the steps, or the caller must keep account of it.
	CountPending(start uint64, filter *Filter, scan int) (n, next uint64, err error)
	// FilteredState counts the messages at or after start that match and gives
	// the first and last of them.
	FilteredState(start uint64, filter string) (SimpleState, error)
	// SubjectsState gives the state of every subject that matches.
	SubjectsState(filter string) (map[string]SimpleState, error)
	// SubjectsTotals gives the number of messages of every subject that matches.
	SubjectsTotals(filter string) map[string]uint64
	// AllLastSeqs returns the last sequence of every subject, ascending.
	AllLastSeqs() ([]uint64, error)
	// MultiLastSeqs returns for every subject that matches one of the filters
	// its last sequence up to maxSeq (0: the last), ascending. More than
	// maxAllowed (> 0) give ErrTooManyResults.
	MultiLastSeqs(filters []string, maxSeq uint64, maxAllowed int) ([]uint64, error)
	// MultiLastMsgs calls fn with the messages of MultiLastSeqs, as they are at
	// one moment. All of them count in total; those below minSeq are not passed
	// to fn, and none behind those that have maxBytes together (0: no bound). fn
	// gets the number of messages that follow, and stops the walk by returning
	// false; remaining is what it has not seen.
	MultiLastMsgs(filters []string, minSeq, maxSeq uint64, maxAllowed, maxBytes int, fn func(sm *StoredMsg, remaining int) bool) (total, remaining int, err error)

	// RemoveMsg removes a message. removed is false without an error if it is
	// gone already; sequences outside of the stream give ErrStoreMsgNotFound
	// (0 and below the first) or ErrStoreEOF.
	RemoveMsg(seq uint64) (removed bool, err error)
	// EraseMsg is RemoveMsg that also overwrites the bytes of the message.
	EraseMsg(seq uint64) (removed bool, err error)
	// RemoveMsgs removes many messages as one unit; those that do not exist are
	// passed over. done gets how many were removed.
	RemoveMsgs(seqs []uint64, erase bool, done func(removed uint64, err error))
	// Purge removes everything.
	Purge() (uint64, error)
	// PurgeEx removes messages by subject filter, up to a sequence, or all but
	// the last keep. The combinations are those of the stream purge request.
	PurgeEx(subject string, seq, keep uint64) (uint64, error)
	// PurgeMsgs is PurgeEx with a callback.
	PurgeMsgs(subject string, seq, keep uint64, done func(purged uint64, err error))
	// Compact removes everything below seq.
	Compact(seq uint64) (uint64, error)
	// Truncate removes everything above seq. Truncate(0) resets the store. It is
	// for streams that are not in use: whoever else wants something of the store
	// waits, since sequences go back and no state in between may be seen.
	Truncate(seq uint64) error

	// Notified waits until the callbacks of every removal that loads have shown
	// so far have returned. Not to be called in a callback.
	Notified()
	// Has reports whether a message is there. It loads nothing.
	Has(seq uint64) bool
	// FastState fills in the state without the list of deleted.
	FastState(*State)
	// State returns the state with them.
	State() State
	// EncodedStreamState is the state and all deleted sequences in the
	// replication encoding.
	EncodedStreamState(failed uint64) ([]byte, error)
	// SyncDeleted removes the sequences that the leader says are deleted,
	// without tombstones.
	SyncDeleted(deleted []SeqRange)
	// Utilization is the number of bytes in use and the number reported.
	Utilization() (total, reported uint64, err error)

	// NextDue is the time of the earliest age limit, TTL or schedule, or 0. It may be too
	// early: then Due finds nothing, and the next answer is exact.
	NextDue() int64
	// Due appends to due at most max things whose time has come, in order of
	// sequence. The store does nothing about them: the owner removes the
	// messages or stores the markers and scheduled messages. What was returned
	// is not returned again within 2 s of now, unless ResetState was called.
	Due(now int64, max int, due []Due) []Due
	// ResetState forgets what Due has returned.
	ResetState()

	// SourceProgress is how far each source has been stored, by index name.
	SourceProgress() map[string]SourceProgress
	// SetSourceProgress replaces it.
	SetSourceProgress(map[string]SourceProgress)
	// PassSource notes that a source has come to p with a message that was not
	// stored.
	PassSource(name string, p SourceProgress)

	// RegisterStorageUpdates sets the function that hears of every change when
	// it becomes visible: (+1, +size, seq, subject) for a message,
	// (-1, -size, seq, subject) for a single removal, (-n, -bytes, 0, "") for
	// others. It may call the store, like a done callback. A store that is not empty
	// calls it at once with its bytes.
	RegisterStorageUpdates(func(msgs, bytes int64, seq uint64, subject string))
	// RegisterStorageRemoveMsg and RegisterProcessJetStreamMsg set what [RunDue]
	// does about messages whose time has come, and about markers and scheduled
	// messages. Without them it removes, and stores.
	RegisterStorageRemoveMsg(func(seq uint64))
	RegisterProcessJetStreamMsg(func(subject string, header, data []byte))

	// UpdateConfig changes what can be changed while the store runs, and
	// enforces lowered limits at once.
	UpdateConfig(Config) error
	// Snapshot writes the stream as an archive, see SnapshotOptions.
	Snapshot(w io.Writer, opts SnapshotOptions) error
	// Stop makes everything durable, writes the state files and closes. A second
	// Stop returns ErrStoreClosed.
	Stop() error
	// Delete stops and removes everything on disk; with inline it waits for it.
	Delete(inline bool) error
}

// RawMsg is a message whose sequence and time are given, or a range of
// sequences without messages.
type RawMsg struct {
	Subject string
	Header  []byte // raw header section, or empty
	Data    []byte
	Seq     uint64 // 0 means the next
	Time    int64  // ns
	TTL     int64  // seconds; 0 none, negative never
	// Skip > 0 makes it no message: Skip sequences from Seq on are used up, and
	// Time becomes the last time of the stream if it is not 0.
	Skip uint64
	// Rollup removes earlier messages in the same step.
	Rollup Rollup
}

// Rollup says which earlier messages a message replaces.
type Rollup uint8

const (
	RollupNone    Rollup = iota
	RollupSubject        // those of its subject
	RollupAll            // all of the stream
)

// StoredMsg is a loaded message. Its slices and its subject are never
// overwritten: they may be kept, must not be changed, and keep alive a piece of
// memory of up to 64 KiB that is shared with messages loaded next to it. Loading into the same
// StoredMsg again uses what is left of that memory, so that a loop over a
// stream hardly allocates.
type StoredMsg struct {
	Subject string
	Header  []byte // nil if there is none
	Data    []byte
	Seq     uint64
	Time    int64 // ns

	mem []byte // free memory; len is always 0
}

// Batch receives loaded messages. The zero value is ready for use. A Batch must
// not be used by two goroutines at a time.
type Batch struct {
	Msgs []StoredMsg
	mem  []byte
	full [][]byte // pieces of memory without room, for Recycle
	free [][]byte // pieces without messages
}

// Reset empties the batch. Messages loaded before stay valid.
func (b *Batch) Reset() {
	b.Msgs = b.Msgs[:0]
	clear(b.full)
	b.full = b.full[:0]
}

// Recycle empties the batch, whose memory is used again: no message that was ever
// loaded into it may be used any more. Between two calls whoever wants to load
// without losing what was loaded empties Msgs.
func (b *Batch) Recycle() {
	b.Msgs = b.Msgs[:0]
	for _, piece := range b.full {
		if len(b.free) < keptPieces {
			b.free = append(b.free, piece[:0])
		}
	}
	clear(b.full)
	b.full = b.full[:0]
	b.mem = b.mem[:0]
}

// BatchLimit bounds what LoadBatch does. Zero fields do not limit.
type BatchLimit struct {
	Msgs    int    // messages appended
	Bytes   int    // their subjects, headers and payloads; one message is always allowed
	Scan    int    // messages looked at
	Through uint64 // last sequence to look at
}

// SeqRange is Num sequences from First on.
type SeqRange struct{ First, Num uint64 }

// Positions are the positions of a store; see the package documentation.
type Positions struct {
	Appended uint64 // handed over to be written
	Durable  uint64 // covered by a completed sync; in memory: the last
	Visible  uint64 // what reads and counts see
}

// State is the state of a stream up to the visible position.
type State struct {
	Msgs        uint64
	Bytes       uint64
	FirstSeq    uint64
	FirstTime   int64 // 0: none
	LastSeq     uint64
	LastTime    int64 // 0: none
	NumSubjects int
	NumDeleted  uint64
	Deleted     []uint64  // ascending, the first [MaxDeletedListed] of them; only State
	Lost        *LostData // nil if nothing is known to be lost
}

// SimpleState is the state of the messages that match something.
type SimpleState struct {
	Msgs  uint64
	First uint64
	Last  uint64
}

// LostData lists what damage has cost.
type LostData struct {
	Msgs  []uint64 // ascending
	Bytes uint64
}

// SourceProgress is how far a source has been stored.
type SourceProgress struct {
	Seq      uint64 // last sequence in the origin stream
	Identity string // of the origin stream; may be empty
}

// Due is something whose time has come.
type Due struct {
	Kind    DueKind
	Seq     uint64 // the message that expires, or the schedule's message
	Subject string // its subject
	Time    int64  // when it became due
	// Marker says that the store is configured to leave subject delete markers
	// and this is the last message of its subject, and no marker itself.
	Marker bool
	// For a schedule: the message to publish. For a marker: the marker.
	Publish *StoredMsg
}

// DueKind says why something is due.
type DueKind uint8

const (
	DueAge DueKind = iota
	DueTTL
	DueSchedule
)

// SnapshotOptions say what goes into an archive.
type SnapshotOptions struct {
	// Version is 1 (a tar of the blocks; file stores only) or 2 (message by
	// message, which 2.15 servers write).
	Version int
	// Consumers are the consumers to include.
	Consumers []SnapshotConsumer
	// At is the state of which the archive is made (version 2): messages behind its
	// last sequence are left out. nil: the present state.
	At *State
}

// SnapshotConsumer is a consumer in an archive.
type SnapshotConsumer struct {
	Name  string
	Meta  []byte // plain meta.inf
	State []byte // plain o.dat (version 1) or the state's JSON (version 2)
}
