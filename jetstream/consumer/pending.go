package consumer

import "sort"

// entry is a delivered message that waits for its acknowledgement.
type entry struct {
	sseq   uint64 // stream sequence
	dseq   uint64 // delivery sequence of the first delivery; 0: settled
	stamp  int64  // last delivery, progress or delayed nak
	due    int64  // when it expires; 0: never
	armed  int64  // deadline of its item in the heap that counts; 0: none does
	ticket uint32 // its place in the redelivery queue; 0: not queued
	count  uint32 // deliveries so far
}

// pending holds the unacknowledged messages of a consumer.
//
// First deliveries ascend in both sequences, so the entries are a queue in
// which every look-up is a subtraction or a binary search, and the lowest one
// (the floor) is its head. Settled entries stay as gaps until the head passes
// them or half of the queue is gaps.
type pending struct {
	entries []entry
	head    int // entries before it are settled; entries[head], if any, is not
	live    int
	again   int // live entries with more than one delivery

	deadlines []deadline // min-heap; stale items are dropped when popped
	queue     []ticketed // redelivery queue, FIFO; stale tickets are skipped
	qhead     int
	queued    int // live entries in the queue
	ticket    uint32
}

type deadline struct {
	due  int64
	sseq uint64
}

type ticketed struct {
	sseq   uint64
	ticket uint32
}

// slack is how many gaps or stale items are tolerated before compaction, so
// that small sets are never compacted.
const slack = 256

func (p *pending) clear() { *p = pending{ticket: p.ticket} }

// add appends a first delivery; sequences must ascend.
func (p *pending) add(e entry) {
	if p.head > slack && p.head*2 > len(p.entries) {
		n := copy(p.entries, p.entries[p.head:])
		p.entries, p.head = p.entries[:n], 0
	}
	p.entries = append(p.entries, e)
	p.live++
	if e.count > 1 {
		p.again++
	}
	p.arm(&p.entries[len(p.entries)-1])
}

// find returns the live entry of a stream sequence, or nil. The pointer is
// valid until the next add or settle.
func (p *pending) find(sseq uint64) *entry {
	i := p.search(sseq)
	if i < len(p.entries) && p.entries[i].sseq == sseq && p.entries[i].dseq != 0 {
		return &p.entries[i]
	}
	return nil
}

// search returns the index of the first entry with at least this sequence.
func (p *pending) search(sseq uint64) int {
	if p.head == len(p.entries) || sseq <= p.entries[p.head].sseq {
		return p.head
	}
	hi := len(p.entries)
	if off := sseq - p.entries[p.head].sseq; off < uint64(hi-p.head) {
		hi = p.head + int(off) // sequences are distinct: it cannot lie further back
		if p.entries[hi].sseq == sseq {
			return hi
		}
	}
	lo := p.head
	return lo + sort.Search(hi-lo, func(i int) bool { return p.entries[lo+i].sseq >= sseq })
}

// settle takes a live entry out.
func (p *pending) settle(e *entry) {
	if e.count > 1 {
		p.again--
	}
	p.unqueue(e)
	e.dseq = 0
	p.live--
	for p.head < len(p.entries) && p.entries[p.head].dseq == 0 {
		p.head++
	}
	switch {
	case p.live == 0:
		p.entries, p.head = p.entries[:0], 0
		p.deadlines = p.deadlines[:0]
		p.queue, p.qhead = p.queue[:0], 0
	case len(p.entries)-p.head > 2*p.live+slack:
		p.compact()
	}
}

// compact removes the gaps.
func (p *pending) compact() {
	n := 0
	for i := p.head; i < len(p.entries); i++ {
		if p.entries[i].dseq != 0 {
			p.entries[n] = p.entries[i]
			n++
		}
	}
	p.entries, p.head = p.entries[:n], 0
}

// trim gives memory back that an idle consumer does not need.
func (p *pending) trim() {
	if p.live > 0 {
		return
	}
	p.entries, p.deadlines, p.queue, p.head, p.qhead = nil, nil, nil, 0, 0
}

// lowest returns the live entry with the lowest sequences, or nil.
func (p *pending) lowest() *entry {
	if p.live == 0 {
		return nil
	}
	return &p.entries[p.head]
}

// each calls f for the live entries in ascending order until it returns false.
// f must not change the set.
func (p *pending) each(f func(*entry) bool) {
	for i := p.head; i < len(p.entries); i++ {
		if p.entries[i].dseq != 0 && !f(&p.entries[i]) {
			return
		}
	}
}

// enqueue puts a live entry at the tail of the redelivery queue, once. There it has
// no deadline.
func (p *pending) enqueue(e *entry) {
	if e.ticket != 0 {
		return
	}
	e.armed = 0
	p.ticket++
	if p.ticket == 0 {
		p.ticket = 1
	}
	e.ticket = p.ticket
	switch {
	case len(p.queue)-p.qhead > 2*p.queued+slack:
		p.sweep()
	case p.qhead > slack && p.qhead*2 > len(p.queue):
		n := copy(p.queue, p.queue[p.qhead:])
		p.queue, p.qhead = p.queue[:n], 0
	}
	p.queue = append(p.queue, ticketed{e.sseq, e.ticket})
	p.queued++
}

// sweep drops the stale tickets, which pile up while nothing is delivered.
func (p *pending) sweep() {
	n := 0
	for _, t := range p.queue[p.qhead:] {
		if e := p.find(t.sseq); e != nil && e.ticket == t.ticket {
			p.queue[n] = t
			n++
		}
	}
	p.queue, p.qhead = p.queue[:n], 0
}

// unqueue takes an entry out of the redelivery queue if it is there.
func (p *pending) unqueue(e *entry) {
	if e.ticket != 0 {
		e.ticket = 0
		p.queued--
	}
}

// front returns the entry at the head of the redelivery queue, or nil.
func (p *pending) front() *entry {
	for p.qhead < len(p.queue) {
		t := p.queue[p.qhead]
		if e := p.find(t.sseq); e != nil && e.ticket == t.ticket {
			return e
		}
		p.qhead++
	}
	p.queue, p.qhead = p.queue[:0], 0
	return nil
}

// peek appends the sequences of the first max queued entries to dst.
func (p *pending) peek(dst []uint64, max int) []uint64 {
	if p.front() == nil {
		return dst
	}
	for i := p.qhead; i < len(p.queue) && len(dst) < max; i++ {
		t := p.queue[i]
		if e := p.find(t.sseq); e != nil && e.ticket == t.ticket {
			dst = append(dst, t.sseq)
		}
	}
	return dst
}

// arm puts the entry's deadline into the heap.
func (p *pending) arm(e *entry) {
	if e.due == 0 {
		return
	}
	if len(p.deadlines) > 2*p.live+slack {
		p.rearm()
	}
	e.armed = e.due
	p.push(deadline{e.due, e.sseq})
}

// rearm rebuilds the heap from the live entries.
func (p *pending) rearm() {
	p.deadlines = p.deadlines[:0]
	p.each(func(e *entry) bool {
		if e.ticket == 0 && e.due != 0 {
			e.armed = e.due
			p.push(deadline{e.due, e.sseq})
		}
		return true
	})
}

// extend moves a deadline; a later one costs nothing until the old one fires.
func (p *pending) extend(e *entry, due int64) {
	e.due = due
	if e.due < e.armed || e.armed == 0 {
		p.arm(e)
	}
}

// expired pops the entry whose deadline has passed, or returns nil.
func (p *pending) expired(now int64) *entry {
	for len(p.deadlines) > 0 && p.deadlines[0].due <= now {
		d := p.pop()
		e := p.find(d.sseq)
		if e == nil || e.armed != d.due {
			continue
		}
		e.armed = 0
		if e.due > now {
			p.arm(e)
			continue
		}
		return e
	}
	return nil
}

// nextDeadline returns a time no later than the earliest deadline; 0: none.
func (p *pending) nextDeadline() int64 {
	for len(p.deadlines) > 0 {
		d := p.deadlines[0]
		if e := p.find(d.sseq); e != nil && e.armed == d.due {
			return d.due
		}
		p.pop()
	}
	return 0
}

func (d deadline) before(o deadline) bool {
	return d.due < o.due || d.due == o.due && d.sseq < o.sseq
}

func (p *pending) push(d deadline) {
	h := append(p.deadlines, d)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !d.before(h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = d
	p.deadlines = h
}

func (p *pending) pop() deadline {
	h := p.deadlines
	top := h[0]
	last := h[len(h)-1]
	h = h[:len(h)-1]
	p.deadlines = h
	if len(h) == 0 {
		return top
	}
	i := 0
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].before(h[c]) {
			c++
		}
		if !h[c].before(last) {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = last
	return top
}
