package main

import (
	"bytes"
	"fmt"
)

// pull takes messages from a pull consumer in batches until the connection
// closes, with as many requests under way as it is told: with two the consumer
// does not wait for the next one while the client takes a batch in. It checks
// the payload of each message and gives the stream sequences to seen, at least
// once a batch.
func (c *leanConn) pull(next, inbox string, batch, requests int, payload []byte, mode ackMode, seen func([]uint64)) error {
	request := fmt.Sprintf(`{"batch":%d,"expires":30000000000}`, batch)
	line := fmt.Appendf(nil, "PUB %s %s %d\r\n%s\r\n", next, inbox, len(request), request)
	out := bytes.Repeat(line, requests)
	if _, err := c.Write(out); err != nil {
		return err
	}
	out = out[:0]
	in := stampedReader{c: c, payload: payload}
	var seqs []uint64
	for got := 0; ; {
		m, err := in.next()
		if err != nil {
			return err
		}
		if m.reply != nil {
			out, seqs = mode.answer(out, seqs, &m)
			if got++; got == batch {
				out = append(out, line...)
				got = 0
			}
		}
		// Written whenever nothing more can be read without waiting.
		if c.r.Buffered() > 0 && len(out) <= leanBuffer/4 {
			continue
		}
		seen(seqs)
		seqs = seqs[:0]
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
}

// stamped is a message of a consumer.
type stamped struct {
	reply      []byte // the ack subject; valid until the next read. nil: it was none
	deliveries uint64
	seq        uint64 // in the stream
}

// stampedReader reads the messages of one consumer. The ack subjects of its
// deliveries begin all alike, and so do, but for the subject, the lines: what is
// known is compared, only numbers are read.
type stampedReader struct {
	c       *leanConn
	payload []byte
	prefix  []byte // " <sid> $JS.ACK.<stream>.<consumer>." of the first message
}

// next reads a message, or a line for the connection itself.
func (r *stampedReader) next() (stamped, error) {
	c := r.c
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return stamped{}, err
	}
	if len(line) < 5 || string(line[:4]) != "MSG " {
		if bytes.HasPrefix(line, []byte("HMSG")) {
			return stamped{}, fmt.Errorf("status: %q", line)
		}
		return stamped{}, c.controlLine(line)
	}
	// MSG <subject> <sid> <reply> <size>
	subject := bytes.IndexByte(line[4:], ' ')
	if subject < 0 {
		return stamped{}, fmt.Errorf("line %q", line)
	}
	rest := line[4+subject:]
	if len(r.prefix) == 0 || !bytes.HasPrefix(rest, r.prefix) {
		if r.prefix = ackPrefix(rest); r.prefix == nil {
			return stamped{}, fmt.Errorf("no ack subject: %q", line)
		}
	}
	var m stamped
	numbers := rest[len(r.prefix):]
	var n, k int
	m.deliveries, n = leadingNumber(numbers)
	m.seq, k = leadingNumber(numbers[min(n+1, len(numbers)):])
	end := bytes.IndexByte(numbers, ' ')
	if n == 0 || k == 0 || end < 0 {
		return m, fmt.Errorf("line %q", line)
	}
	size, k := leadingNumber(numbers[end+1:])
	if k == 0 || int(size) != len(r.payload) {
		return m, fmt.Errorf("message %d has %d bytes: %q", m.seq, size, line)
	}
	reply := rest[len(" 1 ") : len(r.prefix)+end]
	// The line stays where it is if the payload was read with it.
	if c.r.Buffered() < int(size)+2 {
		reply = bytes.Clone(reply)
	}
	body, err := c.r.Peek(int(size) + 2)
	if err != nil {
		return m, err
	}
	if !bytes.Equal(body[:size], r.payload) {
		return m, fmt.Errorf("message %d has wrong content", m.seq)
	}
	m.reply = reply
	_, err = c.r.Discard(int(size) + 2)
	return m, err
}

// ackPrefix is what a line has between its subject and the count of deliveries:
// the sid, and the beginning of the ack subject with stream and consumer,
// $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>,
// or with domain and account hash behind ACK. nil if there is none.
func ackPrefix(rest []byte) []byte {
	const reply = len(" 1 ") // the sid has one digit
	if len(rest) < reply || !bytes.HasPrefix(rest[reply:], []byte("$JS.ACK.")) {
		return nil
	}
	tokens := 4
	if bytes.Count(rest, []byte{'.'}) > 8 {
		tokens = 6
	}
	for i := reply; i < len(rest); i++ {
		if rest[i] == '.' {
			if tokens--; tokens == 0 {
				return bytes.Clone(rest[:i+1])
			}
		}
	}
	return nil
}

// leadingNumber reads decimal digits and says how many.
func leadingNumber(b []byte) (n uint64, digits int) {
	for digits < len(b) && b[digits]-'0' <= 9 {
		n = n*10 + uint64(b[digits]-'0')
		digits++
	}
	return n, digits
}

// ackMode is what is done with a message.
type ackMode struct {
	ack bool
	nak bool // the first delivery is refused, the second one counts
}

func (a ackMode) answer(out []byte, seqs []uint64, m *stamped) ([]byte, []uint64) {
	body := " 0\r\n\r\n"
	if a.nak && m.deliveries == 1 {
		body = " 4\r\n-NAK\r\n"
	} else {
		seqs = append(seqs, m.seq)
	}
	if a.ack {
		out = append(append(append(out, "PUB "...), m.reply...), body...)
	}
	return out, seqs
}
