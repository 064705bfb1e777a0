package commit

import (
	"fmt"
	"os"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// Who is told of the beginning of a round may wait for its end: the rest of a large
// round is delivered meanwhile, in order.
func TestDeliverRest(t *testing.T) {
	for _, threads := range []int{1, 4} {
		t.Run(fmt.Sprint(threads), func(t *testing.T) {
			fsys := crashfs.New(1)
			if err := vfs.MkdirAllSynced(fsys, "/store", 0o700); err != nil {
				t.Fatal(err)
			}
			c, err := Open("/store", Options{FS: fsys, SyncThreads: threads})
			if err != nil {
				t.Fatal(err)
			}
			const n = 10
			ops := make([]Op, n)
			var got []*Op // by one callback at a time
			q := c.NewQueue(func(done []*Op) { got = append(got, done...) })
			performed := make(chan struct{})
			q.OnDelivered(func() { <-performed })
			vf, err := fsys.OpenFile("/store/1.blk", os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			f := q.NewFile("1.blk", vf, 0, [8]byte{}, External)
			for i := range ops {
				ops[i] = Op{File: f, Data: make([]byte, deliverBytes)}
				q.Submit(&ops[i])
			}
			if err := q.Perform(&Op{File: f, Sync: true}); err != nil {
				t.Fatal(err)
			}
			close(performed)
			if len(got) != n {
				t.Fatalf("%d of %d", len(got), n)
			}
			for i := range got {
				if got[i] != &ops[i] || got[i].Err != nil {
					t.Errorf("%d: %v", i, got[i].Err)
				}
			}
			f.Drop()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
