package keys

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The format document, section 19.3: key "secret", account "$G", stream "S".
func TestVectors(t *testing.T) {
	for _, tc := range []struct {
		o    Object
		want string
	}{
		{OfStream("$G", "S"), "a2c4f1e375b7ea14096381955b23f89790c2627427cf2884d7e0713bbb8716e6"},
		{OfBlock("$G", "S", 1), "c21f4cb0a23cb20c9f453f4cdd488f33c401d3749b2edc3ccb3444707e97fa58"},
		{OfConsumer("$G", "S", "C"), "44082174f80fc6787eaffcaf1c085e8afa0b5d5ce1e1280f365f07276f907242"},
	} {
		if got := hex.EncodeToString(wrappingKey([]byte("secret"), tc.o)); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.o, got, tc.want)
		}
	}

	for _, tc := range []struct {
		cipher       Cipher
		file, stream string
	}{
		{ChaCha,
			"6465666768696a6b6c6d6e6f707172737475767778797a7b 727b560dd85fe20dc71d647112d1efc0cb0623c63952f3a04a872db5e3951ef9 cd27b6453027113d923df719b8f97cdc",
			"d9d1c952f53bb5926ebdd7d07aaebf7c04bd7b41bd10e3d167a17f1da688a5984ff41a8d93121bab7d7cf2967d4f4007"},
		{AES,
			"6465666768696a6b6c6d6e6f70717273 a60b6fe94f2a086e644c0d6c4bb489ba69814b5a900573a44749db7b459ee33c 0009224d3dd3c3cc9f3a944fa4ad85ff",
			"93d81120b620bb4d7e8dbfabe6bf90dcb5e98b0500d315d87276945a9a8ce192c0c19a51d6a9ad58a25eb88f6a86850f"},
	} {
		file := unhex(t, tc.file)
		ring := Ring{Key: []byte("secret"), Cipher: tc.cipher}
		k, how, err := ring.Open(OfBlock("$G", "S", 1), file)
		if err != nil {
			t.Fatal(err)
		}
		if !how.Current(ring) {
			t.Errorf("%v: opened by %+v", tc.cipher, how)
		}
		for i := range k.seed {
			if k.seed[i] != byte(i) {
				t.Fatalf("%v: seed % x", tc.cipher, k.seed)
			}
		}
		out := make([]byte, 48)
		k.Stream().XORAt(out, out, 0)
		if got := hex.EncodeToString(out); got != tc.stream {
			t.Errorf("%v: key stream %s, want %s", tc.cipher, got, tc.stream)
		}
		again, err := k.wrap([]byte("secret"), OfBlock("$G", "S", 1))
		if err != nil || !bytes.Equal(again, file) {
			t.Errorf("%v: wrapped again: % x, %v", tc.cipher, again, err)
		}
	}
}

func TestFourAttempts(t *testing.T) {
	o := OfStream("A", "S")
	for _, made := range []Opened{{ChaCha, false}, {AES, false}, {ChaCha, true}, {AES, true}} {
		for _, configured := range []Cipher{ChaCha, AES} {
			ring := Ring{Key: []byte("new"), PrevKey: []byte("old"), Cipher: configured}
			maker := Ring{Key: ring.Key, Cipher: made.Cipher}
			if made.Prev {
				maker.Key = ring.PrevKey
			}
			k, file, err := maker.New(o)
			if err != nil {
				t.Fatal(err)
			}
			if len(file) != made.Cipher.KeyFileSize() {
				t.Errorf("%v: key file of %d bytes", made.Cipher, len(file))
			}
			got, how, err := ring.Open(o, file)
			if err != nil || how != made || *got != *k {
				t.Errorf("made by %+v, configured %v: opened by %+v, %v", made, configured, how, err)
			}
			if want := !made.Prev && made.Cipher == configured; how.Current(ring) != want {
				t.Errorf("made by %+v, configured %v: current is not %v", made, configured, want)
			}
			if _, _, err := ring.Open(OfStream("A", "T"), file); !errors.Is(err, ErrNotRecovered) {
				t.Errorf("key of another stream: %v", err)
			}
			for _, cut := range []int{0, 63} {
				if _, _, err := ring.Open(o, file[:cut]); !errors.Is(err, ErrBadKeySize) {
					t.Errorf("%d bytes: %v", cut, err)
				}
			}
		}
	}
	if _, _, err := (Ring{}).Open(o, make([]byte, 72)); !errors.Is(err, ErrNotRecovered) {
		t.Errorf("no key: %v", err)
	}
}

func TestSeal(t *testing.T) {
	for _, c := range []Cipher{ChaCha, AES} {
		k, _, err := Ring{Key: []byte("x"), Cipher: c}.New(OfStream("A", "S"))
		if err != nil {
			t.Fatal(err)
		}
		for _, plain := range []string{"", "state"} {
			sealed, err := k.Seal([]byte(plain))
			if err != nil || len(sealed) != len(plain)+c.Overhead() {
				t.Fatalf("%v: %d bytes sealed into %d, %v", c, len(plain), len(sealed), err)
			}
			got, err := k.Unseal(sealed)
			if err != nil || string(got) != plain {
				t.Errorf("%v: unsealed %q, %v", c, got, err)
			}
			for i := range sealed {
				sealed[i] ^= 1
				if _, err := k.Unseal(sealed); err == nil {
					t.Errorf("%v: byte %d changed unnoticed", c, i)
				}
				sealed[i] ^= 1
			}
			for i := range sealed {
				if _, err := k.Unseal(sealed[:i]); err == nil {
					t.Errorf("%v: cut at %d unnoticed", c, i)
				}
			}
		}
	}
}

func TestStreamSeeks(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, seed))
	for _, c := range []Cipher{ChaCha, AES} {
		k, _, err := Ring{Key: []byte("x"), Cipher: c}.New(OfStream("A", "S"))
		if err != nil {
			t.Fatal(err)
		}
		whole := make([]byte, 10_000)
		k.Stream().XORAt(whole, whole, 0)
		s := k.Stream()
		for range 500 {
			off := rng.IntN(len(whole))
			if rng.IntN(3) == 0 {
				off = int(s.pos) % len(whole)
			}
			n := rng.IntN(min(300, len(whole)-off) + 1)
			got := make([]byte, n)
			s.XORAt(got, got, int64(off))
			if !bytes.Equal(got, whole[off:off+n]) {
				t.Fatalf("%v: %d bytes at %d differ", c, n, off)
			}
		}
	}
	// The counter of AES carries into its upper half.
	ctr := [16]byte{7: 1, 8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xfe}
	addCounter(&ctr, 3)
	if want := [16]byte{7: 2, 15: 1}; ctr != want {
		t.Errorf("counter % x, want % x", ctr, want)
	}
}

func TestAppendsInARowDoNotAllocate(t *testing.T) {
	for _, c := range []Cipher{ChaCha, AES} {
		k, _, err := Ring{Key: []byte("x"), Cipher: c}.New(OfStream("A", "S"))
		if err != nil {
			t.Fatal(err)
		}
		s, buf, off := k.Stream(), make([]byte, 100), int64(0)
		s.XORAt(buf, buf, off)
		if n := testing.AllocsPerRun(100, func() {
			off += int64(len(buf))
			s.XORAt(buf, buf, off)
		}); n != 0 {
			t.Errorf("%v: %v allocations", c, n)
		}
	}
}

func TestParseCipher(t *testing.T) {
	for in, want := range map[string]Cipher{"": ChaCha, "chacha": ChaCha, "chachapoly": ChaCha, "aes": AES} {
		if got, err := ParseCipher(in); got != want || err != nil {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	if _, err := ParseCipher("rot13"); !errors.Is(err, ErrUnknownCipher) {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	ring := Ring{Key: []byte("secret"), PrevKey: []byte("older"), Cipher: AES}
	o := OfBlock("$G", "S", 1)
	_, file, err := ring.New(o)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add(unhex(f, "6465666768696a6b6c6d6e6f707172737475767778797a7b 727b560dd85fe20dc71d647112d1efc0cb0623c63952f3a04a872db5e3951ef9 cd27b6453027113d923df719b8f97cdc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, how, err := ring.Open(o, b)
		if err != nil {
			// No fuzzer finds an authentication tag: b is nonce and seed then.
			for _, c := range []Cipher{AES, ChaCha} {
				if n := c.NonceSize(); len(b) >= n+seedSize {
					k := &Key{cipher: c}
					copy(k.nonce[:n], b)
					copy(k.seed[:], b[n:])
					file, err := k.wrap(ring.PrevKey, o)
					if err != nil {
						t.Fatal(err)
					}
					got, how, err := ring.Open(o, file)
					if err != nil || !how.Prev || how.Cipher != c || *got != *k {
						t.Fatalf("% x: %+v, %v", file, how, err)
					}
				}
			}
			return
		}
		master := ring.Key
		if how.Prev {
			master = ring.PrevKey
		}
		again, err := k.wrap(master, o)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("% x opened by %+v wraps to % x, %v", b, how, again, err)
		}
	})
}
