// Package highway computes the checksums of the store: HighwayHash-64 with the
// 32-byte key SHA-256(name), where the name ties a checksum to its stream,
// block or consumer. The key is public: the sum finds damage, not forgery.
//
// Results are u64; the files hold them little endian.
package highway

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/minio/highwayhash"
)

// Size is the length of a stored checksum in bytes.
const Size = 8

// Hasher is HH64(name, ·) for one name. It is reusable and does not allocate.
// It is not safe for concurrent use.
type Hasher struct {
	d   highwayhash.Digest64
	key [32]byte
}

// New returns the hasher keyed by SHA-256(name).
func New(name string) *Hasher {
	h := new(Hasher)
	h.SetName(name)
	return h
}

// SetName turns h into the hasher for another name and resets it.
func (h *Hasher) SetName(name string) {
	h.key = sha256.Sum256([]byte(name))
	d, err := highwayhash.NewDigest64(h.key[:])
	if err != nil {
		panic("highway: a 32-byte key was refused: " + err.Error())
	}
	h.d = *d
}

// Reset forgets what was written.
func (h *Hasher) Reset() { h.d.Reset() }

// Write adds p to the sum. The error is always nil.
func (h *Hasher) Write(p []byte) (int, error) { return h.d.Write(p) }

// Sum64 returns the sum of what was written since the last Reset.
func (h *Hasher) Sum64() uint64 { return h.d.Sum64() }

// Sum returns the sum of data alone, whatever was written before.
func (h *Hasher) Sum(data []byte) uint64 { return highwayhash.Sum64(data, h.key[:]) }

// Sum64 returns HH64(name, data).
func Sum64(name string, data []byte) uint64 {
	key := sha256.Sum256([]byte(name))
	return highwayhash.Sum64(data, key[:])
}

// Append appends HH64(name, b) to b in stored order.
func Append(name string, b []byte) []byte {
	return binary.LittleEndian.AppendUint64(b, Sum64(name, b))
}
