package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// publishAcked publishes n messages to the subjects js.0 ... in turn, each with
// a reply subject of its own below _INBOX.bench, with at most window of them
// unacknowledged, and checks every ack. The connection is subscribed to the
// replies with sid 1.
func (c *leanConn) publishAcked(streams int, payload []byte, n, window int) error {
	free := make(chan int, window+1)
	acks := make(chan error, 1)
	next := make([]int, streams) // the sequence that each stream must give next
	go func() {
		for got := 0; got < n; {
			batch := 0
			for {
				i, body, err := c.nextAck()
				if err != nil {
					acks <- err
					return
				}
				if body != nil {
					if i < 0 || i >= n {
						acks <- fmt.Errorf("ack for message %d of %d", i, n)
						return
					}
					s := i % streams
					next[s]++
					if err := checkAck(body, s, next[s]); err != nil {
						acks <- err
						return
					}
					got++
					batch++
				}
				if got == n || c.r.Buffered() == 0 {
					break
				}
			}
			free <- batch
		}
		acks <- nil
	}()
	var out []byte
	room := window
	for i := 0; i < n; {
		for room == 0 {
			select {
			case k := <-free:
				room += k
			case err := <-acks:
				return err
			}
		}
		out = out[:0]
		for ; i < n && room > 0 && len(out) < leanBuffer/4; i++ {
			out = appendPub(out, i%streams, i, payload)
			room--
		}
		if _, err := c.Write(out); err != nil {
			return err
		}
	drained:
		for {
			select {
			case k := <-free:
				room += k
			default:
				break drained
			}
		}
	}
	for {
		select {
		case <-free:
		case err := <-acks:
			return err
		}
	}
}

// publishOne publishes message i of the stream S0 and waits for its ack, which must be
// the one for sequence i+1.
func (c *leanConn) publishOne(i int, payload []byte) error {
	c.out = appendPub(c.out[:0], 0, i, payload)
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	got, body, err := c.readAck()
	if err != nil {
		return err
	}
	if got != i {
		return fmt.Errorf("ack for message %d, wanted %d", got, i)
	}
	return checkAck(body, 0, i+1)
}

// noReply is for a message that is not acknowledged.
const noReply = -1

// appendPub appends a message to js.<subject>, with the reply subject _INBOX.bench.<reply>.
func appendPub(out []byte, subject, reply int, payload []byte) []byte {
	out = append(out, "PUB js."...)
	out = strconv.AppendInt(out, int64(subject), 10)
	if reply != noReply {
		out = append(out, " _INBOX.bench."...)
		out = strconv.AppendInt(out, int64(reply), 10)
	}
	out = append(out, ' ')
	out = strconv.AppendInt(out, int64(len(payload)), 10)
	out = append(out, '\r', '\n')
	out = append(out, payload...)
	return append(out, '\r', '\n')
}

// checkAck wants the ack of a sequence of a stream. It makes no garbage: it is called
// for each message, on the processors that the server needs.
func checkAck(body []byte, stream, seq int) error {
	var buf [64]byte
	stripped := buf[:0] // without the spaces that the peer's has
	for _, c := range body[:min(len(body), cap(buf))] {
		if c != ' ' {
			stripped = append(stripped, c)
		}
	}
	var want [64]byte
	w := append(want[:0], `{"stream":"S`...)
	w = strconv.AppendInt(w, int64(stream), 10)
	w = append(w, `","seq":`...)
	w = strconv.AppendInt(w, int64(seq), 10)
	w = append(w, '}')
	if !bytes.Equal(stripped, w) {
		return fmt.Errorf("ack %s, wanted %s", body, string(w))
	}
	return nil
}

// readAck reads the next message on _INBOX.bench.<i>. body is valid until the
// next read.
func (c *leanConn) readAck() (i int, body []byte, err error) {
	for body == nil && err == nil {
		i, body, err = c.nextAck()
	}
	return i, body, err
}

// nextAck is readAck that returns as well, without a body, when what came was for
// the connection itself: who collects acks must not wait behind a PING.
func (c *leanConn) nextAck() (i int, body []byte, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if !bytes.HasPrefix(line, []byte("MSG _INBOX.bench.")) {
		if bytes.HasPrefix(line, []byte("HMSG")) {
			return 0, nil, fmt.Errorf("status instead of an ack: %q", line)
		}
		return 0, nil, c.controlLine(line)
	}
	rest := line[len("MSG _INBOX.bench."):]
	for len(rest) > 0 && '0' <= rest[0] && rest[0] <= '9' {
		i = i*10 + int(rest[0]-'0')
		rest = rest[1:]
	}
	size, err := lastNumber(rest)
	if err != nil {
		return 0, nil, fmt.Errorf("ack line %q", line)
	}
	all, err := c.r.Peek(size + 2)
	if err != nil {
		return 0, nil, err
	}
	if _, err := c.r.Discard(size + 2); err != nil {
		return 0, nil, err
	}
	return i, all[:size], nil
}
