package check

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/natsd/natsd/msgstore/archive"
	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs"
)

// maxLine bounds a line of JSON: a message of 32 MiB in base64.
const maxLine = 48 << 20

// ImportOptions say what becomes of imported messages.
type ImportOptions struct {
	Options
	Account string // for archives, which do not name one; "" is $G
	// Configs are stream configurations, JSON as in the API, for JSON lines,
	// which have none. A stream without one gets a configuration that keeps
	// everything.
	Configs []json.RawMessage
}

// Imported is the result of an import.
type Imported struct {
	Streams []ImportedStream `json:"streams"`
}

// ImportedStream is a stream that was written.
type ImportedStream struct {
	Account  string `json:"account"`
	Stream   string `json:"stream"`
	Messages uint64 `json:"messages"`
}

// ImportLines writes messages in the form of ExportLines into the new store
// directory to. Lines of one stream follow each other, with ascending sequences.
// What is written is encrypted if opts.Keys has a key.
func ImportLines(r io.Reader, to string, opts ImportOptions) (*Imported, error) {
	im := importer{opts: &opts, seen: make(map[string]bool)}
	err := build(opts.fs(), to, func(dir string) error {
		im.to = dir
		return im.lines(r)
	})
	if err != nil {
		return nil, err
	}
	return &im.result, nil
}

func (im *importer) lines(r io.Reader) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 1<<20), maxLine)
	n := 0
	for in.Scan() {
		n++
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			// What was read before an error is half a line.
			return fmt.Errorf("line %d: %w", n, cmp.Or(in.Err(), err))
		}
		if err := im.line(&l); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return im.finish()
}

type importer struct {
	opts *ImportOptions
	to   string
	w    *streamWriter
	inf  []byte
	seen map[string]bool // "account/stream" begun so far
	// account is that of the archive that is read, which does not name one.
	account string
	result  Imported
}

var errName = errors.New("is no name of an account or stream")

func goodName(s string) bool {
	return s != "" && len(s) <= 255 && !strings.HasPrefix(s, ".") && !strings.ContainsAny(s, "/\\ \t\r\n\x00*>")
}

// begin starts a stream; inf is its configuration, nil if it has to be made up.
func (im *importer) begin(account, stream string, inf []byte) error {
	if err := im.finish(); err != nil {
		return err
	}
	for _, name := range []string{account, stream} {
		if !goodName(name) {
			return fmt.Errorf("%q %w", name, errName)
		}
	}
	id := account + "/" + stream
	if im.seen[id] {
		return fmt.Errorf("%s > %s appears in two places", account, stream)
	}
	im.seen[id] = true
	var cfg config
	if inf == nil {
		for _, c := range im.opts.Configs {
			var named config
			if err := json.Unmarshal(c, &named); err != nil {
				return fmt.Errorf("configuration: %w", err)
			}
			if named.Name == stream {
				inf = c
			}
		}
	}
	if inf != nil {
		if err := json.Unmarshal(inf, &cfg); err != nil {
			return fmt.Errorf("configuration of %s: %w", stream, err)
		}
		if cfg.Name != stream {
			return fmt.Errorf("configuration of %s names the stream %q", stream, cfg.Name)
		}
		if cfg.Created.IsZero() {
			created, err := json.Marshal(time.Now().UTC())
			if err != nil {
				return err
			}
			if inf, err = editMember(inf, "Created", created); err != nil {
				return err
			}
		}
	}
	im.inf = inf
	var err error
	im.w, err = newStreamWriter(im.opts.fs(), filepath.Join(im.to, jetstreamDir, account, streamsDir, stream), account, stream, &cfg, im.opts.Keys)
	return err
}

func (im *importer) finish() error {
	if im.w == nil {
		return nil
	}
	return im.finishAt(im.w.last, 0)
}

func (im *importer) finishAt(last uint64, ts int64) error {
	w := im.w
	im.w = nil
	im.result.Streams = append(im.result.Streams, ImportedStream{w.account, w.stream, w.messages})
	return w.finish(last, ts, im.inf)
}

// The times that 64 bits of nanoseconds hold.
var (
	firstTime = time.Unix(0, math.MinInt64).UTC()
	lastTime  = time.Unix(0, math.MaxInt64).UTC()
)

func (im *importer) line(l *line) error {
	ts, err := time.Parse(time.RFC3339Nano, l.Time)
	if err != nil {
		return fmt.Errorf("%q is no time as in RFC 3339", l.Time)
	}
	if ts.Before(firstTime) || ts.After(lastTime) {
		return fmt.Errorf("%s is out of range: %s to %s", l.Time, firstTime.Format(time.DateOnly), lastTime.Format(time.DateOnly))
	}
	if len(l.Bytes) > 0 {
		l.Subject = string(l.Bytes)
	}
	if !record.ValidSubject(l.Subject) {
		return fmt.Errorf("%q is no subject", l.Subject)
	}
	if !record.Storable(l.Subject, l.Hdrs, l.Data) {
		return errors.New("hdrs is no header block")
	}
	if im.w == nil || im.w.account != l.Account || im.w.stream != l.Stream {
		if err := im.begin(l.Account, l.Stream, nil); err != nil {
			return err
		}
	}
	return im.w.message(l.Seq, ts.UnixNano(), l.Subject, l.Hdrs, l.Data)
}

// ImportBackup writes the stream of a backup into the new store directory to:
// path is a directory with backup.json and stream.tar.s2, or an archive alone, or what
// ExportSnapshot has written: then all of its streams, in the accounts that it names.
// Both versions of archives are taken.
func ImportBackup(path, to string, opts ImportOptions) (*Imported, error) {
	if opts.Account == "" {
		opts.Account = "$G"
	}
	im := importer{opts: &opts, seen: make(map[string]bool), account: opts.Account}
	err := build(opts.fs(), to, func(dir string) error {
		im.to = dir
		return im.backups(path)
	})
	if err != nil {
		return nil, err
	}
	return &im.result, nil
}

// backups imports the backup at path, or all that are below it in directories of
// accounts and streams.
func (im *importer) backups(path string) error {
	if info, err := os.Stat(path); err != nil {
		return err
	} else if _, err := os.Stat(filepath.Join(path, backupName)); err == nil || !info.IsDir() {
		return im.backup(path)
	}
	accounts, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	found := false
	for _, a := range accounts {
		if !a.IsDir() {
			continue
		}
		streams, err := os.ReadDir(filepath.Join(path, a.Name()))
		if err != nil {
			return err
		}
		for _, s := range streams {
			dir := filepath.Join(path, a.Name(), s.Name())
			if _, err := os.Stat(filepath.Join(dir, backupName)); err != nil {
				continue
			}
			found, im.account = true, a.Name()
			if err := im.backup(dir); err != nil {
				return err
			}
		}
	}
	if !found {
		return fmt.Errorf("%s: no backup: a directory with %s and %s, or with such directories of accounts and streams, is needed", path, backupName, archiveName)
	}
	return nil
}

func (im *importer) backup(path string) error {
	file, inf := path, []byte(nil)
	if info, err := os.Stat(path); err != nil {
		return err
	} else if info.IsDir() {
		file = filepath.Join(path, archiveName)
		b, err := vfs.ReadFile(im.opts.fs(), filepath.Join(path, backupName), maxMeta)
		if err != nil {
			return err
		}
		var backup struct {
			Config json.RawMessage `json:"config"`
		}
		if err := json.Unmarshal(b, &backup); err != nil {
			return fmt.Errorf("%s: %w", backupName, err)
		}
		inf = backup.Config
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	size := int64(0)
	if info, err := f.Stat(); err == nil {
		size = info.Size()
	}
	in := &metered{r: f, total: size, progress: im.opts.Progress}
	r, err := archive.NewReader(bufio.NewReaderSize(in, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if r.Version() == 1 {
		err = im.files(r)
	} else {
		err = im.entries(r, inf, strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// metered tells about the progress of reading r.
type metered struct {
	r           io.Reader
	done, total int64
	progress    func(done, total int64) error
}

func (m *metered) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	m.done += int64(n)
	if m.progress == nil {
		return n, err
	}
	if perr := m.progress(m.done, m.total); perr != nil {
		return n, perr
	}
	return n, err
}

// files unpacks a version 1 archive beside the target, and recovers from there,
// so that only what is whole gets in.
func (im *importer) files(r *archive.Reader) error {
	fsys := im.opts.fs()
	scratch := filepath.Join(im.to, ".import")
	defer fsys.RemoveAll(scratch)
	dir := filepath.Join(scratch, jetstreamDir, im.account, streamsDir, "unnamed")
	for {
		f, err := r.NextFile()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := vfs.MkdirAllSynced(fsys, filepath.Dir(name), 0o700); err != nil {
			return err
		}
		out, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(&fileWriter{f: out}, f.Content)
		if cerr := out.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	// The checksums are keyed by the stream's name, which only meta.inf tells.
	inf, err := vfs.ReadFile(fsys, filepath.Join(dir, "meta.inf"), maxMeta)
	if err != nil {
		return err
	}
	var cfg config
	if err := json.Unmarshal(inf, &cfg); err != nil {
		return fmt.Errorf("meta.inf: %w", err)
	}
	if !goodName(cfg.Name) {
		return fmt.Errorf("%q %w", cfg.Name, errName)
	}
	named := filepath.Join(filepath.Dir(dir), cfg.Name)
	if err := fsys.Rename(dir, named); err != nil {
		return err
	}
	opts := im.opts.Options
	return examine(named, twoPasses, &opts, func(s *stream) error {
		if n := s.numLost(); n > 0 {
			return fmt.Errorf("%d messages are damaged (first: %d, %s)", n, s.lost[0].FirstSeq, s.lost[0].Reason)
		}
		if s.metaRaw == nil {
			return errors.New("meta.inf is damaged")
		}
		if err := im.begin(s.account, s.stream, s.metaRaw); err != nil {
			return err
		}
		err := s.each(func(m *Message) error { return im.w.message(m.Seq, m.Time, m.Subject, m.Header, m.Data) })
		if err != nil {
			return err
		}
		for _, c := range s.consumers() {
			if c.damaged {
				return fmt.Errorf("consumer %s is damaged", c.name)
			}
			if err := im.w.consumer(c.name, c.inf, c.plain); err != nil {
				return err
			}
		}
		return im.finishAt(s.state.LastSeq, s.lastTime)
	})
}

// entries reads a version 2 archive.
func (im *importer) entries(r *archive.Reader, inf []byte, name string) error {
	if inf != nil {
		var cfg config
		if err := json.Unmarshal(inf, &cfg); err != nil {
			return err
		}
		name = cfg.Name
	}
	if err := im.begin(im.account, name, inf); err != nil {
		return err
	}
	var state apiState
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch e.Kind {
		case archive.State:
			err = json.Unmarshal(e.Data, &state)
		case archive.Consumer:
			err = im.consumer(e)
		case archive.Message:
			err = im.w.message(e.Seq, e.Time, e.Name, e.Header, e.Data)
		}
		if err != nil {
			return err
		}
	}
	last := int64(0)
	if !state.LastTime.IsZero() {
		last = state.LastTime.UnixNano()
	}
	return im.finishAt(max(state.LastSeq, im.w.last), last)
}

func (im *importer) consumer(e archive.Entry) error {
	var c struct {
		Config json.RawMessage      `json:"config"`
		State  *consumerstate.State `json:"state"`
	}
	if err := json.Unmarshal(e.Data, &c); err != nil {
		return fmt.Errorf("consumer %s: %w", e.Name, err)
	}
	inf := []byte(c.Config)
	name, err := json.Marshal(e.Name)
	if err != nil {
		return err
	}
	created, err := json.Marshal(time.Now().UTC())
	if err != nil {
		return err
	}
	for _, m := range []struct {
		name  string
		value []byte
	}{{"Name", name}, {"Created", created}} {
		if inf, err = editMember(inf, m.name, m.value); err != nil {
			return fmt.Errorf("consumer %s: %w", e.Name, err)
		}
	}
	var state []byte
	if c.State != nil {
		if err := c.State.Check(); err != nil {
			return fmt.Errorf("consumer %s: %w", e.Name, err)
		}
		state = c.State.Append(nil, time.Now().UnixNano())
	}
	return im.w.consumer(e.Name, inf, state)
}
