package msgstore

import (
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// Who reads some way behind a publisher is served by the windows, also where a block
// ends and when it does not come to read for a while; when it has gone they are small.
func TestWindowHoldsWhatIsReadBehind(t *testing.T) {
	const size, lag, pause = 1000, 600, 150
	s := openOn(t, crashfs.New(1), Config{Name: "S", Subjects: []string{">"}}, FileOptions{BlockSize: 1 << 20})
	defer stopAll(t, s)
	data := make([]byte, size)
	last := uint64(0)
	store := func() {
		t.Helper()
		var err error
		if last, _, err = s.StoreMsg("s", nil, data, 0); err != nil {
			t.Fatal(err)
		}
	}
	window := func() int { return len(s.blocks[len(s.blocks)-1].recent.Load().buf) }
	var batch Batch
	read := uint64(0)
	for last < 4000 {
		store()
		if last > 10 && last%pause != 0 {
			continue
		}
		for read < max(last/2, last-min(last, lag)) {
			read++
			batch.Msgs = batch.Msgs[:0]
			if err := s.LoadMsgs([]uint64{read}, &batch); err != nil || len(batch.Msgs) != 1 || batch.Msgs[0].Seq != read {
				t.Fatalf("message %d: %v %v", read, batch.Msgs, err)
			}
		}
		for _, b := range s.blocks {
			if b.cache.Load() != nil {
				t.Fatalf("with message %d, block %d was loaded for message %d", last, b.num, read)
			}
		}
	}
	if len(s.blocks) < 4 {
		t.Fatalf("%d blocks", len(s.blocks))
	}
	s.disk.host.tick.Add(2)
	for range 700 { // and the block is not full
		store()
		if n := window(); len(s.blocks) == 6 && n > leastWindow {
			t.Fatalf("the window has %d bytes and nobody reads", n)
		}
	}
}
