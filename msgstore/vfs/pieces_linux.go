package vfs

import (
	"io"
	"io/fs"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// iovecs is what one call of pwritev(2) is given.
type iovecs [64]syscall.Iovec

var vectors = sync.Pool{New: func() any { return new(iovecs) }}

// WritePieces is pwritev(2), as often as it takes.
func (f osFile) WritePieces(pieces [][]byte, off int64) error {
	raw, err := f.f.SyscallConn()
	if err != nil {
		return err
	}
	v := vectors.Get().(*iovecs)
	var writeErr error
	err = raw.Control(func(fd uintptr) { writeErr = v.write(fd, pieces, off) })
	if err != nil {
		writeErr = fs.ErrClosed // the one reason
	}
	if writeErr != nil {
		err = &fs.PathError{Op: "write", Path: f.f.Name(), Err: writeErr}
	}
	runtime.KeepAlive(pieces)
	*v = iovecs{}
	vectors.Put(v)
	return err
}

func (v *iovecs) write(fd uintptr, pieces [][]byte, off int64) error {
	skip := 0 // of the first piece
	for {
		for len(pieces) > 0 && skip >= len(pieces[0]) {
			skip -= len(pieces[0])
			pieces = pieces[1:]
		}
		if len(pieces) == 0 {
			return nil
		}
		n := 0
		for _, p := range pieces {
			if n == len(v) {
				break
			}
			if n == 0 {
				p = p[skip:]
			}
			if len(p) > 0 {
				v[n].Base = unsafe.SliceData(p)
				v[n].SetLen(len(p))
				n++
			}
		}
		// The upper half of the offset counts on 32-bit systems only.
		wrote, _, errno := syscall.Syscall6(syscall.SYS_PWRITEV, fd,
			uintptr(unsafe.Pointer(&v[0])), uintptr(n), uintptr(off), uintptr(off>>32), 0)
		switch {
		case errno == syscall.EINTR:
		case errno != 0:
			return errno
		case wrote == 0:
			return io.ErrUnexpectedEOF
		default:
			off += int64(wrote)
			skip += int(wrote)
		}
	}
}
