package jetstream

import "time"

// dedup remembers the ids of messages for the duplicate window. It holds what
// is accepted and not yet durable as well, so that two publishes in flight see
// each other. It belongs to the stream's turn.
type dedup struct {
	window time.Duration // 0: off
	ids    map[string]dedupEntry
	order  []dedupID // by time of acceptance; head is the oldest
	head   int
}

type dedupEntry struct {
	seq  uint64
	time int64 // of the message, ns
}

type dedupID struct {
	id  string
	seq uint64
}

// find returns the sequence of the message with this id. An entry whose age has
// reached the window does not count, whether or not prune has come by.
func (d *dedup) find(id []byte, now int64) (seq uint64, ok bool) {
	e, ok := d.ids[string(id)]
	if !ok || now-e.time >= int64(d.window) {
		return 0, false
	}
	return e.seq, true
}

// add remembers an id. It replaces an entry that has outlived the window.
func (d *dedup) add(id string, seq uint64, time int64) {
	if d.window <= 0 {
		return
	}
	if d.ids == nil {
		d.ids = make(map[string]dedupEntry)
	}
	d.ids[id] = dedupEntry{seq, time}
	d.order = append(d.order, dedupID{id, seq})
}

// forgetAbove drops the ids of messages that failed to be stored.
func (d *dedup) forgetAbove(seq uint64) {
	for n := len(d.order); n > d.head && d.order[n-1].seq > seq; n-- {
		last := d.order[n-1]
		if d.ids[last.id].seq == last.seq {
			delete(d.ids, last.id)
		}
		d.order[n-1] = dedupID{}
		d.order = d.order[:n-1]
	}
}

// prune drops what has outlived the window and returns when the next entry will
// have, or 0.
func (d *dedup) prune(now int64) (next int64) {
	for ; d.head < len(d.order); d.head++ {
		o := d.order[d.head]
		e, ok := d.ids[o.id]
		if ok && e.seq == o.seq {
			if now-e.time < int64(d.window) {
				next = e.time + int64(d.window)
				break
			}
			delete(d.ids, o.id)
		}
		d.order[d.head] = dedupID{}
	}
	if d.head == len(d.order) {
		d.order, d.head = nil, 0
		d.ids = nil // a map does not shrink
	} else if d.head > len(d.order)/2 {
		d.order = append([]dedupID(nil), d.order[d.head:]...)
		d.head = 0
	}
	return next
}
