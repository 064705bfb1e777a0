// Package wheel holds what expires when: the messages with a TTL of a stream,
// and thw.db, the file that saves them.
//
// The reference keeps them in a hashed timing wheel of 4,096 slots, hence the
// name. Here it is a tree ordered by expiry: next due is its first entry, and
// everything costs O(log n).
package wheel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/btree"

	"github.com/natsd/natsd/msgstore/internal/binread"
	"github.com/natsd/natsd/msgstore/internal/tablefile"
)

// Entry is a message that expires.
type Entry struct {
	At  int64 // nanoseconds since the epoch
	Seq uint64
}

func compare(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq))
}

// Wheel is a set of entries ordered by time. The zero value is empty and ready
// for use. Not safe for concurrent use.
type Wheel struct{ tree *btree.BTreeG[Entry] }

const degree = 32

// Add registers e. Adding it twice is adding it once.
func (w *Wheel) Add(e Entry) {
	if w.tree == nil {
		w.tree = btree.NewG(degree, func(a, b Entry) bool { return compare(a, b) < 0 })
	}
	w.tree.ReplaceOrInsert(e)
}

// Remove takes e out and reports whether it was there.
func (w *Wheel) Remove(e Entry) bool {
	if w.tree == nil {
		return false
	}
	_, ok := w.tree.Delete(e)
	return ok
}

// RemoveSeqs takes out the entries of the sequences for which gone is true. It looks at
// all of them.
func (w *Wheel) RemoveSeqs(gone func(seq uint64) bool) {
	if w.tree == nil {
		return
	}
	var list []Entry
	w.tree.Ascend(func(e Entry) bool {
		if gone(e.Seq) {
			list = append(list, e)
		}
		return true
	})
	for _, e := range list {
		w.tree.Delete(e)
	}
}

// Len is the number of entries.
func (w *Wheel) Len() int {
	if w.tree == nil {
		return 0
	}
	return w.tree.Len()
}

// Next returns the entry that expires first.
func (w *Wheel) Next() (Entry, bool) {
	if w.tree == nil {
		return Entry{}, false
	}
	return w.tree.Min()
}

// Due appends to dst, in order, up to limit entries that expire at or before now
// and come after the entry after (one at math.MinInt64 for the first portion). They
// stay in the wheel until they are removed.
func (w *Wheel) Due(dst []Entry, now int64, after Entry, limit int) []Entry {
	if w.tree == nil || limit <= 0 {
		return dst
	}
	end := len(dst) + limit
	w.tree.AscendGreaterOrEqual(after, func(e Entry) bool {
		if e.At > now || len(dst) == end {
			return false
		}
		if e != after {
			dst = append(dst, e)
		}
		return true
	})
	return dst
}

// ErrCorrupt wraps the errors of Decode.
var ErrCorrupt = errors.New("corrupt TTL file")

// minEntry is the length of the shortest entry.
const minEntry = 2

// AppendTo appends the content of thw.db. stamp is the stream's last sequence
// plus one: messages from there on are not in the file.
func (w *Wheel) AppendTo(b []byte, stamp uint64) []byte {
	b = tablefile.AppendHead(b, w.Len(), stamp)
	if w.tree != nil {
		w.tree.Ascend(func(e Entry) bool {
			b = binary.AppendVarint(b, e.At)
			b = binary.AppendUvarint(b, e.Seq)
			return true
		})
	}
	return b
}

// Decode reads thw.db. Memory is bounded by a multiple of the length of b.
func Decode(b []byte) (w *Wheel, stamp uint64, err error) {
	w = new(Wheel)
	stamp, err = tablefile.Decode(b, minEntry, func(r *binread.Reader) error {
		w.Add(Entry{At: r.Varint(), Seq: r.Uvarint()})
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return w, stamp, nil
}
