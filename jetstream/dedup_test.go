package jetstream

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func testDedup(window time.Duration, limit int64) (*dedup, *atomic.Int64) {
	var account, server atomic.Int64
	return &dedup{window: window, room: dedupRoom{&account, &server, limit}}, &server
}

// The window against a plain map, across the places where chunks begin and where
// positions wrap around.
func TestDedupAgainstModel(t *testing.T) {
	type known struct {
		seq  uint64
		time int64
	}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		d, kept := testDedup(1000, 1<<40)
		d.base = -uint32(rng.IntN(3 * dedupChunk))
		d.head = d.base
		model := make(map[string]known)
		var now int64 = 1
		var seq uint64
		for range 20_000 {
			now += int64(rng.IntN(3) / 2)
			id := fmt.Sprint(rng.IntN(3000))
			switch rng.IntN(200) {
			case 0:
				d.prune(now)
			case 1: // the last ones failed
				n := min(uint64(rng.IntN(1500)), seq)
				seq -= n
				d.forgetAbove(seq)
				for id, k := range model {
					if k.seq > seq {
						delete(model, id)
					}
				}
			case 2:
				d.window = time.Duration(500 + rng.IntN(1000))
			default:
				k, ok := model[id]
				ok = ok && now-k.time < int64(d.window)
				got, found := d.find([]byte(id), now)
				if found && (!ok || got != k.seq) {
					t.Fatalf("seed %d: %s is %d, wanted %v %v", seed, id, got, k, ok)
				}
				// What a shorter window has dropped stays unknown.
				if !found && ok && d.window >= 1500 {
					t.Fatalf("seed %d: %s is forgotten", seed, id)
				}
				if !found {
					seq++
					d.add([]byte(id), seq, now)
					model[id] = known{seq, now}
				}
			}
			if n := int64(d.end() - d.head); kept.Load() != n || int(n) < len(d.ids) {
				t.Fatalf("seed %d: %d counted, %d entries, %d ids", seed, kept.Load(), n, len(d.ids))
			}
		}
		d.prune(now + 2000)
		if kept.Load() != 0 || len(d.ids) != 0 || len(d.chunks) != 0 {
			t.Errorf("seed %d: %d counted, %d ids, %d chunks are left", seed, kept.Load(), len(d.ids), len(d.chunks))
		}
	}
}

// Nothing is forgotten within the window.
func TestDedupRemembersAll(t *testing.T) {
	d, kept := testDedup(1000, 1<<40)
	for i := range uint64(10_000) {
		now := int64(i) / 4
		d.add(fmt.Append(nil, i), i+1, now)
		if i%1000 == 0 {
			if next := d.prune(now); next < now || next > now+1000 {
				t.Fatalf("at %d the next entry ends at %d", now, next)
			}
		}
		for back := range min(uint64(4000), i) {
			if back%97 != 0 && back != 3995 {
				continue
			}
			seq, ok := d.find(fmt.Append(nil, i-back), now)
			if want := now-int64(i-back)/4 < 1000; ok != want || ok && seq != i-back+1 {
				t.Fatalf("message %d is %d %v when %d is added, wanted %v", i-back, seq, ok, i, want)
			}
		}
	}
	if n := kept.Load(); n < 4000 || n > 5000 {
		t.Errorf("%d entries are kept", n)
	}
	d.clear()
	if kept.Load() != 0 {
		t.Errorf("%d entries are counted after clear", kept.Load())
	}
}

// A full table refuses new ids, answers known ones, and takes new ones again when
// old ones have left the window. Messages without an id are not concerned.
func TestDedupFull(t *testing.T) {
	inMemory(t, Options{MaxDedupIDs: 4}, func(t *testing.T, a *Account, c *client) {
		const full = `{"error":{"code":429,"err_code":10167,"description":"too many requests"},"stream":"S","seq":0}`
		c.create("S", `"subjects":["s"],"duplicate_window":1000000000,"allow_atomic":true`)
		c.wantReply(`{"stream":"S","seq":1}`, "s", "x", "Nats-Msg-Id: 1")
		time.Sleep(500 * time.Millisecond)
		c.wantReply(`{"stream":"S","seq":2}`, "s", "x", "Nats-Msg-Id: 2")
		c.wantReply(full, "s", "x", "Nats-Msg-Id: 3")
		c.wantReply(`{"stream":"S","seq":1,"duplicate": true}`, "s", "x", "Nats-Msg-Id: 1")
		c.wantReply(`{"stream":"S","seq":3}`, "s", "x")
		c.wantReply(full, "s", "x", "Nats-Msg-Id: 3", "Nats-Batch-Id: b", "Nats-Batch-Sequence: 1", "Nats-Batch-Commit: 1")
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		c.wantReply(`{"stream":"S","seq":4}`, "s", "x", "Nats-Msg-Id: 3")
		c.wantReply(full, "s", "x", "Nats-Msg-Id: 4")
		c.request("$JS.API.STREAM.DELETE.S", "")
		if n := a.engine.DedupIDs(); n != 0 {
			t.Errorf("%d ids are counted when the stream is gone", n)
		}
	})
}

func BenchmarkDedup(b *testing.B) {
	d, _ := testDedup(time.Hour, 1<<40)
	id := make([]byte, 0, 32)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id = fmt.Appendf(id[:0], "message-id-%012d", i)
		if _, ok := d.find(id, int64(i)); !ok {
			d.add(id, uint64(i), int64(i))
		}
	}
	before := heapLive()
	n := d.end() - d.head
	d.clear()
	b.ReportMetric(float64(before-heapLive())/float64(n), "B/id")
}

func heapLive() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
