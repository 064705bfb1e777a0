package commit

import (
	"errors"
	"fmt"
	"os"
	"path"
	"syscall"
	"unsafe"

	"github.com/natsd/natsd/msgstore/vfs"
)

// segment is one file of the journal in use.
type segment struct {
	name string
	file vfs.File
	seq  uint64
	off  int64 // where the next frame begins
	ids  uint64
	has  []held
	buf  []byte // of write
}

// held is a file that a segment has records of: the segment is free when the file
// has been synced up to end, or the run log has a checkpoint that covers end.
type held struct {
	f   *File
	end int64
}

// settled reports whether nothing depends on the segment any longer.
func (s *segment) settled() bool {
	for len(s.has) > 0 {
		h := s.has[len(s.has)-1]
		if r := h.f.runs; r != nil {
			if r.checkpointed.Load() < h.end {
				return false
			}
		} else {
			h.f.queue.mu.Lock()
			synced := h.f.synced
			h.f.queue.mu.Unlock()
			if synced < h.end {
				return false
			}
		}
		s.has = s.has[:len(s.has)-1]
	}
	return true
}

// newSegment creates a segment file. All of it is written once, since a sync of
// bytes that were never written has to change the file's metadata too.
func (c *Committer) newSegment() (*segment, error) {
	j := &c.journal
	if err := vfs.MkdirAllSynced(c.opts.FS, j.dir, 0o700); err != nil {
		return nil, err
	}
	c.mu.Lock()
	j.files++
	j.made++
	n := j.made
	j.nextSeq++
	seq := j.nextSeq
	c.mu.Unlock()
	s := &segment{name: path.Join(j.dir, fmt.Sprintf("journal-%d", n)), seq: seq}
	f, err := c.opts.FS.OpenFile(s.name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		s.file = f
		if err = c.fill(s); err == nil {
			err = c.opts.FS.SyncDir(j.dir)
		}
		if err != nil {
			f.Close()
			c.opts.FS.Remove(s.name) // it holds nothing; a full disk needs the space
		}
	}
	if err != nil {
		c.mu.Lock()
		j.files--
		c.mu.Unlock()
		return nil, err
	}
	s.goDirect(c.opts.FS)
	return s, nil
}

// goDirect lets later writes bypass the page cache, where that can be done: a frame
// is read by a replay alone, and a sync of what is in the page cache takes longer.
func (s *segment) goDirect(fs vfs.FS) {
	f, err := fs.OpenFile(s.name, os.O_RDWR|vfs.Direct, 0)
	if err != nil {
		return
	}
	was := s.file
	s.file = f
	if err := s.write(appendHeader(nil, s.seq), 0); err != nil { // the same bytes
		s.file = was
		f.Close()
		return
	}
	was.Close()
}

// notMade is called when no segment could be made. On a full disk the journal goes on
// with the segments it has; anything else ends its use.
func (c *Committer) notMade(err error) {
	if !errors.Is(err, syscall.ENOSPC) {
		c.journalFailed(err)
		return
	}
	c.mu.Lock()
	c.journal.cramped, c.journal.alone = true, 0
	c.mu.Unlock()
}

// Shrink removes the spare segments of the journal, for an owner that needs room on a
// full disk to write a file anew, and reports whether there were any. Others are made
// when there is room again. It waits for a round in flight.
func (c *Committer) Shrink() (bool, error) {
	j := &c.journal
	c.mu.Lock()
	for j.busy || j.preparing { // one of them may be about to be used, or to be there
		c.released.Wait()
	}
	spare := j.free
	if len(spare) > 0 {
		j.free = nil
		j.files -= len(spare)
		j.cramped, j.alone = true, 0
	}
	c.mu.Unlock()
	for _, s := range spare {
		s.file.Close()
		if err := c.opts.FS.Remove(s.name); err != nil {
			return false, err
		}
	}
	if len(spare) == 0 {
		return false, nil
	}
	return true, c.opts.FS.SyncDir(j.dir)
}

// fillBytes is how much of a new segment is synced at a time: a sync that somebody
// waits for stands behind no more than that.
const fillBytes = 512 << 10

func (c *Committer) fill(s *segment) error {
	if err := s.file.Preallocate(c.opts.SegmentSize); err != nil {
		return err
	}
	zeros := make([]byte, min(c.opts.SegmentSize, fillBytes))
	for at := int64(0); at < c.opts.SegmentSize; at += int64(len(zeros)) {
		if _, err := s.file.WriteAt(zeros[:min(int64(len(zeros)), c.opts.SegmentSize-at)], at); err != nil {
			return err
		}
		if err := s.file.SyncData(); err != nil {
			return err
		}
	}
	return s.begin()
}

// begin gives the segment's use a durable header, before which everything that the
// file held is void.
func (s *segment) begin() error {
	s.off, s.ids, s.has = frameAlign, 0, s.has[:0]
	if err := s.write(appendHeader(nil, s.seq), 0); err != nil {
		return err
	}
	return s.file.Sync()
}

// write writes what belongs at a multiple of frameAlign, in whole units of that, as
// files need it that bypass the page cache.
func (s *segment) write(b []byte, off int64) error {
	n := int(alignFrame(int64(len(b))))
	if cap(s.buf) < n {
		s.buf = alignedBuffer(max(n, leastFrameBuf))
	}
	p := s.buf[:n]
	clear(p[copy(p, b):])
	if n > keepBuf {
		s.buf = nil
	}
	_, err := s.file.WriteAt(p, off)
	return err
}

// leastFrameBuf is enough for the frames of a publisher who waits for each answer.
const leastFrameBuf = 8 << 10

// directAlign is what the memory of a write that bypasses the page cache must be
// aligned to: the page size is enough everywhere.
const directAlign = 4096

func alignedBuffer(n int) []byte {
	b := make([]byte, n+directAlign)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (directAlign - 1)
	return b[skip : skip+n : skip+n]
}

// recycle begins a new use of a segment. Segments are recycled in the order of their
// use, one after the other, so that a record is never void later than the Forget
// that voids it.
func (c *Committer) recycle(s *segment) error {
	c.mu.Lock()
	c.journal.nextSeq++
	s.seq = c.journal.nextSeq
	c.mu.Unlock()
	return s.begin()
}

// encode makes the frame of a round, and notes what the segment then holds.
func (s *segment) encode(w *workspace, entries []entry, number uint64) []byte {
	b := append(w.buf[:0], make([]byte, frameHeader)...)
	for i := range entries {
		e := &entries[i]
		f := e.f
		if e.err != nil {
			continue
		}
		if f.jseq != s.seq {
			f.jseq, f.jid, f.jindex = s.seq, s.ids, len(s.has)
			s.ids++
			s.has = append(s.has, held{f: f})
			b = appendDefine(b, f.jid, f.path)
		}
		if f.kind == kindRuns {
			for _, o := range e.ops {
				b = appendRun(b, f.jid, o.Data)
			}
			f.end += int64(len(e.ops))
			s.has[f.jindex].end = f.end
			continue
		}
		n := 0
		for _, o := range e.ops {
			n += len(o.Data)
		}
		if n == 0 {
			continue
		}
		b = appendAppend(b, f.jid, f.end, f.tail, n)
		for _, o := range e.ops {
			b = append(b, o.Data...)
		}
		e.end = f.end + int64(n)
		s.has[f.jindex].end = e.end
	}
	sealFrame(b, s.seq, number, s.off)
	w.buf = b
	return b
}

// write appends a frame to a segment and syncs it. Called by the worker of the round.
func (j *journal) write(s *segment, frame []byte) error {
	j.number++
	if err := s.write(frame, s.off); err != nil {
		return err
	}
	if err := s.file.SyncData(); err != nil {
		return err
	}
	s.off = alignFrame(s.off + int64(len(frame)))
	return nil
}
