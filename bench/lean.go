package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// leanConn is a client that costs almost nothing: it writes lines that were
// formatted once and compares what comes with lines that it expects.
type leanConn struct {
	net.Conn
	r     *bufio.Reader
	keep  func() bool // lets the connection outlive its context
	pongs chan struct{}
	err   atomic.Pointer[error]
	out   []byte // scratch of publishOne
}

// leanBuffer is what a lean client reads and writes at once, in bytes.
const leanBuffer = 256 << 10

// dialLean connects and sends SUB lines, if there are any. The connection ends with
// ctx.
func dialLean(ctx context.Context, addr, subs string) (*leanConn, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &leanConn{Conn: nc, r: bufio.NewReaderSize(nc, leanBuffer), pongs: make(chan struct{}, 1)}
	c.keep = context.AfterFunc(ctx, func() { nc.Close() })
	if err = c.connect(); err == nil && subs != "" {
		err = c.subscribe(subs)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connection.
func (c *leanConn) Close() error {
	c.keep()
	return c.Conn.Close()
}

func (c *leanConn) connect() error {
	if _, err := c.r.ReadString('\n'); err != nil {
		return err
	}
	if _, err := c.Write([]byte("CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"headers\":true,\"no_responders\":true,\"name\":\"bench\"}\r\nPING\r\n")); err != nil {
		return err
	}
	for {
		line, err := c.r.ReadString('\n')
		switch {
		case err != nil:
			return err
		case line == "PONG\r\n":
			return nil
		case strings.HasPrefix(line, "-ERR"):
			return fmt.Errorf("server: %s", strings.TrimSpace(line))
		}
	}
}

// subscribe sends SUB lines and waits until the server has taken them; nothing
// else may be under way on the connection.
func (c *leanConn) subscribe(lines string) error {
	if _, err := c.Write([]byte(lines + "PING\r\n")); err != nil {
		return err
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || line == "PONG\r\n" {
			return err
		}
	}
}

// control reads the lines of a connection that only publishes.
func (c *leanConn) control() {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.fail(err)
			return
		}
		if err := c.controlLine([]byte(line)); err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *leanConn) controlLine(line []byte) error {
	switch {
	case bytes.HasPrefix(line, []byte("PING")):
		_, err := c.Write([]byte("PONG\r\n"))
		return err
	case bytes.HasPrefix(line, []byte("PONG")):
		select {
		case c.pongs <- struct{}{}:
		default:
		}
		return nil
	case bytes.HasPrefix(line, []byte("INFO")):
		return nil
	}
	return fmt.Errorf("unexpected from the server: %q", line)
}

func (c *leanConn) fail(err error) {
	c.err.CompareAndSwap(nil, &err)
	close(c.pongs)
}

// flush waits until the server has processed all that was written. control must run.
func (c *leanConn) flush() error {
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	if _, ok := <-c.pongs; !ok {
		return *c.err.Load()
	}
	return nil
}

// publish writes n copies of one message in large writes.
func (c *leanConn) publish(line []byte, n int) error {
	per := max(1, min(leanBuffer/len(line), n))
	block := bytes.Repeat(line, per)
	for n > 0 {
		k := min(per, n)
		if _, err := c.Write(block[:k*len(line)]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// receiver knows the one message that comes, with its line, and many of them in a row.
type receiver struct {
	line, block, buf []byte
	per              int // messages in block
}

func newReceiver(line []byte) *receiver {
	per := max(1, 16<<10/len(line))
	return &receiver{line, bytes.Repeat(line, per), make([]byte, max(leanBuffer, 2*len(line))), per}
}

// receive counts messages that are all the same, byte by byte, until count says
// that it has seen enough.
func (c *leanConn) receive(r *receiver, count func(n int) (more bool)) error {
	line, block, buf, per := r.line, r.block, r.buf, r.per
	have := 0
	for {
		n, err := c.r.Read(buf[have:])
		if err != nil {
			return err
		}
		have += n
		data, got := buf[:have], 0
		for {
			if len(data) >= len(block) && bytes.Equal(data[:len(block)], block) {
				data = data[len(block):]
				got += per
				continue
			}
			if len(data) >= len(line) && bytes.Equal(data[:len(line)], line) {
				data = data[len(line):]
				got++
				continue
			}
			if len(data) == 0 || bytes.HasPrefix(line, data) {
				break
			}
			if n := commonPrefix(data, line); n > 4 || len(data) > 4 && data[0] == 'M' {
				return fmt.Errorf("wrong content at byte %d of a message: %q", n, data[:min(len(data), 80)])
			}
			nl := bytes.IndexByte(data, '\n')
			if nl < 0 {
				break
			}
			if err := c.controlLine(data[:nl+1]); err != nil {
				return err
			}
			data = data[nl+1:]
		}
		have = copy(buf, data)
		if got > 0 && !count(got) {
			return nil
		}
	}
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// answer replies to requests on its subscription until the connection closes.
// Requests look like MSG <subject> 1 <reply> <size>.
func (c *leanConn) answer(payload []byte) error {
	var out []byte
	body := make([]byte, len(payload)+2)
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(line, []byte("MSG ")) {
			if err := c.controlLine(line); err != nil {
				return err
			}
			continue
		}
		f := bytes.Fields(line)
		if len(f) != 5 {
			return fmt.Errorf("request without reply: %q", line)
		}
		out = append(out[:0], "PUB "...)
		out = append(out, f[3]...)
		out = fmt.Appendf(out, " %d\r\n", len(payload))
		out = append(append(out, payload...), "\r\n"...)
		if err := c.readFull(body); err != nil {
			return err
		}
		if !bytes.Equal(body[:len(payload)], payload) {
			return fmt.Errorf("request with wrong content")
		}
		if _, err := c.Write(out); err != nil {
			return err
		}
	}
}

func (c *leanConn) readFull(b []byte) error {
	for len(b) > 0 {
		n, err := c.r.Read(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// request sends n requests one after the other and returns how long each took.
// The connection is subscribed to inbox with sid 1.
func (c *leanConn) request(subject, inbox string, payload []byte, n int) ([]time.Duration, error) {
	line := fmt.Appendf(nil, "PUB %s %s %d\r\n%s\r\n", subject, inbox, len(payload), payload)
	want := newReceiver(fmt.Appendf(nil, "MSG %s 1 %d\r\n%s\r\n", inbox, len(payload), payload))
	took := make([]time.Duration, 0, n)
	for range n {
		began := time.Now()
		if _, err := c.Write(line); err != nil {
			return nil, err
		}
		if err := c.receive(want, func(int) bool { return false }); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}
