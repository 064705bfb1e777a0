// Package scan reads the records of a message block that may be damaged.
//
// It is the one place that decides what a bad record means: whether the bytes
// are the torn end of the last write or damage to something that had been
// stored, where behind a damage the records go on, and which sequences are
// affected. Recovery of a store and the offline checker both use it, so they
// cannot disagree. Nothing here does I/O.
package scan

import (
	"cmp"
	"encoding/binary"
	"errors"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seqset"
)

// Block is a block to be scanned, with what is known about it.
type Block struct {
	// Content is the decrypted and decompressed content. Run changes bytes while
	// it looks at them and puts them back: nobody else may read it meanwhile.
	Content []byte
	Stream  string
	Number  uint32

	// Last says that this is the last block of the stream, the only one whose
	// end can be torn.
	Last bool
	// After is the highest sequence of the blocks before, and Before the first
	// sequence of the next block; 0 if unknown or none. Messages lie between.
	After, Before uint64
	// Raw is the file as it is stored, where that is not Content: encrypted, but
	// not compressed. Zeros in it were never written.
	Raw []byte
	// Prefix says that nothing behind a bad record counts in the last block, where
	// the evidence does not cover it: whoever wrote it can write it again.
	Prefix bool
	// Unreadable are parts of Content that could not be read or decompressed. Why
	// says what the matter is; "" is that they could not be decompressed.
	Unreadable []blockcomp.Range
	Why        string
	// ValidSubject says whether a message of this stream may have the subject;
	// nil if any will do.
	ValidSubject func([]byte) bool

	Evidence Evidence
}

// Evidence is what index.db, the manifest or the journal, each valid in itself,
// say about a block. It may be older than the block. The zero value is none.
type Evidence struct {
	// Known says that the sequences below are; LastSeq < FirstSeq stands for a
	// block without messages.
	Known             bool
	FirstSeq, LastSeq uint64
	Deleted           *seqset.Set // in [FirstSeq, LastSeq]; nil: none
	// LastSum is the checksum of the record that was the block's last one, nil
	// if unknown.
	LastSum *[record.SumSize]byte
	// Stale says that the stream was written to after the evidence was. Then what
	// it knows may have been removed since, so that a message that is missing
	// without any bad bytes in its place is not damage.
	Stale bool
	// Durable, if DurableKnown, is the offset up to which the block was ever
	// reported durable.
	DurableKnown bool
	Durable      int
}

// nextLive is the first sequence at or above seq, and within the evidence or
// behind it, that is not known to be deleted.
func (e *Evidence) nextLive(seq uint64) uint64 {
	seq = max(seq, e.FirstSeq)
	if e.Deleted != nil {
		seq = e.Deleted.NextAbsent(seq)
	}
	return seq
}

// Damage is a part of the block that holds no valid record.
type Damage struct {
	Start, End int // bytes [Start, End) of the content; equal if records are missing
	Reason     string
	// FirstSeq to LastSeq are the sequences that can have been there, 0 and 0 if
	// there are none. Some may be known elsewhere to be deleted.
	FirstSeq, LastSeq uint64
	// Torn says that this is the end of a write that was never acknowledged, or
	// padding: to be cut, not lost.
	Torn bool
}

// Result is what a scan found besides the records.
type Result struct {
	Damage []Damage
	// End is where the last valid record ends.
	End int
	// LastSeq is the highest sequence among messages, skips and erased records,
	// at least After.
	LastSeq uint64
	// LastSum is the checksum of the last valid record; zero without one.
	LastSum [record.SumSize]byte
	// Records counts valid ones, dead and superseded ones included.
	Records int
}

// Damaged reports whether anything but a torn end was found.
func (r *Result) Damaged() bool {
	for i := range r.Damage {
		if !r.Damage[i].Torn {
			return true
		}
	}
	return false
}

const (
	reasonZero       = "zero bytes"
	reasonMissing    = "records are missing at the end"
	reasonCompressed = "compressed data is damaged"
	reasonSubject    = "invalid subject"
)

// Run calls visit with each valid record in the order of the file and its
// offset. Tombstones come as they are; records with sequence 0 and messages,
// skips and erased records that are not above the one before are passed over.
// The record is valid during the call, and points into the content. An error of visit ends the scan and is
// returned; there are no others.
func Run(b *Block, visit func(offset int, r *record.Record) error) (Result, error) {
	s := scanner{Block: b, key: record.NewKey(b.Stream, b.Number), visit: visit}
	s.res.LastSeq = b.After
	if e := b.Evidence.LastSum; e != nil && *e == [record.SumSize]byte{} {
		s.sawLast = true // an empty block has no last record
	}
	if err := s.run(); err != nil {
		return s.res, err
	}
	return s.res, nil
}

type scanner struct {
	*Block
	key     record.Key
	visit   func(int, *record.Record) error
	rec     record.Record // handed to visit; here, so that it costs no allocation
	res     Result
	sawLast bool         // a record with Evidence.LastSum was seen
	removed uint64       // highest sequence of a tombstone: the stream had come to it
	lastAt  int          // its offset
	dead    map[int]bool // offsets from which the chain is known to break
	open    int          // damages with LastSeq unknownSeq
	budget  int          // bytes that resynchronising may still hash
	started bool         // budget was set
}

func (s *scanner) run() error {
	at := 0
	for at < len(s.Content) {
		var err error
		if s.rec, err = s.decode(at); err == nil {
			if err := s.take(at, &s.rec); err != nil {
				return err
			}
			at += s.rec.Size
			s.res.End = at
			continue
		}
		next := len(s.Content)
		if !s.zeros(at) && !s.cutOff(at) {
			next = s.resync(at)
		}
		s.damage(at, next, err)
		at = next
	}
	s.missingEnd()
	return nil
}

// decode reads and verifies the record at offset at.
func (s *scanner) decode(at int) (record.Record, error) {
	r, err := record.DecodeExclusive(s.Content[at:], &s.key)
	if err != nil {
		return r, err
	}
	if r.Kind == record.Message && s.ValidSubject != nil && !s.ValidSubject(r.Subject) {
		return r, errSubject
	}
	return r, nil
}

var errSubject = errors.New(reasonSubject)

func (s *scanner) take(at int, r *record.Record) error {
	sum := s.Content[at+r.Size-record.SumSize : at+r.Size]
	copy(s.res.LastSum[:], sum)
	if s.Evidence.LastSum != nil && *s.Evidence.LastSum == s.res.LastSum {
		s.sawLast, s.lastAt = true, at
	}
	s.res.Records++
	switch r.Kind {
	case record.Dead:
		return nil
	case record.Tombstone:
		s.removed = max(s.removed, r.Seq)
	default:
		if r.Seq <= s.res.LastSeq {
			return nil
		}
		if s.open > 0 {
			s.fillGap(r.Seq)
		}
		s.res.LastSeq = r.Seq
	}
	return s.visit(at, r)
}

// fillGap completes the damages in front of a record with sequence next: what
// lies between the intact neighbours is what can be lost.
func (s *scanner) fillGap(next uint64) {
	s.settle(func(d *Damage) { s.bound(d, next) })
}

// settle completes the damages that were left open.
func (s *scanner) settle(complete func(*Damage)) {
	for i := len(s.res.Damage) - 1; s.open > 0; i-- {
		if d := &s.res.Damage[i]; d.LastSeq == unknownSeq {
			complete(d)
			s.open--
		}
	}
}

// unknownSeq marks a damage whose following neighbour was not found yet.
const unknownSeq = ^uint64(0)

// bound sets the sequences of d, given the first intact sequence behind it.
// FirstSeq 0 means that nothing is known about the beginning but what the damaged
// record says, if that can be; at least the sequence in front of next is affected.
func (s *scanner) bound(d *Damage, next uint64) {
	first, last := d.FirstSeq, next-1
	if first == 0 {
		if first = last; d.End > d.Start {
			if seq, ok := s.claimedSeq(d.Start); ok {
				first = min(seq, last)
			}
		}
	}
	if e := &s.Evidence; e.Known && e.LastSeq >= last { // it knows the whole gap
		first = e.nextLive(first)
		if e.Deleted != nil {
			last, _ = e.Deleted.PrevAbsent(last)
		}
	}
	if first > last || last == 0 {
		first, last = 0, 0
	}
	d.FirstSeq, d.LastSeq = first, last
}

// firstLost is the lowest sequence that a damage at offset at can have hit, or 0
// if that is unknown.
func (s *scanner) firstLost(at int) uint64 {
	prev := s.res.LastSeq
	if s.Evidence.Known && prev < s.Evidence.FirstSeq {
		return s.Evidence.FirstSeq
	}
	if prev > 0 || s.Number <= 1 {
		return prev + 1
	}
	return 0 // the blocks before are gone
}

// claimedSeq is the sequence in the header of the damaged record at offset at,
// if it can be true.
func (s *scanner) claimedSeq(at int) (uint64, bool) {
	if len(s.Content)-at < 12 {
		return 0, false
	}
	seq := binary.LittleEndian.Uint64(s.Content[at+4:])
	if seq <= s.res.LastSeq || seq > record.MaxSeq || s.Before > 0 && seq >= s.Before {
		return 0, false
	}
	return seq, true
}

// damage records that [at, next) holds no valid record.
func (s *scanner) damage(at, next int, err error) {
	d := Damage{Start: at, End: next, Reason: err.Error(), FirstSeq: s.firstLost(at), LastSeq: unknownSeq}
	zeros := next == len(s.Content) && s.zeros(at)
	if zeros {
		d.Reason = reasonZero
	}
	known := false
	for _, u := range s.Unreadable {
		if u.Start < next && at < u.End {
			d.Reason, known = cmp.Or(s.Why, reasonCompressed), true
		}
	}
	if next == len(s.Content) && !known {
		if d.Torn = s.torn(at, zeros); d.Torn {
			d.FirstSeq, d.LastSeq = 0, 0
		}
	}
	if d.LastSeq == unknownSeq {
		s.open++
	}
	s.res.Damage = append(s.res.Damage, d)
}

// boundAtEnd sets the sequences of a damage behind which no message follows.
func (s *scanner) boundAtEnd(d *Damage) {
	e, next := &s.Evidence, s.res.LastSeq+1
	switch seq := s.claims(d.Start, d.End); {
	case s.Before > 0:
		s.bound(d, s.Before)
	case e.Known && (e.LastSeq > s.res.LastSeq || e.LastSum != nil && !s.sawLast):
		s.bound(d, max(e.LastSeq, s.res.LastSeq)+1) // it names what was there
	case e.Known && (e.LastSum == nil || d.Start < s.lastAt):
		d.FirstSeq, d.LastSeq = 0, 0 // all messages that it knows are there
	case seq == 0 && d.End-d.Start == record.MinSize && s.claimsTombstone(d.Start):
		d.FirstSeq, d.LastSeq = 0, 0 // with less of it there may have been more
	default:
		s.bound(d, max(seq, next)+1)
	}
}

// claims is the highest sequence that the headers in the bad bytes [at, end)
// claim, following their lengths as far as they make sense. A claim of more
// than the bytes could hold is itself damaged and does not count.
func (s *scanner) claims(at, end int) (highest uint64) {
	limit := max(s.res.LastSeq, s.removed) + 1 + uint64((end-at)/record.MinSize)
	for at < end {
		if seq, ok := s.claimedSeq(at); ok && seq <= limit {
			highest = max(highest, seq)
		}
		next := s.behind(at)
		if next <= at {
			break
		}
		at = next
	}
	return highest
}

// claimsTombstone says whether the bad bytes at offset at look like a tombstone.
func (s *scanner) claimsTombstone(at int) bool {
	b := s.Content[at:]
	return len(b) >= 12 && binary.LittleEndian.Uint32(b) == record.MinSize && b[11]&0xc0 == 0x40
}

// torn judges a bad record at offset at behind which nothing valid follows.
func (s *scanner) torn(at int, zeros bool) bool {
	e := &s.Evidence
	switch {
	case !s.Last || s.covers(at):
		return false
	case e.DurableKnown:
		return true // it had never been durable
	}
	return zeros || s.endsInside(at) || s.cutOff(at)
}

// covers says whether the evidence proves that the bytes from offset at on had
// been durable.
func (s *scanner) covers(at int) bool {
	e := &s.Evidence
	switch {
	case e.DurableKnown:
		return e.Durable > at
	case e.LastSum != nil:
		return !s.sawLast
	}
	return e.Known // and so is a later block, or the whole stream
}

// sector is the unit in which a disk writes.
const sector = 512

// cutOff says whether the bad record at offset at is where a write was cut off,
// so that nothing behind it counts either. A power cut leaves of what was written
// since the last sync any of the sectors. The others are zeros from where the file
// had ended when it was last synced, since blocks only grow: of the first record
// that is incomplete, at least one sector is zero as far as it belongs to it and
// to what follows. Damage to a record that was there does not look like that,
// unless it takes a whole sector or the message has that many zeros; then only the
// evidence of index.db or the manifest tells.
func (s *scanner) cutOff(at int) bool {
	if !s.Last || s.covers(at) {
		return false
	}
	if s.Prefix {
		return true
	}
	raw := s.Content
	if s.Raw != nil {
		raw = s.Raw
	}
	end := at + record.MinSize
	if left := len(s.Content) - at; left >= record.MinSize {
		if size := int(binary.LittleEndian.Uint32(s.Content[at:]) &^ (1 << 31)); size > record.MinSize && size <= record.MaxSize {
			end = at + size
		}
	}
	for from := at; from < min(end, len(raw)); {
		to := min(from-from%sector+sector, len(raw))
		if allZero(raw[from:to]) {
			return true
		}
		from = to
	}
	return false
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// endsInside says that the content ends before the record at offset at does.
func (s *scanner) endsInside(at int) bool {
	left := len(s.Content) - at
	if left < record.MinSize {
		return true
	}
	size := int(binary.LittleEndian.Uint32(s.Content[at:]) &^ (1 << 31))
	return size <= record.MaxSize && size > left
}

// zeros says that nothing but zero bytes follows offset at.
func (s *scanner) zeros(at int) bool {
	return allZero(s.Content[at:]) || s.Raw != nil && allZero(s.Raw[at:])
}

// missingEnd completes damages that no message follows, and reports records
// that the evidence knows but that are not there although the block ends with a
// whole record.
func (s *scanner) missingEnd() {
	s.settle(s.boundAtEnd)
	if n := len(s.res.Damage); n > 0 && s.res.Damage[n-1].End == len(s.Content) {
		return
	}
	e := &s.Evidence
	seqs := e.Known && !e.Stale && e.nextLive(s.res.LastSeq+1) <= e.LastSeq
	if !seqs && (!s.Last || e.LastSum == nil || s.sawLast) {
		return
	}
	d := Damage{Start: len(s.Content), End: len(s.Content), Reason: reasonMissing}
	if e.Known && e.LastSeq > s.res.LastSeq {
		d.FirstSeq = s.res.LastSeq + 1
		s.bound(&d, e.LastSeq+1)
	}
	s.res.Damage = append(s.res.Damage, d)
}
