package check

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/natsd/natsd/msgstore/vfs"
)

// copyFile copies a file and syncs the copy, but not its directory.
func copyFile(fsys vfs.FS, from, to string) error {
	in, err := fsys.OpenFile(from, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := fsys.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = copyContent(in, out)
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

func copyContent(in, out vfs.File) error {
	buf := make([]byte, 1<<20)
	for off := int64(0); ; {
		n, err := in.ReadAt(buf, off)
		if n > 0 {
			if _, werr := out.WriteAt(buf[:n], off); werr != nil {
				return werr
			}
			off += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyTree copies a directory, and syncs everything.
func copyTree(fsys vfs.FS, from, to string) error {
	if err := vfs.MkdirAllSynced(fsys, to, 0o700); err != nil {
		return err
	}
	list, err := fsys.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range list {
		src, dst := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if e.IsDir() {
			if err := copyTree(fsys, src, dst); err != nil {
				return err
			}
			continue
		}
		if !e.Type().IsRegular() {
			continue
		}
		if err := copyFile(fsys, src, dst); err != nil {
			return err
		}
	}
	return fsys.SyncDir(to)
}

// sameTree says whether two directories hold the same files with the same content.
func sameTree(fsys vfs.FS, a, b string) (bool, error) {
	left, err := fsys.ReadDir(a)
	if err != nil {
		return false, err
	}
	right, err := fsys.ReadDir(b)
	if err != nil || len(left) != len(right) {
		return false, err
	}
	for i, e := range left {
		if e.Name() != right[i].Name() || e.IsDir() != right[i].IsDir() {
			return false, nil
		}
		same := sameContent
		if e.IsDir() {
			same = sameTree
		}
		if ok, err := same(fsys, filepath.Join(a, e.Name()), filepath.Join(b, e.Name())); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func sameContent(fsys vfs.FS, a, b string) (bool, error) {
	left, err := fsys.OpenFile(a, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	defer left.Close()
	right, err := fsys.OpenFile(b, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	defer right.Close()
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); ; off += int64(len(x)) {
		n, err := left.ReadAt(x, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		m, err := right.ReadAt(y, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if n < len(x) {
			return true, nil
		}
	}
}
