// Package prefetch tells the processor which memory is needed soon, so that the
// cache misses of many small objects run at the same time and not one behind the
// other.
package prefetch

// line is the size of a cache line in bytes.
const line = 64

// LinesOf is the number of lines that size bytes take.
func LinesOf(size uintptr) int { return int(size+line-1) / line }
