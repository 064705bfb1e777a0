package msgstore

import (
	"slices"
	"unsafe"
)

// Memory for loaded messages comes in pieces that are never written twice, so
// that what was loaded stays valid. A large message gets a piece of its own.
const (
	minPiece   = 512
	maxPiece   = 64 << 10
	largePiece = maxPiece / 4
	// keptPieces bounds what a batch keeps for reuse: 2 MiB.
	keptPieces = 32
)

// take returns n bytes of the memory in *mem, of which it takes more if need be.
func take(mem *[]byte, n int) []byte {
	if n > cap(*mem)-len(*mem) {
		if n >= largePiece {
			return make([]byte, n)
		}
		*mem = make([]byte, 0, max(min(4*cap(*mem), maxPiece), minPiece, n))
	}
	at := len(*mem)
	*mem = (*mem)[:at+n]
	return (*mem)[at : at+n : at+n]
}

// copyOut fills sm with the message e of c, in memory from mem.
func copyOut(sm *StoredMsg, c *cache, e *ent, mem *[]byte) {
	subject, header, data := c.parts(e)
	b := take(mem, len(subject)+len(header)+len(data))
	n := copy(b, subject)
	n += copy(b[n:], header)
	copy(b[n:], data)
	sm.Subject = unsafe.String(unsafe.SliceData(b), len(subject))
	sm.Header = nil
	if len(header) > 0 {
		sm.Header = b[len(subject):n:n]
	}
	sm.Data = b[n:]
	sm.Seq = e.seq
	sm.Time = c.time(e)
}

func (sm *StoredMsg) fill(c *cache, e *ent) { copyOut(sm, c, e, &sm.mem) }

// LoadMsg implements Store.
func (s *store) LoadMsg(seq uint64, sm *StoredMsg) (*StoredMsg, error) {
	if sm == nil {
		sm = new(StoredMsg)
	}
	for {
		s.mu.RLock()
		c, e, err := s.lookup(seq)
		if err == nil {
			sm.fill(c, e)
			s.mu.RUnlock()
			return sm, nil
		}
		s.mu.RUnlock()
		m, ok := err.(*missing)
		if !ok {
			return nil, err
		}
		if err := s.disk.load(m.b); err != nil {
			return nil, err
		}
	}
}

// Has implements Store.
func (s *store) Has(seq uint64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed || s.msgs == 0 || seq < s.first.seq || seq > s.last.seq {
		return false
	}
	i := s.blockOf(seq)
	return i < len(s.blocks) && s.blocks[i].live(seq)
}

// lookup finds a live message. The caller holds mu for reading. The error may
// be *missing.
func (s *store) lookup(seq uint64) (*cache, *ent, error) {
	switch {
	case s.closed:
		return nil, nil, ErrStoreClosed
	case seq > s.last.seq:
		return nil, nil, ErrStoreEOF
	case seq == 0 || s.msgs == 0 || seq < s.first.seq:
		return nil, nil, ErrStoreMsgNotFound
	}
	i := s.blockOf(seq)
	if i == len(s.blocks) {
		return nil, nil, ErrStoreMsgNotFound
	}
	b := s.blocks[i]
	if !b.live(seq) {
		if b.msgs > 0 && seq > b.first.seq {
			return nil, nil, ErrDeletedMsg
		}
		return nil, nil, ErrStoreMsgNotFound
	}
	return s.fetch(b, seq)
}

// fetch returns the record of a live message.
func (s *store) fetch(b *block, seq uint64) (*cache, *ent, error) {
	c, err := s.single(b, seq)
	if err != nil {
		return nil, nil, err
	}
	n, ok := c.at(seq)
	if !ok {
		return nil, nil, c.damage(b, seq)
	}
	return c, &c.ents[n], nil
}

// damage explains why a live message is not among the records of its block.
func (c *cache) damage(b *block, seq uint64) error {
	for i := range c.bad {
		if r := &c.bad[i]; r.first == 0 || seq >= r.first && seq <= r.last {
			return &BadRecordError{Block: b.num, Offset: r.off, Seq: seq, Detail: r.detail}
		}
	}
	return &BadRecordError{Block: b.num, Offset: -1, Seq: seq, Detail: ErrNoBlockData.Error()}
}

// LoadLastMsg implements Store.
func (s *store) LoadLastMsg(subject string, sm *StoredMsg) (*StoredMsg, error) {
	if sm == nil {
		sm = new(StoredMsg)
	}
	f := NewFilter(subject)
	start := uint64(0)
	err := s.read(func() error {
		if s.msgs == 0 {
			return ErrStoreMsgNotFound
		}
		if f != nil {
			if start == 0 {
				if start = s.lastBound(f); start == 0 {
					return ErrStoreMsgNotFound
				}
			}
			c, e, _, err := s.prev(f, &start)
			if err == ErrStoreEOF {
				return ErrStoreMsgNotFound
			}
			if err == nil {
				sm.fill(c, e)
			}
			return err
		}
		c, e, err := s.lookup(s.last.seq)
		if err == ErrDeletedMsg {
			err = ErrStoreMsgNotFound
		}
		if err != nil {
			return err
		}
		sm.fill(c, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sm, nil
}

// lastBound is a sequence behind which no message matches; 0 if none does.
func (s *store) lastBound(f *Filter) uint64 {
	if s.index == nil {
		return s.last.seq
	}
	var last uint64
	s.index.matchAny(f, func(_ []byte, i *subjectInfo) bool {
		last = max(last, i.upper())
		return true
	})
	return last
}

// LoadNextMsg implements Store.
func (s *store) LoadNextMsg(filter string, start uint64, sm *StoredMsg) (*StoredMsg, uint64, error) {
	return s.LoadNextMsgMulti(NewFilter(filter), start, sm)
}

// LoadNextMsgMulti implements Store.
func (s *store) LoadNextMsgMulti(f *Filter, start uint64, sm *StoredMsg) (*StoredMsg, uint64, error) {
	if sm == nil {
		sm = new(StoredMsg)
	}
	var seq uint64
	err := s.read(func() error {
		c, e, at, err := s.next(f, &start, s.last.seq, nil)
		seq = at
		if err != nil {
			return err
		}
		sm.fill(c, e)
		return nil
	})
	if err != nil {
		return nil, seq, err
	}
	return sm, seq, nil
}

// next finds the first live match in [*start, through] and its sequence. It
// moves *start over what it has looked at, so that a retry does not do so again.
// With scan it looks at no more than *scan messages. Errors: *missing;
// ErrStoreEOF with the last sequence; *BadRecordError with the sequence; nil
// and no entry when *scan is used up.
func (s *store) next(f *Filter, start *uint64, through uint64, scan *int) (*cache, *ent, uint64, error) {
	*start = max(*start, s.first.seq)
	through = min(through, s.last.seq)
	lo, hi := s.bounds(f, *start, through)
	if s.msgs == 0 || lo > hi {
		return nil, nil, s.last.seq, ErrStoreEOF
	}
	*start = lo
	var few [4]uint32
	names := f.names(few[:0])
	var sparse *sparseSearch
	looked, askAt := 0, sparseAfter
	i := s.blockOf(lo)
blocks:
	for i < len(s.blocks) {
		b := s.blocks[i]
		seq, ok := b.nextLive(*start)
		if ok && names != nil {
			seq, ok = s.candidate(b, names, seq)
		}
		if !ok {
			*start = max(*start, b.last.seq+1)
			i++
			continue
		}
		if seq > hi {
			break
		}
		*start = seq
		c, err := s.cachedFrom(b, seq)
		if seq == b.first.seq && i > 0 {
			s.leave(s.blocks[i-1], err == nil)
		}
		if err != nil {
			return nil, nil, 0, err
		}
		if seq == b.first.seq {
			b.inside.Add(1)
		}
		n := c.find(seq)
		for {
			if n == len(c.ents) || c.ents[n].seq > seq {
				return nil, nil, seq, c.damage(b, seq)
			}
			e := &c.ents[n]
			if scan != nil {
				if *scan--; *scan < 0 {
					return nil, nil, seq, nil
				}
			}
			if f == nil || f.matchBytes(c.subject(e)) {
				*start = seq
				return c, e, seq, nil
			}
			if looked++; looked == askAt {
				askAt *= 4
				if sparse == nil {
					sparse = &sparseSearch{names: slices.Clone(names)}
				}
				var useful bool
				if *start, hi, useful = sparse.ask(s, f, seq+1, hi); useful {
					if names = sparse.names; names != nil {
						s.tabulate(b, c)
					}
					i = s.blockOf(*start)
					continue blocks
				}
			}
			if n++; b.deleted.Len() == 0 && n < len(c.ents) && c.ents[n].seq == seq+1 && seq < b.last.seq && seq < hi {
				seq++ // no need to ask
				continue
			}
			if seq, ok = b.nextLive(seq + 1); !ok || seq > hi {
				break
			}
			for ; n < len(c.ents) && c.ents[n].seq < seq; n++ {
			}
		}
		*start = b.last.seq + 1
		i++
	}
	*start = through + 1
	return nil, nil, s.last.seq, ErrStoreEOF
}

// leave is called when a scan goes on behind b, and before it, if the next block
// is to be loaded. The content of an old block is not worth its memory when the
// last scan has left it.
func (s *store) leave(b *block, gone bool) {
	if s.disk == nil {
		return
	}
	inside := b.inside.Load() - 1
	if gone {
		inside = b.inside.Add(-1)
	}
	if inside <= 0 && b.cache.Load() != nil {
		s.disk.host.drop(b)
	}
}

// boundsLimit is how many subjects bounds looks at before it gives up.
const boundsLimit = 64

// bounds narrows [lo, hi] to where the subjects that match can be. It gives up
// when too many match.
func (s *store) bounds(f *Filter, lo, hi uint64) (uint64, uint64) {
	if f == nil || s.index == nil {
		return lo, hi
	}
	for i := range f.patterns {
		if !f.patterns[i].literal {
			return lo, hi
		}
	}
	if len(f.patterns) > boundsLimit {
		return lo, hi
	}
	first, last := ^uint64(0), uint64(0)
	for i := range f.patterns {
		if info := s.index.get(f.patterns[i].subject); info != nil {
			first = min(first, info.lower())
			last = max(last, info.upper())
		}
	}
	return max(lo, first), min(hi, last)
}

// LoadPrevMsg implements Store.
func (s *store) LoadPrevMsg(filter string, start uint64, sm *StoredMsg) (*StoredMsg, uint64, error) {
	return s.LoadPrevMsgMulti(NewFilter(filter), start, sm)
}

// LoadPrevMsgMulti implements Store.
func (s *store) LoadPrevMsgMulti(f *Filter, start uint64, sm *StoredMsg) (*StoredMsg, uint64, error) {
	if sm == nil {
		sm = new(StoredMsg)
	}
	var seq uint64
	err := s.read(func() error {
		c, e, at, err := s.prev(f, &start)
		seq = at
		if err != nil {
			return err
		}
		sm.fill(c, e)
		return nil
	})
	if err != nil {
		return nil, seq, err
	}
	return sm, seq, nil
}

// prev is next backwards, from *start down.
func (s *store) prev(f *Filter, start *uint64) (*cache, *ent, uint64, error) {
	*start = min(*start, s.last.seq)
	lo, hi := s.bounds(f, s.first.seq, *start)
	if s.msgs == 0 || lo > hi {
		return nil, nil, s.first.seq, ErrStoreEOF
	}
	*start = hi
	i := min(s.blockOf(hi), len(s.blocks)-1)
	for ; i >= 0; i-- {
		b := s.blocks[i]
		if b.msgs == 0 || b.first.seq > *start {
			continue
		}
		if b.last.seq < lo {
			break
		}
		seq := min(*start, b.last.seq)
		c, err := s.cachedFrom(b, seq)
		if err != nil {
			return nil, nil, 0, err
		}
		for seq >= max(lo, b.first.seq) {
			var ok bool
			if seq, ok = b.deleted.PrevAbsent(seq); !ok || seq < max(lo, b.first.seq) {
				break
			}
			*start = seq
			if seq < c.from {
				if c, err = s.cached(b); err != nil {
					return nil, nil, 0, err
				}
			}
			n, ok := c.at(seq)
			if !ok {
				return nil, nil, seq, c.damage(b, seq)
			}
			e := &c.ents[n]
			if f == nil || f.matchBytes(c.subject(e)) {
				return c, e, seq, nil
			}
			seq--
		}
		*start = b.first.seq - 1
	}
	return nil, nil, s.first.seq, ErrStoreEOF
}

// LoadBatch implements Store.
func (s *store) LoadBatch(f *Filter, start uint64, limit BatchLimit, b *Batch) (uint64, error) {
	through := limit.Through
	if through == 0 {
		through = ^uint64(0)
	}
	scan := &limit.Scan
	if limit.Scan <= 0 {
		scan = nil
	}
	msgs, bytes := 0, 0
	next := start
	err := s.read(func() error {
		for {
			c, e, seq, err := s.next(f, &start, through, scan)
			switch {
			case err == ErrStoreEOF:
				if next = max(start, s.first.seq); through < s.last.seq {
					next = max(next, through+1)
				} else {
					next = max(next, s.last.seq+1)
				}
				return nil
			case err != nil:
				if _, bad := err.(*BadRecordError); !bad {
					return err
				}
				if next = seq; msgs > 0 {
					return nil
				}
				return err
			case e == nil:
				next = seq
				return nil
			}
			size := int(e.size)
			if msgs > 0 && limit.Bytes > 0 && bytes+size > limit.Bytes {
				next = seq
				return nil
			}
			b.add(c, e)
			msgs++
			bytes += size
			start = seq + 1
			next = start
			if limit.Msgs > 0 && msgs >= limit.Msgs {
				return nil
			}
			if f == nil && (limit.Bytes <= 0 || bytes < limit.Bytes) {
				left := BatchLimit{Msgs: limit.Msgs - msgs, Bytes: limit.Bytes - bytes, Through: through}
				if scan != nil && (limit.Msgs <= 0 || *scan < left.Msgs) {
					left.Msgs = *scan
				}
				n, size := s.onward(c, seq, left, b)
				if scan != nil {
					*scan -= n
				}
				msgs += n
				bytes += size
				start += uint64(n)
				next = start
				if limit.Msgs > 0 && msgs >= limit.Msgs {
					return nil
				}
			}
		}
	})
	return next, err
}

// onward appends the messages that come right behind seq, which next has found in
// c, as far as they are in the same block without a gap. It is the short way of
// those who read everything. Limits that are negative do not limit.
func (s *store) onward(c *cache, seq uint64, limit BatchLimit, b *Batch) (n, size int) {
	blk := s.blocks[s.blockOf(seq)]
	through := min(limit.Through, blk.last.seq)
	gaps := blk.deleted.Len() > 0
	at, _ := c.at(seq)
	for at++; at < len(c.ents) && seq < through && n != limit.Msgs; at++ {
		e := &c.ents[at]
		if e.seq != seq+1 || gaps && blk.deleted.Contains(e.seq) || limit.Bytes >= 0 && size+int(e.size) > limit.Bytes {
			break
		}
		b.add(c, e)
		seq++
		n++
		size += int(e.size)
	}
	return n, size
}

func (b *Batch) add(c *cache, e *ent) {
	if int(e.size) > cap(b.mem)-len(b.mem) && e.size < largePiece {
		b.piece(int(e.size))
	}
	n := len(b.Msgs)
	if n < cap(b.Msgs) {
		b.Msgs = b.Msgs[:n+1]
	} else {
		b.Msgs = append(b.Msgs, StoredMsg{})
	}
	copyOut(&b.Msgs[n], c, e, &b.mem)
}

// piece begins another piece of memory, with room for n bytes.
func (b *Batch) piece(n int) {
	if cap(b.mem) >= maxPiece {
		b.full = append(b.full, b.mem)
	}
	if k := len(b.free); k > 0 {
		b.mem = b.free[k-1]
		b.free[k-1] = nil
		b.free = b.free[:k-1]
	} else {
		b.mem = make([]byte, 0, max(min(4*cap(b.mem), maxPiece), minPiece, n))
	}
}

// LoadMsgs implements Store.
func (s *store) LoadMsgs(seqs []uint64, b *Batch) error {
	_, err := s.loadMsgs(seqs, 0, b)
	return err
}

// loadMsgs is LoadMsgs, but leaves out what follows maxBytes of messages, if that is
// positive. loaded is how many sequences it came to.
func (s *store) loadMsgs(seqs []uint64, maxBytes int, b *Batch) (loaded int, err error) {
	var first error
	bytes := 0
	err = s.read(func() error {
		for ; loaded < len(seqs) && (maxBytes <= 0 || bytes < maxBytes); loaded++ {
			c, e, err := s.lookup(seqs[loaded])
			switch err := err.(type) {
			case nil:
				b.add(c, e)
				bytes += int(e.size)
			case *missing:
				return err
			case *BadRecordError:
				if first == nil {
					first = err
				}
			}
		}
		return nil
	})
	if err == nil {
		err = first
	}
	return loaded, err
}

// SubjectForSeq implements Store.
func (s *store) SubjectForSeq(seq uint64) (string, error) {
	var subject string
	err := s.read(func() error {
		c, e, err := s.lookup(seq)
		if err == ErrStoreEOF || err == ErrDeletedMsg {
			return ErrStoreMsgNotFound
		}
		if err != nil {
			return err
		}
		subject = string(c.subject(e))
		return nil
	})
	return subject, err
}

// GetSeqFromTime implements Store.
func (s *store) GetSeqFromTime(t int64) uint64 {
	var seq, from uint64
	err := s.read(func() error {
		for _, b := range s.blocks {
			if b.msgs == 0 || b.latest < t || b.last.seq < from {
				continue
			}
			c, err := s.cached(b)
			if err != nil {
				return err
			}
			for i := range c.ents {
				if e := &c.ents[i]; c.time(e) >= t && b.live(e.seq) {
					seq = e.seq
					return nil
				}
			}
			from = b.last.seq + 1
		}
		seq = s.last.seq + 1
		return nil
	})
	if err != nil {
		return 0
	}
	return seq
}
