// Package independent reads stream directories for tests. It was written from
// the text of the format and shares no code with the packages that it judges:
// own record parser, own index.db, own o.dat, own sets. Only the published
// algorithms (HighwayHash, S2, the ciphers) are libraries. It favours plainness
// over speed and reads whole files.
package independent

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/minio/highwayhash"
)

// Message is a live message.
type Message struct {
	Seq     uint64
	Time    int64
	Subject string
	Header  []byte
	Data    []byte
	Size    int // of its record
	Block   int
}

// Stream is what a stream directory holds.
type Stream struct {
	Account, Name string
	Config        json.RawMessage // content of meta.inf
	Messages      []Message       // live, ascending
	First, Last   uint64
	LastTime      int64
	Bytes         uint64
	Deleted       []uint64 // missing in [First, Last], ascending
	IndexUsed     bool     // index.db was valid and decided what is live
	Index         *Index   // decoded, if whole; it may be outdated
	Consumers     map[string]*Consumer
	Tables        Tables
	// Problems are violations of the format: each would make the reference
	// complain, rebuild or lose something. Empty for a directory that was stopped
	// in order.
	Problems []string
}

func (s *Stream) problem(format string, args ...any) {
	s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
}

func hash(name string, data []byte) []byte {
	key := sha256.Sum256([]byte(name))
	h, err := highwayhash.New64(key[:])
	if err != nil {
		panic(err)
	}
	h.Write(data)
	out := make([]byte, 8)
	binary.LittleEndian.PutUint64(out, h.Sum64())
	return out
}

// Read reads the directory of a stream: .../<account>/streams/<name>. key is the
// configured encryption key, "" without encryption. An error means that nothing
// could be read; everything else is in Problems.
func Read(dir, key string) (*Stream, error) {
	name := filepath.Base(dir)
	s := &Stream{Name: name, Account: filepath.Base(filepath.Dir(filepath.Dir(dir))), Consumers: map[string]*Consumer{}}

	inf, err := os.ReadFile(filepath.Join(dir, "meta.inf"))
	if err != nil {
		return nil, err
	}
	sum, err := os.ReadFile(filepath.Join(dir, "meta.sum"))
	if err != nil {
		return nil, err
	}
	if want := fmt.Sprintf("%x", hash(name, inf)); string(sum) != want {
		s.problem("meta.sum is %s, want %s", sum, want)
	}
	var seed *object
	if kf, err := os.ReadFile(filepath.Join(dir, "meta.key")); err == nil {
		if seed, err = openKeyFile(key, s.Account, name, kf); err != nil {
			return nil, fmt.Errorf("meta.key: %w", err)
		}
		if inf, err = seed.open(inf); err != nil {
			return nil, fmt.Errorf("meta.inf: %w", err)
		}
	} else if key != "" {
		s.problem("no meta.key")
	}
	s.Config = inf
	if !json.Valid(inf) {
		s.problem("meta.inf is not JSON")
	}

	blocks, err := s.readBlocks(filepath.Join(dir, "msgs"), key)
	if err != nil {
		return nil, err
	}
	if err := s.readIndex(filepath.Join(dir, "msgs", "index.db"), seed, blocks); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.problem("index.db: %v", err)
	}
	s.decide(blocks)
	s.readTables(dir)
	s.readConsumers(filepath.Join(dir, "obs"), key)
	return s, nil
}

// blockContent is a decoded block file.
type blockContent struct {
	number    int
	messages  []Message
	all       []uint64 // sequences of messages, skips and erased records
	tombs     []tomb
	skipped   []tomb
	lastBytes []byte // last 8 bytes of the file, decrypted
}

type tomb struct {
	seq uint64
	ts  int64
}

func (s *Stream) readBlocks(dir, key string) ([]*blockContent, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range list {
		base, ok := strings.CutSuffix(e.Name(), ".blk")
		if n, err := strconv.Atoi(base); ok && err == nil && n > 0 && strconv.Itoa(n) == base {
			numbers = append(numbers, n)
		}
	}
	sort.Ints(numbers)
	var blocks []*blockContent
	for i, n := range numbers {
		content, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%d.blk", n)))
		if err != nil {
			return nil, err
		}
		if kf, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%d.key", n))); err == nil {
			o, err := openKeyFile(key, s.Account, fmt.Sprintf("%s:%d", s.Name, n), kf)
			if err != nil {
				s.problem("%d.key: %v", n, err)
				continue
			}
			o.xor(content)
		} else if key != "" {
			s.problem("%d.key is missing", n)
			continue
		}
		b := &blockContent{number: n}
		if len(content) >= 8 {
			b.lastBytes = bytes.Clone(content[len(content)-8:])
		}
		if len(content) >= 5 && string(content[:3]) == "cmp" {
			if i == len(numbers)-1 {
				s.problem("the last block %d is compressed", n)
			}
			if content, err = decompress(content); err != nil {
				s.problem("%d.blk: %v", n, err)
				continue
			}
		}
		s.parse(b, content)
		blocks = append(blocks, b)
	}
	return blocks, nil
}

func decompress(c []byte) ([]byte, error) {
	alg := c[3]
	size, n := binary.Uvarint(c[4:])
	if n <= 0 || len(c) < 4+n+8 {
		return nil, errors.New("compression header")
	}
	body, tail := c[4+n:len(c)-8], c[len(c)-8:]
	out := body
	if alg == 1 {
		var err error
		if out, err = io.ReadAll(s2.NewReader(bytes.NewReader(body))); err != nil {
			return nil, err
		}
	} else if alg != 0 {
		return nil, fmt.Errorf("compression algorithm %d", alg)
	}
	out = append(out[:len(out):len(out)], tail...)
	if uint64(len(out)) != size {
		return nil, fmt.Errorf("decompressed %d bytes, header says %d", len(out), size)
	}
	return out, nil
}

// parse reads records until the end or the first bad one.
func (s *Stream) parse(b *blockContent, c []byte) {
	name := fmt.Sprintf("%s-%d", s.Name, b.number)
	last := uint64(0)
	for off := 0; off < len(c); {
		bad := func(why string) { s.problem("%d.blk at %d of %d: %s", b.number, off, len(c), why) }
		rest := c[off:]
		if len(rest) < 30 {
			bad("short")
			return
		}
		l := binary.LittleEndian.Uint32(rest)
		hasHeader := l>>31 == 1
		length := int(l & 0x7fffffff)
		if length < 30 || length > 32<<20 || length > len(rest) {
			bad(fmt.Sprintf("length %d", length))
			return
		}
		rec := rest[:length]
		seqField := binary.LittleEndian.Uint64(rec[4:])
		ts := int64(binary.LittleEndian.Uint64(rec[12:]))
		sl := int(binary.LittleEndian.Uint16(rec[20:]))
		pos := 22
		if pos+sl > length-8 {
			bad("subject length")
			return
		}
		subject := rec[pos : pos+sl]
		pos += sl
		var header []byte
		if hasHeader {
			if pos+4 > length-8 {
				bad("header length field")
				return
			}
			hl := int(binary.LittleEndian.Uint32(rec[pos:]))
			pos += 4
			if hl > length-8-pos {
				bad("header length")
				return
			}
			header = rec[pos : pos+hl]
			pos += hl
		}
		data := rec[pos : length-8]
		hashed := append(append(append(append([]byte(nil), rec[4:20]...), subject...), header...), data...)
		if !bytes.Equal(hash(name, hashed), rec[length-8:]) {
			bad("checksum")
			return
		}
		off += length
		erased, tombstone := seqField>>63 == 1, seqField>>62&1 == 1
		seq := seqField << 2 >> 2
		switch {
		case seq == 0:
		case tombstone:
			b.tombs = append(b.tombs, tomb{seq, ts})
		case seq <= last:
			s.problem("%d.blk: sequence %d behind %d", b.number, seq, last)
		case erased:
			last = seq
			b.all = append(b.all, seq)
			b.skipped = append(b.skipped, tomb{seq, ts})
		default:
			last = seq
			b.all = append(b.all, seq)
			b.messages = append(b.messages, Message{seq, ts, string(subject), header, data, length, b.number})
		}
	}
}

// decide finds out what is live: by index.db if it is valid, else by the blocks.
func (s *Stream) decide(blocks []*blockContent) {
	removed := map[uint64]bool{}
	prev := uint64(0)
	for _, b := range blocks {
		for _, t := range b.tombs {
			removed[t.seq] = true
			if t.seq >= s.Last {
				s.Last, s.LastTime = t.seq, t.ts
			}
		}
		for _, k := range b.skipped {
			if k.seq >= s.Last {
				s.Last, s.LastTime = k.seq, k.ts
			}
		}
		for _, m := range b.messages {
			if m.Seq <= prev {
				s.problem("%d.blk: sequence %d belongs to an earlier block", b.number, m.Seq)
			}
			if m.Seq >= s.Last {
				s.Last, s.LastTime = m.Seq, m.Time
			}
		}
		if n := len(b.all); n > 0 {
			prev = max(prev, b.all[n-1])
		}
	}
	live := func(m Message) bool { return !removed[m.Seq] }
	if s.IndexUsed {
		live = s.Index.live
		s.First, s.Last, s.LastTime = s.Index.First, s.Index.Last, s.Index.LastTime
	}
	for _, b := range blocks {
		for _, m := range b.messages {
			if live(m) {
				s.Messages = append(s.Messages, m)
				s.Bytes += uint64(m.Size)
			}
		}
	}
	if !s.IndexUsed {
		s.First = s.Last + 1
		if s.Last == 0 {
			s.First = 0
		}
	}
	if len(s.Messages) > 0 {
		s.First = s.Messages[0].Seq
	}
	at := 0
	for seq := max(s.First, 1); seq <= s.Last && seq-s.First < 1<<24; seq++ {
		if at < len(s.Messages) && s.Messages[at].Seq == seq {
			at++
		} else {
			s.Deleted = append(s.Deleted, seq)
		}
	}
	if s.IndexUsed {
		if uint64(len(s.Messages)) != s.Index.Msgs || s.Bytes != s.Index.Bytes {
			s.problem("index.db counts %d messages of %d bytes, the blocks hold %d of %d", s.Index.Msgs, s.Index.Bytes, len(s.Messages), s.Bytes)
		}
		subjects := map[string]uint64{}
		for _, m := range s.Messages {
			subjects[m.Subject]++
			if removed[m.Seq] {
				s.problem("message %d is live in index.db but has a tombstone", m.Seq)
			}
		}
		for name, n := range s.Index.Subjects {
			if subjects[name] != n {
				s.problem("index.db counts %d messages of %s, the blocks hold %d", n, name, subjects[name])
			}
		}
		if len(s.Index.Subjects) != len(subjects) && len(s.Index.Subjects) > 0 {
			s.problem("index.db has %d subjects, the blocks %d", len(s.Index.Subjects), len(subjects))
		}
	}
}
