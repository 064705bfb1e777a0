// Package archive reads and writes stream snapshots (backups), as streams: no
// more than one entry is in memory.
//
// There are two formats, both inside an S2 stream. Version 2 is a sequence of
// entries: the state, the consumers, the messages. Version 1 is a tar file of a
// stream directory, decrypted and decompressed.
package archive

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/s2"
)

const (
	magic     = "NATSARC1"
	stateName = "state.json"
	// consumerPrefix stands before a consumer's name in its entry.
	consumerPrefix = "consumers/"

	maxName = 1 << 20
	// MaxBody bounds headers and payload of an entry: a message of 32 MiB, or
	// the state of a consumer with some hundred thousand pending messages.
	MaxBody = 64 << 20
	// MaxConsumers bounds the number that state.json may announce.
	MaxConsumers = 1 << 20
)

var (
	// ErrCorrupt wraps every error about what an archive holds.
	ErrCorrupt = errors.New("corrupt archive")
	// ErrUnexpected is matched by the error about an entry of version 1 that is
	// no file of a stream directory. It wraps ErrCorrupt.
	ErrUnexpected = fmt.Errorf("%w: unexpected content", ErrCorrupt)
	// ErrTruncated says that the archive ends before its terminator.
	ErrTruncated = fmt.Errorf("%w: truncated", ErrCorrupt)
)

// Kind tells the entries of a version 2 archive apart.
type Kind uint8

const (
	State    Kind = iota // Data is the JSON of the stream's state; always first
	Consumer             // Name is the consumer's name, Data its JSON
	Message
)

// Entry is an entry of a version 2 archive. Header and Data are valid until the
// next one is read.
type Entry struct {
	Kind   Kind
	Name   string // subject or consumer name
	Time   int64  // nanoseconds since the epoch
	Seq    uint64
	Header []byte // raw header section
	Data   []byte
}

// Writer writes a version 2 archive: State, then each Consumer that the state
// announces, then each Message in ascending order, then Close; and Stop in any case.
type Writer struct {
	s2   *s2.Writer
	buf  []byte
	msgs int
	err  error
}

// firstBlock is the number of messages after which the first block of them ends:
// a receiver gives up when nothing comes for some seconds, and a whole block of
// small messages from a slow disk may take longer.
const firstBlock = 32

// NewWriter begins an archive.
func NewWriter(w io.Writer) *Writer {
	a := &Writer{s2: s2.NewWriter(w)}
	_, a.err = a.s2.Write([]byte(magic))
	return a
}

// State writes the stream's state, whose consumer_count must be the number of
// consumers that follow. It is a block of its own, so that a reader has it
// before the first message.
func (w *Writer) State(json []byte) error {
	if err := w.entry(stateName, 0, 0, nil, json); err != nil {
		return err
	}
	w.err = w.s2.Flush()
	return w.err
}

// Consumer writes a consumer.
func (w *Writer) Consumer(name string, json []byte) error {
	return w.entry(consumerPrefix+name, 0, 0, nil, json)
}

// Message writes a message.
func (w *Writer) Message(subject string, ts int64, seq uint64, header, data []byte) error {
	if err := w.entry(subject, ts, seq, header, data); err != nil {
		return err
	}
	if w.msgs++; w.msgs == firstBlock {
		w.err = w.s2.Flush()
	}
	return w.err
}

func (w *Writer) entry(name string, ts int64, seq uint64, header, data []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(name) > maxName || len(header)+len(data) > MaxBody {
		return fmt.Errorf("archive entry %.40q: %d bytes are too many", name, len(name)+len(header)+len(data))
	}
	b := binary.AppendUvarint(w.buf[:0], uint64(len(name)))
	b = binary.AppendVarint(b, ts)
	b = binary.AppendUvarint(b, seq)
	b = binary.AppendUvarint(b, uint64(len(header)))
	b = binary.AppendUvarint(b, uint64(len(data)))
	b = append(b, name...)
	w.buf = b
	for _, part := range [3][]byte{b, header, data} {
		if len(part) == 0 {
			continue
		}
		if _, w.err = w.s2.Write(part); w.err != nil {
			return w.err
		}
	}
	return nil
}

// Close writes the terminator and everything that is buffered.
func (w *Writer) Close() error {
	if err := w.entry("", 0, 0, nil, nil); err != nil {
		return err
	}
	return w.s2.Close()
}

// Stop ends the work on an archive that is complete or given up: a goroutine that
// writes what is compressed has ended when it returns.
func (w *Writer) Stop() { w.s2.Reset(nil) }

// Reader reads an archive of either version.
type Reader struct {
	r         *bufio.Reader
	version   int
	consumers uint64 // still to come
	started   bool
	done      bool
	lastSeq   uint64
	body      []byte
	files     *tarFiles
}

// NewReader begins to read an archive and finds out its version.
func NewReader(r io.Reader) (*Reader, error) {
	a := &Reader{r: bufio.NewReaderSize(s2.NewReader(r), 64<<10), version: 1}
	head, err := a.r.Peek(len(magic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if string(head) == magic {
		a.version = 2
		a.r.Discard(len(magic))
	} else {
		a.files = newTarFiles(a.r)
	}
	return a, nil
}

// Version is 1 (read with NextFile) or 2 (read with Next).
func (r *Reader) Version() int { return r.version }

// Next returns the next entry of a version 2 archive, io.EOF behind the
// terminator. Errors about the content wrap ErrCorrupt; a missing terminator is
// ErrTruncated.
func (r *Reader) Next() (Entry, error) {
	if r.version != 2 {
		return Entry{}, fmt.Errorf("archive: entries of version %d", r.version)
	}
	if r.done {
		return Entry{}, io.EOF
	}
	var n [5]uint64
	for i := range n {
		var err error
		if i == 1 {
			var ts int64
			ts, err = binary.ReadVarint(r.r)
			n[i] = uint64(ts)
		} else {
			n[i], err = binary.ReadUvarint(r.r)
		}
		if err != nil {
			return Entry{}, r.broken(err)
		}
	}
	name, header, data := n[0], n[3], n[4]
	if n == [5]uint64{} {
		if r.consumers > 0 || !r.started {
			return Entry{}, fmt.Errorf("%w: entries are missing", ErrCorrupt)
		}
		r.done = true
		return Entry{}, io.EOF
	}
	if name == 0 || name > maxName || header > MaxBody || data > MaxBody-header {
		return Entry{}, fmt.Errorf("%w: entry of %d+%d+%d bytes", ErrCorrupt, name, header, data)
	}
	size := name + header + data
	if err := r.fill(size); err != nil {
		return Entry{}, err
	}
	e := Entry{Kind: Message, Name: string(r.body[:name]), Time: int64(n[1]), Seq: n[2], Data: r.body[name+header:]}
	if header > 0 {
		e.Header = r.body[name : name+header]
	}
	return e, r.classify(&e)
}

// fill reads size bytes into body, growing it as the bytes arrive, so that a
// lying length costs no memory.
func (r *Reader) fill(size uint64) error {
	r.body = r.body[:0]
	for left := int(size); left > 0; {
		n := min(left, 1<<20)
		at := len(r.body)
		if cap(r.body)-at < n {
			r.body = append(r.body, make([]byte, n)...)
		} else {
			r.body = r.body[:at+n]
		}
		if _, err := io.ReadFull(r.r, r.body[at:]); err != nil {
			return r.broken(err)
		}
		left -= n
	}
	return nil
}

func (r *Reader) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// classify checks the order of entries: the state says how many consumers
// follow, so that a subject may look like a consumer's entry.
func (r *Reader) classify(e *Entry) error {
	if !r.started {
		var state struct {
			Consumers uint64 `json:"consumer_count"`
		}
		if e.Name != stateName {
			return fmt.Errorf("%w: begins with %.40q", ErrCorrupt, e.Name)
		}
		if err := json.Unmarshal(e.Data, &state); err != nil {
			return fmt.Errorf("%w: state: %w", ErrCorrupt, err)
		}
		if state.Consumers > MaxConsumers {
			return fmt.Errorf("%w: %d consumers", ErrCorrupt, state.Consumers)
		}
		r.started, r.consumers, e.Kind = true, state.Consumers, State
		return nil
	}
	if r.consumers > 0 {
		name, ok := strings.CutPrefix(e.Name, consumerPrefix)
		if !ok || name == "" || strings.ContainsAny(name, "/\\\x00") {
			return fmt.Errorf("%w: %.40q where a consumer belongs", ErrCorrupt, e.Name)
		}
		r.consumers--
		e.Kind, e.Name = Consumer, name
		return nil
	}
	if e.Seq <= r.lastSeq {
		return fmt.Errorf("%w: sequence %d behind %d", ErrCorrupt, e.Seq, r.lastSeq)
	}
	r.lastSeq = e.Seq
	return nil
}
