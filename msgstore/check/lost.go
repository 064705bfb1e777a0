package check

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/natsd/natsd/msgstore/internal/indexdb"
)

// loses adds the sequences of [first, last] that had been live to the lost ones
// and returns their bounds.
func (p *pass) loses(b uint64, first, last uint64, reason string) (lo, hi uint64) {
	return p.lose(p.unaccounted(b, first, last, reason))
}

// lose adds ranges to the lost ones and returns their bounds.
func (p *pass) lose(parts []Lost) (lo, hi uint64) {
	if len(parts) == 0 {
		return 0, 0
	}
	p.lost = append(p.lost, parts...)
	return parts[0].FirstSeq, parts[len(parts)-1].LastSeq
}

// unaccounted are the parts of [first, last] that can have been live, are not there,
// and that no tombstone names.
func (p *pass) unaccounted(b uint64, first, last uint64, reason string) (parts []Lost) {
	for seq := first; last > 0 && seq <= last; {
		switch {
		case p.present.Contains(seq):
			seq = p.present.NextAbsent(seq)
			continue
		case p.removed.Contains(seq):
			seq = p.removed.NextAbsent(seq)
			continue
		}
		end := last
		if next, ok := p.present.Next(seq); ok {
			end = min(end, next-1)
		}
		if next, ok := p.removed.Next(seq); ok {
			end = min(end, next-1)
		}
		for _, r := range p.possible(b, seq, end) {
			r.Reason = reason
			parts = append(parts, r)
		}
		if end == last {
			break
		}
		seq = end + 1
	}
	return parts
}

// possible are the parts of [first, last] that can have been live: what
// index.db knows to be gone was not, nor what a limit had removed.
func (p *pass) possible(number, first, last uint64) (parts []Lost) {
	if p.told != nil {
		first = max(first, p.told.Seq)
	}
	if first = max(first, p.history.limited+1); first > last {
		return nil
	}
	if p.index == nil {
		return []Lost{{FirstSeq: first, LastSeq: last}}
	}
	if last > p.index.LastSeq {
		from := max(first, p.index.LastSeq+1)
		parts = append(parts, Lost{FirstSeq: from, LastSeq: last})
		last = from - 1
	}
	e := p.evidence(number)
	if !e.Known || first > last {
		return parts
	}
	first, last = max(first, e.FirstSeq), min(last, e.LastSeq)
	var known []Lost
	for seq := first; seq <= last; {
		end := last
		if e.Deleted != nil {
			if seq = e.Deleted.NextAbsent(seq); seq > last {
				break
			}
			if next, ok := e.Deleted.Next(seq); ok {
				end = min(end, next-1)
			}
		}
		known = append(known, Lost{FirstSeq: seq, LastSeq: end})
		seq = end + 1
	}
	return append(known, parts...)
}

func (p *pass) reportDamages() {
	for _, d := range p.damages {
		lo, hi := p.loses(d.b.number, d.FirstSeq, d.LastSeq, d.Reason)
		if d.b.unreadable != nil {
			continue // reported when it was read
		}
		sev, kind := Damage, KindBadRecord
		switch {
		case d.Torn && d.Reason == "zero bytes":
			sev, kind = Repairable, KindZeroTail
		case d.Torn:
			sev, kind = Repairable, KindTornTail
		case d.Start == d.End:
			kind = KindMissingRecords
		}
		f := p.find(sev, kind, d.b.path, fmt.Sprintf("%s (%d bytes)", d.Reason, d.End-d.Start))
		f.Offset, f.FirstSeq, f.LastSeq = int64(d.Start), lo, hi
	}
}

// reportMissingBlocks judges block numbers without a file. Numbers are never
// used twice, so a gap alone is normal: a block is removed when its last message
// is.
func (p *pass) reportMissingBlocks() {
	if p.index != nil {
		have := func(n uint64) bool {
			return slices.ContainsFunc(p.blocks, func(b *block) bool { return b.number == n })
		}
		for i := range p.index.Blocks {
			k := &p.index.Blocks[i]
			if k.Msgs() == 0 || have(k.Number) || p.onlyBlock != 0 || p.explained(k) {
				continue
			}
			parts := p.unaccounted(k.Number, k.FirstSeq, k.LastSeq, "block file is missing")
			if len(parts) == 0 {
				continue // all of it was removed since
			}
			if !p.exact && !p.ahead && !p.ours && (p.removed.CountRange(k.FirstSeq, k.LastSeq) > 0 && count(parts) <= 1 || k.FirstSeq <= p.history.limited || !p.between(k.Number)) {
				// Removed since, by a server that leaves no floor.db: by tombstones, but for
				// the last message, with which the file goes; by limits; or from the front.
				continue
			}
			path := filepath.Join(p.msgs, fmt.Sprintf("%d.blk", k.Number))
			lo, hi := p.lose(parts)
			f := p.find(Damage, KindMissingBlock, path, fmt.Sprintf("%s lists this block with %d messages", filepath.Base(p.evidencePath()), k.Msgs()))
			f.FirstSeq, f.LastSeq = lo, hi
		}
		return
	}
	for _, n := range p.missing {
		i := slices.IndexFunc(p.blocks, func(b *block) bool { return b.number > n })
		if i <= 0 {
			continue
		}
		first, last := p.blocks[i-1].lastSeq+1, p.blocks[i].firstSeq-1
		if p.blocks[i].firstSeq == 0 || first > last || p.blocks[i-1].lastSeq == 0 {
			continue
		}
		path := filepath.Join(p.msgs, fmt.Sprintf("%d.blk", n))
		if p.gone(n) || !p.plainLimits() || p.removed.CountRange(first, last) > 0 || first <= p.history.limited {
			continue // an ordinary removal explains it
		}
		lo, hi := p.loses(n, first, last, "block file is missing")
		f := p.find(Damage, KindMissingBlock, path, "the sequences between its neighbours are gone and nothing says that they were removed")
		f.FirstSeq, f.LastSeq = lo, hi
	}
}

// explained says whether floor.db says that the messages of a block are gone.
func (p *pass) explained(k *indexdb.Block) bool {
	f := p.told
	return f != nil && (slices.Contains(f.Gone, uint32(k.Number)) || k.LastSeq < f.Seq)
}

// count is the number of sequences in ranges.
func count(parts []Lost) (n uint64) {
	for _, l := range parts {
		n += l.LastSeq - l.FirstSeq + 1
	}
	return n
}

// between says whether a block number lies between existing blocks.
func (p *pass) between(n uint64) bool {
	return len(p.blocks) > 0 && p.blocks[0].number < n
}

// plainLimits says whether messages of the stream go away from its front only,
// unless somebody removes them, which leaves tombstones.
func (p *pass) plainLimits() bool {
	return (p.cfg.Retention == "" || p.cfg.Retention == "limits") && p.cfg.MaxPer <= 0
}

func mergeLost(list []Lost) []Lost {
	slices.SortFunc(list, func(a, b Lost) int {
		if a.FirstSeq < b.FirstSeq {
			return -1
		}
		return 1
	})
	var out []Lost
	for _, l := range list {
		if n := len(out); n > 0 && l.FirstSeq <= out[n-1].LastSeq {
			if l.LastSeq <= out[n-1].LastSeq {
				continue
			}
			l.FirstSeq = out[n-1].LastSeq + 1
		}
		if n := len(out); n > 0 && l.FirstSeq == out[n-1].LastSeq+1 && l.Reason == out[n-1].Reason {
			out[n-1].LastSeq = l.LastSeq
			continue
		}
		out = append(out, l)
	}
	return out
}
