package archive

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
)

// Bounds of the files of a version 1 archive. All others are bounded by MaxBody.
const (
	// MaxIndex bounds index.db: that of a stream with some thirty million subjects.
	MaxIndex = 1 << 30
	// MaxBlock bounds a block: 8 MiB, or one message.
	MaxBlock = 64 << 20
)

// Version 1 archives hold these files of a stream directory, and errors.txt if
// the server that made them met an error.
var allowed = regexp.MustCompile(`^(meta\.inf|meta\.sum|msgs/[1-9][0-9]{0,18}\.blk|msgs/index\.db|obs/[^/\\\x00]+/(meta\.inf|meta\.sum|o\.dat))$`)

// errorsName is the entry by which a server says why it stopped.
const errorsName = "errors.txt"

// TarWriter writes a version 1 archive: files, then Close; and Stop in any case.
type TarWriter struct {
	s2  *s2.Writer
	tar *tar.Writer
}

// NewTarWriter begins a version 1 archive.
func NewTarWriter(w io.Writer) *TarWriter {
	c := s2.NewWriter(w)
	return &TarWriter{c, tar.NewWriter(c)}
}

// File adds a file, whose name is relative to the stream's directory. The order
// is: meta.inf, meta.sum, blocks, index.db, consumers.
func (w *TarWriter) File(name string, modified time.Time, content []byte) error {
	h := &tar.Header{
		Name: name, Size: int64(len(content)), Mode: 0o600, ModTime: modified,
		Uname: "nats", Gname: "nats", Format: tar.FormatPAX, Typeflag: tar.TypeReg,
	}
	if err := w.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("archive %s: %w", name, err)
	}
	if _, err := w.tar.Write(content); err != nil {
		return fmt.Errorf("archive %s: %w", name, err)
	}
	return nil
}

// Close ends the archive.
func (w *TarWriter) Close() error {
	if err := w.tar.Close(); err != nil {
		return err
	}
	return w.s2.Close()
}

// Stop is Writer.Stop.
func (w *TarWriter) Stop() { w.s2.Reset(nil) }

type tarFiles struct{ t *tar.Reader }

func newTarFiles(r *bufio.Reader) *tarFiles { return &tarFiles{tar.NewReader(r)} }

// File is a file of a version 1 archive. Content is to be read before the next
// one is asked for; it gives ErrTruncated if the archive ends inside.
type File struct {
	Name     string // relative to the stream's directory, slash separated
	Size     int64
	Modified time.Time
	Content  io.Reader
}

// NextFile returns the next file of a version 1 archive, io.EOF at its end. A
// name that leaves the directory, or is none that a snapshot has, or anything
// but a regular file, is an error: nothing else may be unpacked.
func (r *Reader) NextFile() (File, error) {
	if r.files == nil {
		return File{}, fmt.Errorf("archive: files of version %d", r.version)
	}
	for {
		h, err := r.files.t.Next()
		if errors.Is(err, io.EOF) {
			return File{}, io.EOF
		}
		if err != nil {
			return File{}, r.broken(err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		name := path.Clean(h.Name)
		switch {
		case h.Typeflag != tar.TypeReg:
			return File{}, fmt.Errorf("%w: %.80q is no regular file", ErrUnexpected, h.Name)
		case name == errorsName:
			text, _ := io.ReadAll(io.LimitReader(r.files.t, 1<<10))
			return File{}, fmt.Errorf("%w: the server that made it reported: %s", ErrCorrupt, text)
		case !allowed.MatchString(name):
			return File{}, fmt.Errorf("%w: %.80q", ErrUnexpected, h.Name)
		case sparse(h):
			// A few bytes would unpack to any number of zeros.
			return File{}, fmt.Errorf("%w: %.80q is sparse", ErrCorrupt, h.Name)
		case h.Size > maxSize(name):
			return File{}, fmt.Errorf("%w: %s has %d bytes", ErrCorrupt, name, h.Size)
		}
		return File{Name: name, Size: h.Size, Modified: h.ModTime, Content: fileContent{r}}, nil
	}
}

// maxSize bounds a file by its name.
func maxSize(name string) int64 {
	switch path.Ext(name) {
	case ".db":
		return MaxIndex
	case ".blk":
		return MaxBlock
	}
	return MaxBody
}

// sparse says whether a file of an archive has holes, which no server makes.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// fileContent maps the ends of a broken archive to this package's errors.
type fileContent struct{ r *Reader }

func (c fileContent) Read(p []byte) (int, error) {
	n, err := c.r.files.t.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = c.r.broken(err)
	}
	return n, err
}
