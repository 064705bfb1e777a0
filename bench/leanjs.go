package main

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// publishAcked publishes n messages to the subjects js.0 ... in turn, each with
// a reply subject of its own below _INBOX.bench, with at most window of them
// unacknowledged, and checks every ack. The connection is subscribed to the
// replies with sid 1. It returns how long each ack took.
func (c *leanConn) publishAcked(streams int, payload []byte, n, window int) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	sent := make([]time.Time, n)
	free := make(chan int, window+1)
	acks := make(chan error, 1)
	next := make([]uint64, streams) // the sequence that each stream must give next
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
					took[i] = time.Since(sent[i])
					s := i % streams
					next[s]++
					if want := fmt.Sprintf(`{"stream":"S%d","seq":%d}`, s, next[s]); string(bytes.ReplaceAll(body, []byte(", "), []byte(","))) != want {
						acks <- fmt.Errorf("ack %s, wanted %s", body, want)
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
				return nil, err
			}
		}
		out = out[:0]
		now := time.Now()
		for ; i < n && room > 0 && len(out) < leanBuffer/4; i++ {
			out = append(out, "PUB js."...)
			out = strconv.AppendInt(out, int64(i%streams), 10)
			out = append(out, " _INBOX.bench."...)
			out = strconv.AppendInt(out, int64(i), 10)
			out = append(out, ' ')
			out = strconv.AppendInt(out, int64(len(payload)), 10)
			out = append(out, '\r', '\n')
			out = append(out, payload...)
			out = append(out, '\r', '\n')
			sent[i] = now
			room--
		}
		if _, err := c.Write(out); err != nil {
			return nil, err
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
			return took, err
		}
	}
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
	f := bytes.Fields(rest)
	size, err := strconv.Atoi(string(f[len(f)-1]))
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
