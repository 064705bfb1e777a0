package raftlog_test

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/natsd/natsd/raftlog"
	"go.etcd.io/raft/v3/raftpb"
)

func Example() {
	db, err := raftlog.Open("log", raftlog.Options{FS: vfs.NewMem()})
	if err != nil {
		panic(err)
	}
	defer db.Close()

	// Two groups save an entry each; one fsync covers both.
	round := db.NewBatch()
	for _, id := range []uint64{1, 2} {
		g, err := db.Group(id)
		if err != nil {
			panic(err)
		}
		index, term := uint64(1), uint64(1)
		if err := round.Save(g, nil, nil, []*raftpb.Entry{{Index: &index, Term: &term, Data: []byte("hello")}}); err != nil {
			panic(err)
		}
	}
	if err := round.Commit(); err != nil {
		panic(err)
	}

	g, _ := db.Group(2)
	entries, _ := g.Entries(1, 2, 1<<20)
	fmt.Printf("%s\n", entries[0].GetData())
	// Output: hello
}
