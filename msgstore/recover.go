package msgstore

import (
	"math"
	"os"

	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/oldindex"
	"github.com/natsd/natsd/msgstore/internal/scan"
)

// recovery is the state of a store that is being opened. It is used by one
// goroutine, before anybody else knows the store.
type recovery struct {
	d     *disk
	s     *store
	files []blockEntry // ascending by number
	// end is the position in files of the last block that holds anything: it and
	// those behind it are where a power cut can have torn a write.
	end   int
	index *indexdb.Index // index.db, or else the manifest; nil without either
	place position       // that index describes; where the replay begins, if adopted
	// asked is the sequence that lists was asked about, asking the block of index
	// where it was.
	asked  uint64
	asking int
	mark   *floorMark // nil without a valid floor.db
	told   *floorMark // floor.db, valid or not
	// old is what a server before 2.10 says of the block that is replayed; nil
	// without that, or beside index.
	old      *oldindex.Index
	obsolete []string // its files, which have served when there is an index.db

	adopted bool   // the state was taken over from index.db
	beyond  bool   // it is more than the limits allow
	stamp   uint64 // messages below were
	// dead holds the sequences of tombstones without a live message.
	dead      map[uint64]struct{}
	damages   []foundDamage
	open      []int           // damages that may go on up to the first message of a later block
	missing   []indexdb.Block // blocks of the index without a file, or what they lack
	scanned   int64
	unwritten bool // index.db must be written before anything else changes
	tailed    bool // there is a new last block
}

// blockEntry is a block file in the directory.
type blockEntry struct {
	num  uint32
	size int64
}

// position is a place between two records.
type position struct {
	file   int   // in recovery.files
	offset int64 // in the content, or endOfBlock
	size   int64 // of the file up to it
	ok     bool
}

// endOfBlock is behind everything that a block holds.
const endOfBlock = math.MaxInt64

// foundDamage is a damage with the block that has it.
type foundDamage struct {
	b *block
	scan.Damage
}

// recover reads the state of the stream from the disk.
func (d *disk) recover() error {
	r := &recovery{d: d, s: d.s, dead: make(map[uint64]struct{})}
	if err := d.finishPurge(); err != nil {
		return err
	}
	if err := d.finishTruncation(); err != nil {
		return err
	}
	if err := r.list(); err != nil {
		return err
	}
	if err := r.readFloor(); err != nil {
		return err
	}
	if err := r.findEnd(); err != nil {
		return err
	}
	whole := r.readIndex()
	if len(r.files) == 0 && (r.index == nil || r.index.LastSeq == 0) {
		return r.fresh()
	}
	ttl, sched, source := d.readDue()
	if whole && r.place.ok && len(r.missing) == 0 {
		r.adopt()
	} else {
		r.s.due.clear()
	}
	if err := r.replay(); err != nil {
		return err
	}
	if r.adopted {
		r.scanHeaders(ttl, sched, source)
		for _, name := range r.obsolete {
			d.fs.Remove(name)
		}
	}
	r.floor()
	r.account()
	if err := r.mend(); err != nil {
		return err
	}
	if err := r.makeDurable(); err != nil {
		return err
	}
	r.s.end = r.s.last
	if !r.adopted || r.scanned > 0 || len(d.garbage) > 0 {
		d.changes++ // the state on disk is not that of index.db
	}
	d.unwritten = r.unwritten
	d.host.event(Recovered{
		Account: d.account, Stream: d.name, FromIndex: r.adopted,
		Scanned: r.scanned, Messages: r.s.msgs,
	})
	return nil
}

// raiseTo remembers a last sequence that the blocks do not tell.
func (r *recovery) raiseTo(seq uint64, ts int64) {
	if seq > max(r.s.last.seq, r.d.known.seq) {
		r.d.known = seqTime{seq, ts}
	}
}

// makeDurable syncs what was replayed: after a killed process, which had not
// synced it yet, it may be in the page cache alone.
func (r *recovery) makeDurable() error {
	d := r.d
	if r.adopted && r.scanned == 0 && r.place.file == len(r.files)-1 {
		return nil // nothing came behind index.db, and that tells what is durable
	}
	for _, b := range r.s.blocks {
		if len(r.files) > 0 && b.num >= r.files[r.end].num {
			if err := d.syncFile(d.blockPath(b.num)); err != nil {
				return err
			}
		}
	}
	return d.fs.SyncDir(d.msgs)
}

func (d *disk) syncFile(name string) error {
	f, err := d.fs.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
