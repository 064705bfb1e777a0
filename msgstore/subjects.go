package msgstore

import (
	"bytes"
	"unsafe"

	"github.com/natsd/natsd/subjecttree"
)

// inexact marks a bound in a subjectInfo.
const inexact = uint64(1) << 63

// subjectInfo is what the store remembers of a subject with live messages.
type subjectInfo struct {
	total uint64
	// first and last are the sequences of its first and last message. With the
	// bit inexact they are bounds: the first message is not before, the last one
	// not behind that sequence.
	first, last uint64
}

func (i *subjectInfo) lower() uint64 { return i.first &^ inexact }
func (i *subjectInfo) upper() uint64 { return i.last &^ inexact }

// subjectIndex maps the subjects of the live messages to their numbers.
// It is guarded by store.mu. What get returns, and the subjects that callbacks
// get, are good until it changes.
type subjectIndex struct {
	tree *subjecttree.Index[subjectInfo]
}

func newSubjectIndex() *subjectIndex {
	return &subjectIndex{tree: subjecttree.NewIndex(func(i *subjectInfo) (uint64, uint64) { return i.total, 0 })}
}

// bytesOf is a view of a string that nobody writes to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// stringOf is a view of bytes that do not change while it is used.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (x *subjectIndex) len() int { return x.tree.Len() }

// get returns the entry of a literal subject, or nil.
func (x *subjectIndex) get(subject string) *subjectInfo { return x.tree.Find(bytesOf(subject)) }

// add counts a message behind all others, and returns how many there are of its
// subject.
func (x *subjectIndex) add(subject []byte, seq uint64) (total uint64) {
	x.tree.Upsert(subject, func(i *subjectInfo, found bool) {
		if !found {
			i.first = seq
		}
		i.total++
		i.last = seq
		total = i.total
	})
	return total
}

// remove uncounts the message seq.
func (x *subjectIndex) remove(subject []byte, seq uint64) {
	left := uint64(0)
	known := x.tree.Update(subject, func(i *subjectInfo) {
		i.total--
		left = i.total
		switch {
		case i.total == 1 && seq == i.first && i.last&inexact == 0:
			i.first = i.last
		case i.total == 1 && seq == i.last && i.first&inexact == 0:
			i.last = i.first
		case seq == i.first:
			i.first = (seq + 1) | inexact
		case seq == i.last:
			i.last = (seq - 1) | inexact
		}
	})
	if known && left == 0 {
		x.tree.Delete(subject)
	}
}

// removeUnknown uncounts the message seq, whose subject cannot be read, if the index
// knows it as the first or the last one of a subject. It looks at all of them.
func (x *subjectIndex) removeUnknown(seq uint64) {
	var subject []byte
	x.tree.Iterate(func(s []byte, i *subjectInfo) bool {
		if i.first == seq || i.last == seq {
			subject = bytes.Clone(s)
		}
		return subject == nil
	})
	if subject != nil {
		x.remove(subject, seq)
	}
}

// match calls fn with every subject that matches the pattern, until it returns
// false.
func (x *subjectIndex) match(p *pattern, fn func(subject []byte, i *subjectInfo) bool) {
	if p.literal {
		if i := x.get(p.subject); i != nil {
			fn(bytesOf(p.subject), i)
		}
		return
	}
	x.tree.MatchUntil(bytesOf(p.subject), fn)
}

// matchAny calls fn once for every subject that matches the filter, until it
// returns false.
func (x *subjectIndex) matchAny(f *Filter, fn func(subject []byte, i *subjectInfo) bool) {
	if f == nil {
		x.tree.Iterate(fn)
		return
	}
	more := true
	for n := 0; n < len(f.patterns) && more; n++ {
		x.match(&f.patterns[n], func(s []byte, i *subjectInfo) bool {
			for k := range n {
				if f.patterns[k].match(stringOf(s)) {
					return true // an earlier pattern had it
				}
			}
			more = fn(s, i)
			return more
		})
	}
}

// sum adds up the messages of the subjects that match.
func (x *subjectIndex) sum(f *Filter) uint64 {
	if f == nil {
		return x.tree.Total().Count
	}
	if len(f.patterns) == 1 && !f.patterns[0].literal {
		return x.tree.SumMatch(bytesOf(f.patterns[0].subject)).Count
	}
	var n uint64
	x.matchAny(f, func(_ []byte, i *subjectInfo) bool {
		n += i.total
		return true
	})
	return n
}
