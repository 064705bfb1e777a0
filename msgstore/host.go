package msgstore

import (
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/internal/mutation"
	"github.com/natsd/natsd/msgstore/vfs"
)

// Host is what the file stores of one store directory share: the committer, the
// memory for block contents, the limit of disk operations, and the goroutine
// that looks after idle stores. Its methods may be called from any goroutine.
type Host struct {
	fs         vfs.FS
	dir        string
	commit     *commit.Committer
	events     func(Event)
	gate       chan struct{}
	placeEvery int64         // placeEvery; less in tests
	ahead      chan struct{} // one for each block that a replay has read before its turn
	budget     int64
	scrubRate  int64
	manual     bool

	waits     struct{ waiters, count, total, longest atomic.Int64 } // for a place in gate
	mutations mutation.Set                                          // of the tests

	tick atomic.Int64 // seconds since start; the age of caches

	mu     sync.Mutex
	stores map[*store]struct{}
	held   map[*block]struct{} // blocks whose content may be in memory
	bytes  int64               // of their contents, roughly
	tables map[*block]struct{} // blocks with a table of subjects
	tabled int64               // bytes of these tables
	hollow chan struct{}       // a store has a block that is to be compacted at once
	stop   chan struct{}
	done   chan struct{}
}

// HostOptions are the options of a Host. Zero values mean the defaults.
type HostOptions struct {
	FS     vfs.FS         // default: the operating system's
	Commit commit.Options // FS and Listener are set by NewHost

	// CacheBytes bounds the memory for block contents. Default 128 MiB.
	CacheBytes int64
	// ScrubRate bounds the verification of sealed blocks, in bytes per second.
	// Default 32 MiB; negative switches it off.
	ScrubRate int64
	// DiskOps bounds concurrent reads. Default 4096, allowed 4 to 8192.
	DiskOps int
	// Events hears of everything that an operator may want to know.
	Events func(Event)
	// Manual leaves it to the caller to call Maintain.
	Manual bool
}

const (
	defaultCacheBytes = 128 << 20
	defaultDiskOps    = 4096
	minDiskOps        = 4
	maxDiskOps        = 8192

	// cacheIdle is the time in seconds after which an unused block content is
	// dropped, fileIdle the one after which the tail's file is closed.
	cacheIdle = 10
	fileIdle  = 30
	// stateEvery is how often, in seconds, index.db is written if something has
	// changed.
	stateEvery = 120
)

// NewHost locks and opens a store directory and replays its commit journal.
func NewHost(dir string, opts HostOptions) (*Host, error) {
	if opts.FS == nil {
		opts.FS = vfs.OS
	}
	if opts.CacheBytes <= 0 {
		opts.CacheBytes = defaultCacheBytes
	}
	if opts.ScrubRate == 0 {
		opts.ScrubRate = defaultScrubRate
	}
	if opts.DiskOps == 0 {
		opts.DiskOps = defaultDiskOps
	}
	h := &Host{
		fs:         opts.FS,
		dir:        dir,
		events:     opts.Events,
		gate:       make(chan struct{}, min(max(opts.DiskOps, minDiskOps), maxDiskOps)),
		placeEvery: placeEvery,
		ahead:      make(chan struct{}, mostAhead),
		budget:     opts.CacheBytes,
		scrubRate:  opts.ScrubRate,
		manual:     opts.Manual,
		mutations:  opts.Commit.Mutations,
		stores:     make(map[*store]struct{}),
		held:       make(map[*block]struct{}),
		tables:     make(map[*block]struct{}),
		hollow:     make(chan struct{}, 1),
		stop:       make(chan struct{}),
		done:       make(chan struct{}),
	}
	opts.Commit.FS = opts.FS
	listener := opts.Commit.Listener
	opts.Commit.Listener = func(e commit.Event) {
		if listener != nil {
			listener(e)
		}
		h.event(e)
	}
	c, err := commit.Open(dir, opts.Commit)
	if err != nil {
		return nil, err
	}
	h.commit = c
	if opts.Manual {
		close(h.done)
	} else {
		go h.run()
	}
	return h, nil
}

// Committer is the committer of the store directory.
func (h *Host) Committer() *commit.Committer { return h.commit }

// FS is the file system of the store directory.
func (h *Host) FS() vfs.FS { return h.fs }

// Dir is the store directory, the parent of "jetstream".
func (h *Host) Dir() string { return h.dir }

// Close ends the host. Its stores have been stopped before.
func (h *Host) Close() error {
	select {
	case <-h.stop:
		return ErrStoreClosed
	default:
	}
	close(h.stop)
	<-h.done
	return h.commit.Close()
}

func (h *Host) run() {
	defer close(h.done)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-t.C:
			h.Maintain(1)
		case <-h.hollow:
			for _, s := range h.list() {
				s.disk.compactHollow()
			}
		}
	}
}

// Maintain does what is due after so many seconds: it drops idle contents,
// closes idle files, compresses, compacts and saves states. A host that was not
// made with Manual does this by itself.
func (h *Host) Maintain(seconds int64) {
	now := h.tick.Add(seconds)
	busy := h.commit.Busy() // with anything but what follows
	stores := h.list()
	h.mu.Lock()
	for b := range h.held {
		if now-b.used.Load() > cacheIdle && !b.pinned.Load() {
			h.forget(b)
		}
	}
	for b := range h.tables {
		if now-b.subjects.Load().used.Load() > subjectsIdle {
			h.forgetSubjects(b)
		}
	}
	h.mu.Unlock()
	for _, s := range stores {
		s.disk.maintain(now)
	}
	h.scrub(stores, h.scrubRate*seconds, busy)
}

// hurry wakes the goroutine that looks after the stores.
func (h *Host) hurry() {
	select {
	case h.hollow <- struct{}{}:
	default: // it is awake
	}
}

// list returns the open stores.
func (h *Host) list() []*store {
	h.mu.Lock()
	defer h.mu.Unlock()
	stores := make([]*store, 0, len(h.stores))
	for s := range h.stores {
		stores = append(stores, s)
	}
	return stores
}

func (h *Host) event(e Event) {
	if h.events != nil {
		h.events(e)
	}
}

func (h *Host) add(s *store) {
	h.mu.Lock()
	h.stores[s] = struct{}{}
	h.mu.Unlock()
}

func (h *Host) remove(s *store) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.stores, s)
	for b := range h.held {
		if b.file.owner == s {
			h.forget(b)
		}
	}
	for b := range h.tables {
		if b.file.owner == s {
			h.forgetSubjects(b)
		}
	}
}

// holdSubjects gives b a table of its subjects, in place of the one that was not
// used for the longest time if there are too many.
func (h *Host) holdSubjects(b *block, x *blockSubjects) {
	x.used.Store(h.tick.Load())
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.tables[b]; ok || x.memory() > subjectsBudget {
		return
	}
	for h.tabled+x.memory() > subjectsBudget {
		var oldest *block
		for y := range h.tables {
			if oldest == nil || y.subjects.Load().used.Load() < oldest.subjects.Load().used.Load() {
				oldest = y
			}
		}
		h.forgetSubjects(oldest)
	}
	h.tables[b] = struct{}{}
	h.tabled += x.memory()
	b.subjects.Store(x)
}

// forgetSubjects drops the table of b. The caller holds mu.
func (h *Host) forgetSubjects(b *block) {
	h.tabled -= b.subjects.Swap(nil).memory()
	delete(h.tables, b)
}

// dropSubjects forgets the table of a block whose content changes.
func (h *Host) dropSubjects(b *block) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.tables[b]; ok {
		h.forgetSubjects(b)
	}
}

// hold counts the content of b, which has n bytes now, and drops the contents
// that were not used for the longest time if there is too much.
func (h *Host) hold(b *block, n int64) {
	b.used.Store(h.tick.Load())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held[b] = struct{}{}
	h.bytes += n - b.file.held.Swap(n)
	for h.bytes > h.budget && len(h.held) > 1 {
		var oldest *block
		for x := range h.held {
			if x != b && !x.pinned.Load() && (oldest == nil || x.used.Load() < oldest.used.Load()) {
				oldest = x
			}
		}
		if oldest == nil {
			return
		}
		h.forget(oldest)
	}
}

// forget drops the content of b. The caller holds mu.
func (h *Host) forget(b *block) {
	if c := b.cache.Swap(nil); c != nil {
		b.file.owner.disk.retire(c)
	}
	b.recent.Store(nil)
	b.capacity.Store(0)
	h.bytes -= b.file.held.Swap(0)
	delete(h.held, b)
}

// drop forgets a block that is gone.
func (h *Host) drop(b *block) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.held[b]; ok {
		h.forget(b)
	}
}

// enter waits for permission to use the disk, leave gives it back.
func (h *Host) enter() {
	select {
	case h.gate <- struct{}{}:
		return
	default:
	}
	began := time.Now()
	h.waits.waiters.Add(1)
	h.gate <- struct{}{}
	took := int64(time.Since(began))
	h.waits.waiters.Add(-1)
	h.waits.count.Add(1)
	h.waits.total.Add(took)
	for longest := h.waits.longest.Load(); took > longest && !h.waits.longest.CompareAndSwap(longest, took); {
		longest = h.waits.longest.Load()
	}
}

func (h *Host) leave() { <-h.gate }

// DiskWaits are the waits for one of the places of HostOptions.DiskOps since the
// host was opened.
type DiskWaits struct {
	Waiters        int64 // at present
	Waits          int64 // that have ended
	Total, Longest time.Duration
}

// DiskWaits tells how long reads had to wait for others.
func (h *Host) DiskWaits() DiskWaits {
	w := &h.waits
	return DiskWaits{w.waiters.Load(), w.count.Load(), time.Duration(w.total.Load()), time.Duration(w.longest.Load())}
}

func (h *Host) streamDir(account, stream string) string {
	return path.Join("jetstream", account, "streams", stream)
}
