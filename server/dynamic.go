package server

import (
	"math"
	"runtime/debug"

	"github.com/natsd/natsd/jetstream"
)

// dynamicShare is how much of memory and disk JetStream may use where nothing is configured.
const dynamicShare = 0.75

// dynamicMemory returns JetStream's limit of memory in bytes: its share of the machine's, or of the limit that the process
// was given. Without knowledge of either it is negative: unlimited.
func dynamicMemory() int64 {
	total := machineMemory()
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 && (total <= 0 || limit < total) {
		total = limit
	}
	if total <= 0 {
		return -1
	}
	return int64(float64(total) * dynamicShare)
}

// dedupShare is the part of JetStream's limit of memory that the ids in duplicate windows may take.
const dedupShare = 8

// maxDedupIDs returns how many ids duplicate windows may hold on this machine.
func maxDedupIDs() int {
	memory := dynamicMemory()
	if memory <= 0 {
		return jetstream.MostDedupIDs
	}
	return int(min(memory/dedupShare/jetstream.DedupIDBytes, jetstream.MostDedupIDs))
}

// dynamicStore returns JetStream's limit of files in bytes: its share of what is free on the disk of a directory. If that
// cannot be known it is negative: unlimited.
func dynamicStore(dir string) int64 {
	free := freeDisk(dir)
	if free <= 0 {
		return -1
	}
	return int64(float64(free) * dynamicShare)
}
