package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/meta"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/seqset"
	"github.com/natsd/natsd/msgstore/vfs"
)

// streamWriter writes a stream directory that every server opens: blocks with
// live messages only, index.db, everything synced.
type streamWriter struct {
	fs              vfs.FS
	account, stream string
	dir             string
	ring            Keys // what is written is encrypted if it is enabled
	compress        bool
	blockSize       int

	number   uint32
	buf      []byte
	enc      []byte
	key      record.Key
	last     uint64 // sequence
	lastTime int64
	messages uint64
	index    indexdb.Index
	subjects map[string]*indexdb.Subject
}

// Block sizes of the format (section 4.1).
const (
	minBlockSize       = 32_000
	mediumBlockSize    = 4 << 20
	encryptedBlockSize = 2 << 20
	largeBlockSize     = 8 << 20
	// maxTokens bounds the subjects of a configuration that has to be made up.
	maxTokens = 100
)

func blockSize(cfg *config, encrypted bool) int {
	switch {
	case cfg.MaxBytes > 0:
		switch s := (cfg.MaxBytes/4 + 1 + 99) / 100 * 100; {
		case s <= minBlockSize:
			return minBlockSize
		case s >= largeBlockSize:
			return largeBlockSize
		}
		return mediumBlockSize
	case cfg.MaxPer > 0:
		return mediumBlockSize
	case encrypted:
		return encryptedBlockSize
	case cfg.Retention == "" || cfg.Retention == "limits":
		return largeBlockSize
	}
	return mediumBlockSize
}

// newStreamWriter begins a stream in dir, which must not exist.
func newStreamWriter(fsys vfs.FS, dir, account, stream string, cfg *config, ring Keys) (*streamWriter, error) {
	w := &streamWriter{
		fs: fsys, account: account, stream: stream, dir: dir, ring: ring,
		compress: cfg.Compression == "s2", blockSize: blockSize(cfg, ring.Enabled()),
		subjects: make(map[string]*indexdb.Subject),
	}
	for _, d := range []string{"msgs", "obs"} {
		if err := vfs.MkdirAllSynced(fsys, filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	w.next()
	return w, nil
}

func (w *streamWriter) next() {
	w.number++
	w.key = record.NewKey(w.stream, w.number)
	w.buf = w.buf[:0]
	w.index.Blocks = append(w.index.Blocks, indexdb.Block{Number: uint64(w.number), FirstSeq: w.last + 1, LastSeq: w.last, FirstTime: 0, LastTime: w.lastTime})
}

// block is the entry of the current block in index.db.
func (w *streamWriter) block() *indexdb.Block { return &w.index.Blocks[len(w.index.Blocks)-1] }

// message appends a message; sequences ascend.
func (w *streamWriter) message(seq uint64, ts int64, subject string, header, data []byte) error {
	size := record.Size(len(subject), len(header), len(data))
	if seq <= w.last || seq > record.MaxSeq || size > record.MaxSize || len(subject) > 0xffff {
		return fmt.Errorf("message %d of %d bytes cannot be written behind sequence %d", seq, size, w.last)
	}
	if subject != "" && !record.ValidSubject(subject) || !record.Storable(subject, header, data) {
		return fmt.Errorf("message %d with subject %q would be read as damaged", seq, subject)
	}
	if err := w.room(seq, size); err != nil {
		return err
	}
	b := w.block()
	if len(w.buf) == 0 {
		b.FirstSeq, b.FirstTime = seq, ts
	}
	w.skipTo(b, seq)
	w.buf = record.AppendMessage(w.buf, &w.key, seq, ts, subject, header, data)
	b.LastSeq, b.LastTime = seq, ts
	b.Bytes += uint64(size)
	if hasHeader(header, "Nats-TTL") {
		b.TTLs++
	}
	if hasHeader(header, "Nats-Schedule") {
		b.Schedules++
	}
	if w.messages == 0 {
		w.index.FirstSeq, w.index.FirstTime = seq, ts
	}
	w.last, w.lastTime = seq, ts
	w.messages++
	w.index.Msgs++
	w.index.Bytes += uint64(size)
	if subject == "" { // a log without subjects
		return nil
	}
	sub := w.subjects[subject]
	if sub == nil {
		sub = &indexdb.Subject{Name: []byte(subject), FirstBlock: uint64(w.number)}
		w.subjects[subject] = sub
	}
	sub.Total++
	sub.LastBlock = uint64(w.number)
	return nil
}

// skipTo notes the gap in front of seq, if the block has a record already.
func (w *streamWriter) skipTo(b *indexdb.Block, seq uint64) {
	if len(w.buf) == 0 || seq == w.last+1 {
		return
	}
	if b.Deleted == nil {
		b.Deleted = new(seqset.Set)
	}
	b.Deleted.InsertRange(w.last+1, seq-1)
}

// hasHeader says whether a header block has a field.
func hasHeader(header []byte, name string) bool {
	return bytes.Contains(header, []byte("\r\n"+name+":"))
}

// maxGap bounds the deleted sequences of one block, as in a running server; a
// wider gap lies between blocks.
const maxGap = 65536

// room begins a new block if a record of this sequence and size has no place in
// the current one.
func (w *streamWriter) room(seq uint64, size int) error {
	gap := seq - w.last - 1
	if d := w.block().Deleted; d != nil {
		gap += uint64(d.Len())
	}
	if len(w.buf) == 0 || len(w.buf)+size <= w.blockSize && gap <= maxGap {
		return nil
	}
	content := w.buf
	if w.compress {
		w.enc = blockcomp.Encode(w.enc[:0], w.buf)
		content = w.enc
	}
	if err := w.put(content); err != nil {
		return err
	}
	w.next()
	return nil
}

// put writes the current block, its key file first.
func (w *streamWriter) put(content []byte) error {
	name := filepath.Join(w.dir, "msgs", strconv.Itoa(int(w.number)))
	if w.ring.Enabled() {
		k, file, err := w.ring.New(keys.OfBlock(w.account, w.stream, uint64(w.number)))
		if err != nil {
			return err
		}
		if err := vfs.WriteSynced(w.fs, name+".key", file, 0o600); err != nil {
			return err
		}
		k.Stream().XORAt(content, content, 0)
	}
	return vfs.WriteSynced(w.fs, name+".blk", content, 0o600)
}

// finish writes the last block, which carries the last sequence of the stream,
// and, last of all, the configuration, without which the directory is no stream.
// inf is the JSON of meta.inf, nil if it is lost.
func (w *streamWriter) finish(last uint64, lastTime int64, inf []byte) error {
	if last > w.last {
		if err := w.room(last, record.MinSize); err != nil {
			return err
		}
		b := w.block()
		if len(w.buf) == 0 {
			b.FirstSeq, b.FirstTime = last+1, 0
		} else {
			w.skipTo(b, last+1)
		}
		w.buf = record.AppendSkip(w.buf, &w.key, last, lastTime)
		b.LastSeq, b.LastTime = last, lastTime
		w.last, w.lastTime = last, lastTime
	}
	if n := len(w.buf); n > 0 {
		w.index.LastChecksum = [record.SumSize]byte(w.buf[n-record.SumSize:])
	}
	if err := w.put(w.buf); err != nil {
		return err
	}
	if err := w.fs.SyncDir(filepath.Join(w.dir, "msgs")); err != nil {
		return err
	}
	if inf == nil {
		var err error
		if inf, err = w.madeUpConfig(); err != nil {
			return err
		}
	}
	key, err := w.meta(w.dir, keys.OfStream(w.account, w.stream), meta.StreamName(w.stream), inf)
	if err != nil {
		return err
	}
	if err := w.putIndex(key); err != nil {
		return err
	}
	return w.fs.SyncDir(w.dir)
}

func (w *streamWriter) putIndex(key *keys.Key) error {
	x := &w.index
	x.LastSeq, x.LastTime, x.LastBlock, x.NumSubjects = w.last, w.lastTime, uint64(w.number), len(w.subjects)
	if x.Msgs == 0 && x.LastSeq > 0 {
		x.FirstSeq = x.LastSeq + 1
	}
	plain := x.Append(nil, func(yield func(indexdb.Subject) bool) {
		for _, s := range w.subjects {
			if !yield(*s) {
				return
			}
		}
	})
	file, err := indexdb.Seal(plain, w.stream, key)
	if err != nil {
		return err
	}
	return vfs.ReplaceFile(w.fs, filepath.Join(w.dir, "msgs", "index.db"), file, 0o600)
}

// meta writes meta.key, meta.inf and meta.sum and returns the key, nil for plain.
func (w *streamWriter) meta(dir string, object keys.Object, name string, inf []byte) (*keys.Key, error) {
	var key *keys.Key
	if w.ring.Enabled() {
		k, file, err := w.ring.New(object)
		if err != nil {
			return nil, err
		}
		if err := vfs.WriteSynced(w.fs, filepath.Join(dir, "meta.key"), file, 0o600); err != nil {
			return nil, err
		}
		if inf, err = k.Seal(inf); err != nil {
			return nil, err
		}
		key = k
	}
	if err := vfs.WriteSynced(w.fs, filepath.Join(dir, "meta.inf"), inf, 0o600); err != nil {
		return nil, err
	}
	return key, vfs.WriteSynced(w.fs, filepath.Join(dir, "meta.sum"), meta.Sum(name, inf), 0o600)
}

// consumer writes a consumer. state is the plain o.dat, nil for none.
func (w *streamWriter) consumer(name string, inf, state []byte) error {
	dir := filepath.Join(w.dir, "obs", name)
	if err := vfs.MkdirAllSynced(w.fs, dir, 0o700); err != nil {
		return err
	}
	key, err := w.meta(dir, keys.OfConsumer(w.account, w.stream, name), meta.ConsumerName(w.stream, name), inf)
	if err != nil {
		return err
	}
	if state != nil {
		if key != nil {
			if state, err = key.Seal(state); err != nil {
				return err
			}
		}
		if err := vfs.WriteSynced(w.fs, filepath.Join(dir, "o.dat"), state, 0o600); err != nil {
			return err
		}
	}
	return w.fs.SyncDir(dir)
}

// madeUpConfig is a configuration for a stream whose own is lost: it keeps
// everything and takes the subjects whose first token was seen.
func (w *streamWriter) madeUpConfig() ([]byte, error) {
	tokens := map[string]bool{}
	for name := range w.subjects {
		first, _, _ := strings.Cut(name, ".")
		if tokens[first] = true; len(tokens) == maxTokens {
			break
		}
	}
	var subjects []string
	for t := range tokens {
		subjects = append(subjects, t, t+".>")
	}
	slices.Sort(subjects)
	return json.Marshal(struct {
		Created           time.Time
		Name              string   `json:"name"`
		Subjects          []string `json:"subjects,omitempty"`
		Retention         string   `json:"retention"`
		MaxConsumers      int      `json:"max_consumers"`
		MaxMsgs           int      `json:"max_msgs"`
		MaxBytes          int      `json:"max_bytes"`
		MaxAge            int      `json:"max_age"`
		MaxMsgsPerSubject int      `json:"max_msgs_per_subject"`
		MaxMsgSize        int      `json:"max_msg_size"`
		Discard           string   `json:"discard"`
		Storage           string   `json:"storage"`
		Replicas          int      `json:"num_replicas"`
		Duplicates        int64    `json:"duplicate_window"`
		Compression       string   `json:"compression"`
	}{
		Created: time.Now().UTC(), Name: w.stream, Subjects: subjects, Retention: "limits", MaxConsumers: -1, MaxMsgs: -1, MaxBytes: -1,
		MaxMsgsPerSubject: -1, MaxMsgSize: -1, Discard: "old", Storage: "file", Replicas: 1, Duplicates: 120e9, Compression: "none",
	})
}
