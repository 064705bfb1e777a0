package consumer

import "slices"

// SetPending replaces the count of matching messages not yet delivered, which
// was counted from [Machine.CountFrom] on; last is the last sequence then.
func (m *Machine) SetPending(n, last uint64) {
	m.blocked = false
	m.count = n + uint64(len(m.list))
	m.seen = max(m.seen, last)
	m.known, m.complete, m.through = m.known[:0], n == 0, 0
}

// Bounds of the known sequences: of those that were stored last (a consumer with
// more to deliver finds them by reading on), and of those that were found.
const (
	maxKnown = 64
	maxFound = 512
)

// Found tells the sequences of all matching messages from the cursor up to
// through, in ascending order, in addition to those already known. It reports
// whether it took them all. To be called when all events up to through were.
func (m *Machine) Found(seqs []uint64, through uint64) (all bool) {
	if m.complete || len(m.list) > 0 {
		return false
	}
	m.blocked = false
	all = true
	for _, q := range seqs {
		if q < m.next || q <= m.through {
			continue
		}
		if len(m.known) >= maxFound {
			through, all = m.known[len(m.known)-1], false
			break
		}
		m.known = append(m.known, q)
	}
	m.through = max(m.through, through)
	m.complete = all && m.through >= m.seen
	return all && !m.complete
}

// Seen is the last sequence up to which the machine was told of everything that
// is of interest to it.
func (m *Machine) Seen() uint64 { return m.seen }

// Left is the number of matching messages that were not delivered.
func (m *Machine) Left() uint64 { return m.count }

// learn remembers that n messages up to last wait to be delivered.
func (m *Machine) learn(n, last uint64) {
	switch {
	case !m.is.filtered:
	case !m.complete:
	case n == 1 && len(m.known) < maxKnown:
		m.known = append(m.known, last)
	default:
		m.complete, m.through = false, 0
		if k := len(m.known); k > 0 {
			m.through = m.known[k-1]
		}
	}
}

// unlearn forgets a known sequence.
func (m *Machine) unlearn(seq uint64) {
	if len(m.known) > 0 && m.known[0] == seq {
		m.known = slices.Delete(m.known, 0, 1)
	} else if i, ok := slices.BinarySearch(m.known, seq); ok {
		m.known = slices.Delete(m.known, i, i+1)
	}
	if m.count == 0 {
		m.known, m.complete = m.known[:0], true
	}
}

// CountFrom is the sequence from which on undelivered messages are counted.
func (m *Machine) CountFrom() uint64 {
	if len(m.list) > 0 {
		return m.resume
	}
	return m.next
}
