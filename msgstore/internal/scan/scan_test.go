package scan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/minio/highwayhash"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/fixture"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seqset"
)

const stream = "S"

// block is a block under construction, with the offset of each record.
type block struct {
	number uint32
	b      []byte
	at     []int
}

func (k *block) mark() *record.Key {
	k.at = append(k.at, len(k.b))
	key := record.NewKey(stream, max(k.number, 1))
	return &key
}

func (k *block) msg(seq uint64, payload string) *block {
	key := k.mark()
	var header []byte
	if seq%3 == 0 {
		header = []byte("NATS/1.0\r\nA: 1\r\n\r\n")
	}
	k.b = record.AppendMessage(k.b, key, seq, int64(seq)*1e9, "foo.bar", header, []byte(payload))
	return k
}

func (k *block) tomb(seq uint64) *block {
	key := k.mark()
	k.b = record.AppendTombstone(k.b, key, seq, 1)
	return k
}

func (k *block) skip(seq uint64) *block {
	key := k.mark()
	k.b = record.AppendSkip(k.b, key, seq, 1)
	return k
}

// end is the offset behind record i.
func (k *block) end(i int) int {
	if i+1 < len(k.at) {
		return k.at[i+1]
	}
	return len(k.b)
}

func messages(first, last uint64) *block {
	k := new(block)
	for seq := first; seq <= last; seq++ {
		k.msg(seq, fmt.Sprintf("payload of message %d", seq))
	}
	return k
}

func scanAll(t testing.TB, b *Block) (seqs []uint64, res Result) {
	t.Helper()
	if b.Stream == "" {
		b.Stream = stream
	}
	b.Number = max(b.Number, 1)
	before := bytes.Clone(b.Content)
	prev := uint64(0)
	res, err := Run(b, func(off int, r *record.Record) error {
		if got, err := record.Decode(b.Content[off:], ptr(record.NewKey(b.Stream, b.Number))); err != nil || got.Seq != r.Seq {
			t.Fatalf("visited an invalid record at %d: %v", off, err)
		}
		if r.Kind != record.Tombstone {
			if r.Seq <= prev {
				t.Fatalf("sequence %d after %d", r.Seq, prev)
			}
			prev = r.Seq
		}
		if r.Kind == record.Message {
			seqs = append(seqs, r.Seq)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, b.Content) {
		t.Fatal("the content was changed")
	}
	return seqs, res
}

func ptr[T any](v T) *T { return &v }

func seqRange(first, last uint64, without ...uint64) (s []uint64) {
	for i := first; i <= last; i++ {
		if !slices.Contains(without, i) {
			s = append(s, i)
		}
	}
	return s
}

func flip(b []byte, at int, mask byte) []byte {
	b = bytes.Clone(b)
	b[at] ^= mask
	return b
}

func sumAt(k *block, i int) *[8]byte { return ptr([8]byte(k.b[k.end(i)-8 : k.end(i)])) }

func index(first, last uint64, deleted ...uint64) Evidence {
	e := Evidence{Known: true, FirstSeq: first, LastSeq: last}
	if deleted != nil {
		e.Deleted = new(seqset.Set)
		for _, d := range deleted {
			e.Deleted.Insert(d)
		}
	}
	return e
}

// The verdicts of store-semantics.md 6.2 and 7.4, one row each.
func TestVerdicts(t *testing.T) {
	ten := messages(1, 10)
	fiveTombs := messages(1, 5).tomb(2).tomb(4)
	zeros := make([]byte, 512)
	with := func(e Evidence, sum *[8]byte) Evidence { e.LastSum = sum; return e }
	durable := func(n int) Evidence { return Evidence{DurableKnown: true, Durable: n} }
	cut := func(k *block, n int) []byte { return bytes.Clone(k.b[:len(k.b)-n]) }
	var last = ten.at[9]
	chance := new(block).msg(1, "aaa").msg(2, strings.Repeat("b", 27)).msg(4, "c") // the second has 64 bytes
	headless := (&block{number: 3}).msg(7, "a").tomb(2).msg(8, "b")
	mostlyGone := (&block{number: 3}).tomb(46).tomb(45).msg(48, "a")

	for _, tc := range []struct {
		name string
		b    Block
		want []uint64
		dmg  []Damage // without reasons
	}{
		{"clean", Block{Content: ten.b, Last: true}, seqRange(1, 10), nil},
		{"clean, current index", Block{Content: ten.b, Last: true, Evidence: with(index(1, 10), sumAt(ten, 9))}, seqRange(1, 10), nil},
		{"clean, stale index", Block{Content: ten.b, Last: true, Evidence: with(index(1, 4), sumAt(ten, 3))}, seqRange(1, 10), nil},
		{"empty", Block{Last: true, Evidence: with(index(1, 0), new([8]byte))}, nil, nil},

		{"tail inside a record, no evidence", Block{Content: cut(ten, 5), Last: true}, seqRange(1, 9),
			[]Damage{{Start: last, End: len(ten.b) - 5, Torn: true}}},
		{"tail inside a record, index covers it", Block{Content: cut(ten, 5), Last: true, Evidence: with(index(1, 10), sumAt(ten, 9))}, seqRange(1, 9),
			[]Damage{{Start: last, End: len(ten.b) - 5, FirstSeq: 10, LastSeq: 10}}},
		{"tail inside a record, index older", Block{Content: cut(ten, 5), Last: true, Evidence: with(index(1, 8), sumAt(ten, 7))}, seqRange(1, 9),
			[]Damage{{Start: last, End: len(ten.b) - 5, Torn: true}}},
		{"tail inside a record, durable before", Block{Content: cut(ten, 5), Last: true, Evidence: durable(last)}, seqRange(1, 9),
			[]Damage{{Start: last, End: len(ten.b) - 5, Torn: true}}},
		{"tail inside a record, durable behind", Block{Content: cut(ten, 5), Last: true, Evidence: durable(len(ten.b))}, seqRange(1, 9),
			[]Damage{{Start: last, End: len(ten.b) - 5, FirstSeq: 10, LastSeq: 10}}},
		{"tail inside a record, not the last block", Block{Content: cut(ten, 5), Before: 13}, seqRange(1, 9),
			[]Damage{{Start: last, End: len(ten.b) - 5, FirstSeq: 10, LastSeq: 12}}},

		{"bad checksum at the end, no evidence", Block{Content: flip(ten.b, len(ten.b)-20, 1), Last: true}, seqRange(1, 9),
			[]Damage{{Start: last, End: len(ten.b), FirstSeq: 10, LastSeq: 10}}},
		{"bad checksum at the end, durable before", Block{Content: flip(ten.b, len(ten.b)-20, 1), Last: true, Evidence: durable(last)}, seqRange(1, 9),
			[]Damage{{Start: last, End: len(ten.b), Torn: true}}},
		{"zeros behind the end", Block{Content: append(bytes.Clone(ten.b), zeros...), Last: true}, seqRange(1, 10),
			[]Damage{{Start: len(ten.b), End: len(ten.b) + 512, Torn: true}}},
		{"zeros where a durable record was", Block{Content: append(bytes.Clone(ten.b[:last]), zeros...), Last: true, Evidence: with(index(1, 10), sumAt(ten, 9))}, seqRange(1, 9),
			[]Damage{{Start: last, End: last + 512, FirstSeq: 10, LastSeq: 10}}},
		{"garbage behind the end", Block{Content: append(bytes.Clone(ten.b), bytes.Repeat([]byte{0xee}, 100)...), Last: true}, seqRange(1, 10),
			[]Damage{{Start: len(ten.b), End: len(ten.b) + 100, FirstSeq: 11, LastSeq: 11}}},
		{"cut between records, no evidence", Block{Content: ten.b[:last], Last: true}, seqRange(1, 9), nil},
		{"cut between records, current index", Block{Content: ten.b[:last], Last: true, Evidence: with(index(1, 10), sumAt(ten, 9))}, seqRange(1, 9),
			[]Damage{{Start: last, End: last, FirstSeq: 10, LastSeq: 10}}},
		{"tombstones cut off", Block{Content: cut(fiveTombs, 37), Last: true, Evidence: with(index(1, 5, 2, 4), sumAt(fiveTombs, 6))}, seqRange(1, 5),
			[]Damage{{Start: fiveTombs.at[5], End: len(fiveTombs.b) - 37}}},
		{"tombstone damaged, no evidence", Block{Content: flip(fiveTombs.b, len(fiveTombs.b)-3, 8), Last: true}, seqRange(1, 5),
			[]Damage{{Start: fiveTombs.at[6], End: len(fiveTombs.b)}}},
		{"tombstone cut in a sealed block: messages may have followed", Block{Content: cut(fiveTombs, 3)}, seqRange(1, 5),
			[]Damage{{Start: fiveTombs.at[6], End: len(fiveTombs.b) - 3, FirstSeq: 6, LastSeq: 6}}},
		{"tombstone cut in a sealed block, index", Block{Content: cut(fiveTombs, 3), Evidence: index(1, 5, 2, 4)}, seqRange(1, 5),
			[]Damage{{Start: fiveTombs.at[6], End: len(fiveTombs.b) - 3}}},
		{"tombstone's length, in front of the record that the index knows", Block{Content: flip(fiveTombs.b, fiveTombs.at[5]+2, 4), Last: true, Evidence: with(index(1, 5, 2, 4), sumAt(fiveTombs, 6))}, seqRange(1, 5),
			[]Damage{{Start: fiveTombs.at[5], End: fiveTombs.at[6]}}},
		{"length that ends at a later record by chance", Block{Content: flip(chance.b, 0, 64), Last: true}, []uint64{2, 4},
			[]Damage{{Start: 0, End: chance.at[1], FirstSeq: 1, LastSeq: 1}}},
		{"sequence of the first record, the blocks before are gone", Block{Number: 3, Content: flip(headless.b, 8, 1), Last: true}, []uint64{8},
			[]Damage{{Start: 0, End: headless.at[1], FirstSeq: 7, LastSeq: 7}}},
		{"the only record behind tombstones, the blocks before are gone", Block{Number: 3, Content: flip(mostlyGone.b, len(mostlyGone.b)-9, 1), Last: true}, nil,
			[]Damage{{Start: mostlyGone.at[2], End: len(mostlyGone.b), FirstSeq: 48, LastSeq: 48}}},

		{"payload in the middle", Block{Content: flip(ten.b, ten.at[4]+35, 1), Last: true}, seqRange(1, 10, 5),
			[]Damage{{Start: ten.at[4], End: ten.at[5], FirstSeq: 5, LastSeq: 5}}},
		{"length in the middle, far", Block{Content: flip(ten.b, ten.at[4]+2, 2), Last: true}, seqRange(1, 10, 5),
			[]Damage{{Start: ten.at[4], End: ten.at[5], FirstSeq: 5, LastSeq: 5}}},
		{"length in the middle, near", Block{Content: flip(ten.b, ten.at[4], 1), Last: true}, seqRange(1, 10, 5),
			[]Damage{{Start: ten.at[4], End: ten.at[5], FirstSeq: 5, LastSeq: 5}}},
		{"first record", Block{Content: flip(ten.b, 30, 1), Last: true}, seqRange(2, 10),
			[]Damage{{Start: 0, End: ten.at[1], FirstSeq: 1, LastSeq: 1}}},
		{"first record of a block in the middle of a stream", Block{Content: flip(messages(21, 30).b, 30, 1), After: 20, Before: 31}, seqRange(22, 30),
			[]Damage{{Start: 0, End: messages(21, 30).at[1], FirstSeq: 21, LastSeq: 21}}},
		{"last record of a sealed block", Block{Content: flip(ten.b, last+31, 1), Before: 11}, seqRange(1, 9),
			[]Damage{{Start: last, End: len(ten.b), FirstSeq: 10, LastSeq: 10}}},
		{"two places, no evidence: chains that do not reach the end prove nothing", Block{Content: flip(flip(ten.b, ten.at[2]+35, 1), ten.at[6]+35, 1), Last: true}, seqRange(1, 10, 3, 4, 5, 6, 7),
			[]Damage{{Start: ten.at[2], End: ten.at[7], FirstSeq: 3, LastSeq: 7}}},
		{"two places, index", Block{Content: flip(flip(ten.b, ten.at[2]+35, 1), ten.at[6]+35, 1), Last: true, Evidence: with(index(1, 10), sumAt(ten, 9))}, seqRange(1, 10, 3, 7),
			[]Damage{{Start: ten.at[2], End: ten.at[3], FirstSeq: 3, LastSeq: 3}, {Start: ten.at[6], End: ten.at[7], FirstSeq: 7, LastSeq: 7}}},
		{"damage in front of a gap that the index explains", Block{Content: flip(new(block).msg(1, "a").msg(2, "bbbbbbbb").msg(9, "c").b, 70, 1), Last: true, Evidence: index(1, 9, 3, 4, 5, 6, 7, 8)}, []uint64{1, 9},
			[]Damage{{Start: 38, End: 83, FirstSeq: 2, LastSeq: 2}}},
		{"decompression failed in the middle", Block{Content: zeroed(ten.b, ten.at[3]+5, ten.at[5]+9), Before: 11, Unreadable: []blockcomp.Range{{Start: ten.at[3] + 5, End: ten.at[5] + 9}}}, seqRange(1, 10, 4, 5, 6),
			[]Damage{{Start: ten.at[3], End: ten.at[6], FirstSeq: 4, LastSeq: 6}}},
		{"sequences below the block before are passed over", Block{Content: ten.b, After: 4, Last: true}, seqRange(5, 10), nil},
	} {
		tc.b.Content = bytes.Clone(tc.b.Content)
		got, res := scanAll(t, &tc.b)
		for i := range res.Damage {
			if res.Damage[i].Reason == "" {
				t.Errorf("%s: damage without a reason", tc.name)
			}
			res.Damage[i].Reason = ""
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: messages %v, want %v", tc.name, got, tc.want)
		}
		if !reflect.DeepEqual(res.Damage, tc.dmg) {
			t.Errorf("%s: damage %+v, want %+v", tc.name, res.Damage, tc.dmg)
		}
	}
}

func zeroed(b []byte, from, to int) []byte {
	b = bytes.Clone(b)
	clear(b[from:to])
	return b
}

// A payload that holds a whole valid record must not become a message, wherever
// the record around it is damaged.
func TestRecordInsideAPayload(t *testing.T) {
	inner := new(block).msg(7, "invented").b
	two := append(bytes.Clone(inner), new(block).msg(8, "invented as well").b...)
	for _, payload := range [][]byte{inner, append([]byte("x"), inner...), two, append(two, 0, 0, 0)} {
		k := messages(1, 5)
		at := len(k.b)
		k.msg(6, string(payload))
		end := len(k.b)
		for seq := uint64(7); seq <= 12; seq++ {
			k.msg(seq, "real")
		}
		for off := at; off < end; off++ {
			for bit := range 8 {
				b := Block{Content: flip(k.b, off, 1<<bit), Last: true, Stream: stream, Number: 1}
				_, err := Run(&b, func(_ int, r *record.Record) error {
					if r.Seq > 6 && string(r.Data) != "real" {
						return fmt.Errorf("record %d inside the payload was taken", r.Seq)
					}
					return nil
				})
				if err != nil {
					t.Fatalf("bit %d of byte %d: %v", bit, off-at, err)
				}
			}
		}
		// The record around it is the last one, and torn: all that is left is the
		// inner record and no real one behind it.
		b := Block{Content: bytes.Clone(k.b[:end-3]), Last: true}
		if got, _ := scanAll(t, &b); !slices.Equal(got, seqRange(1, 5)) {
			t.Errorf("torn behind an inner record: %v", got)
		}
	}
}

// Whatever single place is damaged: every message whose record is whole is
// found, every other one is in a reported range, and nothing is invented.
func TestRandomDamage(t *testing.T) {
	const seed = 42
	rng := rand.New(rand.NewPCG(seed, 0))
	for run := range 3000 {
		k := new(block)
		seq := uint64(0)
		truth := map[uint64]int{} // sequence -> index of its record
		for range 3 + rng.IntN(40) {
			switch rng.IntN(10) {
			case 0:
				k.tomb(1 + rng.Uint64N(seq+1))
			case 1:
				seq += 1 + rng.Uint64N(4)
				k.skip(seq)
			default:
				seq++
				truth[seq] = len(k.at)
				k.msg(seq, string(make([]byte, rng.IntN(200))))
			}
		}
		content := bytes.Clone(k.b)
		from := rng.IntN(len(content))
		to := min(from+1+rng.IntN(100), len(content))
		for i := from; i < to; i++ {
			content[i] ^= byte(1 + rng.IntN(255))
		}
		b := Block{Content: content, Last: run%2 == 0}
		if !b.Last {
			b.Before = seq + 1
		}
		got, res := scanAll(t, &b)
		found := map[uint64]bool{}
		for _, s := range got {
			found[s] = true
			if _, ok := truth[s]; !ok {
				t.Fatalf("seed %d run %d: message %d was invented", seed, run, s)
			}
		}
		for s, i := range truth {
			whole := k.end(i) <= from || k.at[i] >= to
			reported := false
			torn := false
			for _, d := range res.Damage {
				// Behind the last whole message only the bytes tell, if the headers are
				// gone too.
				atEnd := b.Last && d.Start <= k.at[i] && k.at[i] < d.End && d.FirstSeq > 0 && s > res.LastSeq
				reported = reported || d.FirstSeq <= s && s <= d.LastSeq || atEnd
				torn = torn || d.Torn && d.Start <= k.at[i]
			}
			switch {
			case whole && !found[s]:
				t.Fatalf("seed %d run %d: message %d at %d..%d is whole (damage %d..%d) but was not found: %+v", seed, run, s, k.at[i], k.end(i), from, to, res.Damage)
			case !whole && found[s] && !onlyLengths(k.b, content, k.at[i], k.end(i)):
				t.Fatalf("seed %d run %d: damaged message %d was returned", seed, run, s)
			case !found[s] && !reported && !torn:
				t.Fatalf("seed %d run %d: message %d is gone without a report: %+v", seed, run, s, res.Damage)
			}
		}
	}
}

// onlyLengths says that the damage hit nothing that the checksum covers, which a
// reader cannot always notice (the format's weakness 1).
func onlyLengths(was, is []byte, at, end int) bool {
	return bytes.Equal(was[at+4:at+20], is[at+4:at+20]) && bytes.Equal(was[at+22:end], is[at+22:end])
}

// The work of resynchronising is bounded even for bytes that look like records
// everywhere.
func TestHostileBytes(t *testing.T) {
	content := make([]byte, 1<<20)
	for at := 0; at+32 < len(content); at += 32 {
		n := len(content) - at
		copy(content[at:], []byte{byte(n), byte(n >> 8), byte(n >> 16), 0, byte(at >> 5), byte(at >> 13), 1, 0, 0, 0, 0, 0})
	}
	b := Block{Content: content, Last: true}
	got, res := scanAll(t, &b)
	if len(got) != 0 || len(res.Damage) != 1 {
		t.Errorf("%d messages, %+v", len(got), res.Damage)
	}
}

// seal gives the records of content, in a row, the checksums of block 1: no
// fuzzer finds one. Those whose timestamp is odd keep theirs, as damaged ones.
func seal(content []byte) []byte {
	content = bytes.Clone(content)
	key := record.NewKey(stream, 1)
	for at := 0; at < len(content); {
		r, err := record.Parse(content[at:])
		if err != nil {
			at++
			continue
		}
		if r.Time&1 == 0 {
			covered := slices.Concat(content[at+4:at+20], r.Subject, r.Header, r.Data)
			binary.LittleEndian.PutUint64(content[at+r.Size-record.SumSize:], highwayhash.Sum64(covered, key[:]))
		}
		at += r.Size
	}
	return content
}

func FuzzRun(f *testing.F) {
	f.Add(messages(1, 5).tomb(2).skip(9).b, true, uint64(0), uint64(0))
	f.Add(flip(messages(1, 5).b, 60, 4), false, uint64(0), uint64(9))
	blocks, _ := fixture.Contents(f, "*.blk")
	for _, b := range blocks {
		if len(b) < 4<<10 {
			f.Add(b, true, uint64(0), uint64(0))
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, last bool, after, before uint64) {
		content = seal(content)
		b := Block{Content: bytes.Clone(content), Last: last, After: after % (1 << 62), Before: before, Number: 1, Stream: stream}
		prev := 0
		res, err := Run(&b, func(off int, r *record.Record) error {
			if off < prev || off+r.Size > len(content) {
				t.Fatalf("record at %d of %d bytes after %d", off, r.Size, prev)
			}
			prev = off + r.Size
			return nil
		})
		if err != nil || !bytes.Equal(b.Content, content) {
			t.Fatal("content changed", err)
		}
		for _, d := range res.Damage {
			if d.Start > d.End || d.End > len(content) || d.FirstSeq > d.LastSeq || d.LastSeq == unknownSeq {
				t.Fatalf("%+v", d)
			}
		}
	})
}

func BenchmarkRun(b *testing.B) {
	k := new(block)
	for seq := uint64(1); len(k.b) < 8<<20; seq++ {
		k.msg(seq, string(make([]byte, 91)))
	}
	blk := Block{Content: k.b, Last: true, Stream: stream, Number: 1}
	b.SetBytes(int64(len(k.b)))
	b.ReportAllocs()
	for b.Loop() {
		Run(&blk, func(int, *record.Record) error { return nil })
	}
}
