package blockcomp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/s2"
)

func text(n int) []byte {
	b := bytes.Repeat([]byte("orders.new 0123456789 "), n/22+1)[:n]
	for i := 0; i < len(b); i += 97 {
		b[i] = byte(i / 97)
	}
	return b
}

func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestRoundTripAndLibrary(t *testing.T) {
	for _, content := range [][]byte{text(8), text(30), text(32_000), text(3<<20 + 5), noise(9), noise(2<<20 + 1)} {
		stored := Encode([]byte("before"), content)[len("before"):]
		if !Is(stored) {
			t.Fatal("not recognised")
		}
		got, bad, err := Decode(stored)
		if err != nil || bad != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes: decoded %d, %v, %v", len(content), len(got), bad, err)
		}
		// The library's reader, which the reference uses, agrees.
		size, n := binary.Uvarint(stored[4:])
		if size != uint64(len(content)) {
			t.Fatalf("size %d, want %d", size, len(content))
		}
		lib, err := io.ReadAll(s2.NewReader(bytes.NewReader(stored[4+n : len(stored)-8])))
		if err != nil || !bytes.Equal(append(lib, stored[len(stored)-8:]...), content) {
			t.Fatalf("%d bytes: the library reads %d, %v", len(content), len(lib), err)
		}
		// And we read what the library's writer makes.
		for _, opts := range [][]s2.WriterOption{nil, {s2.WriterPadding(512)}, {s2.WriterSnappyCompat()}, {s2.WriterBetterCompression(), s2.WriterBlockSize(64 << 10)}} {
			var out bytes.Buffer
			w := s2.NewWriter(&out, opts...)
			w.Write(content[:len(content)-8])
			w.Close()
			form := append(binary.AppendUvarint([]byte("cmp\x01"), size), out.Bytes()...)
			form = append(form, content[len(content)-8:]...)
			got, bad, err := Decode(form)
			if err != nil || bad != nil || !bytes.Equal(got, content) {
				t.Fatalf("%d bytes of the library: %d, %v, %v", len(content), len(got), bad, err)
			}
		}
	}
}

func TestNoneAlgorithm(t *testing.T) {
	got, _, err := Decode([]byte("cmp\x00\x0aab12345678"))
	if err != nil || string(got) != "ab12345678" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDamageIsConfined(t *testing.T) {
	content := text(3<<20 + 100)
	stored := Encode(nil, content)
	// Invert a bit in the middle of the second chunk.
	_, n := binary.Uvarint(stored[4:])
	first := 4 + n + len(streamID)
	second := first + 4 + int(binary.LittleEndian.Uint32(stored[first:])>>8)
	stored[second+500] ^= 0x10
	got, bad, err := Decode(stored)
	if !errors.Is(err, ErrCorrupt) {
		t.Fatalf("error %v", err)
	}
	if len(bad) != 1 || bad[0] != (Range{1 << 20, 2 << 20}) {
		t.Fatalf("bad %v", bad)
	}
	if len(got) != len(content) || !bytes.Equal(got[:1<<20], content[:1<<20]) || !bytes.Equal(got[2<<20:], content[2<<20:]) {
		t.Fatal("undamaged chunks differ")
	}
}

func TestRefused(t *testing.T) {
	good := Encode(nil, text(1000))
	for name, b := range map[string][]byte{
		"empty":       nil,
		"short":       []byte("cmp\x01"),
		"algorithm":   append([]byte("cmp\x02"), good[4:]...),
		"size lies":   append([]byte("cmp\x01\xe9\x07"), good[6:]...),
		"size small":  append([]byte("cmp\x01\xe7\x07"), good[6:]...),
		"size huge":   append(binary.AppendUvarint([]byte("cmp\x01"), 1<<60), good[6:]...),
		"no tail":     []byte("cmp\x01\x08"),
		"cut":         good[:len(good)-20],
		"none, short": []byte("cmp\x00\x0a1234567"),
	} {
		if _, _, err := Decode(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(nil, text(100)))
	f.Add(Encode(nil, noise(5000)))
	f.Add([]byte("cmp\x00\x0aab12345678"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4 {
			if size, _ := binary.Uvarint(b[4:]); size > 1<<20 && size <= MaxSize {
				return // allowed, but too slow for a fuzzer
			}
		}
		content, bad, err := Decode(b)
		if err == nil && bad != nil {
			t.Fatal("damage without an error")
		}
		if err != nil || len(content) < tail {
			return
		}
		again, _, err := Decode(Encode(nil, content))
		if err != nil || !bytes.Equal(again, content) {
			t.Fatalf("%d bytes do not survive: %v", len(content), err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	content := text(8 << 20)
	var dst []byte
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		dst = Encode(dst[:0], content)
	}
}

func BenchmarkDecode(b *testing.B) {
	stored := Encode(nil, text(8<<20))
	b.SetBytes(8 << 20)
	b.ReportAllocs()
	for b.Loop() {
		Decode(stored)
	}
}
