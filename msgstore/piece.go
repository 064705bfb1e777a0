package msgstore

import (
	"bytes"
	"os"
	"sort"

	"github.com/natsd/natsd/msgstore/internal/buffers"
	"github.com/natsd/natsd/msgstore/internal/record"
)

// A sealed block that is not in memory is not read as a whole for one message here
// and there. From the last time that it was, the place of a message in every 32 KiB
// is remembered, so that a read of that size is enough. Who stays near, or comes often
// to a small stream, gets the whole block.

// placeEvery is how far the places of a block are apart: they take 2 KiB for a block
// of 8 MiB, for as long as it exists.
const placeEvery = 32 << 10

// pieceLimit is the number of pieces of a block behind which it is loaded if the
// stream is small: they take as long as a load of some MiB.
const pieceLimit = 64

// waypoint says where a message of a block is: its sequence, less the first of all, and
// its offset.
type waypoint struct{ seq, off uint32 }

// places are those of a block, ascending. They do not change.
type places struct {
	first uint64
	list  []waypoint
	gen   uint64 // of the file
}

// piece is the content of a block with the record of one message only.
type piece struct {
	b   *block
	seq uint64
	gen uint64 // of the file
	n   int    // in b.places
	c   cache
	ent [1]ent // of c
}

// remember keeps the places of messages in b, of which c is the content. The caller
// holds store.mu for writing.
func (d *disk) remember(b *block, c *cache) {
	if p := b.places; p != nil && p.gen == b.file.gen {
		return
	}
	b.places = nil
	if !b.file.sealed || c.compressed || len(c.bad) > 0 || len(c.ents) == 0 || int64(len(c.buf)) < 2*d.host.placeEvery {
		return
	}
	p := &places{first: c.ents[0].seq, gen: b.file.gen}
	for i := range c.ents {
		e := &c.ents[i]
		if e.seq-p.first > 1<<32-1 {
			return
		}
		if n := len(p.list); n == 0 || int64(e.off-p.list[n-1].off) >= d.host.placeEvery {
			p.list = append(p.list, waypoint{uint32(e.seq - p.first), e.off})
		}
	}
	b.places = p
}

// piece reads the live message seq of b alone, if it may: nil stands for a block that
// is to be loaded. It is not for the first message of a block, whose removal needs to
// see the next. The caller holds store.mu.
func (d *disk) piece(b *block, seq uint64) *cache {
	if seq == b.first.seq {
		return nil // even if it was read alone when others were before it
	}
	last := d.last.Load()
	if last != nil && last.b == b && last.seq == seq && last.gen == b.file.gen {
		return &last.c
	}
	p := b.places
	if p == nil || p.gen != b.file.gen || !b.file.sealed || b.file.locked != "" || seq < p.first {
		return nil
	}
	n := sort.Search(len(p.list), func(i int) bool { return p.first+uint64(p.list[i].seq) > seq }) - 1
	if last != nil && last.b == b && n-last.n >= -1 && n-last.n <= 1 {
		return nil
	}
	from, to := int64(p.list[n].off), b.size
	if n+1 < len(p.list) {
		to = int64(p.list[n+1].off)
	}
	if to-from > 4*d.host.placeEvery { // a large message; or there are only tombstones behind
		return nil
	}
	if b.pieces.Add(1) > pieceLimit && d.small(b) {
		b.pieces.Store(0)
		return nil
	}
	x := d.readPiece(b, seq, from, to)
	if x == nil {
		return nil
	}
	x.gen, x.n = p.gen, n
	d.last.Store(x)
	return &x.c
}

// small says whether all blocks of the stream would take no more than half of the
// memory for blocks, if they are like b. The caller holds store.mu.
func (d *disk) small(b *block) bool {
	each := b.file.stored + b.file.stored/4 // with the entries of its messages
	return int64(len(d.s.blocks))*each <= d.host.budget/2
}

// readPiece finds the record of message seq in a part of the file of b, nil if it is
// not there or not whole.
func (d *disk) readPiece(b *block, seq uint64, from, to int64) *piece {
	d.host.enter()
	defer d.host.leave()
	f, err := d.fs.OpenFile(d.blockPath(b.num), os.O_RDONLY, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	buf := buffers.Get(int(to - from))[:to-from]
	defer buffers.Put(buf)
	if _, err := f.ReadAt(buf, from); err != nil {
		return nil
	}
	if b.file.key != nil {
		b.file.key.Stream().XORAt(buf, buf, from)
	}
	for at := 0; at < len(buf); {
		r, err := record.Parse(buf[at:])
		if err != nil {
			return nil
		}
		if r.Kind != record.Message || r.Seq != seq {
			at += r.Size
			continue
		}
		key := record.NewKey(d.name, b.num)
		if _, err := record.DecodeExclusive(buf[at:at+r.Size], &key); err != nil {
			return nil
		}
		off := uint32(from) + uint32(at)
		x := &piece{b: b, seq: seq, ent: [1]ent{{seq: seq, off: off, size: uint32(r.Size)}}}
		x.c.buf, x.c.base, x.c.ents = bytes.Clone(buf[at:at+r.Size]), off, x.ent[:]
		return x
	}
	return nil
}

// single returns content of b that has the message seq: what is in memory, or a
// piece. Otherwise the error is b.miss. The caller holds mu.
func (s *store) single(b *block, seq uint64) (*cache, error) {
	c, err := s.cachedFrom(b, seq)
	if err != nil && s.disk != nil {
		if p := s.disk.piece(b, seq); p != nil {
			return p, nil
		}
	}
	return c, err
}

// singleContent is single for those who hold mu for writing: it loads the block if
// need be.
func (s *store) singleContent(b *block, seq uint64) (*cache, error) {
	c, err := s.single(b, seq)
	if err != nil {
		return s.content(b)
	}
	return c, nil
}
