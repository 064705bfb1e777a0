package msgstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seqset"
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

// same tells whether two notes are about the same damage. A block that was
// rewritten since lacks the messages of the first one.
func (n quarantineNote) same(m quarantineNote) bool {
	return n.Block == m.Block && n.Offset == m.Offset && n.Size == m.Size && slices.Equal(n.Lost, m.Lost)
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
		if _, dead := r.dead[seq]; dead || seq == 0 || seq < r.lowest() {
			return true
		}
		if b, _ := s.blockFor(seq); b != nil {
			return true
		}
		if r.index != nil && seq <= r.index.LastSeq && !indexHas(r.index, seq) || r.mark != nil && seq < r.mark.seq {
			return true
		}
		lost[seq] = struct{}{}
		return true
	}
	for i := range r.damages {
		x := &r.damages[i]
		if x.Torn {
			continue
		}
		r.upToNext(x)
		s.lost.Bytes += uint64(x.End - x.Start)
		if x.FirstSeq == 0 && x.b.file.locked != "" {
			r.lockedSeqs(x)
		}
		for seq := x.FirstSeq; seq != 0 && seq <= x.LastSeq; seq++ {
			if !note(seq) {
				break
			}
		}
	}
	for i := range r.missing {
		m := &r.missing[i]
		s.lost.Bytes += m.Bytes
		for seq := m.FirstSeq; seq <= m.LastSeq; seq++ {
			if !note(seq) {
				break
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
	}
	slices.Sort(s.lost.Msgs)
}

// upToNext extends a damage at the end of a block, behind which the scan of the
// block knew nothing, to the first message of the next block.
func (r *recovery) upToNext(x *foundDamage) {
	s := r.s
	if x.FirstSeq == 0 || int64(x.End) < x.b.size {
		return
	}
	for i := s.blockIndex(x.b) + 1; i > 0 && i < len(s.blocks); i++ {
		if b := s.blocks[i]; b.msgs > 0 {
			x.LastSeq = max(x.LastSeq, b.first.seq-1)
			return
		}
	}
}

// lowest is the first sequence that can be lost: below, messages were removed.
func (r *recovery) lowest() uint64 {
	if r.index != nil {
		return r.index.FirstSeq
	}
	return 1
}

// indexHas says whether index.db lists a message.
func indexHas(x *indexdb.Index, seq uint64) bool {
	for i := range x.Blocks {
		b := &x.Blocks[i]
		if b.Msgs() > 0 && seq >= b.FirstSeq && seq <= b.LastSeq {
			return b.Deleted == nil || !b.Deleted.Contains(seq)
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
				return
			}
		}
	}
	first, last := uint64(1), uint64(0)
	if i > 0 {
		first = s.blocks[i-1].last.seq + 1
	}
	if i >= 0 && i+1 < len(s.blocks) && s.blocks[i+1].msgs > 0 {
		last = s.blocks[i+1].first.seq - 1
	}
	if first <= last {
		x.FirstSeq, x.LastSeq = first, last
	}
}

// mend brings the files in the order that the state needs: torn ends are cut,
// damaged blocks rewritten from their intact records, after the original bytes
// went to the quarantine directory.
func (r *recovery) mend() error {
	s, d := r.s, r.d
	d.readNotes()
	for i := range r.missing {
		if err := r.noteMissing(&r.missing[i]); err != nil {
			return err
		}
	}
	for i := 0; i < len(r.damages); {
		b := r.damages[i].b
		n := i
		for n < len(r.damages) && r.damages[n].b == b {
			n++
		}
		if err := r.mendBlock(b, r.damages[i:n]); err != nil {
			return err
		}
		i = n
	}
	if len(s.blocks) == 0 {
		s.blocks = append(s.blocks, newBlock(r.nextNumber(), s.last))
		s.blocks[0].file.owner = s
		return r.newTail(s.blocks[0])
	}
	for i := 0; i < len(s.blocks)-1; {
		b := s.blocks[i]
		if b.msgs == 0 && b.file.locked == "" && d.emptied(b, i) {
			s.blocks = slices.Delete(s.blocks, i, i+1)
			continue
		}
		i++
	}
	if s.last.seq > 0 {
		s.findFirst()
	}
	tail := s.blocks[len(s.blocks)-1]
	if tail.file.locked != "" || tail.file.compressed || tail.file.closed || tail.num < r.highest() {
		b := newBlock(max(tail.num, r.highest())+1, s.last)
		b.file.owner = s
		s.blocks = append(s.blocks, b)
		return r.newTail(b)
	}
	s.setTailAt(tail)
	return nil
}

func (r *recovery) highest() uint32 {
	var n uint32
	if len(r.files) > 0 {
		n = r.files[len(r.files)-1].num
	}
	return n
}

func (r *recovery) nextNumber() uint32 {
	n := r.highest()
	if r.index != nil && r.index.LastBlock < 1<<32-1 {
		n = max(n, uint32(r.index.LastBlock))
	}
	return n + 1
}

// newTail creates the file of a new last block.
func (r *recovery) newTail(b *block) error {
	d := r.d
	out, file, keyFile, err := d.create(b)
	if err != nil {
		return err
	}
	if keyFile != nil {
		if err := vfs.ReplaceFile(d.fs, d.keyPath(b.num), keyFile, 0o600); err != nil {
			return err
		}
	}
	if err := d.fs.SyncDir(d.msgs); err != nil {
		return err
	}
	d.out, d.outFile = out, file
	d.tailSum = [record.SumSize]byte{}
	r.s.setTail(b)
	return nil
}

// mendBlock deals with the damages of one block.
func (r *recovery) mendBlock(b *block, found []foundDamage) error {
	s, d := r.s, r.d
	whole := true
	zeros := true
	for i := range found {
		x := &found[i]
		whole = whole && x.Torn
		zeros = zeros && x.Torn && x.Reason == "zero bytes"
	}
	copied := ""
	if !zeros {
		var err error
		if copied, err = d.quarantine(b); err != nil {
			return err
		}
	}
	for i := range found {
		x := &found[i]
		note := quarantineNote{Block: b.num, Offset: int64(x.Start), Size: int64(x.End - x.Start), Reason: x.Reason, Torn: x.Torn}
		if !x.Torn {
			note.LostBytes = uint64(note.Size)
			for _, seq := range s.lost.Msgs {
				if seq >= x.FirstSeq && seq <= x.LastSeq {
					note.Lost = append(note.Lost, seq)
				}
			}
		}
		if copied != "" {
			if err := d.writeNote(copied, i, &note); err != nil {
				return err
			}
		}
		if !zeros {
			d.host.event(Damaged{Account: d.account, Stream: s.cfg.Name, Block: b.num, Offset: note.Offset, Size: note.Size,
				First: x.FirstSeq, Last: x.LastSeq, Torn: x.Torn, Reason: x.Reason, Quarantine: copied})
		}
	}
	if b.file.locked != "" || s.blockIndex(b) < 0 {
		return nil // it stays on disk as it is
	}
	c, err := s.content(b)
	if err != nil {
		return err
	}
	if whole && !c.compressed {
		return r.cut(b, c, found[0].Start)
	}
	return d.rewrite(b, c, nil)
}

// noteMissing reports a block without a file, and remembers it in the quarantine
// directory.
func (r *recovery) noteMissing(m *indexdb.Block) error {
	s, d := r.s, r.d
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

// cut removes the torn end of a block.
func (r *recovery) cut(b *block, c *cache, size int) error {
	d := r.d
	if err := d.queue.Perform(&commit.Op{Forget: path.Join(d.rel, blockName(b.num))}); err != nil {
		return err
	}
	f, err := d.fs.OpenFile(d.blockPath(b.num), os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err = f.Truncate(int64(size)); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	c.buf, c.bad = c.buf[:size], nil
	b.size, b.file.stored = int64(size), int64(size)
	// Other bytes at the same places under the same key stream would give both
	// away: an encrypted block takes no more records.
	b.file.closed = b.file.key != nil
	return nil
}

const quarantineDir = "quarantine"

// quarantine copies a block file and its key. It returns the name of the copy.
func (d *disk) quarantine(b *block) (string, error) {
	dir := path.Join(d.dir, quarantineDir)
	if err := vfs.MkdirAllSynced(d.fs, dir, 0o700); err != nil {
		return "", err
	}
	name := path.Join(dir, blockName(b.num)+"."+strconv.FormatInt(d.s.now().Unix(), 10))
	for n := 0; ; n++ { // names are never used again
		if _, err := d.fs.Stat(name); errors.Is(err, fs.ErrNotExist) {
			break
		}
		name = path.Join(dir, blockName(b.num)+"."+strconv.FormatInt(d.s.now().Unix(), 10)+"-"+strconv.Itoa(n+1))
	}
	raw, err := vfs.ReadFile(d.fs, d.blockPath(b.num), maxBlockFile)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return "", err
	}
	if err := vfs.WriteSynced(d.fs, name, raw, 0o600); err != nil {
		return "", err
	}
	if key, err := vfs.ReadFile(d.fs, d.keyPath(b.num), maxKeyFile); err == nil {
		if err := vfs.WriteSynced(d.fs, name+".key", key, 0o600); err != nil {
			return "", err
		}
	}
	return name, d.fs.SyncDir(dir)
}

func (d *disk) writeNote(copied string, i int, n *quarantineNote) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return vfs.ReplaceFile(d.fs, copied+"."+strconv.Itoa(i)+".json", b, 0o600)
}

// readNotes adds what was lost earlier, and not acknowledged, to the report.
func (d *disk) readNotes() {
	s := d.s
	dir := path.Join(d.dir, quarantineDir)
	entries, err := d.fs.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		raw, err := vfs.ReadFile(d.fs, path.Join(dir, e.Name()), maxNote)
		var n quarantineNote
		if err != nil || json.Unmarshal(raw, &n) != nil || n.Torn {
			continue
		}
		d.noted = append(d.noted, n)
		if n.Acknowledged {
			continue
		}
		s.lost.Bytes += n.LostBytes
		for _, seq := range n.Lost {
			// In its old block it still counts as live, and cannot be read.
			if b, _ := s.blockFor(seq); b == nil || b.num == n.Block {
				s.lost.Msgs = append(s.lost.Msgs, seq)
			}
		}
	}
	slices.Sort(s.lost.Msgs)
	s.lost.Msgs = slices.Compact(s.lost.Msgs)
}

// maxNote bounds a note: a list of maxLost sequences.
const maxNote = 32 << 20

// damaged reports what a read found in b. The caller holds store.mu.
func (d *disk) damaged(b *block, c *cache) {
	s := d.s
	copied := ""
	var err error
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
		if slices.ContainsFunc(d.noted, note.same) {
			continue // an earlier start has found and reported it
		}
		if copied == "" {
			if copied, err = d.quarantine(b); err != nil {
				copied = ""
			}
		}
		d.noted = append(d.noted, note)
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

// liveSet is what is live in a block at one moment.
type liveSet struct {
	first, last uint64
	deleted     *seqset.Set
}

func (l *liveSet) has(seq uint64) bool {
	return seq >= l.first && seq <= l.last && !l.deleted.Contains(seq)
}

// rewrite replaces the file of b by one that holds the intact records of c: all
// of them, or with live the messages in it and the tombstones that are still
// needed. Nothing is in flight for the file. An encrypted block gets a new key.
// The caller holds store.mu, or is the only one who knows the store.
func (d *disk) rewrite(b *block, c *cache, live *liveSet) error {
	s := d.s
	fresh := &cache{buf: make([]byte, 0, len(c.buf))}
	i := s.blockIndex(b)
	bad := make(map[int]int, len(c.bad))
	for _, x := range c.bad {
		bad[int(x.off)] = int(x.off + x.size)
	}
	for off := 0; off < len(c.buf); {
		if end, ok := bad[off]; ok && end > off {
			off = end
			continue
		}
		r, err := record.Parse(c.buf[off:])
		if err != nil {
			return fmt.Errorf("%s: record at %d: %w", d.blockPath(b.num), off, err)
		}
		if live == nil || s.keeps(live, i, &r) {
			fresh.append(&r, c.buf[off:off+r.Size])
		}
		off += r.Size
	}
	return d.write(b, fresh)
}

// keeps says whether a compaction of s.blocks[i] keeps a record.
func (s *store) keeps(live *liveSet, i int, r *record.Record) bool {
	switch r.Kind {
	case record.Message:
		return live.has(r.Seq)
	case record.Tombstone:
		return s.blockOf(r.Seq) < i || r.Seq >= s.last.seq
	}
	return false
}

// write makes the content of fresh the file of b.
func (d *disk) write(b *block, fresh *cache) error {
	s := d.s
	stored := fresh.buf
	tail := s.blockIndex(b) == len(s.blocks)-1
	if s.cfg.Compression == S2Compression && !tail && len(stored) >= minCompress {
		stored = blockcomp.Encode(nil, fresh.buf)
		fresh.compressed = true
	}
	var keyFile []byte
	key := b.file.key
	if d.ring.Enabled() {
		var err error
		if key, keyFile, err = d.ring.New(keys.OfBlock(d.account, s.cfg.Name, uint64(b.num))); err != nil {
			return err
		}
		if !fresh.compressed {
			stored = slices.Clone(stored)
		}
		key.Stream().XORAt(stored, stored, 0)
	}
	name := d.blockPath(b.num)
	if err := vfs.WriteSynced(d.fs, name+".tmp", stored, 0o600); err != nil {
		return err
	}
	if keyFile != nil {
		if err := d.swapKey(b, keyFile); err != nil {
			return err
		}
	}
	if err := d.fs.Rename(name+".tmp", name); err != nil {
		return err
	}
	if err := d.fs.SyncDir(d.msgs); err != nil {
		return err
	}
	if keyFile != nil {
		d.fs.Remove(d.keyPath(b.num) + ".old")
	}
	b.file.key = key
	b.file.convert = false
	b.file.gen++
	b.file.compressed = fresh.compressed
	b.file.stored = int64(len(stored))
	b.size = int64(len(fresh.buf))
	if n := len(fresh.buf); tail {
		d.tailSum = [record.SumSize]byte{}
		if n >= record.SumSize {
			d.tailSum = [record.SumSize]byte(fresh.buf[n-record.SumSize:])
		}
	}
	b.cache.Store(fresh)
	d.hold(b, fresh)
	return nil
}

// minCompress is the smallest block that is compressed: a compressed block keeps
// its last 8 bytes as they are.
const minCompress = 64

// swapKey puts a new key file in place and keeps the old one beside it, until
// the block that it opens has been replaced.
func (d *disk) swapKey(b *block, keyFile []byte) error {
	name := d.keyPath(b.num)
	if b.file.key != nil {
		old, err := vfs.ReadFile(d.fs, name, maxKeyFile)
		if err == nil {
			if err := vfs.ReplaceFile(d.fs, name+".old", old, 0o600); err != nil {
				return err
			}
		}
	}
	return vfs.ReplaceFile(d.fs, name, keyFile, 0o600)
}
