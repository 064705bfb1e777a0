package transport

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// directChunks is how many buffers a producer writes at once; more are left to
// the connection's writer. A stage is cut at 256 KiB, so it rarely has more.
const directChunks = 64

var iovPool = sync.Pool{New: func() any { return new([directChunks]syscall.Iovec) }}

// rawConn reads and writes a TCP socket without a buffer of its own, and writes
// without blocking.
type rawConn struct {
	rc syscall.RawConn

	// Owned by the holder of the writer token, for the time of a write.
	chunks  []chunk
	wrote   int
	werr    error
	onWrite func(fd uintptr) bool
	onRest  func(fd uintptr) bool
	took    func(n int) (rest []chunk) // while a write waits for the socket

	// Owned by the goroutine that reads.
	buf    []byte
	size   int // of the next buffer
	read   int
	rerr   error
	poll   bool // the next read does not wait
	onRead func(fd uintptr) bool
	stride stride
}

func newRawConn(nc net.Conn) *rawConn {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	rc, err := tc.SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawConn{rc: rc, size: hugeBuffer}
	r.onWrite, r.onRest, r.onRead = r.writeOnce, r.writeRest, r.readOnce
	return r
}

// write writes what the socket takes at once.
func (r *rawConn) write(chunks []chunk) (n int, err error) {
	r.chunks, r.wrote, r.werr = chunks, 0, nil
	err = r.rc.Write(r.onWrite)
	if err == nil {
		err = r.werr
	}
	n = r.wrote
	r.chunks, r.werr = nil, nil
	return n, err
}

// writeAll writes all chunks, waiting for the socket. It calls took for each part
// that is written, and goes on with what that returns.
func (r *rawConn) writeAll(chunks []chunk, took func(n int) (rest []chunk)) error {
	r.chunks, r.werr, r.took = chunks, nil, took
	err := r.rc.Write(r.onRest)
	if err == nil {
		err = r.werr
	}
	r.chunks, r.werr, r.took = nil, nil, nil
	return err
}

func (r *rawConn) writeRest(fd uintptr) bool {
	for len(r.chunks) > 0 {
		r.wrote = 0
		r.writeOnce(fd)
		if r.werr != nil {
			return true
		}
		if r.wrote == 0 {
			return false // wait until there is room
		}
		r.chunks = r.took(r.wrote)
	}
	return true
}

// writeOnce and readOnce never wait, so the runtime need not be told of the call:
// where a client and the server take turns, that would wake the runtime's monitor
// each time, which goes to sleep in between.
func (r *rawConn) writeOnce(fd uintptr) bool {
	r.stride.writes.Add(1)
	var n int
	var errno syscall.Errno
	for {
		if len(r.chunks) == 1 {
			b := r.chunks[0].b
			p, _, e := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
			n, errno = int(p), e
		} else {
			iov := iovPool.Get().(*[directChunks]syscall.Iovec)
			k := min(len(r.chunks), directChunks)
			for i := range k {
				b := r.chunks[i].b
				iov[i].Base = &b[0]
				iov[i].SetLen(len(b))
			}
			p, _, e := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(iov)), uintptr(k))
			n, errno = int(p), e
			clear(iov[:k])
			iovPool.Put(iov)
		}
		if errno != syscall.EINTR {
			break
		}
	}
	switch errno {
	case 0:
		r.wrote = n
	case syscall.EAGAIN:
	default:
		r.werr = os.NewSyscallError("write", errno)
	}
	return true // never wait
}

func (r *rawConn) readLoop(handle func([]byte) error, rest *rest) error {
	for {
		r.read, r.rerr, r.poll = 0, nil, rest.work != nil
		err := r.rc.Read(r.onRead)
		if err == nil {
			err = r.rerr
		}
		if err != nil {
			return err
		}
		if r.poll {
			if rest.end(r.read == 0); r.read == 0 {
				continue
			}
		}
		r.stride.read(r, r.read)
		rest.began()
		// What is handled at once stays small, however much was read: it bounds
		// how long a consumer waits for what a producer has for it.
		for b := r.buf[:r.read]; len(b) > 0 && err == nil; {
			n := min(len(b), maxReadBuffer)
			err = handle(b[:n])
			b = b[n:]
		}
		// A peer that sends faster than we read fills the socket's buffer, and
		// each read that makes room there costs an acknowledgement: fewer and
		// larger reads then.
		r.size = hugeBuffer
		if r.read >= hugeBuffer {
			r.size = burstBuffer
		}
		PutBuffer(r.buf)
		r.buf = nil
		if err != nil {
			return err
		}
		rest.handled()
	}
}

func (r *rawConn) readOnce(fd uintptr) bool {
	buf := GetBuffer(r.size)
	for {
		p, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&buf[:1][0])), uintptr(r.size))
		switch errno {
		case 0:
			if p == 0 {
				PutBuffer(buf)
				r.rerr = io.EOF
				return true
			}
			r.read, r.buf = int(p), buf[:int(p)]
			return true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			PutBuffer(buf)
			if r.poll {
				return true
			}
			r.stride.wait()
			return false // wait until there is something
		}
		PutBuffer(buf)
		r.rerr = os.NewSyscallError("read", errno)
		return true
	}
}
