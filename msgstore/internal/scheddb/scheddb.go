// Package scheddb holds the message schedules of a stream, one per subject, in
// the order in which they fire, and reads and writes sched.db, which saves them.
// What a schedule's pattern means is the business of package schedule.
package scheddb

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/btree"

	"github.com/natsd/natsd/msgstore/internal/binread"
	"github.com/natsd/natsd/msgstore/internal/tablefile"
)

// Entry is the schedule of a subject.
type Entry struct {
	At      int64 // next fire time, nanoseconds since the epoch
	Seq     uint64
	Subject string
}

func compare(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Subject, b.Subject))
}

// Table is the set of schedules. The zero value is empty and ready for use. Not
// safe for concurrent use.
type Table struct {
	tree     *btree.BTreeG[Entry]
	bySubj   map[string]Entry
	inFlight map[string]struct{}
}

const degree = 16

// Set makes e the schedule of its subject; an older one is replaced and is no
// longer in flight.
func (t *Table) Set(e Entry) {
	if t.tree == nil {
		t.tree = btree.NewG(degree, func(a, b Entry) bool { return compare(a, b) < 0 })
		t.bySubj = make(map[string]Entry)
		t.inFlight = make(map[string]struct{})
	}
	t.Cancel(e.Subject)
	t.bySubj[e.Subject] = e
	t.tree.ReplaceOrInsert(e)
}

// Cancel removes the schedule of a subject and reports whether there was one.
func (t *Table) Cancel(subject string) bool {
	e, ok := t.bySubj[subject]
	if ok {
		delete(t.bySubj, subject)
		delete(t.inFlight, subject)
		t.tree.Delete(e)
	}
	return ok
}

// CancelSeq removes the schedule of a subject if the message seq made it.
func (t *Table) CancelSeq(subject string, seq uint64) bool {
	return t.bySubj[subject].Seq == seq && t.Cancel(subject)
}

// Get returns the schedule of a subject.
func (t *Table) Get(subject string) (Entry, bool) {
	e, ok := t.bySubj[subject]
	return e, ok
}

// Len is the number of schedules.
func (t *Table) Len() int { return len(t.bySubj) }

// Next returns the schedule that fires first among those not in flight.
func (t *Table) Next() (next Entry, ok bool) {
	if t.tree == nil {
		return Entry{}, false
	}
	t.tree.Ascend(func(e Entry) bool {
		if _, busy := t.inFlight[e.Subject]; busy {
			return true
		}
		next, ok = e, true
		return false
	})
	return next, ok
}

// Due appends to dst up to limit schedules that fire at or before now and are
// not in flight, in the order of their times.
func (t *Table) Due(dst []Entry, now int64, limit int) []Entry {
	if t.tree == nil {
		return dst
	}
	end := len(dst) + limit
	t.tree.Ascend(func(e Entry) bool {
		if e.At > now || len(dst) == end {
			return false
		}
		if _, busy := t.inFlight[e.Subject]; !busy {
			dst = append(dst, e)
		}
		return true
	})
	return dst
}

// Begin marks the schedule of a subject as in flight: it is not due again until
// Set or Reset.
func (t *Table) Begin(subject string) {
	if _, ok := t.bySubj[subject]; ok {
		t.inFlight[subject] = struct{}{}
	}
}

// Reset forgets what is in flight.
func (t *Table) Reset() { clear(t.inFlight) }

// ErrCorrupt wraps the errors of Decode.
var ErrCorrupt = errors.New("corrupt schedule file")

// minEntry is the length of the shortest entry.
const minEntry = 4

// AppendTo appends the content of sched.db. stamp is the stream's last sequence
// plus one: messages from there on are not in the file.
func (t *Table) AppendTo(b []byte, stamp uint64) []byte {
	b = tablefile.AppendHead(b, t.Len(), stamp)
	if t.tree != nil {
		t.tree.Ascend(func(e Entry) bool {
			b = binary.LittleEndian.AppendUint16(b, uint16(len(e.Subject)))
			b = append(b, e.Subject...)
			b = binary.AppendVarint(b, e.At)
			b = binary.AppendUvarint(b, e.Seq)
			return true
		})
	}
	return b
}

// Decode reads sched.db. Memory is bounded by a multiple of the length of b.
func Decode(b []byte) (t *Table, stamp uint64, err error) {
	t = new(Table)
	stamp, err = tablefile.Decode(b, minEntry, func(r *binread.Reader) error {
		e := Entry{Subject: string(r.Bytes(uint64(r.U16()))), At: r.Varint(), Seq: r.Uvarint()}
		if _, twice := t.bySubj[e.Subject]; twice || e.Subject == "" {
			return fmt.Errorf("subject %q", e.Subject)
		}
		t.Set(e)
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return t, stamp, nil
}
