// Package tablefile is what thw.db, sched.db and sources.db have in common
// (format, sections 9 to 11): a version, the number of entries, the stamp, and
// the entries up to the end of the file. What an entry is belongs to the package
// of each file.
package tablefile

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/binread"
)

const version = 1

var (
	errVersion = errors.New("unknown version")
	errCount   = errors.New("more entries than bytes")
	errLength  = errors.New("entries end early or late")
)

// AppendHead appends what is in front of the entries. stamp is the stream's last
// sequence plus one: messages from there on are not in the file.
func AppendHead(b []byte, count int, stamp uint64) []byte {
	b = append(b, version)
	b = binary.LittleEndian.AppendUint64(b, uint64(count))
	return binary.LittleEndian.AppendUint64(b, stamp)
}

// Decode reads a file and calls entry for each of its entries, which take all of
// the rest of b. minEntry is the length of the shortest entry: a file that is too
// short for its count is refused before the first call.
func Decode(b []byte, minEntry int, entry func(*binread.Reader) error) (stamp uint64, err error) {
	r := binread.New(b)
	if v := r.Byte(); v != version && r.Err() == nil {
		return 0, fmt.Errorf("%w %d", errVersion, v)
	}
	count, stamp := r.U64(), r.U64()
	if r.Err() != nil || count > uint64(r.Len()/minEntry) {
		return 0, errCount
	}
	for range count {
		if err := entry(&r); err != nil {
			return 0, err
		}
		if r.Err() != nil {
			return 0, errLength
		}
	}
	if r.Len() > 0 {
		return 0, errLength
	}
	return stamp, nil
}
