package independent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Index is a decoded index.db.
type Index struct {
	Version             byte
	Msgs, Bytes         uint64
	First, Last         uint64
	FirstTime, LastTime int64
	Subjects            map[string]uint64
	Blocks              []IndexBlock
	LastBlock           uint64
	LastSum             []byte
}

// IndexBlock is a block as index.db lists it.
type IndexBlock struct {
	Number, Bytes, First, Last uint64
	FirstTime, LastTime        int64
	TTLs, Schedules            uint64
	Deleted                    map[uint64]bool
}

func (x *Index) live(m Message) bool {
	for _, b := range x.Blocks {
		if int(b.Number) == m.Block {
			return m.Seq >= b.First && m.Seq <= b.Last && !b.Deleted[m.Seq]
		}
	}
	return false
}

// cursor reads bytes and panics with errShort at the end.
type cursor struct{ b []byte }

var errShort = errors.New("short")

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		panic(errShort)
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

func (c *cursor) u() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		panic(errShort)
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) i() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		panic(errShort)
	}
	c.b = c.b[n:]
	return v
}

// catch turns the panics of a cursor into an error.
func catch(err *error) {
	if r := recover(); r != nil {
		if e, ok := r.(error); ok && errors.Is(e, errShort) {
			*err = e
			return
		}
		panic(r)
	}
}

func (s *Stream) readIndex(file string, seed *object, blocks []*blockContent) (err error) {
	defer catch(&err)
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(b) < 32 {
		return fmt.Errorf("%d bytes", len(b))
	}
	body := b[:len(b)-8]
	if !bytes.Equal(hash(s.Name, body), b[len(b)-8:]) {
		return errors.New("checksum")
	}
	if seed != nil {
		if body, err = seed.open(body); err != nil {
			return err
		}
	}
	c := &cursor{body}
	if m := c.take(1)[0]; m != 11 {
		return fmt.Errorf("magic %d", m)
	}
	x := &Index{Version: c.take(1)[0], Subjects: map[string]uint64{}}
	if x.Version < 1 || x.Version > 4 {
		return fmt.Errorf("version %d", x.Version)
	}
	x.Msgs, x.Bytes, x.First, x.FirstTime, x.Last, x.LastTime = c.u(), c.u(), c.u(), c.i(), c.u(), c.i()
	for n := c.u(); n > 0; n-- {
		l := c.u()
		if l == 0 {
			continue
		}
		name := string(c.take(l))
		total, first := c.u(), c.u()
		last := first
		if total > 1 || x.Version >= 4 {
			last = c.u()
		}
		if first > last {
			return fmt.Errorf("subject %s: blocks %d to %d", name, first, last)
		}
		x.Subjects[name] = total
	}
	for n := c.u(); n > 0; n-- {
		k := IndexBlock{Number: c.u(), Bytes: c.u(), First: c.u(), FirstTime: x.FirstTime + c.i(), Last: c.u(), LastTime: x.FirstTime + c.i()}
		deleted := c.u()
		if x.Version >= 2 {
			k.TTLs = c.u()
		}
		if x.Version >= 3 {
			k.Schedules = c.u()
		}
		if deleted > 0 {
			k.Deleted = c.set()
			if uint64(len(k.Deleted)) != deleted {
				return fmt.Errorf("block %d: %d deleted, %d in the set", k.Number, deleted, len(k.Deleted))
			}
		}
		x.Blocks = append(x.Blocks, k)
	}
	x.LastBlock, x.LastSum = c.u(), bytes.Clone(c.take(8))
	if len(c.b) > 0 {
		return fmt.Errorf("%d bytes behind the end", len(c.b))
	}
	s.Index = x
	s.IndexUsed, err = x.valid(blocks)
	return err
}

// set reads an encoded sequence set, version 2.
func (c *cursor) set() map[uint64]bool {
	set := map[uint64]bool{}
	head := c.take(10)
	if head[0] != 22 || head[1] != 2 {
		panic(fmt.Errorf("set %d/%d: %w", head[0], head[1], errShort))
	}
	for n := binary.LittleEndian.Uint32(head[2:]); n > 0; n-- {
		node := c.take(266)
		base := binary.LittleEndian.Uint64(node)
		for i := range uint64(2048) {
			if node[8+i/8]>>(i%8)&1 == 1 {
				set[base+i] = true
			}
		}
	}
	if uint32(len(set)) != binary.LittleEndian.Uint32(head[6:]) {
		panic(fmt.Errorf("set size: %w", errShort))
	}
	return set
}

// valid applies the checks of the format's section 7: false without an error is
// an index that was outdated by later writes.
func (x *Index) valid(blocks []*blockContent) (bool, error) {
	if len(x.Blocks) == 0 || x.Blocks[len(x.Blocks)-1].Number != x.LastBlock {
		return false, fmt.Errorf("last block %d is not the last listed", x.LastBlock)
	}
	if len(blocks) == 0 {
		return false, nil
	}
	last := blocks[len(blocks)-1]
	if uint64(last.number) != x.LastBlock {
		return false, nil
	}
	if sum := last.lastBytes; sum != nil && !bytes.Equal(sum, x.LastSum) || sum == nil && !bytes.Equal(x.LastSum, make([]byte, 8)) {
		return false, nil
	}
	have := map[uint64]*blockContent{}
	for _, b := range blocks {
		have[uint64(b.number)] = b
	}
	var msgs, size, top uint64
	for _, k := range x.Blocks {
		n := uint64(0)
		if k.Last >= k.First {
			n = k.Last - k.First + 1 - uint64(len(k.Deleted))
		}
		b := have[k.Number]
		if b == nil {
			if n > 0 {
				return false, nil
			}
			continue
		}
		msgs, size, top = msgs+n, size+k.Bytes, max(top, k.Last)
		if err := k.agrees(b, n); err != nil {
			return false, err
		}
	}
	if msgs != x.Msgs || size != x.Bytes || top != x.Last {
		return false, fmt.Errorf("blocks sum up to %d messages of %d bytes, last %d; totals say %d of %d, %d", msgs, size, top, x.Msgs, x.Bytes, x.Last)
	}
	return true, nil
}

// agrees is rule 5 of the format's checklist for writers (section 4.6).
func (k *IndexBlock) agrees(b *blockContent, n uint64) error {
	if n == 0 {
		return nil
	}
	count := uint64(0)
	first := uint64(0)
	for _, m := range b.messages {
		if m.Seq >= k.First && m.Seq <= k.Last && !k.Deleted[m.Seq] {
			if first == 0 {
				first = m.Seq
			}
			count++
		}
	}
	if first != k.First || count != n {
		return fmt.Errorf("block %d: first live record is %d of %d, the index says %d of %d", k.Number, first, count, k.First, n)
	}
	if last := b.all[len(b.all)-1]; last != k.Last {
		return fmt.Errorf("block %d: last record is %d, the index says %d", k.Number, last, k.Last)
	}
	return nil
}
