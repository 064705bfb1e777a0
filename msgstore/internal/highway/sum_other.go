//go:build !amd64 || noasm

package highway

// SumParts returns the HighwayHash-64 of head and body, as if they were one
// piece, keyed by key.
func SumParts(key *[32]byte, head *[16]byte, body []byte) uint64 {
	return joinParts(key, head, body)
}
