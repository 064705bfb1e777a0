package check

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scan"
	"github.com/natsd/natsd/msgstore/internal/truncation"
)

// readTruncation reads truncate.db, which natsd leaves when a truncation is
// interrupted. What it says is to be done counts as done, as it will be when a
// server has started.
func (s *stream) readTruncation() {
	path := filepath.Join(s.msgs, "truncate.db")
	b, err := s.read(path, maxState)
	if b == nil && err == nil || s.onlyBlock != 0 {
		return
	}
	if err == nil {
		s.plan, err = truncation.Decode(b, s.stream)
	}
	if err != nil {
		s.find(Repairable, KindDerived, path, err.Error()+": ignored")
		return
	}
	s.find(Repairable, KindTruncation, path, fmt.Sprintf("what follows message %d is going: a server completes it", s.plan.Seq))
	s.blocks = slices.DeleteFunc(s.blocks, func(b *block) bool { return b.number > uint64(s.plan.Keep) })
	if n := uint64(s.plan.Next); n > 0 {
		s.blocks = append(s.blocks, &block{
			number: n, path: filepath.Join(s.msgs, strconv.FormatUint(n, 10)+".blk"), size: int64(len(s.plan.Records)),
		})
	}
}

// planned is the content of the block that an interrupted truncation adds.
func (s *stream) planned(b *block) content {
	c := content{bytes: slices.Clone(s.plan.Records)}
	c.end()
	b.raw = len(c.bytes)
	return c
}

// cut takes what an interrupted truncation removes out of a block.
func (s *stream) cut(b *block, c *content) {
	at := len(c.bytes)
	scan.Run(&scan.Block{Content: c.bytes, Stream: s.stream, Number: uint32(b.number)}, func(off int, r *record.Record) error {
		if r.Seq > s.plan.Seq {
			at = off
			return errStop
		}
		return nil
	})
	c.bytes = c.bytes[:at]
	c.file = c.file[:min(at, len(c.file))]
	c.bad = slices.DeleteFunc(c.bad, func(r blockcomp.Range) bool { return r.Start >= at })
	c.end()
}

// end sets last for content that is stored as it is.
func (c *content) end() {
	c.last = [record.SumSize]byte{}
	if n := len(c.bytes); n >= record.SumSize {
		c.last = [record.SumSize]byte(c.bytes[n-record.SumSize:])
	}
}
