package msgstore

import (
	"errors"
	"path"
	"syscall"

	"github.com/natsd/natsd/msgstore/commit"
)

// hollow says whether less than half of b is left, and of what the last compaction
// left.
func (b *block) hollow() bool {
	return 2*b.bytes < uint64(b.size) && (b.file.tried == 0 || 2*b.bytes < b.file.tried)
}

// thinned is called with store.mu held when a message of b, which is sealed, was
// removed: a large block of which less than half is left is compacted at once. The
// small ones, which cost little, wait for their turn in maintain.
func (d *disk) thinned(b *block) {
	if b.size > hollowSize && b.hollow() && !d.hurry.Swap(true) {
		d.host.hurry()
	}
}

// hollowSize is the least size of a block for that (store semantics, 10.5).
const hollowSize = 2 << 20

// compactHollow compacts what thinned has found.
func (d *disk) compactHollow() {
	if d.hurry.Swap(false) && d.maintaining.TryLock() { // else the next pass does it
		defer d.maintaining.Unlock()
		if d.s.failed.Load() == nil {
			d.rewriteSome()
		}
	}
}

// maintain is one look at the store: it repairs it after a failure, closes what
// is idle, compresses and compacts sealed blocks, and saves the state.
func (d *disk) maintain(now int64) {
	if !d.maintaining.TryLock() {
		return
	}
	defer d.maintaining.Unlock()
	s := d.s
	d.restoreMeta()
	if s.failed.Load() != nil {
		d.repair(false)
		return
	}
	if d.mode == Interval && now-d.syncAt >= d.every {
		d.syncAt = now
		d.flush()
	}
	d.letGo()
	d.rewriteSome()
	if d.mode == Always {
		d.clean()
	}
	d.cleanLater()
	if now-d.stateAt >= stateEvery {
		d.stateAt = now
		d.checkpointNow(false)
	}
	if now-d.lastUse.Load() >= fileIdle {
		d.closeIdle()
	}
}

// letGo reclaims what no load has reclaimed.
func (d *disk) letGo() {
	d.retiring.Lock()
	n := len(d.retired)
	d.retiring.Unlock()
	if n > 0 {
		d.s.mu.Lock()
		d.reclaim()
		d.s.mu.Unlock()
	}
}

// flush makes everything durable and waits for it. What had left the stream before
// is deleted then.
func (d *disk) flush() error {
	g := d.collect()
	d.s.wmu.Lock()
	err := d.s.writable()
	if err != nil {
		d.s.wmu.Unlock()
	} else {
		w := newWaiter()
		d.sync(w.op) // unlocks
		err = w.wait().err
	}
	if err != nil {
		return err // the next start deletes the files
	}
	d.cleaning.Lock()
	defer d.cleaning.Unlock()
	d.remove(g)
	return nil
}

// checkpointNow writes index.db, if something has changed. Without force it
// leaves it out when that would take long. The caller holds maintaining.
func (d *disk) checkpointNow(force bool) error {
	s := d.s
	s.mu.RLock()
	unchanged := d.saved == d.changes
	large := s.index != nil && s.index.len() > indexLimit
	deleted := uint64(0)
	for _, b := range s.blocks {
		deleted += uint64(b.deleted.Len())
	}
	closed := s.closed || d.stopping
	s.mu.RUnlock()
	if closed || unchanged && !force || !force && (large || deleted > indexLimit) {
		return nil
	}
	x, err := d.stateOf()
	if err == nil && d.mode != Always {
		err = d.flush() // index.db tells nothing that is not durable
	}
	if err != nil {
		return err
	}
	return d.saveState(x)
}

// closeIdle closes the tail's file.
func (d *disk) closeIdle() {
	s := d.s
	if !s.wmu.TryLock() {
		return
	}
	defer s.wmu.Unlock()
	s.mu.RLock()
	busy := len(s.flight) > 0 || s.closed
	s.mu.RUnlock()
	if !busy && d.out != nil {
		d.closeTail()
	}
}

// rewriteSome compacts, compresses and converts the sealed blocks that need it,
// one after the other.
func (d *disk) rewriteSome() {
	s := d.s
	for {
		s.mu.RLock()
		var todo *block
		if !s.closed && !d.stopping {
			for i, b := range s.blocks[:max(len(s.blocks)-1, 0)] {
				if d.wantsRewrite(b, i) {
					todo = b
					break
				}
			}
		}
		s.mu.RUnlock()
		if todo == nil {
			return
		}
		if err := d.rewriteBlock(todo); err != nil {
			d.host.event(StateFailed{Account: d.account, Stream: d.name, File: d.blockPath(todo.num), Err: err})
			return
		}
	}
}

// wantsRewrite says whether the sealed block b = s.blocks[i] should be rewritten.
func (d *disk) wantsRewrite(b *block, i int) bool {
	if b.file.locked != "" || b.file.reported || b.file.failed {
		return false
	}
	if b.msgs == 0 {
		return b.file.tried != emptyTried
	}
	if b.file.convert {
		return true
	}
	if b.hollow() {
		return true
	}
	return d.s.cfg.Compression == S2Compression && !b.file.compressed && b.file.fresh
}

// emptyTried marks an empty block that had to stay.
const emptyTried = 1

// rewriteBlock compacts a sealed block, and thereby gives it the configured
// encryption and compression. An index.db that describes the stream must be
// there first: a compacted block no longer tells what the limits removed.
func (d *disk) rewriteBlock(b *block) error {
	s := d.s
	if err := d.load(b); err != nil {
		return err
	}
	s.mu.RLock()
	// What goes must be gone in index.db already: no more than what is gone now.
	live := liveSet{first: b.first.seq, last: b.last.seq, deleted: b.deleted.Clone()}
	s.mu.RUnlock()
	if err := d.checkpointNow(true); err != nil {
		return err
	}
	if err := d.forget(b.num); err != nil {
		return err
	}
	s.mu.Lock()
	i := s.blockIndex(b)
	if i < 0 || i == len(s.blocks)-1 || s.closed {
		s.mu.Unlock()
		return nil
	}
	if b.msgs == 0 {
		b.file.tried = emptyTried
		if d.emptied(b, i) {
			s.blocks = append(s.blocks[:i], s.blocks[i+1:]...)
		}
		s.mu.Unlock()
		return nil
	}
	c, err := s.content(b)
	if err == nil {
		c.shared.Store(true) // it is looked at without the lock
	}
	s.mu.Unlock()
	if err != nil || len(c.bad) > 0 {
		return err
	}
	err = d.replaceBlock(b, c, &live)
	s.mu.Lock()
	b.file.tried = max(b.bytes, 1)
	b.file.fresh = false
	b.file.failed = err != nil
	d.changes++
	s.mu.Unlock()
	return err
}

// replaceBlock writes the new file of a sealed block while the store goes on, and
// holds its lock just to exchange the two. What is removed meanwhile stays in the
// file, and has its tombstone elsewhere.
func (d *disk) replaceBlock(b *block, c *cache, live *liveSet) error {
	s := d.s
	s.mu.RLock()
	compress := s.cfg.Compression == S2Compression
	fresh, err := d.distill(b, c, live)
	s.mu.RUnlock()
	if err != nil {
		return err
	}
	x, err := d.stage(b, fresh.buf, compress)
	if err != nil {
		return err
	}
	b.file.loading.Lock() // who loads it has either file
	defer b.file.loading.Unlock()
	s.mu.Lock()
	if s.closed || s.blockIndex(b) < 0 {
		s.mu.Unlock()
		return d.fs.Remove(d.blockPath(b.num) + ".tmp") // it has left the stream
	}
	if err = d.swap(b, x); err == nil {
		fresh.compressed = x.compressed
		b.recent.Store(nil)
		b.cache.Store(fresh)
		d.hold(b, fresh)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return d.settleSwap(b, x)
}

// forget makes the journal forget what it holds of block n.
func (d *disk) forget(n uint32) error {
	return d.queue.Perform(&commit.Op{Forget: path.Join(d.rel, blockName(n))})
}

// repairNow repairs a failed store before it is refused what may free the space that
// it failed for. It must not be called from a completion callback.
func (d *disk) repairNow() {
	if d.s.failed.Load() == nil {
		return
	}
	d.maintaining.Lock()
	defer d.maintaining.Unlock()
	if d.s.failed.Load() != nil {
		d.repair(true)
	}
}

// repair makes a store writable again after a failed write or sync: everything
// that is visible, and so was durable, goes to a new file of the tail. With shrink a
// full disk gets room for it from the journal's spare segments: they are kept for
// those who are about to free space.
func (d *disk) repair(shrink bool) {
	s := d.s
	s.wmu.Lock()
	defer s.wmu.Unlock()
	d.cleaning.Lock()
	defer d.cleaning.Unlock()
	if !d.renewTail(shrink) || d.renewFloor() != nil {
		return
	}
	s.failed.Store(nil)
	d.host.event(Repaired{Account: d.account, Stream: s.cfg.Name})
}

// renewTail writes the tail's new file, and says whether the store may go on with it.
// The caller holds wmu and cleaning.
func (d *disk) renewTail(shrink bool) bool {
	s := d.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || d.stopping || d.broken || len(s.flight) > 0 {
		return false
	}
	b := s.blocks[len(s.blocks)-1]
	// Blocks behind the visible tail were never used.
	for n := b.num + 1; n <= s.tail.b.num; n++ {
		d.fs.Remove(d.blockPath(n))
		d.fs.Remove(d.keyPath(n))
	}
	v := d.viewOf(b)
	v.size = b.size
	c, err := d.fetchBlock(b, v)
	if err != nil || len(c.bad) > 0 || int64(len(c.buf)) != b.size {
		return false // it cannot be read now
	}
	err = d.rewrite(b, c, nil)
	if shrink && errors.Is(err, syscall.ENOSPC) {
		if shrunk, _ := d.host.Committer().Shrink(); shrunk {
			err = d.rewrite(b, c, nil)
		}
	}
	if err != nil {
		return false
	}
	// Only now: until the new file was durable, the journal alone may have held a
	// part of what is visible.
	d.closeFiles()
	for n := b.num; n <= s.tail.b.num; n++ { // the names will be used again
		if err := d.forget(n); err != nil {
			return false
		}
	}
	d.queue.Reset()
	s.setTailAt(b)
	s.end = s.last
	s.appended.Store(s.last.seq)
	return true
}
