// Package buffers lends byte slices in a few sizes, so that what comes and goes
// with each batch or block is neither allocated and cleared every time nor larger
// than it has to be.
package buffers

import (
	"math/bits"
	"sync"
)

// Capacities that are kept for reuse are the powers of two between these. A block
// has up to 8 MiB.
const (
	leastBits, mostBits = 9, 23
	least, most         = 1 << leastBits, 1 << mostBits
)

var pools [mostBits - leastBits + 1]sync.Pool // of *[]byte

// headers are the containers of the pools, which would be allocated otherwise.
var headers = sync.Pool{New: func() any { return new([]byte) }}

// Get returns an empty slice with room for n bytes. What it holds beyond its
// length is undefined.
func Get(n int) []byte {
	if n > most {
		return make([]byte, 0, n)
	}
	class := bits.Len(uint(max(n, least)-1)) - leastBits
	if p, ok := pools[class].Get().(*[]byte); ok {
		b := *p
		*p = nil
		headers.Put(p)
		return b
	}
	return make([]byte, 0, least<<class)
}

// Put takes back a slice that Get returned and that nobody uses any more.
// Others are left to the collector.
func Put(b []byte) {
	n := cap(b)
	if n < least || n > most || n&(n-1) != 0 {
		return
	}
	p := headers.Get().(*[]byte)
	*p = b[:0]
	pools[bits.Len(uint(n-1))-leastBits].Put(p)
}
