// Package meta knows the rules that bind meta.inf, the configuration of a stream
// or consumer, to meta.sum, its checksum. The JSON itself is opaque here.
package meta

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/natsd/natsd/msgstore/internal/highway"
)

// SumSize is the length of meta.sum.
const SumSize = 16

// StreamName is the checksum's key name for a stream: the name of its directory.
func StreamName(stream string) string { return stream }

// ConsumerName is the checksum's key name for a consumer.
func ConsumerName(stream, consumer string) string { return stream + "/" + consumer }

// Sum is the content of meta.sum for a stored meta.inf (sealed, if it is sealed
// on disk).
func Sum(name string, stored []byte) []byte {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], highway.Sum64(name, stored))
	return hex.AppendEncode(nil, b[:])
}

// Files are the contents found in a directory; nil stands for no file.
type Files struct{ Inf, Sum, InfTmp, SumTmp []byte }

// Verdict says which files form a pair.
type Verdict uint8

const (
	Good     Verdict = iota // meta.inf and meta.sum agree
	Absent                  // no meta.inf, or no meta.sum and nothing to take its place: nothing was created here
	Mismatch                // nothing agrees with meta.inf: damage
	TakeSum                 // meta.inf is new, meta.sum.tmp belongs to it: rename it over meta.sum
	TakeInf                 // meta.sum is new, meta.inf.tmp belongs to it: rename it over meta.inf
)

// Judge finds the pair among the files of a directory. A writer puts both
// temporary files, syncs them and then renames both, so a crash in between
// leaves one old and one new file, and the missing new one under its temporary
// name.
func Judge(name string, f Files) Verdict {
	match := func(inf, sum []byte) bool {
		return inf != nil && len(sum) == SumSize && string(Sum(name, inf)) == string(sum)
	}
	switch {
	case match(f.Inf, f.Sum):
		return Good
	case match(f.Inf, f.SumTmp):
		return TakeSum
	case match(f.InfTmp, f.Sum):
		return TakeInf
	case f.Inf == nil || f.Sum == nil:
		return Absent
	}
	return Mismatch
}
