package scan

import "github.com/natsd/natsd/msgstore/internal/indexdb"

// FromIndex returns what an index.db that is valid in itself says about a block.
// stale says that the stream was written to after the index was.
func FromIndex(x *indexdb.Index, number uint64, stale bool) Evidence {
	var e Evidence
	if x == nil {
		return e
	}
	for i := range x.Blocks {
		if b := &x.Blocks[i]; b.Number == number {
			e = Evidence{Known: true, FirstSeq: b.FirstSeq, LastSeq: b.LastSeq, Deleted: b.Deleted, Stale: stale}
		}
	}
	if x.LastBlock == number {
		sum := x.LastChecksum
		e.LastSum = &sum
	}
	return e
}
