//go:build !linux

package transport

import "net"

// rawConn is there on Linux only; elsewhere the writer goroutine writes.
type rawConn struct{}

func newRawConn(net.Conn) *rawConn { return nil }

func (*rawConn) write([]chunk) (int, error) { panic("transport: no raw connection") }
func (*rawConn) writeAll([]chunk, func(int) []chunk) error {
	panic("transport: no raw connection")
}
func (*rawConn) readLoop(func([]byte) error, *rest) error { panic("transport: no raw connection") }
