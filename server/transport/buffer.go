package transport

import "sync"

// Buffer classes. A stage grows through them; 64 KiB is what one write takes.
const (
	smallBuffer  = 512
	mediumBuffer = 4 << 10
	largeBuffer  = 16 << 10
	hugeBuffer   = 64 << 10
	burstBuffer  = 256 << 10 // what a read of a busy socket takes
)

var (
	smallPool  = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	mediumPool = sync.Pool{New: func() any { return new([mediumBuffer]byte) }}
	largePool  = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
	hugePool   = sync.Pool{New: func() any { return new([hugeBuffer]byte) }}
	burstPool  = sync.Pool{New: func() any { return new([burstBuffer]byte) }}
)

// GetBuffer returns an empty buffer that holds at least n bytes; over 256 KiB
// it does not come from a pool, nor does any other size above 64 KiB.
func GetBuffer(n int) []byte {
	switch {
	case n <= smallBuffer:
		return smallPool.Get().(*[smallBuffer]byte)[:0]
	case n <= mediumBuffer:
		return mediumPool.Get().(*[mediumBuffer]byte)[:0]
	case n <= largeBuffer:
		return largePool.Get().(*[largeBuffer]byte)[:0]
	case n <= hugeBuffer:
		return hugePool.Get().(*[hugeBuffer]byte)[:0]
	case n == burstBuffer:
		return burstPool.Get().(*[burstBuffer]byte)[:0]
	}
	return make([]byte, 0, n)
}

// PutBuffer takes back a buffer of GetBuffer, whose start must not have moved.
func PutBuffer(b []byte) {
	switch cap(b) {
	case smallBuffer:
		smallPool.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case mediumBuffer:
		mediumPool.Put((*[mediumBuffer]byte)(b[:mediumBuffer]))
	case largeBuffer:
		largePool.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	case hugeBuffer:
		hugePool.Put((*[hugeBuffer]byte)(b[:hugeBuffer]))
	case burstBuffer:
		burstPool.Put((*[burstBuffer]byte)(b[:burstBuffer]))
	}
}
