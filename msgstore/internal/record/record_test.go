package record

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/minio/highwayhash"

	"github.com/natsd/natsd/msgstore/internal/fixture"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Vectors of the file store format, section 19.2: stream S, block 1.
func TestVectors(t *testing.T) {
	const ts = 1700000000000000000
	key := NewKey("S", 1)
	header := []byte("NATS/1.0\r\nA: 1\r\n\r\n")
	for _, tc := range []struct {
		name string
		got  []byte
		hex  string
		want Record
	}{
		{"message", AppendMessage(nil, &key, 1, ts, "foo.1", nil, []byte("hello")),
			"28000000 0100000000000000 00002a36fe9c9717 0500 666f6f2e31 68656c6c6f bb535e7715069f7d",
			Record{Kind: Message, Seq: 1, Time: ts, Subject: []byte("foo.1"), Data: []byte("hello"), Size: 40}},
		{"headers", AppendMessage(nil, &key, 2, ts+1, "foo.2", header, []byte("hi")),
			"3b000080 0200000000000000 01002a36fe9c9717 0500 666f6f2e32 12000000 4e4154532f312e300d0a413a20310d0a0d0a 6869 eb66f5a769d2ee39",
			Record{Kind: Message, Seq: 2, Time: ts + 1, Subject: []byte("foo.2"), Header: header, Data: []byte("hi"), Size: 59}},
		{"tombstone", AppendTombstone(nil, &key, 1, ts),
			"1e000000 0100000000000040 00002a36fe9c9717 0000 1ec6b58c22887c5a",
			Record{Kind: Tombstone, Seq: 1, Time: ts, Size: 30}},
		{"skip", AppendSkip(nil, &key, 3, ts+2),
			"1e000000 0300000000000080 02002a36fe9c9717 0000 f75f3a0578b9905a",
			Record{Kind: Skip, Seq: 3, Time: ts + 2, Size: 30}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := unhex(t, tc.hex)
			if !bytes.Equal(tc.got, want) {
				t.Fatalf("encoded %x, want %x", tc.got, want)
			}
			for _, decode := range []func([]byte, *Key) (Record, error){Decode, DecodeExclusive} {
				r, err := decode(want, &key)
				if err != nil {
					t.Fatal(err)
				}
				if !equal(r, tc.want) {
					t.Fatalf("decoded %+v, want %+v", r, tc.want)
				}
				if !bytes.Equal(want, tc.got) {
					t.Fatal("decoding changed the buffer")
				}
			}
		})
	}
}

func equal(a, b Record) bool {
	return a.Kind == b.Kind && a.Seq == b.Seq && a.Time == b.Time && a.Size == b.Size &&
		bytes.Equal(a.Subject, b.Subject) && bytes.Equal(a.Header, b.Header) && bytes.Equal(a.Data, b.Data)
}

func TestSizesRoundTrip(t *testing.T) {
	key := NewKey("ORDERS", 12)
	rng := rand.New(rand.NewPCG(1, 2))
	dst := []byte("before")
	for _, subject := range []int{0, 1, 3, 4, 5, 17, 65535} {
		for _, header := range []int{0, 12, 13, 60, 2000} {
			for _, data := range []int{0, 1, 31, 32, 33, 1000, 5000} {
				s := strings.Repeat("s", subject)
				var h []byte
				if header > 0 {
					h = []byte("NATS/1.0" + strings.Repeat("x", header-12) + "\r\n\r\n")
				}
				d := make([]byte, data)
				for i := range d {
					d[i] = byte(rng.Uint32())
				}
				seq := rng.Uint64N(MaxSeq) + 1
				dst = AppendMessage(dst[:6], &key, seq, -5, s, h, d)
				raw := dst[6:]
				if len(raw) != Size(subject, header, data) {
					t.Fatalf("size %d, want %d", len(raw), Size(subject, header, data))
				}
				want := Record{Kind: Message, Seq: seq, Time: -5, Subject: []byte(s), Header: h, Data: d, Size: len(raw)}
				for _, decode := range []func([]byte, *Key) (Record, error){Decode, DecodeExclusive} {
					r, err := decode(raw, &key)
					if err != nil || !equal(r, want) {
						t.Fatalf("%d/%d/%d: %v", subject, header, data, err)
					}
				}
			}
		}
	}
	if string(dst[:6]) != "before" {
		t.Fatal("bytes before the record changed")
	}
}

// Every flipped bit outside of the three length fields is caught by the
// checksum; inside of them by the checksum or by a sanity check, except for
// those that the format cannot tell apart (section 18, row 1).
func TestFlippedBits(t *testing.T) {
	key := NewKey("S", 1)
	good := AppendMessage(nil, &key, 7, 1, "wW1.a", []byte("NATS/1.0\r\nA: 1\r\n\r\n"), []byte("body"))
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		before := bytes.Clone(bad)
		_, err := Decode(bad, &key)
		_, err2 := DecodeExclusive(bad, &key)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("bit %d: Decode %v, DecodeExclusive %v", bit, err, err2)
		}
		if !bytes.Equal(bad, before) {
			t.Fatalf("bit %d: buffer changed", bit)
		}
		if err == nil {
			t.Fatalf("bit %d of byte %d passed", bit%8, bit/8)
		}
	}
}

func TestErrors(t *testing.T) {
	key := NewKey("S", 1)
	good := AppendMessage(nil, &key, 1, 1, "foo", nil, []byte("x"))
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for _, tc := range []struct {
		name string
		buf  []byte
		want string
	}{
		{"empty", nil, "record too short"},
		{"cut", good[:21], "record too short"},
		{"overrun", good[:33], "message overrun (index 34 lbuf 33)"},
		{"checksum", edit(func(b []byte) []byte { b[30] ^= 1; return b }), "invalid checksum"},
		{"length small", edit(func(b []byte) []byte { b[0] = 29; return b }), "sanity check failed (record length 29)"},
		{"length large", edit(func(b []byte) []byte { b[3] = 0x7f; return b }), "sanity check failed (record length 2130706466)"},
		{"subject", edit(func(b []byte) []byte { b[20] = 5; return b }), "sanity check failed (subject length 5 of 34)"},
		{"header", edit(func(b []byte) []byte { b[3] |= 0x80; return b }), "sanity check failed (subject length 3 of 34)"},
		{"zeros", make([]byte, 100), "sanity check failed (record length 0)"},
	} {
		if _, err := Decode(tc.buf, &key); err == nil || err.Error() != tc.want {
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.want)
		}
	}
}

func TestErased(t *testing.T) {
	key := NewKey("S", 3)
	b := AppendErased(nil, &key, 9, []byte("random bytes here"))
	r, err := Decode(b, &key)
	if err != nil || r.Kind != Erased || r.Seq != 9 || r.Time != 0 || r.Size != MinSize+17 {
		t.Fatalf("%+v %v", r, err)
	}
	b = AppendMessage(nil, &key, 0, 9, "x", nil, nil)
	if r, err = Decode(b, &key); err != nil || r.Kind != Dead {
		t.Fatalf("%+v %v", r, err)
	}
}

func TestNoAllocations(t *testing.T) {
	key := NewKey("S", 1)
	dst := make([]byte, 0, 4096)
	data := make([]byte, 128)
	header := []byte("NATS/1.0\r\nA: 1\r\n\r\n")
	n := testing.AllocsPerRun(100, func() {
		dst = AppendMessage(dst[:0], &key, 1, 1, "foo.bar", header, data)
		if _, err := Decode(dst, &key); err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeExclusive(dst, &key); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	key := NewKey("S", 1)
	f.Add(AppendMessage(nil, &key, 1, 2, "foo", nil, []byte("x")))
	f.Add(AppendMessage(nil, &key, 1, 2, "foo", []byte("NATS/1.0\r\n\r\n"), []byte("x")))
	f.Add(AppendTombstone(nil, &key, 1, 2))
	f.Add(AppendSkip(nil, &key, 1, 2))
	blocks, _ := fixture.Contents(f, "*.blk")
	for _, b := range blocks {
		for range 5 {
			r, err := Parse(b)
			if err != nil {
				break
			}
			f.Add(b[:r.Size])
			b = b[r.Size:]
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := Parse(b); err == nil && len(b) > 0 && b[len(b)-1]&1 == 0 {
			// No fuzzer finds a checksum: half of what parses is given its own.
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint64(b[r.Size-SumSize:], r.sum(b, &key))
			if _, err := Decode(b, &key); err != nil {
				t.Fatalf("%+v with its checksum: %v", r, err)
			}
		}
		before := bytes.Clone(b)
		p, perr := Parse(b)
		r, err := Decode(b, &key)
		x, xerr := DecodeExclusive(b, &key)
		if (err == nil) != (xerr == nil) || !bytes.Equal(b, before) {
			t.Fatalf("decoders differ: %v, %v", err, xerr)
		}
		if perr == nil && (p.Size < MinSize || p.Size > len(b) ||
			MinSize+len(p.Subject)+len(p.Header)+len(p.Data) > p.Size) {
			t.Fatalf("parsed %+v out of %d bytes", p, len(b))
		}
		size, seq, kind, subject := Next(b, &key)
		if (err == nil) != (size > 0) || err == nil && (size != r.Size || seq != r.Seq || kind != r.Kind || !bytes.Equal(subject, r.Subject)) || !bytes.Equal(b, before) {
			t.Fatalf("next: %d, %d, %v; decoded %+v, %v", size, seq, kind, r, err)
		}
		if err == nil && (!equal(r, x) || !equal(r, p)) {
			t.Fatalf("decoders differ: %+v, %+v, %+v", r, x, p)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	key := NewKey("S", 1)
	data := make([]byte, 128)
	dst := make([]byte, 0, 1<<20)
	b.Run("record", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(Size(7, 0, 128)))
		for i := 0; b.Loop(); i++ {
			if len(dst) > 1<<20-512 {
				dst = dst[:0]
			}
			dst = AppendMessage(dst, &key, uint64(i+1), 1, "foo.bar", nil, data)
		}
	})
	b.Run("hash+copy", func(b *testing.B) {
		b.SetBytes(int64(Size(7, 0, 128)))
		src := make([]byte, Size(7, 0, 128)-14)
		for b.Loop() {
			if len(dst) > 1<<20-512 {
				dst = dst[:0]
			}
			dst = append(dst, src...)
			highwayhash.Sum64(src, key[:])
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	key := NewKey("S", 1)
	raw := AppendMessage(nil, &key, 1, 1, "foo.bar", nil, make([]byte, 128))
	b.Run("exclusive", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if _, err := DecodeExclusive(raw, &key); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("shared", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if _, err := Decode(raw, &key); err != nil {
				b.Fatal(err)
			}
		}
	})
}
