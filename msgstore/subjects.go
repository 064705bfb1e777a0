package msgstore

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
// It is guarded by store.mu.
type subjectIndex struct {
	m map[string]*subjectInfo
}

func newSubjectIndex() *subjectIndex {
	return &subjectIndex{m: make(map[string]*subjectInfo)}
}

func (x *subjectIndex) len() int { return len(x.m) }

// get returns the entry of a literal subject, or nil.
func (x *subjectIndex) get(subject string) *subjectInfo { return x.m[subject] }

// add counts a message behind all others.
func (x *subjectIndex) add(subject []byte, seq uint64) *subjectInfo {
	i := x.m[string(subject)]
	if i == nil {
		i = &subjectInfo{first: seq}
		x.m[string(subject)] = i
	}
	i.total++
	i.last = seq
	return i
}

// remove uncounts the message seq.
func (x *subjectIndex) remove(subject []byte, seq uint64) {
	i := x.m[string(subject)]
	if i == nil {
		return
	}
	i.total--
	switch {
	case i.total == 0:
		delete(x.m, string(subject))
	case i.total == 1 && seq == i.first && i.last&inexact == 0:
		i.first = i.last
	case i.total == 1 && seq == i.last && i.first&inexact == 0:
		i.last = i.first
	case seq == i.first:
		i.first = (seq + 1) | inexact
	case seq == i.last:
		i.last = (seq - 1) | inexact
	}
}

// match calls fn with every subject that matches the pattern, in no particular
// order, until it returns false.
func (x *subjectIndex) match(p *pattern, fn func(subject string, i *subjectInfo) bool) {
	if p.literal {
		if i := x.m[p.subject]; i != nil {
			fn(p.subject, i)
		}
		return
	}
	for s, i := range x.m {
		if p.match(s) && !fn(s, i) {
			return
		}
	}
}

// matchAny calls fn once for every subject that matches the filter.
func (x *subjectIndex) matchAny(f *Filter, fn func(subject string, i *subjectInfo) bool) {
	if f == nil {
		for s, i := range x.m {
			if !fn(s, i) {
				return
			}
		}
		return
	}
	if len(f.patterns) == 1 {
		x.match(&f.patterns[0], fn)
		return
	}
	more := true
	for n := range f.patterns {
		x.match(&f.patterns[n], func(s string, i *subjectInfo) bool {
			for k := range n {
				if f.patterns[k].match(s) {
					return true // an earlier pattern had it
				}
			}
			more = fn(s, i)
			return more
		})
		if !more {
			return
		}
	}
}

// sum adds up the messages of the subjects that match.
func (x *subjectIndex) sum(f *Filter) uint64 {
	var n uint64
	x.matchAny(f, func(_ string, i *subjectInfo) bool {
		n += i.total
		return true
	})
	return n
}
