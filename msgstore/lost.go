package msgstore

import (
	"encoding/json"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/vfs"
)

// quarantineNote is the note beside the bytes of a damaged block.
type quarantineNote struct {
	Block        uint32   `json:"block"`
	Offset       int64    `json:"offset"`
	Size         int64    `json:"size"`
	Reason       string   `json:"reason"`
	Torn         bool     `json:"torn,omitempty"`
	Lost         []uint64 `json:"lost,omitempty"`
	LostBytes    uint64   `json:"lost_bytes,omitempty"`
	Acknowledged bool     `json:"acknowledged,omitempty"`
}

// maxLost bounds the list of lost sequences: a wrong number in a damaged file
// must not fill the memory.
const maxLost = 1 << 20

// account turns the damages and missing blocks into lost sequences.
func (r *recovery) account() {
	s := r.s
	lost := make(map[uint64]struct{})
	note := func(seq uint64) bool {
		if len(lost) >= maxLost {
			return false
		}
		if _, dead := r.dead[seq]; dead {
			return true
		}
		if b, _ := s.blockFor(seq); b != nil && !r.lacks(b, seq) {
			return true
		}
		if r.index != nil && seq <= r.index.LastSeq && !r.lists(seq) {
			return true
		}
		lost[seq] = struct{}{}
		return true
	}
	noteAll := func(first, last uint64) {
		if first == 0 {
			return // nobody knows which
		}
		for seq := max(first, r.lowest()); seq <= last && note(seq); seq++ {
		}
	}
	for i := range r.damages {
		x := &r.damages[i]
		if x.Torn {
			continue
		}
		s.lost.Bytes += uint64(x.End - x.Start)
		if x.FirstSeq == 0 && x.b.file.locked != "" {
			r.lockedSeqs(x)
		}
		noteAll(x.FirstSeq, x.LastSeq)
	}
	r.missing = slices.DeleteFunc(r.missing, func(m indexdb.Block) bool {
		before := len(lost)
		noteAll(m.FirstSeq, m.LastSeq)
		if len(lost) == before && len(lost) < maxLost {
			return true // all of it was removed since
		}
		s.lost.Bytes += m.Bytes
		return false
	})
	// What the index had at its place and nothing has removed since must be there.
	// Limits leave no trace of what they remove: of a subject's messages, or below
	// the first one.
	if x := r.index; x != nil && !r.adopted && r.place.ok && s.cfg.MaxMsgsPerSubject == 0 {
		low := uint64(0)
		if s.cfg.MaxMsgs > 0 || s.cfg.MaxBytes > 0 {
			low = s.first.seq
		}
		for i := range x.Blocks {
			b := &x.Blocks[i]
			if _, ok := r.fileOf(b.Number); !ok && r.told.has(uint32(b.Number), b.LastSeq) {
				continue // what it held was removed
			}
			if r.holds(b) {
				continue
			}
			if b.Msgs() > 0 {
				noteAll(max(b.FirstSeq, low), b.LastSeq)
			}
		}
	}
	for i := 1; i < len(r.files) && r.index == nil; i++ {
		if r.files[i].num != r.files[i-1].num+1 {
			r.d.host.event(BlocksMissing{Account: r.d.account, Stream: s.cfg.Name, First: r.files[i-1].num + 1, Last: r.files[i].num - 1})
		}
	}
	for seq := range lost {
		s.lost.Msgs = append(s.lost.Msgs, seq)
		r.raiseTo(seq, s.last.ts) // it is not used again
	}
	slices.Sort(s.lost.Msgs)
	if x := r.index; x != nil {
		r.raiseTo(x.LastSeq, x.LastTime)
	}
}

// holds says whether every message of a block of index.db lives. The replay has kept
// none of its sequences that index.db does not list, so that numbers tell.
func (r *recovery) holds(x *indexdb.Block) bool {
	b, _ := r.s.blockFor(x.FirstSeq)
	return b != nil && uint64(b.num) == x.Number && b.first.seq == x.FirstSeq && b.last.seq == x.LastSeq && b.msgs == x.Msgs()
}

// lacks says whether a message that lives according to index.db is not in its block:
// it was in bytes that are damaged.
func (r *recovery) lacks(b *block, seq uint64) bool {
	if !r.adopted || !slices.ContainsFunc(r.damages, func(x foundDamage) bool { return x.b == b && !x.Torn }) {
		return false
	}
	c, err := r.s.content(b)
	if err != nil {
		return false
	}
	_, ok := c.at(seq)
	return !ok
}

// lowest is the first sequence that can be lost: below, messages were removed.
func (r *recovery) lowest() uint64 {
	low := uint64(1)
	if r.index != nil {
		low = r.index.FirstSeq
	}
	if r.told != nil {
		low = max(low, r.told.seq)
	}
	return low
}

// lists says whether index.db lists a message. It is asked about one after the
// other, mostly, and begins where it was.
func (r *recovery) lists(seq uint64) bool {
	blocks := r.index.Blocks
	if seq < r.asked {
		r.asking = 0
	}
	for r.asked = seq; r.asking < len(blocks); r.asking++ {
		if b := &blocks[r.asking]; seq <= b.LastSeq && b.Msgs() > 0 {
			return seq >= b.FirstSeq && (b.Deleted == nil || !b.Deleted.Contains(seq))
		}
	}
	return false
}

// lockedSeqs sets the sequences of a block that cannot be read: those between
// its neighbours.
func (r *recovery) lockedSeqs(x *foundDamage) {
	s := r.s
	i := s.blockIndex(x.b)
	if r.index != nil {
		for k := range r.index.Blocks {
			if b := &r.index.Blocks[k]; b.Number == uint64(x.b.num) && b.Msgs() > 0 {
				x.FirstSeq, x.LastSeq = b.FirstSeq, b.LastSeq
				if b.Number == r.index.LastBlock && i >= 0 {
					x.LastSeq = max(x.LastSeq, r.lowestIn(s.blocks[i+1:])-1) // it has grown since
				}
				return
			}
		}
	}
	first, last := uint64(1), uint64(0)
	if i > 0 {
		first = s.blocks[i-1].last.seq + 1
	}
	if i >= 0 {
		last = r.lowestIn(s.blocks[i+1:]) - 1
	}
	if first <= last {
		x.FirstSeq, x.LastSeq = first, last
	}
}

// lowestIn is the lowest sequence of the messages of blocks, the last ones of the
// stream, dead ones among them; if they hold none, it is behind the last sequence, of
// which tombstones can tell.
func (r *recovery) lowestIn(blocks []*block) uint64 {
	for _, b := range blocks {
		if b.file.locked != "" {
			continue
		}
		if c, err := r.s.content(b); err == nil && len(c.ents) > 0 {
			return c.ents[0].seq
		}
	}
	return r.s.last.seq + 1
}

// noteMissing reports a block without a file, and remembers it in the quarantine
// directory.
func (r *recovery) noteMissing(m *indexdb.Block) error {
	s, d := r.s, r.d
	if slices.ContainsFunc(d.noted, func(n quarantineNote) bool { return n.lacks(m.Number) }) {
		return nil // by an earlier start
	}
	note := quarantineNote{Block: uint32(m.Number), Reason: ErrNoBlockData.Error(), LostBytes: m.Bytes}
	for _, seq := range s.lost.Msgs {
		if seq >= m.FirstSeq && seq <= m.LastSeq {
			note.Lost = append(note.Lost, seq)
		}
	}
	dir := path.Join(d.dir, quarantineDir)
	if err := vfs.MkdirAllSynced(d.fs, dir, 0o700); err != nil {
		return err
	}
	name := path.Join(dir, blockName(note.Block)+"."+strconv.FormatInt(s.now().Unix(), 10))
	if err := d.writeNote(name, 0, &note); err != nil {
		return err
	}
	d.host.event(Damaged{Account: d.account, Stream: s.cfg.Name, Block: note.Block, Offset: -1,
		First: m.FirstSeq, Last: m.LastSeq, Reason: note.Reason})
	return nil
}

// readNotes adds what was lost earlier, and not acknowledged, to the report. A
// sequence that a tombstone names was removed since.
func (r *recovery) readNotes() {
	s, d := r.s, r.d
	found := len(d.noted) // by this start, in what the replay had to load
	d.eachNote(func(_ string, n *quarantineNote) {
		if n.Torn || slices.ContainsFunc(d.noted[:found], func(x quarantineNote) bool { return x.Block == n.Block && x.Offset == n.Offset && x.Size == n.Size }) {
			return
		}
		d.noted = append(d.noted, *n)
		again := r.foundAgain(n)
		if n.Acknowledged {
			if again {
				s.lost.Bytes -= min(n.LostBytes, s.lost.Bytes)
				s.lost.Msgs = slices.DeleteFunc(s.lost.Msgs, func(seq uint64) bool { return slices.Contains(n.Lost, seq) })
			}
			return
		}
		if !again {
			s.lost.Bytes += n.LostBytes
		}
		for _, seq := range n.Lost {
			if _, dead := r.dead[seq]; dead || seq > max(s.last.seq, d.known.seq) {
				continue
			}
			// In its old block it still counts as live, and cannot be read.
			if b, _ := s.blockFor(seq); b == nil || b.num == n.Block {
				s.lost.Msgs = append(s.lost.Msgs, seq)
			}
		}
	})
	slices.Sort(s.lost.Msgs)
	s.lost.Msgs = slices.Compact(s.lost.Msgs)
}

// foundAgain says whether this start, too, has found the damage of a note, and account
// has counted it: the block is missing or locked still.
func (r *recovery) foundAgain(n *quarantineNote) bool {
	for i := range r.damages {
		if x := &r.damages[i]; x.b.file.locked != "" && x.b.num == n.Block && x.Reason == n.Reason && int64(x.End-x.Start) == n.Size {
			return true
		}
	}
	return slices.ContainsFunc(r.missing, func(m indexdb.Block) bool { return n.lacks(m.Number) })
}

// lacks says whether the note is about a block without a file.
func (n *quarantineNote) lacks(block uint64) bool {
	return uint64(n.Block) == block && n.Reason == ErrNoBlockData.Error()
}

// covers tells whether m is about the same damage as n. Some of the messages may have
// been removed since; a block that was rewritten lacks others.
func (n *quarantineNote) covers(m *quarantineNote) bool {
	return n.Block == m.Block && n.Offset == m.Offset && n.Size == m.Size &&
		!slices.ContainsFunc(m.Lost, func(seq uint64) bool { return !slices.Contains(n.Lost, seq) })
}

// eachNote calls fn with the notes in the quarantine directory and their names.
func (d *disk) eachNote(fn func(name string, n *quarantineNote)) {
	dir := path.Join(d.dir, quarantineDir)
	entries, err := d.fs.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		name := path.Join(dir, e.Name())
		raw, err := vfs.ReadFile(d.fs, name, maxNote)
		var n quarantineNote
		if err == nil && json.Unmarshal(raw, &n) == nil {
			fn(name, &n)
		}
	}
}

// forgetLost takes what a truncation removes off the list of lost messages, for
// good: their sequences are used again. The caller holds store.mu.
func (d *disk) forgetLost(above uint64) {
	s := d.s
	gone := func(seq uint64) bool { return seq > above }
	if !slices.ContainsFunc(s.lost.Msgs, gone) {
		return
	}
	s.lost.Msgs = slices.DeleteFunc(s.lost.Msgs, gone)
	d.editNotes(gone)
}

// editNotes takes messages off the notes.
func (d *disk) editNotes(gone func(seq uint64) bool) {
	d.eachNote(func(name string, n *quarantineNote) {
		if !slices.ContainsFunc(n.Lost, gone) {
			return
		}
		n.Lost = slices.DeleteFunc(n.Lost, gone)
		if b, err := json.Marshal(n); err == nil {
			d.replace(name, b)
		}
	})
}

// maxNote bounds a note: a list of maxLost sequences.
const maxNote = 32 << 20

func (d *disk) writeNote(copied string, i int, n *quarantineNote) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return vfs.ReplaceFile(d.fs, copied+"."+strconv.Itoa(i)+".json", b, 0o600)
}

// damaged reports what a read found in b. The caller holds store.mu.
func (d *disk) damaged(b *block, c *cache) {
	s := d.s
	copied := ""
	for i := range c.bad {
		x := &c.bad[i]
		note := quarantineNote{Block: b.num, Offset: x.off, Size: x.size, Reason: x.detail, LostBytes: uint64(x.size)}
		first, last := x.first, x.last
		if first == 0 {
			first, last = b.first.seq, b.last.seq
		}
		for seq := first; seq <= last && len(note.Lost) < maxLost; seq++ {
			if _, ok := c.at(seq); !ok && b.live(seq) {
				note.Lost = append(note.Lost, seq)
			}
		}
		if slices.ContainsFunc(d.noted, func(n quarantineNote) bool { return n.covers(&note) }) {
			continue // an earlier start has found and reported it
		}
		d.noted = append(d.noted, note)
		if copied == "" {
			copied, _ = d.quarantine(b)
		}
		s.lost.Bytes += note.LostBytes
		s.lost.Msgs = append(s.lost.Msgs, note.Lost...)
		if copied != "" {
			d.writeNote(copied, i, &note)
		}
		d.host.event(Damaged{Account: d.account, Stream: s.cfg.Name, Block: b.num, Offset: x.off, Size: x.size,
			First: first, Last: last, Reason: x.detail, Quarantine: copied})
	}
	slices.Sort(s.lost.Msgs)
	s.lost.Msgs = slices.Compact(s.lost.Msgs)
}
