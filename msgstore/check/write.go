package check

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/meta"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs"
)

// streamWriter writes a stream directory that every server opens: blocks with
// live messages only, no index.db (it is rebuilt from the blocks), everything
// synced.
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
	messages uint64
	tokens   map[string]bool // first tokens of subjects, while they are few
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
		tokens: make(map[string]bool),
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
}

// message appends a message; sequences ascend.
func (w *streamWriter) message(seq uint64, ts int64, subject string, header, data []byte) error {
	size := record.Size(len(subject), len(header), len(data))
	if seq <= w.last || size > record.MaxSize || len(subject) > 0xffff {
		return fmt.Errorf("message %d of %d bytes cannot be written behind sequence %d", seq, size, w.last)
	}
	if err := w.room(size); err != nil {
		return err
	}
	w.buf = record.AppendMessage(w.buf, &w.key, seq, ts, subject, header, data)
	w.last = seq
	w.messages++
	if len(w.tokens) < maxTokens {
		first, _, _ := strings.Cut(subject, ".")
		w.tokens[first] = true
	}
	return nil
}

func (w *streamWriter) room(size int) error {
	if len(w.buf) == 0 || len(w.buf)+size <= w.blockSize {
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
		if err := w.room(record.MinSize); err != nil {
			return err
		}
		w.buf = record.AppendTombstone(w.buf, &w.key, last, lastTime)
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
	if _, err := w.meta(w.dir, keys.OfStream(w.account, w.stream), meta.StreamName(w.stream), inf); err != nil {
		return err
	}
	return w.fs.SyncDir(w.dir)
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
	var subjects []string
	for t := range w.tokens {
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
