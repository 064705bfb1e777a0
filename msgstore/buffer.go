package msgstore

import "github.com/natsd/natsd/msgstore/internal/buffers"

// Buffer lends an empty slice with room for n bytes, from the memory in which
// stores encode what they write: those who collect messages for a store and give
// the memory back when it has them share it with the store. What the slice holds
// beyond its length is undefined.
func Buffer(n int) []byte { return buffers.Get(n) }

// FreeBuffer takes back a slice that Buffer returned and that nobody uses any more.
func FreeBuffer(b []byte) { buffers.Put(b) }
