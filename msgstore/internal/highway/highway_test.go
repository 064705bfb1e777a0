package highway

import (
	"crypto/sha256"
	"slices"

	"encoding/binary"
	"encoding/hex"
	"github.com/minio/highwayhash"
	"testing"
)

func ramp(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// The vectors of the format document, section 19.1, for the name "S".
func TestVectors(t *testing.T) {
	for _, tc := range []struct {
		data []byte
		want string
	}{
		{nil, "08e230326dbc2f5c"},
		{[]byte("a"), "141bec67798255c3"},
		{[]byte("abc"), "48af5d284a22e999"},
		{ramp(16), "610ad5ecf45430ab"},
		{ramp(19), "6f069f82d8c8d34f"},
		{ramp(31), "4174510392175130"},
		{ramp(32), "bcaac03398421b86"},
		{ramp(33), "ed0351a7cb4d0c09"},
		{ramp(64), "900d8bac14737662"},
		{ramp(1000), "982310feec424f51"},
	} {
		h := New("S")
		for _, cut := range []int{0, 1, 7, 32, len(tc.data)} {
			cut = min(cut, len(tc.data))
			h.Reset()
			h.Write(tc.data[:cut])
			h.Write(tc.data[cut:])
			if got := stored(h.Sum64()); got != tc.want {
				t.Errorf("%d bytes written %d+rest: %s, want %s", len(tc.data), cut, got, tc.want)
			}
		}
		if got := stored(h.Sum(tc.data)); got != tc.want {
			t.Errorf("Sum of %d bytes: %s, want %s", len(tc.data), got, tc.want)
		}
		if got := stored(Sum64("S", tc.data)); got != tc.want {
			t.Errorf("Sum64 of %d bytes: %s, want %s", len(tc.data), got, tc.want)
		}
	}
}

func stored(sum uint64) string {
	return hex.EncodeToString(binary.LittleEndian.AppendUint64(nil, sum))
}

func TestSumDoesNotAllocate(t *testing.T) {
	h, data := New("S"), ramp(200)
	if n := testing.AllocsPerRun(100, func() {
		h.Reset()
		h.Write(data[:16])
		h.Write(data[16:])
		if h.Sum64() != h.Sum(data) {
			t.Fatal("sums differ")
		}
	}); n != 0 {
		t.Errorf("%v allocations per sum", n)
	}
}

func BenchmarkSum128(b *testing.B) {
	h, data := New("S"), ramp(128)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		h.Reset()
		h.Write(data[:16])
		h.Write(data[16:])
		h.Sum64()
	}
}

// TestSumParts compares the sum of two parts with that of the whole, for every
// length of the rest of a packet, at every alignment.
func TestSumParts(t *testing.T) {
	key := sha256.Sum256([]byte("S"))
	data := ramp(4200)
	for n := range 300 {
		for at := range 8 {
			piece := slices.Clone(data[at : at+16+n : at+16+n])
			want := highwayhash.Sum64(piece, key[:])
			head := [16]byte(piece)
			if got := SumParts(&key, &head, piece[16:]); got != want {
				t.Fatalf("%d bytes: %016x, want %016x", 16+n, got, want)
			}
			if got := joinParts(&key, &head, piece[16:]); got != want {
				t.Fatalf("%d bytes joined: %016x, want %016x", 16+n, got, want)
			}
		}
	}
}

// TestSumPair compares two sums at a time with one, for every length of the rest of a
// packet, at every alignment, and for bodies of different lengths.
func TestSumPair(t *testing.T) {
	key := sha256.Sum256([]byte("S"))
	data := ramp(4200)
	for n := range 300 {
		for at := range 8 {
			for _, more := range []int{0, 1} {
				a := slices.Clone(data[at : at+16+n])
				b := slices.Clone(data[at+1000 : at+1000+16+n+more])
				headA, headB := [16]byte(a), [16]byte(b)
				wantA, wantB := highwayhash.Sum64(a, key[:]), highwayhash.Sum64(b, key[:])
				if gotA, gotB := SumPair(&key, &headA, a[16:], &headB, b[16:]); gotA != wantA || gotB != wantB {
					t.Fatalf("%d and %d bytes: %016x %016x, want %016x %016x", len(a), len(b), gotA, gotB, wantA, wantB)
				}
			}
		}
	}
}

// FuzzSumPair compares two sums at a time with one on any bytes.
func FuzzSumPair(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdefxxx0123456789abcdef0123456789abcdefyyy"), []byte("S"))
	f.Fuzz(func(t *testing.T, data, name []byte) {
		n := len(data) / 2
		if n < 16 {
			return
		}
		key := sha256.Sum256(name)
		a, b := data[:n], data[n:2*n]
		headA, headB := [16]byte(a), [16]byte(b)
		wantA, wantB := highwayhash.Sum64(a, key[:]), highwayhash.Sum64(b, key[:])
		if gotA, gotB := SumPair(&key, &headA, a[16:], &headB, b[16:]); gotA != wantA || gotB != wantB {
			t.Fatalf("%016x %016x, want %016x %016x", gotA, gotB, wantA, wantB)
		}
	})
}

// FuzzSumParts compares the two ways to compute a sum on any bytes.
func FuzzSumParts(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdefx"), []byte("S"))
	f.Fuzz(func(t *testing.T, data, name []byte) {
		if len(data) < 16 {
			return
		}
		key := sha256.Sum256(name)
		head := [16]byte(data)
		if got, want := SumParts(&key, &head, data[16:]), highwayhash.Sum64(data, key[:]); got != want {
			t.Fatalf("%016x, want %016x", got, want)
		}
	})
}
