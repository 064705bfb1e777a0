package check

import (
	"sort"

	"github.com/natsd/natsd/msgstore/seqset"
)

// history replays the records of a stream in the order in which they were
// written, with the limits of its configuration. Limits remove messages without
// a trace, so this is the only way to know, without a valid index.db, which
// messages had gone before others were removed by hand.
type history struct {
	cfg  *config
	live *seqset.Set
	// told: only messages come that are known to live, so that no limit has removed
	// one of them.
	told bool

	entries  []entry // ascending sequences
	head     int     // entries before it are not live
	msgs     uint64
	bytes    uint64
	subjects map[string]*subject
	// limited is the highest sequence that a limit removed.
	limited uint64
}

type entry struct {
	seq  uint64
	size uint32
	subj *subject // nil if there is no limit per subject
}

type subject struct {
	seqs []uint64 // ascending; may begin with ones that are not live
	live int64
}

func newHistory(cfg *config) *history {
	return &history{cfg: cfg, live: new(seqset.Set), subjects: make(map[string]*subject)}
}

// message stores a message and applies the limits.
func (h *history) message(seq uint64, size int, name []byte) {
	e := entry{seq: seq, size: uint32(size)}
	if h.cfg.MaxPer > 0 {
		e.subj = h.subjects[string(name)]
		if e.subj == nil {
			e.subj = new(subject)
			h.subjects[string(name)] = e.subj
		}
		e.subj.seqs = append(e.subj.seqs, seq)
		e.subj.live++
	}
	h.entries = append(h.entries, e)
	h.live.Insert(seq)
	h.msgs++
	h.bytes += uint64(size)
	if h.told {
		return
	}
	h.limitSubject(e.subj)
	h.limitAll()
}

// limit applies the limits to what is there.
func (h *history) limit() {
	h.limitAll()
	for _, x := range h.subjects {
		h.limitSubject(x)
	}
}

func (h *history) limitSubject(x *subject) {
	for x != nil && x.live > h.cfg.MaxPer {
		oldest := x.seqs[0]
		x.seqs = x.seqs[1:]
		if h.remove(oldest) {
			h.limited = max(h.limited, oldest)
		}
	}
}

// limitAll removes the oldest messages until max_msgs and max_bytes hold.
func (h *history) limitAll() {
	if h.cfg.Discard == "new" {
		return
	}
	for h.cfg.MaxMsgs > 0 && h.msgs > uint64(h.cfg.MaxMsgs) || h.cfg.MaxBytes > 0 && h.bytes > uint64(h.cfg.MaxBytes) {
		for !h.live.Contains(h.entries[h.head].seq) {
			h.head++
		}
		h.limited = max(h.limited, h.entries[h.head].seq)
		h.remove(h.entries[h.head].seq)
	}
}

// remove takes a message out, if it is live.
func (h *history) remove(seq uint64) bool {
	if !h.live.Delete(seq) {
		return false
	}
	i := sort.Search(len(h.entries), func(i int) bool { return h.entries[i].seq >= seq })
	e := &h.entries[i]
	h.msgs--
	h.bytes -= uint64(e.size)
	if e.subj != nil {
		e.subj.live--
	}
	return true
}

// floor takes everything below seq out.
func (h *history) floor(seq uint64) {
	for ; h.head < len(h.entries) && h.entries[h.head].seq < seq; h.head++ {
		h.remove(h.entries[h.head].seq)
	}
	h.limited = max(h.limited, seq-min(seq, 1))
}
