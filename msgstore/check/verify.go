package check

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/natsd/natsd/msgstore/internal/oldindex"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scan"
	"github.com/natsd/natsd/msgstore/seqset"
)

// Verify reads everything at or below path (a store directory, account, stream
// or block file) and reports what is there and what is wrong with it. An error
// says that the directory cannot be read, not that it is damaged.
func Verify(path string, opts Options) (*Report, error) {
	rep := &Report{Clean: true, Streams: []StreamState{}, Findings: []Finding{}}
	t, err := examineAll(path, onePass, true, &opts, func(s *stream) error {
		s.consumers()
		if s.group {
			s.raftFiles()
		}
		rep.Streams = append(rep.Streams, s.state)
		rep.Findings = append(rep.Findings, s.findings...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	rep.Findings = append(rep.Findings, t.journalFindings()...)
	for i := range rep.Findings {
		if rep.Findings[i].Severity == Damage {
			rep.Clean = false
		}
	}
	return rep, nil
}

// How often the blocks are read: once to find out what is live, and once more to
// do something with it. Progress counts both.
const (
	onePass   = 1
	twoPasses = 2
)

// examine scans every stream at or below path and hands each to fn.
func examine(path string, passes int64, opts *Options, fn func(*stream) error) error {
	_, err := examineAll(path, passes, false, opts, fn)
	return err
}

// examineAll is examine, with Raft groups if groups is set. It returns what path
// holds.
func examineAll(path string, passes int64, groups bool, opts *Options, fn func(*stream) error) (*tree, error) {
	t, err := openStore(path, opts)
	if err != nil {
		return nil, err
	}
	var streams []*stream
	var total, done int64
	sealed, opened := false, false
	for _, loc := range t.streams {
		if loc.group && !groups {
			continue
		}
		s, err := openStream(t, loc, opts)
		if err != nil {
			return nil, err
		}
		for _, b := range s.blocks {
			total += passes * b.size
		}
		sealed = sealed || s.keys.sealed
		opened = opened || s.anyKeyOpens()
		streams = append(streams, s)
	}
	if sealed && !opened {
		return nil, fmt.Errorf("%s: %w", path, ErrWrongKey)
	}
	for _, s := range streams {
		s.done = func(n int64) error {
			done += n
			if opts.Progress == nil {
				return nil
			}
			return opts.Progress(min(done, total), total)
		}
		if err := s.scan(); err != nil {
			return nil, err
		}
		if err := fn(s); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// scan reads all blocks and decides what is live and what is lost.
func (s *stream) scan() error {
	if err := s.findEnd(); err != nil {
		return err
	}
	if err := s.placeFloor(); err != nil {
		return err
	}
	s.blocks = slices.DeleteFunc(s.blocks, func(b *block) bool {
		gone := s.gone(b.number)
		if gone {
			s.find(Info, KindLeftover, b.path, "floor.db says that this block is gone; a server deletes it")
		}
		return gone
	})
	if err := s.placeIndex(); err != nil {
		return err
	}
	p := pass{stream: s, history: newHistory(&s.cfg), present: new(seqset.Set), removed: new(seqset.Set), subjects: make(map[string]uint64)}
	p.settleIndex()
	var err error
	if p.acked, err = s.released(); err != nil {
		return err
	}
	var next *content
	for i, b := range s.blocks {
		c := next
		if c == nil {
			first, err := s.load(b)
			if err != nil {
				return err
			}
			c = &first
		}
		if i+1 < len(s.blocks) {
			following, err := s.load(s.blocks[i+1])
			if err != nil {
				return err
			}
			next = &following
			if b.before = s.firstSequence(s.blocks[i+1], next); b.before == 0 {
				b.before = s.indexedFirst(s.blocks[i+1:])
			}
		}
		if err := p.block(b, c); err != nil {
			return err
		}
	}
	p.finish()
	return nil
}

// indexedFirst is the first sequence of the blocks according to index.db, or 0.
func (s *stream) indexedFirst(blocks []*block) uint64 {
	for _, b := range blocks {
		if e := s.evidence(b.number); e.Known && e.LastSeq >= e.FirstSeq {
			return e.FirstSeq
		}
	}
	return 0
}

// pass is one reading of all blocks of a stream.
type pass struct {
	*stream
	history  *history
	present  *seqset.Set       // messages whose record is valid
	removed  *seqset.Set       // named by tombstones
	subjects map[string]uint64 // of live messages, if index.db decides
	bytes    uint64            // likewise
	acked    *seqset.Set       // of a work queue: acknowledged in the journal
	settled  []entry           // those of them whose record is here
	damages  []blockDamage
	beyond   bool            // the limits remove more of what the index says
	old      *oldindex.Index // what a server before 2.10 says of this block
	last     uint64
	prev     uint64 // number of the block before
}

type blockDamage struct {
	b *block
	scan.Damage
}

func (p *pass) block(b *block, c *content) error {
	p.gap(b)
	p.prev = b.number
	b.after = p.last
	if b.oldKey {
		p.find(Repairable, KindConversion, b.path, "readable with the key before an interrupted rewrite only")
	}
	if b.unreadable != nil {
		kind := KindBlockUnreadable
		if b.keyless {
			kind = KindBlockKey
		}
		d := blockDamage{b, scan.Damage{End: int(b.size), Reason: b.unreadable.Error()}}
		if e := p.evidence(b.number); e.Known && e.LastSeq >= e.FirstSeq {
			d.FirstSeq, d.LastSeq = e.FirstSeq, e.LastSeq
		} else if b.before > 0 && p.last+1 < b.before {
			d.FirstSeq, d.LastSeq = p.last+1, b.before-1
		}
		f := p.find(Damage, kind, b.path, b.unreadable.Error())
		f.FirstSeq, f.LastSeq = d.FirstSeq, d.LastSeq
		p.damages = append(p.damages, d)
		p.last = max(p.last, d.LastSeq)
		return nil
	}
	sb := p.scanBlock(b, c)
	e := &sb.Evidence
	var err error
	if p.old, err = p.oldIndex(b, c); err != nil {
		return err
	}
	told := p.old != nil || p.toldAt(b, 0)
	if p.history.told && !told {
		p.history.limit()
	}
	p.history.told = told
	res, err := scan.Run(sb, func(at int, r *record.Record) error {
		if r.Kind == record.Tombstone {
			p.tombstone(r)
		} else {
			if r.Seq >= p.state.LastSeq {
				p.state.LastSeq, p.lastTime = r.Seq, r.Time
			}
			if b.firstSeq == 0 {
				b.firstSeq = r.Seq
			}
			if r.Kind == record.Message {
				p.message(b, r, e)
			}
		}
		p.atPlace(b, at+r.Size)
		return nil
	})
	if err != nil {
		return err
	}
	if x := p.old; x != nil && x.LastSeq > p.state.LastSeq {
		p.state.LastSeq, p.lastTime = x.LastSeq, x.LastTime
	}
	b.records, b.lastSeq = res.Records, res.LastSeq
	p.last = res.LastSeq
	for _, d := range res.Damage {
		p.damages = append(p.damages, blockDamage{b, d})
	}
	return nil
}

// placeFloor finds out whether floor.db belongs to these blocks: the record that
// it names is where it says. Otherwise another server has written since.
func (s *stream) placeFloor() error {
	f := s.floor
	if f == nil {
		return nil
	}
	i := slices.IndexFunc(s.blocks, func(b *block) bool { return b.number == uint64(f.Block) })
	s.floor = nil
	if i < 0 {
		return nil
	}
	c, err := s.load(s.blocks[i])
	if err != nil || f.Offset < 0 || f.Offset > int64(len(c.bytes)) {
		return err
	}
	var sum [record.SumSize]byte
	if f.Offset >= record.SumSize {
		sum = [record.SumSize]byte(c.bytes[f.Offset-record.SumSize:])
	}
	if sum == f.Sum {
		s.floor = f
	}
	return nil
}

// gone says whether floor.db says that a block is gone.
func (s *stream) gone(number uint64) bool {
	return s.floor != nil && slices.Contains(s.floor.Gone, uint32(number))
}

func (p *pass) tombstone(r *record.Record) {
	p.removed.Insert(r.Seq)
	p.tombstones = true
	if r.Seq >= p.state.LastSeq {
		p.state.LastSeq, p.lastTime = r.Seq, r.Time
	}
	p.history.remove(r.Seq)
}

func (p *pass) message(b *block, r *record.Record, e *scan.Evidence) {
	p.present.Insert(r.Seq)
	if p.old != nil && !p.old.Has(r.Seq) {
		return
	}
	if p.acked.Contains(r.Seq) {
		p.settled = append(p.settled, entry{seq: r.Seq, size: uint32(r.Size)})
	}
	if p.index != nil && r.Seq <= p.index.LastSeq {
		if !e.Known || r.Seq < e.FirstSeq || r.Seq > e.LastSeq || e.Deleted != nil && e.Deleted.Contains(r.Seq) {
			return // index.db knows that it is gone, and what is gone does not come back
		}
		if p.exact {
			p.subjects[string(r.Subject)]++
		}
		if p.byIndex() {
			p.live.Insert(r.Seq)
			p.bytes += uint64(r.Size)
			return
		}
	}
	p.history.message(r.Seq, r.Size, r.Subject)
}

// free takes out the messages of a work queue that were acknowledged. That comes
// after everything that is in the blocks, as the limits that did their work then.
func (p *pass) free() {
	for _, e := range p.settled {
		p.removed.Insert(e.seq)
		if !p.byIndex() {
			p.history.remove(e.seq)
		} else if p.live.Delete(e.seq) {
			p.bytes -= uint64(e.size)
		}
	}
}

// gap notes block numbers that are not there.
func (p *pass) gap(b *block) {
	if p.onlyBlock != 0 || p.prev == 0 {
		return
	}
	for n := p.prev + 1; n < b.number && len(p.missing) < maxMissing; n++ {
		p.missing = append(p.missing, n)
	}
}

// maxMissing bounds the list of missing block numbers: a directory with one
// stray file of a high number must not fill the memory.
const maxMissing = 1 << 16

// finish decides what is live, lost and wrong, after all blocks were read.
func (p *pass) finish() {
	p.free()
	if p.byIndex() {
		p.state.Bytes = p.bytes
	} else {
		if p.history.told {
			p.history.limit()
		}
		if f := p.floor; f != nil && f.Seq > 0 {
			// The record that carries the last sequence of a purge follows floor.db.
			p.history.floor(f.Seq)
			p.state.LastSeq = max(p.state.LastSeq, f.Seq-1)
		}
		p.live = p.history.live
		p.state.Bytes = p.history.bytes
	}
	if x := p.index; x != nil && (x.LastSeq > p.state.LastSeq || x.LastSeq == p.state.LastSeq && (p.exact || p.ahead)) {
		p.state.LastSeq, p.lastTime = x.LastSeq, x.LastTime
	}
	p.reportDamages()
	p.reportMissingBlocks()
	p.reportMissingRecords()
	if p.byIndex() && p.complete() {
		p.compareSubjects()
	}
	p.lost = mergeLost(p.lost)
	if n := len(p.lost); n > 0 && p.lost[n-1].LastSeq > p.state.LastSeq {
		p.state.LastSeq = p.lost[n-1].LastSeq
	}
	p.total()
}

// total fills in the state of the stream.
func (p *pass) total() {
	st := &p.state
	st.Messages = uint64(p.live.Len())
	st.FirstSeq = st.LastSeq + 1
	if first, ok := p.live.Min(); ok {
		st.FirstSeq = first
	} else if st.LastSeq == 0 && p.cfg.FirstSeq > 1 {
		st.FirstSeq, st.LastSeq = p.cfg.FirstSeq, p.cfg.FirstSeq-1
	} else if st.LastSeq == 0 {
		st.FirstSeq = 0
		if p.exact {
			st.FirstSeq = p.index.FirstSeq
		}
	}
	if st.LastSeq > st.FirstSeq || st.LastSeq == st.FirstSeq && st.Messages == 0 && st.LastSeq > 0 {
		st.NumDeleted = st.LastSeq - st.FirstSeq + 1 - st.Messages
	}
	for _, b := range p.blocks {
		if b.lastSeq >= b.firstSeq && b.firstSeq > 0 {
			b.messages = uint64(p.live.CountRange(b.firstSeq, b.lastSeq))
		}
	}
}

// complete says whether all blocks of the index are there. Where floor.db explains that
// one is not, nothing is lost.
func (p *pass) complete() bool {
	for i := range p.index.Blocks {
		k := &p.index.Blocks[i]
		if k.Msgs() > 0 && !slices.ContainsFunc(p.blocks, func(b *block) bool { return b.number == k.Number }) {
			return false
		}
	}
	return true
}

// compareSubjects finds what the checksum of a record does not cover: a wrong
// length of the subject moves the border between subject and payload.
func (p *pass) compareSubjects() {
	if p.index.NumSubjects == 0 || len(p.damages) > 0 || len(p.lost) > 0 {
		return
	}
	differ := len(p.subjects) != p.index.NumSubjects
	detail := fmt.Sprintf("the blocks hold %d subjects, index.db %d", len(p.subjects), p.index.NumSubjects)
	for sub := range p.index.Subjects() {
		if n := p.subjects[string(sub.Name)]; n != sub.Total && !differ {
			differ = true
			detail = fmt.Sprintf("the blocks hold %d messages of %q, index.db %d", n, sub.Name, sub.Total)
		}
	}
	if differ {
		p.find(Damage, KindSubject, filepath.Join(p.msgs, "index.db"), detail)
	}
}
