package check

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/oldindex"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scan"
)

// block is a block file.
type block struct {
	number     uint64
	path       string
	size       int64 // of the file
	encrypted  bool
	cipher     Cipher
	key        *keys.Key // that opens it, as it is now
	opened     keys.Opened
	compressed bool
	raw        int // decrypted and decompressed size
	firstSeq   uint64
	lastSeq    uint64
	records    int
	messages   uint64 // live
	unreadable error
	keyless    bool // unreadable for want of a key
	oldKey     bool // readable with <N>.key.old only
	last       bool // no later block holds anything

	after, before uint64 // see scan.Block
}

// content is a block that was read.
type content struct {
	bytes []byte
	bad   []blockcomp.Range
	why   string               // they are bad; "" is that they cannot be decompressed
	last  [record.SumSize]byte // the last bytes of the file, decrypted
	file  []byte               // as stored, if that is only encrypted
}

var (
	errNoKey    = errors.New("the key file is missing")
	errCompress = errors.New("cannot be decompressed")
)

// load reads, decrypts and decompresses a block. What is wrong with it as a
// whole is left in b.unreadable.
func (s *stream) load(b *block) (content, error) {
	var c content
	b.unreadable, b.keyless = nil, false
	if s.plan != nil && b.number == uint64(s.plan.Next) {
		return s.planned(b), s.done(b.size)
	}
	stored, err := s.read(b.path, blockcomp.MaxSize)
	var cause error
	if unreadable(err) {
		cause = err
		if stored, c.bad, err = readAround(s.fs, b.path); len(c.bad) > 0 && c.bad[0] == (blockcomp.Range{End: len(stored)}) {
			b.unreadable = plain(cause)
			return c, s.done(b.size)
		}
	}
	if err != nil {
		return c, err
	}
	if stored == nil {
		return c, fmt.Errorf("%s disappeared while it was being read", b.path)
	}
	if err := s.done(int64(len(stored))); err != nil {
		return c, err
	}
	file := stored
	if stored, err = s.decrypt(b, file); err != nil {
		b.unreadable, b.keyless = err, true
		return c, nil
	}
	if b.encrypted && !blockcomp.Is(stored) {
		c.file = file
	}
	if n := len(stored); n >= record.SumSize {
		c.last = [record.SumSize]byte(stored[n-record.SumSize:])
	}
	c.bytes = stored
	if b.compressed = blockcomp.Is(stored); b.compressed {
		var err error
		if c.bytes, c.bad, err = blockcomp.Decode(stored); c.bytes == nil {
			b.unreadable = fmt.Errorf("%w: %w", errCompress, err)
		}
	} else if len(c.bad) > 0 {
		c.why = plain(cause).Error()
	}
	if s.plan != nil && b.number == uint64(s.plan.Keep) {
		s.cut(b, &c)
	}
	b.raw = len(c.bytes)
	return c, nil
}

// plain is an error of the disk without the name of the file, which is told beside it.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// decrypt finds the key with which the content makes sense: that of the key
// file, or the one before an interrupted rewrite.
func (s *stream) decrypt(b *block, stored []byte) ([]byte, error) {
	keyPath := filepath.Join(s.msgs, strconv.FormatUint(b.number, 10)+".key")
	file, err := s.read(keyPath, maxMeta)
	if err != nil {
		return nil, err
	}
	if file == nil {
		if !s.keys.sealed || len(stored) == 0 || s.parses(b, stored) {
			return stored, nil // plain, or not converted yet
		}
		return nil, errNoKey
	}
	b.encrypted = true
	object := keys.OfBlock(s.owner(), s.stream, b.number)
	key, opened, err := s.opts.Keys.Open(object, file)
	b.opened, b.cipher = opened, opened.Cipher
	if err == nil {
		plain := make([]byte, len(stored))
		key.Stream().XORAt(plain, stored, 0)
		b.key = key
		if s.parses(b, plain) {
			return plain, nil
		}
		if older := s.decryptOlder(b, stored, keyPath); older != nil {
			return older, nil
		}
		return plain, nil
	}
	if older := s.decryptOlder(b, stored, keyPath); older != nil {
		return older, nil
	}
	return nil, fmt.Errorf("%s: %w", filepath.Base(keyPath), err)
}

// decryptOlder tries what an interrupted conversion leaves: the key before it,
// or a block that is still plain.
func (s *stream) decryptOlder(b *block, stored []byte, keyPath string) []byte {
	if file, err := s.read(keyPath+".old", maxMeta); err == nil && file != nil {
		if key, opened, err := s.opts.Keys.Open(keys.OfBlock(s.owner(), s.stream, b.number), file); err == nil {
			plain := make([]byte, len(stored))
			key.Stream().XORAt(plain, stored, 0)
			if s.parses(b, plain) {
				b.oldKey, b.opened, b.cipher = true, opened, opened.Cipher
				return plain
			}
		}
	}
	if len(stored) > 0 && s.parses(b, stored) {
		b.encrypted, b.cipher = false, NoCipher
		return stored
	}
	return nil
}

// parses says whether content begins like a block: with a valid record, or
// compressed.
func (s *stream) parses(b *block, content []byte) bool {
	if len(content) == 0 {
		return true
	}
	if blockcomp.Is(content) {
		c, _, err := blockcomp.Decode(content)
		return err == nil || c != nil
	}
	key := record.NewKey(s.stream, uint32(b.number))
	_, err := record.Decode(content, &key)
	return err == nil
}

// firstSequence is the sequence of the first record of a block that has one, or
// 0 if it cannot be told without repairing the block.
func (s *stream) firstSequence(b *block, c *content) uint64 {
	key := record.NewKey(s.stream, uint32(b.number))
	for at := 0; at < len(c.bytes); {
		r, err := record.Decode(c.bytes[at:], &key)
		if err != nil {
			return 0
		}
		if r.Kind != record.Tombstone && r.Kind != record.Dead {
			return r.Seq
		}
		at += r.Size
	}
	return 0
}

// scanBlock describes a loaded block to the scanner.
func (s *stream) scanBlock(b *block, c *content) *scan.Block {
	sb := &scan.Block{
		Content: c.bytes, Stream: s.stream, Number: uint32(b.number),
		Last:  b.last,
		After: b.after, Before: b.before, Unreadable: c.bad, Why: c.why, Raw: c.file,
		Evidence: s.evidence(b.number),
	}
	if len(s.cfg.Subjects) > 0 || len(s.cfg.Sources) > 0 || len(s.cfg.Mirror) > 0 {
		sb.ValidSubject = record.ValidSubject[[]byte]
	}
	return sb
}

// oldIndex reads what a server before 2.10 has written of a block; nil if there is
// no such file, it is not of this content, or index.db says more.
func (s *stream) oldIndex(b *block, c *content) (*oldindex.Index, error) {
	if s.index != nil {
		return nil, nil
	}
	file, err := s.read(filepath.Join(s.msgs, strconv.FormatUint(b.number, 10)+".idx"), oldindex.MaxSize)
	if err != nil || file == nil {
		return nil, err
	}
	return oldindex.Open(file, b.key, len(c.bytes), c.last), nil
}
