package jetstream

import (
	"crypto/rand"
	"crypto/sha256"
	"time"
)

const idDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// randomID returns n random characters of 0-9A-Za-z.
func randomID(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	for i := range b {
		b[i] = idDigits[int(b[i])%len(idDigits)]
	}
	return string(b)
}

// newID returns a unique id of the form of a NUID: 22 characters.
func newID() string { return randomID(22) }

// shortHash is the API's 8-character hash of a text.
func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	var b [8]byte
	for i := range b {
		b[i] = idDigits[int(sum[i])%len(idDigits)]
	}
	return string(b[:])
}

// streamIdentity tells a stream from others that had its name.
func streamIdentity(created time.Time) string {
	return shortHash(created.UTC().Format(time.RFC3339Nano))
}
