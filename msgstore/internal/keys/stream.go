package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"golang.org/x/crypto/chacha20"
)

// Stream is the key stream of one block: byte i of the file is byte i of the
// content XOR byte i of the stream. It remembers where it stopped, so that
// appends in a row neither seek nor allocate. Not safe for concurrent use.
type Stream struct {
	key  *Key
	pos  int64
	next cipher.Stream // at pos; nil before the first use
}

// Stream returns the key stream of the block whose key is k.
func (k *Key) Stream() *Stream { return &Stream{key: k} }

// XORAt encrypts or decrypts src, which lies at byte off of the file, into dst.
// The slices must be the same or not overlap.
func (s *Stream) XORAt(dst, src []byte, off int64) {
	if s.next == nil || off != s.pos {
		s.seek(off)
	}
	s.next.XORKeyStream(dst[:len(src)], src)
	s.pos = off + int64(len(src))
}

func (s *Stream) seek(off int64) {
	var skip [chachaBlock]byte
	switch s.key.cipher {
	case ChaCha:
		c, err := chacha20.NewUnauthenticatedCipher(s.key.seed[:], s.key.nonce[:])
		if err != nil {
			panic("keys: " + err.Error())
		}
		c.SetCounter(uint32(off / chachaBlock))
		n := off % chachaBlock
		c.XORKeyStream(skip[:n], skip[:n])
		s.next = c
	case AES:
		b, err := aes.NewCipher(s.key.seed[:])
		if err != nil {
			panic("keys: " + err.Error())
		}
		var ctr [aesNonceSize]byte
		copy(ctr[:], s.key.nonce[:])
		addCounter(&ctr, uint64(off/aes.BlockSize))
		c := cipher.NewCTR(b, ctr[:])
		n := off % aes.BlockSize
		c.XORKeyStream(skip[:n], skip[:n])
		s.next = c
	default:
		panic("keys: key stream of no cipher")
	}
}

const chachaBlock = 64

// addCounter adds n to the big endian 128-bit counter.
func addCounter(ctr *[aesNonceSize]byte, n uint64) {
	lo := binary.BigEndian.Uint64(ctr[8:])
	sum := lo + n
	binary.BigEndian.PutUint64(ctr[8:], sum)
	if sum < lo {
		binary.BigEndian.PutUint64(ctr[:8], binary.BigEndian.Uint64(ctr[:8])+1)
	}
}
