package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const jsConf = `jetstream { store_dir: "{dir}/store" }`

// Names of the workloads in the figures of the reference.
const (
	refAsync  = "js publish async 128 B file"
	refDirect = "js direct get single"
)

// jsRows is the suite of JetStream: publishing, reading, consuming. The peer
// acknowledges before it syncs, natsd after it.
func jsRows(scale float64) []Row {
	n := func(base int) int { return max(int(scale*float64(base)), 100) }
	var rows []Row
	add := func(driver, name string, run func(context.Context, *Server) (Load, error), goals ...Goal) *Row {
		rows = append(rows, Row{Name: name, Driver: driver, Conf: jsConf, Run: run, Goals: append(goals, rssGoal())})
		return &rows[len(rows)-1]
	}
	alone := func(driver, name string, run func(context.Context, *Server) (Load, error), goals ...Goal) {
		r := add(driver, name, run)
		r.NoPeer, r.Goals = true, goals
	}
	payload := []byte(strings.Repeat("x", 128))
	syncGoal := Goal{"p50 against fsync + 0.8 x the peer's p50", 1, true, func(_ []Result, own Result, _ *Reference) float64 {
		disk, peer := median(own.Natsd, fsync), median(own.Peer, p50)
		if disk == 0 || peer == 0 {
			return 0
		}
		return median(own.Natsd, p50) / (disk + 0.8*peer)
	}}
	for _, size := range []int{128, 1 << 10} {
		p := publishing{payload: []byte(strings.Repeat("x", size)), streams: 1}
		sync, async := p, p
		sync.n, async.n = n(5_000), n(400_000)
		add("nats.go", "publish sync "+sizeName(size), sync.sync, syncGoal)
		add("lean", "publish sync "+sizeName(size), sync.leanSync, syncGoal)
		add("nats.go", "publish async "+sizeName(size), async.client, rateGoal(2))
		goals := []Goal{rateGoal(3)}
		if size == 128 {
			goals = append(goals, cpuGoal(0.4), againstReference("rate against the reference with sync_interval always", 40,
				"js publish async 128 B file, sync_interval always", "publish async 128 B", "nats.go", refAsync))
		}
		add("lean", "publish async "+sizeName(size), async.lean, goals...)
	}
	memory := publishing{payload: payload, streams: 1, n: n(400_000), storage: jetstream.MemoryStorage}
	add("lean", "publish async 128 B memory", memory.lean)
	for _, streams := range []int{100, 1000} {
		p := publishing{payload: payload, streams: streams, n: n(200_000)}
		add("lean", fmt.Sprintf("publish async 128 B, %d streams", streams), p.lean, rateGoal(1))
	}
	b := batches{payload: payload, n: n(400_000), size: 100}
	alone("lean", "atomic batches of 100", b.atomic, againstReference("rate against the reference", 2.5, "js atomic batches 128 B", "publish async 128 B", "nats.go", refAsync))
	alone("lean", "fast-ingest batches", b.fast, againstReference("rate against the reference", 2.5, "js fast-ingest batches 128 B", "publish async 128 B", "nats.go", refAsync))

	small, large := reading{payload: payload, n: n(5_000)}, reading{payload: payload, n: n(200_000)}
	// Enough for a second and more: the clock of processor time ticks every 10 ms.
	long := reading{payload: payload, n: n(1_000_000)}
	add("nats.go", "direct get", small.directGet, p50Goal(0.9))
	add("lean", "direct get", small.leanDirectGet, p50Goal(0.9))
	alone("lean", "direct get, batches of 500", large.leanBatchGet, againstReference("rate against the reference", 3, "js direct get batch", "direct get", "nats.go", refDirect))
	add("nats.go", "KV put", small.kvPut, syncGoal)
	add("nats.go", "KV get", small.kvGet, rateGoal(1.2))
	add("nats.go", "create streams", creating{n: n(1000)}.create)
	add("nats.go", "start with streams", creating{n: n(1000)}.start, rateGoal(1))
	add("nats.go", "start with one stream of many messages", reading{payload: payload, n: n(1_000_000)}.start, rateGoal(1))
	add("nats.go", "idle streams", resting{n: n(1000), rest: 10 * time.Second}.streams, lone("KiB of an idle stream", 30, perUnit)).Once = true

	add("nats.go", "ordered consume", large.ordered, rateGoal(1.3))
	add("lean", "ordered consume", long.leanOrdered, rateGoal(2.5), cpuGoal(0.4))
	add("nats.go", "durable consume, acks", large.durable, rateGoal(1.3))
	add("lean", "durable consume, acks", long.leanDurable, rateGoal(2.5), cpuGoal(0.4))
	fetches := large
	fetches.batch = 100
	add("nats.go", "fetch 100, acks", fetches.fetch, rateGoal(1.3))
	add("lean", "fetch 100, acks", fetches.leanDurable, rateGoal(2), cpuGoal(0.4))
	// Long enough that the kernel's choices where client and server run even out.
	single := reading{payload: payload, n: n(60_000), batch: 1}
	add("lean", "fetch 1, acks", single.leanDurable, rateGoal(2), cpuGoal(0.4))
	several := large
	several.batch, several.requests = 1, 100
	add("lean", "pull 1, 100 under way, acks", several.leanDurable, rateGoal(2), cpuGoal(0.4))
	storm := large
	storm.nak = true
	add("lean", "redelivery storm", storm.leanDurable, rateGoal(2.5), cpuGoal(0.4))
	workers := large
	workers.batch, workers.workers, workers.retention = 500, 10, jetstream.WorkQueuePolicy
	add("lean", "work queue, 10 workers, acks", workers.leanDurable, rateGoal(2.5), cpuGoal(0.4))

	add("lean", "push with flow control", pushing{payload: payload, n: n(1_000_000), consumers: 1, flow: true, stored: true}.run, rateGoal(2), cpuGoal(0.4))
	add("lean", "100 consumers of one stream", pushing{payload: payload, n: n(20_000), consumers: 100, stored: true}.run, rateGoal(2), cpuGoal(0.4))
	add("lean", "push while publishing, one consumer", pushing{payload: payload, n: n(500_000), consumers: 1}.run, rateGoal(2), cpuGoal(0.4))
	filtered := pushing{payload: payload, n: n(500_000), consumers: n(10_000), filtered: true}
	few := filtered
	few.n = n(20_000)
	add("lean", "push while publishing, 10,000 filtered consumers", filtered.run,
		besides("rate against one unfiltered consumer", 0.5, false, "push while publishing, one consumer", "lean", rate), cpuGoal(0.4)).PeerRun = few.run
	add("nats.go", "idle consumers", resting{n: n(10_000), rest: time.Minute}.consumers, lone("KiB of an idle consumer", 8, perUnit)).Once = true

	old := replaying{payload: payload, old: n(10_000_000), n: n(5000)}
	add("nats.go", "publish sync beside old messages", old.quiet).Once = true
	add("nats.go", "publish sync while old messages are replayed", old.replayed,
		besides("p99 against quiet", 2, true, "publish sync beside old messages", "nats.go", p99)).Once = true
	return rows
}

func perUnit(s Sample) float64 { return s.PerUnitKiB }
