package highway

import "github.com/minio/highwayhash"

// joined is the largest sum of parts that is joined on the stack.
const joined = 1024

// joinParts is SumParts on any processor.
func joinParts(key *[32]byte, head *[16]byte, body []byte) uint64 {
	if len(head)+len(body) <= joined {
		var b [joined]byte
		n := copy(b[:], head[:])
		n += copy(b[n:], body)
		return highwayhash.Sum64(b[:n], key[:])
	}
	d, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		panic(err) // only for a key of the wrong length
	}
	d.Write(head[:])
	d.Write(body)
	return d.Sum64()
}
