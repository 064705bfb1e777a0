// Package keys implements encryption at rest: the key files of streams, blocks
// and consumers, the sealed small files, and the key streams of blocks.
//
// Every object has a seed of its own, wrapped in a key file by a key that is
// derived from the configured key and the object's name. Nothing here does I/O
// except reading random bytes.
package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/crypto/chacha20poly1305"
)

var (
	ErrBadKeySize    = errors.New("encryption bad key size")
	ErrNotRecovered  = errors.New("unable to recover keys")
	ErrUnknownCipher = errors.New("unknown cipher")
)

// Cipher names a pair of algorithms: an AEAD for small files and a stream
// cipher for blocks. The zero value is no cipher.
type Cipher uint8

const (
	None   Cipher = iota
	ChaCha        // XChaCha20-Poly1305 and XChaCha20
	AES           // AES-256-GCM with a 16-byte nonce and AES-256-CTR
)

// ParseCipher reads the configuration's name of a cipher; "" is ChaCha.
func ParseCipher(s string) (Cipher, error) {
	switch s {
	case "", "chacha", "chachapoly":
		return ChaCha, nil
	case "aes":
		return AES, nil
	}
	return None, ErrUnknownCipher
}

func (c Cipher) String() string {
	switch c {
	case None:
		return "none"
	case ChaCha:
		return "chacha"
	case AES:
		return "aes"
	}
	return "cipher(" + strconv.Itoa(int(c)) + ")"
}

// LogName is the cipher's name in log lines.
func (c Cipher) LogName() string {
	if c == AES {
		return "AES-GCM"
	}
	return "ChaCha20-Poly1305"
}

func (c Cipher) other() Cipher {
	if c == AES {
		return ChaCha
	}
	return AES
}

// NonceSize is the length of the nonce in front of a sealed file or key file.
func (c Cipher) NonceSize() int {
	if c == AES {
		return aesNonceSize
	}
	return chacha20poly1305.NonceSizeX
}

// Overhead is how much longer a sealed file is than its plain content.
func (c Cipher) Overhead() int { return c.NonceSize() + tagSize }

// KeyFileSize is the length of a key file.
func (c Cipher) KeyFileSize() int { return c.NonceSize() + seedSize + tagSize }

const (
	seedSize     = 32
	tagSize      = 16
	aesNonceSize = 16
	minKeyFile   = aesNonceSize + seedSize + tagSize
)

func (c Cipher) aead(key []byte) (cipher.AEAD, error) {
	switch c {
	case ChaCha:
		return chacha20poly1305.NewX(key)
	case AES:
		b, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCMWithNonceSize(b, aesNonceSize)
	}
	return nil, ErrUnknownCipher
}

// Object is what a key belongs to: the two strings that go into the derivation
// of its wrapping key. The strings are concatenated without a separator, as the
// format demands.
type Object struct{ info, context string }

// OfStream names a stream. For a batch store the account is the account's name
// and the stream the hash name; for a Raft group both are the group's name.
func OfStream(account, stream string) Object { return Object{account, stream} }

// OfBlock names block n of a stream.
func OfBlock(account, stream string, n uint64) Object {
	return Object{account, stream + ":" + strconv.FormatUint(n, 10)}
}

// OfConsumer names a consumer of a stream.
func OfConsumer(account, stream, consumer string) Object {
	return Object{account, stream + "." + consumer}
}

// wrappingKey is KEK(context) = HMAC-SHA-256(configured key, info || context).
func wrappingKey(master []byte, o Object) []byte {
	m := hmac.New(sha256.New, master)
	m.Write([]byte(o.info))
	m.Write([]byte(o.context))
	return m.Sum(nil)
}

// Ring is what the configuration gives to open a directory with. A ring without
// Key is a server without encryption.
type Ring struct {
	Key     []byte // configured key, raw bytes
	PrevKey []byte // key before a rotation, or nil
	Cipher  Cipher // configured cipher; None counts as ChaCha
}

// Enabled says whether a key is configured.
func (r Ring) Enabled() bool { return len(r.Key) > 0 }

func (r Ring) configured() Cipher {
	if r.Cipher == None {
		return ChaCha
	}
	return r.Cipher
}

// Opened says which of the four attempts opened a key file.
type Opened struct {
	Cipher Cipher
	Prev   bool // with the previous key
}

// Current says that the file needs no conversion under ring r.
func (o Opened) Current(r Ring) bool { return !o.Prev && o.Cipher == r.configured() }

// Key is the unwrapped key of one object. It is immutable and safe for
// concurrent use.
type Key struct {
	cipher Cipher
	seed   [seedSize]byte
	nonce  [chacha20poly1305.NonceSizeX]byte // of the key file; also starts the block's key stream
}

// Cipher is the cipher under which the key is used.
func (k *Key) Cipher() Cipher { return k.cipher }

// New makes a fresh key for o and the key file that holds it.
func (r Ring) New(o Object) (*Key, []byte, error) {
	k := &Key{cipher: r.configured()}
	if _, err := rand.Read(k.seed[:]); err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	if _, err := rand.Read(k.nonce[:k.cipher.NonceSize()]); err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	file, err := k.wrap(r.Key, o)
	return k, file, err
}

// Wrap returns the key file that holds k for object o under the ring's key: for
// a key that only the previous one opened.
func (r Ring) Wrap(k *Key, o Object) ([]byte, error) { return k.wrap(r.Key, o) }

// wrap returns the key file that holds k for object o under the master
// key. The nonce stays, since it also starts the block's key stream.
func (k *Key) wrap(master []byte, o Object) ([]byte, error) {
	aead, err := k.cipher.aead(wrappingKey(master, o))
	if err != nil {
		return nil, err
	}
	nonce := k.nonce[:k.cipher.NonceSize()]
	return aead.Seal(append(make([]byte, 0, k.cipher.KeyFileSize()), nonce...), nonce, k.seed[:], nil), nil
}

// Open unwraps the key file of o. It tries, in this order, the key with the
// configured cipher, the key with the other one, and the previous key with
// both, and says which opened. Errors: ErrBadKeySize, ErrNotRecovered.
func (r Ring) Open(o Object, file []byte) (*Key, Opened, error) {
	if len(file) < minKeyFile {
		return nil, Opened{}, ErrBadKeySize
	}
	c := r.configured()
	for _, try := range [4]Opened{{c, false}, {c.other(), false}, {c, true}, {c.other(), true}} {
		master := r.Key
		if try.Prev {
			master = r.PrevKey
		}
		if len(master) == 0 || len(file) != try.Cipher.KeyFileSize() {
			continue
		}
		if k := unwrap(try.Cipher, master, o, file); k != nil {
			return k, try, nil
		}
	}
	return nil, Opened{}, ErrNotRecovered
}

func unwrap(c Cipher, master []byte, o Object, file []byte) *Key {
	aead, err := c.aead(wrappingKey(master, o))
	if err != nil {
		return nil
	}
	k := &Key{cipher: c}
	n := copy(k.nonce[:c.NonceSize()], file)
	if _, err := aead.Open(k.seed[:0], file[:n], file[n:], nil); err != nil {
		return nil
	}
	return k
}

// Seal returns a sealed form of plain: a random nonce and the ciphertext with
// its tag.
func (k *Key) Seal(plain []byte) ([]byte, error) {
	aead, err := k.cipher.aead(k.seed[:])
	if err != nil {
		return nil, err
	}
	n := k.cipher.NonceSize()
	out := make([]byte, n, n+len(plain)+tagSize)
	if _, err := rand.Read(out); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return aead.Seal(out, out, plain, nil), nil
}

// Unseal returns the content of what Seal made, or an error if a bit of it
// changed or the key is another.
func (k *Key) Unseal(sealed []byte) ([]byte, error) {
	n := k.cipher.NonceSize()
	if len(sealed) < n+tagSize {
		return nil, fmt.Errorf("unseal: %d bytes are too short", len(sealed))
	}
	return k.unseal(sealed[:n], sealed[n:])
}

// UnsealOld is Unseal for a file N.idx of a server before 2.10, which carries no
// nonce: it has that of the key file.
func (k *Key) UnsealOld(sealed []byte) ([]byte, error) {
	return k.unseal(k.nonce[:k.cipher.NonceSize()], sealed)
}

func (k *Key) unseal(nonce, sealed []byte) ([]byte, error) {
	aead, err := k.cipher.aead(k.seed[:])
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nonce, sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	return plain, nil
}
