package msgstore

import (
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// The scrub reads no more in a second than its rate allows, a single block while
// the disk is in use, and in the end every sealed block, none of them twice.
func TestScrubRate(t *testing.T) {
	s := openOn(t, crashfs.New(5), Config{Name: "S", Subjects: []string{">"}}, FileOptions{BlockSize: 200})
	for i := range 60 {
		put(t, s, "abc", int64(i+1), "")
	}
	h := s.disk.host
	sealed := len(s.blocks) - 1
	size := s.blocks[0].size
	h.tick.Add(scrubEvery + 2) // since they were sealed
	verified := func() (n int) {
		for _, b := range s.blocks[:sealed] {
			if b.file.verified >= scrubEvery {
				n++
			}
		}
		return n
	}
	if verified() != 0 || sealed < 8 {
		t.Fatalf("%d blocks, %d verified", sealed, verified())
	}
	h.enter() // a reader
	h.scrub([]*store{&s.store}, 1<<20, false)
	h.leave()
	if n := verified(); n != 1 {
		t.Errorf("%d blocks while the disk is in use", n)
	}
	h.scrub([]*store{&s.store}, 1<<20, true)
	if n := verified(); n != 2 {
		t.Errorf("%d blocks while others write", n)
	}
	h.scrub([]*store{&s.store}, 2*size, false)
	if n := verified(); n != 4 {
		t.Errorf("%d blocks, want two more", n)
	}
	h.scrub([]*store{&s.store}, 1<<20, false)
	if n := verified(); n != sealed {
		t.Errorf("%d of %d blocks", n, sealed)
	}
	if n := s.disk.scrubOne(h.tick.Load()); n != 0 {
		t.Errorf("%d bytes are read again", n)
	}
}
