package check

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/vfs"
)

// sector is what is given up where a disk cannot read: the unit of page caches, and
// of today's disks.
const sector = 4096

// unreadable says whether an error is the disk's: the file is there and may be read,
// but its content, or a part of it, does not come.
func unreadable(err error) bool {
	var pe *fs.PathError
	return errors.As(err, &pe) && pe.Op == "read" && !errors.Is(err, vfs.ErrTooLarge)
}

// readAround returns what can be read of a file, with zeros in the place of the rest.
func readAround(fsys vfs.FS, name string) (content []byte, bad []blockcomp.Range, err error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, nil, err
	}
	content = make([]byte, size)
	for at := 0; at < len(content); at += sector {
		piece := content[at:min(at+sector, len(content))]
		if _, err := f.ReadAt(piece, int64(at)); err == nil || errors.Is(err, io.EOF) {
			continue
		}
		clear(piece)
		if n := len(bad); n > 0 && bad[n-1].End == at {
			bad[n-1].End = at + len(piece)
		} else {
			bad = append(bad, blockcomp.Range{Start: at, End: at + len(piece)})
		}
	}
	return content, bad, nil
}
