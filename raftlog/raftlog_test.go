package raftlog

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

func entry(index, term uint64) *raftpb.Entry {
	return &raftpb.Entry{Index: &index, Term: &term, Data: fmt.Appendf(nil, "%d/%d", index, term)}
}

func snapshot(index, term uint64) *raftpb.Snapshot {
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: &term, ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}}
}

// model is a log as plain values.
type model struct {
	start   position
	terms   []uint64 // of the entries from start.index+1 on
	commit  uint64
	snapped uint64
}

func (m *model) last() uint64 { return m.start.index + uint64(len(m.terms)) }

func (m *model) check(t *testing.T, g *Group) {
	t.Helper()
	first, _ := g.FirstIndex()
	last, _ := g.LastIndex()
	if first != m.start.index+1 || last != m.last() {
		t.Fatalf("log is %d to %d, want %d to %d", first, last, m.start.index+1, m.last())
	}
	if term, err := g.Term(m.start.index); err != nil || term != m.start.term {
		t.Fatalf("term of the start: %d %v, want %d", term, err, m.start.term)
	}
	if m.start.index > 0 {
		if _, err := g.Term(m.start.index - 1); err != raft.ErrCompacted {
			t.Fatalf("term before the start: %v", err)
		}
	}
	if _, err := g.Term(last + 1); err != raft.ErrUnavailable {
		t.Fatalf("term behind the end: %v", err)
	}
	if len(m.terms) > 0 {
		es, err := g.Entries(first, last+1, ^uint64(0))
		if err != nil || len(es) != len(m.terms) {
			t.Fatalf("%d entries, %v", len(es), err)
		}
		for i, e := range es {
			if e.GetTerm() != m.terms[i] || string(e.GetData()) != fmt.Sprintf("%d/%d", first+uint64(i), m.terms[i]) {
				t.Fatalf("entry %v, want term %d", e, m.terms[i])
			}
		}
		one, err := g.Entries(first, last+1, 1)
		if err != nil || len(one) != 1 {
			t.Fatalf("limited: %d entries, %v", len(one), err)
		}
	}
	hard, conf, err := g.InitialState()
	if err != nil || hard.GetCommit() != m.commit {
		t.Fatalf("hard state %v %v, want commit %d", hard, err, m.commit)
	}
	if m.snapped > 0 && len(conf.GetVoters()) != 3 {
		t.Fatalf("configuration %v", conf)
	}
	if s, _ := g.Snapshot(); s.GetMetadata().GetIndex() != m.snapped {
		t.Fatalf("snapshot %v, want %d", s, m.snapped)
	}
}

// Random rounds over several groups, with power cuts after random commits: the
// log is always that of the committed batches.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := vfs.NewCrashableMem()
		db, err := Open("log", Options{FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		models := make([]*model, 4)
		for i := range models {
			models[i] = new(model)
		}
		for range 60 {
			b := db.NewBatch()
			for id, m := range models {
				g, err := db.Group(uint64(id))
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				switch rng.IntN(5) {
				case 0: // nothing
				case 1:
					if len(m.terms) == 0 {
						continue
					}
					at := m.start.index + 1 + uint64(rng.IntN(len(m.terms)))
					term := m.terms[at-m.start.index-1]
					if err := b.Compact(g, snapshot(at, term)); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					m.terms = m.terms[at-m.start.index:]
					m.start, m.snapped = position{at, term}, at
				case 2:
					at := position{m.last() + uint64(rng.IntN(10)) + 1, uint64(rng.IntN(100) + 1)}
					if err := b.Save(g, nil, snapshot(at.index, at.term), nil); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					m.start, m.snapped, m.terms = at, at.index, nil
				default:
					from := rng.IntN(len(m.terms) + 1)
					var es []*raftpb.Entry
					m.terms = m.terms[:from:from]
					for range rng.IntN(20) {
						term := uint64(rng.IntN(100) + 1)
						m.terms = append(m.terms, term)
						es = append(es, entry(m.last(), term))
					}
					if len(es) == 0 {
						// Saving no entries replaces none.
						g0, _ := g.LastIndex()
						for i := m.last() + 1; i <= g0; i++ {
							term, err := g.Term(i)
							if err != nil {
								t.Fatal(err)
							}
							m.terms = append(m.terms, term)
						}
					}
					m.commit++
					one, commit := uint64(1), m.commit
					if err := b.Save(g, &raftpb.HardState{Term: &one, Vote: &one, Commit: &commit}, nil, es); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
			}
			if err := b.Commit(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if rng.IntN(8) == 0 {
				disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
				db.Close()
				if db, err = Open("log", Options{FS: disk}); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			for id, m := range models {
				g, err := db.Group(uint64(id))
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				m.check(t, g)
			}
		}
		if err := db.Delete(2); err != nil {
			t.Fatal(err)
		}
		g, err := db.Group(2)
		if err != nil {
			t.Fatal(err)
		}
		new(model).check(t, g)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSaveRefusesGaps(t *testing.T) {
	db, err := Open("log", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	g, err := db.Group(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, es := range [][]*raftpb.Entry{{entry(2, 1)}, {entry(1, 1), entry(3, 1)}} {
		b := db.NewBatch()
		if err := b.Save(g, nil, nil, es); err == nil {
			t.Errorf("%v saved", es)
		}
		b.Close()
	}
	b := db.NewBatch()
	defer b.Close()
	if err := b.Compact(g, snapshot(5, 1)); err == nil {
		t.Error("compacted behind the end")
	}
}

// One fsync for a round of many groups.
func BenchmarkRound(b *testing.B) {
	for _, groups := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(groups), func(b *testing.B) {
			db, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			gs := make([]*Group, groups)
			for i := range gs {
				if gs[i], err = db.Group(uint64(i)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := range uint64(b.N) {
				round := db.NewBatch()
				for _, g := range gs {
					if err := round.Save(g, nil, nil, []*raftpb.Entry{entry(n+1, 1)}); err != nil {
						b.Fatal(err)
					}
				}
				if err := round.Commit(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
