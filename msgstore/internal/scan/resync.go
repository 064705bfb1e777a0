package scan

import (
	"encoding/binary"

	"github.com/natsd/natsd/msgstore/internal/record"
)

// resyncFactor bounds the work of resynchronising: the bytes hashed in one block
// are at most its size times this factor. Ordinary damage needs a small part of
// it; bytes made to look like many long records would need the square.
const resyncFactor = 16

// resync returns the offset behind the bad record at offset bad where the
// records go on, or the length of the content.
//
// The checksum key is public and a payload may hold a whole valid record, so one
// valid record inside damaged bytes proves nothing. A candidate is accepted if
// the chain of records that begins there
//   - stays valid to the end of the block (or to the padding at its end), or
//   - reaches the record that index.db remembers as the block's last, or
//   - begins where the bad record, by its own length, ends, and holds exactly
//     the next messages that index.db or the manifest know.
//
// Sketch of cost: each offset costs a few comparisons; only those that look like
// a record are hashed.
func (s *scanner) resync(bad int) int {
	if !s.started {
		s.started = true
		s.budget = resyncFactor * len(s.Content)
		s.dead = make(map[int]bool)
	}
	if end := s.behind(bad); end > 0 && s.plausible(end) && (s.chainHolds(end) || s.chainKnown(bad, end)) {
		for at := bad + 1; at+record.MinSize <= end && s.budget > 0; at++ {
			if s.plausible(at) && s.chainReaches(at, end) {
				return at // a wrong length can end at a record by chance
			}
		}
		return end
	}
	for at := bad + 1; at+record.MinSize <= len(s.Content) && s.budget > 0; at++ {
		if s.plausible(at) && s.chainHolds(at) {
			return at
		}
	}
	return len(s.Content)
}

// behind is the end of the bad record by its own length field, or 0.
func (s *scanner) behind(bad int) int {
	if len(s.Content)-bad < record.MinSize {
		return 0
	}
	size := int(binary.LittleEndian.Uint32(s.Content[bad:]) &^ (1 << 31))
	if size < record.MinSize || size > len(s.Content)-bad-record.MinSize {
		return 0
	}
	return bad + size
}

// plausible says whether a record may begin at offset at, by looking at its
// fixed part only.
func (s *scanner) plausible(at int) bool {
	b := s.Content[at:]
	if len(b) < record.MinSize {
		return false
	}
	size := int(binary.LittleEndian.Uint32(b) &^ (1 << 31))
	if size < record.MinSize || size > len(b) || size > record.MaxSize {
		return false
	}
	subject := int(binary.LittleEndian.Uint16(b[20:]))
	seq := binary.LittleEndian.Uint64(b[4:])
	if seq&(1<<62) != 0 { // a tombstone may name any sequence
		return size == record.MinSize && subject == 0
	}
	seq &^= 1 << 63
	return record.MinSize+subject <= size && seq > s.res.LastSeq && (s.Before == 0 || seq < s.Before)
}

// chainHolds says whether the records from offset at on are valid to the end of
// the block, or to the record that the evidence knows as the last.
func (s *scanner) chainHolds(at int) bool {
	var walked []int
	for start := at; at < len(s.Content); {
		var r record.Record
		var err error
		broken := s.dead[at] || s.budget <= 0
		if !broken {
			r, err = s.decode(at)
			s.spend(at, &r)
			broken = err != nil
		}
		if broken {
			if err != nil && s.Last && at > start && s.zeros(at) {
				return true
			}
			for _, w := range append(walked, at) {
				s.dead[w] = true
			}
			return false
		}
		if e := s.Evidence.LastSum; e != nil && [record.SumSize]byte(s.Content[at+r.Size-record.SumSize:]) == *e {
			return true
		}
		walked = append(walked, at)
		at += r.Size
	}
	return true
}

// chainReaches says whether whole records go from offset at to offset end. No
// payload can hold them, since the checksum of its record comes between.
func (s *scanner) chainReaches(at, end int) bool {
	for at < end && !s.dead[at] && s.budget > 0 {
		r, err := s.decode(at)
		s.spend(at, &r)
		if err != nil {
			s.dead[at] = true
			return false
		}
		at += r.Size
	}
	return at == end
}

// spend takes what decoding at offset at has hashed from the budget.
func (s *scanner) spend(at int, r *record.Record) {
	n, left := r.Size, len(s.Content)-at
	if n == 0 && left >= record.MinSize { // it failed: at most its claimed length was hashed
		n = min(int(binary.LittleEndian.Uint32(s.Content[at:])&^(1<<31)), left)
	}
	s.budget -= max(n, 1)
}

// chainKnown says whether the messages from offset at on are exactly those that
// the evidence knows to follow the one record that the bad bytes at offset bad
// held, up to the next bad record.
func (s *scanner) chainKnown(bad, at int) bool {
	if !s.Evidence.Known {
		return false
	}
	last, ok := s.claimedSeq(bad)
	if !ok || s.liveBetween(s.res.LastSeq, last) {
		return false
	}
	messages := 0
	for at < len(s.Content) && s.budget > 0 {
		r, err := s.decode(at)
		s.spend(at, &r)
		if err != nil {
			break
		}
		if r.Kind == record.Message && r.Seq > last {
			if r.Seq > s.Evidence.LastSeq || s.liveBetween(last, r.Seq) {
				return false
			}
			last = r.Seq
			messages++
		}
		at += r.Size
	}
	return messages > 0
}

// liveBetween says whether the evidence knows a message in (a, b), both
// exclusive.
func (s *scanner) liveBetween(a, b uint64) bool {
	next := s.Evidence.nextLive(a + 1)
	return next < b && next <= s.Evidence.LastSeq
}
