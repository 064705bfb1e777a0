package commit

import (
	"fmt"
	"io"
	"path"
	"sync"
	"time"

	"github.com/natsd/natsd/msgstore/internal/mutation"
	"github.com/natsd/natsd/msgstore/vfs"
)

// Options are the options of a Committer. Zero values mean the defaults.
type Options struct {
	FS vfs.FS // default: the operating system's

	// SyncThreads is the largest number of goroutines, and so of OS threads, inside
	// a write or sync. Default 16: more did not sync faster on any disk measured.
	SyncThreads int

	// NoJournal switches the journal off. What an earlier use left in it is still
	// replayed.
	NoJournal bool

	// JournalFiles is the number of files in line at which the journal gets its
	// first segment at once. Default 16: with fewer it is made when SyncsAlone small
	// appends were synced without it.
	JournalFiles int

	// SyncsAlone is the number of small appends, each synced in its own file, after
	// which the journal gets its first segment. Default 512: what is saved from then
	// on pays for it soon.
	SyncsAlone int

	// SegmentSize is the size of a journal segment in bytes. Default 32 MiB.
	SegmentSize int64

	// Segments is the largest number of journal segments. Default 4.
	Segments int

	// Listener receives the events.
	Listener func(Event)

	// Mutations are for the tests of this module.
	Mutations mutation.Set
}

const (
	defaultSyncThreads  = 16
	defaultJournalFiles = 16
	defaultSyncsAlone   = 512
	defaultSegmentSize  = 32 << 20
	defaultSegments     = 4

	// roundFileBytes bounds what one file may write in one round, so that a stream
	// with a huge backlog gives its worker back to the others.
	roundFileBytes = 4 << 20

	// deliverBytes is how much is delivered before those who wait are told of it: they
	// make what comes next while the rest is delivered.
	deliverBytes = 128 << 10

	// keepBuf bounds what a workspace keeps of the memory in which small records
	// were joined.
	keepBuf = 1 << 20

	// journalFileBytes bounds what one file gets into one journal round: above, a
	// sync of its own costs less than writing the bytes twice.
	journalFileBytes = 32 << 10

	// journalRoundBytes bounds a journal round, and with it the wait of the next.
	journalRoundBytes = 4 << 20

	// lazyThreads bounds the background syncs of files in the journal, so that they
	// hold foreground syncs up little.
	lazyThreads = 4

	// gatherLimit bounds the wait for company before a round: above, sleeping would be
	// cheaper than yielding.
	gatherLimit = 200 * time.Microsecond

	// gatherPause is for how many rounds, at most, a file does not wait for company
	// after it did so in vain: one, and twice as many each time.
	gatherPause = 16
)

// LazyDelay is the longest time that a lazy run waits for company.
const LazyDelay = 50 * time.Millisecond

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.SyncThreads <= 0 {
		o.SyncThreads = defaultSyncThreads
	}
	if o.JournalFiles <= 0 {
		o.JournalFiles = defaultJournalFiles
	}
	if o.SyncsAlone <= 0 {
		o.SyncsAlone = defaultSyncsAlone
	}
	if o.SegmentSize <= 0 {
		o.SegmentSize = defaultSegmentSize
	}
	o.SegmentSize = max(alignFrame(o.SegmentSize), 16*frameAlign)
	if o.Segments <= 1 {
		o.Segments = defaultSegments
	}
	return o
}

// Committer makes the writes of all stores of one store directory durable. All
// methods may be called from several goroutines.
type Committer struct {
	opts Options
	dir  string
	lock io.Closer

	mu        sync.Mutex // guards all below; taken after Queue.mu, never before it
	small     line       // blocks whose appends may go to the journal
	single    line       // everything that needs a round of its own
	turn      bool       // whose turn: small or single
	urgent    []*File    // run logs that want a journal round now
	patient   []*File    // run logs with lazy runs only
	timer     *time.Timer
	timing    bool
	lazy      line // blocks whose content a full segment holds
	lazies    int  // workers that sync such blocks
	workers   int
	asides    int // of them, in a call that may wait for others
	closing   bool
	idle      sync.Cond // workers == 0
	released  sync.Cond // the journal, or the preparation of a segment, was let go
	unclaimed map[string]*RunLog
	carried   []*RunLog // whose replayed runs are in the file of carried runs
	journal   journal

	buffers sync.Pool // *workspace
}

// line is a queue of files.
type line struct {
	files []*File
	head  int
}

func (l *line) len() int { return len(l.files) - l.head }

func (l *line) push(f *File) { l.files = append(l.files, f) }

func (l *line) pop() *File {
	f := l.files[l.head]
	l.files[l.head] = nil
	l.head++
	if l.head == len(l.files) {
		l.files, l.head = l.files[:0], 0
	} else if l.head >= 1024 && l.head*2 >= len(l.files) {
		n := copy(l.files, l.files[l.head:])
		clear(l.files[n:])
		l.files, l.head = l.files[:n], 0
	}
	return f
}

// Open takes the lock of the store directory (dir/natsd.lock), replays the commit
// journal in dir/natsd, and returns the committer of the directory. A directory in
// use gives a [*vfs.LockedError], a journal of a newer server a [*VersionError].
// The directory is created if need be.
func Open(dir string, opts Options) (*Committer, error) {
	opts = opts.withDefaults()
	if err := vfs.MkdirAllSynced(opts.FS, dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store directory: %w", err)
	}
	lock, err := opts.FS.Lock(path.Join(dir, "natsd.lock"))
	if err != nil {
		return nil, fmt.Errorf("open store directory: %w", err)
	}
	c := &Committer{opts: opts, dir: dir, lock: lock, unclaimed: map[string]*RunLog{}}
	c.idle.L, c.released.L = &c.mu, &c.mu
	c.buffers.New = func() any { return new(workspace) }
	c.journal.dir = path.Join(dir, journalDir)
	c.journal.usable = !opts.NoJournal
	if err := c.replay(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open commit journal: %w", err)
	}
	return c, nil
}

// Busy reports whether writes or syncs are under way, for work that can wait.
func (c *Committer) Busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.workers > 0
}

// Close waits for what is in flight, syncs all files that the journal covers,
// empties the journal and gives the lock of the directory back. The owners have
// closed their files and run logs before. Runs that no checkpoint covers stay in the
// journal.
func (c *Committer) Close() error {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return nil
	}
	c.closing = true
	if c.timer != nil {
		c.timer.Stop()
	}
	for c.workers > 0 {
		c.idle.Wait()
	}
	c.mu.Unlock()
	err := c.closeJournal()
	if cerr := c.lock.Close(); err == nil {
		err = cerr
	}
	return err
}
