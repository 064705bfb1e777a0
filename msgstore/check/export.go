package check

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/natsd/natsd/msgstore/archive"
	"github.com/natsd/natsd/msgstore/internal/highway"
	"github.com/natsd/natsd/msgstore/internal/meta"
	"github.com/natsd/natsd/msgstore/vfs"
)

// line is a message in the JSON lines format.
type line struct {
	Account string `json:"account"`
	Stream  string `json:"stream"`
	Seq     uint64 `json:"seq"`
	Time    string `json:"time"` // RFC 3339 with nanoseconds
	Subject string `json:"subject"`
	// Bytes is a subject that is no UTF-8, which a JSON string cannot hold.
	Bytes []byte `json:"subject_b64,omitempty"`
	Hdrs  []byte `json:"hdrs,omitempty"` // raw header block
	Data  []byte `json:"data"`
}

// Exported is the result of an export.
type Exported struct {
	Streams  int    `json:"streams"`
	Messages uint64 `json:"messages"`
	Lost     uint64 `json:"lost"` // messages that could not be read
}

// ExportLines writes every readable message as a line of JSON, in the order of
// account, stream and sequence.
func ExportLines(path string, w io.Writer, opts Options) (*Exported, error) {
	out := bufio.NewWriterSize(w, 1<<20)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	var res Exported
	l := line{}
	err := examine(path, twoPasses, &opts, func(s *stream) error {
		res.Streams++
		res.Lost += s.numLost()
		return s.each(func(m *Message) error {
			res.Messages++
			l = line{m.Account, m.Stream, m.Seq, time.Unix(0, m.Time).UTC().Format(time.RFC3339Nano), m.Subject, nil, m.Header, m.Data}
			if !utf8.ValidString(m.Subject) {
				l.Bytes = []byte(m.Subject)
			}
			return enc.Encode(&l)
		})
	})
	if err != nil {
		return nil, err
	}
	return &res, out.Flush()
}

func (s *stream) numLost() (n uint64) {
	for _, l := range s.lost {
		n += l.LastSeq - l.FirstSeq + 1
	}
	return n
}

// The files of a backup, as the nats command line tool reads and writes them.
const (
	backupName  = "backup.json"
	archiveName = "stream.tar.s2"
)

// ExportSnapshot writes each stream as a backup that a server restores, in
// to/<account>/<stream>: the configuration and state in backup.json and a version
// 1 archive in stream.tar.s2. A damaged stream is refused.
func ExportSnapshot(path, to string, opts Options) (*Exported, error) {
	if err := Apart(path, to, opts); err != nil {
		return nil, err
	}
	var res Exported
	err := build(opts.fs(), to, func(dir string) error {
		return examine(path, twoPasses, &opts, func(s *stream) error {
			consumers := s.consumers()
			for _, f := range s.findings {
				if f.Severity == Damage {
					return fmt.Errorf("%s > %s %w (%s)", s.account, s.stream, ErrDamaged, f)
				}
			}
			res.Streams++
			res.Messages += s.state.Messages
			return s.backup(filepath.Join(dir, s.account, s.stream), consumers)
		})
	})
	if err != nil {
		return nil, err
	}
	return &res, nil
}

// apiState is a stream's state as the API shows it.
type apiState struct {
	Messages  uint64    `json:"messages"`
	Bytes     uint64    `json:"bytes"`
	FirstSeq  uint64    `json:"first_seq"`
	FirstTime time.Time `json:"first_ts"`
	LastSeq   uint64    `json:"last_seq"`
	LastTime  time.Time `json:"last_ts"`
	Consumers int       `json:"consumer_count"`
}

func (s *stream) apiState() apiState {
	st := apiState{Messages: s.state.Messages, Bytes: s.state.Bytes, FirstSeq: s.state.FirstSeq, LastSeq: s.state.LastSeq, Consumers: s.state.Consumers}
	if s.lastTime != 0 {
		st.LastTime = time.Unix(0, s.lastTime).UTC()
	}
	return st
}

// backup writes the backup of a stream. Without an index.db that is as old as the
// blocks, these do not say what had gone without a trace, and servers before 2.10 take
// a tombstone for a message: then what is live is written anew first, and the backup
// made of that.
func (s *stream) backup(dir string, consumers []*consumer) error {
	if s.exact && !s.tombstones {
		return s.snapshot(dir, consumers)
	}
	scratch := filepath.Join(dir, ".scratch")
	written := filepath.Join(scratch, jetstreamDir, s.account, streamsDir, s.stream)
	if _, err := s.recoverTo(written); err != nil {
		return err
	}
	opts := Options{FS: s.opts.FS, Keys: s.opts.Keys}
	err := examine(written, twoPasses, &opts, func(s *stream) error { return s.snapshot(dir, s.consumers()) })
	if err != nil {
		return err
	}
	return s.opts.fs().RemoveAll(scratch)
}

func (s *stream) snapshot(dir string, consumers []*consumer) error {
	fsys := s.opts.fs()
	if err := vfs.MkdirAllSynced(fsys, dir, 0o700); err != nil {
		return err
	}
	api, err := editMember(s.metaRaw, "Created", nil)
	if err != nil {
		return err
	}
	backup, err := json.Marshal(struct {
		Type   string          `json:"type"`
		Config json.RawMessage `json:"config"`
		State  apiState        `json:"state"`
	}{"io.nats.jetstream.api.v1.stream_snapshot_response", api, s.apiState()})
	if err != nil {
		return err
	}
	f, err := fsys.OpenFile(filepath.Join(dir, archiveName), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.writeArchive(&fileWriter{f: f}, consumers); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// backup.json last: a backup without it is not complete.
	return vfs.ReplaceFile(fsys, filepath.Join(dir, backupName), backup, 0o600)
}

// writeArchive writes the version 1 archive: everything decrypted and
// decompressed.
func (s *stream) writeArchive(w io.Writer, consumers []*consumer) error {
	tw := archive.NewTarWriter(w)
	defer tw.Stop()
	modified := s.cfg.Created
	put := func(name string, content []byte) error { return tw.File(name, modified, content) }
	if err := put("meta.inf", s.metaRaw); err != nil {
		return err
	}
	if err := put("meta.sum", meta.Sum(meta.StreamName(s.stream), s.metaRaw)); err != nil {
		return err
	}
	for _, b := range s.blocks {
		c, err := s.load(b)
		if err != nil {
			return err
		}
		if b.unreadable != nil {
			return fmt.Errorf("%s changed while it was being exported", b.path)
		}
		if err := put("msgs/"+strconv.FormatUint(b.number, 10)+".blk", c.bytes); err != nil {
			return err
		}
	}
	if s.exact && !s.manifest {
		if err := put("msgs/index.db", highway.Append(s.stream, s.index.Append(nil, s.index.Subjects()))); err != nil {
			return err
		}
	}
	for _, c := range consumers {
		base := "obs/" + c.name + "/"
		if err := put(base+"meta.inf", c.inf); err != nil {
			return err
		}
		if err := put(base+"meta.sum", meta.Sum(meta.ConsumerName(s.stream, c.name), c.inf)); err != nil {
			return err
		}
		if c.state != nil {
			if err := put(base+"o.dat", c.plain); err != nil {
				return err
			}
		}
	}
	return tw.Close()
}

// fileWriter writes a file from its beginning.
type fileWriter struct {
	f   vfs.File
	off int64
}

func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.f.WriteAt(p, w.off)
	w.off += int64(n)
	return n, err
}
