package msgstore

import (
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/internal/buffers"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs"
)

// disk is the file side of a store.
type disk struct {
	s       *store
	host    *Host
	fs      vfs.FS
	account string
	name    string // of the stream
	dir     string // of the stream
	msgs    string // its message blocks
	rel     string // msgs relative to the store directory
	ring    KeyRing
	key     *keys.Key // of the stream; nil without encryption
	mode    Durability
	every   int64 // of mode Interval, seconds
	queue   *commit.Queue

	// The tail's file. Guarded by store.wmu; nil while it is closed.
	out     *commit.File
	outFile vfs.File
	stream  *keys.Stream // encrypts what goes to it
	rotated []*fullFile  // the files before it that may be open still; guarded by store.wmu
	lastUse atomic.Int64 // host tick of the last append
	readAt  atomic.Int64 // host tick of the last time that a reader came to a block
	behind  behind

	// Guarded by store.mu.
	spare   *cache   // for the window of the next block; may be nil
	found   []uint64 // lost messages that were removed; their notes are to be changed
	garbage []*block // to be deleted when what replaced them is durable
	later   []*block // the same, but index.db must be written first
	changes uint64   // counts ops
	tailSum [record.SumSize]byte

	last atomic.Pointer[piece] // that was read

	retiring sync.Mutex // leaf; guards retired
	retired  []*cache   // contents that have left their blocks

	hurry  atomic.Bool   // a block waits for its compaction
	synced atomic.Uint64 // durable position, for the modes other than Always

	maintaining sync.Mutex // one pass at a time; guards the next four
	stateAt     int64      // host tick of the last write of index.db
	syncAt      int64      // of the last sync in mode Interval
	saved       uint64     // changes when index.db was written
	doubtful    bool       // meta.inf may not be what is in force

	stopping   bool // set under wmu and store.mu; read under either
	truncating bool // nothing is in flight; guarded by store.mu
	broken     bool // what is in memory is not what is on disk; guarded by store.mu

	snapshotting sync.Mutex

	cleaning sync.Mutex
	gone     []uint32 // blocks deleted since index.db was written; guarded by cleaning
	stuck    []uint32 // those of gone whose files are there still; guarded by cleaning
	floored  uint64   // the floor in floor.db; guarded by cleaning
	marked   uint32   // the block that floor.db names, 0 if it may not hold; guarded by cleaning
	sourced  uint64   // the stamp of sources.db, 0 if it is not known; guarded by cleaning

	sourcesOnDisk bool // there is a sources.db; guarded by cleaning

	unwritten bool // recovery left it to an index.db to say what lives

	noted []quarantineNote // damages that were reported; guarded by store.mu
	owed  []removal        // what recovery removed and has no tombstone
	known seqTime          // last sequence that index.db knows, during recovery
}

// blockFile is what the store knows of a block's file.
type blockFile struct {
	owner *store
	key   *keys.Key // nil without encryption
	// stored is the size of a sealed block's file; held is written under Host.mu.
	stored     int64
	held       atomic.Int64
	compressed bool
	gen        uint64 // counts rewrites; guarded by store.mu
	loading    sync.Mutex
	// tried is the live size at the last compaction, 0 if there was none.
	tried    uint64
	locked   string // why the block cannot be read at all, or ""
	reported bool   // its damage was reported
	verified int64  // host tick when the file was last read as a whole, or sealed; 0: never
	convert  bool   // to be rewritten with the configured key and cipher
	failed   bool   // a rewrite failed; the next start tries again
	fresh    bool   // sealed since the store was opened: to be compressed
	sealed   bool   // the file gets no more records
}

// diskOp is what an op has to do with the disk.
type diskOp struct {
	left   int // parts in the queue; guarded by store.flying
	sent   int // segments handed over
	flying bool
	sealed bool // all parts were handed over; guarded by store.flying
	err    error
	synced uint64 // a sync up to this sequence
}

var parts = sync.Pool{New: func() any { return new(commit.Op) }}

// part hands one operation of o to the queue. The caller holds wmu.
func (d *disk) part(o *op, c commit.Op) {
	d.s.flying.Lock()
	if !o.disk.flying {
		o.disk.flying = true
		d.s.flight = append(d.s.flight, o)
	}
	o.disk.left++
	d.s.flying.Unlock()
	p := parts.Get().(*commit.Op)
	p.File, p.Runs, p.Data, p.Sync, p.Lazy, p.Do, p.Forget = c.File, nil, c.Data, c.Sync, false, c.Do, c.Forget
	d.queue.Submit(p)
}

// send seals the segments that are complete, and hands them over. All of them
// belong to the tail's block.
func (d *disk) send(o *op) error {
	for ; o.disk.sent < len(o.segs); o.disk.sent++ {
		sg := &o.segs[o.disk.sent]
		data := sg.buf
		if len(data) == 0 {
			continue
		}
		record.Seal(data, d.s.tail.key)
		if err := d.openTail(sg.b, sg.off); err != nil {
			return err
		}
		if d.stream != nil {
			sg.enc = append(buffers.Get(len(data)), data...)
			data = sg.enc
			d.stream.XORAt(data, data, sg.off)
		}
		d.part(o, commit.Op{File: d.out, Data: data})
	}
	return nil
}

// submit hands an op over and releases wmu.
func (d *disk) submit(o *op) {
	err := d.send(o)
	if err != nil {
		d.fail(err)
	}
	if n := len(o.segs); n > 0 {
		last := o.segs[n-1].buf
		d.s.tail.sum = [record.SumSize]byte(last[len(last)-record.SumSize:])
	}
	switch {
	case err != nil:
	case !o.disk.flying:
		d.part(o, commit.Op{Do: func() error { return nil }})
	}
	large := o.size() > lendMost
	d.seal(o, err) // it is not ours any more
	d.s.wmu.Unlock()
	if large {
		d.queue.Start()
	} else {
		d.queue.Run()
	}
}

// lendMost is the size of the records up to which who submits them does the work, if
// nobody else is at it: a lone message. Behind more than that there is more to come, and
// the next operation should be made while these are written and synced: else each sync
// would cover no more than one.
const lendMost = 32 << 10

// seal says that o has no more parts.
func (d *disk) seal(o *op, err error) {
	s := d.s
	s.flying.Lock()
	o.disk.sealed = true
	if o.disk.err == nil {
		o.disk.err = err
	}
	flying, complete := o.disk.flying, o.disk.left == 0
	s.flying.Unlock()
	switch {
	case !flying:
		o.err = err
		s.follow(o)
	case complete:
		s.complete(o, o.disk.err)
	}
}

// completed is called by the queue with the parts that are complete, in order.
func (d *disk) completed(done []*commit.Op) {
	s := d.s
	for _, p := range done {
		s.flying.Lock()
		o := s.flight[0]
		if p.Err != nil && o.disk.err == nil {
			o.disk.err = p.Err
		}
		o.disk.left--
		ready := o.disk.left == 0 && o.disk.sealed
		s.flying.Unlock()
		p.File, p.Data, p.Do = nil, nil, nil
		parts.Put(p)
		if !ready {
			continue
		}
		if o.disk.err != nil {
			d.fail(o.disk.err)
		}
		// What follows a failed op rests on it, and fails as well.
		s.complete(o, s.failure())
	}
}

// delivered is called by the queue behind completed. Others may hold the locks that
// this needs until the queue has done what they wait for.
func (d *disk) delivered() {
	if d.mode == Always {
		d.clean()
	}
	d.s.runCallbacks()
}

// fail makes the store refuse writes with a sticky error.
func (d *disk) fail(err error) {
	w := &WriteError{Op: "write", Err: err}
	if d.s.failed.CompareAndSwap(nil, w) {
		d.host.event(WriteFailed{Account: d.account, Stream: d.name, Err: w})
	}
}

// fullFile is the file of a block that was full, until the next one is durable.
type fullFile struct {
	file   *commit.File
	raw    vfs.File
	closed atomic.Bool
}

// rotate makes b, which is new, the file that records go to. The caller holds
// wmu. What the old tail holds is synced before the new one gets anything.
func (d *disk) rotate(o *op, b *block) error {
	if err := d.send(o); err != nil {
		d.fail(err)
		return err
	}
	d.rotated = slices.DeleteFunc(d.rotated, func(x *fullFile) bool { return x.closed.Load() })
	var old *fullFile
	if d.out != nil {
		old = &fullFile{file: d.out, raw: d.outFile}
		d.rotated = append(d.rotated, old)
		d.out = nil
	}
	d.s.mu.Lock()
	d.s.tail.b.file.stored = d.s.tail.size
	d.s.tail.b.file.fresh = true
	d.s.tail.b.file.sealed = true
	d.s.tail.b.file.verified = max(d.host.tick.Load(), 1) // what was just written need not be read
	d.s.mu.Unlock()
	if old != nil && !d.host.mutations.RotateWithoutSync {
		d.part(o, commit.Op{File: old.file, Sync: true})
	}
	b.file.owner = d.s
	out, file, keyFile, err := d.create(b)
	if err != nil {
		d.fail(err)
		return err
	}
	d.out, d.outFile = out, file
	d.part(o, commit.Op{File: out, Do: func() error {
		if keyFile != nil {
			if err := vfs.ReplaceFile(d.fs, d.keyPath(b.num), keyFile, 0o600); err != nil {
				return err
			}
		}
		if err := d.fs.SyncDir(d.msgs); err != nil {
			return err
		}
		if old != nil {
			old.file.Drop()
			old.raw.Close()
			old.closed.Store(true)
		}
		return nil
	}})
	return nil
}

// create makes the file of a new block, without syncing anything.
func (d *disk) create(b *block) (*commit.File, vfs.File, []byte, error) {
	var keyFile []byte
	if d.ring.Enabled() {
		var err error
		if b.file.key, keyFile, err = d.ring.New(keys.OfBlock(d.account, d.name, uint64(b.num))); err != nil {
			return nil, nil, nil, err
		}
		d.stream = b.file.key.Stream()
	}
	file, err := d.fs.OpenFile(d.blockPath(b.num), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, nil, err
	}
	return d.newFile(b, file, 0, [8]byte{}), file, keyFile, nil
}

func (d *disk) newFile(b *block, file vfs.File, size int64, tail [8]byte) *commit.File {
	return d.queue.NewFile(path.Join(d.rel, blockName(b.num)), file, size, tail, commit.Mode(d.mode))
}

// openTail opens the tail's file if it is closed. size is its size.
func (d *disk) openTail(b *block, size int64) error {
	d.lastUse.Store(d.host.tick.Load())
	if d.out != nil {
		return nil
	}
	file, err := d.fs.OpenFile(d.blockPath(b.num), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	var tail [8]byte
	if size >= 8 {
		if _, err := file.ReadAt(tail[:], size-8); err != nil {
			file.Close()
			return err
		}
	}
	d.out, d.outFile = d.newFile(b, file, size, tail), file
	d.stream = nil
	if b.file.key != nil {
		d.stream = b.file.key.Stream()
	}
	return nil
}

// closeTail closes the tail's file when everything in it is durable; if that fails
// the store refuses writes, as after any failed sync. The caller holds wmu; nothing
// is in flight.
func (d *disk) closeTail() error {
	if d.out == nil {
		return nil
	}
	if err := d.out.Close(); err != nil {
		d.fail(err)
		return err
	}
	err := d.outFile.Close()
	d.out, d.outFile, d.stream = nil, nil, nil
	if err != nil {
		d.fail(err)
	}
	return err
}

// dropped is called when b has left the stream.
func (d *disk) dropped(b *block) {
	b.top = b.last.seq
	d.garbage = append(d.garbage, b)
}

// emptied says whether a block without live messages, s.blocks[i], may go. It
// stays while it holds the last sequence, or tombstones for messages whose
// records may be in an earlier block.
func (d *disk) emptied(b *block, i int) bool {
	s := d.s
	if b.last.seq >= s.last.seq {
		return false
	}
	c, err := s.content(b)
	if err != nil || len(c.bad) > 0 {
		return false
	}
	for _, t := range c.tomb {
		if s.blockOf(t) < i {
			return false
		}
	}
	d.dropped(b)
	return true
}

// durable is the durable position when visible is the visible one.
func (d *disk) durable(visible uint64) uint64 {
	if d.mode == Always {
		return visible
	}
	return min(d.synced.Load(), visible)
}

func blockName(n uint32) string { return strconv.FormatUint(uint64(n), 10) + ".blk" }

// blockNumber is the number of the block whose file has that name, 0 if it is no
// such name.
func blockNumber(name string) uint32 {
	digits, _ := strings.CutSuffix(name, ".blk")
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || blockName(uint32(n)) != name {
		return 0
	}
	return uint32(n)
}

func (d *disk) blockObject(b *block) keys.Object {
	return keys.OfBlock(d.account, d.name, uint64(b.num))
}

func (d *disk) blockPath(n uint32) string { return d.msgs + "/" + blockName(n) }

func (d *disk) oldIndexPath(n uint32) string {
	return path.Join(d.msgs, strconv.FormatUint(uint64(n), 10)+".idx")
}

func (d *disk) keyPath(n uint32) string {
	return path.Join(d.msgs, strconv.FormatUint(uint64(n), 10)+".key")
}

// applied is called when an op was applied, with store.mu held.
func (d *disk) applied(o *op) {
	if len(o.segs) > 0 || len(o.acts) > 0 {
		d.changes++
	}
	if o.disk.synced > 0 {
		d.synced.Store(o.disk.synced)
	}
	for i := range o.segs {
		b := o.segs[i].b
		c := b.cache.Load()
		if c == nil {
			c = b.recent.Load()
		}
		if c != nil {
			d.hold(b, c)
		}
	}
}

// filled is called when the last record of b is visible. If nobody has read from
// it, its content is not worth its memory, which the next block gets. The caller
// holds store.mu for writing, so nobody reads now.
func (d *disk) filled(b *block) {
	if b.read.Load() || b.pinned.Load() {
		return
	}
	c := b.recent.Load()
	d.host.drop(b)
	if c != nil {
		d.spare = c
		c.buf = c.buf[:0]
	}
}

// hold tells the host of the memory that the content of b takes.
func (d *disk) hold(b *block, c *cache) {
	if n := c.memory(); n != b.capacity.Load() {
		b.capacity.Store(n)
		d.host.hold(b, n)
	}
}

// saveAlone makes everything durable and writes index.db, which describes it. The
// caller holds maintaining and wmu, and nothing is in flight.
func (d *disk) saveAlone() error {
	if err := d.closeTail(); err != nil {
		return err
	}
	x, err := d.stateOf()
	if err == nil {
		err = d.saveState(x)
	}
	return err
}
